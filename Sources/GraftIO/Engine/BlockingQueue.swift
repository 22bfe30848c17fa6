internal import Glibc
internal import GraftCore

/// Reads by `pread` and `preadv` on the calling thread, one at a time: what every kernel and every sandbox permits.
final class BlockingQueue: ReadQueue {
  let capacity = 1
  let isBlocking = true
  private var prepared: KernelRead?
  private var completion: KernelCompletion?

  func prepare(_ read: KernelRead) {
    precondition(prepared == nil && completion == nil, "one read at a time")
    prepared = read
  }

  func submit(waiting: Bool) throws(SystemCallFailure) {
    guard let read = prepared else { return }
    prepared = nil
    // The addresses are valid for their counts: that is KernelRead's promise.
    let result =
      if let segments = unsafe read.segments {
        unsafe preadv(read.descriptor, segments.baseAddress, CInt(segments.count), off_t(read.offset))
      } else {
        unsafe pread(read.descriptor, read.address, read.byteCount, off_t(read.offset))
      }
    completion = KernelCompletion(tag: read.tag, result: result >= 0 ? result : -Int(errno))
  }

  func nextCompletion() -> KernelCompletion? {
    defer { completion = nil }
    return completion
  }

  func abandon() -> [Int] {
    defer { prepared = nil }
    return prepared.map { [$0.tag] } ?? []
  }
}
