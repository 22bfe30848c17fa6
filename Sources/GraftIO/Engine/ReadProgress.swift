internal import Synchronization

/// How far a run has come; its owner polls it from any thread, or is called.
package final class ReadProgress: Sendable {
  private let completed = Atomic(0)
  private let nextReport: Atomic<Int64>
  private let started = ContinuousClock.now
  private let interval: Duration
  private let report: (@Sendable (Int) -> Void)?

  /// Progress that calls `report` with the number of completed bytes, on a thread of the engine, and at most once per
  /// interval; the last bytes may go unreported.
  package init(interval: Duration = .milliseconds(100), report: (@Sendable (Int) -> Void)? = nil) {
    self.interval = interval
    self.report = report
    nextReport = Atomic(Self.nanoseconds(interval))
  }

  /// The wanted bytes that are in place and handled.
  package var completedByteCount: Int { completed.load(ordering: .relaxed) }

  /// Counts bytes as done; for those who read beside the engine and report with it.
  package func add(_ byteCount: Int) {
    let now = completed.add(byteCount, ordering: .relaxed).newValue
    guard let report else { return }
    let elapsed = Self.nanoseconds(started.duration(to: .now))
    let due = nextReport.load(ordering: .relaxed)
    // Of several workers that find it due, the one that sets the next time reports.
    guard elapsed >= due,
      nextReport.compareExchange(
        expected: due, desired: elapsed + Self.nanoseconds(interval), ordering: .relaxed
      ).exchanged
    else { return }
    report(now)
  }

  private static func nanoseconds(_ duration: Duration) -> Int64 {
    let (seconds, attoseconds) = duration.components
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    // A caller that asks for an interval of centuries is never called.
    return overflow ? .max / 2 : min(whole, .max / 2) + attoseconds / 1_000_000_000
  }
}
