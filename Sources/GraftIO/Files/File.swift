internal import CGraftSystem
internal import Glibc
package import GraftCore

/// Owns a regular file that is open for reading; any number of threads may read it at once.
///
/// The file is closed when the last reference goes. Its size and identity are those of the moment it was opened;
/// ``checkUnchanged()`` tells whether they still hold.
package final class File: Sendable {
  /// The path that it was opened by, for messages.
  package let path: String
  /// What the system said about it when it was opened.
  package let status: FileStatus
  /// The descriptor, valid while this object lives.
  package let descriptor: OwnedDescriptor

  /// The size when it was opened.
  package var byteCount: Int { status.byteCount }
  /// Which file it was when it was opened, and in which version.
  package var identity: FileIdentity { status.identity }
  /// The descriptor's number, valid while this object lives.
  package var rawDescriptor: CInt { descriptor.rawValue }

  /// The most bytes that Linux transfers in one call.
  package static let maximumTransferByteCount = 0x7FFF_F000

  /// Opens a regular file for reading; never waits for a FIFO's writer.
  ///
  /// - Throws: `notFound`, `permissionDenied`; `unsupported` for a folder, FIFO, socket or device.
  package init(opening path: String) throws(GraftError) {
    let name = try SystemPath(path).text
    let descriptor: OwnedDescriptor
    do {
      // O_NONBLOCK, because opening a FIFO otherwise hangs until somebody writes to it. O_NOCTTY, in case it is a terminal.
      let rawValue = try systemCall("open") {
        unsafe Glibc.open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
      }
      descriptor = OwnedDescriptor(adopting: rawValue)
    } catch {
      throw GraftError(.open, error, file: path)
    }
    let status = try FileStatus(of: descriptor, path: path)
    guard status.kind == .regular else { throw GraftError.notRegular(status.kind, file: path) }
    // Some network and FUSE file systems heed O_NONBLOCK for regular files and answer reads with EAGAIN.
    let rawValue = descriptor.rawValue
    let flags = fcntl(rawValue, F_GETFL)
    if flags >= 0 { _ = fcntl(rawValue, F_SETFL, flags & ~O_NONBLOCK) }
    self.path = path
    self.status = status
    self.descriptor = descriptor
  }

  /// Opens the same file anew for reading around the page cache, wherever its name may have gone since.
  ///
  /// - Throws: errno EINVAL where the file system has no direct I/O; the caller then reads through the cache.
  package func openDirect() throws(SystemCallFailure) -> OwnedDescriptor {
    let rawValue = rawDescriptor
    return OwnedDescriptor(
      adopting: try systemCall(negatedErrno: "open") { graft_system_open_direct(rawValue) })
  }

  /// Fails with `fileChanged` when the file's size or time of modification is no longer that of its opening.
  ///
  /// It looks at the open file, so a new file under the old name is not a change: the bytes that are read stay the same.
  package func checkUnchanged() throws(GraftError) {
    let now = try FileStatus(of: descriptor, path: path)
    if let change = identity.change(to: now.identity) { throw GraftError.changed(change, file: path) }
  }

  /// Asks the kernel to read these bytes into the page cache meanwhile; what it makes of that is its own affair.
  package func willNeed(_ range: ByteRange) {
    _ = posix_fadvise(rawDescriptor, off_t(range.offset), off_t(range.count), POSIX_FADV_WILLNEED)
  }

  /// Reads all bytes of `range` into `destination`, which has exactly as many; blocks the calling thread.
  ///
  /// - Throws: `truncated` when the file ends inside the range, `ioFailed` when the system fails.
  package func readFully(
    _ range: ByteRange, into destination: UnsafeMutableRawBufferPointer
  ) throws(GraftError) {
    precondition(destination.count == range.count, "a read fills its destination exactly")
    guard let base = destination.baseAddress else { return }
    let rawValue = rawDescriptor
    var done = 0
    while done < range.count {
      let count = min(range.count - done, Self.maximumTransferByteCount)
      let offset = range.offset + done
      let read: Int
      do {
        // The bytes lie in the destination, which the caller keeps for the length of this call.
        read = try systemCall("pread") { unsafe pread(rawValue, base + done, count, off_t(offset)) }
      } catch  where error.errorNumber == EAGAIN {
        try waitUntilReadable()
        continue
      } catch {
        throw GraftError(
          .read, error, file: path, range: ByteRange(offset: offset, count: range.count - done))
      }
      if read == 0 {
        throw GraftError.truncated(file: path, range: range, byteCount: offset)
      }
      done += read
    }
  }

  /// Reads all bytes of `range` into the span, which has exactly as many; blocks the calling thread.
  package func readFully(_ range: ByteRange, into destination: inout MutableRawSpan) throws(GraftError) {
    var failure: GraftError?
    // The pointer is used only inside the closure.
    unsafe destination.withUnsafeMutableBytes { buffer in
      do throws(GraftError) { unsafe try readFully(range, into: buffer) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// The bytes of `range`; blocks the calling thread.
  ///
  /// - Throws: `truncated` before anything is allocated when the range reaches past the file's end.
  package func readFully(_ range: ByteRange) throws(GraftError) -> [UInt8] {
    guard range.end <= byteCount else {
      throw GraftError.truncated(file: path, range: range, byteCount: byteCount)
    }
    var failure: GraftError?
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: range.count) { buffer, initializedCount in
      do throws(GraftError) {
        let bytes = unsafe UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: range.count)
        unsafe try readFully(range, into: bytes)
        initializedCount = range.count
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return bytes
  }

  /// Waits for a file that says EAGAIN although it should block, at most a second at a time.
  private func waitUntilReadable() throws(GraftError) {
    var request = pollfd(fd: rawDescriptor, events: Int16(POLLIN), revents: 0)
    do {
      _ = try systemCall("poll") { unsafe poll(&request, 1, 1000) }
    } catch {
      throw GraftError(.read, error, file: path)
    }
  }
}
