internal import Glibc
internal import GraftCore

/// Owns the memory of a run's slots: addresses at once, pages as they are first written.
///
/// The base never changes and the memory is shared out by ``StagingLayout``, so that no two workers use the same bytes.
@safe final class SlotArena: @unchecked Sendable {  // for the base, which never changes
  let byteCount: Int
  let hugePages: Bool
  let base: UnsafeMutableRawPointer
  private let mapping: UnsafeMutableRawPointer
  private let mappingByteCount: Int

  private static let hugePageByteCount = 2 << 20

  /// Reserves at least this many bytes, aligned to a huge page.
  ///
  /// - Throws: `insufficientMemory` when the system has no addresses or commitment left.
  init(byteCount: Int, hugePages: Bool) throws(GraftError) {
    let (mappingByteCount, overflow) = byteCount.addingReportingOverflow(Self.hugePageByteCount)
    let mapping =
      overflow
      ? unsafe MAP_FAILED
      : unsafe mmap(
        nil, mappingByteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let mapping = unsafe mapping, unsafe mapping != MAP_FAILED else {
      throw GraftError(
        .insufficientMemory, "the system has no room for the staging memory", expected: "\(byteCount) bytes",
        remedy: "lower the budget", cause: SystemCallFailure("mmap", overflow ? ENOMEM : errno))
    }
    let address = UInt(bitPattern: mapping)
    let mask = UInt(Self.hugePageByteCount - 1)
    unsafe self.mapping = mapping
    unsafe base = mapping + Int(((address + mask) & ~mask) - address)
    self.mappingByteCount = mappingByteCount
    self.byteCount = byteCount
    self.hugePages = hugePages
    // A hint; without huge pages it is only slower. Whole huge pages only, so that not more becomes resident than asked.
    _ = unsafe madvise(
      base, byteCount / Self.hugePageByteCount * Self.hugePageByteCount,
      hugePages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE)
  }

  deinit {
    // The run that used it has drained its reads: the kernel writes here no more.
    _ = unsafe munmap(mapping, mappingByteCount)
  }
}
