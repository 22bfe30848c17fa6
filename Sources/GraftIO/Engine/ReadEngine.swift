package import GraftCore
internal import Synchronization

/// Reads many byte ranges of many files into given memory, in parallel.
///
/// The engine has threads of its own, never those of Swift's cooperative pool. Each keeps one io_uring; where the kernel
/// refuses it, the threads read by `pread` instead. Threads and rings live as long as the engine, so that a run pays for
/// neither. Who owns what, when:
///
/// - A run borrows its files and its destinations until it has returned or thrown. It does neither before the kernel has
///   let go of every read, whether the run succeeds, fails or is cancelled.
/// - A worker owns its slots and the reads it keeps in flight. It pulls operations, in file order, as those complete.
/// - The memory of the slots goes from run to run.
///
/// Whether a stretch is read through the page cache or around it is decided as it is reached, by its residency; the
/// statistics say what was done and why.
package final class ReadEngine: Sendable {
  /// The engine that loads share.
  package static let shared = ReadEngine()

  let kernel: any ReadKernel
  private let threads: EngineThreads
  private let idleArena = Mutex<SlotArena?>(nil)

  /// An engine of its own, for tests and for programs that keep loads apart.
  ///
  /// - Parameter maximumThreadCount: The most threads for all runs at once; those of further runs wait.
  package init(kernel: any ReadKernel = SystemKernel(), maximumThreadCount: Int = 256) {
    self.kernel = kernel
    threads = EngineThreads(maximumThreadCount: maximumThreadCount)
  }

  /// Reads all that the work supplies.
  ///
  /// - Returns: What was done, when all operations have been completed.
  /// - Throws: The first failure, naming the file and range: `truncated`, `fileChanged`, `ioFailed`, or what the work
  ///   threw; `unsupported` when the tuning insists on io_uring and it is refused; `cancelled` when the task was
  ///   cancelled.
  package func run(
    _ work: any ReadWork, files: [File], tuning: Tuning = Tuning(), progress: ReadProgress? = nil
  ) async throws(GraftError) -> ReadStatistics {
    let layout = try StagingLayout(tuning)
    let run = ReadRun(
      work, files: files, tuning: tuning, layout: layout, kernel: kernel, progress: progress,
      arena: takeIdleArena(for: layout, tuning), threads: threads)
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in run.start(continuation) }
    } onCancel: {
      run.cancel()
    }
    keep(run.takeArena())
    return try run.outcome()
  }

  /// Whether all but a page here and there of a range is in the page cache; not where nobody can tell.
  package func isResident(_ file: File, _ range: ByteRange) -> Bool {
    (kernel.residentFraction(of: file, range) ?? 0) >= ResidencyView.warmFraction
  }

  /// Reads a range on the calling thread as far as the page cache has it from its beginning on.
  ///
  /// For those who use the bytes at once, on the same processor, and go through ``run(_:files:tuning:progress:)`` with whatever did
  /// not come: faults of any kind show as fewer bytes. The kernel begins to read what is missing, so ask ``isResident(_:_:)`` first.
  /// - Returns: How many bytes came.
  package func readResident(
    _ file: File, _ range: ByteRange, into memory: UnsafeMutableRawBufferPointer
  ) -> Int {
    unsafe kernel.readResident(file, range, into: memory)
  }

  /// Gives the memory that is kept for the slots of the next run back to the system.
  package func releaseIdleMemory() {
    idleArena.withLock { $0 = nil }
  }

  /// The kept memory, if it is of the right size: no less than needed and no more than the budget.
  private func takeIdleArena(for layout: StagingLayout, _ tuning: Tuning) -> SlotArena? {
    let arena = idleArena.withLock { idle in
      defer { idle = nil }
      return idle
    }
    guard let arena, arena.byteCount >= layout.byteCount, arena.byteCount <= tuning.budgetByteCount,
      arena.hugePages == tuning.hugePages
    else { return nil }
    return arena
  }

  private func keep(_ arena: SlotArena?) {
    guard let arena else { return }
    idleArena.withLock { idle in
      // Of runs that ended together, the larger memory serves more of those to come.
      if idle.map({ $0.byteCount < arena.byteCount }) ?? true { idle = arena }
    }
  }
}
