package import GraftCore
import GraftIO

/// The formats that Graft reads, and the one way to open a path as a checkpoint.
package struct FormatRegistry: Sendable {
  /// The formats in the order in which they are asked; the first that recognises a path opens it.
  package let formats: [any CheckpointFormat.Type]

  /// Every format of this package.
  package static let standard = FormatRegistry([SafetensorsFormat.self, OrbaxFormat.self])

  /// A registry of these formats, asked in this order.
  package init(_ formats: [any CheckpointFormat.Type]) { self.formats = formats }

  /// Opens the checkpoint at `path`; runs off the caller's actor, since metadata can take a while to parse.
  ///
  /// - Throws: `notACheckpoint`, saying what was looked for, when no format recognises the path; else what its format says.
  @concurrent
  package func open(_ path: String, options: OpenOptions = OpenOptions()) async throws(GraftError) -> Catalog
  {
    let candidate = try await CheckpointCandidate.look(at: path, limits: options.limits)
    var catalog = try await format(of: candidate).open(candidate, options: options)
    if catalog.location.isEmpty { catalog.location = candidate.path }
    return catalog
  }

  /// The format that recognises a candidate.
  ///
  /// - Throws: `notACheckpoint` when none does.
  package func format(of candidate: CheckpointCandidate) throws(GraftError) -> any CheckpointFormat.Type {
    for format in formats where format.recognises(candidate) { return format }
    throw unrecognised(candidate)
  }

  private func unrecognised(_ candidate: CheckpointCandidate) -> GraftError {
    var error = GraftError(.notACheckpoint, "this is no checkpoint that Graft knows", file: candidate.path)
    error.expected = formats.map { "\($0.name): \($0.signs)" }.joined(separator: "; ")
    switch candidate.content {
    case .folder(let entries):
      error.found = Self.summary(of: entries)
      error.remedy = "name the folder that holds the checkpoint itself, or one of its files"
    case .file(let source, let head):
      if let foreign = ForeignFile(head: head, name: candidate.name) {
        error.found = foreign.name
        error.remedy = foreign.remedy
      } else if source.byteCount == 0 {
        error.found = "an empty file"
        error.remedy = "the file is incomplete: copy or download it again"
      } else {
        let first = head.prefix(8).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
        error.found = "a file of \(source.byteCount) bytes that begins with \(first)"
      }
    }
    return error
  }

  /// The first names of a folder, so that somebody who named the wrong one sees it.
  private static func summary(of entries: [DirectoryEntry]) -> String {
    guard !entries.isEmpty else { return "an empty folder" }
    let shown = entries.prefix(6).map {
      TreePath.printable($0.name) + ($0.kind == .directory ? "/" : "")
    }
    let rest = entries.count - shown.count
    return "a folder with " + shown.joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
  }
}

/// A file of a well-known kind that Graft does not read, so that its error can say what it is.
private struct ForeignFile {
  let name: String
  let remedy: String

  init?(head: [UInt8], name: Substring) {
    let convert = "convert it to safetensors with the library that wrote it"
    if head.starts(with: "GGUF".utf8) {
      self.init(name: "a GGUF file", remedy: convert)
    } else if head.starts(with: [0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A]) {
      self.init(name: "an HDF5 file", remedy: convert)
    } else if head.starts(with: [0x93] + "NUMPY".utf8) {
      self.init(name: "a NumPy array", remedy: convert)
    } else if head.starts(with: [0x50, 0x4B, 0x03, 0x04]) {
      // PyTorch's files and NumPy's archives are both ZIP files.
      self.init(
        name: name.hasSuffix(".npz") ? "a NumPy archive" : "a ZIP file, as PyTorch saves pickles in",
        remedy: "\(convert); Graft runs no pickle")
    } else if head.count > 1, head[0] == 0x80, (2...5).contains(head[1]) {
      self.init(name: "a Python pickle", remedy: "\(convert); Graft runs no pickle")
    } else if head.starts(with: "version https://git-lfs".utf8) {
      self.init(name: "a Git LFS pointer", remedy: "fetch the file itself with `git lfs pull`")
    } else {
      return nil
    }
  }

  private init(name: String, remedy: String) {
    self.name = name
    self.remedy = remedy
  }
}
