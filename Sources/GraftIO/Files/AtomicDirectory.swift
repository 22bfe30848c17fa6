internal import Glibc
package import GraftCore
internal import Synchronization

/// Owns a folder in the making, which appears under its name whole or not at all.
///
/// It is filled under a temporary name beside its destination. ``commit()`` flushes every file and folder in it, gives it
/// its name and makes that durable; without it the temporary is removed when this object goes, and when the process dies by
/// the next save to the same name. Files may be made and written from any thread.
package final class AtomicDirectory: Sendable {
  private enum Phase { case filling, committed, abandoned }

  /// The folder under its temporary name, for what must be made in it by other means than ``createFile(_:byteCount:)``.
  package let temporaryPath: String

  private let destination: StagedDestination
  private let isOverwriting: Bool
  /// Holds the lock that shows the temporary to be in use.
  private let descriptor: OwnedDescriptor
  private let phase = Mutex(Phase.filling)

  /// Begins a folder that will stand at `path`; a symbolic link there is followed.
  ///
  /// An existing folder is replaced only when `overwriting`: *all* that is in it is removed after the exchange, so the caller
  /// first makes sure that it is a checkpoint and not somebody's home.
  /// - Throws: `destinationExists`, `notFound` when the parent folder is missing, `permissionDenied`.
  package init(at path: String, overwriting: Bool = false) throws(GraftError) {
    let destination = try StagedDestination(path)
    if let existing = destination.existing {
      guard existing.kind == .directory else { throw GraftError.cannotReplace(existing.kind, file: path) }
      guard overwriting else {
        throw GraftError(.createDirectory, SystemCallFailure("mkdir", EEXIST), file: path)
      }
    }
    destination.removeLeftovers()

    for _ in 0..<StagedDestination.attemptLimit {
      let temporary = destination.temporaryPath()
      do {
        // A folder that replaces a private one is private from the start.
        let mode: mode_t = destination.existing == nil ? 0o777 : 0o700
        _ = try systemCall("mkdir") { unsafe mkdir(temporary, mode) }
      } catch  where error.errorNumber == EEXIST {
        continue
      } catch {
        throw GraftError(.createDirectory, error, file: path)
      }
      let descriptor: OwnedDescriptor
      do {
        descriptor = OwnedDescriptor(
          adopting: try systemCall("open") {
            unsafe open(temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
          })
      } catch  where error.errorNumber == ENOENT {
        continue  // another saver took it for a leftover before it was locked
      } catch {
        _ = unsafe rmdir(temporary)
        throw GraftError(.createDirectory, error, file: path)
      }
      guard StagedLock.take(descriptor) else { continue }
      destination.bequeathOwnership(to: descriptor)
      self.temporaryPath = temporary
      self.destination = destination
      self.isOverwriting = overwriting
      self.descriptor = descriptor
      return
    }
    throw GraftError(.createDirectory, SystemCallFailure("flock", EAGAIN), file: path)
  }

  deinit { abandon() }

  /// Makes a folder in the folder, with all folders above it; what is there already stays.
  package func createDirectory(_ name: String) throws(GraftError) {
    var made = temporaryPath
    for part in try Self.parts(of: name, in: destination.path) {
      made = Directory.path(of: part, in: made)
      let folder = made
      do {
        _ = try systemCall("mkdir") { unsafe mkdir(folder, 0o777) }
      } catch  where error.errorNumber == EEXIST {
      } catch {
        throw GraftError(.createDirectory, error, file: Directory.path(of: name, in: destination.path))
      }
    }
  }

  /// Makes a file in the folder, with all folders above it; messages call it by its place in the destination.
  ///
  /// - Throws: `destinationExists` when this save has made that file already, `noSpace` when `byteCount` does not fit.
  package func createFile(_ name: String, byteCount: Int? = nil) throws(GraftError) -> WritableFile {
    let parts = try Self.parts(of: name, in: destination.path)
    if parts.count > 1 { try createDirectory(parts.dropLast().joined(separator: "/")) }
    let shown = Directory.path(of: name, in: destination.path)
    let made = Directory.path(of: name, in: temporaryPath)
    let file: WritableFile
    do {
      file = WritableFile(try WritableFile.create(made, mode: 0o644), path: shown)
    } catch {
      throw GraftError(.create, error, file: shown)
    }
    if let byteCount { try file.reserve(byteCount: byteCount) }
    return file
  }

  /// Flushes all that the folder holds, gives it its name and makes the name durable; blocks the calling thread.
  ///
  /// Files that were flushed when they were finished cost nothing here. Of a folder that is replaced, what cannot be removed
  /// keeps a temporary name until the next save to the same name.
  /// - Throws: `destinationExists` when another saver was first. The temporary then still exists until ``abandon()``.
  package func commit() throws(GraftError) {
    try phase.withLock { (phase) throws(GraftError) in
      precondition(phase == .filling, "a folder is committed once")
      try flushAll(below: temporaryPath, shownAs: destination.path, depth: 0)
      let isReplacing: Bool
      do throws(SystemCallFailure) {
        isReplacing = try moveIntoPlace()
      } catch {
        throw GraftError(.replace, error, file: destination.path)
      }
      phase = .committed
      do throws(SystemCallFailure) {
        try StagedRename.flushFolder(destination.parent)
      } catch {
        throw GraftError(.flush, error, file: destination.path)
      }
      if isReplacing { try? FileRemoval.remove(temporaryPath) }
    }
  }

  /// Removes what was made so far; nothing when it is committed or abandoned already.
  package func abandon() {
    phase.withLock { phase in
      guard phase == .filling else { return }
      phase = .abandoned
      // What cannot be removed is a leftover, which the next save to the same name tries again.
      try? FileRemoval.remove(temporaryPath)
    }
  }

  /// True when there was a folder, which has the temporary name now.
  private func moveIntoPlace() throws(SystemCallFailure) -> Bool {
    // The destination may come and go while other savers replace it without an atomic exchange.
    for _ in 0..<StagedDestination.attemptLimit {
      do {
        try StagedRename.moveToFreeName(from: temporaryPath, to: destination.resolvedPath, isDirectory: true)
        return false
      } catch  where isOverwriting && (error.errorNumber == EEXIST || error.errorNumber == ENOTEMPTY) {
      }
      do {
        try StagedRename.exchange(temporaryPath, with: destination.resolvedPath)
        return true
      } catch  where error.errorNumber == ENOENT {
      }
    }
    throw SystemCallFailure("renameat2", EBUSY)
  }

  private func flushAll(below folder: String, shownAs shown: String, depth: Int) throws(GraftError) {
    guard depth < Limits().nestingDepth else {
      throw GraftError(
        .limitExceeded, "the folder is nested too deeply", file: shown,
        expected: "at most \(Limits().nestingDepth) levels")
    }
    for entry in try Directory.entries(at: folder) where entry.isNameExact {
      let path = Directory.path(of: entry.name, in: folder)
      let shownPath = Directory.path(of: entry.name, in: shown)
      switch entry.kind {
      case .directory: try flushAll(below: path, shownAs: shownPath, depth: depth + 1)
      case .regular:
        do {
          let descriptor = OwnedDescriptor(
            adopting: try systemCall("open") { unsafe open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) })
          let rawValue = descriptor.rawValue
          _ = try systemCall("fsync") { fsync(rawValue) }
        } catch {
          throw GraftError(.flush, error, file: shownPath)
        }
      default: break
      }
    }
    do {
      try StagedRename.flushFolder(folder)
    } catch {
      throw GraftError(.flush, error, file: shown)
    }
  }

  /// The parts of a name that stays inside the folder.
  private static func parts(of name: String, in folder: String) throws(GraftError) -> [String] {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    let isInside = parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." && !$0.utf8.contains(0) }
    guard isInside, parts.count < Limits().nestingDepth else {
      throw GraftError.outsideFolder(name, folder: folder)
    }
    return parts
  }
}
