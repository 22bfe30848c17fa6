package import GraftCodec
package import GraftCore

/// What an Orbax checkpoint that is to be written consists of, before anything is made: its arrays with their chunks, and its
/// files of metadata.
///
/// ```text
/// NAME/
///   orbax.checkpoint             empty: the folder is a checkpoint of version 1
///   _CHECKPOINT_METADATA         handlers, times, custom metadata
///   commit_success.txt           written last
///   state/                       the saved tree; in version 0 all of it is in NAME itself
///     _METADATA                  every leaf's keys and kind, empty nodes too
///     _strings.json              the leaves that are strings, if any
///     _sharding                  the shardings of leaves that are said to be jax.Arrays, if any,
///     array_metadatas/process_0  and of which generator the keys are that some of them hold
///     manifest.ocdbt, d/         the arrays in a database, or one folder for each array
/// ```
package struct OrbaxPlan: Sendable {
  /// How the checkpoint is to be written.
  package struct Options: Sendable {
    /// The layout of the folder.
    package enum Version: Int, Hashable, Sendable {
      /// The saved tree's files in the checkpoint's own folder.
      case version0 = 0
      /// The saved tree in a folder of its own.
      case version1 = 1
    }

    /// The layout of the folder.
    package var version = Version.version1
    /// The version of the arrays' metadata; nil for what Orbax writes in this layout: 2 in version 0, 3 in version 1.
    package var zarrVersion: ZarrVersion?
    /// Whether the arrays are put into an OCDBT database, rather than each chunk into a file of its own.
    package var usesDatabase = true
    /// How chunks are compressed.
    package var compression = Compression.zstd()
    /// Whether each chunk has a checksum, which version 2 of Zarr does not know.
    package var hasChecksums = true
    /// How arrays are cut into chunks.
    package var chunks = ChunkShapeChoice()
    /// Axes of the arrays at some paths that are cut before that.
    package var cuts: [(pattern: PathPattern, cut: ChunkShapeChoice.Cut)] = []
    /// The bytes from which on a data file is followed by another.
    package var dataFileByteCount = 2 << 30
    /// What users are told about the checkpoint beside its tree.
    package var customMetadata: [JSONValue.Member] = []
    /// Whether a checkpoint at the path is replaced.
    package var isOverwriting = false
    /// The limits that the checkpoint must keep to be read again.
    package var limits = Limits()

    /// Version 1 with Zarr 3 in a database, zstd and checksums.
    package init() {}
  }

  /// What Orbax takes an array for when no target says otherwise.
  package enum ArrayKind: Hashable, Sendable {
    /// A NumPy array, which needs no device and keeps its dtype.
    case numpy
    /// Python's `int`, `float` or `bool`; an array of rank 0 that was one when the source was saved.
    case scalar
    /// A `jax.Array` on the devices that the sharding names, as `_sharding` has it; on others Orbax does not load it.
    ///
    /// One that holds keys of a random number generator is typed by the generator's name.
    case jax(sharding: String, randomKey: String? = nil)

    /// What a checkpoint that was read says of a leaf, in ``Catalog/leafMetadata``.
    package init(leafMetadata: [String: String]) {
      if let sharding = leafMetadata["sharding"] {
        self = .jax(sharding: sharding, randomKey: leafMetadata["random_key_impl"])
      } else {
        self = leafMetadata["value_type"] == "scalar" ? .scalar : .numpy
      }
    }
  }

  /// A leaf of the tree that is to be written.
  package enum Leaf: Hashable, Sendable {
    /// A tensor, which ``OrbaxWriter`` is given chunk by chunk.
    case tensor(TensorSpec, ArrayKind = .numpy)
    /// Text, which the plan writes.
    case string(String)
  }

  /// An array of the checkpoint.
  package struct PlannedArray: Sendable {
    /// Where it stands in the tree.
    package let path: TreePath
    /// The dtype and shape.
    package let spec: TensorSpec
    /// The name under which it is stored.
    package let name: String
    /// The extent of a chunk along each axis.
    package let chunkShape: Shape
    /// The number of chunks along each axis.
    package let grid: [Int]
    /// The number of chunks; 0 for a tensor without elements.
    package let chunkCount: Int
    /// How many chunks the arrays before this one have.
    package let firstChunk: Int
    /// The bytes of a chunk as the writer is given it: elements of less than a byte are packed.
    package let chunkByteCount: Int
    /// How chunks are encoded, in which elements of less than a byte have a byte each by then; nil for an array that is linked.
    package let encoding: ChunkEncoding?
    /// Where the chunks or shards are of an array that is linked; nil for one that is written.
    package var linked: Layout?
  }

  /// How the checkpoint is to be written.
  package let options: Options
  /// The arrays, in the order of the tree; their indices are those of ``OrbaxWriter``'s leaves.
  package let arrays: [PlannedArray]
  /// The number of chunks of all arrays.
  package let chunkCount: Int
  /// The version of the arrays' metadata.
  package let zarrVersion: ZarrVersion
  /// The files of the saved tree beside its arrays: names and bytes.
  let treeFiles: [(name: String, bytes: [UInt8])]

  /// The name of the folder of the saved tree in version 1.
  package static let checkpointable = "state"

  /// The folder of the saved tree in the checkpoint, with a slash at its end where it has a name.
  var treePrefix: String { options.version == .version1 ? Self.checkpointable + "/" : "" }

  /// Decides how a tree is written.
  ///
  /// - Parameter linked: where the chunks of those tensors are that exist already, for each tensor in the order of the tree, nil for one
  ///   that is written; empty for none. They are in files that ``OrbaxWriter/adopt(_:sealed:copied:isCancelled:)`` brings in, or in the layouts
  ///   themselves, and are chunks of version 3 in a database.
  /// - Throws: `collision` for names that Orbax cannot tell apart; `unsupported` for what it cannot load; `limitExceeded`;
  ///   `invalidArgument`.
  package init(
    _ tree: Tree<Leaf>, linked: [Layout?] = [], options: Options = Options()
  ) throws(GraftError) {
    try self.init(
      linked, options,
      walk: { (enter, leave, end) throws(GraftError) in
        try tree.forEachEnd(enter: enter, leave: leave, end: end)
      }, validate: tree.validate)
  }

  /// The same for a tree of lazy tensors, given what each leaf is here.
  package init(
    _ tree: Tree<LazyLeaf>, linked: [Layout?] = [], options: Options = Options(), leaf: (LazyLeaf) -> Leaf
  ) throws(GraftError) {
    try self.init(
      linked, options,
      walk: { (enter, leave, end) throws(GraftError) in
        try tree.forEachLazyEnd(
          enter: enter, leave: leave, end: { (kind, own) throws(GraftError) in try end(kind, own.map(leaf)) })
      }, validate: tree.validate)
  }

  /// What ``Tree/forEachEnd(enter:leave:end:)`` does with a tree.
  private typealias Walk = (
    _ enter: (Key, Bool) -> Void, _ leave: () -> Void, _ end: (NodeKind, Leaf?) throws(GraftError) -> Void
  ) throws(GraftError) -> Void

  private init(
    _ linked: [Layout?], _ options: Options, walk: Walk, validate: () throws(GraftError) -> Void
  ) throws(GraftError) {
    var draft = Draft(options, linked)
    var failure: GraftError?
    do throws(GraftError) {
      try walk(
        { draft.enter($0, isIndex: $1) }, { draft.leave() },
        { (kind, leaf) throws(GraftError) in try draft.add(kind, leaf) })
      try draft.names.check()
    } catch {
      failure = error
    }
    // What is wrong with the tree itself comes first.
    if failure != nil || draft.hasFault { try validate() }
    if let failure { throw failure }
    guard draft.linkedChunkCount <= options.limits.chunkCount - draft.chunkCount else {
      throw GraftError(
        .limitExceeded, "the checkpoint would have too many chunks",
        expected: "at most \(options.limits.chunkCount)",
        found: "\(draft.linkedChunkCount + draft.chunkCount)",
        remedy: "save what has many chunks, or raise Limits.chunkCount where it is written and read")
    }
    self.options = options
    zarrVersion = draft.zarrVersion
    arrays = draft.arrays
    chunkCount = draft.chunkCount
    treeFiles = draft.files()
  }

  /// A plan in the making: what a walk through the tree has come by so far.
  private struct Draft {
    let options: Options
    let zarrVersion: ZarrVersion
    /// What is linked, as the initialiser is given it.
    private let linked: [Layout?]
    /// The keys on the way to where the walk is, and how long the name of each node on the way is.
    private var keys: [Key] = []
    private var name: [UInt8] = []
    private var nameByteCounts: [Int] = []

    /// Whether the walk came by a fault.
    private(set) var hasFault = false
    private(set) var names: OrbaxNames
    private(set) var arrays: [PlannedArray] = []
    private(set) var chunkCount = 0
    private(set) var linkedChunkCount = 0
    private var mayLackChunks = false
    private var metadata = OrbaxTreeMetadataWriter()
    private var shardings: [JSONValue.Member] = []
    private var onDevices: [JSONValue] = []
    private var strings: [JSONValue.Member] = []

    init(_ options: Options, _ linked: [Layout?]) {
      self.options = options
      self.linked = linked
      zarrVersion = options.zarrVersion ?? (options.version == .version1 ? .version3 : .version2)
      names = OrbaxNames(inFolders: !options.usesDatabase)
      names.reserveCapacity(linked.count)
      arrays.reserveCapacity(linked.count)
    }

    mutating func enter(_ key: Key, isIndex: Bool) {
      metadata.enter(key, isIndex: isIndex)
      nameByteCounts.append(name.count)
      if !keys.isEmpty { name.append(UInt8(ascii: ".")) }
      name.append(contentsOf: key.string.utf8)
      keys.append(key)
    }

    mutating func leave() {
      metadata.leave()
      keys.removeLast()
      name.removeLast(name.count - nameByteCounts.removeLast())
    }

    mutating func add(_ kind: NodeKind, _ leaf: Leaf?) throws(GraftError) {
      metadata.add(kind, leaf)
      if kind == .fault { hasFault = true }
      guard let leaf else { return }
      let path = TreePath(keys)
      let name = String(decoding: name, as: UTF8.self)
      try names.add(name, path, isArray: leaf.spec != nil)
      switch leaf {
      case .string(let text): strings.append(JSONValue.Member(name, .string(text)))
      case .tensor(let spec, let kind):
        do throws(GraftError) {
          try add(path, spec, kind, name)
        } catch {
          throw error.adding(path)
        }
      }
    }

    private mutating func add(
      _ path: TreePath, _ spec: TensorSpec, _ kind: ArrayKind, _ name: String
    ) throws(GraftError) {
      let array: PlannedArray
      if arrays.count < linked.count, let layout = linked[arrays.count] {
        linkedChunkCount += layout.cells.count
        mayLackChunks = mayLackChunks || layout.mayLackChunks
        array = try OrbaxPlan.array(path, spec, name, linkedTo: layout, firstChunk: chunkCount, zarrVersion)
      } else {
        array = try OrbaxPlan.array(path, spec, name, firstChunk: chunkCount, zarrVersion, options)
      }
      chunkCount += array.chunkCount
      if case .jax(let sharding, let randomKey) = kind {
        shardings.append(JSONValue.Member(OrbaxTreeReader.base64(name), .string(sharding)))
        onDevices.append(array.deviceMetadata(randomKey: randomKey))
      }
      arrays.append(array)
    }

    /// The files of the saved tree beside its arrays.
    consuming func files() -> [(name: String, bytes: [UInt8])] {
      var files = [
        (
          name: OrbaxTreeMetadata.fileName,
          bytes: metadata.finish(
            usesOCDBT: options.usesDatabase, usesZarr3: zarrVersion == .version3,
            storesFillValues: !mayLackChunks)
        )
      ]
      if !strings.isEmpty { files.append((OrbaxTreeReader.stringsName, JSONValue.object(strings).encoded())) }
      if !shardings.isEmpty {
        files.append((OrbaxTreeReader.shardingName, JSONValue.object(shardings).encoded()))
        let root: JSONValue = ["array_metadatas": .array(onDevices)]
        files.append((OrbaxTreeReader.arrayMetadataName + "/process_0", root.encoded()))
      }
      return files
    }
  }

  /// An array over chunks or shards that exist, of which the writer is given none.
  private static func array(
    _ path: TreePath, _ spec: TensorSpec, _ name: String, linkedTo layout: Layout, firstChunk: Int,
    _ version: ZarrVersion
  ) throws(GraftError) -> PlannedArray {
    _ = try version.dtypeName(of: spec.dtype)
    let cellShape = layout.shards?.shape ?? layout.chunkShape
    return PlannedArray(
      path: path, spec: spec, name: name, chunkShape: cellShape, grid: ZarrArray.grid(spec.shape, cellShape),
      chunkCount: 0, firstChunk: firstChunk, chunkByteCount: 0, encoding: nil, linked: layout)
  }

  private static func array(
    _ path: TreePath, _ spec: TensorSpec, _ name: String, firstChunk: Int, _ version: ZarrVersion,
    _ options: Options
  ) throws(GraftError) -> PlannedArray {
    _ = try version.dtypeName(of: spec.dtype)
    var choice = options.chunks
    for (pattern, cut) in options.cuts where pattern.matches(path) { choice.cuts.append(cut) }
    let shape = choice.chunkShape(of: spec)
    let grid = ZarrArray.grid(spec.shape, shape)
    // Padded to whole chunks, an array may be larger than the numbers that count its bytes.
    guard let count = Shape(grid).checkedElementCount, count <= options.limits.chunkCount - firstChunk else {
      throw GraftError(
        .limitExceeded, "the checkpoint would have too many chunks",
        expected: "at most \(options.limits.chunkCount)",
        remedy: "choose larger chunks, or raise Limits.chunkCount where it is written and read")
    }
    let elementByteCount = max(1, spec.dtype.bitWidth / 8)
    guard let elements = shape.checkedElementCount,
      let byteCount = spec.dtype.byteCount(elementCount: elements),
      !byteCount.multipliedReportingOverflow(by: max(1, count)).overflow,
      !elements.multipliedReportingOverflow(by: max(1, count)).overflow
    else {
      throw GraftError(.limitExceeded, "the tensor is too large", found: "\(spec)")
    }
    let encoding: ChunkEncoding
    do throws(CodecFailure) {
      encoding = try ChunkEncoding(
        options.compression, hasChecksum: options.hasChecksums && version == .version3,
        elementByteCount: elementByteCount)
    } catch {
      throw error.graftError()
    }
    return PlannedArray(
      path: path, spec: spec, name: name, chunkShape: shape, grid: grid, chunkCount: count,
      firstChunk: firstChunk, chunkByteCount: byteCount, encoding: encoding)
  }
}

