internal import GraftCore

/// Reads one saved tree: its metadata, the places of its arrays, its strings and what is said about single leaves.
struct OrbaxTreeReader {
  let folder: any SourceFolder
  let limits: Limits

  /// The catalog of the tree.
  ///
  /// - Parameter metadata: what is known about the checkpoint around it.
  func catalog(metadata: [(key: String, value: String)]) async throws(GraftError) -> Catalog {
    let file = folder.name(of: OrbaxTreeMetadata.fileName)
    guard let bytes = try await folder.metadata(at: OrbaxTreeMetadata.fileName, limits: limits) else {
      throw GraftError(
        .notFound, "the saved tree has no \(OrbaxTreeMetadata.fileName)", file: folder.name,
        remedy: "the checkpoint is incomplete, or was written by an Orbax from before 2023")
    }
    let saved = try OrbaxTreeMetadata(bytes, file: file, limits: limits)
    var metadata = metadata
    if let custom = saved.customMetadata { metadata.append((key: "tree_custom_metadata", value: custom)) }

    var arrays: [(path: TreePath, name: String)] = []
    var needsStrings = false
    saved.tree.forEachLeaf { path, value in
      switch value {
      case .array(let name): arrays.append((path, name))
      case .string: needsStrings = true
      case .empty: break
      }
    }
    let strings = needsStrings ? try await strings() : [:]
    let (tensors, files) =
      arrays.isEmpty
      ? ([], []) : try await OrbaxArrays(folder: folder, metadata: saved, limits: limits).tensors(arrays)

    var next = 0
    let tree: Tree<StoredLeaf> = try saved.tree.mapLeaves { path, value throws(GraftError) in
      switch value {
      case .array(let name):
        defer { next += 1 }
        return .leaf(.tensor(tensors[next].spec, tensors[next].layout, name: name))
      case .string(let name):
        guard let text = strings[Key(name)] else {
          throw GraftError(
            .corrupt, "the checkpoint lists a string that is not there", leaf: path,
            file: folder.name(of: Self.stringsName),
            remedy: "the checkpoint is incomplete: copy or download it again")
        }
        return .leaf(.string(text))
      case .empty: return .empty
      }
    }
    var catalog = Catalog(format: OrbaxFormat.name, files: files, tree: tree, metadata: metadata)
    catalog.leafMetadata = try await leafMetadata(of: arrays)
    return catalog
  }

  private static let stringsName = "_strings.json"
  private static let shardingName = "_sharding"
  private static let arrayMetadataName = "array_metadatas"

  private func json(_ name: String, _ subject: String) async throws(GraftError) -> JSONValue? {
    guard let bytes = try await folder.metadata(at: name, limits: limits) else { return nil }
    do throws(JSONError) {
      return try JSONValue(parsing: bytes, nestingLimit: limits.nestingDepth, acceptsNonFinite: true)
    } catch {
      throw error.graftError(in: subject, file: folder.name(of: name))
    }
  }

  private func strings() async throws(GraftError) -> [Key: String] {
    let members = try await json(Self.stringsName, "the file of strings")?.members ?? []
    var strings: [Key: String] = [:]
    for member in members { strings[Key(member.key)] = member.value.text }
    return strings
  }

  /// The shardings with which arrays were saved, and which arrays are keys of random number generators.
  private func leafMetadata(
    of arrays: [(path: TreePath, name: String)]
  ) async throws(GraftError) -> [TreePath: [String: String]] {
    var result: [TreePath: [String: String]] = [:]
    if let members = try await json(Self.shardingName, "the file of shardings")?.members {
      var shardings: [Key: String] = [:]
      for member in members { shardings[Key(member.key)] = member.value.text }
      for array in arrays {
        // The keys are the names in the base 64 for URLs, padded.
        if let sharding = shardings[Key(Self.base64(Array(array.name.utf8)))] {
          result[array.path, default: [:]]["sharding"] = sharding
        }
      }
    }
    // All processes write the same, so that the first is as good as any; it may be absent.
    guard let file = try await json(Self.arrayMetadataName + "/process_0", "the metadata of arrays") else {
      return result
    }
    var generators: [Key: String] = [:]
    for element in file["array_metadatas"]?.elements ?? [] {
      let metadata = element["array_metadata"]
      if let name = metadata?["param_name"]?.text,
        let kind = metadata?["ext_metadata"]?["random_key_impl"]?.text
      {
        generators[Key(name)] = kind
      }
    }
    for array in arrays {
      if let kind = generators[Key(array.name)] { result[array.path, default: [:]]["random_key_impl"] = kind }
    }
    return result
  }

  static func base64(_ bytes: [UInt8]) -> String {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    var text: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let bits = group.reduce(0) { $0 << 8 | UInt32($1) } << (8 * UInt32(3 - group.count))
      for digit in 0..<4 {
        text.append(
          digit <= group.count ? digits[Int(bits >> (18 - 6 * UInt32(digit)) & 63)] : UInt8(ascii: "="))
      }
    }
    return String(decoding: text, as: UTF8.self)
  }
}

/// `_CHECKPOINT_METADATA`: when a checkpoint was saved, and what the user added.
struct OrbaxCheckpointMetadata {
  /// Whether saving began and did not end.
  let isUncommitted: Bool
  /// What it says, as text by key.
  let texts: [(key: String, value: String)]

  init(_ bytes: [UInt8], file: String, limits: Limits) throws(GraftError) {
    let root: JSONValue
    do throws(JSONError) {
      root = try JSONValue(parsing: bytes, nestingLimit: limits.nestingDepth, acceptsNonFinite: true)
    } catch {
      throw error.graftError(in: "the checkpoint's metadata", file: file)
    }
    guard root.members != nil else {
      throw JSONError(.wrongKind(expected: JSONKind.object.rawValue, found: root.kind), at: 0)
        .graftError(in: "the checkpoint's metadata", file: file)
    }
    isUncommitted =
      root["init_timestamp_nsecs"]?.integer != nil && root["commit_timestamp_nsecs"]?.integer == nil
    var texts: [(key: String, value: String)] = []
    for key in ["init_timestamp_nsecs", "commit_timestamp_nsecs"] {
      if let time = root[key]?.integer { texts.append((key, String(time))) }
    }
    for key in ["custom_metadata", "metrics"] {
      if let value = root[key], let members = value.members, !members.isEmpty {
        texts.append((key, String(decoding: value.encoded(), as: UTF8.self)))
      }
    }
    self.texts = texts
  }
}

/// Parts of a checkpoint that are JSON rather than trees.
enum OrbaxJSON {
  /// What Orbax's handler of JSON calls its file.
  static let fileName = "metadata"

  static func text(in folder: any SourceFolder, at part: String, limits: Limits) async throws(GraftError)
    -> String?
  {
    try await folder.metadata(at: part + "/" + fileName, limits: limits).map {
      String(decoding: $0, as: UTF8.self)
    }
  }
}
