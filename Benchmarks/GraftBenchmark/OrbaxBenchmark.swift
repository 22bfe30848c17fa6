internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Loads checkpoints that the real Orbax wrote, beside the bare decoding of their frames, or the bare reading of their bytes.
struct OrbaxBenchmark {
  let options: BenchmarkOptions
  private let kept = KeptResult()

  init(_ options: BenchmarkOptions) { self.options = options }

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    try await measureCompressed(&report)
    try await measurePlain(&report)
    for name in ["single-frame", "sub-chunked", "row-chunked"] { try await measureSlices(name, &report) }
    try await measureOpening(&report)
    return report
  }

  // MARK: whole checkpoints

  private func measureCompressed(_ report: inout BenchmarkReport) async throws(GraftError) {
    let checkpoint = try await open("compressed", &report)
    let everything = checkpoint.target { _, _ in .stored }
    let parameters = checkpoint.target { path, _ in path.first == "params" ? .stored : .placeholder }
    for (name, target) in [("everything", everything), ("parameters only", parameters)] {
      let plan = try await checkpoint.plan(target, partial: true)
      let frames = DecodeCeilings.frames(of: plan)
      let files = try Self.files(of: plan)
      let threads = UsableProcessors.count
      // Each ceiling has the frames in memory, as much as the checkpoint, so one goes before the next is made.
      let reused = try await InterleavedRounds.run(
        [
          DecodeCeilings.zstd(frames, threadCount: threads),
          graft(checkpoint, target, byteCount: plan.resultByteCount, files),
        ], rounds: options.rounds)
      let ratio = report.add("compressed, \(name), warm, into memory that is reused", reused, against: 1)
      report.claims.append(
        .init("\(name), compressed, warm / bare zstd into reused memory", ratio.median, .atLeast(0.85)))

      var freshOptions = MemoryPool.Options()
      freshOptions.retentionByteCount = 0
      let fresh = try await InterleavedRounds.run(
        [
          DecodeCeilings.zstd(
            frames, into: MemoryPool(options: freshOptions), threadCount: threads, memory: .fresh),
          graft(checkpoint, target, byteCount: plan.resultByteCount, files, isFresh: true),
        ], rounds: min(5, options.rounds))
      report.add("compressed, \(name), warm, into fresh memory", fresh, against: 1)
      MemoryPool.shared.trim()
    }
  }

  private func measurePlain(_ report: inout BenchmarkReport) async throws(GraftError) {
    let checkpoint = try await open("plain", &report)
    let target = checkpoint.target { _, _ in .stored }
    let plan = try await checkpoint.plan(target)
    let files = try Self.files(of: plan)
    let byteCount = files.reduce(0) { $0 + $1.byteCount }
    // Of its own pool, since it is held all the time.
    let memory = try MemoryPool().allocate(byteCount: max(1, byteCount), alignment: 4096)
    let ceilings = ReadCeilings.warmBlockByteCounts.map {
      ReadCeilings.warm(files, into: memory, threadCount: UsableProcessors.count, blockByteCount: $0)
    }
    let results = try await InterleavedRounds.run(
      ceilings + [graft(checkpoint, target, byteCount: plan.resultByteCount, files)], rounds: options.rounds)
    let ratio = report.add("uncompressed, warm, into memory that is reused", results, against: ceilings.count)
    report.claims.append(
      .init("uncompressed, warm / fastest plain read into reused memory", ratio.median, .atLeast(0.90)))
    MemoryPool.shared.trim()
  }

  /// A warm load of what the target wants, into memory that the load before left, or that none did.
  private func graft(
    _ checkpoint: Checkpoint, _ target: Tree<Target>, byteCount: Int, _ files: [File], isFresh: Bool = false
  ) -> Contestant {
    Contestant(
      "Graft", byteCount: byteCount,
      prepare: { () async throws(GraftError) in
        if isFresh { MemoryPool.shared.trim() }
        for file in files { try PageCache.warm(file) }
      },
      run: { [kept] () async throws(GraftError) in
        kept.keep(try await checkpoint.load(target, partial: true))
      },
      finish: { [kept] () async throws(GraftError) in kept.drop() })
  }

  // MARK: slices

  /// Rows from the first on of a matrix, in growing parts: what they cost, beside the whole.
  private func measureSlices(
    _ name: String, _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    let checkpoint = try await open(name, &report)
    let largest = checkpoint.tree.leaves.compactMap { leaf -> (path: TreePath, spec: TensorSpec)? in
      guard let spec = leaf.leaf.tensor, spec.shape.rank > 0 else { return nil }
      return (leaf.path, spec)
    }.max { $0.spec.byteCount < $1.spec.byteCount }
    guard let (path, spec) = largest else {
      throw GraftError(.leafNotFound, "there is no matrix to take rows of", file: folder(of: name))
    }
    let rows = spec.shape[0]
    // From the first row and from the last, which shows what a frame's beginning costs those that need its end.
    let parts: [(name: String, rows: Range<Int>)] = [
      ("the first row", 0..<min(1, rows)),
      ("the first 1 %", 0..<max(1, rows / 100)),
      ("the first 10 %", 0..<max(1, rows / 10)),
      ("the first 25 %", 0..<max(1, rows / 4)),
      ("the first half", 0..<max(1, rows / 2)),
      ("1 % in the middle", rows / 2..<(rows / 2 + max(1, rows / 100))),
      ("the last 1 %", (rows - max(1, rows / 100))..<rows),
      ("all", 0..<rows),
    ]
    let files = try Self.files(of: try await checkpoint.plan(checkpoint.target { _, _ in .stored }))
    var contestants: [Contestant] = []
    var readings: [KeptReading] = []
    for part in parts {
      let target = checkpoint.target { candidate, _ in
        candidate == path ? .slice(TensorSlice([.range(part.rows)])) : .placeholder
      }
      let reading = KeptReading()
      readings.append(reading)
      contestants.append(
        Contestant(
          part.name, byteCount: spec.byteCount / max(1, rows) * part.rows.count,
          prepare: { () async throws(GraftError) in for file in files { try PageCache.warm(file) } },
          run: { [kept] () async throws(GraftError) in
            kept.keep(try await checkpoint.load(target, partial: true))
          },
          finish: { [kept] () async throws(GraftError) in
            reading.keep(kept.report?.reading.bytesRead ?? 0)
            kept.drop()
          }))
    }
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    var table = BenchmarkReport.Table(
      "\(name): rows of \(path), \(spec), warm",
      ["rows", "% of them", "ms", "% of the time of all", "MiB read", "% of all that is read"])
    guard let all = results.last, let allRead = readings.last?.byteCount else { return }
    for (index, result) in results.enumerated() {
      let ratio = all.speed(relativeTo: result)
      let share = Double(result.byteCount) / Double(max(1, all.byteCount))
      table.rows.append([
        .text(result.name), .figure(100 * share), .spread(result.milliseconds),
        .figure(100 * share * ratio.median),
        .figure(Double(readings[index].byteCount) / Double(1 << 20)),
        .figure(100 * Double(readings[index].byteCount) / Double(max(1, allRead))),
      ])
    }
    report.tables.append(table)
  }

  // MARK: many leaves

  private func measureOpening(_ report: inout BenchmarkReport) async throws(GraftError) {
    let path = folder(of: "many-leaves")
    let checkpoint = try await open("many-leaves", &report)
    let results = try await InterleavedRounds.run(
      [
        Contestant("open and list the leaves", byteCount: 1) { () async throws(GraftError) in
          let checkpoint = try await Checkpoint(at: path)
          guard checkpoint.tree.leaves.allSatisfy({ $0.leaf.tensor != nil }) else { return }
        },
        Contestant("plan a load of all of them", byteCount: 1) { () async throws(GraftError) in
          _ = try await checkpoint.plan(checkpoint.target { _, _ in .stored })
        },
        Contestant(
          "load all of them", byteCount: 1,
          run: { [kept] () async throws(GraftError) in kept.keep(try await checkpoint.load()) },
          finish: { [kept] () async throws(GraftError) in kept.drop() }),
      ], rounds: options.rounds)
    var table = BenchmarkReport.Table("\(checkpoint.tree.leafCount) leaves", ["what", "ms"])
    for result in results { table.rows.append([.text(result.name), .spread(result.milliseconds)]) }
    report.tables.append(table)
  }

  // MARK: files

  private func folder(of name: String) -> String { "\(options.folder)/orbax/\(name)" }

  private func open(_ name: String, _ report: inout BenchmarkReport) async throws(GraftError) -> Checkpoint {
    let checkpoint = try await Self.open(folder(of: name))
    report.conditions.append(
      "\(name): \(checkpoint.tree.leafCount) leaves, \(checkpoint.logicalByteCount) bytes")
    return checkpoint
  }

  /// Opens a checkpoint that scripts/orbax-checkpoints makes.
  static func open(_ path: String) async throws(GraftError) -> Checkpoint {
    do {
      return try await Checkpoint(at: path)
    } catch {
      guard error.code == .notFound else { throw error }
      throw GraftError(
        .notFound, "there is no checkpoint to measure", file: path,
        remedy: "make it with scripts/orbax-checkpoints", cause: error)
    }
  }

  /// The files that a plan reads, open.
  static func files(of plan: Plan) throws(GraftError) -> [File] {
    var files: [File] = []
    for index in Set(plan.moves.map(\.chunk.file)).sorted() {
      files.append(try File(opening: plan.files[index].path))
    }
    return files
  }
}
