import ArgumentParser
import Graft
import GraftIO
import GraftMeasure

/// `graft load`: loads into memory, so many times, and says how fast, beside what the machine can do.
struct Load: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Load a checkpoint into memory, and say how fast that was beside what the machine can do.")

  /// Where the tensors go.
  enum Into: String, CaseIterable, ExpressibleByArgument {
    case host
    case mapped
  }

  @Argument(help: CheckpointName.help)
  var path: String

  @OptionGroup var selection: SelectionOptions

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Load only this part of a leaf, for example kernel=0:4,:.", valueName: "leaf=slice"))
  var slice: [LeafSlice] = []

  @Option(
    help: "Where the tensors go: memory of Graft's own, or views of the files, which are read when touched.")
  var into = Into.host

  @Option(name: .customLong("repeat"), help: ArgumentHelp("How many times.", valueName: "n"))
  var repetitions = 1

  @Flag(
    inversion: .prefixedNo,
    help:
      "Compare with a plain read of the same file, or the bare decoding of the same frames, in the same run.")
  var ceiling = true

  @OptionGroup var opening: OpeningOptions
  @OptionGroup var tuning: TuningOptions
  @OptionGroup var output: OutputOptions

  func validate() throws {
    if repetitions < 1 { throw ValidationError("--repeat is at least 1.") }
  }

  func perform(_ session: Session) async throws(GraftError) -> LoadAnswer {
    let tuning = try await tuning.settings(for: path, session)
    let checkpoint = try await opening.open(path, tuning: tuning)
    let (target, partial) = try checkpoint.target(selection.selection, slices: slice)
    let plan = try await checkpoint.plan(target, partial: partial)
    let ceiling = await makeCeiling(plan, tuning, session)
    var answer = LoadAnswer(into: into)
    for round in 1...repetitions {
      let title = repetitions == 1 ? "loading" : "loading \(round) of \(repetitions)"
      let progress = session.progress(title, totalByteCount: plan.resultByteCount)
      let memory = try PeakMemorySampler()
      // The result is given back at the end of the statement, so that the next round reuses its memory.
      let report: LoadReport
      do throws(GraftError) {
        report = try await checkpoint.load(
          target, partial: partial, to: into == .host ? .host : .mapped, progress: progress
        ).report
      } catch {
        _ = memory.stop()
        throw error
      }
      answer.peakByteCount = max(answer.peakByteCount, memory.stop() - memory.baseByteCount)
      answer.seconds.append(report.elapsed / .seconds(1))
      answer.report = report
      if let ceiling { answer.ceilingSeconds.append(try await ceiling.contestant.time()) }
    }
    answer.ceilingName = ceiling?.contestant.name
    answer.ceilingByteCount = ceiling?.contestant.byteCount ?? 0
    for note in answer.report?.notes ?? [] { session.note(note) }
    return answer
  }
}

extension Load {
  /// What the load is compared with; nil where nothing is to be compared, or nothing can be.
  private func makeCeiling(_ plan: Plan, _ tuning: Tuning, _ session: Session) async -> LoadCeiling? {
    guard ceiling, into == .host else { return nil }
    do throws(GraftError) {
      return try await LoadCeiling(plan, threadCount: tuning.threadCount)
    } catch {
      // Memory may have room for the model and none for a comparison.
      session.note("There is no ceiling to compare with. \(error)")
      return nil
    }
  }
}

/// What `graft load` says.
struct LoadAnswer: Answer {
  var into: Load.Into
  var seconds: [Double] = []
  var report: LoadReport?
  var peakByteCount = 0
  var ceilingName: String?
  var ceilingByteCount = 0
  var ceilingSeconds: [Double] = []

  init(into: Load.Into) { self.into = into }

  private var logicalByteCount: Int { report?.loadedByteCount ?? 0 }

  private static func rate(_ byteCount: Int, _ seconds: Double) -> Double {
    Double(byteCount) / Double(1 << 30) / max(seconds, 1e-9)
  }

  private var rates: Spread { Spread(seconds.map { Self.rate(logicalByteCount, $0) }) }

  /// The ceiling's rate and how near the loads came to it, round by round; nil where nothing was compared.
  private var ceiling: (name: String, rates: Spread, ratio: Spread)? {
    guard let ceilingName, !ceilingSeconds.isEmpty, logicalByteCount > 0 else { return nil }
    let rates = ceilingSeconds.map { Self.rate(ceilingByteCount, $0) }
    let ratios = zip(seconds, rates).map { Self.rate(logicalByteCount, $0) / $1 }
    return (ceilingName, Spread(rates), Spread(ratios))
  }

