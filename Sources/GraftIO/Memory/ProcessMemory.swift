internal import Glibc
package import GraftCore
internal import Synchronization

/// How much memory this process has.
package enum ProcessMemory {
  /// The anonymous memory that is resident, in bytes: heap, stacks and pools, but no pages of mapped files.
  ///
  /// The kernel batches this figure per processor, so it may be some hundred KiB off.
  package static var anonymousByteCount: Int {
    // The resident pages without those of files and shared memory: RssAnon of /proc/self/status, which is a page of text that takes
    // the kernel and us ten times as long. A sampler reads this every millisecond, beside loads that are being timed.
    let pages = (SystemText.read("/proc/self/statm") ?? "").utf8.split(separator: UInt8(ascii: " "))
    guard pages.count > 2, let resident = Int(Substring(pages[1])), let shared = Int(Substring(pages[2]))
    else { return value("RssAnon:", "/proc/self/status") }
    return max(0, resident - shared) * MemoryPage.byteCount
  }

  /// All resident memory at its peak since the process began, in bytes, pages of mapped files with it.
  package static var peakResidentByteCount: Int { value("VmHWM:", "/proc/self/status") }

  /// The anonymous memory by a walk over all pages, in bytes: exact, but it takes milliseconds for each GiB of small pages.
  package static var exactAnonymousByteCount: Int { value("Anonymous:", "/proc/self/smaps_rollup") }

  /// The machine's memory in bytes.
  package static let physicalByteCount: Int = {
    let pages = sysconf(Int32(_SC_PHYS_PAGES))
    return pages > 0 ? pages * MemoryPage.byteCount : 0
  }()

  private static func value(_ name: String, _ path: String) -> Int {
    SystemText.read(path).flatMap { SystemText.number(name, in: $0) } ?? 0
  }
}

/// Watches the process's anonymous memory from a thread of its own, and knows the most there was.
///
/// What comes and goes between two samples is not seen: a sample every millisecond sees what lives for two.
package final class PeakMemorySampler: Sendable {
  private final class Shared: Sendable {
    let peak: Atomic<Int>
    let isStopped = Atomic(false)
    let ended = Semaphore()
    init(_ base: Int) { peak = Atomic(base) }
  }

  /// The anonymous memory when the sampler started, in bytes.
  package let baseByteCount: Int

  private let shared: Shared

  /// Starts to watch.
  ///
  /// - Throws: `insufficientMemory` when the system refuses the thread.
  package init(intervalMicroseconds: UInt32 = 1000) throws(GraftError) {
    let base = ProcessMemory.anonymousByteCount
    let shared = Shared(base)
    baseByteCount = base
    self.shared = shared
    try Thread.start {
      while !shared.isStopped.load(ordering: .relaxed) {
        shared.peak.max(ProcessMemory.anonymousByteCount, ordering: .relaxed)
        usleep(intervalMicroseconds)
      }
      shared.ended.signal()
    }
  }

  deinit { shared.isStopped.store(true, ordering: .relaxed) }

  /// Stops to watch, and gives the most anonymous memory that was seen, in bytes; to be called once.
  package func stop() -> Int {
    shared.peak.max(ProcessMemory.anonymousByteCount, ordering: .relaxed)
    if !shared.isStopped.exchange(true, ordering: .relaxed) { shared.ended.wait() }
    return shared.peak.load(ordering: .relaxed)
  }
}