extension OrbaxPlan.Leaf {
  /// The tensor's spec, nil for a string.
  package var spec: TensorSpec? {
    if case .tensor(let spec, _) = self { spec } else { nil }
  }
}

extension OrbaxPlan.PlannedArray {
  /// The key of a chunk, by its row-major number in the grid.
  func chunkKey(_ number: Int, _ version: ZarrVersion) -> [UInt8] {
    var key = keyPrefix
    version.keys.appendKey(ofChunk: number, inGrid: grid, to: &key)
    return key
  }

  /// The key of its metadata.
  func metadataKey(_ version: ZarrVersion) -> [UInt8] { keyPrefix + version.metadataName.utf8 }

  /// Whether a chunk is given to the writer with several elements in a byte.
  var isPacked: Bool { spec.dtype.isPacked }

  /// The bytes of a chunk before it is encoded.
  var decodedByteCount: Int { chunkShape.elementCount * max(1, spec.dtype.bitWidth / 8) }

  /// What `array_metadatas` has of a `jax.Array`.
  fileprivate func deviceMetadata(randomKey: String?) -> JSONValue {
    func list(_ shape: Shape) -> JSONValue { .array(shape.map { JSONValue.integer($0) }) }
    let extra: JSONValue = randomKey.map { ["random_key_impl": .string($0)] } ?? nil
    return [
      "array_metadata": [
        "param_name": .string(name), "write_shape": list(spec.shape), "chunk_shape": list(chunkShape),
        "ext_metadata": extra,
      ]
    ]
  }

