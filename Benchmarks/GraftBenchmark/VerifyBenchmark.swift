internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Loads what Graft wrote with checksums, verifying them and not, in turns.
struct VerifyBenchmark {
  let options: BenchmarkOptions
  private let kept = KeptResult()

  init(_ options: BenchmarkOptions) { self.options = options }

  /// How a checkpoint is compressed, and what verifying it may cost, as a part of a load that does not.
  private static let kinds: [(name: String, compression: Compression, bound: Double)] = [
    ("zstd 3", .zstd(), 0.05), ("uncompressed", .none, 0.35),
  ]

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    let byteCount = (options.mebibytes ?? (options.size == .full ? 640 : 4)) << 20
    let source = try await Checkpoint(at: try await TrainingState.file(byteCount: byteCount, options))
    report.conditions.append(
      "\(source.logicalByteCount) bytes in \(source.tree.leafCount) leaves, in the page cache, into reused memory"
    )
    for (name, compression, bound) in Self.kinds {
      let path = "\(options.folder)/verified"
      defer { try? FileRemoval.remove(path) }
      var format = OrbaxOptions()
      format.compression = compression
      try await source.save(to: path, as: .orbax(format), overwriting: true)
      try await measure(name, path, bound, &report)
    }
    return report
  }

  private func measure(
    _ name: String, _ path: String, _ bound: Double, _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    var contestants: [Contestant] = []
    let times = [ProcessorTime(), ProcessorTime()]
    for (verification, time) in zip([Tuning.Verification.never, .automatic], times) {
      let checkpoint = try await Checkpoint(at: path)
      var tuning = Tuning()
      tuning.verification = verification
      contestants.append(
        Contestant(
          verification == .never ? "not verified" : "verified", byteCount: checkpoint.logicalByteCount,
          prepare: { [kept] () async throws(GraftError) in kept.drop() },
          run: { [kept, tuning] () async throws(GraftError) in
            try await time.measure { () async throws(GraftError) in
              kept.keep(try await checkpoint.load(tuning: tuning))
            }
          }))
    }
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    let verified = kept.report?.reading.bytesVerified ?? 0
    kept.drop()
    let processor = zip(results, times).map {
      Measurement(name: $0.name, byteCount: $0.byteCount, seconds: $1.counted)
    }
    var table = BenchmarkReport.Table(
      "load of a checkpoint, \(name)",
      ["what", "GiB/s", "time, to not verified", "processor time, to the same"])
    for (result, time) in zip(results, processor) {
      table.rows.append([
        .text(result.name), .spread(result.gibPerSecond), .spread(results[0].speed(relativeTo: result)),
        .spread(processor[0].speed(relativeTo: time)),
      ])
    }
    report.tables.append(table)
    report.claims += [
      .init("bytes that a load verified, \(name)", Double(verified), .atLeast(1)),
      .init(
        "what verifying adds to a load, \(name)", results[0].speed(relativeTo: results[1]).median - 1,
        .atMost(bound)),
    ]
  }
}
