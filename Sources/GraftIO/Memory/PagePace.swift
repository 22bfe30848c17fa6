/// Decides what pages fresh memory is made of: huge ones, unless small ones come faster here and now.
///
/// Huge pages are several times faster to get where the kernel has them at hand: 8 GiB/s a thread against 3. But in a virtual machine that
/// hands free memory back to its host, the large free blocks are those that were handed back, and each of their pages has to be
/// fetched again, while small pages come first from what was freed lately: measured there, 0.4 to 0.6 GiB/s of huge pages and 0.6 to 2.1 of
/// small ones, by two threads, and the other way round when the memory had been freed a moment before. Once a page is there, its size
/// makes no difference to a load. So both are timed, and what is slow is left.
package struct PagePace: Hashable, Sendable {
  /// The pages of some memory.
  package enum Pages: Hashable, Sendable { case huge, small }

  /// Huge pages that take no longer than this, in seconds for 2 MiB, are never left: 4 GiB/s a thread.
  private static let goodSeconds = 0.5e-3
  /// How many pieces are timed before a kind of pages is judged; the first may have to wait for others.
  private static let leastCount = 4
  /// Every so many decisions the slower kind is tried again, as what is fast changes within seconds.
  private static let trialInterval = 16

  private struct Figures: Hashable, Sendable {
    /// The time of a piece, in which later ones weigh more.
    var seconds = 0.0
    var count = 0

    mutating func add(_ seconds: Double) {
      count += 1
      self.seconds += (seconds - self.seconds) / Double(Swift.min(count, 8))
    }
  }

  private var huge = Figures()
  private var small = Figures()
  private var decisionCount = 0

  /// A pace of which nothing was timed.
  package init() {}

  /// The pages for the next stretch of memory.
  package mutating func next() -> Pages {
    guard huge.count >= Self.leastCount, huge.seconds > Self.goodSeconds else { return .huge }
    guard small.count >= Self.leastCount else { return .small }
    decisionCount += 1
    let faster = small.seconds < huge.seconds ? Pages.small : .huge
    guard decisionCount % Self.trialInterval == 0 else { return faster }
    return faster == .small ? .huge : .small
  }

  /// Takes note of how long it took to get 2 MiB.
  package mutating func note(_ pages: Pages, seconds: Double) {
    switch pages {
    case .huge: huge.add(seconds)
    case .small: small.add(seconds)
    }
  }
}
