public import GraftCore

/// What verifying a checkpoint found out: which leaves' bytes are proven to be those that were written.
public struct VerificationReport: Sendable {
  /// What is known about a leaf.
  public enum Outcome: String, Hashable, Sendable, CaseIterable {
    /// All of its bytes have checksums, which are right.
    case verified
    /// It can be read and decoded, and nothing would show a flipped bit in some of its bytes.
    case unprotected
    /// Some of its bytes cannot be read, cannot be decoded, or do not have their checksum.
    case failed
    /// It is stored in a way that Graft does not read.
    case unread
  }

  /// A leaf, and what is known about it.
  public struct Leaf: Hashable, Sendable {
    /// Where it stands.
    public var path: TreePath
    /// What is known about it.
    public var outcome: Outcome
  }

  /// Every leaf that was to be verified, in the order of the tree.
  public var leaves: [Leaf]
  /// What is wrong, each naming what it knows of leaf, file and bytes; of very many, the first thousand.
  public var failures: [GraftError]
  /// How many failures there are.
  public var failureCount: Int
  /// The seal that was used, or why the one that is there was not; nil where there is none.
  public var seal: String?
  /// What was read.
  public var reading: ReadReport
  /// From the call to the result.
  public var elapsed: Duration

  /// Whether nothing is wrong; unprotected leaves are not wrong.
  public var isIntact: Bool { failureCount == 0 }

  /// The leaves with this outcome.
  public func leaves(_ outcome: Outcome) -> [Leaf] { leaves.filter { $0.outcome == outcome } }

  /// The report of a checkpoint that cannot be opened because its metadata is broken.
  package init(notOpening error: GraftError) {
    leaves = []
    failures = [error]
    failureCount = 1
    reading = ReadReport()
    elapsed = .zero
  }

  init(
    leaves: [Leaf], failures: [GraftError], failureCount: Int, seal: String?, reading: ReadReport,
    elapsed: Duration
  ) {
    self.leaves = leaves
    self.failures = failures
    self.failureCount = failureCount
    self.seal = seal
    self.reading = reading
    self.elapsed = elapsed
  }
}

extension VerificationReport: CustomStringConvertible {
  /// A line: how many leaves are verified, unprotected, unread, failed.
  public var description: String {
    Outcome.allCases.compactMap { outcome in
      let count = leaves.count { $0.outcome == outcome }
      return count > 0 ? "\(count) \(outcome.rawValue)" : nil
    }.joined(separator: ", ") + "; \(failureCount) failures, \(reading.bytesRead) bytes read, \(elapsed)"
  }
}
