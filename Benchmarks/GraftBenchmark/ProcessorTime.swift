internal import Glibc
internal import GraftCore
internal import Synchronization

/// Collects the processor time of runs, beside the time that passed: what a run would take if nobody else were there.
///
/// Of work that computes on one thread, the two differ by the time that others had its processor.
final class ProcessorTime: Sendable {
  private let seconds = Mutex<[Double]>([])

  /// The seconds of each run, the first of which was no round that counts.
  var counted: [Double] { Array(seconds.withLock { $0 }.dropFirst()) }

  /// Runs `body`, and adds the processor time that this process took meanwhile.
  func measure(_ body: () async throws(GraftError) -> Void) async throws(GraftError) {
    let start = Self.now
    try await body()
    let end = Self.now
    seconds.withLock { $0.append(end - start) }
  }

  /// The processor time of this process since it began, in seconds.
  static var now: Double {
    var time = timespec()
    guard unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 else { return 0 }
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}
