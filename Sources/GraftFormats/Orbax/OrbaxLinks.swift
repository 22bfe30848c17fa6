// A linked checkpoint has the chunks of others: their files are in its database's folder under new names, mostly as hard links,
// so that it stands alone when those checkpoints are deleted. What is noted of each file, in `graft_links.json`:
//
//     {"version": 1, "files": [{"name": "d/linked-0", "source": "/models/model.safetensors", "way": "hard link",
//                               "byte_count": 1024, "modified": [1700000000, 5], "inode": 17, "made": [1700000000, 0]}]}
//
// A file that is changed in place afterwards shares its bytes with the link. Opening the checkpoint sees that by the stamp. Where the source
// is sealed, the checkpoint has a seal of those files from the start, so that verifying it sees whatever no stamp shows.

internal import GraftCore
package import GraftIO

/// The files of others in which a linked checkpoint has chunks.
package struct OrbaxLinks: Sendable {
  /// A file that was brought in.
  package struct File: Hashable, Sendable {
    /// Its path in the database.
    package var name: String
    /// The file that it was, by its path when it was brought in; nobody looks for it there again.
    package var source: String
    /// How it was brought in, and what it was then.
    package var adopted: AdoptedFile
  }

  /// The file's name, beside the tree's metadata.
  package static let fileName = "graft_links.json"

  /// The files.
  package private(set) var files: [File] = []
  /// The bytes of the chunks in them.
  package private(set) var byteCount = 0
  /// The digests of those that are sealed, under their names in the checkpoint; nil where none is.
  private(set) var seal: Seal?
  /// The index of each of these by the number that layouts have for it.
  private var indices: [Int: Int] = [:]

  /// No files.
  init() {}

  var isEmpty: Bool { files.isEmpty }

  /// Brings the files into a checkpoint's folder in which its linked arrays have chunks.
  init(
    of plan: OrbaxPlan, to sources: [StoredFile], sealed: SealedSources, in folder: AtomicDirectory,
    copied: (_ completed: Int, _ total: Int) -> Void, isCancelled: () -> Bool
  ) throws(GraftError) {
    var wanted = [Bool](repeating: false, count: sources.count)
    var byteCounts = [Int](repeating: 0, count: sources.count)
    for array in plan.arrays {
      guard let layout = array.linked else { continue }
      for case .file(let chunk) in layout.cells {
        wanted[chunk.file] = true
        byteCounts[chunk.file] += chunk.range.count
      }
    }
    guard wanted.contains(true) else { return }
    try folder.createDirectory(plan.treePrefix + "d")
    // Checkpoints may share files, under one name or several.
    var numbers: [FileID: [Int]] = [:]
    var order: [FileID] = []
    for number in sources.indices where wanted[number] {
      let identity = try FileStatus(at: sources[number].path).identity
      let id = FileID(device: identity.device, inode: identity.inode)
      if numbers[id] == nil { order.append(id) }
      numbers[id, default: []].append(number)
    }
    byteCount = byteCounts.reduce(0, +)
    var completed = 0
    var digests: [Seal.File] = []
    for id in order {
      guard let own = numbers[id] else { continue }
      if isCancelled() { throw GraftError(.cancelled, "the task was cancelled") }
      var step = 0
      let name = "d/linked-\(files.count)"
      let source = sources[own[0]]
      let adopted = try folder.adopt(
        source.path, byteCount: source.byteCount, as: plan.treePrefix + name,
        wanted: { Self.ranges(in: Set(own), of: plan) },
        copied: {
          // Ranges that several chunks have are copied once, and counted for the rest when their file is done.
          step += $0
          copied(min(completed + step, byteCount), byteCount)
        }, isCancelled: isCancelled)
      completed += own.reduce(0) { $0 + byteCounts[$1] }
      if step > 0 { copied(completed, byteCount) }
      // A copy has the bytes elsewhere, so that its blocks are others.
      if adopted.way != .copy, var file = own.lazy.compactMap(sealed.file).first {
        file.name = plan.treePrefix + name
        digests.append(file)
      }
      for number in own { indices[number] = files.count }
      files.append(File(name: name, source: Directory.absolutePath(of: source.path), adopted: adopted))
    }
    if !digests.isEmpty { seal = Seal(blockByteCount: sealed.blockByteCount, files: digests) }
  }

  private struct FileID: Hashable {
    var device: UInt64
    var inode: UInt64
  }

  /// The ranges of files that linked arrays have chunks in.
  private static func ranges(in files: Set<Int>, of plan: OrbaxPlan) -> [ByteRange] {
    plan.arrays.flatMap { array in
      (array.linked?.cells ?? []).compactMap { cell in
        cell.stored.flatMap { files.contains($0.file) ? $0.range : nil }
      }
    }
  }

  /// What the database has of a linked array's chunk or shard; nil where there is none.
  func value(of cell: ChunkLocation) -> OCDBTValue? {
    switch cell {
    case .absent: return nil
    case .inline(let bytes): return .inline(bytes)
    case .file(let chunk):
      guard let index = indices[chunk.file] else { preconditionFailure("the file was not adopted") }
      return .stored(
        OCDBTReference(
          file: OCDBTFile(path: files[index].name), range: files[index].adopted.place(of: chunk.range)))
    }
  }
}

