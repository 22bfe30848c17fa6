internal import Glibc
internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Watches the memory of loads and conversions: what they take beyond their result must stay within the budget.
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
    try await measureLayouts(&report)
    report.conditions.append(
      "\(file.byteCount) bytes of model, a budget of \(tuning.budgetByteCount >> 20) MiB, peaks of anonymous memory, sampled"
    )
    var table = BenchmarkReport.Table(
      "memory beyond base and result",
      ["load or conversion", "result, MiB", "beyond, MiB", "by peak RSS, MiB", "staging, MiB"])
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
    // A conversion has no result in memory, so that all it takes is beyond.
    let copy = "\(options.folder)/converted.safetensors"
    defer { _ = unsafe unlink(copy) }
    for (name, isWarm) in [("convert, warm", true), ("convert, cold", false)] {
      if isWarm { try PageCache.warm(file) } else { try PageCache.empty(of: file) }
      var staging = 0
      let usage = try await watch { () async throws(GraftError) in
        let saved = try await Checkpoint(at: path).save(to: copy, overwriting: true, tuning: tuning)
        staging = saved.reading.peakStagingByteCount
      }
      func mebibytes(_ bytes: Int) -> Double { Double(bytes) / Double(1 << 20) }
      table.rows.append([
        .text(name), .figure(0), .figure(mebibytes(usage.anonymous)), .figure(mebibytes(usage.resident)),
        .figure(mebibytes(staging)),
      ])
      worst = max(worst, mebibytes(usage.anonymous))
    }
    report.tables.append(table)
    report.claims.append(
      .init("MiB beyond base and result", worst, .atMost(Double(tuning.budgetByteCount) / Double(1 << 20))))
    return report
  }

  /// Checkpoints in every layout that Orbax writes, where scripts/orbax-checkpoints has made them: whole, and every other column,
  /// of which nothing is in one piece.
  private func measureLayouts(_ report: inout BenchmarkReport) async throws(GraftError) {
    let folder = "\(options.folder)/orbax/layouts"
    let entries: [DirectoryEntry]
    do {
      entries = try Directory.entries(at: folder)
    } catch {
      report.conditions.append(
        "no figures for Orbax: \(folder) is not there, and scripts/orbax-checkpoints makes it")
      return
    }
    var tuning = Tuning()
    tuning.budgetByteCount = 32 << 20
    var table = BenchmarkReport.Table(
      "Orbax checkpoints, with a budget of \(tuning.budgetByteCount >> 20) MiB: MiB beyond base and result",
      [
        "layout", "leaves", "result, MiB", "whole, warm", "whole, cold", "every other column, warm",
        "every other column, cold",
      ])
    var worst = 0.0
    // Beside each checkpoint lies a file that says how it was made.
    for name in entries.filter({ $0.kind != .regular }).map(\.name).sorted() {
      let path = "\(folder)/\(name)"
      let checkpoint = try await OrbaxBenchmark.open(path)
      let files = try OrbaxBenchmark.files(
        of: try await checkpoint.plan(checkpoint.target { _, _ in .stored }))
      var row: [BenchmarkReport.Cell] = []
      for isStrided in [false, true] {
        for isWarm in [true, false] {
          for file in files { if isWarm { try PageCache.warm(file) } else { try PageCache.empty(of: file) } }
          let usage = try await watch { () async throws(GraftError) in
            let checkpoint = try await Checkpoint(at: path)
            let target = checkpoint.target { _, spec in
              isStrided && spec.tensor?.shape.rank == 2 ? .slice(.all, .strided(by: 2)) : .stored
            }
            kept.keep(try await checkpoint.load(target, tuning: tuning))
          }
          let result = kept.report?.loadedByteCount ?? 0
          kept.drop()
          let beyond = Double(usage.anonymous - result) / Double(1 << 20)
          worst = max(worst, beyond)
          row.append(.figure(beyond))
        }
      }
      table.rows.append(
        [
          .text(name), .count(checkpoint.tree.leafCount),
          .figure(Double(checkpoint.logicalByteCount) / Double(1 << 20)),
        ] + row)
    }
    report.tables.append(table)
    report.claims.append(
      .init(
        "MiB beyond base and result, in any layout of Orbax", worst,
        .atMost(Double(tuning.budgetByteCount) / Double(1 << 20))))
  }

  /// What `body` takes, with nothing kept of an earlier load.
  private func watch(
    _ body: () async throws(GraftError) -> Void
  ) async throws(GraftError) -> MemoryUsage {
    kept.drop()
    return try await MemoryUsage.peak(of: body)
  }
}
