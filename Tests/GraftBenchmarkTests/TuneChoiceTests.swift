import GraftBenchmark
import GraftCore
import GraftMeasure
import Testing

/// What is taken for a gain, from given figures.
@Suite struct TuneChoiceTests {
  /// The seconds of rounds that all differ a little.
  private func seconds(_ median: Double, spread: Double = 0.01, rounds: Int = 7) -> [Double] {
    (0..<rounds).map { median * (1 + spread * (Double($0 % 5) - 2) / 2) }
  }

  @Test func `a clear gain is one, and a clear loss`() {
    #expect(TuneChoice.verdict(TuneChoice.ratios(seconds(0.8), to: seconds(1))) == .faster)
    #expect(TuneChoice.verdict(TuneChoice.ratios(seconds(1.2), to: seconds(1))) == .slower)
    #expect(TuneChoice.verdict(TuneChoice.ratios(seconds(1), to: seconds(1))) == .alike)
  }

  @Test func `a gain below 3 % is none, however sure it is`() {
    #expect(TuneChoice.verdict([Double](repeating: 1.029, count: 20)) == .alike)
    #expect(TuneChoice.verdict([Double](repeating: 1.031, count: 20)) == .faster)
    #expect(TuneChoice.verdict([Double](repeating: 1 / 1.029, count: 20)) == .alike)
    #expect(TuneChoice.verdict([Double](repeating: 1 / 1.031, count: 20)) == .slower)
  }

  @Test func `a gain within the noise is none`() {
    // The median gains a tenth, but the rounds say anything.
    #expect(TuneChoice.verdict([0.7, 1.4, 1.1, 0.8, 1.3, 0.9, 1.5]) == .alike)
    // A single round that is far off does not hide a gain of all others.
    #expect(TuneChoice.verdict([1.1, 1.11, 1.1, 0.4, 1.1, 1.12, 1.1]) == .faster)
    // Of three rounds none may speak against it.
    #expect(TuneChoice.verdict([1.1, 1.1, 0.99]) == .alike)
    #expect(TuneChoice.verdict([1.1, 1.1, 1.11]) == .faster)
    // Two rounds say nothing.
    #expect(TuneChoice.verdict([2, 2]) == .alike)
    #expect(TuneChoice.verdict([]) == .alike)
  }

  @Test func `a candidate that loses clearly twice is measured no further`() {
    #expect(TuneChoice.isLosing([2, 2], to: [1, 1]))
    #expect(!TuneChoice.isLosing([2], to: [1]))
    #expect(!TuneChoice.isLosing([2, 1.1], to: [1, 1]))
    #expect(!TuneChoice.isLosing([1.1, 1.1], to: [1, 1]))
  }

  private func best(_ speeds: [[Double]], base: Int, standard: Int?) -> Int {
    TuneChoice.best(
      speeds.map { $0.map { seconds(1 / $0) } }, base: base, standard: standard)
  }

  @Test func `the fastest is chosen, and of those that are as good the nearest to what was there`() {
    #expect(best([[1, 1.5, 1.2]], base: 0, standard: 0) == 1)
    // Depths of 8, 16, 32 and 64: 16 is as good as 64.
    #expect(best([[1, 1.30, 1.31, 1.305]], base: 0, standard: 0) == 1)
    #expect(best([[1.31, 1.30, 1, 1.29]], base: 2, standard: 2) == 1)
  }

  @Test func `ties go to what was there, and that to the default`() {
    #expect(best([[1, 1.02, 0.99]], base: 0, standard: 0) == 0)
    // What was chosen before is no faster than the default now.
    #expect(best([[1, 1.01]], base: 1, standard: 0) == 0)
    #expect(best([[1, 1.2]], base: 1, standard: 0) == 1)
    #expect(best([[1, 1.2]], base: 1, standard: nil) == 1)
    // A third is faster than what was there, and not than the default.
    #expect(best([[1, 0.8, 1.01]], base: 1, standard: 0) == 0)
  }

  @Test func `what gains in one load and loses in another is not chosen`() {
    #expect(best([[1, 2], [1, 0.9]], base: 0, standard: 0) == 0)
    #expect(best([[1, 2], [1, 1]], base: 0, standard: 0) == 1)
    #expect(best([[1, 1], [1, 1]], base: 0, standard: 0) == 0)
    // Dropped after two rounds in one of them.
    #expect(
      TuneChoice.best([[seconds(1), seconds(0.5)], [seconds(1), [3, 3]]], base: 0, standard: 0) == 0)
  }

  @Test func `what cannot be chosen is not, however fast it is`() {
    #expect(
      TuneChoice.best([[seconds(1), seconds(0.1)]], base: 0, standard: 0, choosable: { $0 != 1 }) == 0)
  }
}

/// The order of a sweep and what it comes to, by a machine that is made up.
@Suite struct TuneSweepTests {
  var machine = TuneMachine(processorCount: 4, hasRing: true, hasDirectReads: true)

