/// What a load did: what became of every leaf, what was read and how, and how long it took.
public struct LoadReport: Sendable {
  /// What became of a leaf.
  public enum Outcome: String, Hashable, Sendable, CaseIterable {
    /// It was read, whole or in part, or its value was in the metadata.
    case loaded
    /// The target asked for a placeholder; nothing was read.
    case placeholder
    /// The target did not mention it; nothing was read.
    case omitted
    /// The checkpoint lacks it and the target's own value was kept.
    case kept
    /// No checkpoint has it, and an initializer or the transform made its values.
    case initialized
  }

  /// A leaf, what became of it, and the bytes it takes in memory (whole, where it was not loaded).
  public struct Leaf: Hashable, Sendable {
    /// Where it stands.
    public var path: TreePath
    /// What became of it.
    public var outcome: Outcome
    /// The bytes it takes in memory, or would take if it was not loaded.
    public var byteCount: Int

    package init(path: TreePath, outcome: Outcome, byteCount: Int) {
      self.path = path
      self.outcome = outcome
      self.byteCount = byteCount
    }
  }

  /// Every leaf of the target and of the checkpoint.
  public var leaves: [Leaf]
  /// What reading took.
  public var reading: ReadReport
  /// From the call to the result.
  public var elapsed: Duration
  /// What the caller may want to know about how it went, for example why a fallback was taken.
  public var notes: [String]

  package init(leaves: [Leaf], reading: ReadReport, elapsed: Duration, notes: [String] = []) {
    self.leaves = leaves
    self.reading = reading
    self.elapsed = elapsed
    self.notes = notes
  }

  /// The leaves with this outcome.
  public func leaves(_ outcome: Outcome) -> [Leaf] { leaves.filter { $0.outcome == outcome } }

  /// The bytes of the leaves that were loaded.
  public var loadedByteCount: Int { leaves.reduce(0) { $0 + ($1.outcome == .loaded ? $1.byteCount : 0) } }

  /// The bytes loaded for each second, in GiB.
  public var gibibytesPerSecond: Double {
    let seconds = elapsed / .seconds(1)
    return seconds > 0 ? Double(loadedByteCount) / seconds / Double(1 << 30) : 0
  }
}

/// What was read from files, and how.
public struct ReadReport: Hashable, Sendable {
  /// The bytes that were asked of the system, over-read included.
  public var bytesRead = 0
  /// The bytes that were wanted.
  public var bytesWanted = 0
  /// Those of ``bytesWanted`` that are whole chunks whose checksums were verified.
  public var bytesVerified = 0
  /// The number of reads that were submitted.
  public var requestCount = 0
  /// Those of ``bytesRead`` that went around the page cache.
  public var bytesReadDirect = 0
  /// Which engine read: `io_uring`, or `threads`; empty when nothing was read.
  public var engine = ""
  /// Why it was this engine, where one had to be chosen.
  public var engineReason = ""
  /// The most staging memory that was in use, in bytes.
  public var peakStagingByteCount = 0

  /// A report of no reads.
  public init() {}
}

extension LoadReport: CustomStringConvertible {
  /// A line: how many leaves and bytes came, how many were left, what was read, how fast.
  public var description: String {
    var parts: [String] = []
    for outcome in Outcome.allCases {
      let count = leaves.count { $0.outcome == outcome }
      if count > 0 { parts.append("\(count) \(outcome.rawValue)") }
    }
    let hundredths = Int(gibibytesPerSecond * 100 + 0.5)
    let rate = "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
    return parts.joined(separator: ", ")
      + "; \(loadedByteCount) bytes from \(reading.bytesRead) read in \(reading.requestCount) requests, \(elapsed), \(rate) GiB/s (\(reading.engine))"
  }
}

/// How far a load or save has come.
public struct Progress: Hashable, Sendable {
  /// The bytes that are done.
  public var completedByteCount: Int
  /// The bytes that there are to do.
  public var totalByteCount: Int

  package init(completedByteCount: Int, totalByteCount: Int) {
    self.completedByteCount = completedByteCount
    self.totalByteCount = totalByteCount
  }

  /// The part that is done, from 0 to 1.
  public var fraction: Double {
    totalByteCount == 0 ? 1 : Double(completedByteCount) / Double(totalByteCount)
  }
}
