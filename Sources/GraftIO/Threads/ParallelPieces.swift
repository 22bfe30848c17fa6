package import GraftCore
internal import Synchronization

/// Work in numbered pieces, shared among threads of its own.
package enum ParallelPieces {
  private final class Progress: Sendable {
    let next = Atomic(0)
    let failure = Mutex<GraftError?>(nil)
    let ended = Semaphore()
  }

  /// Does every piece once, on the calling thread and up to `threadCount - 1` others; returns when all are done.
  ///
  /// Threads take the next piece when they have done one, so uneven pieces even out. When the system refuses threads it
  /// goes on with fewer. It blocks the calling thread, so it does not belong on Swift's cooperative pool.
  /// - Throws: The first error that a piece throws; pieces that were not begun by then are left out.
  package static func run(
    count: Int, threadCount: Int, _ body: @escaping @Sendable (_ piece: Int) throws(GraftError) -> Void
  ) throws(GraftError) {
    let progress = Progress()
    let work: @Sendable () -> Void = {
      while true {
        let piece = progress.next.add(1, ordering: .relaxed).oldValue
        guard piece < count else { return }
        do throws(GraftError) {
          try body(piece)
        } catch {
          progress.failure.withLock { $0 = $0 ?? error }
          progress.next.store(count, ordering: .relaxed)
          return
        }
      }
    }
    var started = 0
    for _ in 1..<max(1, min(threadCount, count)) {
      do throws(GraftError) {
        try Thread.start {
          work()
          progress.ended.signal()
        }
      } catch {
        break
      }
      started += 1
    }
    work()
    for _ in 0..<started { progress.ended.wait() }
    if let failure = progress.failure.withLock({ $0 }) { throw failure }
  }
}
