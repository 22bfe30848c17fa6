internal import Glibc
package import GraftCore
internal import Synchronization

/// Owns a file in the making, which appears under its name whole or not at all.
///
/// It is written under a temporary name in the same folder. ``commit()`` flushes it, gives it its name and makes that
/// durable; without it the temporary is removed when this object goes, and when the process dies by the next save to the
/// same name. Writes may come from any thread; committing while another thread still writes is a mistake of the caller's.
package final class AtomicFile: Sendable {
  private enum State { case writing, committed, abandoned }

  /// Where it is written to.
  package let file: WritableFile

  private let destination: StagedDestination
  private let temporaryPath: String
  private let isOverwriting: Bool
  private let state = Mutex(State.writing)

  /// Begins a file that will stand at `path`; a symbolic link there is followed.
  ///
  /// An existing file is replaced only when `overwriting`, and then keeps its mode and, where permitted, its owner.
  /// - Throws: `destinationExists`, `notFound` when the folder is missing, `permissionDenied`, `noSpace` when `byteCount`
  ///   is given and does not fit.
  package init(at path: String, overwriting: Bool = false, byteCount: Int? = nil) throws(GraftError) {
    let destination = try StagedDestination(path)
    if let existing = destination.existing {
      guard existing.kind == .regular else { throw GraftError.cannotReplace(existing.kind, file: path) }
      guard overwriting else { throw GraftError(.create, SystemCallFailure("open", EEXIST), file: path) }
    }
    destination.removeLeftovers()

    let (file, temporaryPath) = try Self.make(for: destination)
    self.file = file
    self.temporaryPath = temporaryPath
    self.destination = destination
    self.isOverwriting = overwriting
    if let byteCount { try file.reserve(byteCount: byteCount) }
  }

  private static func make(
    for destination: StagedDestination
  ) throws(GraftError) -> (WritableFile, temporaryPath: String) {
    // Another saver may take a temporary for a leftover in the moment before it is locked; a second try finds another name.
    for _ in 0..<StagedDestination.attemptLimit {
      let temporary = destination.temporaryPath()
      do {
        // A file that replaces a private one is private from the start.
        let descriptor = try WritableFile.create(temporary, mode: destination.existing == nil ? 0o644 : 0o600)
        guard StagedLock.take(descriptor) else { continue }
        destination.bequeathOwnership(to: descriptor)
        return (WritableFile(descriptor, path: destination.path), temporary)
      } catch  where error.errorNumber == EEXIST {
      } catch {
        throw GraftError(.create, error, file: destination.path)
      }
    }
    throw GraftError(.create, SystemCallFailure("flock", EAGAIN), file: destination.path)
  }

  deinit { abandon() }

  /// Flushes the file, gives it its name and makes the name durable; blocks the calling thread.
  ///
  /// - Throws: `destinationExists` when another saver was first. The temporary then still exists until ``abandon()``.
  package func commit() throws(GraftError) {
    try state.withLock { (state) throws(GraftError) in
      precondition(state == .writing, "a file is committed once")
      try file.flush()
      do throws(SystemCallFailure) {
        if isOverwriting {
          let (temporary, resolved) = (temporaryPath, destination.resolvedPath)
          _ = try systemCall("rename") { unsafe rename(temporary, resolved) }
        } else {
          try StagedRename.moveToFreeName(
            from: temporaryPath, to: destination.resolvedPath, isDirectory: false)
        }
      } catch {
        throw GraftError(.replace, error, file: destination.path)
      }
      state = .committed
      do throws(SystemCallFailure) {
        try StagedRename.flushFolder(destination.parent)
      } catch {
        throw GraftError(.flush, error, file: destination.path)
      }
    }
  }

  /// Removes what was written so far; nothing when it is committed or abandoned already.
  package func abandon() {
    state.withLock { state in
      guard state == .writing else { return }
      state = .abandoned
      _ = unsafe unlink(temporaryPath)
    }
  }
}