  /// The figures of a machine on which a load takes as long as `cost` says.
  private func figures(
    _ block: TuneBlock, _ cost: (Tuning, TuneWorkload) -> Double
  ) -> TuneFigures {
    TuneFigures(
      ceiling: Measurement(name: "raw", byteCount: 100, seconds: [1, 1, 1]),
      candidates: block.candidates.map { candidate in
        let seconds = cost(candidate.tuning, block.workload)
        return Measurement(
          name: candidate.name, byteCount: 100,
          seconds: candidate.isMapped
            ? [0.001, 0.001, 0.001] : (0..<5).map { seconds * (1 + 0.002 * Double($0)) })
      })
  }

  @Test func `where nothing is faster, the defaults are recommended, in one pass`() async throws {
    var blocks: [TuneBlock] = []
    let outcome = try await TuneSweep(machine: machine, isQuick: false).run { block in
      blocks.append(block)
      return figures(block) { _, _ in 1 }
    }
    #expect(outcome.tuning == Tuning())
    #expect(outcome.confirmation.isEmpty && outcome.retraction == nil)
    #expect(outcome.findings.map(\.axis) == TuneAxis.allCases)
    #expect(Set(blocks.map(\.identifier)).count == blocks.count, "a block is measured once")
    for block in blocks {
      #expect(block.candidates[block.base].tuning == Tuning())
      #expect(Set(block.candidates.map(\.name)).count == block.candidates.count)
    }
  }

  @Test func `settings are found one after the other, each with those before`() async throws {
    var blocks: [TuneBlock] = []
    let outcome = try await TuneSweep(machine: machine, isQuick: false).run { block in
      blocks.append(block)
      return figures(block) { tuning, workload in
        guard workload == .cold else { return 1 }
        // Wants 16 in flight, and many threads where reads are no rings.
        var cost = tuning.queueDepth >= 16 ? 1.0 : 2.0
        if tuning.threadCount != 16 { cost *= 1.5 }
        return cost
      }
    }
    var expected = Tuning()
    (expected.threadCount, expected.queueDepth) = (16, 16)
    #expect(outcome.tuning == expected)
    #expect(outcome.retraction == nil)
    #expect(outcome.confirmation.map(\.block.workload) == [.warm, .cold])
    // Those after a change are swept with it, and those before it once more.
    let depth = try #require(blocks.first { $0.axis == .queueDepth })
    #expect(depth.candidates[depth.base].tuning.threadCount == 16)
    #expect(blocks.filter { $0.axis == .access && $0.workload == .cold }.count == 2)
    #expect(Set(blocks.map(\.identifier)).count == blocks.count)
    #expect(blocks.last?.identifier == "recommended beside default; cold; threads=16; queue_depth=16")
  }

  @Test func `what other loads show is not swept again`() async throws {
    var blocks: [TuneBlock] = []
    let outcome = try await TuneSweep(machine: machine, isQuick: false).run { block in
      blocks.append(block)
      return figures(block) { tuning, workload in
        workload == .scattered && tuning.coalescingGapByteCount == 64 << 10 ? 0.8 : 1
      }
    }
    #expect(outcome.tuning.coalescingGapByteCount == 64 << 10)
    #expect(TuningField.differences(outcome.tuning, Tuning()) == [.coalescingGapByteCount])
    #expect(blocks.filter { $0.axis == .access }.count == 2)
    #expect(outcome.confirmation.map(\.block.workload) == [.warm, .cold, .scattered, .sparse])
  }

  @Test func `a gain that another load pays for is not taken`() async throws {
    let outcome = try await TuneSweep(machine: machine, isQuick: false).run { block in
      figures(block) { tuning, workload in
        switch workload {
        case .warm: tuning.hugePages && tuning.threadCount == 1 ? 0.5 : 1
        case .fresh: tuning.hugePages ? 1 : 0.5
        case .cold: tuning.threadCount == 1 && tuning.hugePages ? 0.9 : 1
        default: 1
        }
      }
    }
    // Small pages gain in fresh loads and lose in warm ones, with one thread.
    #expect(outcome.tuning.threadCount == 1)
    #expect(outcome.tuning.hugePages)
  }

  @Test func `what is of no use any more once another setting is found is taken back`() async throws {
    // Many threads help as long as few reads are in flight.
    let outcome = try await TuneSweep(machine: machine, isQuick: false).run { block in
      figures(block) { tuning, workload in
        guard workload == .cold else { return 1 }
        return tuning.queueDepth >= 16 ? 0.4 : tuning.threadCount == 16 ? 0.5 : 1
      }
    }
    var expected = Tuning()
    expected.queueDepth = 16
    #expect(outcome.tuning == expected)
    #expect(outcome.findings.first { $0.axis == .threads }?.blocks[0].block.base == 4)
  }

