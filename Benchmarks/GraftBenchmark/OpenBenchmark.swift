internal import Glibc
internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Opens checkpoints of many leaves and plans loads of all of them; no tensor byte is read.
struct OpenBenchmark {
  let options: BenchmarkOptions

  init(_ options: BenchmarkOptions) { self.options = options }

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    var table = BenchmarkReport.Table(
      "opening and planning",
      ["leaves", "open, ms", "plan, ms", "both, ms", "both, processor ms", "processor µs for each leaf"])
    let counts =
      options.leafCount.map { [$0] } ?? (options.size == .full ? [10_000, 100_000, 400_000] : [100, 1_000])
    // Processor time, since sizes do not take turns and the time that passes drifts between them.
    var both: [Spread] = []
    for count in counts {
      let model = try ModelFile.manyLeaves(count, options)
      let checkpoint = try await Checkpoint(at: model.path)
      let processor = ProcessorTime()
      let results = try await InterleavedRounds.run(
        [
          Contestant("open", byteCount: 1) { () async throws(GraftError) in
            _ = try await Checkpoint(at: model.path)
          },
          Contestant("plan", byteCount: 1) { () async throws(GraftError) in
            _ = try await checkpoint.plan(checkpoint.target { _, _ in .stored })
          },
          Contestant("both", byteCount: 1) { () async throws(GraftError) in
            try await processor.measure { () async throws(GraftError) in
              let checkpoint = try await Checkpoint(at: model.path)
              _ = try await checkpoint.plan(checkpoint.target { _, _ in .stored })
            }
          },
        ], rounds: options.rounds)
      both.append(Spread(processor.counted))
      table.rows.append(
        [.count(count)] + results.map { .spread($0.milliseconds) } + [
          .spread(Spread(processor.counted.map { $0 * 1000 })),
          .spread(Spread(processor.counted.map { $0 * 1e6 / Double(count) })),
        ])
      if count == 100_000 {
        report.claims.append(
          .init("milliseconds to open and plan 100,000 leaves", results[2].milliseconds.median, .atMost(500)))
      }
    }
    report.tables.append(table)
    if counts.count > 1, let first = both.first, let last = both.last, let firstCount = counts.first,
      let lastCount = counts.last
    {
      // 1 is linear; caches that no longer hold what is looked at make it a little more.
      let exponent =
        log(last.median / first.median)
        / log(Double(lastCount) / Double(firstCount))
      report.claims.append(
        .init("exponent of time over leaves, \(firstCount) to \(lastCount)", exponent, .atMost(1.15)))
    }
    try await measureInspect(&report)
    return report
  }

  /// The tool as a user starts it, where it has been built beside this one.
  private func measureInspect(_ report: inout BenchmarkReport) async throws(GraftError) {
    guard let tool = SiblingTool(named: "graft") else {
      report.conditions.append("no figure for `graft inspect`: the tool is not built beside this one")
      return
    }
    let model = try ModelFile.manyLeaves(1_000, options)
    let results = try await InterleavedRounds.run(
      [
        Contestant(blocking: "graft inspect", byteCount: 1) { () throws(GraftError) in
          try tool.run(["inspect", model.path])
        },
        Contestant(blocking: "graft inspect --json", byteCount: 1) { () throws(GraftError) in
          try tool.run(["inspect", model.path, "--json"])
        },
      ], rounds: options.rounds)
    var table = BenchmarkReport.Table("the tool on 1,000 leaves", ["command", "ms"])
    for result in results {
      table.rows.append([.text(result.name), .spread(result.milliseconds)])
      report.claims.append(
        .init("milliseconds of `\(result.name)` on 1,000 leaves", result.milliseconds.median, .atMost(100)))
    }
    report.tables.append(table)
  }
}
