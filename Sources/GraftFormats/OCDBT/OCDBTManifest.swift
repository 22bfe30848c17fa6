package import GraftCore

/// The entry to a database: its configuration and its versions.
///
///     body:  configuration │ file table │ newest versions │ older version nodes
///
/// A *numbered* database's manifest.ocdbt has the configuration alone; the rest is in manifest.{16 hexadecimal digits}, of which
/// the last is the newest.
package struct OCDBTManifest: Hashable, Sendable {
  /// How the database is kept.
  package var configuration: OCDBTConfiguration
  /// The newest versions, oldest first; empty in a numbered database's first manifest.
  package var versions: [OCDBTVersion]
  /// Nodes of the version tree, which hold older versions, highest first.
  package var versionNodes: [OCDBTVersionNodeReference]

  /// The name of the manifest in its database.
  package static let fileName = "manifest.ocdbt"

  /// The newest version, nil in a numbered database's first manifest.
  package var newest: OCDBTVersion? { versions.last }

  /// Parses a whole manifest.
  package init(_ bytes: [UInt8], limits: Limits = Limits()) throws(OCDBTFailure) {
    let limit = limits.metadataByteCount
    let body = try OCDBTEnvelope.open(bytes, magic: OCDBTEnvelope.manifestMagic, byteCountLimit: limit)
    var reader = unsafe OCDBTByteReader(body.span.bytes)
    configuration = try OCDBTConfiguration(&reader)
    versions = []
    versionNodes = []
    if configuration.isNumbered {
      try reader.end()
      return
    }
    let table = try OCDBTFileTable(&reader, base: "", byteCountLimit: limit)
    versions = try OCDBTVersion.list(&reader, table, arityLog2: configuration.versionTreeArityLog2)
    versionNodes = try OCDBTVersionNodeReference.list(
      &reader, table, arityLog2: configuration.versionTreeArityLog2, parentHeight: nil)
    try reader.end()
  }
}

/// How a database is kept, which writers need and readers only look at.
package struct OCDBTConfiguration: Hashable, Sendable {
  /// How nodes are compressed.
  package enum Compression: Hashable, Sendable {
    case none
    case zstd(level: Int)
  }

  /// The database's identity.
  package var uuid: [UInt8]
  /// Whether the versions are in numbered manifests beside this one.
  package var isNumbered: Bool
  /// The longest value that is kept in its node.
  package var inlineValueByteCountLimit: Int
  /// The size from which on a node is split.
  package var nodeByteCountLimit: Int
  /// The logarithm to base 2 of how many children a node of the version tree has.
  package var versionTreeArityLog2: Int
  /// How nodes are compressed.
  package var compression: Compression

  @_lifetime(reader: copy reader)
  init(_ reader: inout OCDBTByteReader) throws(OCDBTFailure) {
    uuid = try reader.take(16, "the identity of the database")
    let kind = try reader.varint("the manifest kind")
    guard kind <= 1 else { throw OCDBTFailure(.manifestKind(kind), at: 16) }
    isNumbered = kind == 1
    inlineValueByteCountLimit = Int(clamping: try reader.varint("the longest inline value"))
    nodeByteCountLimit = Int(clamping: try reader.varint("the largest node"))
    let arityOffset = reader.offset
    versionTreeArityLog2 = Int(try reader.byte("the arity of the version tree"))
    guard (1...16).contains(versionTreeArityLog2) else {
      throw OCDBTFailure(.arity(versionTreeArityLog2), at: arityOffset)
    }
    let methodOffset = reader.offset
    switch try reader.varint("the compression method") {
    case 0: compression = .none
    case 1:
      compression = .zstd(
        level: Int(Int32(littleEndian: try reader.fixed("the compression level", as: Int32.self))))
    case let method: throw OCDBTFailure(.compression(method), at: methodOffset)
    }
  }
}

/// A version of a database: the root of its B+tree.
package struct OCDBTVersion: Hashable, Sendable {
  /// Its number; the newest version has the highest.
  package var generation: UInt64
  /// The root, nil for a database without keys.
  package var root: OCDBTReference?
  /// The height of the root; a leaf's is 0.
  package var rootHeight: Int
  /// How many keys there are, as the writer counted them.
  package var keyCount: UInt64
  /// When it was committed, in nanoseconds since 1970.
  package var commitTime: UInt64

  @_lifetime(reader: copy reader)
  static func list(
    _ reader: inout OCDBTByteReader, _ table: OCDBTFileTable, arityLog2: Int
  ) throws(OCDBTFailure) -> [OCDBTVersion] {
    // Eight columns of at least a byte, the last of eight bytes.
    let count = try reader.count("versions", limit: 1 << arityLog2, minimumByteCount: 15)
    guard count > 0 else { throw OCDBTFailure(.noEntries("versions"), at: reader.offset) }
    let generations = try OCDBTVersionNodeReference.generations(&reader, count: count)
    var heights: [Int] = []
    for _ in 0..<count { heights.append(Int(try reader.byte("the height of a root"))) }
    let rootsOffset = reader.offset
    let roots = try table.references(&reader, count: count, allowsMissing: true)
    for (root, height) in zip(roots, heights) where root == nil && height != 0 {
      throw OCDBTFailure(.heightOfEmptyRoot(height), at: rootsOffset)
    }
    var keyCounts: [UInt64] = []
    for _ in 0..<count { keyCounts.append(try reader.varint("the number of keys")) }
    for _ in 0..<2 * count { _ = try reader.varint("the size of a tree") }
    var versions: [OCDBTVersion] = []
    for index in 0..<count {
      let time = UInt64(littleEndian: try reader.fixed("the time of a version", as: UInt64.self))
      versions.append(
        OCDBTVersion(
          generation: generations[index], root: roots[index], rootHeight: heights[index],
          keyCount: keyCounts[index],
          commitTime: time))
    }
    return versions
  }
}