extension Layout {
  /// What keys of an array hold: its shards where it has any, else its chunks.
  var cells: [ChunkLocation] { shards?.places ?? chunks }

  /// Whether some chunk may be absent, or may be in shards, so that it is full of the fill value.
  var mayLackChunks: Bool { fillValue != nil && (shards != nil || chunks.contains(.absent)) }
}

// MARK: - What is noted

extension OrbaxLinks {
  /// The file that says which files were brought in.
  func encoded() -> [UInt8] {
    func time(_ time: FileTime) -> JSONValue { [.integer(time.seconds), .integer(time.nanoseconds)] }
    let root: JSONValue = [
      "version": 1,
      "files": .array(
        files.map { file in
          let stamp = file.adopted.stamp
          return [
            "name": .string(file.name), "source": .string(file.source),
            "way": .string(file.adopted.way.rawValue), "byte_count": .integer(stamp.byteCount),
            "modified": time(stamp.modificationTime), "inode": .number(.unsigned(stamp.inode)),
            "made": stamp.birthTime.map(time) ?? .null,
          ]
        }),
    ]
    return root.encoded()
  }

  /// Fails where a file that a checkpoint in this folder is linked to has been changed since.
  ///
  /// Nothing is read but the file that notes them, and the files' status. A folder without such a file is not linked.
  static func check(in folder: any SourceFolder, limits: Limits) async throws(GraftError) {
    guard let bytes = try await folder.metadata(at: fileName, limits: limits) else { return }
    let noted = try stamps(in: bytes, file: folder.name(of: fileName), limits: limits)
    let found = try await folder.stamps(of: noted.map(\.name))
    for (noted, found) in zip(noted, found) {
      // What is not there is found missing with the leaves that need it.
      guard let found, let change = noted.stamp.change(to: found) else { continue }
      throw GraftError(
        .fileChanged, "a file that the checkpoint is linked to was changed after that",
        file: folder.name(of: noted.name), expected: "what it was when it was \(noted.source), as linked",
        found: change, remedy: "link it again, or save a copy before sources are changed in place")
    }
  }

  private static func stamps(
    in bytes: [UInt8], file: String, limits: Limits
  ) throws(GraftError) -> [(name: String, source: String, stamp: FileStamp)] {
    let root: JSONValue
    do throws(JSONError) {
      root = try JSONValue(parsing: bytes, nestingLimit: limits.nestingDepth)
    } catch {
      throw error.graftError(in: "the list of linked files", file: file)
    }
    func time(_ value: JSONValue?) -> FileTime? {
      guard let parts = value?.elements, parts.count == 2, let seconds = parts[0].integer,
        let nanoseconds = parts[1].integer
      else { return nil }
      return FileTime(seconds: seconds, nanoseconds: nanoseconds)
    }
    guard root["version"]?.integer == 1 else {
      throw GraftError(
        .unsupported, "the list of linked files is of a version that is not known", file: file,
        remedy: "open the checkpoint with a newer version of Graft")
    }
    var stamps: [(name: String, source: String, stamp: FileStamp)] = []
    for entry in root["files"]?.elements ?? [] {
      guard let name = entry["name"]?.text, OCDBTFileTable.staysInside(name),
        let byteCount = entry["byte_count"]?.integer, let modified = time(entry["modified"]),
        let inode = entry["inode"]?.unsignedInteger
      else {
        throw GraftError(
          .corrupt, "the list of linked files is not valid", file: file,
          expected: "a name inside the checkpoint, a size, a time and an inode for each file",
          remedy: "the checkpoint was damaged after it was written: copy or download it again")
      }
      let stamp = FileStamp(
        byteCount: byteCount, modificationTime: modified, inode: inode, birthTime: time(entry["made"]))
      stamps.append((name, TreePath.printable(entry["source"]?.text ?? name), stamp))
    }
    return stamps
  }
}

extension JSONValue {
  fileprivate var unsignedInteger: UInt64? {
    switch self {
    case .number(.integer(let number)): UInt64(exactly: number)
    case .number(.unsigned(let number)): number
    default: nil
    }
  }
}
