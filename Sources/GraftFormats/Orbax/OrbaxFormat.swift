// What Orbax writes, from the outside in:
//
//     root/                      a folder of steps: `1000`, `step_1000`; unfinished ones end in .orbax-checkpoint-tmp…
//       step_1000/               a checkpoint: orbax.checkpoint, _CHECKPOINT_METADATA, commit_success.txt
//         state/                 a checkpointable (`pytree` and `default` in older ones): a saved tree, or JSON
//           _METADATA            the tree; _sharding, _strings.json and array_metadatas beside it
//           manifest.ocdbt, d/   the arrays in an OCDBT database, or one folder for each array
//
// Version 0 also put the files of a saved tree into the checkpoint's own folder.

package import GraftCore
internal import GraftIO

/// Orbax checkpoints, versions 0 and 1: a saved tree, a checkpoint of several, or a folder of steps.
package enum OrbaxFormat: CheckpointFormat {
  package static let name = "orbax"
  package static let signs =
    "a folder with _METADATA, _CHECKPOINT_METADATA or orbax.checkpoint, or a folder of steps that are such folders"

  static let indicator = "orbax.checkpoint"
  static let checkpointMetadata = "_CHECKPOINT_METADATA"
  static let commitMarker = "commit_success.txt"
  static let temporaryMark = ".orbax-checkpoint-tmp"
  /// What a checkpoint's tree is called, by newer and older versions of Orbax.
  static let usualCheckpointables = ["state", "pytree", "default"]

  package static func recognises(_ candidate: CheckpointCandidate) -> Bool {
    guard case .folder(let entries) = candidate.content else { return false }
    return entries.contains { entry in
      switch entry.name {
      case OrbaxTreeMetadata.fileName, checkpointMetadata, indicator, OCDBTManifest.fileName:
        entry.kind != .directory
      default:
        entry.kind != .regular
          && (OrbaxStep(entry.name) != nil || entry.name.contains(temporaryMark)
            || usualCheckpointables.contains(entry.name))
      }
    }
  }

  package static func open(
    _ candidate: CheckpointCandidate, options: OpenOptions
  ) async throws(GraftError) -> Catalog {
    try await open(LocalFolder(candidate.path, limits: options.limits), options: options)
  }

  /// Opens the checkpoint in a folder.
  package static func open(
    _ folder: any SourceFolder, options: OpenOptions
  ) async throws(GraftError) -> Catalog {
    let entries = try await folder.entries(in: "")
    if folder.name.split(separator: "/").last?.contains(temporaryMark) == true {
      throw unfinished(folder.name)
    }
    let names = Set(entries.map(\.name))
    let isCheckpoint =
      !names.isDisjoint(with: [
        OrbaxTreeMetadata.fileName, checkpointMetadata, indicator, OCDBTManifest.fileName,
      ])
      || entries.contains { usualCheckpointables.contains($0.name) && $0.kind != .regular }
    if isCheckpoint {
      if let step = options.step {
        throw GraftError(
          .invalidArgument, "this is one checkpoint, not a folder of steps", file: folder.name,
          found: "a request for the step \(TreePath.printable(step))", remedy: "leave the step out")
      }
      return try await checkpoint(folder, entries, metadata: [], options: options)
    }
    return try await step(in: folder, entries, options: options)
  }

  // MARK: Steps

  private static func step(
    in folder: any SourceFolder, _ entries: [FolderEntry], options: OpenOptions
  ) async throws(GraftError) -> Catalog {
    let folders = entries.filter { $0.kind != .regular }
    let steps = folders.compactMap { OrbaxStep($0.name) }.sorted {
      ($0.number, $0.name) < ($1.number, $1.name)
    }
    let chosen: OrbaxStep?
    if let wanted = options.step {
      // A number may be written with zeros in front, and the folder with a prefix.
      chosen = steps.last { $0.name == wanted } ?? steps.last { Int(wanted) == $0.number }
      guard chosen != nil else {
        if let temporary = folders.first(where: { $0.name.hasPrefix(wanted + temporaryMark) }) {
          throw unfinished(folder.name(of: temporary.name))
        }
        throw GraftError(
          .notFound, "there is no step \(TreePath.printable(wanted))", file: folder.name,
          expected: list(steps.map(\.name)),
          remedy: NearName.suggestion(for: wanted, among: steps.map(\.name)))
      }
    } else {
      chosen = steps.last
    }
    guard let chosen else {
      if let temporary = folders.first(where: { $0.name.contains(temporaryMark) }) {
        throw unfinished(folder.name(of: temporary.name))
      }
      throw GraftError(
        .notACheckpoint, "the folder has no Orbax checkpoint", file: folder.name, expected: signs)
    }
    let inner = SubFolder(folder, chosen.name)
    let innerEntries = try await inner.entries(in: "")
    let metadata = [(key: "step", value: String(chosen.number))]
    return try await checkpoint(inner, innerEntries, metadata: metadata, options: options)
  }

  private static func unfinished(_ path: String) -> GraftError {
    GraftError(
      .notACheckpoint, "the checkpoint was not finished: its folder still has a temporary name", file: path,
      remedy: "wait until the save is done, or open another step; what was interrupted cannot be loaded")
  }

  static func list(_ names: [String]) -> String {
    if names.isEmpty { return "nothing" }
    let shown = names.prefix(8).map { TreePath.printable($0) }.joined(separator: ", ")
    return "one of \(shown)" + (names.count > 8 ? " and \(names.count - 8) more" : "")
  }

  // MARK: One checkpoint

  private static func checkpoint(
    _ folder: any SourceFolder, _ entries: [FolderEntry], metadata: [(key: String, value: String)],
    options: OpenOptions
  ) async throws(GraftError) -> Catalog {
    var metadata = metadata
    let names = Set(entries.map(\.name))
    if let bytes = try await folder.metadata(at: checkpointMetadata, limits: options.limits) {
      let file = folder.name(of: checkpointMetadata)
      let about = try OrbaxCheckpointMetadata(bytes, file: file, limits: options.limits)
      if about.isUncommitted && !names.contains(commitMarker) {
        throw GraftError(
          .notACheckpoint,
          "the checkpoint was not finished: it has no time of commitment and no \(commitMarker)",
          file: folder.name, remedy: "wait until the save is done, or open another step")
      }
      metadata += about.texts
    }
    if names.contains(OrbaxTreeMetadata.fileName) && options.checkpointable == nil {
      return try await OrbaxTreeReader(folder: folder, limits: options.limits).catalog(metadata: metadata)
    }

    // Its parts: folders of their own, each a saved tree or JSON.
    var trees: [String] = []
    var parts: [String] = []
    for entry in entries where entry.kind != .regular && !entry.name.contains(temporaryMark) {
      let inside = [OrbaxTreeMetadata.fileName, OrbaxJSON.fileName].map { entry.name + "/" + $0 }
      let counts = try await folder.byteCounts(of: inside)
      if counts[0] != nil { trees.append(entry.name) }
      if counts[0] != nil || counts[1] != nil { parts.append(entry.name) }
    }
    let chosen: String
    if let wanted = options.checkpointable {
      guard parts.contains(wanted) else {
        throw GraftError(
          .notFound, "the checkpoint has no part named \(TreePath.printable(wanted))", file: folder.name,
          expected: list(parts), remedy: NearName.suggestion(for: wanted, among: parts))
      }
      chosen = wanted
    } else if let usual = usualCheckpointables.first(where: trees.contains) {
      chosen = usual
    } else if trees.count == 1, let only = trees.first {
      chosen = only
    } else if trees.isEmpty {
      let old =
        names.contains("checkpoint") ? "a file named checkpoint, as flax and Orbax wrote before 2023" : nil
      throw GraftError(
        names.contains("checkpoint") ? .unsupported : .notACheckpoint,
        "the checkpoint has no saved tree that Graft reads", file: folder.name,
        expected: "\(OrbaxTreeMetadata.fileName) in the folder or in one below it", found: old ?? list(parts),
        remedy: old == nil ? nil : "load it with Orbax and save it again")
    } else {
      throw GraftError(
        .invalidArgument, "the checkpoint has several parts, and none has a usual name", file: folder.name,
        expected: list(trees), remedy: "say which one with --checkpointable")
    }
    metadata.append((key: "checkpointable", value: chosen))
    metadata.append((key: "checkpointables", value: parts.joined(separator: ", ")))
    for part in parts where !trees.contains(part) {
      if let json = try await OrbaxJSON.text(in: folder, at: part, limits: options.limits) {
        metadata.append((key: part, value: json))
      }
    }
    guard trees.contains(chosen) else {
      return Catalog(format: name, files: [], tree: .dictionary([]), metadata: metadata)
    }
    return try await OrbaxTreeReader(folder: SubFolder(folder, chosen), limits: options.limits)
      .catalog(metadata: metadata)
  }
}

/// The name of a step's folder: its number, perhaps with zeros in front, perhaps with a prefix and an underscore.
struct OrbaxStep: Hashable {
  let name: String
  let number: Int

  init?(_ name: String) {
    let digits = name.utf8.reversed().prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }.count
    guard digits > 0, let number = Int(name.suffix(digits)) else { return nil }
    let prefix = name.dropLast(digits)
    guard prefix.isEmpty || prefix.utf8.last == UInt8(ascii: "_") else { return nil }
    self.name = name
    self.number = number
  }
}

/// A folder in another.
struct SubFolder: SourceFolder {
  private let folder: any SourceFolder
  private let path: String

  init(_ folder: any SourceFolder, _ path: String) {
    self.folder = folder
    self.path = path
  }

  var name: String { folder.name(of: path) }

  func source(at path: String) async throws(GraftError) -> any ByteSource {
    try await folder.source(at: self.path + "/" + path)
  }
  func entries(in path: String) async throws(GraftError) -> [FolderEntry] {
    try await folder.entries(in: path.isEmpty ? self.path : self.path + "/" + path)
  }
  func byteCounts(of paths: [String]) async throws(GraftError) -> [Int?] {
    try await folder.byteCounts(of: paths.map { path + "/" + $0 })
  }
}
