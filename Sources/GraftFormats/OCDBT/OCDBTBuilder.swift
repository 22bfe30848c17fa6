internal import GraftCodec
package import GraftCore

/// Builds a database over values that are written already: the B+tree node by node, then the manifest.
///
///     add … add … finish ─► manifest
///      │                      a node is full when the next entry would make it larger than ``nodeByteCountLimit``;
///      ▼                      its first key goes one level up, where nodes fill in the same way
///     append(node) ─► place
///
/// One node of each level is in memory at a time, so that a database of a hundred million keys takes no more than one of ten.
/// Nodes are compressed as TensorStore compresses them by default.
package struct OCDBTBuilder {
  /// What puts the bytes of a node into a data file and says where they are.
  package typealias Append = (_ bytes: [UInt8]) throws(GraftError) -> OCDBTReference

  /// The bytes from which on a node is split.
  ///
  /// A reader of one key reads one node of each level, and a reader of all keys reads nodes in parallel. 256 KiB are some 8,000
  /// chunks, so that models of a terabyte have two levels, and a node is parsed in a millisecond.
  package static let nodeByteCountLimit = 256 << 10
  /// The longest key that the format can say.
  package static let keyByteCountLimit = 0xFFFF

  private let append: Append
  private let nodeByteCountLimit: Int
  private var compressor: OCDBTCompressor?
  /// The nodes that are being filled, leaves first; each has an entry as soon as it is there.
  private var leaf = PendingNode<OCDBTValue>()
  private var interior: [PendingNode<ChildNode>] = []

  /// A builder of an empty database.
  ///
  /// - Parameters:
  ///   - nodeByteCountLimit: the bytes from which on a node is split.
  ///   - append: puts the bytes of a node into a data file and says where they are.
  package init(
    nodeByteCountLimit: Int = Self.nodeByteCountLimit, append: @escaping Append
  ) {
    precondition(nodeByteCountLimit > 0)
    self.nodeByteCountLimit = nodeByteCountLimit
    self.append = append
  }

  /// Adds a key that comes after all that were added before, with its value.
  ///
  /// A value at hand that is longer than a node can hold is appended to a data file.
  /// - Throws: `collision` when the key is the one before; `limitExceeded` for a key or the path of a file that is too long.
  package mutating func add(_ key: [UInt8], _ value: OCDBTValue) throws(GraftError) {
    guard key.count <= Self.keyByteCountLimit else {
      throw GraftError(
        .limitExceeded, "a name is too long for an OCDBT database",
        expected: "at most \(Self.keyByteCountLimit) bytes", found: "\(key.count)",
        remedy: "choose shorter keys")
    }
    var shared = 0
    if let previous = leaf.lastKey {
      shared = previous.commonPrefixCount(key)
      guard shared < key.count || shared < previous.count else {
        throw GraftError(
          .collision, "two values have one name in the OCDBT database",
          found: TreePath.printable(String(decoding: key, as: UTF8.self)))
      }
      precondition(
        shared < key.count && (shared == previous.count || previous[shared] < key[shared]),
        "keys are added in order")
    }
    var value = value
    if case .inline(let bytes) = value, bytes.count > OCDBTNode.inlineValueByteCountLimit {
      value = .stored(try append(bytes))
    }
    let byteCount = Self.overheadByteCount + key.count + value.inlineByteCount
    if leaf.isFull(adding: byteCount, limit: nodeByteCountLimit) {
      try flushLeaf()
    }
    leaf.add(key, value, sharedByteCount: shared, byteCount: byteCount)
  }

  /// Writes the nodes that are not full, and gives the bytes of the manifest; nothing can be added afterwards.
  ///
  /// - Parameters:
  ///   - identity: sixteen bytes that tell the database from others.
  ///   - commitTime: nanoseconds since 1970.
  package mutating func finish(
    identity: [UInt8] = Self.randomIdentity(), commitTime: UInt64
  ) throws(GraftError) -> [UInt8] {
    precondition(identity.count == 16)
    guard !leaf.entries.isEmpty else {
      return Self.manifest(root: nil, height: 0, identity: identity, commitTime: commitTime)
    }
    var level = 0
    while level < interior.count {
      if level == 0 { try flushLeaf() }
      level += 1
      if level < interior.count { try flushInterior(level) }
    }
    // What is left at the highest level is the root, whose keys are whole.
    let root =
      level == 0
      ? try write(try Self.leafNode(leaf.entries, excluding: 0), entryCount: leaf.entries.count)
      : try write(
        try Self.interiorNode(interior[level - 1].entries, excluding: 0, height: level),
        entryCount: interior[level - 1].entries.count)
    return Self.manifest(root: root, height: level, identity: identity, commitTime: commitTime)
  }

  /// Sixteen random bytes.
  package static func randomIdentity() -> [UInt8] { (0..<16).map { _ in UInt8.random(in: 0...255) } }

  /// What an entry takes beside its key and its inline value, about: lengths, a kind, a file and an offset.
  private static let overheadByteCount = 16

  // MARK: Levels

  private mutating func flushLeaf() throws(GraftError) {
    let entries = leaf.take()
    let excluded = Self.sharedPrefix(entries)
    let statistics = try write(
      try Self.leafNode(entries, excluding: excluded), entryCount: entries.count)
    try addChild(entries[0].key, ChildNode(prefixByteCount: excluded, node: statistics), toLevel: 1)
  }

  /// - Parameter level: the height of the node, from 1.
  private mutating func flushInterior(_ level: Int) throws(GraftError) {
    let entries = interior[level - 1].take()
    let excluded = entries.reduce(Self.sharedPrefix(entries)) { min($0, $1.value.prefixByteCount) }
    let node = try write(
      try Self.interiorNode(entries, excluding: excluded, height: level), entryCount: entries.count)
    try addChild(entries[0].key, ChildNode(prefixByteCount: excluded, node: node), toLevel: level + 1)
  }

  /// Recursion is as deep as the tree is high.
  private mutating func addChild(_ key: [UInt8], _ child: ChildNode, toLevel level: Int) throws(GraftError) {
    if interior.count < level { interior.append(PendingNode()) }
    let byteCount = 2 * Self.overheadByteCount + key.count
    // With at least two children each, a level has at most half of the nodes of the one below.
    if interior[level - 1].entries.count >= 2,
      interior[level - 1].isFull(adding: byteCount, limit: nodeByteCountLimit)
    {
      try flushInterior(level)
    }
    let shared = interior[level - 1].lastKey?.commonPrefixCount(key) ?? 0
    interior[level - 1].add(key, child, sharedByteCount: shared, byteCount: byteCount)
  }

  private mutating func write(
    _ node: (body: [UInt8], statistics: Statistics), entryCount: Int
  ) throws(GraftError) -> WrittenNode {
    let bytes: [UInt8]
    do throws(CodecFailure) {
      let compressor: OCDBTCompressor
      if let known = self.compressor { compressor = known } else { compressor = try OCDBTCompressor() }
      self.compressor = compressor
      bytes = OCDBTEnvelope.sealed(
        node.body, magic: OCDBTEnvelope.nodeMagic,
        as: try compressor.compressed(node.body, entryCount: entryCount))
    } catch {
      throw error.graftError()
    }
    let place = try append(bytes)
    var statistics = node.statistics
    statistics.treeByteCount += bytes.count
    return WrittenNode(place: place, statistics: statistics)
  }

  private static func sharedPrefix<Value>(_ entries: [PendingNode<Value>.Entry]) -> Int {
    // Keys are in order, so what the first and the last share all share.
    entries[0].key.commonPrefixCount(entries[entries.count - 1].key)
  }

  // MARK: Bodies

  private static func leafNode(
    _ entries: [PendingNode<OCDBTValue>.Entry], excluding prefix: Int
  ) throws(GraftError) -> (body: [UInt8], statistics: Statistics) {
    var statistics = Statistics()
    statistics.keyCount = entries.count
    var files = FileNumbers()
    var places: [(file: Int, offset: Int)] = []
    for entry in entries {
      guard case .stored(let reference) = entry.value else { continue }
      places.append((try files.number(of: reference.file), reference.range.offset))
      statistics.storedByteCount += reference.range.count
    }
    var body = OCDBTByteWriter()
    body.reserveCapacity(
      entries.reduce(1 << 10) { $0 + overheadByteCount + $1.key.count + $1.value.inlineByteCount })
    body.byte(0)
    body.fileTable(files.paths)
    body.varint(entries.count)
    let shared = keyLengths(entries, excluding: prefix, to: &body)
    for (entry, shared) in zip(entries, shared) { body.raw(entry.key[shared...]) }
    for entry in entries { body.varint(entry.value.byteCount) }
    for entry in entries {
      if case .stored = entry.value { body.byte(1) } else { body.byte(0) }
    }
    for place in places { body.varint(place.file) }
    for place in places { body.varint(place.offset) }
    for case .inline(let bytes) in entries.lazy.map(\.value) { body.raw(bytes) }
    return (body.bytes, statistics)
  }

  private static func interiorNode(
    _ entries: [PendingNode<ChildNode>.Entry], excluding prefix: Int, height: Int
  ) throws(GraftError) -> (body: [UInt8], statistics: Statistics) {
    var statistics = Statistics()
    var files = FileNumbers()
    var numbers: [Int] = []
    for entry in entries {
      numbers.append(try files.number(of: entry.value.node.place.file))
      let below = entry.value.node.statistics
      statistics.keyCount += below.keyCount
      statistics.treeByteCount += below.treeByteCount
      statistics.storedByteCount += below.storedByteCount
    }
    var body = OCDBTByteWriter()
    body.byte(UInt8(height))
    body.fileTable(files.paths)
    body.varint(entries.count)
    let shared = keyLengths(entries, excluding: prefix, to: &body)
    for entry in entries { body.varint(entry.value.prefixByteCount - prefix) }
    for (entry, shared) in zip(entries, shared) { body.raw(entry.key[shared...]) }
    for number in numbers { body.varint(number) }
    for entry in entries { body.varint(entry.value.node.place.range.offset) }
    for entry in entries { body.varint(entry.value.node.place.range.count) }
    for entry in entries { body.varint(entry.value.node.statistics.keyCount) }
    for entry in entries { body.varint(entry.value.node.statistics.treeByteCount) }
    for entry in entries { body.varint(entry.value.node.statistics.storedByteCount) }
    return (body.bytes, statistics)
  }

  /// Writes the columns of prefix and suffix lengths, and gives for each key how many of its bytes are not written.
  private static func keyLengths<Value>(
    _ entries: [PendingNode<Value>.Entry], excluding prefix: Int, to body: inout OCDBTByteWriter
  ) -> [Int] {
    var shared = [prefix]
    shared.reserveCapacity(entries.count)
    for entry in entries.dropFirst() { shared.append(entry.sharedByteCount) }
    for count in shared.dropFirst() { body.varint(count - prefix) }
    for (entry, count) in zip(entries, shared) { body.varint(entry.key.count - count) }
    return shared
  }

  /// What TensorStore calls its defaults, except that the nodes are smaller; it matters only to those who write on.
  private static func manifest(
    root: WrittenNode?, height: Int, identity: [UInt8], commitTime: UInt64
  ) -> [UInt8] {
    var body = OCDBTByteWriter()
    body.raw(identity)
    body.varint(0)
    body.varint(100)
    body.varint(nodeByteCountLimit)
    body.byte(4)
    // zstd of the level that zstd takes by itself, which is 3.
    body.varint(1)
    body.fixed(littleEndian: Int32(0))

    body.fileTable([Array((root?.place.file.path ?? "").utf8)])
    body.varint(1)
    body.varint(1)
    body.byte(UInt8(height))
    body.varint(0)
    // A database without keys has no root: all ones.
    body.varint(root.map { UInt64($0.place.range.offset) } ?? .max)
    body.varint(root.map { UInt64($0.place.range.count) } ?? .max)
    body.varint(root?.statistics.keyCount ?? 0)
    body.varint(root?.statistics.treeByteCount ?? 0)
    body.varint(root?.statistics.storedByteCount ?? 0)
    body.fixed(littleEndian: commitTime)
    body.varint(0)
    return OCDBTEnvelope.sealed(body.bytes, magic: OCDBTEnvelope.manifestMagic)
  }
}

