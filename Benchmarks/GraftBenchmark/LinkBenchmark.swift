internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Links merges and stacks of models of two sizes, beside the least that can be made durable, and a tree of many leaves.
///
/// Every figure is from the call until all of the checkpoint is on stable storage. The models are on it before that, and of their
/// bytes none is read, so that they are holes in the file system.
struct LinkBenchmark {
  let options: BenchmarkOptions

  init(_ options: BenchmarkOptions) { self.options = options }

  private var isFull: Bool { options.size == .full }
  private var destination: String { "\(options.folder)/linked" }

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    report.conditions.append(
      "from the call until everything is on stable storage; the models are holes, which nothing reads")
    try await measureModels(&report)
    try await measureManyLeaves(&report)
    return report
  }

  // MARK: Sizes

  private func measureModels(_ report: inout BenchmarkReport) async throws(GraftError) {
    var contestants = [leastDurable()]
    for gibibytes in [1, 5] {
      // Two models of as many layers each, which are merged, and of which the first is stacked.
      let halves = try [0, 1].map { (number) throws(GraftError) in
        try model("link-\(gibibytes)-half-\(number)", layers: 8 * gibibytes, rows: isFull ? 8192 : 4)
      }
      let whole = try model("link-\(gibibytes)-whole", layers: 16 * gibibytes, rows: isFull ? 8192 : 4)
      let (first, second) = (
        try await Checkpoint(at: halves[0].path), try await Checkpoint(at: halves[1].path)
      )
      let third = try await Checkpoint(at: whole.path)
      let byteCount = third.logicalByteCount
      contestants.append(
        linking("merge, \(gibibytes) GiB", byteCount: byteCount) {
          try Checkpoint.transform(first, second) { ["first": $0, "second": $1] }
        })
      contestants.append(
        linking("stack, \(gibibytes) GiB", byteCount: byteCount) {
          try third.transform { tree in
            ["layers": .stack(tree["params"].children(matching: #/layer(\d+)/#))]
          }
        })
    }
    // As many bytes again in as few leaves, each of which is five times as large.
    let large = try [0, 1].map { (number) throws(GraftError) in
      try model("link-large-half-\(number)", layers: 8, rows: 5 * (isFull ? 8192 : 4))
    }
    let (first, second) = (try await Checkpoint(at: large[0].path), try await Checkpoint(at: large[1].path))
    contestants.append(
      linking("merge, 5 GiB in large leaves", byteCount: first.logicalByteCount + second.logicalByteCount) {
        try Checkpoint.transform(first, second) { ["first": $0, "second": $1] }
      })
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    var table = BenchmarkReport.Table("linked, to stable storage", ["what", "ms"])
    for result in results { table.rows.append([.text(result.name), .spread(result.milliseconds)]) }
    report.tables.append(table)
    for result in results.dropFirst() {
      report.claims.append(
        .init("milliseconds to link: \(result.name)", result.milliseconds.median, .atMost(50)))
    }
    // Size alone: what five times the leaves take longer for is said of them.
    report.claims.append(
      .init(
        "milliseconds of 5 GiB to those of 1 GiB, merged, in as many leaves",
        results[5].milliseconds.median / results[1].milliseconds.median, .atMost(1.5)))
  }

  /// A folder of one small file, made as checkpoints are: what syncing and renaming cost, whatever is in it.
  private func leastDurable() -> Contestant {
    let destination = destination
    return Contestant(
      blocking: "a folder of one byte", byteCount: 1,
      prepare: { () throws(GraftError) in try FileRemoval.remove(destination) },
      run: { () throws(GraftError) in
        let folder = try AtomicDirectory(at: destination)
        let byte: [UInt8] = [0]
        try unsafe folder.createFile("byte").write(byte.span.bytes, at: 0)
        try folder.commit()
      })
  }

  private func linking(
    _ name: String, byteCount: Int, _ make: @escaping @Sendable () throws -> Surgery
  ) -> Contestant {
    let destination = destination
    return Contestant(
      name, byteCount: byteCount,
      prepare: { () async throws(GraftError) in try FileRemoval.remove(destination) },
      run: { () async throws(GraftError) in
        let surgery: Surgery
        do { surgery = try make() } catch { throw GraftError(.invalidArgument, "\(error)") }
        let report = try await surgery.link(to: destination)
        guard report.rewritten.isEmpty, report.reading.bytesRead == 0 else {
          throw GraftError(.invalidArgument, "a benchmark's leaf was rewritten: \(report.rewritten[0])")
        }
      })
  }

  /// A file of a model whose tensors are holes; 64 MiB for each layer when it is full.
  private func model(_ name: String, layers: Int, rows: Int) throws(GraftError) -> ModelFile {
    try ModelFile.make(
      "\(name)-\(options.size.rawValue)", in: options.folder,
      (0..<layers).map { ModelFile.Leaf("params.layer\($0).kernel", [rows, isFull ? 4096 : 8]) },
      areHoles: true)
  }

  // MARK: Leaves

  private func measureManyLeaves(_ report: inout BenchmarkReport) async throws(GraftError) {
    let count = options.leafCount ?? (isFull ? 100_000 : 200)
    let model = try ModelFile.manyLeaves(count, options)
    let checkpoint = try await Checkpoint(at: model.path)
    let destination = destination
    let linking = linking("link \(count) leaves", byteCount: checkpoint.logicalByteCount) {
      try checkpoint.transform { $0 }
    }
    let processor = ProcessorTime()
    let results = try await InterleavedRounds.run(
      [
        Contestant(
          linking.name, byteCount: linking.byteCount, prepare: linking.prepare,
          run: { () async throws(GraftError) in
            try await processor.measure { () async throws(GraftError) in try await linking.run() }
          }),
        Contestant("open what is linked", byteCount: 1) { () async throws(GraftError) in
          _ = try await Checkpoint(at: destination)
        },
      ], rounds: options.rounds)
    var table = BenchmarkReport.Table("\(count) leaves", ["what", "ms", "processor ms"])
    let used = Spread(processor.counted.map { $0 * 1000 })
    for (result, used) in zip(results, [BenchmarkReport.Cell.spread(used), .text("")]) {
      table.rows.append([.text(result.name), .spread(result.milliseconds), used])
    }
    report.tables.append(table)
    report.claims.append(
      .init("milliseconds to link \(count) leaves", results[0].milliseconds.median, .atMost(2000)))
  }
}
