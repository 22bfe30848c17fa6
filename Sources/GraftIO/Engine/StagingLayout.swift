package import GraftCore

/// How a budget is cut into workers, slots and blocks; a pure function of the tuning.
///
/// Whoever supplies operations asks it how long one may be. All memory of a run lies within `byteCount`, which never
/// exceeds the tuning's budget:
///
/// ```
/// worker 0: slot 0 | slot 1 | … | edges      worker 1: slot 0 | slot 1 | … | edges      …
/// ```
///
/// A slot has room for an operation and for direct I/O's rounding on both sides; an edge is one unit of direct I/O's
/// alignment, for the unaligned end of a read that otherwise goes straight into place.
package struct StagingLayout: Hashable, Sendable {
  /// The number of workers.
  package let workerCount: Int
  /// How many reads one worker keeps in flight.
  package let depth: Int
  /// How many slots one worker has.
  package let slotsPerWorker: Int
  /// The most bytes that one operation may have.
  package let operationByteCount: Int
  /// The most bytes of one read through the page cache.
  package let bufferedReadByteCount: Int
  /// Room in a slot beyond an operation, for direct I/O's rounding.
  let marginByteCount: Int
  /// The bytes of one edge; 0 where there is no direct I/O.
  let edgeByteCount: Int

  /// The coarsest alignment of direct I/O that is served; file systems that need more are read through the cache.
  static let maximumAlignment = 4096
  /// More workers than this never helped anywhere, and each costs a thread.
  static let maximumWorkerCount = 64
  /// The ring's completion queue and a worker's tables are sized by the depth.
  static let maximumDepth = 256
  /// A longer read is no faster, and holds a worker's slot longer.
  static let maximumOperationByteCount = 64 << 20
  /// Below this, throughput falls off, so a small budget gives up workers before shorter blocks.
  private static let comfortableOperationByteCount = 256 << 10
  private static let minimumOperationByteCount = 16 << 10

  /// The bytes from one slot to the next.
  var slotStride: Int { operationByteCount + marginByteCount }
  /// All memory of one worker.
  var workerByteCount: Int { slotsPerWorker * slotStride + depth * edgeByteCount }
  /// All memory of a run.
  package var byteCount: Int { workerCount * workerByteCount }

  /// Where a worker's slot begins.
  func slotOffset(worker: Int, slot: Int) -> Int { worker * workerByteCount + slot * slotStride }
  /// Where the edge of one of a worker's reads begins.
  func edgeOffset(worker: Int, entry: Int) -> Int {
    worker * workerByteCount + slotsPerWorker * slotStride + entry * edgeByteCount
  }

  /// The layout for these settings.
  ///
  /// A budget too small for all workers and slots gets fewer slots, then shorter blocks, then fewer workers.
  ///
  /// - Throws: `invalidArgument` for settings below 1, or a budget that has no room for one short block.
  package init(_ tuning: Tuning) throws(GraftError) {
    try Self.check(tuning)
    let mayBeDirect = tuning.access != .buffered
    let alignment = Self.maximumAlignment
    func rounded(_ byteCount: Int) -> Int {
      let clamped = min(byteCount, Self.maximumOperationByteCount)
      return (clamped + alignment - 1) / alignment * alignment
    }
    let block = rounded(tuning.blockByteCount)
    let wanted = mayBeDirect ? max(block, rounded(tuning.directBlockByteCount)) : block
    let workers = min(tuning.threadCount ?? UsableProcessors.count, Self.maximumWorkerCount)
    let depth = min(tuning.queueDepth, Self.maximumDepth)

    let margin = mayBeDirect ? 2 * alignment : 0
    let edge = mayBeDirect ? alignment : 0
    marginByteCount = margin
    edgeByteCount = edge
    /// How many slots each worker gets, not over the depth; below 1 when it does not fit.
    func slots(workers: Int, depth: Int, operation: Int) -> Int {
      min(depth, (tuning.budgetByteCount / workers - depth * edge) / (operation + margin))
    }
    func halved(_ operation: Int) -> Int { max(rounded(operation / 2), alignment) }

    var operation = wanted
    var workerCount = workers
    var inFlight = depth
    // Two slots keep the disk busy while one of them is decoded.
    let enough = min(2, depth)
    while slots(workers: workerCount, depth: inFlight, operation: operation) < enough,
      operation > Self.comfortableOperationByteCount
    {
      operation = max(halved(operation), Self.comfortableOperationByteCount)
    }
    while slots(workers: workerCount, depth: inFlight, operation: operation) < enough, workerCount > 1 {
      workerCount -= 1
    }
    while slots(workers: workerCount, depth: inFlight, operation: operation) < 1 {
      if inFlight > 1 {
        inFlight = max(1, inFlight / 2)
      } else if operation > Self.minimumOperationByteCount {
        operation = max(halved(operation), Self.minimumOperationByteCount)
      } else {
        throw GraftError(
          .invalidArgument, "the staging budget is too small to read anything through it",
          expected: "at least \(operation + margin + edge) bytes", found: "\(tuning.budgetByteCount) bytes",
          remedy: "raise the budget; 64 MiB are enough for full speed")
      }
    }
    self.workerCount = workerCount
    self.depth = inFlight
    operationByteCount = operation
    bufferedReadByteCount = min(block, operation)
    slotsPerWorker = slots(workers: workerCount, depth: inFlight, operation: operation)
  }

  private static func check(_ tuning: Tuning) throws(GraftError) {
    let settings = [
      ("threadCount", tuning.threadCount ?? 1), ("queueDepth", tuning.queueDepth),
      ("blockByteCount", tuning.blockByteCount), ("directBlockByteCount", tuning.directBlockByteCount),
    ]
    for (name, value) in settings where value < 1 {
      throw GraftError(
        .invalidArgument, "the setting \(name) makes no sense", expected: "at least 1", found: "\(value)")
    }
  }
}
