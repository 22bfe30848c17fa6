internal import Glibc
internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Measures how costs grow: with leaves, bytes, chunks, threads and the budget, one of them at a time.
struct ScalingBenchmark {
  let options: BenchmarkOptions

  private var isTiny: Bool { options.size == .tiny }

  init(_ options: BenchmarkOptions) { self.options = options }

  /// What grows, what it costs at each size, and by which power.
  private struct Growth {
    var title: String
    /// What is counted on the axis.
    var x: String
    var unit = "ms"
    var sizes: [Double]
    /// The figures of each cost, a size each.
    var costs: [(name: String, values: [Spread])] = []
    /// The greatest exponent that is promised for a cost.
    var promises: [String: Double] = [:]
  }

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    var summary = BenchmarkReport.Table(
      "exponents: 1 is in proportion, 0 not at all", ["cost", "of", "from", "to", "exponent"])
    var charts: [Chart] = []
    for growth in [
      try await leaves(), try await bytes(), try await chunks(), try await threads(), try await budget(),
    ] {
      var table = BenchmarkReport.Table(
        growth.title, [growth.x] + growth.costs.map { $0.name.contains(",") ? $0.name : "\($0.name), ms" })
      for (index, size) in growth.sizes.enumerated() {
        table.rows.append([.text(Figure.short(size))] + growth.costs.map { .spread($0.values[index]) })
      }
      let chart = Chart(
        growth.title, unit: growth.unit,
        .lines(
          growth.costs.map { cost in
            Chart.Series(cost.name, zip(growth.sizes, cost.values).map { Chart.Point($0, $1) })
          }, x: growth.x))
      charts.append(chart)
      table.charts = [chart]
      table.shownChart = 0
      report.tables.append(table)
      for cost in growth.costs {
        guard let exponent = ScalingFit.exponent(zip(growth.sizes, cost.values).map { ($0, $1.median) })
        else {
          continue
        }
        summary.rows.append([
          .text(cost.name), .text(growth.x), .text(Figure.short(growth.sizes.first ?? 0)),
          .text(Figure.short(growth.sizes.last ?? 0)), .figure(exponent),
        ])
        if let promise = growth.promises[cost.name], !isTiny {
          report.claims.append(.init("exponent of \(cost.name) over \(growth.x)", exponent, .atMost(promise)))
        }
      }
    }
    report.tables.append(summary)
    let path = "\(options.output ?? options.folder)/scaling.svg"
    if let output = options.output { try ModelFile.makeFolder(output) }
    let machine = TuningFile.Origin.here(options.folder)
    try TuneRun.write(
      Array(
        Chart.svg(
          charts, title: "How costs grow",
          notes: [
            "\(machine.processor ?? "unknown processor"), \(UsableProcessors.count) processors; medians, least to greatest"
          ]
        ).utf8), to: path)
    report.closing.append("Charts: \(path)")
    return report
  }

  private static func milliseconds(_ seconds: [Double]) -> Spread { Spread(seconds.map { $0 * 1000 }) }

  // MARK: leaves

  /// Opening and planning, by processor time: of work on one thread it says the same, and others do not disturb it.
  private func leaves() async throws(GraftError) -> Growth {
    let counts = isTiny ? [10, 100] : [100, 1_000, 10_000, 100_000]
    var contestants: [Contestant] = []
    var times: [(open: ProcessorTime, plan: ProcessorTime)] = []
    for count in counts {
      let path = try ModelFile.manyLeaves(count, options).path
      let checkpoint = try await Checkpoint(at: path)
      let (open, plan) = (ProcessorTime(), ProcessorTime())
      times.append((open, plan))
      contestants.append(
        Contestant("open", byteCount: 1) { () async throws(GraftError) in
          try await open.measure { () async throws(GraftError) in _ = try await Checkpoint(at: path) }
        })
      contestants.append(
        Contestant("plan", byteCount: 1) { () async throws(GraftError) in
          try await plan.measure { () async throws(GraftError) in
            _ = try await checkpoint.plan(checkpoint.target { _, _ in .stored })
          }
        })
    }
    _ = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    return Growth(
      title: "Opening and planning, processor time", x: "leaves", sizes: counts.map(Double.init),
      costs: [
        ("open", times.map { Self.milliseconds($0.open.counted) }),
        ("plan", times.map { Self.milliseconds($0.plan.counted) }),
      ], promises: ["open": 1.15, "plan": 1.15])
  }

  // MARK: bytes

  private func bytes() async throws(GraftError) -> Growth {
    let sizes = isTiny ? [1, 2] : [16, 64, 256, 1024]
    var contestants: [Contestant] = []
    for size in sizes {
      let model = try matrices(mebibytes: size)
      let file = try File(opening: model.path)
      let checkpoint = try await Checkpoint(at: model.path)
      let extent = try MemoryPool().allocate(byteCount: file.byteCount, alignment: 4096)
      contestants.append(load(checkpoint, [file], Tuning(), KeptResult()))
      contestants.append(
        ReadCeilings.warm(
          file, into: extent, threadCount: UsableProcessors.count, blockByteCount: 1 << 20))
    }
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    return Growth(
      title: "A whole load, warm", x: "MiB", sizes: sizes.map(Double.init),
      costs: [
        ("load", sizes.indices.map { results[2 * $0].milliseconds }),
        ("plain read", sizes.indices.map { results[2 * $0 + 1].milliseconds }),
        // A small file lies in the processor's caches, so that the plain read grows by more than 1 too.
      ], promises: ["load": 1.2])
  }

  /// Matrices of 4 MiB each.
  private func matrices(mebibytes: Int) throws(GraftError) -> ModelFile {
    let (count, rows) = isTiny ? (mebibytes, 512) : (mebibytes / 4, 2048)
    return try ModelFile.make(
      "matrices-\(mebibytes)-mib-\(options.size.rawValue)", in: options.folder,
      (0..<count).map { ModelFile.Leaf("layers.\($0).kernel", [rows, 1024]) })
  }

  private func load(
    _ checkpoint: Checkpoint, _ files: [File], _ tuning: Tuning, _ kept: KeptResult,
    _ target: Tree<Target>? = nil
  ) -> Contestant {
    let target = target ?? checkpoint.target { _, _ in .stored }
    return Contestant(
      "load", byteCount: checkpoint.logicalByteCount,
      prepare: { () async throws(GraftError) in
        kept.drop()
        for file in files { try PageCache.warm(file) }
      },
      run: { () async throws(GraftError) in kept.keep(try await checkpoint.load(target, tuning: tuning)) })
  }

  // MARK: chunks

  /// The same matrix in more and more chunks of an uncompressed Orbax checkpoint: what a chunk costs by itself.
  private func chunks() async throws(GraftError) -> Growth {
    let model = try matrices(mebibytes: isTiny ? 1 : 64)
    let byteCount = try await Checkpoint(at: model.path).logicalByteCount
    let counts = isTiny ? [4, 16] : [16, 64, 256, 1_024, 4_096, 16_384]
    var contestants: [Contestant] = []
    for count in counts {
      let path = "\(options.folder)/chunks-\(count)-\(options.size.rawValue)"
      let chunkByteCount = byteCount / count
      try await saveUnlessThere(path) { (path) async throws(GraftError) in
        var orbax = OrbaxOptions()
        orbax.compression = .none
        orbax.chunkByteCount = chunkByteCount
        _ = try await Checkpoint(at: model.path).save(to: path, as: .orbax(orbax))
      }
      let checkpoint = try await Checkpoint(at: path)
      let target = checkpoint.target { _, _ in .stored }
      let files = try OrbaxBenchmark.files(of: try await checkpoint.plan(target))
      contestants.append(
        Contestant("open and plan", byteCount: 1) { () async throws(GraftError) in
          let checkpoint = try await Checkpoint(at: path)
          _ = try await checkpoint.plan(target)
        })
      contestants.append(load(checkpoint, files, Tuning(), KeptResult(), target))
    }
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    return Growth(
      title: "\(Figure.bytes(byteCount)) in chunks, warm", x: "chunks", sizes: counts.map(Double.init),
      costs: [
        ("open and plan", counts.indices.map { results[2 * $0].milliseconds }),
        ("load", counts.indices.map { results[2 * $0 + 1].milliseconds }),
      ], promises: ["open and plan": 1.1, "load": 1])
  }

  /// A checkpoint that is made for this benchmark and kept for the next run.
  private func saveUnlessThere(
    _ path: String, _ save: (String) async throws(GraftError) -> Void
  ) async throws(GraftError) {
    // A save is all there or not there at all, so that one that is there is whole.
    if try FileStatus.ifPresent(at: path) == nil { try await save(path) }
  }

  // MARK: threads

  /// Decoding of zstd, which is what more threads are for.
  private func threads() async throws(GraftError) -> Growth {
    let model = try matrices(mebibytes: isTiny ? 1 : 16)
    let (leafCount, rows) = isTiny ? (2, 512) : (32, 2048)
    let path = "\(options.folder)/compressed-normals-\(options.size.rawValue)"
    try await saveUnlessThere(path) { (path) async throws(GraftError) in
      let checkpoint = try await Checkpoint(at: model.path)
      let surgery: Surgery
      do {
        surgery = try checkpoint.transform { _ in
          var tree = Tree<LazyLeaf>.dictionary([:])
          for index in 0..<leafCount {
            tree[Key("kernel\(index)")] = .initialized(
              [rows, 1024], .float32, .normal(stddev: 0.02, seed: UInt64(index)))
          }
          return tree
        }
      } catch let error as GraftError { throw error } catch {
        preconditionFailure("a body that throws nothing threw \(error)")
      }
      _ = try await surgery.save(to: path, as: .orbax)
    }
    let checkpoint = try await Checkpoint(at: path)
    let files = try OrbaxBenchmark.files(of: try await checkpoint.plan(checkpoint.target { _, _ in .stored }))
    let most = isTiny ? 2 : max(4, UsableProcessors.count)
    var counts: [Int] = []
    var count = 1
    while count <= most {
      counts.append(count)
      count *= 2
    }
    let contestants = counts.map { count in
      var tuning = Tuning()
      tuning.threadCount = count
      return load(checkpoint, files, tuning, KeptResult())
    }
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    return Growth(
      title:
        "\(Figure.bytes(checkpoint.logicalByteCount)) of zstd, warm, on \(UsableProcessors.count) processors",
      x: "threads", sizes: counts.map(Double.init),
      costs: [("load and decode", results.map(\.milliseconds))])
  }

  // MARK: budget

  /// Every other column of matrices, which all goes through staging memory.
  private func budget() async throws(GraftError) -> Growth {
    let model = try matrices(mebibytes: isTiny ? 2 : 256)
    let checkpoint = try await Checkpoint(at: model.path)
    let file = try File(opening: model.path)
    let target = checkpoint.target { _, _ in .slice(.all, .strided(by: 2)) }
    let budgets = isTiny ? [1, 2] : [1, 4, 16, 64, 256, 1024]
    let kept = budgets.map { _ in KeptResult() }
    let contestants = zip(budgets, kept).map { budget, kept in
      var tuning = Tuning()
      tuning.budgetByteCount = budget << 20
      return load(checkpoint, [file], tuning, kept, target)
    }
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    let staging = kept.map {
      Spread([Double($0.report?.reading.peakStagingByteCount ?? 0) / Double(1 << 20)])
    }
    return Growth(
      title: "Every other column of \(Figure.bytes(checkpoint.logicalByteCount)), warm", x: "MiB of budget",
      unit: "ms and MiB", sizes: budgets.map(Double.init),
      costs: [("load", results.map(\.milliseconds)), ("staging memory, MiB", staging)])
  }
}

/// By which power a cost grows.
package enum ScalingFit {
  /// The slope of the straight line that is nearest to the points, both logarithmic; nil without two sizes.
  package static func exponent(_ points: [(x: Double, y: Double)]) -> Double? {
    let logs = points.filter { $0.x > 0 && $0.y > 0 }.map { (x: log($0.x), y: log($0.y)) }
    guard logs.count > 1 else { return nil }
    let (meanX, meanY) = (
      logs.reduce(0) { $0 + $1.x } / Double(logs.count), logs.reduce(0) { $0 + $1.y } / Double(logs.count)
    )
    let variance = logs.reduce(0) { $0 + ($1.x - meanX) * ($1.x - meanX) }
    guard variance > 0 else { return nil }
    return logs.reduce(0) { $0 + ($1.x - meanX) * ($1.y - meanY) } / variance
  }
}
