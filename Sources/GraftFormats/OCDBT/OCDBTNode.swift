package import GraftCore

/// A value of a database: at hand, or in a data file.
package enum OCDBTValue: Hashable, Sendable {
  /// The value itself, which its node holds.
  case inline([UInt8])
  /// Where the value is.
  case stored(OCDBTReference)

  /// The bytes of the value.
  package var byteCount: Int {
    switch self {
    case .inline(let bytes): bytes.count
    case .stored(let reference): reference.range.count
    }
  }
}

/// A node of a database's B+tree.
///
///     body:  height │ file table │ count │ key prefix lengths (count - 1) │ key suffix lengths │ …
///     leaf:      key suffixes │ value lengths │ value kinds │ files │ offsets │ inline values
///     interior:  subtree prefix lengths │ key suffixes │ files │ offsets │ lengths │ three statistics
///
/// All columns are whole: the lengths of all entries, then the suffixes of all entries, and so on. A key is what it shares with
/// the key before it, and its suffix; all keys of a node follow a prefix that the path from the root to the node gives.
package struct OCDBTNode: Hashable, Sendable {
  /// A key with its value.
  package struct Entry: Hashable, Sendable {
    /// The key, without what the path to the node gives.
    package var key: [UInt8]
    /// The value.
    package var value: OCDBTValue
  }

  /// A node below this one.
  package struct Child: Hashable, Sendable {
    /// The least key that the child may have, without what the path to this node gives.
    package var key: [UInt8]
    /// How many bytes of ``key`` all keys of the child begin with, which its own keys leave out.
    package var prefixByteCount: Int
    /// The child.
    package var node: OCDBTReference
  }

  /// What a node holds, in the order of keys.
  package enum Content: Hashable, Sendable {
    case entries([Entry])
    case children([Child])
  }

  /// The height; a leaf's is 0.
  package var height: Int
  /// What it holds; never empty.
  package var content: Content

  /// How many entries or children it has.
  package var count: Int {
    switch content {
    case .entries(let entries): entries.count
    case .children(let children): children.count
    }
  }

  /// The bytes of the keys and the inline values.
  package var contentByteCount: Int {
    switch content {
    case .entries(let entries):
      entries.reduce(0) { sum, entry in
        if case .inline(let value) = entry.value {
          sum + entry.key.count + value.count
        } else {
          sum + entry.key.count
        }
      }
    case .children(let children): children.reduce(0) { $0 + $1.key.count }
    }
  }

  /// The most entries of a node.
  static let entryCountLimit = 1 << 20
  /// The longest value that a node can hold.
  static let inlineValueByteCountLimit = 1 << 20

  /// Parses a whole node.
  ///
  /// - Parameters:
  ///   - base: the base path of the file that holds the node.
  ///   - height: the height that the reference to the node gives it, one less than its parent's; so no path is a circle.
  package init(
    _ bytes: [UInt8], base: String, height expectedHeight: Int, limits: Limits = Limits()
  ) throws(OCDBTFailure) {
    let limit = limits.metadataByteCount
    let body = try OCDBTEnvelope.open(bytes, magic: OCDBTEnvelope.nodeMagic, byteCountLimit: limit)
    var reader = unsafe OCDBTByteReader(body.span.bytes)
    height = Int(try reader.byte("the height of the node"))
    guard height == expectedHeight else {
      throw OCDBTFailure(.height(expected: expectedHeight, found: height), at: 0)
    }
    let table = try OCDBTFileTable(&reader, base: base, byteCountLimit: limit)
    let count = try reader.count(
      "entries", limit: Self.entryCountLimit,
      minimumByteCount: height == 0 ? 3 : 8)
    guard count > 0 else { throw OCDBTFailure(.noEntries("entries"), at: reader.offset) }
    // What was decompressed may claim far more than the file paid for.
    let affordable = OCDBTReader.entryCountLimit(storedByteCount: bytes.count)
    guard count <= affordable else {
      throw OCDBTFailure(.tooMany("entries", claimed: UInt64(count), limit: affordable), at: reader.offset)
    }

    var prefixes = [0]
    prefixes.reserveCapacity(count)
    for _ in 1..<count { prefixes.append(try reader.length("the prefix of a key")) }
    var suffixes: [Int] = []
    suffixes.reserveCapacity(count)
    for _ in 0..<count { suffixes.append(try reader.length("the suffix of a key")) }
    var subtreePrefixes: [Int] = []
    if height > 0 {
      subtreePrefixes.reserveCapacity(count)
      for _ in 0..<count { subtreePrefixes.append(try reader.length("the prefix of a subtree")) }
    }
    let keys = try Self.keys(&reader, prefixes: prefixes, suffixes: suffixes, byteCountLimit: limit)
    if height == 0 {
      content = .entries(try Self.entries(&reader, table, keys))
    } else {
      content = .children(try Self.children(&reader, table, keys, subtreePrefixes))
    }
    try reader.end()
  }

  @_lifetime(reader: copy reader)
  private static func keys(
    _ reader: inout OCDBTByteReader, prefixes: [Int], suffixes: [Int], byteCountLimit: Int
  ) throws(OCDBTFailure) -> [[UInt8]] {
    var keys: [[UInt8]] = []
    keys.reserveCapacity(prefixes.count)
    var previous: [UInt8] = []
    var total = 0
    for index in prefixes.indices {
      let start = reader.offset
      let (prefix, length) = (prefixes[index], prefixes[index] + suffixes[index])
      guard prefix <= previous.count else {
        throw OCDBTFailure(.prefixTooLong(prefix, previous: previous.count), at: start)
      }
      guard length <= 0xFFFF else { throw OCDBTFailure(.keyTooLong(length), at: start) }
      // Shared prefixes could make a small node a large one.
      total += length
      guard total <= byteCountLimit else {
        throw OCDBTFailure(
          .tooMany("bytes of keys", claimed: UInt64(total), limit: byteCountLimit), at: start)
      }
      var key: [UInt8] = []
      key.reserveCapacity(length)
      key += previous[..<prefix]
      try reader.append(suffixes[index], of: "a key", to: &key)
      guard index == 0 || previous.precedes(key) else {
        throw OCDBTFailure(.keyOrder, at: start)
      }
      keys.append(key)
      previous = key
    }
    return keys
  }

  @_lifetime(reader: copy reader)
  private static func entries(
    _ reader: inout OCDBTByteReader, _ table: OCDBTFileTable, _ keys: [[UInt8]]
  ) throws(OCDBTFailure) -> [Entry] {
    var lengths: [UInt64] = []
    lengths.reserveCapacity(keys.count)
    for _ in keys { lengths.append(try reader.varint("the length of a value")) }
    var isStored: [Bool] = []
    isStored.reserveCapacity(keys.count)
    for length in lengths {
      let start = reader.offset
      let kind = try reader.varint("the kind of a value")
      guard kind <= 1 else { throw OCDBTFailure(.valueKind(kind), at: start) }
      guard kind == 1 || length <= UInt64(inlineValueByteCountLimit) else {
        throw OCDBTFailure(.inlineValueTooLong(length, limit: inlineValueByteCountLimit), at: start)
      }
      isStored.append(kind == 1)
    }
    var files: [OCDBTFile?] = []
    files.reserveCapacity(keys.count)
    for stored in isStored { files.append(stored ? try table.file(&reader) : nil) }
    var ranges: [ByteRange?] = []
    ranges.reserveCapacity(keys.count)
    for (stored, length) in zip(isStored, lengths) {
      let start = reader.offset
      ranges.append(
        stored ? try OCDBTFileTable.range(try reader.varint("the offset of a value"), length, at: start) : nil
      )
    }
    var entries: [Entry] = []
    entries.reserveCapacity(keys.count)
    for index in keys.indices {
      if let file = files[index], let range = ranges[index] {
        entries.append(Entry(key: keys[index], value: .stored(OCDBTReference(file: file, range: range))))
      } else {
        entries.append(
          Entry(key: keys[index], value: .inline(try reader.take(Int(lengths[index]), "a value"))))
      }
    }
    return entries
  }

  @_lifetime(reader: copy reader)
  private static func children(
    _ reader: inout OCDBTByteReader, _ table: OCDBTFileTable, _ keys: [[UInt8]], _ subtreePrefixes: [Int]
  ) throws(OCDBTFailure) -> [Child] {
    for (key, prefix) in zip(keys, subtreePrefixes) where prefix > key.count {
      throw OCDBTFailure(.subtreePrefixTooLong(prefix, keyByteCount: key.count), at: reader.offset)
    }
    let nodes = try table.references(&reader, count: keys.count)
    for _ in 0..<3 * keys.count { _ = try reader.varint("the size of a subtree") }
    var children: [Child] = []
    children.reserveCapacity(keys.count)
    for index in keys.indices {
      guard let node = nodes[index] else {
        preconditionFailure("references that may not be missing are there")
      }
      children.append(Child(key: keys[index], prefixByteCount: subtreePrefixes[index], node: node))
    }
    return children
  }
}
