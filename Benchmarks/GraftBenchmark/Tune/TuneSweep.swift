package import GraftCore
package import GraftMeasure

/// Candidates that are to be measured against each other, in turns.
package struct TuneBlock: Hashable, Sendable {
  package var axis: TuneAxis?
  package var workload: TuneWorkload
  package var candidates: [TuneCandidate]
  /// The index of the candidate that the others are compared with.
  package var base: Int
  /// Whether one candidate alone is measured once more, in more rounds, as it seemed to be faster.
  package var isCheck = false

  package init(axis: TuneAxis?, workload: TuneWorkload, candidates: [TuneCandidate], base: Int) {
    self.axis = axis
    self.workload = workload
    self.candidates = candidates
    self.base = base
  }

  /// What the journal knows it by: what it measures, with all that was chosen before.
  package var identifier: String {
    let changed = TuningField.differences(Tuning(), candidates[base].tuning)
      .filter { $0 != axis?.field }
      .map { "\($0.name)=\($0.value(in: candidates[base].tuning).plainText)" }
    var what = axis?.rawValue ?? "recommended beside default"
    if isCheck { what += ", check of \(candidates.last?.name ?? "")" }
    return ([what, workload.rawValue] + changed).joined(separator: "; ")
  }
}

/// The figures of a block: one measurement for each candidate, and the raw speed of the machine in the same rounds.
package struct TuneFigures: Hashable, Sendable {
  package var ceiling: Measurement?
  package var candidates: [Measurement]

  package init(ceiling: Measurement?, candidates: [Measurement]) {
    self.ceiling = ceiling
    self.candidates = candidates
  }
}

/// What was measured of a setting, and what came of it.
package struct TuneFinding: Sendable {
  package var axis: TuneAxis
  /// What was compared and found, a workload each.
  package var blocks: [(block: TuneBlock, figures: TuneFigures)]
  /// The index of the candidate that was chosen.
  package var chosen: Int
  /// What was measured once more of the one that seemed to be faster.
  package var check: [(block: TuneBlock, figures: TuneFigures)] = []
}

