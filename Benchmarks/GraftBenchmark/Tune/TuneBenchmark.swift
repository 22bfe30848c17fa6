internal import Glibc
internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Finds the settings that are fastest on some storage: what the machine can do, what Graft does with one setting after the other,
/// and a tuning file of those that are worth it.
///
/// docs/tuning.md says what is measured and what is taken for a gain; TuneSweep.swift and TuneChoice.swift decide, this file measures.
struct TuneBenchmark {
  let options: BenchmarkOptions

  private var isQuick: Bool { options.isQuick || options.size == .tiny }

  init(_ options: BenchmarkOptions) { self.options = options }

  func run() async throws(GraftError) -> BenchmarkReport {
    let (data, output) = try await prepare()
    let lock = try RunLock(output)
    defer { lock.release() }
    let machine = TuningFile.Origin.here(data.checkpoint.path)
    let mode = options.size == .tiny ? "tiny" : options.isQuick ? "quick" : "full"
    var journal = try TuneJournal(
      at: "\(output)/journal.jsonl",
      of: TuneJournal.Subject(machine: machine, data: data.identity, mode: mode), fresh: options.isFresh)
    var run = TuneRun(options, data, output, machine)
    if let note = journal.note { run.conditions.append(note) }
    if journal.resumedCount > 0 {
      run.conditions.append(
        "\(journal.resumedCount) measurements were taken from the journal of an earlier run; --fresh measures them anew"
      )
    }
    for condition in run.conditions { run.tell(condition) }
    do throws(GraftError) {
      return try await run.measure(&journal)
    } catch {
      guard error.code == .cancelled else { throw error }
      let count = journal.entries.count
      throw GraftError(
        .cancelled,
        "interrupted: \(count == 1 ? "1 measurement is" : "\(count) measurements are") kept",
        file: journal.path,
        remedy: "run the same command again to go on from there, with --fresh to begin anew")
    }
  }

  /// The data, and the folder that results go to.
  private func prepare() async throws(GraftError) -> (TuneData, output: String) {
    let path = options.path ?? options.folder
    let limit = (options.mebibytes ?? (options.size == .tiny ? 2 : options.isQuick ? 256 : 1024)) << 20
    // A result is in memory twice, as the raw read has it and as Graft has it. Less than was asked for is a power of two, so that
    // the next run, with a little more or less memory, goes on with the same data.
    let room = max(1 << 20, AvailableMemory.now().byteCount / 4)
    let roomy = room >= limit ? limit : 1 << (Int.bitWidth - 1 - room.leadingZeroBitCount)
    if let checkpoint = try await openIfCheckpoint(path) {
      let output = options.output ?? "graft-tune"
      try ModelFile.makeFolder(output)
      let data = try await TuneData(
        checkpoint, small: nil, byteCountLimit: roomy, isMade: false,
        description: "\(checkpoint.format) at \(path)")
      return (data, output)
    }
    let output = options.output ?? Directory.path(of: "graft-tune", in: path)
    try ModelFile.makeFolder(output)
    let folder = Directory.path(of: "graft-tune", in: path)
    try ModelFile.makeFolder(folder)
    if options.size == .full {
      StandardError.tell("data of \(Figure.bytes(roomy)) is in \(folder), or is made there now")
    }
    return (try await TuneData.made(in: folder, byteCount: roomy), output)
  }

  /// The checkpoint that a path names; nil for a folder that is none, or that is not there yet.
  private func openIfCheckpoint(_ path: String) async throws(GraftError) -> Checkpoint? {
    guard options.path != nil else { return nil }
    guard let status = try FileStatus.ifPresent(at: path) else {
      throw GraftError(
        .notFound, "there is neither a checkpoint nor a folder of this name", file: path,
        remedy: "name one, or make the folder on the storage that is to be measured")
    }
    do throws(GraftError) {
      return try await Checkpoint(at: path)
    } catch {
      if status.kind == .directory, error.code == .notACheckpoint { return nil }
      throw error
    }
  }
}

/// Owns a folder's lock, so that two runs at once do not disturb each other and write one journal; the kernel releases it with the process.
private final class RunLock: Sendable {
  private let descriptor: CInt

  init(_ folder: String) throws(GraftError) {
    let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw GraftError(.open, SystemCallFailure("open", errno), file: folder) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else {
      close(descriptor)
      throw GraftError(
        .ioFailed, "another run is at work in this folder", file: folder,
        remedy: "wait for it: two at once would disturb each other's figures")
    }
    self.descriptor = descriptor
  }

