internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Loads a whole model through the public API, beside plain loops that read the same file into the same kind of memory.
struct LoadBenchmark {
  let options: BenchmarkOptions
  private let kept = KeptResult()

  init(_ options: BenchmarkOptions) { self.options = options }

  func run() async throws(GraftError) -> BenchmarkReport {
    let path = if let file = options.file { file } else { try ModelFile.languageModel(options).path }
    let checkpoint = try await Checkpoint(at: path)
    let file = try File(opening: path)
    var report = BenchmarkReport()
    report.conditions.append("\(checkpoint.tree.leafCount) leaves, \(file.byteCount) bytes")
    if options.warm {
      try await measureWarm(checkpoint, file, &report)
      try await measureFresh(checkpoint, file, &report)
      try await measureMapped(checkpoint, file, &report)
      try await measureSlices(checkpoint, file, &report)
    }
    if options.cold { try await measureCold(checkpoint, file, &report) }
    return report
  }

  // MARK: in the page cache

  private func measureWarm(
    _ checkpoint: Checkpoint, _ file: File, _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    let extent = try MemoryPool.shared.allocate(
      byteCount: ReadCeilings.extentByteCount(for: file), alignment: 4096)
    let threads = UsableProcessors.count
    var ceilings = ReadCeilings.warmBlockByteCounts.map {
      ReadCeilings.warm(file, into: extent, threadCount: threads, blockByteCount: $0)
    }
    ceilings.append(ReadCeilings.warm(file, into: extent, threadCount: 1, blockByteCount: 1 << 20))
    let byRing = ReadCeilings.warmBlockByteCounts.compactMap {
      ReadCeilings.warmByRing(file, into: extent, threadCount: threads, blockByteCount: $0)
    }
    if byRing.isEmpty { report.conditions.append("no io_uring ceiling: the kernel refuses it") }
    ceilings += byRing
    let graft = Contestant(
      "Graft", byteCount: checkpoint.logicalByteCount,
      prepare: { [kept] () async throws(GraftError) in
        kept.drop()
        try PageCache.warm(file)
      },
      run: { [kept] () async throws(GraftError) in kept.keep(try await checkpoint.load()) })
    let results = try await InterleavedRounds.run(ceilings + [graft], rounds: options.rounds)
    let ratio = report.add("warm, into memory that is reused", results, against: ceilings.count)
    report.claims.append(
      .init("warm load / fastest plain read into reused memory", ratio.median, .atLeast(0.90)))
    kept.drop()
  }

  private func measureFresh(
    _ checkpoint: Checkpoint, _ file: File, _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    var freshOptions = MemoryPool.Options()
    freshOptions.retentionByteCount = 0
    let pool = MemoryPool(options: freshOptions)
    let threads = UsableProcessors.count
    let byteCount = ReadCeilings.extentByteCount(for: file)
    let plain = Contestant(
      "first touch and pread, \(threads) threads, 1024 KiB", byteCount: file.byteCount,
      prepare: { () async throws(GraftError) in try PageCache.warm(file) },
      run: { () async throws(GraftError) in
        let extent = try pool.allocate(byteCount: byteCount, alignment: 4096)
        try extent.populate(threadCount: threads)
        try await ReadCeilings.warm(file, into: extent, threadCount: threads, blockByteCount: 1 << 20).run()
      })
    let graft = Contestant(
      "Graft", byteCount: checkpoint.logicalByteCount,
      prepare: { [kept] () async throws(GraftError) in
        kept.drop()
        MemoryPool.shared.trim()
        try PageCache.warm(file)
      },
      run: { [kept] () async throws(GraftError) in kept.keep(try await checkpoint.load()) })
    let results = try await InterleavedRounds.run([plain, graft], rounds: options.rounds)
    report.add("warm, into fresh memory", results, against: 1)
    kept.drop()
  }

  private func measureMapped(
    _ checkpoint: Checkpoint, _ file: File, _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    let path = file.path
    let results = try await InterleavedRounds.run(
      [
        Contestant("mapped load of an open checkpoint", byteCount: checkpoint.logicalByteCount) {
          [kept] () async throws(GraftError) in kept.keep(try await checkpoint.load(to: .mapped))
        },
        Contestant("open and mapped load", byteCount: checkpoint.logicalByteCount) {
          [kept] () async throws(GraftError) in
          kept.keep(try await Checkpoint(at: path).load(to: .mapped))
        },
      ], rounds: options.rounds)
    var table = BenchmarkReport.Table("mapped", ["what", "ms to usable leaves"])
    for result in results { table.rows.append([.text(result.name), .spread(result.milliseconds)]) }
    report.tables.append(table)
    report.claims.append(
      .init("milliseconds to open and map a model", results[1].milliseconds.median, .atMost(5)))
    kept.drop()
  }

