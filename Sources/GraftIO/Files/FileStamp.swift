internal import CGraftSystem
package import GraftCore

/// Which file it was and what it held, noted so that years later one can see whether somebody has changed it since.
///
/// Other than ``FileIdentity``, which tells changes while a file is in use, a stamp is compared after restarts, when devices
/// may have other numbers, and after the file was copied elsewhere, when it is another file and no change of the first
/// concerns it.
package struct FileStamp: Hashable, Sendable {
  /// The size.
  package var byteCount: Int
  /// When the bytes changed last.
  package var modificationTime: FileTime
  /// The file's number on its device.
  package var inode: UInt64
  /// When the file was made, which tells it from a later one of the same number; nil where the file system does not know.
  package var birthTime: FileTime?

  /// A stamp of these values.
  package init(byteCount: Int, modificationTime: FileTime, inode: UInt64, birthTime: FileTime?) {
    self.byteCount = byteCount
    self.modificationTime = modificationTime
    self.inode = inode
    self.birthTime = birthTime
  }

  /// The stamp of what this path names; blocks.
  ///
  /// - Throws: `notFound`, `permissionDenied` and the like.
  package init(at path: String) throws(GraftError) {
    let status = try FileStatus(at: path)
    var (seconds, nanoseconds): (Int64, Int64) = (0, 0)
    let known = unsafe graft_system_birth_time(path, &seconds, &nanoseconds) == 0
    self.init(
      byteCount: status.byteCount, modificationTime: status.identity.modificationTime,
      inode: status.identity.inode,
      birthTime: known ? FileTime(seconds: Int(seconds), nanoseconds: Int(nanoseconds)) : nil)
  }

  /// What differs between the file then and now, as an error says it; nil when the bytes are taken to be the same.
  ///
  /// A file that was made later is a copy, and of that only the size is compared.
  package func change(to now: FileStamp) -> String? {
    if byteCount != now.byteCount { return "\(now.byteCount) bytes instead of \(byteCount)" }
    guard inode == now.inode, birthTime == now.birthTime, modificationTime != now.modificationTime else {
      return nil
    }
    return "another time of modification"
  }
}
