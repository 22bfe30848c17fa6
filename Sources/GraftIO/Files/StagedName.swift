internal import CGraftSystem
internal import Glibc
internal import GraftCore

// How a save stays invisible until it is whole, and how the remains of one that died are known.
//
// What is being written has a temporary name beside its destination, `.<name>.graft-tmp-<pid>-<random>`, and its maker
// holds a lock (flock) on it. The kernel drops the lock with the process, however it ends, so a temporary name that can be
// locked is nobody's any more: neither reused process numbers nor other hosts on a network file system deceive it.
// The number in the name is for people. Where a file system knows no locks, leftovers stay for people to remove.

/// Where a save is to end: the real path behind what the caller named, and its folder.
struct StagedDestination: Sendable {
  /// What the caller named, for messages.
  let path: String
  /// The path with symbolic links at its end followed; it may name nothing yet.
  let resolvedPath: String
  /// The folder of the resolved path.
  let parent: String
  /// The last part of the resolved path.
  let name: String
  /// What stands there already.
  let existing: FileStatus?

  init(_ path: String) throws(GraftError) {
    self.path = path
    var resolved = try SystemPath(path).text
    var existing: FileStatus?
    // As many links as Linux follows.
    for hop in 0... {
      existing = try FileStatus.ifPresent(at: resolved, followingLinks: false)
      guard existing?.kind == .symbolicLink else { break }
      guard hop < 40 else { throw GraftError(.create, SystemCallFailure("readlink", ELOOP), file: path) }
      let target = try Self.linkTarget(resolved, of: path)
      resolved = target.hasPrefix("/") ? target : Directory.path(of: target, in: Self.split(resolved).parent)
    }
    let (parent, name) = Self.split(resolved)
    guard !name.isEmpty, name != ".", name != ".." else {
      throw GraftError(
        .invalidArgument, "the destination has no name of its own", file: path,
        remedy: "end the path with the name that is to be made")
    }
    self.resolvedPath = Directory.path(of: name, in: parent)
    self.parent = parent
    self.name = name
    self.existing = existing
  }

  /// Folder and last part, without slashes at the end.
  private static func split(_ path: String) -> (parent: String, name: String) {
    var bytes = Array(path.utf8)
    let slash = UInt8(ascii: "/")
    while bytes.count > 1, bytes.last == slash { bytes.removeLast() }
    guard let last = bytes.lastIndex(of: slash) else { return (".", String(decoding: bytes, as: UTF8.self)) }
    let name = String(decoding: bytes[(last + 1)...], as: UTF8.self)
    return (last == 0 ? "/" : String(decoding: bytes[..<last], as: UTF8.self), name)
  }