extension OCDBTBuilder {
  /// Builds the database of these entries, which are in the order of their keys, and gives the bytes of the manifest.
  ///
  /// - Throws: what ``add(_:_:)`` throws.
  package static func build(
    _ entries: some Sequence<OCDBTReader.Entry>, commitTime: UInt64,
    nodeByteCountLimit: Int = Self.nodeByteCountLimit, append: Append
  ) throws(GraftError) -> [UInt8] {
    var result: Result<[UInt8], GraftError>?
    withoutActuallyEscaping(append) { append in
      result = Result { () throws(GraftError) in
        var builder = OCDBTBuilder(nodeByteCountLimit: nodeByteCountLimit, append: append)
        for entry in entries { try builder.add(entry.key, entry.value) }
        return try builder.finish(commitTime: commitTime)
      }
    }
    guard let result else { preconditionFailure("the closure has run") }
    return try result.get()
  }
}

/// A node that is being filled.
private struct PendingNode<Value> {
  struct Entry {
    var key: [UInt8]
    var value: Value
    /// How many bytes the key begins with that the key before it, in this node or the one before, begins with too.
    var sharedByteCount: Int
  }

  private(set) var entries: [Entry] = []
  private var byteCount = 0
  /// The newest key, which stays known when the entries are taken.
  private(set) var lastKey: [UInt8]?

