internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Stacks layers along every axis through the public API, beside the plain load and a copy of as many bytes.
struct StackBenchmark {
  let options: BenchmarkOptions
  private let kept = KeptResult()

  init(_ options: BenchmarkOptions) { self.options = options }

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    try await measureLayers(&report)
    try await measureHeads(&report)
    return report
  }

  // MARK: matrices

  private func measureLayers(_ report: inout BenchmarkReport) async throws(GraftError) {
    let model = try ModelFile.layers(.bfloat16, options)
    let file = try File(opening: model.path)
    // Whatever earlier runs have left of it in the page cache may lie there in small pages.
    try PageCache.empty(of: file)
    let checkpoint = try await Checkpoint(at: model.path)
    // A norm has one axis, so that the last axis of its stack is 1 as well.
    let outer = try Self.stacking(checkpoint, axis: 0)
    let inner = try Self.stacking(checkpoint, axis: -1)
    try await count(checkpoint, outer, inner, file, &report)

    let byteCount = checkpoint.logicalByteCount
    var rivals = Rivals()
    for (name, surgery) in [
      ("plain load", nil), ("stack along axis 0", outer), ("stack along the last axis", inner),
    ] {
      try rivals.add { time throws(GraftError) in
        loading(name, byteCount, [file], time) { () async throws(GraftError) in
          if let surgery { try await surgery.load() } else { try await checkpoint.load() }
        }
      }
    }
    try rivals.add { time throws(GraftError) in try copy(byteCount: byteCount, time) }
    let (results, table) = try await rivals.report(
      "load and stack \(ModelFile.layerCount) layers of matrices, warm", rounds: options.rounds)
    kept.drop()
    report.tables.append(table)
    report.claims.append(
      .init(
        "stack of matrices along the last axis / copy of as many bytes",
        results[2].speed(relativeTo: results[3]).median, .atLeast(0.5)))
  }

  /// What is counted rather than timed.
  private func count(
    _ checkpoint: Checkpoint, _ outer: Surgery, _ inner: Surgery, _ file: File,
    _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    try PageCache.warm(file)
    var counts = BenchmarkReport.Table(
      "what is read and copied", ["load", "requests", "bytes read", "bytes copied", "staging, MiB"])
    var counted: [(requests: Int, read: Int, copied: Int)] = []
    let plans = [
      try await checkpoint.plan(checkpoint.target { _, _ in .stored }), try await outer.plan(),
      try await inner.plan(),
    ]
    for (index, name) in ["plain", "stacked along axis 0", "stacked along the last axis"].enumerated() {
      kept.drop()
      kept.keep(index == 0 ? try await checkpoint.load() : try await (index == 1 ? outer : inner).load())
      guard let reading = kept.report?.reading else { continue }
      counted.append((reading.requestCount, reading.bytesRead, plans[index].bytesCopied))
      counts.rows.append([
        .text(name), .count(reading.requestCount), .count(reading.bytesRead),
        .count(plans[index].bytesCopied),
        .figure(Double(reading.peakStagingByteCount) / Double(1 << 20)),
      ])
    }
    report.tables.append(counts)
    report.claims += [
      .init(
        "bytes read by a stack along axis 0 / by a plain load",
        Double(counted[1].read) / Double(counted[0].read), .atMost(1)),
      .init(
        "bytes copied by a stack along axis 0 beyond a plain load's",
        Double(counted[1].copied - counted[0].copied), .atMost(0)),
      // Small leaves are read along with large neighbours, wherever in memory they lie.
      .init(
        "requests of a stack along axis 0 beyond a plain load's",
        Double(counted[1].requests - counted[0].requests), .atMost(0)),
    ]
  }

  // MARK: kernels with an axis of heads

  private func measureHeads(_ report: inout BenchmarkReport) async throws(GraftError) {
    let model = try ModelFile.attentionKernels(options)
    let file = try File(opening: model.path)
    // Whatever earlier runs have left of it in the page cache may lie there in small pages.
    try PageCache.empty(of: file)
    let checkpoint = try await Checkpoint(at: model.path)
    let byteCount = checkpoint.logicalByteCount
    var rivals = Rivals()
    for axis in -1...3 {
      let surgery = axis < 0 ? nil : try Self.stacking(checkpoint, axis: axis)
      try rivals.add { time throws(GraftError) in
        loading(axis < 0 ? "plain load" : "stack along axis \(axis)", byteCount, [file], time) {
          () async throws(GraftError) in
          if let surgery { try await surgery.load() } else { try await checkpoint.load() }
        }
      }
    }
    try rivals.add { time throws(GraftError) in try copy(byteCount: byteCount, time) }
    let (results, table) = try await rivals.report(
      "load and stack \(ModelFile.layerCount) kernels of \(model.leaves[0].shape), warm",
      rounds: options.rounds)
    kept.drop()
    report.tables.append(table)
    for axis in 1...3 {
      report.claims.append(
        .init(
          "stack of kernels along axis \(axis) / copy of as many bytes",
          results[1 + axis].speed(relativeTo: results[results.count - 1]).median, .atLeast(0.5)))
    }
  }

  // MARK: what is the same in all

  static func stacking(_ checkpoint: Checkpoint, axis: Int) throws(GraftError) -> Surgery {
    do {
      return try checkpoint.transform { tree in
        ["params": ["layers": .stack(tree["params"].children(matching: #/layer(\d+)/#), axis: axis)]]
      }
    } catch let error as GraftError {
      throw error
    } catch {
      throw GraftError(.invalidArgument, "the transform failed: \(error)")
    }
  }

  /// Loads and a copy, which take turns, and the processor time of each.
  private struct Rivals {
    var contestants: [Contestant] = []
    var times: [ProcessorTime] = []

    mutating func add(_ contestant: (ProcessorTime) throws(GraftError) -> Contestant) throws(GraftError) {
      let time = ProcessorTime()
      contestants.append(try contestant(time))
      times.append(time)
    }

    /// The processor time of the last one, to that of each.
    ///
    /// Where other programs take most of a machine, threads wait for a processor whenever they hand work on, and a load that hands
    /// on more looks slower than it is; by processor time it does not.
    func report(_ title: String, rounds: Int) async throws(GraftError) -> (
      results: [Measurement], table: BenchmarkReport.Table
    ) {
      let results = try await InterleavedRounds.run(contestants, rounds: rounds)
      let copy = results.count - 1
      var table = BenchmarkReport.Table(
        title,
        [
          "what", "GiB/s", "to \(results[0].name)", "to \(results[copy].name)",
          "by processor time, to \(results[0].name)", "by processor time, to \(results[copy].name)",
        ])
      let processor = zip(results, times).map {
        Measurement(name: $0.name, byteCount: $0.byteCount, seconds: $1.counted)
      }
      for (result, time) in zip(results, processor) {
        table.rows.append([
          .text(result.name), .spread(result.gibPerSecond), .spread(result.speed(relativeTo: results[0])),
          .spread(result.speed(relativeTo: results[copy])), .spread(time.speed(relativeTo: processor[0])),
          .spread(time.speed(relativeTo: processor[copy])),
        ])
      }
      return (results, table)
    }
  }

  /// A load out of the page cache, which drops the result of the one before it when it is not timed.
  private func loading(
    _ name: String, _ byteCount: Int, _ files: [File], _ time: ProcessorTime,
    _ load: @escaping @Sendable () async throws(GraftError) -> Loaded
  ) -> Contestant {
    Contestant(
      name, byteCount: byteCount,
      prepare: { [kept] () async throws(GraftError) in
        kept.drop()
        for file in files { try PageCache.warm(file) }
      },
      run: { [kept] () async throws(GraftError) in
        try await time.measure { () async throws(GraftError) in kept.keep(try await load()) }
      })
  }

  /// A copy in memory of as many bytes, by all threads.
  private func copy(byteCount: Int, _ time: ProcessorTime) throws(GraftError) -> Contestant {
    // A copy of a quarter, four times, as the memory of two whole models would crowd the page cache out.
    let quarter = (byteCount / 4 + 4095) / 4096 * 4096
    let source = try MemoryPool.shared.allocate(byteCount: quarter, alignment: 4096)
    let destination = try MemoryPool.shared.allocate(byteCount: quarter, alignment: 4096)
    let copy = MemoryCeilings.copy(
      from: source, to: destination, threadCount: UsableProcessors.count, store: .plain)
    return Contestant(
      "memcpy, \(UsableProcessors.count) threads", byteCount: 4 * quarter, prepare: copy.prepare,
      run: { () async throws(GraftError) in
        try await time.measure { () async throws(GraftError) in for _ in 0..<4 { try await copy.run() } }
      })
  }
}
