internal import Glibc
package import GraftCore

/// Removing files and folders.
package enum FileRemoval {
  /// Folders deeper than any that Graft makes are left alone, as each level holds a descriptor.
  private static let depthLimit = Limits().nestingDepth + 1

  /// Removes a file, or a folder and all it holds; symbolic links are removed, never followed.
  ///
  /// What is gone already is no error.
  package static func remove(_ path: String) throws(GraftError) {
    let name = try SystemPath(path).text
    do {
      try remove(Array(name.utf8CString), in: AT_FDCWD, depth: 0)
    } catch {
      throw GraftError(.remove, error, file: path)
    }
  }

  /// Names are bytes ending in zero here, because a name need not be UTF-8.
  private static func remove(_ name: [CChar], in folder: CInt, depth: Int) throws(SystemCallFailure) {
    do {
      try removeOnce(name, in: folder, depth: depth)
    } catch  where error.errorNumber == ENOENT {
    }
  }

  private static func removeOnce(_ name: [CChar], in folder: CInt, depth: Int) throws(SystemCallFailure) {
    do {
      _ = try systemCall("unlinkat") { unsafe unlinkat(folder, name, 0) }
      return
    } catch  where error.errorNumber == EISDIR {
      // Its contents first. By descriptor, so that a link put in its place meanwhile leads nowhere else.
    }
    guard depth < depthLimit else { throw SystemCallFailure("unlinkat", ENAMETOOLONG) }
    let rawValue = try systemCall("openat") {
      unsafe openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    }
    guard let stream = unsafe fdopendir(rawValue) else {
      let failure = SystemCallFailure("fdopendir", errno)
      close(rawValue)
      throw failure
    }
    defer { unsafe closedir(stream) }  // which closes the descriptor
    while let entry = unsafe readdir(stream) {
      // The name is the stream's, and is copied out before the next call.
      var child = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe bytes.prefix { $0 != 0 }.map { CChar(bitPattern: $0) }
      }
      let dot = CChar(0x2E)
      if child == [dot] || child == [dot, dot] { continue }
      child.append(0)
      try remove(child, in: rawValue, depth: depth + 1)
    }
    _ = try systemCall("unlinkat") { unsafe unlinkat(folder, name, AT_REMOVEDIR) }
  }
}
