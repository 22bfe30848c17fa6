package import GraftCore
internal import GraftIO

/// Something whose speed is compared with others': what it moves, and how.
///
/// A ceiling is one, and a load by Graft that is measured beside it is another.
package struct Contestant: Sendable {
  /// What a report calls it, for example `pread, 2 threads, 1 MiB`.
  package let name: String
  /// The bytes that one run moves.
  package let byteCount: Int
  /// What is done before each run and not timed, such as warming or emptying the page cache.
  package let prepare: @Sendable () async throws(GraftError) -> Void
  /// What is timed.
  package let run: @Sendable () async throws(GraftError) -> Void
  /// What is done after each run and not timed, such as giving memory back for the next contestant.
  package let finish: @Sendable () async throws(GraftError) -> Void

  /// A contestant that suspends, such as a load.
  package init(
    _ name: String, byteCount: Int,
    prepare: @escaping @Sendable () async throws(GraftError) -> Void = { () async throws(GraftError) in },
    run: @escaping @Sendable () async throws(GraftError) -> Void,
    finish: @escaping @Sendable () async throws(GraftError) -> Void = { () async throws(GraftError) in }
  ) {
    self.name = name
    self.byteCount = byteCount
    self.prepare = prepare
    self.run = run
    self.finish = finish
  }

  /// A contestant that blocks; it runs on a thread of its own kind, not on Swift's cooperative pool.
  package init(
    blocking name: String, byteCount: Int,
    prepare: @escaping @Sendable () throws(GraftError) -> Void = { () throws(GraftError) in },
    run: @escaping @Sendable () throws(GraftError) -> Void,
    finish: @escaping @Sendable () throws(GraftError) -> Void = { () throws(GraftError) in }
  ) {
    self.init(
      name, byteCount: byteCount,
      prepare: { () async throws(GraftError) in try await Self.thread.run(prepare) },
      run: { () async throws(GraftError) in try await Self.thread.run(run) },
      finish: { () async throws(GraftError) in try await Self.thread.run(finish) })
  }

  /// Prepares, runs once and finishes, and gives the seconds that the run took.
  package func time() async throws(GraftError) -> Double {
    try await prepare()
    let clock = ContinuousClock()
    let start = clock.now
    try await run()
    let duration = (clock.now - start).components
    try await finish()
    return Double(duration.seconds) + Double(duration.attoseconds) * 1e-18
  }

  /// One thread, as contestants run one at a time; handing over to it takes microseconds.
  private static let thread = BlockingThreads(maximumThreadCount: 1)
}
