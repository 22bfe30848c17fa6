internal import Glibc
package import GraftCore
package import GraftIO

/// The kernel's cache of a file's pages, warmed and emptied for a measurement.
package enum PageCache {
  /// The bytes of the file, or of this range of it, that are in the page cache.
  package static func residentByteCount(of file: File, _ range: ByteRange? = nil) throws(GraftError) -> Int {
    let range = range ?? ByteRange(offset: 0, count: file.byteCount)
    guard range.count > 0 else { return 0 }
    let mapped = try MappedFile(file)
    let page = MemoryPage.byteCount
    let start = range.offset / page * page
    let count = range.end - start
    // One byte for each page: 256 KiB for each GiB of file.
    var residency = [UInt8](repeating: 0, count: (count + page - 1) / page)
    let base = unsafe UnsafeMutableRawPointer(mutating: mapped.bytes.baseAddress)
    guard let base = unsafe base, unsafe mincore(base + start, count, &residency) == 0 else {
      throw GraftError(.inspect, SystemCallFailure("mincore", errno), file: file.path)
    }
    return min(range.count, residency.count { $0 & 1 != 0 } * page)
  }

  /// Brings the file, or this range of it, into the page cache, unless it is there; blocks the calling thread.
  ///
  /// A file does not stay there: some kernels evict what was not touched for a minute. Where a part is missing all of it is read anew,
  /// from front to back, so that it lies in large folios however often it comes: copying 512 MiB out of a file of which pieces had come and gone
  /// took 0.089 s of a processor, and 0.035 out of the same bytes read at once (ext4, kernel 6.18, a virtual machine).
  package static func warm(_ file: File, _ range: ByteRange? = nil) throws(GraftError) {
    let range = range ?? ByteRange(offset: 0, count: file.byteCount)
    guard try residentByteCount(of: file, range) < range.count else { return }
    // What else is there of the file stays, as somebody may have warmed it for the same round.
    if range.count == file.byteCount { try empty(of: file) }
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { unsafe scratch.deallocate() }
    var offset = range.offset
    while offset < range.end {
      let count = min(scratch.count, range.end - offset)
      unsafe try file.readFully(
        ByteRange(offset: offset, count: count),
        into: UnsafeMutableRawBufferPointer(rebasing: scratch[..<count]))
      offset += count
    }
  }

  /// Asks the kernel to forget the file's pages, and gives the bytes that are still there; needs no privilege.
  ///
  /// Pages that are mapped or being written stay. On a virtual machine the host may still have them, so a cold read is as
  /// cold as the guest can make it.
  ///
  /// - Parameter range: where bytes that are left are looked for; all of the file unless given.
  @discardableResult
  package static func empty(of file: File, _ range: ByteRange? = nil) throws(GraftError) -> Int {
    // Only clean pages can be dropped.
    guard fdatasync(file.rawDescriptor) == 0 else {
      throw GraftError(.flush, SystemCallFailure("fdatasync", errno), file: file.path)
    }
    let result = posix_fadvise(file.rawDescriptor, 0, 0, POSIX_FADV_DONTNEED)
    guard result == 0 else {
      throw GraftError(.inspect, SystemCallFailure("posix_fadvise", result), file: file.path)
    }
    return try residentByteCount(of: file, range)
  }
}
