package import GraftCore

/// What a run of the ``ReadEngine`` did, in figures that a report and a test can hold it to.
package struct ReadStatistics: Hashable, Sendable {
  /// How reads were submitted: `uring`, `threads`, or `automatic` where workers of one run differed.
  package var engine = Tuning.Engine.threads
  /// Why it was this engine, for example `io_uring is refused: …`; empty when nothing had to be chosen.
  package var engineReason = ""
  /// Why direct I/O was not used where it was wanted; nil when it was, or nobody wanted it.
  package var directRefusal: String?
  /// The workers that the run was allowed.
  package var workerCount = 0
  /// Reads that the kernel did; a short one and its continuation are two.
  package var requestCount = 0
  /// Bytes that the kernel delivered.
  package var bytesRead = 0
  /// Bytes that somebody asked for.
  package var bytesWanted = 0
  /// Of ``bytesRead``, those that came around the page cache.
  package var directByteCount = 0
  /// Of ``bytesRead``, those that came through the page cache.
  package var bufferedByteCount = 0
  /// Bytes that were read into a slot only because of direct I/O's alignment, and copied to their destination.
  package var bouncedByteCount = 0
  /// Requests that were read together with a neighbour.
  package var coalescedCount = 0
  /// Reads that were submitted again, because they were interrupted, fell short or were not to be done at once.
  package var retryCount = 0
  /// The memory of the run's slots, in bytes; 0 when it needed none.
  package var stagingByteCount = 0

  /// The statistics of a run that did nothing.
  package init() {}

  /// Adds what one worker did; the run's own facts stay.
  mutating func add(_ other: ReadStatistics) {
    requestCount += other.requestCount
    bytesRead += other.bytesRead
    bytesWanted += other.bytesWanted
    directByteCount += other.directByteCount
    bufferedByteCount += other.bufferedByteCount
    bouncedByteCount += other.bouncedByteCount
    coalescedCount += other.coalescedCount
    retryCount += other.retryCount
  }
}