  /// What the keys of the array begin with; a tree that is one leaf has them at the root.
  var keyPrefix: [UInt8] {
    var prefix: [UInt8] = []
    // With room for what follows mostly.
    prefix.reserveCapacity(name.utf8.count + 12)
    prefix.append(contentsOf: name.utf8)
    if !prefix.isEmpty { prefix.append(UInt8(ascii: "/")) }
    return prefix
  }
}

/// The names under which leaves are stored: their keys joined with dots.
private struct OrbaxNames {
  private let inFolders: Bool
  private var names: Set<Key> = []
  private var leaves: [(name: Key, path: TreePath, isArray: Bool)] = []

  init(inFolders: Bool) { self.inFolders = inFolders }

  mutating func reserveCapacity(_ count: Int) {
    names.reserveCapacity(count)
    leaves.reserveCapacity(count)
  }

  mutating func add(_ name: String, _ path: TreePath, isArray: Bool) throws(GraftError) {
    let key = Key(name)
    guard names.insert(key).inserted else {
      let other = leaves.first { $0.name == key }?.path ?? path
      throw GraftError(
        .collision,
        "two leaves would be stored under the one name \(TreePath.printable(name)): \(other) and \(path)",
        leaf: path, remedy: "Orbax joins keys with dots: rename one of the two")
    }
    leaves.append((key, path, isArray))
    guard isArray else { return }
    // With room for the longest key of a chunk, which has a number of up to 20 bytes for each of 64 axes.
    guard name.utf8.count <= OCDBTBuilder.keyByteCountLimit - 2_048 else {
      throw GraftError(
        .limitExceeded, "the leaf's name is too long", leaf: path,
        expected: "at most \(OCDBTBuilder.keyByteCountLimit - 2_048) bytes of keys joined with dots",
        found: "\(name.utf8.count)", remedy: "choose shorter keys")
    }
    if inFolders { try checkFolder(name, path) }
  }

