package import GraftCore

/// The index of a checkpoint in several files, `model.safetensors.index.json`: which tensor is in which file.
///
/// ```
/// {"metadata": {"total_size": 24}, "weight_map": {"name": "model-00001-of-00002.safetensors", …}}
/// ```
package struct SafetensorsIndex: Sendable {
  /// The files, without repetition, sorted by the bytes of their names.
  package private(set) var shards: [String] = []
  /// The tensors in the order of the index, each with the index of its file in ``shards``.
  package private(set) var tensors: [(name: String, shard: Int)] = []
  /// What else the index says about the checkpoint, as text; what follows from the tensors (their total size and number)
  /// is left out.
  package private(set) var metadata: [(key: String, value: String)] = []

  /// The end of every index's name.
  package static let nameSuffix = ".safetensors.index.json"

  /// Parses an index.
  ///
  /// - Throws: `corrupt` for JSON of another kind, a tensor that comes twice, or a shard that is not a plain file name.
  package init(parsing bytes: Span<UInt8>, file: String, limits: Limits = Limits()) throws(GraftError) {
    var json = JSONReader(bytes, nestingLimit: limits.nestingDepth)
    var hasMap = false
    do throws(JSONError) {
      try json.beginObject()
      while let key = try json.nextKey() {
        if json.is(key, "weight_map") {
          if hasMap { throw JSONError(.duplicateKey("weight_map"), at: key.range.lowerBound) }
          hasMap = true
          try parseMap(&json, limits)
        } else if json.is(key, "metadata") {
          try parseMetadata(&json, bytes)
        } else {
          try json.skipValue()
        }
      }
      try json.end()
    } catch {
      throw error.graftError(in: "the index", file: file)
    }
    guard hasMap else {
      throw GraftError(.corrupt, "the index has no weight_map, which says where each tensor is", file: file)
    }
    guard tensors.count <= limits.leafCount else {
      throw GraftError(
        .limitExceeded, "the index has too many tensors", file: file, expected: "at most \(limits.leafCount)",
        found: "\(tensors.count)", remedy: "raise Limits.leafCount if the checkpoint is trusted")
    }
    guard shards.count <= limits.fileCount else {
      throw GraftError(
        .limitExceeded, "the index names too many files", file: file, expected: "at most \(limits.fileCount)",
        found: "\(shards.count)", remedy: "raise Limits.fileCount if the checkpoint is trusted")
    }
    for shard in shards where !Self.isPlainName(shard) {
      throw GraftError(
        .corrupt, "the index names a file that is not one of its own folder", file: file,
        expected: "a file name without slashes", found: SafetensorsFaults.quoted(shard),
        remedy: "a checkpoint's files lie beside its index; an index that names others is not to be trusted")
    }
    sortShards()
  }

  private mutating func parseMap(_ json: inout JSONReader, _ limits: Limits) throws(JSONError) {
    var names: Set<Key> = []
    var shardIndices: [Key: Int] = [:]
    // Neighbours are mostly in the same file.
    var last: (name: String, index: Int)?
    try json.beginObject()
    while let key = try json.nextKey() {
      let name = json.string(key)
      guard names.insert(Key(name)).inserted else {
        throw JSONError(.duplicateKey(name), at: key.range.lowerBound)
      }
      let shard = try json.readString()
      if let last, last.name.utf8.elementsEqual(shard.utf8) {
        tensors.append((name: name, shard: last.index))
        continue
      }
      let index = shardIndices[Key(shard)] ?? shards.count
      if index == shards.count {
        shardIndices[Key(shard)] = index
        shards.append(shard)
      }
      last = (name: shard, index: index)
      tensors.append((name: name, shard: index))
    }
  }

  private mutating func parseMetadata(_ json: inout JSONReader, _ bytes: Span<UInt8>) throws(JSONError) {
    guard try json.peekKind() == .object else { return try json.skipValue() }
    try json.beginObject()
    while let key = try json.nextKey() {
      if json.is(key, "total_size") || json.is(key, "total_parameters") {
        try json.skipValue()
      } else if try json.peekKind() == .string {
        metadata.append((key: json.string(key), value: try json.readString()))
      } else {
        // What is no string is kept as the text that it is; a value made of it could take many times the memory.
        let start = json.offset
        try json.skipValue()
        let text = (start..<json.offset).map { bytes[$0] }
        metadata.append((key: json.string(key), value: String(decoding: text, as: UTF8.self)))
      }
    }
  }

  private mutating func sortShards() {
    let order = shards.indices.sorted { shards[$0].utf8.lexicographicallyPrecedes(shards[$1].utf8) }
    var rank = [Int](repeating: 0, count: shards.count)
    for (new, old) in order.enumerated() { rank[old] = new }
    shards = order.map { shards[$0] }
    for index in tensors.indices { tensors[index].shard = rank[tensors[index].shard] }
  }

  /// Whether a name stands for a file of the same folder and nothing else.
  private static func isPlainName(_ name: String) -> Bool {
    !name.isEmpty && name != "." && name != ".." && !name.utf8.contains(UInt8(ascii: "/"))
      && !name.utf8.contains(0)
  }
}
