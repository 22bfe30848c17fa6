import Glibc
import GraftCore
import GraftIO
import Testing

@Suite(.timeLimit(.minutes(5))) struct BlockingThreadsTests {
  @Test func `all work is done, on no more threads than allowed`() async throws {
    let threads = BlockingThreads(maximumThreadCount: 3)
    let running = Locked((now: 0, most: 0))
    let sum = try await withThrowingTaskGroup(of: Int.self) { group in
      for index in 0..<100 {
        group.addTask {
          try await threads.run { () throws(GraftError) in
            running.change {
              $0.now += 1
              $0.most = max($0.most, $0.now)
            }
            usleep(500)
            running.change { $0.now -= 1 }
            return index
          }
        }
      }
      return try await group.reduce(0, +)
    }
    #expect(sum == 4950)
    #expect(running.value.most <= 3)
  }

  @Test func `what the work throws reaches its caller`() async {
    let threads = BlockingThreads(maximumThreadCount: 1)
    let error = await #expect(throws: GraftError.self) {
      try await threads.run { () throws(GraftError) -> Int in throw GraftError(.corrupt, "on purpose") }
    }
    #expect(error?.code == .corrupt)
  }

  @Test func `work that is cancelled before it starts is not done`() async throws {
    let threads = BlockingThreads(maximumThreadCount: 1)
    let gate = Locked(false)
    let didRun = Locked(false)
    let first = Task {
      try await threads.run { () throws(GraftError) in
        while !gate.value { usleep(200) }
      }
    }
    let second = Task { try await threads.run { () throws(GraftError) in didRun.change { $0 = true } } }
    second.cancel()
    gate.change { $0 = true }
    try await first.value
    let result = await second.result
    // The second may have come to the only thread before the first did, but then it was cancelled too late to tell.
    switch result {
    case .success: #expect(didRun.value)
    case .failure(let error):
      #expect((error as? GraftError)?.code == .cancelled)
      #expect(!didRun.value)
    }
  }

  @Test func `the threads end with the object`() async throws {
    func threadCount() -> Int { TemporaryFolder.names("/proc/self/task").count }
    for _ in 0..<50 {
      let threads = BlockingThreads(maximumThreadCount: 8)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<8 {
          group.addTask { try await threads.run { () throws(GraftError) -> Void in usleep(100) } }
        }
        try await group.waitForAll()
      }
    }
    // 400 threads were asked for; those of the last rounds may still be on their way out, and other tests have theirs.
    for _ in 0..<200 where threadCount() > 60 { usleep(10_000) }
    #expect(threadCount() < 300)
  }
}

/// What work holds is let go of before its caller goes on, so that memory and files are given back when one thinks they are.
@Suite struct WorkLifetimeTests {
  final class Holder: Sendable {
    let count: Locked<Int>
    init(_ count: Locked<Int>) {
      self.count = count
      count.change { $0 += 1 }
    }
    deinit { count.change { $0 -= 1 } }
    func use() {}
  }

  @Test func `threads keep nothing of finished pieces`() throws {
    let living = Locked(0)
    for _ in 0..<300 {
      let pieces: (Holder) throws -> Void = { holder in
        try ParallelPieces.run(count: 4, threadCount: 4) { (_) throws(GraftError) in holder.use() }
      }
      try pieces(Holder(living))
      #expect(living.value == 0)
    }
  }
}
