internal import GraftCore
internal import Synchronization

/// One worker's share in a run: a worker, or a helper that reads beside a worker without a ring.
struct ReadShare: Sendable {
  let run: ReadRun
  /// The worker whose slots it uses.
  let worker: Int
  /// 0 for the worker itself; a helper uses the worker's slot of this number.
  let helper: Int
}

/// The threads of one engine, started when there is a share for them and kept, each with its ring, until the engine goes.
final class EngineThreads: Sendable {
  private let work = Work()
  private let maximumThreadCount: Int

  private final class Work: Sendable {
    let state = Mutex(State())
    /// One signal for each share ever queued, and one for each thread when the engine ends.
    let arrivals = Semaphore()
  }

  private struct State {
    /// Shares that no thread has taken, oldest first.
    ///
    /// No longer than all current runs have workers and helpers.
    var waiting: [ReadShare] = []
    var threadCount = 0
    var busyCount = 0
    var isEnded = false
  }

  init(maximumThreadCount: Int) {
    precondition(maximumThreadCount > 0)
    self.maximumThreadCount = maximumThreadCount
  }

  deinit {
    // A run holds its engine until it has returned, so no share is waiting.
    let threadCount = work.state.withLock { state in
      state.isEnded = true
      return state.threadCount
    }
    for _ in 0..<threadCount { work.arrivals.signal() }
  }

  /// Queues shares, and starts threads for them as long as there are fewer than allowed.
  ///
  /// - Throws: `insufficientMemory` when there is not even one thread; the shares are then taken back.
  func add(_ shares: [ReadShare]) throws(GraftError) {
    let missing = work.state.withLock { state in
      state.waiting += shares
      let idle = state.threadCount - state.busyCount
      let missing = max(0, min(state.waiting.count - idle, maximumThreadCount - state.threadCount))
      state.threadCount += missing
      return missing
    }
    for started in 0..<missing {
      let work = work
      do throws(GraftError) {
        try Thread.start { Self.serve(work) }
      } catch {
        let isHopeless = work.state.withLock { state in
          state.threadCount -= missing - started
          return state.threadCount == 0
        }
        // Other threads, of this run or another, come to the shares in time.
        if !isHopeless { break }
        if let run = shares.first?.run { _ = withdraw(run) }
        throw error
      }
    }
    for _ in shares { work.arrivals.signal() }
  }

  /// Takes back the shares of a run that no thread has begun; how many.
  func withdraw(_ run: ReadRun) -> Int {
    work.state.withLock { state in
      let before = state.waiting.count
      state.waiting.removeAll { $0.run === run }
      return before - state.waiting.count
    }
  }

  private static func serve(_ work: Work) {
    var rings = RingCache()
    while true {
      work.arrivals.wait()
      let (share, isEnded) = work.state.withLock { state -> (ReadShare?, Bool) in
        // Withdrawn shares leave their signals behind: a thread then wakes for nothing.
        guard !state.waiting.isEmpty else { return (nil, state.isEnded) }
        state.busyCount += 1
        return (state.waiting.removeFirst(), false)
      }
      if let share {
        share.run.serve(share, rings: &rings) {
          // Before the run can return: the next run then finds this thread idle, and starts no other.
          work.state.withLock { $0.busyCount -= 1 }
        }
      } else if isEnded {
        return
      }
    }
  }
}

/// The ring that a thread keeps between runs.
struct RingCache {
  private var queue: (any ReadQueue)?

  /// A ring for at least this many reads.
  mutating func queue(capacity: Int, kernel: any ReadKernel) throws(RingRefusal) -> any ReadQueue {
    if let queue, queue.capacity >= capacity { return queue }
    let created = try kernel.makeRingQueue(capacity: capacity)
    queue = created
    return created
  }

  /// Forgets a ring that failed.
  mutating func discard() { queue = nil }
}
