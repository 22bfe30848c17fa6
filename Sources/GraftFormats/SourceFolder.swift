package import GraftCore
package import GraftIO

/// A folder of byte sources: on a file system today, in an object store later.
///
/// Formats of many files read through it.
package protocol SourceFolder: Sendable {
  /// What error messages call it: a path.
  var name: String { get }
  /// The source at a path below the folder; an open one, so do not keep many.
  ///
  /// - Throws: `notFound` when there is none.
  func source(at path: String) async throws(GraftError) -> any ByteSource
  /// What is in the folder at a path below this one, or in this one for an empty path; sorted by name.
  ///
  /// - Throws: `notFound` when there is no such folder.
  func entries(in path: String) async throws(GraftError) -> [FolderEntry]
  /// The number of bytes of each of these sources, without opening them; nil where there is no regular file.
  func byteCounts(of paths: [String]) async throws(GraftError) -> [Int?]
  /// What tells whether these sources were changed; nil for what is not there, and everywhere where nothing can tell.
  func stamps(of paths: [String]) async throws(GraftError) -> [FileStamp?]
}

/// Something in a folder.
package struct FolderEntry: Hashable, Sendable {
  /// The name.
  package var name: String
  /// What it is; links are not followed.
  package var kind: FileKind

  package init(name: String, kind: FileKind) {
    self.name = name
    self.kind = kind
  }
}

extension SourceFolder {
  /// Nothing can tell.
  package func stamps(of paths: [String]) async throws(GraftError) -> [FileStamp?] { paths.map { _ in nil } }

  /// What error messages call something in the folder.
  package func name(of path: String) -> String { Directory.path(of: path, in: name) }

  /// All bytes of a source of metadata; nil when there is none.
  ///
  /// - Throws: `limitExceeded` when it has more bytes than ``Limits/metadataByteCount``.
  package func metadata(at path: String, limits: Limits) async throws(GraftError) -> [UInt8]? {
    let source: any ByteSource
    do throws(GraftError) {
      source = try await self.source(at: path)
    } catch  where error.code == .notFound {
      return nil
    }
    guard source.byteCount <= limits.metadataByteCount else {
      throw GraftError(
        .limitExceeded, "the file of metadata is too large", file: source.name,
        expected: "at most \(limits.metadataByteCount) bytes", found: "\(source.byteCount)",
        remedy: "raise Limits.metadataByteCount if the checkpoint is trusted")
    }
    return try await source.read(ByteRange(offset: 0, count: source.byteCount))
  }
}

/// A folder of the file system; what blocks runs on threads of GraftIO's own.
package struct LocalFolder: SourceFolder {
  /// The path.
  package let name: String
  private let maximumEntryCount: Int

  /// The folder at this path.
  package init(_ path: String, limits: Limits = Limits()) {
    name = path
    maximumEntryCount = limits.fileCount
  }

  package func source(at path: String) async throws(GraftError) -> any ByteSource {
    try await FileByteSource(opening: name(of: path))
  }

  package func entries(in path: String) async throws(GraftError) -> [FolderEntry] {
    let folder = path.isEmpty ? name : name(of: path)
    let maximumEntryCount = maximumEntryCount
    return try await BlockingThreads.shared.run { () throws(GraftError) in
      // A name that is not UTF-8 belongs to no checkpoint.
      try Directory.entries(at: folder, maximumEntryCount: maximumEntryCount).filter(\.isNameExact).map {
        FolderEntry(name: $0.name, kind: $0.kind)
      }
    }
  }

  package func byteCounts(of paths: [String]) async throws(GraftError) -> [Int?] {
    let paths = paths.map { name(of: $0) }
    return try await BlockingThreads.shared.run { () throws(GraftError) in
      var counts: [Int?] = []
      counts.reserveCapacity(paths.count)
      for path in paths {
        let status = try FileStatus.ifPresent(at: path)
        counts.append(status?.kind == .regular ? status?.identity.byteCount : nil)
      }
      return counts
    }
  }

  package func stamps(of paths: [String]) async throws(GraftError) -> [FileStamp?] {
    let paths = paths.map { name(of: $0) }
    return try await BlockingThreads.shared.run { () throws(GraftError) in
      var stamps: [FileStamp?] = []
      for path in paths {
        stamps.append(try FileStatus.ifPresent(at: path) == nil ? nil : FileStamp(at: path))
      }
      return stamps
    }
  }
}
