public import GraftCore

// The parts of Graft that are measured alone. The harness that times them is in a package of its own (Benchmarks/Package.swift), so that
// whoever depends on Graft does not depend on it; and as a package sees only what others declare public, the parts are a product.
// Tests run every part on small input and hold what is counted against Benchmarks/Thresholds/parts.json. Times are nobody's gate.

/// A part of Graft that can be measured alone: makes its input, and then runs on it as often as one likes.
public struct Part: Sendable {
  /// How much input is made.
  public enum Size: Hashable, Sendable {
    /// Little, for tests; what is counted on it is held against thresholds.
    case small
    /// Enough for figures that mean something.
    case full
  }

  /// A part whose input is there.
  public struct Prepared: Sendable {
    /// The bytes, or the leaves or keys, that one run goes over.
    public let workCount: Int
    /// Runs once, and says what it counted: requests, bytes, moves, never times.
    public let run: @Sendable () async throws(GraftError) -> [String: Int]

    init(workCount: Int, run: @escaping @Sendable () async throws(GraftError) -> [String: Int]) {
      self.workCount = workCount
      self.run = run
    }
  }

  /// What it is, in a few words; no two parts have one name.
  public let name: String
  private let prepare: @Sendable (Size, String) async throws(GraftError) -> Prepared

  init(
    _ name: String,
    prepare: @escaping @Sendable (_ size: Size, _ folder: String) async throws(GraftError) -> Prepared
  ) {
    self.name = name
    self.prepare = prepare
  }

  /// Makes the input.
  ///
  /// - Parameter folder: where files are made, and kept for the next time.
  /// - Throws: ``GraftError`` when there is no room for it.
  public func prepared(_ size: Size, folder: String) async throws(GraftError) -> Prepared {
    try await prepare(size, folder)
  }

  /// Every part, those that read metadata first.
  public static let all: [Part] = metadata + planning + kernels + codecs + loads
}

/// Numbers that look random and are the same every time.
struct Noise {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 2 &+ 1 }

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