  func release() { _ = flock(descriptor, LOCK_UN) }

  deinit { close(descriptor) }
}

/// Lines to people on standard error, while something goes on.
enum StandardError {
  static func tell(_ line: String) {
    let text = "\(line)\n"
    _ = unsafe write(STDERR_FILENO, text, text.utf8.count)
  }
}

/// One run: what is measured, block by block, and what is said of it in the end.
struct TuneRun {
  let options: BenchmarkOptions
  let output: String
  let origin: TuningFile.Origin
  var conditions: [String] = []

  private var data: TuneData
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private var isQuick: Bool { options.isQuick || options.size == .tiny }
  private var report = BenchmarkReport()
  /// How loads and the raw reads beside them compared in every round, by whether they were cold.
  private var roundRatios: [String: [Double]] = [:]

  init(_ options: BenchmarkOptions, _ data: TuneData, _ output: String, _ origin: TuningFile.Origin) {
    self.options = options
    self.data = data
    self.output = output
    self.origin = origin
    start = clock.now
    conditions = [
      [
        origin.processor, origin.processorCount.map { "\($0) processors" },
        origin.memoryByteCount.map(Figure.bytes), origin.kernel.map { "kernel \($0)" },
      ].compactMap { $0 }.joined(separator: ", "),
      "storage: \(origin.fileSystem ?? "unknown") on \(origin.device ?? "an unknown device")",
    ]
  }

  /// Says something to whoever waits.
  func tell(_ text: String) {
    guard options.size == .full else { return }
    let seconds = Int((clock.now - start) / .seconds(1))
    StandardError.tell("\(seconds / 60):\(seconds % 60 < 10 ? "0" : "")\(seconds % 60)  \(text)")
  }

  // MARK: measuring

  /// How long loads of a workload are measured.
  private func schedule(_ workload: TuneWorkload) -> InterleavedRounds.Schedule {
    var schedule = InterleavedRounds.Schedule(rounds: 2)
    if options.size == .tiny { return schedule }
    schedule.fewestRounds = TuneChoice.fewestRounds
    schedule.rounds = workload.isCold ? (isQuick ? 4 : 7) : (isQuick ? 6 : 11)
    schedule.seconds = isQuick ? 1.5 : 8
    // Cold loads are slow, and gain little from having been done before: the raw read and one load are enough.
    if workload.isCold { schedule.warmedUpCount = 2 }
    return schedule
  }

  /// The figures of a block: from the journal, else measured and kept there.
  private func measured(
    _ block: String, _ journal: inout TuneJournal, _ schedule: InterleavedRounds.Schedule,
    _ contestants: () async throws(GraftError) -> [Contestant]
  ) async throws(GraftError) -> [Measurement] {
    if let entry = journal[block] { return entry.contestants }
    if Task.isCancelled { throw GraftError(.cancelled, "the task was cancelled") }
    let taking = try await contestants()
    if taking.isEmpty { return [] }
    tell(block)
    let business = MachineBusiness()
    let began = clock.now
    let results = try await InterleavedRounds.run(taking, schedule)
    try journal.append(
      TuneJournal.Entry(
        block: block, contestants: results, othersShare: business.othersShare,
        seconds: (clock.now - began) / .seconds(1)))
    return results
  }

