internal import CGraftSystem
internal import Glibc
package import GraftCore

/// Owns a read-only mapping of a whole file, whose bytes are the page cache's own and cost no copy.
///
/// - Warning: Only for files that the caller says are stable. When a mapped file is shortened, or its device fails, the
///   next access to a missing page kills the process with SIGBUS, and when it is overwritten the bytes change in place.
///   Files on network file systems and files that somebody is still writing are read instead.
@safe
package final class MappedFile: @unchecked Sendable {  // for the pointer, which never changes
  /// The bytes of the file; valid while this object lives.
  package let bytes: UnsafeRawBufferPointer
  /// The file that is mapped.
  package let file: File

  private let base: UnsafeMutableRawPointer

  /// Maps the whole file, by the size it had when it was opened.
  ///
  /// - Throws: `truncated` for a file that is empty or has become shorter, `insufficientMemory` when there are no addresses,
  ///   `ioFailed` or `unsupported` when the file system cannot map.
  package init(_ file: File) throws(GraftError) {
    let whole = ByteRange(offset: 0, count: file.byteCount)
    guard file.byteCount > 0 else {
      throw GraftError(.truncated, "the file is empty, so there is nothing to map", file: file.path)
    }
    try file.checkUnchanged()
    let mapped = unsafe mmap(nil, file.byteCount, PROT_READ, MAP_SHARED, file.rawDescriptor, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
      throw GraftError(.map, SystemCallFailure("mmap", errno), file: file.path, range: whole)
    }
    unsafe base = mapped
    unsafe bytes = UnsafeRawBufferPointer(start: mapped, count: file.byteCount)
    self.file = file
  }

  deinit { unsafe munmap(base, bytes.count) }

  /// Brings a range into the page cache and the mapping now, by this many threads; blocks the calling thread.
  ///
  /// Without it the first use of each page pays. Older kernels than 5.14 only begin to read ahead.
  /// - Throws: `truncated` when the file has become shorter, `ioFailed` when its device fails.
  package func populate(
    _ range: ByteRange? = nil, threadCount: Int = UsableProcessors.count
  ) throws(GraftError) {
    let whole = ByteRange(offset: 0, count: file.byteCount)
    guard let wanted = (range ?? whole).intersection(whole) else { return }
    let page = MemoryPage.byteCount
    let start = wanted.offset / page * page
    let piece = Self.populatedByteCount
    try ParallelPieces.run(count: (wanted.end - start + piece - 1) / piece, threadCount: threadCount) {
      (index) throws(GraftError) in
      let offset = start + index * piece
      try self.populate(ByteRange(offset: offset, count: min(piece, wanted.end - offset)))
    }
  }

  /// As much as one call brings in: enough that calls do not matter, little enough for threads to share a leaf.
  private static let populatedByteCount = 4 << 20

  private func populate(_ range: ByteRange) throws(GraftError) {
    do {
      try systemCall(negatedErrno: "madvise") {
        unsafe graft_system_populate(base + range.offset, range.count, false)
      }
    } catch  where error.errorNumber == EINVAL {
      unsafe madvise(base + range.offset, range.count, MADV_WILLNEED)
    } catch  where error.errorNumber == EFAULT {
      try file.checkUnchanged()
      throw GraftError(.map, error, file: file.path, range: range)
    } catch {
      throw GraftError(.map, error, file: file.path, range: range)
    }
  }
}
