internal import Glibc
package import GraftCore

/// What a name in the file system stands for.
package enum FileKind: String, Hashable, Sendable {
  case regular = "regular file"
  case directory = "folder"
  case symbolicLink = "symbolic link"
  case fifo = "FIFO (named pipe)"
  case socket = "socket"
  case characterDevice = "character device"
  case blockDevice = "block device"
  case unknown = "file of an unknown kind"

  var withArticle: String { "a \(rawValue)" }

  init(mode: mode_t) {
    switch mode & S_IFMT {
    case S_IFREG: self = .regular
    case S_IFDIR: self = .directory
    case S_IFLNK: self = .symbolicLink
    case S_IFIFO: self = .fifo
    case S_IFSOCK: self = .socket
    case S_IFCHR: self = .characterDevice
    case S_IFBLK: self = .blockDevice
    default: self = .unknown
    }
  }
}

/// A moment as the file system records it.
package struct FileTime: Hashable, Sendable {
  /// Whole seconds since 1970.
  package let seconds: Int
  /// The rest, in nanoseconds.
  package let nanoseconds: Int

  /// A moment of these numbers.
  package init(seconds: Int, nanoseconds: Int) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  init(_ time: timespec) { self.init(seconds: time.tv_sec, nanoseconds: time.tv_nsec) }
}

/// Which file it is and in which version, so that a change while it is in use can be seen.
package struct FileIdentity: Hashable, Sendable {
  /// The device that the file is on.
  package let device: UInt64
  /// The file's number on its device.
  package let inode: UInt64
  /// The size.
  package let byteCount: Int
  /// When the bytes changed last.
  package let modificationTime: FileTime
  /// When the bytes, mode, owner or number of links changed last.
  package let changeTime: FileTime

  /// What differs between the file then and now, as an error says it; nil when the bytes are taken to be the same.
  ///
  /// The change time is left out: a new hard link moves it, as linking a checkpoint makes, and the bytes stay.
  package func change(to now: FileIdentity) -> String? {
    if device != now.device || inode != now.inode { return "another file under the same name" }
    if byteCount != now.byteCount { return "\(now.byteCount) bytes instead of \(byteCount)" }
    if modificationTime != now.modificationTime { return "a later time of modification" }
    return nil
  }
}

/// What the system says about a file or folder.
package struct FileStatus: Hashable, Sendable {
  /// What it is.
  package let kind: FileKind
  /// Which it is, and in which version.
  package let identity: FileIdentity
  /// The permission bits.
  package let permissions: UInt32
  /// The user who owns it.
  package let userID: UInt32
  /// The group that owns it.
  package let groupID: UInt32
  /// The number of names that the file has.
  package let linkCount: Int
  /// The bytes that it takes on the disk, less than its size when it has holes.
  package let allocatedByteCount: Int

  /// The size in bytes.
  package var byteCount: Int { identity.byteCount }

  /// The status of what this path names.
  ///
  /// - Throws: `notFound`, `permissionDenied` and the like.
  package init(at path: String, followingLinks: Bool = true) throws(GraftError) {
    guard let status = try FileStatus.ifPresent(at: path, followingLinks: followingLinks) else {
      throw GraftError(.inspect, SystemCallFailure("stat", ENOENT), file: path)
    }
    self = status
  }

  /// The status of what this path names, nil when there is nothing; other failures are thrown.
  package static func ifPresent(
    at path: String, followingLinks: Bool = true
  ) throws(GraftError) -> FileStatus? {
    let path = try SystemPath(path)
    var status = stat()
    do {
      _ = try systemCall("stat") {
        followingLinks ? unsafe stat(path.text, &status) : unsafe lstat(path.text, &status)
      }
    } catch  where error.errorNumber == ENOENT || error.errorNumber == ENOTDIR {
      return nil
    } catch {
      throw GraftError(.inspect, error, file: path.text)
    }
    return FileStatus(status)
  }

  /// The status of an open file.
  init(of descriptor: borrowing OwnedDescriptor, path: String) throws(GraftError) {
    let rawValue = descriptor.rawValue
    var status = stat()
    do {
      _ = try systemCall("fstat") { unsafe fstat(rawValue, &status) }
    } catch {
      throw GraftError(.inspect, error, file: path)
    }
    self.init(status)
  }

  private init(_ status: stat) {
    kind = FileKind(mode: status.st_mode)
    identity = FileIdentity(
      device: UInt64(status.st_dev), inode: UInt64(status.st_ino), byteCount: Int(status.st_size),
      modificationTime: FileTime(status.st_mtim), changeTime: FileTime(status.st_ctim))
    permissions = UInt32(status.st_mode & 0o7777)
    userID = status.st_uid
    groupID = status.st_gid
    linkCount = Int(status.st_nlink)
    allocatedByteCount = Int(status.st_blocks) * 512
  }
}

/// A path that can be handed to the system: not empty, and without the zero byte at which C would cut it short.
struct SystemPath {
  let text: String

  init(_ text: String) throws(GraftError) {
    guard !text.isEmpty, !text.utf8.contains(0) else { throw GraftError.impossiblePath(text) }
    self.text = text
  }
}
