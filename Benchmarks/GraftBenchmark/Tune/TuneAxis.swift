package import GraftCore

/// One thing that a setting could be.
package struct TuneCandidate: Hashable, Sendable {
  /// What tables call it.
  package var name: String
  package var tuning: Tuning
  /// Whether the result is mapped rather than read: measured to be looked at, and never recommended.
  package var isMapped = false

  package init(_ name: String, _ tuning: Tuning, isMapped: Bool = false) {
    self.name = name
    self.tuning = tuning
    self.isMapped = isMapped
  }
}

/// What the machine and the storage permit, as far as it decides what is worth trying.
package struct TuneMachine: Hashable, Sendable {
  package var processorCount: Int
  package var hasRing: Bool
  package var hasDirectReads: Bool
  /// Whether the page cache can be emptied of the files, so that there are cold reads to measure.
  package var hasColdReads = true
  /// Whether there are small leaves that can be wanted here and there.
  package var hasSmallLeaves = true
  /// Whether there are matrices of which columns can be wanted.
  package var hasMatrices = true

  package init(processorCount: Int, hasRing: Bool, hasDirectReads: Bool) {
    self.processorCount = processorCount
    self.hasRing = hasRing
    self.hasDirectReads = hasDirectReads
  }

  /// Whether loads of this workload can be measured.
  package func permits(_ workload: TuneWorkload) -> Bool {
    if workload.isCold && !hasColdReads { return false }
    return switch workload {
    case .scattered, .sparse: hasSmallLeaves
    case .columns, .coldColumns: hasMatrices
    case .warm, .cold, .fresh: true
    }
  }
}

/// A setting that is swept: what it could be, and the loads that show what it does.
package enum TuneAxis: String, CaseIterable, Hashable, Sendable {
  // In the order of the sweep: what decides how reads are made at all comes first.
  case access
  case engine
  case threads
  case directBlock = "direct block"
  case queueDepth = "queue depth"
  case block
  case coalescingGap = "coalescing gap"
  case hugePages = "huge pages"
  case budget

  /// The field of the tuning that it changes.
  package var field: TuningField {
    switch self {
    case .access: .access
    case .engine: .engine
    case .threads: .threads
    case .directBlock: .directBlockByteCount
    case .queueDepth: .queueDepth
    case .block: .blockByteCount
    case .coalescingGap: .coalescingGapByteCount
    case .hugePages: .hugePages
    case .budget: .budgetByteCount
    }
  }

  /// The loads that show what the setting does.
  package func workloads(_ base: Tuning, _ machine: TuneMachine) -> [TuneWorkload] {
    let readsDirect = machine.hasDirectReads && base.access != .buffered
    let workloads: [TuneWorkload] =
      switch self {
      case .access, .engine, .threads: [.warm, .cold]
      case .directBlock: readsDirect ? [.cold] : []
      case .queueDepth: [.cold]
      case .block: readsDirect ? [.warm] : [.warm, .cold]
      case .coalescingGap: [.scattered, .sparse]
      case .hugePages: [.fresh, .warm]
      case .budget: [.columns, .coldColumns]
      }
    return workloads.filter { machine.permits($0) }
  }

  /// What the setting could be, beside what it is in `base`; all else stays as it is there.
  package func candidates(_ base: Tuning, _ machine: TuneMachine, isQuick: Bool) -> [TuneCandidate] {
    var candidates: [TuneCandidate] = []
    func add(_ name: String, isMapped: Bool = false, _ change: (inout Tuning) -> Void) {
      var tuning = base
      change(&tuning)
      let isNew = !candidates.contains { $0.tuning == tuning && $0.isMapped == isMapped }
      if isNew { candidates.append(TuneCandidate(name, tuning, isMapped: isMapped)) }
    }
    switch self {
    case .access:
      add("auto") { $0.access = .automatic }
      add("buffered") { $0.access = .buffered }
      if machine.hasDirectReads { add("direct") { $0.access = .direct } }
      add("mapped, each page touched", isMapped: true) { _ in }
    case .engine:
      add("auto") { $0.engine = .automatic }
      // Where there is no ring, both are the same.
      if machine.hasRing { add("threads") { $0.engine = .threads } }
    case .threads:
      let all = machine.processorCount
      add("\(all)") { $0.threadCount = nil }
      for count in [1, all / 2, 2 * all, 4 * all, 8 * all] where count >= 1 && count != all && count <= 64 {
        if isQuick && count > 4 * all { continue }
        add("\(count)") { $0.threadCount = count }
      }
    case .directBlock:
      for shift in isQuick ? [20, 22, 24] : [18, 19, 20, 21, 22, 23, 24] {
        add(Figure.bytes(1 << shift)) { $0.directBlockByteCount = 1 << shift }
      }
    case .queueDepth:
      for depth in isQuick ? [2, 8, 32] : [1, 2, 4, 8, 16, 32, 64] {
        add("\(depth)") { $0.queueDepth = depth }
      }
    case .block:
      for shift in isQuick ? [18, 20, 22] : [16, 17, 18, 19, 20, 21, 22] {
        add(Figure.bytes(1 << shift)) { $0.blockByteCount = 1 << shift }
      }
    case .coalescingGap:
      let gaps = isQuick ? [0, 32, 128] : [0, 8, 16, 32, 64, 128, 256]
      for gap in gaps { add(Figure.bytes(gap << 10)) { $0.coalescingGapByteCount = gap << 10 } }
    case .hugePages:
      add("huge pages") { $0.hugePages = true }
      add("small pages") { $0.hugePages = false }
    case .budget:
      let shifts = isQuick ? [25, 28, 30] : [24, 25, 26, 27, 28, 29, 30]
      for shift in shifts { add(Figure.bytes(1 << shift)) { $0.budgetByteCount = 1 << shift } }
    }
    if !candidates.contains(where: { $0.tuning == base && !$0.isMapped }) {
      candidates.append(TuneCandidate("\(Self.shown(field, base)), as before", base))
    }
    return candidates
  }

  /// Whether the setting is as by default.
  package func isDefault(_ tuning: Tuning) -> Bool { field.value(in: tuning) == field.value(in: Tuning()) }

  /// What a field is, as tables show it: sizes with their unit.
  package static func shown(_ field: TuningField, _ tuning: Tuning) -> String {
    let value = field.value(in: tuning)
    if case .null = value { return "one for each processor" }
    if field.name.hasSuffix("_bytes"), let byteCount = value.integer { return Figure.bytes(byteCount) }
    return value.plainText
  }
}
