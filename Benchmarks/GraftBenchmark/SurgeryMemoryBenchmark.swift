internal import Glibc
internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Watches the memory of surgeries on one leaf that is many times the budget: in memory, beyond the result; streamed, in all.
struct SurgeryMemoryBenchmark {
  let options: BenchmarkOptions
  private let kept = KeptResult()

  init(_ options: BenchmarkOptions) { self.options = options }

  /// Every way that a surgery takes through the executor, by name: on the whole leaf once, on a quarter of its rows otherwise.
  private static let surgeries: [(name: String, body: @Sendable (Tree<LazyLeaf>) -> Tree<LazyLeaf>)] = [
    ("halves stacked along axis 0", { .stack(quarter($0).split(2, axis: 0)) }),
    ("halves stacked along the last axis", { .stack(quarter($0).split(2, axis: 0), axis: -1) }),
    ("transposed", { quarter($0).transposed() }),
    ("every other column", { quarter($0).sliced(.all, .strided(by: 2)) }),
    ("a half, cast to float32", { quarter($0).split(2, axis: 0)[0].cast(to: .float32) }),
    (
      "mean with its rows in reverse",
      { .mean([quarter($0), quarter($0).flipped(axis: 0)], weights: [0.3, 0.7]) }
    ),
    ("added to itself, transposed", { quarter($0) + quarter($0.transposed()) }),
    ("the whole leaf, rows in reverse", { $0.flipped(axis: 0) }),
  ]

  private static func quarter(_ tree: Tree<LazyLeaf>) -> Tree<LazyLeaf> { tree.split(4, axis: 0)[0] }

  func run() async throws(GraftError) -> BenchmarkReport {
    // 2 GiB of bfloat16 in one leaf.
    let extent = options.size == .full ? 32_768 : 1024
    let model = try ModelFile.make(
      "huge-leaf-\(options.size.rawValue)", in: options.folder, [.init("huge", [extent, extent])])
    let file = try File(opening: model.path)
    let path = "\(options.folder)/surgery-result.safetensors"
    defer { removeFile(path) }
    var tuning = Tuning()
    tuning.budgetByteCount = 128 << 20
    let budget = Double(tuning.budgetByteCount) / Double(1 << 20)
    var report = BenchmarkReport()
    report.conditions.append(
      "one leaf of \(extent * extent * 2) bytes, a budget of \(Int(budget)) MiB, peaks of anonymous memory, sampled"
    )
    var table = BenchmarkReport.Table(
      "memory of surgeries on one leaf",
      [
        "surgery", "result, MiB", "loaded: beyond result, MiB", "loaded: by peak RSS, MiB", "loaded: s",
        "streamed: in all, MiB", "streamed: by peak RSS, MiB", "streamed: s",
      ])
    var worst = (loaded: 0.0, streamed: 0.0)
    let checkpoint = try await Checkpoint(at: model.path)
    for (name, body) in Self.surgeries {
      let surgery: Surgery
      do {
        surgery = try checkpoint.transform { tree in ["result": body(tree["huge"])] }
      } catch {
        throw GraftError(.invalidArgument, "the transform '\(name)' failed: \(error)")
      }
      try PageCache.warm(file)
      let clock = ContinuousClock()
      var start = clock.now
      kept.drop()
      let loaded = try await MemoryUsage.peak { () async throws(GraftError) in
        kept.keep(try await surgery.load(tuning: tuning))
      }
      let loading = start.duration(to: clock.now)
      let result = kept.report?.loadedByteCount ?? 0
      kept.drop()
      MemoryPool.shared.trim()
      removeFile(path)
      start = clock.now
      let streamed = try await MemoryUsage.peak { () async throws(GraftError) in
        try await surgery.save(to: path, tuning: tuning)
      }
      let saving = start.duration(to: clock.now)
      func mebibytes(_ bytes: Int) -> Double { Double(bytes) / Double(1 << 20) }
      table.rows.append([
        .text(name), .figure(mebibytes(result)), .figure(mebibytes(loaded.anonymous - result)),
        .figure(mebibytes(loaded.resident - result)), .figure(loading / .seconds(1)),
        .figure(mebibytes(streamed.anonymous)), .figure(mebibytes(streamed.resident)),
        .figure(saving / .seconds(1)),
      ])
      worst = (
        max(worst.loaded, mebibytes(loaded.anonymous - result)),
        max(worst.streamed, mebibytes(streamed.anonymous))
      )
    }
    report.tables.append(table)
    report.claims += [
      .init("MiB of a loaded surgery beyond base and result", worst.loaded, .atMost(budget)),
      .init("MiB of a streamed surgery beyond the base, in all", worst.streamed, .atMost(budget)),
    ]
    return report
  }
}