  mutating func measure(_ journal: inout TuneJournal) async throws(GraftError) -> BenchmarkReport {
    var machine = TuneMachine(
      processorCount: UsableProcessors.count, hasRing: RingAvailability().refusal == nil,
      hasDirectReads: false)
    machine.hasSmallLeaves = data.small != nil
    machine.hasMatrices = data.hasMatrices
    machine.hasColdReads = try coldReadsArePossible()

    // How much of the data to load, so that slow storage takes no hour.
    if machine.hasColdReads {
      let probe = try TuneCeilings(data, byteCountLimit: 128 << 20, isQuick: isQuick)
      let reads: [TuneCeilings.RawRead] = [
        .direct(depth: 4, block: 4 << 20), .cold(threads: UsableProcessors.count, block: 1 << 20),
      ]
      let once = schedule(.cold).with { ($0.rounds, $0.warmedUpCount) = (1, 0) }.fewest(1)
      let found = try await measured("probe: cold reads", &journal, once) { () throws(GraftError) in
        try probe.contestants(reads)
      }
      try await limitData(found)
    }

    // What the machine can do.
    let ceilings = try TuneCeilings(data, isQuick: isQuick)
    let short = schedule(.cold).with { $0.rounds = options.size == .tiny ? 1 : isQuick ? 2 : 3 }.fewest(
      isQuick ? 1 : 2)
    let memory = schedule(.warm).with { $0.seconds = isQuick ? 0.7 : 3 }
    var rows: [Measurement] = []
    rows += try await measured("ceiling: memory copy", &journal, memory) { () throws(GraftError) in
      try ceilings.copies()
    }
    rows += try await measured("ceiling: first touch", &journal, memory) { () throws(GraftError) in
      ceilings.firstTouches()
    }
    let folder = output
    rows += try await measured("ceiling: bare zstd", &journal, memory) { () throws(GraftError) in
      try ceilings.zstd(in: folder)
    }
    let warm = try await measured("ceiling: warm reads", &journal, schedule(.warm)) { () throws(GraftError) in
      try ceilings.contestants(TuneCeilings.warmReads)
    }
    var direct: [Measurement] = []
    var buffered: [Measurement] = []
    if machine.hasColdReads {
      direct = try await measured("ceiling: direct reads", &journal, short) { () throws(GraftError) in
        try ceilings.contestants(ceilings.directReads())
      }
      buffered = try await measured("ceiling: cold buffered reads", &journal, short) {
        () throws(GraftError) in try ceilings.contestants(ceilings.bufferedReads())
      }
    }
    machine.hasDirectReads = !direct.isEmpty
    report.addCeilings("what the machine can do, GiB/s", rows + warm + buffered)
    if !direct.isEmpty { report.addDirectReads(direct) }

    let fastestWarm = try ceilings.fastest(TuneCeilings.warmReads, warm)
    let fastestCold = try ceilings.fastest(
      ceilings.directReads() + ceilings.bufferedReads(), direct + buffered)

    // What Graft does.
    let sweep = TuneSweep(machine: machine, isQuick: isQuick)
    var ratios: [String: [Double]] = [:]
    let outcome = try await sweep.run { (block) async throws(GraftError) -> TuneFigures in
      let ceiling = block.workload.isCold ? fastestCold : fastestWarm
      let figures = try await figures(block, ceiling, &journal)
      if let ceiling = figures.ceiling {
        ratios[block.workload.isCold ? "cold" : "warm", default: []] += TuneNoise.ratios(
          of: figures.candidates[block.base], to: ceiling)
      }
      return figures
    }
    roundRatios = ratios
    return try conclude(outcome, machine, journal)
  }

  private func figures(
    _ block: TuneBlock, _ ceiling: Contestant?, _ journal: inout TuneJournal
  ) async throws(GraftError) -> TuneFigures {
    var schedule = schedule(block.workload)
    // Few are in the running, and what is found here is what is recommended.
    if block.isCheck || block.axis == nil { schedule.fewestRounds = min(schedule.rounds, 5) }
    let (first, base) = (ceiling == nil ? 0 : 1, block.base)
    schedule.drops = { seconds, index in
      index >= first && index != base + first
        && TuneChoice.isLosing(seconds[index], to: seconds[base + first])
    }
    let results = try await measured(block.identifier, &journal, schedule) {
      () async throws(GraftError) -> [Contestant] in
      var contestants = ceiling.map { [$0] } ?? []
      for candidate in block.candidates {
        contestants.append(try await data.contestant(block.workload, candidate))
      }
      return contestants
    }
    let names = results[min(first, results.count)...].map(\.name)
    guard results.count == block.candidates.count + first, names == block.candidates.map(\.name) else {
      throw GraftError(
        .corrupt, "the journal has other contestants than this measurement, \(block.identifier)",
        file: journal.path, expected: block.candidates.map(\.name).joined(separator: ", "),
        found: names.joined(separator: ", "), remedy: "begin anew with --fresh")
    }
    return TuneFigures(ceiling: first == 1 ? results[0] : nil, candidates: Array(results[first...]))
  }

  /// Whether the page cache can be emptied of the data: some file systems are nothing but page cache.
  private mutating func coldReadsArePossible() throws(GraftError) -> Bool {
    let (file, byteCount) = data.ceilingFile
    let left = try PageCache.empty(of: file, ByteRange(offset: 0, count: byteCount))
    if left * 10 <= byteCount { return true }
    conditions.append(
      "no cold figures: \(Figure.bytes(left)) of \(Figure.bytes(byteCount)) stay in the page cache when it is asked to forget them"
    )
    return false
  }

