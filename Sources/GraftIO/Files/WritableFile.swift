internal import CGraftSystem
internal import Glibc
package import GraftCore

/// Owns a file that is open for writing; any number of threads may write different parts at once.
package final class WritableFile: Sendable {
  /// What messages call it: where it will stand once it is finished.
  package let path: String
  /// The descriptor, valid while this object lives.
  package let descriptor: OwnedDescriptor

  /// The descriptor's number, valid while this object lives.
  package var rawDescriptor: CInt { descriptor.rawValue }

  init(_ descriptor: consuming OwnedDescriptor, path: String) {
    self.path = path
    self.descriptor = descriptor
  }

  /// Makes a file that must not exist yet.
  static func create(_ path: String, mode: mode_t) throws(SystemCallFailure) -> OwnedDescriptor {
    OwnedDescriptor(
      adopting: try systemCall("open") {
        unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)
      })
  }

  /// Gives the file its final size, and its space on the disk where the file system can reserve that.
  ///
  /// - Throws: `noSpace` now rather than after an hour of writing.
  package func reserve(byteCount: Int) throws(GraftError) {
    precondition(byteCount >= 0)
    let rawValue = rawDescriptor
    do {
      if byteCount > 0 {
        try systemCall(negatedErrno: "fallocate") { graft_system_allocate(rawValue, 0, Int64(byteCount)) }
      }
    } catch  where error.errorNumber == EOPNOTSUPP || error.errorNumber == ENOSYS {
      // The space is then found or not found by the writes.
    } catch {
      throw GraftError(.reserve, error, file: path, range: ByteRange(offset: 0, count: byteCount))
    }
    try resize(byteCount: byteCount)
  }

  /// Cuts or extends the file to this size.
  package func resize(byteCount: Int) throws(GraftError) {
    precondition(byteCount >= 0)
    let rawValue = rawDescriptor
    do {
      _ = try systemCall("ftruncate") { ftruncate(rawValue, off_t(byteCount)) }
    } catch {
      throw GraftError(.reserve, error, file: path, range: ByteRange(offset: 0, count: byteCount))
    }
  }

  /// Writes all of `bytes` at `offset`; blocks the calling thread.
  ///
  /// - Throws: `noSpace`, `ioFailed`, naming the bytes that could not be written.
  package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(GraftError) {
    guard let base = bytes.baseAddress else { return }
    precondition(offset >= 0 && !offset.addingReportingOverflow(bytes.count).overflow)
    let rawValue = rawDescriptor
    var done = 0
    while done < bytes.count {
      let count = min(bytes.count - done, File.maximumTransferByteCount)
      do throws(SystemCallFailure) {
        // The bytes are the caller's, who keeps them for the length of this call.
        let written = try systemCall("pwrite") {
          unsafe pwrite(rawValue, base + done, count, off_t(offset + done))
        }
        // No disk file gives zero; if one did, trying again would never end.
        if written == 0 { throw SystemCallFailure("pwrite", EIO) }
        done += written
      } catch {
        throw GraftError(
          .write, error, file: path, range: ByteRange(offset: offset + done, count: bytes.count - done))
      }
    }
  }

  /// Writes all bytes of the span at `offset`; blocks the calling thread.
  package func write(_ bytes: RawSpan, at offset: Int) throws(GraftError) {
    var failure: GraftError?
    // The pointer is used only inside the closure.
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(GraftError) { unsafe try write(buffer, at: offset) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Asks for bytes to be brought to the disk, so that less is left for ``flush()`` to wait for; says nothing about success.
  package func startFlushing(_ range: ByteRange) {
    // A courtesy: a file system that cannot leaves everything to the flush, which also reports what failed.
    if !range.isEmpty { _ = graft_system_start_flush(rawDescriptor, Int64(range.offset), Int64(range.count)) }
  }

  /// Brings all that was written to the disk; blocks the calling thread.
  package func flush() throws(GraftError) {
    let rawValue = rawDescriptor
    do {
      _ = try systemCall("fsync") { fsync(rawValue) }
    } catch {
      throw GraftError(.flush, error, file: path)
    }
  }
}
