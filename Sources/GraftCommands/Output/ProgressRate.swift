/// How fast something goes, and how long it will still take, from what was done when.
package struct ProgressRate: Sendable {
  /// The rate is that of the last seconds: a cold cache at the start says little about the rest.
  static let windowSeconds = 5.0

  package init() {}

  private var samples: [(seconds: Double, byteCount: Int)] = []

  /// Notes that this many bytes were done after this many seconds.
  package mutating func add(seconds: Double, byteCount: Int) {
    // Something that starts over, as a repeated load does, starts a new rate.
    if let last = samples.last, byteCount < last.byteCount || seconds < last.seconds { samples.removeAll() }
    samples.append((seconds, byteCount))
    // One sample from before the window stays, so that there are always two.
    while samples.count > 2, samples[1].seconds < seconds - Self.windowSeconds { samples.removeFirst() }
  }

  /// Bytes for each second; nil until it can be told.
  package var bytesPerSecond: Double? {
    guard let first = samples.first, let last = samples.last, last.seconds > first.seconds else { return nil }
    return Double(last.byteCount - first.byteCount) / (last.seconds - first.seconds)
  }

  /// The seconds until `byteCount` are done; nil until it can be told.
  package func secondsLeft(until byteCount: Int) -> Double? {
    guard let rate = bytesPerSecond, rate > 0, let last = samples.last else { return nil }
    return Double(max(0, byteCount - last.byteCount)) / rate
  }
}