/// Where a node of the version tree is.
package struct OCDBTVersionNodeReference: Hashable, Sendable {
  /// The newest generation in it.
  package var generation: UInt64
  /// The node.
  package var node: OCDBTReference
  /// Its height; a leaf's is 0.
  package var height: Int
  /// How many versions it holds.
  package var versionCount: UInt64

  /// - Parameter parentHeight: the height of the node that has the entries, nil for the manifest, where they say their own.
  @_lifetime(reader: copy reader)
  static func list(
    _ reader: inout OCDBTByteReader, _ table: OCDBTFileTable, arityLog2: Int, parentHeight: Int?
  ) throws(OCDBTFailure) -> [OCDBTVersionNodeReference] {
    let limit = parentHeight == nil ? 64 / arityLog2 : 1 << arityLog2
    let count = try reader.count("version nodes", limit: limit, minimumByteCount: 13)
    let generations = try Self.generations(&reader, count: count)
    let nodes = try table.references(&reader, count: count)
    var versionCounts: [UInt64] = []
    for _ in 0..<count { versionCounts.append(try reader.varint("the number of versions")) }
    for _ in 0..<count { _ = try reader.fixed("the time of a version", as: UInt64.self) }
    var result: [OCDBTVersionNodeReference] = []
    for index in 0..<count {
      var height = (parentHeight ?? 0) - 1
      if parentHeight == nil {
        let offset = reader.offset
        height = Int(try reader.byte("the height of a version node"))
        // Highest first, and down to 1: the leaves' worth of versions are in the manifest itself.
        let ceiling = result.last?.height ?? 64 / arityLog2 + 1
        guard height > 0, height < ceiling else {
          throw OCDBTFailure(.height(expected: max(1, ceiling - 1), found: height), at: offset)
        }
      }
      guard let node = nodes[index] else {
        preconditionFailure("references that may not be missing are there")
      }
      result.append(
        OCDBTVersionNodeReference(
          generation: generations[index], node: node, height: height, versionCount: versionCounts[index]))
    }
    return result
  }

  @_lifetime(reader: copy reader)
  static func generations(
    _ reader: inout OCDBTByteReader, count: Int
  ) throws(OCDBTFailure) -> [UInt64] {
    var generations: [UInt64] = []
    for _ in 0..<count {
      let offset = reader.offset
      let generation = try reader.varint("a generation")
      let previous = generations.last ?? 0
      guard generation > previous else {
        throw OCDBTFailure(.generation(generation, after: previous), at: offset)
      }
      generations.append(generation)
    }
    return generations
  }
}

/// A node of the tree of a database's older versions.
///
///     body:  arity │ height │ file table │ versions (height 0), or references to nodes one lower
package struct OCDBTVersionNode: Hashable, Sendable {
  /// What the node holds.
  package enum Content: Hashable, Sendable {
    case versions([OCDBTVersion])
    case nodes([OCDBTVersionNodeReference])
  }

  /// The height; a leaf's is 0.
  package var height: Int
  /// What it holds.
  package var content: Content

  /// Parses a whole node.
  ///
  /// - Parameters:
  ///   - base: the base path of the file that holds the node.
  ///   - height: the height that the reference to the node gives it.
  package init(
    _ bytes: [UInt8], base: String, height expectedHeight: Int, limits: Limits = Limits()
  ) throws(OCDBTFailure) {
    let limit = limits.metadataByteCount
    let body = try OCDBTEnvelope.open(bytes, magic: OCDBTEnvelope.versionNodeMagic, byteCountLimit: limit)
    var reader = unsafe OCDBTByteReader(body.span.bytes)
    let arityLog2 = Int(try reader.byte("the arity of the version tree"))
    guard (1...16).contains(arityLog2) else { throw OCDBTFailure(.arity(arityLog2), at: 0) }
    height = Int(try reader.byte("the height of the version node"))
    guard height == expectedHeight, (height + 1) * arityLog2 < 64 else {
      throw OCDBTFailure(.height(expected: expectedHeight, found: height), at: 1)
    }
    let table = try OCDBTFileTable(&reader, base: base, byteCountLimit: limit)
    if height == 0 {
      content = .versions(try OCDBTVersion.list(&reader, table, arityLog2: arityLog2))
    } else {
      let nodes = try OCDBTVersionNodeReference.list(
        &reader, table, arityLog2: arityLog2, parentHeight: height)
      guard !nodes.isEmpty else { throw OCDBTFailure(.noEntries("version nodes"), at: reader.offset) }
      content = .nodes(nodes)
    }
    try reader.end()
  }
}
