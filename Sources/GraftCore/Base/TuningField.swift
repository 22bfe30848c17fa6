/// The settings of ``Tuning`` as files and tables name them: each with its name and what it may be.
///
/// Whatever reads, writes, sweeps or prints settings goes through here, so that a setting has one name everywhere.
package enum TuningField: String, CaseIterable, Hashable, Sendable {
  case engine
  case access
  case threads
  case queueDepth = "queue_depth"
  case blockByteCount = "block_bytes"
  case directBlockByteCount = "direct_block_bytes"
  case directMinimumByteCount = "direct_minimum_bytes"
  case coalescingGapByteCount = "coalescing_gap_bytes"
  case overReadFactor = "over_read_factor"
  case hugePages = "huge_pages"
  case budgetByteCount = "budget_bytes"
  case verification = "verify"

  /// The name in a file.
  package var name: String { rawValue }

  /// The most threads that make sense to say; the engine itself uses no more than 64.
  private static let threadLimit = 1024
  /// The most reads that one worker keeps in flight, whatever it is told.
  private static let queueDepthLimit = 256
  /// The smallest and the largest read that the engine makes.
  private static let blockLimits = 4096...(64 << 20)
  /// Beyond any memory and any disk; what is larger is a mistake.
  private static let byteCountLimit = 1 << 50

  /// The numbers that a field may be; nil for one that is no whole number.
  private var bounds: ClosedRange<Int>? {
    switch self {
    case .threads: 1...Self.threadLimit
    case .queueDepth: 1...Self.queueDepthLimit
    case .blockByteCount, .directBlockByteCount: Self.blockLimits
    case .directMinimumByteCount, .coalescingGapByteCount: 0...Self.byteCountLimit
    // The least that has room for one short block of one worker.
    case .budgetByteCount: (64 << 10)...Self.byteCountLimit
    case .engine, .access, .overReadFactor, .hugePages, .verification: nil
    }
  }

  /// What the field may be, as an error says it.
  package var expectation: String {
    switch self {
    case .engine: Self.names(Tuning.Engine.allCases.map(\.rawValue))
    case .access: Self.names(Tuning.Access.allCases.map(\.rawValue))
    case .verification: Self.names(Tuning.Verification.allCases.map(\.rawValue))
    case .hugePages: "true or false"
    case .overReadFactor: "a number from 1 to 1000"
    default: bounds.map { "a whole number from \($0.lowerBound) to \($0.upperBound)" } ?? ""
    }
  }

  private static func names(_ names: [String]) -> String {
    names.map { "\"\($0)\"" }.joined(separator: ", ")
  }

  /// The setting as a file has it; `null` for threads that nobody chose.
  package func value(in tuning: Tuning) -> JSONValue {
    switch self {
    case .engine: .string(tuning.engine.rawValue)
    case .access: .string(tuning.access.rawValue)
    case .threads: tuning.threadCount.map { .integer($0) } ?? .null
    case .queueDepth: .integer(tuning.queueDepth)
    case .blockByteCount: .integer(tuning.blockByteCount)
    case .directBlockByteCount: .integer(tuning.directBlockByteCount)
    case .directMinimumByteCount: .integer(tuning.directMinimumByteCount)
    case .coalescingGapByteCount: .integer(tuning.coalescingGapByteCount)
    case .overReadFactor: .double(tuning.overReadFactor)
    case .hugePages: .bool(tuning.hugePages)
    case .budgetByteCount: .integer(tuning.budgetByteCount)
    case .verification: .string(tuning.verification.rawValue)
    }
  }

  /// Changes the setting to what a file says, and gives whether that is one of the things that it may be.
  package func set(_ value: JSONValue, in tuning: inout Tuning) -> Bool {
    if let bounds {
      guard let number = value.integer, bounds.contains(number) else { return false }
      switch self {
      case .threads: tuning.threadCount = number
      case .queueDepth: tuning.queueDepth = number
      case .blockByteCount: tuning.blockByteCount = number
      case .directBlockByteCount: tuning.directBlockByteCount = number
      case .directMinimumByteCount: tuning.directMinimumByteCount = number
      case .coalescingGapByteCount: tuning.coalescingGapByteCount = number
      case .budgetByteCount: tuning.budgetByteCount = number
      case .engine, .access, .overReadFactor, .hugePages, .verification: return false
      }
      return true
    }
    switch self {
    case .engine:
      guard let engine = value.text.flatMap(Tuning.Engine.init(rawValue:)) else { return false }
      tuning.engine = engine
    case .access:
      guard let access = value.text.flatMap(Tuning.Access.init(rawValue:)) else { return false }
      tuning.access = access
    case .verification:
      guard let verification = value.text.flatMap(Tuning.Verification.init(rawValue:)) else { return false }
      tuning.verification = verification
    case .hugePages:
      guard let hugePages = value.truth else { return false }
      tuning.hugePages = hugePages
    default:
      guard let factor = value.double, (1...1000).contains(factor) else { return false }
      tuning.overReadFactor = factor
    }
    return true
  }

  /// The fields in which two tunings differ, in the order of files.
  package static func differences(_ first: Tuning, _ second: Tuning) -> [TuningField] {
    allCases.filter { $0.value(in: first) != $0.value(in: second) }
  }
}
