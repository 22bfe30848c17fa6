internal import Foundation

/// A small repeatable source of random numbers (SplitMix64), so that a failing property test can be run again.
///
/// Tests print the seed with the failure; `GRAFT_TEST_SEED` sets it.
public struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  /// The seed that makes this run repeatable.
  public let seed: UInt64

  /// A generator that starts from this seed.
  public init(seed: UInt64) {
    self.seed = seed
    state = seed
  }

  /// The next number.
  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// The seed that `GRAFT_TEST_SEED` asks for, nil when it is not set.
public func seedFromEnvironment() -> UInt64? {
  ProcessInfo.processInfo.environment["GRAFT_TEST_SEED"].flatMap { UInt64($0) }
}

/// The batches of a property test: usually so many, in the long mode (`scripts/test --long`) as many times more as
/// `GRAFT_TEST_LONG` says; one when `GRAFT_TEST_SEED` names the seed.
public func seedBatches(_ usual: UInt64) -> Range<UInt64> {
  if seedFromEnvironment() != nil { return 0..<1 }
  let times = ProcessInfo.processInfo.environment["GRAFT_TEST_LONG"].flatMap { UInt64($0) } ?? 1
  return 0..<(usual * min(max(times, 1), 100_000))
}
