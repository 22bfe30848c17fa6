package import GraftCore

/// Runs contestants in turns, so that what drifts on the machine meets all of them alike.
///
/// Separate runs of the same thing drift by half on a shared machine; per-round ratios of interleaved runs do not.
package enum InterleavedRounds {
  /// Times every contestant once in each of `rounds` rounds, and each round begins with another of them.
  ///
  /// One round before the first is not counted: it faults in code, memory and page cache.
  package static func run(_ contestants: [Contestant], rounds: Int) async throws(GraftError) -> [Measurement]
  {
    try await run(contestants, Schedule(rounds: rounds))
  }

  /// How many rounds there are, where that depends on how they go.
  package struct Schedule: Sendable {
    /// The most rounds.
    package var rounds: Int
    /// The fewest, however long they take.
    package var fewestRounds: Int
    /// The seconds after which no further round begins, beyond the fewest.
    package var seconds = Double.infinity
    /// How many contestants, from the first, run once before the rounds; all of them unless given.
    package var warmedUpCount: Int?
    /// Whether a contestant takes part in further rounds no more, by the seconds of each and its own index.
    package var drops: @Sendable (_ seconds: [[Double]], _ index: Int) -> Bool = { _, _ in false }

    /// So many rounds of all contestants.
    package init(rounds: Int) {
      self.rounds = rounds
      fewestRounds = rounds
    }
  }

  /// Times every contestant once in each round, as the schedule says; one that was dropped has fewer figures, but at least one.
  package static func run(
    _ contestants: [Contestant], _ schedule: Schedule
  ) async throws(GraftError) -> [Measurement] {
    precondition(schedule.rounds > 0 && schedule.fewestRounds > 0)
    let clock = ContinuousClock()
    var seconds = [[Double]](repeating: [], count: contestants.count)
    var taking = Array(contestants.indices)
    for contestant in contestants.prefix(schedule.warmedUpCount ?? contestants.count) {
      _ = try await time(contestant)
    }
    let start = clock.now
    for round in 0..<schedule.rounds {
      if round >= schedule.fewestRounds, (clock.now - start) / .seconds(1) > schedule.seconds { break }
      for turn in taking.indices {
        let index = taking[(turn + round) % taking.count]
        seconds[index].append(try await time(contestants[index]))
      }
      let soFar = seconds
      taking.removeAll { schedule.drops(soFar, $0) }
    }
    return zip(contestants, seconds).map { Measurement(name: $0.name, byteCount: $0.byteCount, seconds: $1) }
  }

  private static func time(_ contestant: Contestant) async throws(GraftError) -> Double {
    if Task.isCancelled { throw GraftError(.cancelled, "the task was cancelled") }
    return try await contestant.time()
  }
}

/// How long a contestant took in each round.
package struct Measurement: Hashable, Sendable {
  /// The contestant's name.
  package let name: String
  /// The bytes that one run moved.
  package let byteCount: Int
  /// The seconds of each round, in order.
  package let seconds: [Double]

  /// A measurement.
  package init(name: String, byteCount: Int, seconds: [Double]) {
    precondition(!seconds.isEmpty)
    self.name = name
    self.byteCount = byteCount
    self.seconds = seconds
  }

  /// GiB per second, over the rounds.
  package var gibPerSecond: Spread {
    Spread(seconds.map { Double(byteCount) / Double(1 << 30) / max($0, 1e-9) })
  }

  /// How much faster this was than `other`, round by round; both come from the same interleaved rounds.
  package func speed(relativeTo other: Measurement) -> Spread {
    precondition(seconds.count == other.seconds.count, "only rounds that were run together are compared")
    return Spread(
      zip(seconds, other.seconds).map { own, others in
        (Double(byteCount) / max(own, 1e-9)) / (Double(other.byteCount) / max(others, 1e-9))
      })
  }
}

/// The median of some figures, and how far they lie apart.
package struct Spread: Hashable, Sendable {
  /// The figure in the middle; the mean of the two in the middle for an even number of them.
  package let median: Double
  /// The least figure.
  package let minimum: Double
  /// The greatest figure.
  package let maximum: Double

  /// The spread of at least one figure.
  package init(_ figures: [Double]) {
    precondition(!figures.isEmpty)
    let sorted = figures.sorted()
    let middle = sorted.count / 2
    median = sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
    minimum = sorted[0]
    maximum = sorted[sorted.count - 1]
  }
}

extension Spread: CustomStringConvertible {
  /// `14.62 (12.80-15.01)`.
  package var description: String { "\(Self.text(median)) (\(Self.text(minimum))-\(Self.text(maximum)))" }

  private static func text(_ figure: Double) -> String {
    let hundredths = (figure * 100).rounded()
    guard hundredths.magnitude < 1e15 else { return "\(figure)" }
    let whole = Int(hundredths)
    let fraction = abs(whole % 100)
    return "\(whole < 0 ? "-" : "")\(abs(whole) / 100).\(fraction < 10 ? "0" : "")\(fraction)"
  }
}