  /// Loads no more than the storage gives in about a second, so that slow storage takes no hour.
  private mutating func limitData(_ cold: [Measurement]) async throws(GraftError) {
    guard let speed = cold.map(\.gibPerSecond.median).max() else { return }
    let limit = max(32 << 20, Int(speed * Double(1 << 30)))
    guard data.byteCount > limit else { return }
    data = try await TuneData(
      data.checkpoint, small: data.small, byteCountLimit: limit, isMade: data.isMade,
      description: data.description)
    conditions.append(
      "\(Figure.bytes(data.byteCount)) of it are loaded, as that takes the storage about a second")
  }

  // MARK: the answer

  private mutating func conclude(
    _ outcome: TuneSweep.Outcome, _ machine: TuneMachine, _ journal: TuneJournal
  ) throws(GraftError) -> BenchmarkReport {
    report.conditions = conditions
    report.conditions.append("data: \(data.description)\(data.isPart ? ", in part" : "")")
    if !machine.hasRing { report.conditions.append("the kernel refuses io_uring: there is one engine") }
    if !machine.hasDirectReads && machine.hasColdReads {
      report.conditions.append("the file system has no direct I/O")
    }
    if !machine.hasSmallLeaves {
      report.conditions.append(
        "no small leaves to want here and there, so no figures for the coalescing gap: a folder instead of a checkpoint has some"
      )
    }
    let workloads = Set(outcome.findings.flatMap { $0.blocks.map(\.block.workload) })
    report.conditions += TuneWorkload.allCases.filter { workloads.contains($0) }.map(\.summary)
    for axis in TuneAxis.allCases {
      for finding in outcome.findings where finding.axis == axis { report.add(finding) }
    }
    if !outcome.confirmation.isEmpty { report.addConfirmation(outcome.confirmation) }

    let noise = TuneNoise(journal.entries, ratios: roundRatios)
    let complaints = options.size == .tiny ? [] : noise.complaints
    let changed = TuningField.differences(Tuning(), outcome.tuning)
    report.conditions.append(
      "others had \(Figure.text(100 * noise.othersShare, digits: 0)) % of the processors while it was measured"
    )
    var recommended: JSONValue = .null
    let file = TuningFile(outcome.tuning, origin: origin.measuredNow)
    var closing: [String] = []
    if !complaints.isEmpty {
      closing.append("The machine was too noisy: \(complaints.joined(separator: "; ")).")
    }
    if complaints.isEmpty || options.isForced {
      let path = "\(output)/tuning.json"
      try Self.write(file.encoded(), to: path)
      recommended = .object(changed.map { JSONValue.Member($0.name, $0.value(in: outcome.tuning)) })
      if changed.isEmpty {
        closing.append("Recommended: the defaults. No other setting was faster by more than the noise.")
      } else {
        closing.append("Recommended:")
        closing += changed.map {
          "  \($0.name): \(TuneAxis.shown($0, outcome.tuning)) (default \(TuneAxis.shown($0, Tuning())))"
        }
      }
      closing.append("Kept in \(path): graft load CHECKPOINT --tuning \(path)")
    } else {
      closing.append(
        "So nothing is recommended, and no tuning file was written. Run it again with --fresh when the machine is quiet, or with --force to have what these figures say."
      )
    }
    if let retraction = outcome.retraction { closing.append("Not recommended: \(retraction).") }
    let chartPath = "\(output)/tuning.svg"
    let charts = report.tables.flatMap(\.charts)
    try Self.write(
      Array(
        Chart.svg(charts, title: "Graft on this storage", notes: Array(report.conditions.prefix(4))).utf8),
      to: chartPath)
    closing.append("Charts: \(chartPath)")
    if data.isMade {
      closing.append("The data stays for the next run: \(data.checkpoint.path) and what lies beside it.")
    }
    report.closing = closing
    report.members = [
      ("recommended", recommended), ("noise", .array(complaints.map { .string($0) })),
      ("output", .string(output)),
    ]
    return report
  }

  static func write(_ bytes: [UInt8], to path: String) throws(GraftError) {
    let staged = try AtomicFile(at: path, overwriting: true)
    do {
      try unsafe staged.file.write(bytes.span.bytes, at: 0)
      try staged.commit()
    } catch {
      staged.abandon()
      throw error
    }
  }
}

extension TuningFile.Origin {
  /// The same, measured now.
  fileprivate var measuredNow: TuningFile.Origin {
    var origin = self
    origin.measured = Self.now
    return origin
  }
}

extension InterleavedRounds.Schedule {
  fileprivate func with(_ change: (inout Self) -> Void) -> Self {
    var schedule = self
    change(&schedule)
    return schedule
  }

  fileprivate func fewest(_ count: Int) -> Self { with { $0.fewestRounds = count } }
}
