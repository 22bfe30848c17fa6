internal import Glibc
package import GraftCore

/// One name in a folder.
package struct DirectoryEntry: Hashable, Sendable {
  /// The name; repaired where its bytes are not UTF-8.
  package let name: String
  /// What it stands for; links are not followed.
  package let kind: FileKind
  /// Whether ``name`` is the true name; a name that is not UTF-8 cannot be opened by it.
  package let isNameExact: Bool
}

/// Looking into folders.
package enum Directory {
  /// The entries of a folder, sorted by the bytes of their names; blocks the calling thread.
  ///
  /// - Throws: `notFound`, `permissionDenied`; `limitExceeded` when the folder has more than `maximumEntryCount` entries.
  package static func entries(
    at path: String, maximumEntryCount: Int = Limits().fileCount
  ) throws(GraftError) -> [DirectoryEntry] {
    let name = try SystemPath(path).text
    guard let directory = unsafe opendir(name) else {
      throw GraftError(.list, SystemCallFailure("opendir", errno), file: path)
    }
    defer { unsafe closedir(directory) }
    var entries: [DirectoryEntry] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(directory) else {
        if errno != 0 { throw GraftError(.list, SystemCallFailure("readdir", errno), file: path) }
        break
      }
      // The entry is the folder stream's, and is copied out before the next call.
      let bytes = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { name in
        unsafe Array(name.prefix { $0 != 0 })
      }
      if bytes == [0x2E] || bytes == [0x2E, 0x2E] { continue }
      guard entries.count < maximumEntryCount else {
        throw GraftError(
          .limitExceeded, "the folder has too many entries", file: path,
          expected: "at most \(maximumEntryCount)",
          remedy: "raise Limits.fileCount if this folder is meant")
      }
      let exact = String(validating: bytes, as: UTF8.self)
      let text = exact ?? String(decoding: bytes, as: UTF8.self)
      let type = unsafe entry.pointee.d_type
      entries.append(
        DirectoryEntry(
          name: text, kind: try kind(type, of: text, in: path), isNameExact: exact != nil))
    }
    return entries.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  /// Makes a folder unless there is one; the folder above it must exist.
  package static func makeIfAbsent(at path: String) throws(GraftError) {
    let name = try SystemPath(path).text
    do {
      _ = try systemCall("mkdir") { unsafe mkdir(name, 0o777) }
    } catch {
      if error.errorNumber == EEXIST, try FileStatus.ifPresent(at: path)?.kind == .directory { return }
      throw GraftError(.createDirectory, error, file: path)
    }
  }

  /// A path one level down.
  package static func path(of name: String, in directory: String) -> String {
    if directory.isEmpty { return name }
    return directory.utf8.last == UInt8(ascii: "/") ? directory + name : directory + "/" + name
  }

  /// The path from the root, without symbolic links; the path itself where it leads nowhere.
  package static func absolutePath(of path: String) -> String {
    guard let text = unsafe realpath(path, nil) else { return path }
    defer { unsafe free(text) }
    // It ends with a zero byte, as all strings of the system do.
    return unsafe String(cString: text)
  }

  private static func kind(
    _ type: UInt8, of name: String, in directory: String
  ) throws(GraftError) -> FileKind {
    switch Int(type) {
    case Int(DT_REG): return .regular
    case Int(DT_DIR): return .directory
    case Int(DT_LNK): return .symbolicLink
    case Int(DT_FIFO): return .fifo
    case Int(DT_SOCK): return .socket
    case Int(DT_CHR): return .characterDevice
    case Int(DT_BLK): return .blockDevice
    default:
      // Some file systems leave the type out. An entry that is gone by now is of no known kind.
      return try FileStatus.ifPresent(at: path(of: name, in: directory), followingLinks: false)?.kind
        ?? .unknown
    }
  }
}
