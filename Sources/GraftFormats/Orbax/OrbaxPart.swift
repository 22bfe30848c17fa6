internal import GraftCore
internal import GraftIO

/// One part of a checkpoint, which Orbax calls a checkpointable: a folder of its own, with a saved tree or JSON.
///
/// Handlers that are made of others have folders in theirs: the key of a random number generator that was saved as `key` is
/// `key/jax_random_key`, a tree, and `key/jax_random_key_metadata`, JSON.
struct OrbaxPart {
  /// Its folder, below the checkpoint's.
  let name: String
  /// The file of its JSON, below its folder; nil for a saved tree.
  let jsonName: String?

  var isTree: Bool { jsonName == nil }

  /// What Orbax's handler of JSON calls its file, and what its managers call that of a step's metrics.
  private static let jsonNames = ["metadata", "metrics"]

  /// The parts in a checkpoint's folder.
  static func all(
    in folder: any SourceFolder, _ entries: [FolderEntry]
  ) async throws(GraftError) -> [OrbaxPart] {
    var parts: [OrbaxPart] = []
    for entry in entries where isCandidate(entry) {
      if let part = try await part(entry.name, in: folder) {
        parts.append(part)
        continue
      }
      // What cannot be listed is no part.
      guard let below = try? await folder.entries(in: entry.name) else { continue }
      for inner in below where isCandidate(inner) {
        if let part = try await part(entry.name + "/" + inner.name, in: folder) { parts.append(part) }
      }
    }
    return parts
  }

  private static func isCandidate(_ entry: FolderEntry) -> Bool {
    entry.kind != .regular && !entry.name.contains(OrbaxFormat.temporaryMark)
  }

  private static func part(
    _ name: String, in folder: any SourceFolder
  ) async throws(GraftError) -> OrbaxPart? {
    let counts = try await folder.byteCounts(
      of: ([OrbaxTreeMetadata.fileName] + jsonNames).map { name + "/" + $0 })
    if counts[0] != nil { return OrbaxPart(name: name, jsonName: nil) }
    guard let json = zip(jsonNames, counts.dropFirst()).first(where: { $0.1 != nil }) else { return nil }
    return OrbaxPart(name: name, jsonName: json.0)
  }

  /// Its JSON; nil for a saved tree, and when it is gone.
  func json(in folder: any SourceFolder, limits: Limits) async throws(GraftError) -> String? {
    guard let jsonName else { return nil }
    return try await folder.metadata(at: name + "/" + jsonName, limits: limits).map {
      String(decoding: $0, as: UTF8.self)
    }
  }
}
