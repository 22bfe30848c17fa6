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
    // What an interrupted save left behind may have nothing but its name.
    if candidate.name.contains(temporaryMark) { return true }
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
    // By their bytes, like all names here: as strings, a Kelvin sign would be a K.
    let names = Set(entries.map { Key($0.name) })
    let isCheckpoint =
      !names.isDisjoint(with: [
        Key(OrbaxTreeMetadata.fileName), Key(checkpointMetadata), Key(indicator), Key(OCDBTManifest.fileName),
      ])
      || entries.contains { usualCheckpointables.contains($0.name) && $0.kind != .regular }
    if isCheckpoint {
      if let step = options.step {
        throw GraftError(
          .invalidArgument, "this is one checkpoint, not a folder of steps", file: folder.name,
          found: "a request for the step \(TreePath.printable(step))", remedy: "leave the step out")
      }
      return try await checkpoint(folder, entries, about: OrbaxAbout(), options: options)
    }
    return try await step(in: folder, entries, options: options)
  }

  // MARK: Steps

  private static func step(
    in folder: any SourceFolder, _ entries: [FolderEntry], options: OpenOptions
  ) async throws(GraftError) -> Catalog {
    let folders = entries.filter { $0.kind != .regular }
    let steps = folders.compactMap { OrbaxStep($0.name) }.sorted {
      ($0.number, Key($0.name)) < ($1.number, Key($1.name))
    }
    let chosen: OrbaxStep?
    if let wanted = options.step {
      // A number may be written with zeros in front, and the folder with a prefix.
      chosen = steps.last { Key($0.name) == Key(wanted) } ?? steps.last { Int(wanted) == $0.number }
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
    var about = OrbaxAbout()
    about.add(String(chosen.number), "step")
    var catalog = try await checkpoint(inner, innerEntries, about: about, options: options)
    catalog.location = inner.name
    return catalog
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
    _ folder: any SourceFolder, _ entries: [FolderEntry], about: OrbaxAbout, options: OpenOptions
  ) async throws(GraftError) -> Catalog {
    var about = about
    let names = Set(entries.map { Key($0.name) })
    if let bytes = try await folder.metadata(at: checkpointMetadata, limits: options.limits) {
      let file = folder.name(of: checkpointMetadata)
      let metadata = try OrbaxCheckpointMetadata(bytes, file: file, limits: options.limits)
      if metadata.isUncommitted && !names.contains(Key(commitMarker)) {
        throw GraftError(
          .notACheckpoint,
          "the checkpoint was not finished: it has no time of commitment and no \(commitMarker)",
          file: folder.name, remedy: "wait until the save is done, or open another step")
      }
      metadata.describe(in: &about)
    }
    if names.contains(Key(OrbaxTreeMetadata.fileName)) && options.checkpointable == nil {
      return try await OrbaxTreeReader(folder: folder, limits: options.limits).catalog(about)
    }

    let parts = try await OrbaxPart.all(in: folder, entries)
    let chosen = try chosenPart(of: parts, in: folder, names: names, options: options)
    about.add(chosen.name, "checkpointable")
    about.add(parts.map(\.name).joined(separator: ", "), "checkpointables")
    // Together they are metadata, and so is the limit for all of them.
    var limits = options.limits
    for part in parts {
      guard let json = try await part.json(in: folder, limits: limits) else { continue }
      limits.metadataByteCount -= json.utf8.count
      about.add(json, part.name)
    }
    guard chosen.isTree else { return about.catalog(files: [], tree: .dictionary([])) }
    return try await OrbaxTreeReader(folder: SubFolder(folder, chosen.name), limits: options.limits)
      .catalog(about)
  }

  /// The part that was asked for, else the one of a usual name, else the only one that is a tree.
  private static func chosenPart(
    of parts: [OrbaxPart], in folder: any SourceFolder, names: Set<Key>, options: OpenOptions
  ) throws(GraftError) -> OrbaxPart {
    if let wanted = options.checkpointable {
      if let part = parts.first(where: { Key($0.name) == Key(wanted) }) { return part }
      // A part that is made of others goes by its own name where only one of those is a tree.
      let inner = parts.filter { $0.isTree && $0.name.utf8.starts(with: (wanted + "/").utf8) }
      if inner.count == 1, let part = inner.first { return part }
      throw GraftError(
        .notFound, "the checkpoint has no part named \(TreePath.printable(wanted))", file: folder.name,
        expected: list(parts.map(\.name)),
        remedy: NearName.suggestion(for: wanted, among: parts.map(\.name)))
    }
    let trees = parts.filter(\.isTree)
    for usual in usualCheckpointables {
      if let part = trees.first(where: { Key($0.name) == Key(usual) }) { return part }
    }
    if trees.count == 1, let only = trees.first { return only }
    if trees.isEmpty {
      let isOld = names.contains(Key("checkpoint"))
      throw GraftError(
        isOld ? .unsupported : .notACheckpoint,
        "the checkpoint has no saved tree that Graft reads", file: folder.name,
        expected: "\(OrbaxTreeMetadata.fileName) in the folder or in one below it",
        found: isOld
          ? "a file named checkpoint, as flax and Orbax wrote before 2023" : list(parts.map(\.name)),
        remedy: isOld ? "load it with Orbax and save it again" : nil)
    }
    throw GraftError(
      .invalidArgument, "the checkpoint has several parts, and none has a usual name", file: folder.name,
      expected: list(trees.map(\.name)),
      remedy: "say which one with --checkpointable in the tool, or checkpointable: in the library")
  }
}

/// The name of a step's folder: its number, perhaps with zeros in front, perhaps with a prefix and an underscore.
package struct OrbaxStep: Hashable {
  /// The name of the folder.
  package let name: String
  /// The number at its end.
  package let number: Int

  /// The step that a folder of this name is; nil for any other folder.
  package init?(_ name: String) {
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
  func stamps(of paths: [String]) async throws(GraftError) -> [FileStamp?] {
    try await folder.stamps(of: paths.map { path + "/" + $0 })
  }
}