  private func checkFolder(_ name: String, _ path: TreePath) throws(GraftError) {
    let parts = name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    let isName = parts.allSatisfy { part in
      !part.isEmpty && part.count <= 255 && !part.contains(0) && !part.elementsEqual(".".utf8)
        && !part.elementsEqual("..".utf8)
    }
    guard isName else {
      throw GraftError(
        .unsupported, "the leaf's name cannot be the name of a folder", leaf: path,
        found: name.isEmpty ? "a name without characters" : TreePath.printable(name),
        remedy: "rename it, or write the arrays into a database")
    }
    let reserved = [
      OrbaxTreeMetadata.fileName, OrbaxTreeReader.stringsName, OrbaxTreeReader.shardingName,
      OrbaxTreeReader.arrayMetadataName, OrbaxFormat.indicator, OrbaxFormat.checkpointMetadata,
      OrbaxFormat.commitMarker, OCDBTManifest.fileName,
    ]
    if let taken = reserved.first(where: { parts[0].elementsEqual($0.utf8) }) {
      throw GraftError(
        .collision, "the leaf would have the name of a file of Orbax's own, \(taken)", leaf: path,
        remedy: "rename it, or write the arrays into a database")
    }
  }

  /// Checks that no array's folder is in another's.
  func check() throws(GraftError) {
    guard inFolders else { return }
    let names = Set(leaves.lazy.filter(\.isArray).map(\.name))
    for (name, path, isArray) in leaves where isArray && name.string.utf8.contains(UInt8(ascii: "/")) {
      var above = ""
      for part in name.string.split(separator: "/", omittingEmptySubsequences: false).dropLast() {
        above += above.isEmpty ? String(part) : "/" + part
        guard names.contains(Key(above)) else { continue }
        throw GraftError(
          .collision,
          "the folder of one array would be in the folder of another, \(TreePath.printable(above))",
          leaf: path, remedy: "rename one of the two, or write the arrays into a database")
      }
    }
  }
}
