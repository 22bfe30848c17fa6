internal import GraftCore

/// Reads one saved tree: its metadata, the places of its arrays, its strings and what is said about single leaves.
struct OrbaxTreeReader {
  let folder: any SourceFolder
  let limits: Limits

  /// The catalog of the tree.
  ///
  /// - Parameter about: what is known about the checkpoint around it.
  func catalog(_ about: OrbaxAbout) async throws(GraftError) -> Catalog {
    let file = folder.name(of: OrbaxTreeMetadata.fileName)
    guard let bytes = try await folder.metadata(at: OrbaxTreeMetadata.fileName, limits: limits) else {
      throw GraftError(
        .notFound, "the saved tree has no \(OrbaxTreeMetadata.fileName)", file: folder.name,
        remedy: "the checkpoint is incomplete, or was written by an Orbax from before 2023")
    }
    try await OrbaxLinks.check(in: folder, limits: limits)
    let saved = try OrbaxTreeMetadata(bytes, file: file, limits: limits)
    var about = about
    if let custom = saved.customMetadata {
      about.add(String(decoding: custom.encoded(), as: UTF8.self), "tree_custom_metadata")
      about.addUsers(custom)
    }

    var arrays: [(path: TreePath, name: String)] = []
    arrays.reserveCapacity(saved.leaves.count)
    var needsStrings = false
    for (path, value) in saved.leaves {
      switch value {
      case .array(let name): arrays.append((path, name))
      case .string: needsStrings = true
      case .empty, .unsupported: break
      }
    }
    let strings = needsStrings ? try await strings() : [:]
    let (stored, files) =
      arrays.isEmpty
      ? ([], []) : try await OrbaxArrays(folder: folder, metadata: saved, limits: limits).leaves(arrays)

    var next = 0
    var leaves: [StoredLeaf] = []
    leaves.reserveCapacity(saved.leaves.count)
    for (path, value) in saved.leaves {
      switch value {
      case .array:
        leaves.append(stored[next])
        next += 1
      case .string(let name):
        guard let text = strings[Key(name)] else {
          throw GraftError(
            .corrupt, "the checkpoint lists a string that is not there", leaf: path,
            file: folder.name(of: Self.stringsName),
            remedy: "the checkpoint is incomplete: copy or download it again")
        }
        leaves.append(.string(text))
      case .unsupported(_, let reason, let remedy):
        leaves.append(.unsupported(UnsupportedLeaf(reason: reason, file: file, remedy: remedy)))
      case .empty: preconditionFailure("an empty node is no leaf")
      }
    }
    let tree = saved.structure.filled(with: leaves)
    var catalog = about.catalog(files: files, tree: tree)
    catalog.hasShards = leaves.contains { leaf in
      if case .tensor(_, let layout, _) = leaf { layout.shards != nil } else { false }
    }
    catalog.leafMetadata = try await leafMetadata(of: arrays, scalarNames: saved.scalarNames)
    if !arrays.isEmpty {
      // A database's nodes carry checksums; a folder that lacks a file says nothing about it.
      catalog.listIsChecksummed = try await OrbaxArrays(folder: folder, metadata: saved, limits: limits)
        .usesOCDBT()
    }
    return catalog
  }

  static let stringsName = "_strings.json"
  static let shardingName = "_sharding"
  static let arrayMetadataName = "array_metadatas"

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

  /// The shardings with which arrays were saved, which arrays are keys of random number generators, and which were scalars.
  private func leafMetadata(
    of arrays: [(path: TreePath, name: String)], scalarNames: Set<Key>
  ) async throws(GraftError) -> [TreePath: [String: String]] {
    var result: [TreePath: [String: String]] = [:]
    if !scalarNames.isEmpty {
      for array in arrays where scalarNames.contains(Key(array.name)) {
        result[array.path] = ["value_type": "scalar"]
      }
    }
    if let members = try await json(Self.shardingName, "the file of shardings")?.members {
      var shardings: [Key: String] = [:]
      for member in members { shardings[Key(member.key)] = member.value.text }
      for array in arrays {
        // The keys are the names in the base 64 for URLs, padded.
        if let sharding = shardings[Key(Self.base64(array.name))] {
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

  private static let base64Digits = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

  /// The base 64 for URLs, padded.
  static func base64(_ text: String) -> String {
    let digits = base64Digits
    var result: [UInt8] = []
    result.reserveCapacity((text.utf8.count + 2) / 3 * 4)
    // The bits that make no whole digit yet.
    var (bits, bitCount): (UInt32, UInt32) = (0, 0)
    for byte in text.utf8 {
      bits = bits << 8 | UInt32(byte)
      bitCount += 8
      while bitCount >= 6 {
        bitCount -= 6
        result.append(digits[Int(bits >> bitCount & 63)])
      }
    }
    if bitCount > 0 { result.append(digits[Int(bits << (6 - bitCount) & 63)]) }
    while !result.count.isMultiple(of: 4) { result.append(UInt8(ascii: "=")) }
    return String(decoding: result, as: UTF8.self)
  }
}
