internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Loads parts of models: how many bytes are read for them, and whether reading near leaves together pays.
struct PartialBenchmark {
  let options: BenchmarkOptions

  init(_ options: BenchmarkOptions) { self.options = options }

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    try await measureLargeLeaves(&report)
    try await measureSmallLeaves(kibibytes: 16, &report)
    try await measureSmallLeaves(kibibytes: 4, &report)
    return report
  }

  /// A tenth of a model in large leaves: only those may be read.
  private func measureLargeLeaves(_ report: inout BenchmarkReport) async throws(GraftError) {
    let model = try ModelFile.languageModel(options)
    let checkpoint = try await Checkpoint(at: model.path)
    let file = try File(opening: model.path)
    let large = options.size == .full ? 1 << 20 : 1 << 13
    // Leaves in an order without a pattern, as long as they do not exceed a tenth together.
    var chosen: Set<TreePath> = []
    var wanted = 0
    let order = checkpoint.tree.leaves.enumerated().sorted {
      ModelFile.mixed(UInt64($0.offset)) < ModelFile.mixed(UInt64($1.offset))
    }
    for (_, leaf) in order {
      guard case .tensor(let spec) = leaf.leaf, spec.byteCount >= large,
        wanted + spec.byteCount <= checkpoint.logicalByteCount / 10
      else { continue }
      wanted += spec.byteCount
      chosen.insert(leaf.path)
    }
    let target = checkpoint.target { path, _ in chosen.contains(path) ? .stored : .placeholder }

    var table = BenchmarkReport.Table(
      "a tenth of a model, in leaves of at least \(large >> 10) KiB",
      ["page cache", "leaves", "% wanted", "% read", "requests", "GiB/s wanted"])
    for isWarm in [true, false] where isWarm ? options.warm : options.cold {
      let kept = KeptResult()
      let results = try await InterleavedRounds.run(
        [contestant(checkpoint, file, target, byteCount: wanted, isWarm: isWarm, Tuning(), kept)],
        rounds: options.rounds)
      guard let reading = kept.report?.reading else { continue }
      func percent(_ bytes: Int) -> Double { 100 * Double(bytes) / Double(file.byteCount) }
      table.rows.append([
        .text(isWarm ? "warm" : "cold"), .count(chosen.count), .figure(percent(wanted)),
        .figure(percent(reading.bytesRead)), .count(reading.requestCount), .spread(results[0].gibPerSecond),
      ])
      // Leaves of a few KiB lie close enough together to be read with what is between them.
      guard options.size == .full else { continue }
      report.claims.append(
        .init(
          "% of a model's bytes read for 10 % of them, \(isWarm ? "warm" : "cold")",
          percent(reading.bytesRead),
          .atMost(10.5)))
    }
    report.tables.append(table)
  }

  /// Which leaves are wanted, by their number.
  private static let scatterings: [(name: String, isWanted: @Sendable (UInt64) -> Bool)] = [
    ("every leaf", { _ in true }),
    ("every other", { $0 % 2 == 0 }),
    ("half at random", { ModelFile.mixed($0) % 2 == 0 }),
    ("every eighth", { $0 % 8 == 0 }),
  ]

  /// Small leaves here and there, with and without reading near ones together, beside a loop that reads each by itself.
  private func measureSmallLeaves(
    kibibytes: Int, _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    let model = try ModelFile.smallLeaves(kibibytes: kibibytes, options)
    let checkpoint = try await Checkpoint(at: model.path)
    let file = try File(opening: model.path)
    let together = Tuning()
    var apart = Tuning()
    // Leaves without a byte between them are one read all the same.
    apart.coalescingGapByteCount = 0
    apart.overReadFactor = 1

    var counts = BenchmarkReport.Table(
      "leaves of 1 to \(kibibytes) KiB, wanted here and there: reads",
      [
        "page cache, wanted", "leaves", "reads without gaps", "reads", "bytes read / wanted",
        "processor time without gaps / Graft's",
      ])
    var speeds = BenchmarkReport.Table(
      "the same: speed",
      [
        "page cache, wanted", "MiB/s", "without gaps, MiB/s", "plain loop, MiB/s", "Graft / without gaps",
        "Graft / plain loop",
      ])
    for isWarm in [true, false] where isWarm ? options.warm : options.cold {
      for (name, isWanted) in Self.scatterings {
        var index: UInt64 = 0
        let target = checkpoint.target { _, spec in
          index += 1
          return isWanted(index) ? .stored : .placeholder
        }
        let ranges = try await checkpoint.plan(target, partial: true).moves.map(\.chunk.range)
        let byteCount = ranges.reduce(0) { $0 + $1.count }
        let plain = LeafByLeaf(file, ranges, isWarm: isWarm)
        let (keptApart, keptTogether) = (KeptResult(), KeptResult())
        let (timeApart, timeTogether) = (ProcessorTime(), ProcessorTime())
        let results = try await InterleavedRounds.run(
          [
            plain.contestant,
            contestant(
              checkpoint, file, target, byteCount: byteCount, isWarm: isWarm, apart, keptApart, timeApart),
            contestant(
              checkpoint, file, target, byteCount: byteCount, isWarm: isWarm, together, keptTogether,
              timeTogether),
          ], rounds: options.rounds)
        guard let readApart = keptApart.report?.reading, let read = keptTogether.report?.reading else {
          continue
        }
        let overRead = Double(read.bytesRead) / Double(max(1, byteCount))
        let ratio = results[2].speed(relativeTo: results[1])
        let plainRatio = results[2].speed(relativeTo: results[0])
        func mebibytes(_ result: Measurement) -> Spread {
          Spread(result.seconds.map { Double(byteCount) / Double(1 << 20) / $0 })
        }
        let label = "\(isWarm ? "warm" : "cold"), \(name)"
        let claimed = "\(label), of 1 to \(kibibytes) KiB"
        counts.rows.append([
          .text(label), .count(ranges.count), .count(readApart.requestCount), .count(read.requestCount),
          .figure(overRead),
          .spread(Spread(zip(timeApart.counted, timeTogether.counted).map { $0 / $1 })),
        ])
        speeds.rows.append([
          .text(label), .spread(mebibytes(results[2])), .spread(mebibytes(results[1])),
          .spread(mebibytes(results[0])), .spread(ratio), .spread(plainRatio),
        ])
        report.claims.append(
          .init("bytes read for each wanted one, \(claimed)", overRead, .atMost(together.overReadFactor)))
        // Where every leaf is wanted there is no gap to read through; what Graft gains there is that neighbours are one read. The
        // plain loop plans nothing, and makes no tree of the leaves that are not wanted: elsewhere it is there to be looked at.
        report.claims.append(
          name == "every leaf"
            ? .init("Graft / plain loop, \(claimed)", plainRatio.median, .atLeast(1))
            : .init("Graft / without gaps, \(claimed)", ratio.median, .atLeast(1)))
      }
    }
    report.tables += [counts, speeds]
  }

  private func contestant(
    _ checkpoint: Checkpoint, _ file: File, _ target: Tree<Target>, byteCount: Int, isWarm: Bool,
    _ tuning: Tuning,
    _ kept: KeptResult, _ processor: ProcessorTime = ProcessorTime()
  ) -> Contestant {
    Contestant(
      "Graft", byteCount: byteCount,
      prepare: { () async throws(GraftError) in
        kept.drop()
        if isWarm { try PageCache.warm(file) } else { try PageCache.empty(of: file) }
      },
      run: { () async throws(GraftError) in
        try await processor.measure { () async throws(GraftError) in
          kept.keep(try await checkpoint.load(target, partial: true, tuning: tuning))
        }
      })
  }
}
