internal import GraftMeasure

/// Whether the machine was quiet enough for figures to mean something.
package struct TuneNoise: Hashable, Sendable {
  /// The share of the processors that others may have had.
  ///
  /// On the two processors of docs/measurements.md the same load came to 0.76 to 0.99 of its ceiling from run to run, and all
  /// below 0.90 were of runs in which others had 73 % and more.
  package static let othersShareLimit = 0.25
  /// How far the middle half of the ceiling's figures may lie apart, as a share of their median.
  ///
  /// A quiet machine's cold ceiling spreads by a tenth, its warm one by less.
  package static let spreadLimit = 0.30

  /// The share that others had, over all measurements.
  package var othersShare: Double
  /// The middle half of the raw speeds of each kind, as a share of their median.
  package var spreads: [String: Double]

  /// The noise of these entries.
  ///
  /// - Parameter ceilings: the seconds of every run of a raw read, by what was read, over the whole of the sweep.
  package init(_ entries: [TuneJournal.Entry], ceilings: [String: [Double]]) {
    let seconds = entries.reduce(0) { $0 + $1.seconds }
    othersShare = seconds > 0 ? entries.reduce(0) { $0 + $1.seconds * $1.othersShare } / seconds : 0
    spreads = ceilings.compactMapValues { Self.middleHalf($0) }
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
        "the raw speed of \(name) reads itself changed: the middle half of its figures spans \(Figure.text(100 * spread, digits: 0)) % of their median (at most \(Figure.text(100 * Self.spreadLimit, digits: 0)) %)"
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
