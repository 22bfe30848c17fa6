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

  /// Asks for space on the disk for bytes that are going to be written, and leaves the file's size as it is.
  ///
  /// Writing into it is faster: the file system need not look for a place each time. What is not written goes when the file is resized.
  /// - Returns: whether there is such space; the writes find out by themselves where there is not.
  package func reserveAhead(_ range: ByteRange) -> Bool {
    graft_system_allocate_beyond(rawDescriptor, Int64(range.offset), Int64(range.count)) == 0
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

  /// Writes all of `bytes` at `offset` and what follows them, in one call where the system does all of it; blocks the calling thread.
  ///
  /// - Throws: as ``write(_:at:)-(UnsafeRawBufferPointer,_)``.
  package func write(
    _ bytes: UnsafeRawBufferPointer, followedBy trailer: [UInt8], at offset: Int
  ) throws(GraftError) {
    let rawValue = rawDescriptor
    let byteCount = bytes.count
    var written = 0
    if byteCount > 0, byteCount < File.maximumTransferByteCount {
      var failure: SystemCallFailure?
      unsafe trailer.withUnsafeBytes { trailer in
        // The kernel only reads what the pieces point to, and they are valid during the call.
        let pieces = unsafe [
          iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: byteCount),
          iovec(iov_base: UnsafeMutableRawPointer(mutating: trailer.baseAddress), iov_len: trailer.count),
        ]
        do throws(SystemCallFailure) {
          written = try systemCall("pwritev") {
            unsafe pwritev(rawValue, pieces, CInt(pieces.count), off_t(offset))
          }
        } catch {
          failure = error
        }
      }
      if let failure {
        throw GraftError(.write, failure, file: path, range: ByteRange(offset: offset, count: byteCount))
      }
    }
    if written < byteCount {
      unsafe try write(UnsafeRawBufferPointer(rebasing: bytes[written...]), at: offset + written)
    }
    let done = max(0, written - byteCount)
    if done < trailer.count {
      unsafe try write(trailer.span.bytes.extracting(droppingFirst: done), at: offset + byteCount + done)
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