  func isFull(adding more: Int, limit: Int) -> Bool {
    !entries.isEmpty && (byteCount + more > limit || entries.count == OCDBTNode.entryCountLimit)
  }

  mutating func add(_ key: [UInt8], _ value: Value, sharedByteCount: Int, byteCount more: Int) {
    entries.append(Entry(key: key, value: value, sharedByteCount: sharedByteCount))
    byteCount += more
    lastKey = key
  }

  mutating func take() -> [Entry] {
    defer {
      entries.removeAll()
      byteCount = 0
    }
    return entries
  }
}

/// What the parent of a node keeps of it beside its first key.
private struct ChildNode {
  /// How many first bytes of its keys the node leaves out.
  var prefixByteCount: Int
  var node: WrittenNode
}

private struct WrittenNode {
  var place: OCDBTReference
  var statistics: Statistics
}

/// What is said of a subtree.
private struct Statistics {
  var keyCount = 0
  var treeByteCount = 0
  var storedByteCount = 0
}

/// The files of a node, numbered as they come.
private struct FileNumbers {
  private(set) var paths: [[UInt8]] = []
  private var numbers: [Key: Int] = [:]
  /// Neighbours mostly lie in one file.
  private var latest: (path: String, number: Int)?

  mutating func number(of file: OCDBTFile) throws(GraftError) -> Int {
    if let latest, latest.path.utf8.elementsEqual(file.path.utf8) { return latest.number }
    let key = Key(file.path)
    let number = numbers[key] ?? paths.count
    if number == paths.count {
      // Paths that a reader refuses are refused here, when it is not too late.
      guard file.path.utf8.count <= OCDBTBuilder.keyByteCountLimit, OCDBTFileTable.staysInside(file.path)
      else {
        throw GraftError(
          .invalidArgument, "the path of a data file cannot be kept in an OCDBT database", file: file.path,
          expected: "a path below the database of at most \(OCDBTBuilder.keyByteCountLimit) bytes")
      }
      paths.append(Array(file.path.utf8))
      numbers[key] = number
    }
    latest = (file.path, number)
    return number
  }
}

extension OCDBTValue {
  fileprivate var inlineByteCount: Int {
    if case .inline(let bytes) = self { bytes.count } else { 0 }
  }
}