  @Test func `what was fast by chance is measured once more, and not taken`() async throws {
    var checks: [TuneBlock] = []
    let outcome = try await TuneSweep(machine: machine, isQuick: false).run { block in
      if block.isCheck { checks.append(block) }
      return figures(block) { tuning, workload in
        !block.isCheck && tuning.queueDepth == 16 && workload == .cold ? 0.8 : 1
      }
    }
    #expect(outcome.tuning == Tuning())
    #expect(outcome.confirmation.isEmpty && outcome.retraction == nil)
    #expect(checks.map(\.identifier) == ["queue depth, check of 16; cold"])
    #expect(checks.first?.candidates.map(\.tuning.queueDepth) == [8, 16])
    let finding = try #require(outcome.findings.first { $0.axis == .queueDepth })
    #expect(finding.chosen == finding.blocks[0].block.base)
  }

  @Test func `what is no faster taken together is not recommended`() async throws {
    let outcome = try await TuneSweep(machine: machine, isQuick: false).run { block in
      figures(block) { tuning, workload in
        if block.axis == nil { return 1 }
        return tuning.queueDepth == 16 && workload == .cold ? 0.5 : 1
      }
    }
    #expect(outcome.tuning == Tuning())
    #expect(outcome.retraction?.contains("queue_depth 16") == true)
  }

  @Test func `mapped results are measured and never recommended`() async throws {
    var mapped = 0
    let outcome = try await TuneSweep(machine: machine, isQuick: true).run { block in
      mapped += block.candidates.count { $0.isMapped }
      return figures(block) { _, _ in 1 }
    }
    #expect(mapped == 2)
    #expect(outcome.tuning == Tuning())
  }

  @Test func `what the machine does not have is not tried`() async throws {
    var bare = TuneMachine(processorCount: 1, hasRing: false, hasDirectReads: false)
    (bare.hasColdReads, bare.hasSmallLeaves, bare.hasMatrices) = (false, false, false)
    var blocks: [TuneBlock] = []
    _ = try await TuneSweep(machine: bare, isQuick: false).run { block in
      blocks.append(block)
      return figures(block) { _, _ in 1 }
    }
    #expect(Set(blocks.compactMap(\.axis)) == [.access, .threads, .block, .hugePages])
    #expect(blocks.allSatisfy { !$0.workload.isCold })
    #expect(
      blocks.flatMap(\.candidates).allSatisfy {
        $0.tuning.access != .direct && $0.tuning.engine == .automatic
      })
  }

  @Test func `a sweep that goes on from a journal comes to the same`() async throws {
    var journal: [String: TuneFigures] = [:]
    var count = 0
    func sweep() async throws -> Tuning {
      try await TuneSweep(machine: machine, isQuick: false).run { block in
        if let known = journal[block.identifier] { return known }
        count += 1
        let found = figures(block) { tuning, _ in tuning.engine == .threads ? 0.7 : 1 }
        journal[block.identifier] = found
        return found
      }.tuning
    }
    let first = try await sweep()
    #expect(first.engine == .threads)
    let measured = count
    #expect(try await sweep() == first)
    #expect(count == measured, "nothing is measured again")
    // Half of it was lost.
    for key in journal.keys.sorted().prefix(journal.count / 2) { journal[key] = nil }
    #expect(try await sweep() == first)
  }
}

@Suite struct TuneNoiseTests {
  @Test func `a machine that slows down as a whole is not noisy`() {
    let load = Measurement(name: "load", byteCount: 1, seconds: [2, 2.2, 4, 4.4])
    let raw = Measurement(name: "raw", byteCount: 1, seconds: [1, 1.1, 2, 2.2])
    #expect(TuneNoise.ratios(of: load, to: raw).allSatisfy { abs($0 - 1) < 1e-9 })
    let unlike = Measurement(name: "load", byteCount: 1, seconds: [2, 4.4, 2, 4.4])
    #expect(TuneNoise.ratios(of: unlike, to: raw).max() ?? 0 > 1.3)
  }

  private func entry(_ others: Double, _ seconds: Double) -> TuneJournal.Entry {
    TuneJournal.Entry(
      block: "b", contestants: [Measurement(name: "a", byteCount: 1, seconds: [1])], othersShare: others,
      seconds: seconds)
  }

  @Test func `others' share is weighed by how long each measurement took`() {
    let noise = TuneNoise([entry(0.5, 1), entry(0.1, 9)], ratios: [:])
    #expect(abs(noise.othersShare - 0.14) < 1e-9)
    #expect(noise.complaints == [])
    #expect(TuneNoise([entry(0.5, 9), entry(0.1, 1)], ratios: [:]).complaints.count == 1)
    #expect(TuneNoise([], ratios: [:]).othersShare == 0)
  }

  @Test func `rounds that are not alike are told, and single outliers are not`() {
    func complaints(_ ratios: [Double]) -> [String] { TuneNoise([], ratios: ["cold": ratios]).complaints }
    #expect(complaints([1, 1, 1, 1, 1, 1, 1, 9]) == [])
    let unlike = complaints([1, 1, 1, 1, 2, 2, 2, 2])
    #expect(unlike.count == 1)
    #expect(unlike.first?.contains("cold loads") == true)
    // Too few to say.
    #expect(complaints([1, 2, 3]) == [])
  }
}
