package import GraftCore
internal import Synchronization

/// Work in numbered pieces, shared among threads of its own.
package enum ParallelPieces {
  private typealias Body = @Sendable (_ piece: Int) throws(GraftError) -> Void

  /// What the threads share; a thread outlives its last piece by a moment, and must not keep what the body holds.
  private final class Work: Sendable {
    let count: Int
    let next = Atomic(0)
    let failure = Mutex<GraftError?>(nil)
    let ended = Semaphore()
    private let body: Mutex<Body?>

    init(count: Int, _ body: @escaping Body) {
      self.count = count
      self.body = Mutex(body)
    }

    /// Does pieces until there are none; afterwards this thread no longer has the body.
    func doPieces() {
      guard let body = body.withLock({ $0 }) else { return }
      while true {
        let piece = next.add(1, ordering: .relaxed).oldValue
        guard piece < count else { return }
        do throws(GraftError) {
          try body(piece)
        } catch {
          failure.withLock { $0 = $0 ?? error }
          next.store(count, ordering: .relaxed)
          return
        }
      }
    }

    func end() { body.withLock { $0 = nil } }
  }

  /// Does every piece once, on the calling thread and up to `threadCount - 1` others; returns when all are done.
  ///
  /// Threads take the next piece when they have done one, so uneven pieces even out. When the system refuses threads it
  /// goes on with fewer. It blocks the calling thread, so it does not belong on Swift's cooperative pool.
  /// - Throws: The first error that a piece throws; pieces that were not begun by then are left out.
  package static func run(
    count: Int, threadCount: Int, _ body: @escaping @Sendable (_ piece: Int) throws(GraftError) -> Void
  ) throws(GraftError) {
    let work = Work(count: count, body)
    var started = 0
    while started + 1 < min(threadCount, count) {
      do throws(GraftError) {
        try Thread.start {
          work.doPieces()
          work.ended.signal()
        }
      } catch {
        break
      }
      started += 1
    }
    work.doPieces()
    for _ in 0..<started { work.ended.wait() }
    work.end()
    if let failure = work.failure.withLock({ $0 }) { throw failure }
  }
}
