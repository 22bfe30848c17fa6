package import GraftMeasure

/// Whether the machine was quiet enough for figures to mean something.
package struct TuneNoise: Hashable, Sendable {
  /// The share of the processors that others may have had.
  ///
  /// On the two processors of docs/measurements.md the same load came to 0.76 to 0.99 of its ceiling from run to run, and all
  /// below 0.90 were of runs in which others had 73 % and more.
  package static let othersShareLimit = 0.25
  /// How far the middle half of the ratios of a load and of the raw read beside it may lie apart, as a share of their median.
  ///
  /// Both had the same machine in the same moment, so that on a quiet one their ratio hardly changes. How fast the raw reads themselves are
  /// says less: a processor that changes its clock changes both, and candidates are compared round by round, too.
  package static let spreadLimit = 0.30

  /// The share that others had, over all measurements.
  package var othersShare: Double
  /// The middle half of the ratios of each kind of load, as a share of their median.
  package var spreads: [String: Double]

  /// The noise of these entries.
  ///
  /// - Parameter ratios: of every round the time of the load with the settings so far by that of the raw read, as a share of the
  ///   measurement's median; by what was loaded, over the whole of the sweep.
  package init(_ entries: [TuneJournal.Entry], ratios: [String: [Double]]) {
    let seconds = entries.reduce(0) { $0 + $1.seconds }
    othersShare = seconds > 0 ? entries.reduce(0) { $0 + $1.seconds * $1.othersShare } / seconds : 0
    spreads = ratios.compactMapValues { Self.middleHalf($0) }
  }

  /// How a load and the raw read beside it compared in each round, as shares of their usual ratio.
  package static func ratios(of load: Measurement, to ceiling: Measurement) -> [Double] {
    let ratios = zip(load.seconds, ceiling.seconds).map { $0 / max($1, 1e-9) }
    let usual = max(Spread(ratios).median, 1e-9)
    return ratios.map { $0 / usual }
  }

  /// What was too noisy, a clause each; empty for a quiet machine.
  package var complaints: [String] {
    var complaints: [String] = []
    if othersShare > Self.othersShareLimit {
      complaints.append(
        "others had \(Figure.text(100 * othersShare, digits: 0)) % of the processors (at most \(Figure.text(100 * Self.othersShareLimit, digits: 0)) % would do)"
      )
    }
    for (name, spread) in spreads.sorted(by: { $0.key < $1.key }) where spread > Self.spreadLimit {
      complaints.append(
        "\(name) loads and the raw reads beside them were not alike from round to round: the middle half of their ratios spans \(Figure.text(100 * spread, digits: 0)) % (at most \(Figure.text(100 * Self.spreadLimit, digits: 0)) % would do)"
      )
    }
    return complaints
  }

  /// How far the middle half of some figures lies apart, as a share of their median; nil for too few.
  static func middleHalf(_ figures: [Double]) -> Double? {
    guard figures.count >= 4 else { return nil }
    let sorted = figures.sorted()
    let median = Spread(sorted).median
    guard median > 0 else { return nil }
    return (sorted[(3 * sorted.count - 1) / 4] - sorted[sorted.count / 4]) / median
  }
}