  /// Slices that are not in one piece: they are read into slots and placed from there.
  private func measureSlices(
    _ checkpoint: Checkpoint, _ file: File, _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    let extent = try MemoryPool.shared.allocate(
      byteCount: ReadCeilings.extentByteCount(for: file), alignment: 4096)
    var contestants = [
      ReadCeilings.warm(file, into: extent, threadCount: UsableProcessors.count, blockByteCount: 1 << 20)
    ]
    let slices: [(name: String, slice: @Sendable (Shape) -> TensorSlice)] = [
      ("the first half of each row", { TensorSlice([.all, .range(0..<($0[1] / 2))]) }),
      ("every other row", { _ in TensorSlice([.strided(lower: nil, upper: nil, step: 2)]) }),
      ("every other column", { _ in TensorSlice([.all, .strided(lower: nil, upper: nil, step: 2)]) }),
      ("rows reversed", { _ in TensorSlice([.strided(lower: nil, upper: nil, step: -1)]) }),
    ]
    for (name, slice) in slices {
      var read = 0
      let target = checkpoint.target { _, spec in
        guard let spec = spec.tensor, spec.shape.rank == 2 else { return .placeholder }
        read += spec.byteCount
        return .slice(slice(spec.shape))
      }
      contestants.append(
        Contestant(
          name, byteCount: read,
          prepare: { [kept] () async throws(GraftError) in
            kept.drop()
            try PageCache.warm(file)
          },
          run: { [kept] () async throws(GraftError) in
            kept.keep(try await checkpoint.load(target, partial: true))
          }))
    }
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    var table = BenchmarkReport.Table(
      "slices of every matrix, warm", ["what", "GiB/s of the matrices", "to a plain read of the file"])
    for result in results {
      table.rows.append([
        .text(result.name), .spread(result.gibPerSecond), .spread(result.speed(relativeTo: results[0])),
      ])
    }
    report.tables.append(table)
    kept.drop()
  }

  // MARK: outside of it

  private func measureCold(
    _ checkpoint: Checkpoint, _ file: File, _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    let extent = try MemoryPool.shared.allocate(
      byteCount: ReadCeilings.extentByteCount(for: file), alignment: 4096)
    var ceilings: [Contestant] = []
    for shape in ReadCeilings.coldShapes {
      let ceiling = try ReadCeilings.cold(
        file, into: extent, depth: shape.depth, blockByteCount: shape.blockByteCount)
      if let ceiling { ceilings.append(ceiling) }
    }
    guard !ceilings.isEmpty else {
      report.conditions.append("no cold figures: the folder's file system has no direct I/O")
      return
    }
    // A short look at all depths and sizes finds those that the ceiling is among; the rounds that count are theirs.
    let screening = try await InterleavedRounds.run(ceilings, rounds: min(3, options.rounds))
    report.add("cold: which direct reads are fastest", screening, against: nil)
    let order = screening.indices.sorted {
      screening[$0].gibPerSecond.median > screening[$1].gibPerSecond.median
    }
    let best = order.prefix(3).map { ceilings[$0] }
    let graft = Contestant(
      "Graft", byteCount: checkpoint.logicalByteCount,
      prepare: { [kept] () async throws(GraftError) in
        kept.drop()
        try PageCache.empty(of: file)
      },
      run: { [kept] () async throws(GraftError) in kept.keep(try await checkpoint.load()) })
    let results = try await InterleavedRounds.run(best + [graft], rounds: options.rounds)
    let ratio = report.add("cold, into memory that is reused", results, against: best.count)
    report.claims.append(.init("cold load / fastest plain direct read", ratio.median, .atLeast(0.90)))
    if let reading = kept.report?.reading {
      report.conditions.append(
        "of the last cold load's \(reading.bytesRead) bytes, \(reading.bytesReadDirect) went around the page cache"
      )
    }
    kept.drop()
  }
}

extension BenchmarkReport {
  /// Adds a table of speeds, with Graft's, of index `graft`, as a ratio to each of the others.
  ///
  /// - Returns: Graft's ratio to the fastest of the others; 1 without Graft.
  @discardableResult
  mutating func add(_ title: String, _ results: [Measurement], against graft: Int?) -> Spread {
    var table = Table(title, graft == nil ? ["what", "GiB/s"] : ["what", "GiB/s", "Graft / this"])
    var best: (speed: Double, ratio: Spread)?
    for (index, result) in results.enumerated() {
      var row: [Cell] = [.text(result.name), .spread(result.gibPerSecond)]
      if let graft, index != graft {
        let ratio = results[graft].speed(relativeTo: result)
        row.append(.spread(ratio))
        if best.map({ $0.speed < result.gibPerSecond.median }) ?? true {
          best = (result.gibPerSecond.median, ratio)
        }
      } else if graft != nil {
        row.append(.text(""))
      }
      table.rows.append(row)
    }
    tables.append(table)
    return best?.ratio ?? Spread([1])
  }
}

extension Measurement {
  /// Milliseconds, over the rounds.
  var milliseconds: Spread { Spread(seconds.map { $0 * 1000 }) }
}
