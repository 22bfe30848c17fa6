package import GraftCore
internal import Synchronization

/// A bounded number of threads for work that blocks, which must never hold a thread of Swift's cooperative pool.
///
/// Async functions await the work. It is queued when all threads are busy; each entry of the queue is a suspended
/// caller, so the queue is no longer than there are callers. Work must not wait for other work of the same threads:
/// they could all be waiting.
package final class BlockingThreads: Sendable {
  /// For opening, listing and reading what is small: metadata, headers, indices.
  ///
  /// Eight, because such reads wait for the disk rather than compute: a folder of cold shards opens eight at a time.
  package static let shared = BlockingThreads(maximumThreadCount: 8)

  /// What the threads take from; they hold it, so that it outlives the last of them.
  private final class Work: Sendable {
    let state = Mutex(State())
    /// One signal for each entry ever queued, and one for each thread when the pool ends.
    let arrivals = Semaphore()
  }

  private struct State {
    /// What waits for a thread, newest first; `taken` holds the rest, oldest last.
    var arrived: [@Sendable () -> Void] = []
    var taken: [@Sendable () -> Void] = []
    var threadCount = 0
    /// Threads that wait for an arrival, or were woken and have not taken theirs yet.
    var idleCount = 0

    var pendingCount: Int { arrived.count + taken.count }

    mutating func next() -> (@Sendable () -> Void)? {
      if taken.isEmpty {
        taken = arrived.reversed()
        arrived.removeAll(keepingCapacity: true)
      }
      return taken.popLast()
    }
  }

  private let work = Work()
  private let maximumThreadCount: Int

  /// Up to this many threads, started when there is work for them and kept until this object goes.
  package init(maximumThreadCount: Int) {
    precondition(maximumThreadCount > 0)
    self.maximumThreadCount = maximumThreadCount
  }

  deinit {
    // A caller that awaits its work holds this object, so the queue is empty: threads that wake find nothing and end.
    let threadCount = work.state.withLock { $0.threadCount }
    for _ in 0..<threadCount { work.arrivals.signal() }
  }

  /// Runs `body` on one of the threads and awaits its result.
  ///
  /// - Throws: What `body` throws; `cancelled` when the task is cancelled before the body starts.
  package func run<Value: Sendable>(
    _ body: @escaping @Sendable () throws(GraftError) -> Value
  ) async throws(GraftError) -> Value {
    let job = Job(body)
    let result: Result<Value, GraftError> = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        do throws(GraftError) {
          try submit { continuation.resume(returning: job.result()) }
        } catch {
          continuation.resume(returning: .failure(error))
        }
      }
    } onCancel: {
      job.isCancelled.store(true, ordering: .relaxed)
    }
    return try result.get()
  }

  private func submit(_ job: @escaping @Sendable () -> Void) throws(GraftError) {
    let needsThread = work.state.withLock { state in
      state.arrived.append(job)
      guard state.pendingCount > state.idleCount, state.threadCount < maximumThreadCount else { return false }
      state.threadCount += 1
      state.idleCount += 1
      return true
    }
    if needsThread {
      let work = work
      do throws(GraftError) {
        try Thread.start { Self.serve(work) }
      } catch {
        // With another thread running the job waits its turn; with none it would wait for ever.
        let abandoned = work.state.withLock { state in
          state.threadCount -= 1
          state.idleCount -= 1
          return state.threadCount == 0 ? state.next() : nil
        }
        if abandoned != nil { throw error }
      }
    }
    work.arrivals.signal()
  }

  private static func serve(_ work: Work) {
    while true {
      work.arrivals.wait()
      let job = work.state.withLock { state in
        state.idleCount -= 1
        return state.next()
      }
      guard let job else { return }
      job()
      work.state.withLock { $0.idleCount += 1 }
    }
  }
}

/// Work of a caller that waits for it.
private final class Job<Value: Sendable>: Sendable {
  typealias Body = @Sendable () throws(GraftError) -> Value

  /// Whether the caller was cancelled.
  let isCancelled = Atomic(false)
  private let body: Mutex<Body?>

  init(_ body: @escaping Body) { self.body = Mutex(body) }

  /// Does the work, and lets go of what it holds before the caller goes on: a file that it read is closed by then.
  func result() -> Result<Value, GraftError> {
    let body = body.withLock { body in
      defer { body = nil }
      return body
    }
    guard let body, !isCancelled.load(ordering: .relaxed) else {
      return .failure(GraftError(.cancelled, "the task was cancelled"))
    }
    do throws(GraftError) { return .success(try body()) } catch { return .failure(error) }
  }
}