  private var leafCount: Int { report?.leaves(.loaded).count ?? 0 }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    json.member("seconds", .array(seconds.map { .double($0) }))
    json.member("logical_bytes", .integer(logicalByteCount))
    json.member("bytes_read", .integer(report?.reading.bytesRead ?? 0))
    json.member("bytes_verified", .integer(report?.reading.bytesVerified ?? 0))
    json.member("requests", .integer(report?.reading.requestCount ?? 0))
    json.member("gib_per_second", .double(rates.median))
    json.member(
      "ceiling",
      ceiling.map {
        [
          "name": .string($0.name), "gib_per_second": .double($0.rates.median),
          "ratio": .double($0.ratio.median),
        ]
      } ?? nil)
    json.member("engine", .string(report?.reading.engine ?? ""))
    json.member("engine_reason", .string(report?.reading.engineReason ?? ""))
    json.member("peak_memory_bytes", .integer(peakByteCount))
    json.member("leaves", .integer(leafCount))
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    let reading = report?.reading ?? ReadReport()
    let what = "\(Count(leafCount, "leaf")), \(ByteSize(logicalByteCount))"
    try text.line(into == .mapped ? "mapped \(what)" : "loaded \(what)")
    let spread = Spread(seconds)
    let often =
      seconds.count > 1
      ? " (median of \(seconds.count), \(Self.time(spread.minimum)) to \(Self.time(spread.maximum)))" : ""
    try text.line("time    \(Self.time(spread.median))\(often)")
    try text.line("rate    \(Decimal.text(rates.median, digits: 2)) GiB/s")
    if let ceiling {
      try text.line(
        "ceiling \(Decimal.text(ceiling.rates.median, digits: 2)) GiB/s, \(ceiling.name): "
          + "the load came to \(Decimal.text(ceiling.ratio.median * 100, digits: 0)) % of it")
    }
    var read = "read    \(ByteSize(reading.bytesRead)) in \(Count(reading.requestCount, "request"))"
    if !reading.engine.isEmpty { read += " by \(reading.engine)" }
    if !reading.engineReason.isEmpty { read += " (\(reading.engineReason))" }
    try text.line(read)
    try text.line("memory  \(ByteSize(max(0, peakByteCount))) at its peak, the result included")
    for (outcome, name) in [(LoadReport.Outcome.omitted, "left out"), (.placeholder, "placeholders")] {
      let leaves = report?.leaves(outcome) ?? []
      if leaves.isEmpty { continue }
      let byteCount = leaves.reduce(0) { $0 + $1.byteCount }
      try text.line("not read: \(Count(leaves.count, "leaf")) \(name), \(ByteSize(byteCount))")
    }
  }

  private static func time(_ seconds: Double) -> String {
    seconds < 1
      ? "\(Decimal.significant(seconds * 1000, digits: 3)) ms" : "\(Decimal.text(seconds, digits: 2)) s"
  }
}

/// What a load is compared with: where most of it is compressed, the bare decoding of its frames; else a plain parallel
/// `pread` of the file that it reads most of.
struct LoadCeiling: Sendable {
  /// Enough to measure a rate, and little beside the models that are loaded.
  static let sampleByteCountLimit = 512 << 20

  let contestant: Contestant

  /// The comparison for this plan; nil when the plan reads nothing, or decodes what is not zstd alone.
  init?(_ plan: Plan, threadCount: Int?) async throws(GraftError) {
    let threads = threadCount ?? UsableProcessors.count
    let encoded = plan.moves.reduce(0) { $0 + ($1.encoding == nil ? 0 : $1.copy.copiedByteCount) }
    let contestant =
      if 2 * encoded > plan.resultByteCount {
        try await Self.decoding(plan, threads)
      } else {
        try await Self.reading(plan, threads)
      }
    guard let contestant else { return nil }
    self.contestant = contestant
  }

  /// Frames of the plan that lie in memory already, decoded on all threads into memory that is reused.
  private static func decoding(_ plan: Plan, _ threads: Int) async throws(GraftError) -> Contestant? {
    let all = DecodeCeilings.frames(of: plan)
    guard !all.isEmpty else { return nil }
    return try await BlockingThreads.shared.run { () throws(GraftError) in
      let frames = DecodeCeilings.sample(all, decodedByteCountLimit: Self.sampleByteCountLimit)
      return try DecodeCeilings.zstd(frames, threadCount: threads)
    }
  }

  /// The file that the plan reads most of, or its beginning, read into memory that was touched before.
  private static func reading(_ plan: Plan, _ threads: Int) async throws(GraftError) -> Contestant? {
    var byteCounts = [Int](repeating: 0, count: plan.files.count)
    for move in plan.moves { byteCounts[move.chunk.file] += move.copy.copiedByteCount }
    guard let most = byteCounts.indices.max(by: { byteCounts[$0] < byteCounts[$1] }), byteCounts[most] > 0
    else { return nil }
    let path = plan.files[most].path
    return try await BlockingThreads.shared.run { () throws(GraftError) in
      let file = try File(opening: path)
      let byteCount = min(file.byteCount, Self.sampleByteCountLimit)
      let blockByteCount = 1 << 20
      let memory = try MemoryPool.shared.allocate(byteCount: byteCount, alignment: 4096)
      try memory.populate(threadCount: threads)
      return Contestant(
        blocking: "pread of \(ByteSize(byteCount)) in the page cache, \(Count(threads, "thread")), 1 MiB",
        byteCount: byteCount,
        prepare: { () throws(GraftError) in
          try Self.read(file, byteCount, blockByteCount, into: memory, threads)
        },
        run: { () throws(GraftError) in try Self.read(file, byteCount, blockByteCount, into: memory, threads)
        })
    }
  }

  private static func read(
    _ file: File, _ byteCount: Int, _ blockByteCount: Int, into memory: PoolExtent, _ threadCount: Int
  ) throws(GraftError) {
    try ParallelPieces.run(count: (byteCount + blockByteCount - 1) / blockByteCount, threadCount: threadCount)
    {
      (block) throws(GraftError) in
      let offset = block * blockByteCount
      let count = min(blockByteCount, byteCount - offset)
      // Blocks do not overlap, and the closure keeps the extent.
      unsafe try file.readFully(
        ByteRange(offset: offset, count: count),
        into: UnsafeMutableRawBufferPointer(rebasing: memory.bytes[offset..<offset + count]))
    }
  }
}
