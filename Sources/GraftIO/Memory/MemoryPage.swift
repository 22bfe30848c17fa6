internal import CGraftSystem
internal import Glibc
internal import GraftCore

/// Pages of memory, and getting them.
package enum MemoryPage {
  /// The size of an ordinary page.
  package static let byteCount = sysconf(Int32(_SC_PAGESIZE))
  /// The size of a huge page on x86-64 and on arm64 with 4 KiB pages; the unit in which memory is populated.
  package static let hugeByteCount = 2 << 20

  /// Gives every page that these bytes touch its memory now, and keeps their contents.
  ///
  /// - Throws: errno ENOMEM when there is none.
  static func populate(_ bytes: UnsafeMutableRawBufferPointer) throws(SystemCallFailure) {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return }
    let mask = UInt(byteCount - 1)
    let lead = Int(UInt(bitPattern: base) & mask)
    do {
      try systemCall(negatedErrno: "madvise") {
        unsafe graft_system_populate(base - lead, lead + bytes.count, true)
      }
    } catch  where error.errorNumber == EINVAL {
      // Kernels before 5.14.
      unsafe graft_system_touch(base, bytes.count, byteCount)
    } catch  where error.errorNumber == EAGAIN {
      // The kernel says so when it gave up for now; the first use of a page gets it all the same.
    }
  }
}