/// Sweeps settings one after the other, from the default, each with what was chosen before; then once more where something changed.
package struct TuneSweep: Sendable {
  /// How often every axis is gone through at most.
  package static let passLimit = 2

  package var machine: TuneMachine
  package var isQuick: Bool
  package var axes = TuneAxis.allCases

  package init(machine: TuneMachine, isQuick: Bool) {
    self.machine = machine
    self.isQuick = isQuick
  }

  /// What came of a sweep.
  package struct Outcome: Sendable {
    package var tuning = Tuning()
    /// The findings on each axis, the last of each.
    package var findings: [TuneFinding] = []
    /// The recommended settings beside the defaults, when they are not the same.
    package var confirmation: [(block: TuneBlock, figures: TuneFigures)] = []
    /// Why what the axes had found is not recommended, if it is not.
    package var retraction: String?
  }

  /// Sweeps.
  ///
  /// - Parameter measure: measures a block, or says what was found when it was measured before.
  package func run(
    _ measure: (TuneBlock) async throws(GraftError) -> TuneFigures
  ) async throws(GraftError) -> Outcome {
    var outcome = Outcome()
    // What the other settings were when an axis was gone through: with the same ones it would come out the same.
    var settled: [TuneAxis: Tuning] = [:]
    for _ in 0..<Self.passLimit {
      for axis in axes {
        let others = relevant(outcome.tuning, to: axis)
        guard settled[axis] != others else { continue }
        settled[axis] = others
        guard let finding = try await self.finding(axis, outcome.tuning, measure) else { continue }
        outcome.tuning = finding.blocks[0].block.candidates[finding.chosen].tuning
        outcome.findings.removeAll { $0.axis == axis }
        outcome.findings.append(finding)
      }
    }
    try await confirm(&outcome, measure)
    return outcome
  }

  /// What was chosen for other settings, as far as it can matter to this one: those that are seen in the same loads.
  private func relevant(_ tuning: Tuning, to axis: TuneAxis) -> Tuning {
    let workloads = Set(axis.workloads(tuning, machine))
    var relevant = Tuning()
    for other in axes where other != axis && !workloads.isDisjoint(with: other.workloads(tuning, machine)) {
      // Threads that nobody chose are what the default has.
      _ = other.field.set(other.field.value(in: tuning), in: &relevant)
    }
    return relevant
  }

  private func finding(
    _ axis: TuneAxis, _ base: Tuning, _ measure: (TuneBlock) async throws(GraftError) -> TuneFigures
  ) async throws(GraftError) -> TuneFinding? {
    let workloads = axis.workloads(base, machine)
    let candidates = axis.candidates(base, machine, isQuick: isQuick)
    guard !workloads.isEmpty, candidates.count > 1,
      let baseIndex = candidates.firstIndex(where: { $0.tuning == base && !$0.isMapped })
    else { return nil }
    var blocks: [(block: TuneBlock, figures: TuneFigures)] = []
    for workload in workloads {
      let block = TuneBlock(axis: axis, workload: workload, candidates: candidates, base: baseIndex)
      blocks.append((block, try await measure(block)))
    }
    let standard = candidates.firstIndex {
      !$0.isMapped && axis.field.value(in: $0.tuning) == axis.field.value(in: Tuning())
    }
    let chosen = TuneChoice.best(
      blocks.map { $0.figures.candidates.map(\.seconds) }, base: baseIndex, standard: standard,
      choosable: { !candidates[$0].isMapped })
    var finding = TuneFinding(axis: axis, blocks: blocks, chosen: chosen)
    guard chosen != baseIndex else { return finding }
    // Of many candidates one is fast by chance in a few rounds. It has to be so again, alone beside what was there.
    for workload in workloads {
      var block = TuneBlock(
        axis: axis, workload: workload, candidates: [candidates[baseIndex], candidates[chosen]], base: 0)
      block.isCheck = true
      finding.check.append((block, try await measure(block)))
    }
    let again = finding.check.map { $0.figures.candidates.map(\.seconds) }
    // The default need not be faster than what was there; whatever else does.
    let isStandard = chosen == standard
    let best = TuneChoice.best(
      again, base: isStandard ? 1 : 0, standard: isStandard ? 1 : standard == baseIndex ? 0 : nil)
    if best != 1 { finding.chosen = baseIndex }
    return finding
  }

  /// Measures what was chosen beside the default, and takes it back where it is not faster after all.
  private func confirm(
    _ outcome: inout Outcome, _ measure: (TuneBlock) async throws(GraftError) -> TuneFigures
  ) async throws(GraftError) {
    guard outcome.tuning != Tuning() else { return }
    let candidates = [TuneCandidate("default", Tuning()), TuneCandidate("recommended", outcome.tuning)]
    var workloads = [TuneWorkload.warm, .cold].filter { machine.permits($0) }
    let changed = TuningField.differences(Tuning(), outcome.tuning)
    for axis in axes where changed.contains(axis.field) {
      for workload in axis.workloads(outcome.tuning, machine) where !workloads.contains(workload) {
        workloads.append(workload)
      }
    }
    for workload in workloads {
      let block = TuneBlock(axis: nil, workload: workload, candidates: candidates, base: 0)
      var identified = block
      // Known by what is recommended, as the base is the default.
      identified.base = 1
      outcome.confirmation.append((block, try await measure(identified)))
    }
    let seconds = outcome.confirmation.map { $0.figures.candidates.map(\.seconds) }
    if TuneChoice.best(seconds, base: 0, standard: 0) == 0 {
      let found = changed.map { "\($0.name) \(TuneAxis.shown($0, outcome.tuning))" }.joined(separator: ", ")
      outcome.retraction =
        "taken together, \(found) were not faster than the defaults by more than the noise, or slower somewhere"
      outcome.tuning = Tuning()
    }
  }
}
