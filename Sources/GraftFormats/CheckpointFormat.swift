package import GraftCore
package import GraftIO

/// A kind of checkpoint that Graft reads: it recognises its own, and opens them as catalogs.
///
/// A format is added by conforming to this and by one entry in ``FormatRegistry/standard``.
package protocol CheckpointFormat: Sendable {
  /// The name of the format, for example `safetensors`.
  static var name: String { get }

  /// What it recognises a checkpoint by, as an error lists it for a path that no format knows.
  static var signs: String { get }

  /// Whether this is a checkpoint of the format, judged by names and first bytes; what is broken inside is found later.
  static func recognises(_ candidate: CheckpointCandidate) -> Bool

  /// Reads the checkpoint's metadata, and none of its tensors' bytes.
  static func open(
    _ candidate: CheckpointCandidate, options: OpenOptions
  ) async throws(GraftError) -> Catalog
}

/// How a checkpoint is to be opened.
package struct OpenOptions: Sendable {
  /// How much its metadata may claim.
  package var limits = Limits()
  /// Whether names are kept whole, as one key each, where a format would split them into a tree.
  package var keepsNamesWhole = false
  /// Which step of a folder of steps is meant, by its number or its folder's name; nil for the latest.
  package var step: String?
  /// Which of a checkpoint's parts is meant, where the format has several; nil for the usual one.
  package var checkpointable: String?

  /// The default options.
  package init(limits: Limits = Limits(), keepsNamesWhole: Bool = false) {
    self.limits = limits
    self.keepsNamesWhole = keepsNamesWhole
  }
}

/// A path that may be a checkpoint, and what was seen there: enough for every format to judge without reading again.
package struct CheckpointCandidate: Sendable {
  /// The path that was asked for.
  package let path: String
  /// What is there.
  package let content: Content

  /// What is at a path.
  package enum Content: Sendable {
    /// A regular file that is open, and its first bytes, at most ``CheckpointCandidate/headByteCount``.
    case file(any ByteSource, head: [UInt8])
    /// A folder and the names in it, sorted by their bytes.
    case folder([DirectoryEntry])
  }

  /// How many bytes of a file every format may judge by.
  package static let headByteCount = 512

  /// A path and what is there.
  package init(path: String, content: Content) {
    self.path = path
    self.content = content
  }

  /// The last part of the path, without slashes.
  package var name: Substring {
    path.split(separator: "/").last ?? ""
  }

  /// Looks at a path: opens a file and reads its first bytes, or lists a folder; never waits for a FIFO.
  ///
  /// - Throws: `notFound`, `permissionDenied`; `unsupported` for a FIFO, socket or device.
  package static func look(at path: String, limits: Limits) async throws(GraftError) -> CheckpointCandidate {
    try await BlockingThreads.shared.run { () throws(GraftError) in
      if try FileStatus(at: path).kind == .directory {
        let entries = try Directory.entries(at: path, maximumEntryCount: limits.fileCount)
        return CheckpointCandidate(path: path, content: .folder(entries))
      }
      let file = try File(opening: path)
      let head = try file.readFully(ByteRange(offset: 0, count: Swift.min(headByteCount, file.byteCount)))
      return CheckpointCandidate(path: path, content: .file(FileByteSource(file), head: head))
    }
  }
}
