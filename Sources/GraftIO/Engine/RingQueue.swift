internal import CGraftRing
internal import Glibc
internal import GraftCore

/// Owns one io_uring, used by the thread that made it.
///
/// A read through the page cache is copied by the submitting thread when its bytes are resident, so parallelism comes
/// from one ring per worker. A read that must wait for the disk goes to a thread of the kernel's.
@safe final class RingQueue: ReadQueue {
  let capacity: Int
  let isBlocking = false
  private let ring: OpaquePointer
  /// Prepared, and not taken by the kernel yet, oldest first.
  private var unsubmitted: [Int] = []
  private var submittedCount = 0
  private var reapedCount = 0
  private var completions: [graft_ring_completion]
  private var nextIndex = 0
  private var completionCount = 0
  private var isOpen = true

  /// A ring for this many reads at once.
  init(capacity: Int) throws(RingRefusal) {
    var ring: OpaquePointer?
    var report = graft_ring_report()
    let result = unsafe graft_ring_create(UInt32(capacity), &ring, &report)
    guard result == 0, let ring = unsafe ring else { throw RingRefusal(report) }
    unsafe self.ring = ring
    self.capacity = capacity
    completions = Array(repeating: graft_ring_completion(), count: capacity)
  }

  deinit {
    if isOpen { _ = abandon() }
  }

  func prepare(_ read: KernelRead) {
    var request = unsafe graft_ring_read(
      buffer: read.address, byte_count: UInt32(read.byteCount), descriptor: read.descriptor,
      offset: UInt64(read.offset), token: UInt64(read.tag), asynchronous: read.isAsynchronous,
      segments: read.segments?.baseAddress, segment_count: UInt32(read.segments?.count ?? 0))
    let result = unsafe graft_ring_prepare(ring, &request)
    precondition(result == 0, "no more reads than the ring has entries")
    unsubmitted.append(read.tag)
  }

  func submit(waiting: Bool) throws(SystemCallFailure) {
    var attempts = 0
    while true {
      let result = unsafe graft_ring_submit(ring, waiting ? 1 : 0)
      if result >= 0 {
        submittedCount += Int(result)
        unsubmitted.removeFirst(Int(result))
        return
      }
      switch -result {
      case EINTR: continue
      case EAGAIN, EBUSY:
        // The kernel is short of memory for requests, or has completions that must be taken first.
        reap()
        if completionCount > 0 { return }
        attempts += 1
        guard attempts <= Self.submissionAttemptLimit else {
          throw SystemCallFailure("io_uring_enter", -result)
        }
        usleep(1000)
      default: throw SystemCallFailure("io_uring_enter", -result)
      }
    }
  }

  /// Two seconds of a kernel without memory for a single request; `pread` needs none, so the run goes on with that.
  private static let submissionAttemptLimit = 2000

  func nextCompletion() -> KernelCompletion? {
    if nextIndex == completionCount { reap() }
    guard nextIndex < completionCount else { return nil }
    let completion = completions[nextIndex]
    nextIndex += 1
    return KernelCompletion(tag: Int(completion.token), result: Int(completion.result))
  }

  /// Takes completions that are there, once the earlier ones are handed out.
  private func reap() {
    guard isOpen, nextIndex == completionCount, reapedCount < submittedCount else { return }
    nextIndex = 0
    completionCount = unsafe completions.withUnsafeMutableBufferPointer { buffer in
      unsafe Int(graft_ring_reap(ring, buffer.baseAddress, UInt32(buffer.count)))
    }
    reapedCount += completionCount
  }

  func abandon() -> [Int] {
    guard isOpen else { return [] }
    var remaining = Array(completions[nextIndex..<completionCount])
    while reapedCount < submittedCount {
      nextIndex = completionCount
      reap()
      remaining += completions[..<completionCount]
      if completionCount == 0, unsafe graft_ring_wait(ring) < 0 {
        // Returning would hand memory back that the kernel still writes to, so there is only waiting longer.
        usleep(1000)
      }
    }
    isOpen = false
    unsafe graft_ring_destroy(ring)
    completions = remaining
    nextIndex = 0
    completionCount = remaining.count
    defer { unsubmitted = [] }
    return unsubmitted
  }
}
