internal import Glibc
internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Watches the memory of loads: what they take beyond their result must stay within the budget.
struct MemoryBenchmark {
  let options: BenchmarkOptions
  private let kept = KeptResult()

  init(_ options: BenchmarkOptions) { self.options = options }

  func run() async throws(GraftError) -> BenchmarkReport {
    let model = try ModelFile.languageModel(options)
    let file = try File(opening: model.path)
    let path = model.path
    var tuning = Tuning()
    tuning.budgetByteCount = 64 << 20
    let whole = { @Sendable (tuning: Tuning) async throws(GraftError) -> Loaded in
      try await Checkpoint(at: path).load(tuning: tuning)
    }
    let strided = { @Sendable (tuning: Tuning) async throws(GraftError) -> Loaded in
      let checkpoint = try await Checkpoint(at: path)
      let target = checkpoint.target { _, spec in
        // Every other column: nothing of it is in one piece, so that all of it is staged.
        spec.tensor?.shape.rank == 2 ? .slice(.all, .strided(by: 2)) : .stored
      }
      return try await checkpoint.load(target, tuning: tuning)
    }
    let reversed = { @Sendable (tuning: Tuning) async throws(GraftError) -> Loaded in
      let checkpoint = try await Checkpoint(at: path)
      let target = checkpoint.target { _, spec in
        spec.tensor?.shape.rank == 2 ? .slice(.strided(by: -1)) : .stored
      }
      return try await checkpoint.load(target, tuning: tuning)
    }

    var report = BenchmarkReport()
    report.conditions.append(
      "\(file.byteCount) bytes of model, a budget of \(tuning.budgetByteCount >> 20) MiB, peaks of anonymous memory, sampled"
    )
    var table = BenchmarkReport.Table(
      "memory beyond base and result",
      ["load", "result, MiB", "beyond, MiB", "by peak RSS, MiB", "staging, MiB"])
    var worst = 0.0
    for (name, isWarm, load) in [
      ("whole, warm", true, whole), ("whole, cold", false, whole),
      ("every other column, warm", true, strided),
      ("every other column, cold", false, strided), ("rows reversed, warm", true, reversed),
    ] {
      if isWarm { try PageCache.warm(file) } else { try PageCache.empty(of: file) }
      let usage = try await watch { () async throws(GraftError) in kept.keep(try await load(tuning)) }
      guard let loaded = kept.report else { continue }
      let result = loaded.loadedByteCount
      func mebibytes(_ bytes: Int) -> Double { Double(bytes) / Double(1 << 20) }
      table.rows.append([
        .text(name), .figure(mebibytes(result)), .figure(mebibytes(usage.anonymous - result)),
        .figure(mebibytes(usage.resident - result)), .figure(mebibytes(loaded.reading.peakStagingByteCount)),
      ])
      worst = max(worst, mebibytes(usage.anonymous - result))
      kept.drop()
    }
    report.tables.append(table)
    report.claims.append(
      .init("MiB beyond base and result", worst, .atMost(Double(tuning.budgetByteCount) / Double(1 << 20))))
    return report
  }

  /// The most that anonymous and resident memory grew while `body` ran.
  private func watch(
    _ body: () async throws(GraftError) -> Void
  ) async throws(GraftError) -> (anonymous: Int, resident: Int) {
    kept.drop()
    // What earlier loads left for the next would hide what this one takes.
    MemoryPool.shared.trim()
    ReadEngine.shared.releaseIdleMemory()
    resetPeak()
    let resident = ProcessMemory.peakResidentByteCount
    let sampler = try PeakMemorySampler()
    try await body()
    return (sampler.stop() - sampler.baseByteCount, ProcessMemory.peakResidentByteCount - resident)
  }

  /// Makes the process's peak of resident memory what it is now; where that is forbidden, the peak stays too high.
  private func resetPeak() {
    let descriptor = unsafe open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    _ = unsafe write(descriptor, "5", 1)
    close(descriptor)
  }
}
