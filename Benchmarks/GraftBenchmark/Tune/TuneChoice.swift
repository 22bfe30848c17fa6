internal import Glibc
internal import GraftCore
internal import GraftMeasure

/// When one setting is taken to be faster than another; all of it is arithmetic on the rounds' times.
package enum TuneChoice {
  /// A gain below this is not worth a setting, however sure it is.
  package static let leastGain = 0.03
  /// Candidates as near as this to the best one are taken to be as good.
  package static let nearlyBest = 0.02
  /// A candidate that was slower than this share of the base's speed in each of its first rounds is measured no further.
  package static let losingRatio = 0.85
  /// How many rounds it takes to say that.
  package static let losingRoundCount = 2
  /// The fewest rounds that say anything about what is faster.
  package static let fewestRounds = 3

  /// What the rounds say of one side's speed beside the other's.
  package enum Verdict: Hashable, Sendable {
    case faster, slower, alike
  }

  /// How many times as fast as the base it was, round by round; rounds in which only one ran are left out.
  package static func ratios(_ candidate: [Double], to base: [Double]) -> [Double] {
    zip(candidate, base).map { max($1, 1e-9) / max($0, 1e-9) }
  }

  /// Twice the standard error of the median, estimated from the median distance to it, as single rounds may be far off.
  package static func uncertainty(of ratios: [Double]) -> Double {
    guard ratios.count > 1 else { return .infinity }
    let median = Spread(ratios).median
    let deviation = 1.4826 * Spread(ratios.map { ($0 - median).magnitude }).median
    return 2 * 1.2533 * deviation / Double(ratios.count).squareRoot()
  }

  /// Whether the rounds show that one is faster: by 3 % at least, by more than the noise, and in all rounds but one in four.
  package static func verdict(_ ratios: [Double]) -> Verdict {
    guard ratios.count >= fewestRounds else { return .alike }
    let median = Spread(ratios).median
    let noise = uncertainty(of: ratios)
    let exceptions = ratios.count / 4
    if median >= 1 + leastGain, median - noise > 1, ratios.count(where: { $0 <= 1 }) <= exceptions {
      return .faster
    }
    if median <= 1 / (1 + leastGain), median + noise < 1, ratios.count(where: { $0 >= 1 }) <= exceptions {
      return .slower
    }
    return .alike
  }

  /// Whether a candidate has lost so clearly that more rounds would say nothing new.
  package static func isLosing(_ candidate: [Double], to base: [Double]) -> Bool {
    let ratios = ratios(candidate, to: base)
    return ratios.count >= losingRoundCount && ratios.allSatisfy { $0 < losingRatio }
  }

  /// Which of some candidates to go on with: the index of one of them.
  ///
  /// It is the base unless another is faster in some workload and slower in none. Of those that are as good as the best, the one
  /// nearest to the base is taken; and whatever is taken has to be faster than the default in the same way.
  ///
  /// - Parameters:
  ///   - seconds: for each workload, the seconds of each candidate, round by round.
  ///   - base: which candidate is what was chosen before.
  ///   - standard: which one is the default; nil where it is not among them.
  ///   - choosable: which of them can be chosen.
  package static func best(
    _ seconds: [[[Double]]], base: Int, standard: Int?, choosable: (Int) -> Bool = { _ in true }
  ) -> Int {
    guard let count = seconds.first?.count else { return base }
    /// The mean gain over another candidate, nil where it is not better in some way and worse in none.
    func gain(_ index: Int, over other: Int) -> Double? {
      var logarithm = 0.0
      var isFaster = false
      for workload in seconds {
        let ratios = ratios(workload[index], to: workload[other])
        if isLosing(workload[index], to: workload[other]) { return nil }
        switch verdict(ratios) {
        case .slower: return nil
        case .faster: isFaster = true
        case .alike: break
        }
        logarithm += log(Spread(ratios).median)
      }
      let mean = exp(logarithm / Double(seconds.count))
      return isFaster && mean > 1 ? mean : nil
    }
    let gains = (0..<count).map { $0 != base && choosable($0) ? gain($0, over: base) : nil }
    var chosen = base
    if let most = gains.compactMap({ $0 }).max() {
      let near = gains.indices.filter { index in gains[index].map { $0 >= most * (1 - nearlyBest) } ?? false }
      chosen = near.min { ($0 - base).magnitude < ($1 - base).magnitude } ?? base
    }
    // Ties go to the default.
    if let standard, standard != chosen, choosable(standard), gain(chosen, over: standard) == nil {
      return standard
    }
    return chosen
  }
}