  private static func linkTarget(_ link: String, of path: String) throws(GraftError) -> String {
    var text = [CChar](repeating: 0, count: Int(PATH_MAX))
    let capacity = text.count
    do throws(SystemCallFailure) {
      let count = try systemCall("readlink") { unsafe readlink(link, &text, capacity) }
      return String(decoding: text[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    } catch {
      throw GraftError(.create, error, file: path)
    }
  }

  /// How often a temporary is made anew when other savers are in the way.
  static let attemptLimit = 16

  /// Gives a temporary the mode of what it replaces, and the owner where the system lets it.
  func bequeathOwnership(to descriptor: borrowing OwnedDescriptor) {
    guard let existing else { return }
    // The owner first: a change of owner clears bits of the mode.
    _ = fchown(descriptor.rawValue, existing.userID, existing.groupID)
    _ = fchmod(descriptor.rawValue, mode_t(existing.permissions))
  }

  /// A path beside the destination that nothing has yet.
  func temporaryPath() -> String {
    let digits = String(UInt64.random(in: 0...UInt64.max), radix: 16)
    let random = String(repeating: "0", count: 16 - digits.utf8.count) + digits
    return Directory.path(of: "\(temporaryPrefix)\(getpid())-\(random)", in: parent)
  }

  /// What the temporary names of all saves to this destination begin with.
  private var temporaryPrefix: String {
    // File systems allow 255 bytes, and what follows the name takes up to 44 of them.
    var kept = name
    while kept.utf8.count > 200 { kept.removeLast() }
    return ".\(kept).graft-tmp-"
  }

  /// Removes what saves to this destination left behind when their process died; never anything that is in use.
  ///
  /// It is a courtesy: what cannot be listed, locked or removed stays.
  func removeLeftovers() {
    guard let entries = try? Directory.entries(at: parent) else { return }
    for entry in entries where entry.isNameExact && isTemporary(entry.name) {
      let path = Directory.path(of: entry.name, in: parent)
      guard entry.kind == .regular || entry.kind == .directory else { continue }
      // Held until the name is gone, so that no third saver takes it for its own meanwhile.
      guard let lock = StagedLock.takeOrphan(path, entry.kind) else { continue }
      try? FileRemoval.remove(path)
      _ = consume lock
    }
  }

  private func isTemporary(_ name: String) -> Bool {
    let prefix = temporaryPrefix
    guard name.utf8.starts(with: prefix.utf8) else { return false }
    let parts = name.dropFirst(prefix.count).split(separator: "-", omittingEmptySubsequences: false)
    return parts.count == 2 && parts[0].utf8.allSatisfy { (0x30...0x39).contains($0) }
      && parts[1].utf8.count == 16 && parts[1].allSatisfy { $0.isHexDigit }
  }
}

/// The lock that shows a temporary file or folder to be in use; it lasts as long as its descriptor.
enum StagedLock {
  /// Locks what this process has just made under a temporary name; false when another saver took it for a leftover.
  static func take(_ descriptor: borrowing OwnedDescriptor) -> Bool {
    let rawValue = descriptor.rawValue
    // Where the file system has no locks, nobody can take it for a leftover either.
    if flock(rawValue, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK { return false }
    var status = stat()
    return unsafe fstat(rawValue, &status) == 0 && status.st_nlink > 0
  }

  /// Locks what a process that is gone has left behind; nil when it is in use, or gone by now.
  static func takeOrphan(_ path: String, _ kind: FileKind) -> OwnedDescriptor? {
    // For writing, because network file systems give an exclusive lock only for that.
    let mode = kind == .directory ? O_RDONLY | O_DIRECTORY : O_RDWR
    let rawValue = unsafe open(path, mode | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
    guard rawValue >= 0 else { return nil }
    let descriptor = OwnedDescriptor(adopting: rawValue)
    guard flock(rawValue, LOCK_EX | LOCK_NB) == 0 else { return nil }
    // Between the listing and the lock its owner may have finished and renamed it.
    var locked = stat()
    var named = stat()
    guard unsafe fstat(rawValue, &locked) == 0, unsafe lstat(path, &named) == 0,
      locked.st_dev == named.st_dev, locked.st_ino == named.st_ino
    else { return nil }
    return descriptor
  }
}

/// Giving a finished temporary its destination's name.
enum StagedRename {
  /// Moves a file or folder to a name that must be free, so that of two savers one fails.
  static func moveToFreeName(
    from temporary: String, to destination: String, isDirectory: Bool
  ) throws(SystemCallFailure) {
    do {
      try systemCall(negatedErrno: "renameat2") {
        unsafe graft_system_rename(temporary, destination, GRAFT_SYSTEM_RENAME_NO_REPLACE)
      }
    } catch  where error.errorNumber == EINVAL || error.errorNumber == ENOSYS {
      // NFS and some FUSE file systems lack the flag. Both ways round it fail when the name is taken.
      if isDirectory {
        _ = try systemCall("mkdir") { unsafe mkdir(destination, 0o700) }
        do {
          _ = try systemCall("rename") { unsafe rename(temporary, destination) }
        } catch {
          _ = unsafe rmdir(destination)
          throw error
        }
      } else {
        _ = try systemCall("link") { unsafe link(temporary, destination) }
        _ = try systemCall("unlink") { unsafe unlink(temporary) }
      }
    }
  }

  /// Moves a folder to the name of another, which takes the temporary name in exchange.
  static func exchange(_ temporary: String, with destination: String) throws(SystemCallFailure) {
    do {
      try systemCall(negatedErrno: "renameat2") {
        unsafe graft_system_rename(temporary, destination, GRAFT_SYSTEM_RENAME_EXCHANGE)
      }
    } catch  where error.errorNumber == EINVAL || error.errorNumber == ENOSYS {
      // Without the flag there is a moment at which neither has the name. A failure in it is undone; after a crash in it the
      // old folder is found under a name that nothing cleans up.
      let spare = temporary + "-replaced"
      _ = try systemCall("rename") { unsafe rename(destination, spare) }
      do {
        _ = try systemCall("rename") { unsafe rename(temporary, destination) }
      } catch {
        _ = unsafe rename(spare, destination)
        throw error
      }
      _ = try systemCall("rename") { unsafe rename(spare, temporary) }
    }
  }

  /// Makes the names in a folder durable.
  static func flushFolder(_ path: String) throws(SystemCallFailure) {
    let descriptor = OwnedDescriptor(
      adopting: try systemCall("open") { unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) })
    let rawValue = descriptor.rawValue
    do {
      _ = try systemCall("fsync") { fsync(rawValue) }
    } catch  where error.errorNumber == EINVAL || error.errorNumber == EOPNOTSUPP {
      // A file system that has no such thing for folders keeps its names in another way.
    }
  }
}
