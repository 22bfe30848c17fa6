internal import GraftCore
internal import Synchronization

/// One call of ``ReadEngine``: what its workers share, and who is told when the last of them is done.
final class ReadRun: Sendable {
  let work: any ReadWork
  let files: RunFiles
  let tuning: Tuning
  let layout: StagingLayout
  let kernel: any ReadKernel
  let progress: ReadProgress?
  private let threads: EngineThreads
  private let state: Mutex<State>
  private let stopped = Atomic(false)

  private struct State {
    var arena: SlotArena?
    var usesArena = false
    /// Shares that are waiting or being served.
    var shareCount = 0
    var failure: GraftError?
    var statistics = ReadStatistics()
    var ringShareCount = 0
    var blockingShareCount = 0
    var refusal: RingRefusal?
    var continuation: CheckedContinuation<Void, Never>?
  }

  init(
    _ work: any ReadWork, files: [File], tuning: Tuning, layout: StagingLayout, kernel: any ReadKernel,
    progress: ReadProgress?, arena: SlotArena?, threads: EngineThreads
  ) {
    self.work = work
    self.files = RunFiles(files, kernel: kernel)
    self.tuning = tuning
    self.layout = layout
    self.kernel = kernel
    self.progress = progress
    self.threads = threads
    var state = State()
    state.arena = arena
    self.state = Mutex(state)
  }

  // MARK: its beginning and end

  /// Starts the workers; the continuation is resumed when the last has drained its reads.
  func start(_ continuation: CheckedContinuation<Void, Never>) {
    state.withLock { state in
      state.continuation = continuation
      state.shareCount = layout.workerCount
    }
    do throws(GraftError) {
      try threads.add((0..<layout.workerCount).map { ReadShare(run: self, worker: $0, helper: 0) })
    } catch {
      fail(error)
      leave(layout.workerCount)
    }
    // A cancellation that came before the shares were queued found nothing to take back.
    if isStopped { leave(threads.withdraw(self)) }
  }

  /// Serves one share on the calling thread; `finish` is called before anybody learns that it is done.
  func serve(_ share: ReadShare, rings: inout RingCache, finish: () -> Void) {
    if !isStopped {
      let worker = ReadWorker(self, share)
      let isRing = serveByRing(worker, share, &rings)
      if !isRing, let failure = worker.serve(kernel.makeBlockingQueue()) {
        fail(GraftError(.ioFailed, "the reads cannot be submitted", cause: failure))
      }
      state.withLock { state in
        state.statistics.add(worker.statistics)
        if isRing { state.ringShareCount += 1 } else { state.blockingShareCount += 1 }
      }
    }
    finish()
    leave(1)
  }

  /// Whether the share was served to its end by a ring.
  private func serveByRing(_ worker: ReadWorker, _ share: ReadShare, _ rings: inout RingCache) -> Bool {
    guard tuning.engine != .threads, share.helper == 0 else { return false }
    let refusal: RingRefusal
    do throws(RingRefusal) {
      let queue = try rings.queue(capacity: layout.depth, kernel: kernel)
      guard let failure = worker.serve(queue) else { return true }
      rings.discard()
      refusal = RingRefusal(
        reason: "the kernel stopped taking reads in the midst of the run",
        remedy: "look into the kernel's log",
        cause: failure)
    } catch {
      refusal = error
    }
    state.withLock { state in if state.refusal == nil { state.refusal = refusal } }
    if tuning.engine == .uring { fail(refusal.error) }
    return false
  }

  private func leave(_ count: Int) {
    guard count > 0 else { return }
    let continuation = state.withLock { state in
      state.shareCount -= count
      guard state.shareCount == 0 else { return nil as CheckedContinuation<Void, Never>? }
      defer { state.continuation = nil }
      return state.continuation
    }
    continuation?.resume()
  }

  /// What the run came to, once the continuation has been resumed.
  func outcome() throws(GraftError) -> ReadStatistics {
    let (failure, result) = state.withLock { state in
      var statistics = state.statistics
      statistics.workerCount = layout.workerCount
      statistics.stagingByteCount = state.usesArena ? layout.byteCount : 0
      statistics.directRefusal = files.directRefusal
      switch (state.ringShareCount > 0, state.blockingShareCount > 0) {
      case (true, true): statistics.engine = .automatic
      case (true, false): statistics.engine = .uring
      case (false, _): statistics.engine = .threads
      }
      if let refusal = state.refusal {
        statistics.engineReason = "io_uring is refused: \(refusal)"
      } else if tuning.engine == .automatic, statistics.engine == .uring {
        statistics.engineReason = "the kernel permits io_uring"
      }
      return (state.failure, statistics)
    }
    if let failure { throw failure }
    return result
  }

  /// The memory of the slots, for the next run to use.
  func takeArena() -> SlotArena? {
    state.withLock { state in
      defer { state.arena = nil }
      return state.arena
    }
  }

  // MARK: what workers ask

  /// Whether workers are to stop pulling operations and drain.
  var isStopped: Bool { stopped.load(ordering: .relaxed) }

  /// Ends the run with an error; the first one wins.
  func fail(_ error: GraftError) {
    state.withLock { state in if state.failure == nil { state.failure = error } }
    stopped.store(true, ordering: .relaxed)
  }

  /// Ends the run because nobody waits for it any more; reads that the kernel has are still waited for.
  func cancel() {
    fail(GraftError(.cancelled, "the task was cancelled while it read"))
    leave(threads.withdraw(self))
  }

  /// The memory of the slots.
  func arena() throws(GraftError) -> SlotArena {
    let result = state.withLock { state -> Result<SlotArena, GraftError> in
      state.usesArena = true
      if let arena = state.arena { return .success(arena) }
      do throws(GraftError) {
        let arena = try SlotArena(byteCount: layout.byteCount, hugePages: tuning.hugePages)
        state.arena = arena
        return .success(arena)
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// Brings in the helpers of a worker that has no ring, because its reads wait for the disk.
  func addHelpers(of worker: Int) {
    let count = layout.slotsPerWorker - 1
    guard count > 0 else { return }
    // The caller's own share is still being served, so the run cannot end in between.
    state.withLock { $0.shareCount += count }
    do throws(GraftError) {
      try threads.add((1...count).map { ReadShare(run: self, worker: worker, helper: $0) })
    } catch {
      // Without helpers it is slower, no more.
      leave(count)
    }
  }
}
