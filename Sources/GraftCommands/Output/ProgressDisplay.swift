// Dispatch does not say that its sources may be used from any thread, which they may.
@preconcurrency @unsafe import Dispatch
import GraftCore
import Synchronization

/// Shows how far something has come on standard error: a bar that is redrawn on a terminal, a line every few seconds elsewhere.
///
/// ``update(_:)`` writes nothing itself, as it is called by threads that read. A timer on a queue of its own draws them, so
/// that a terminal which is held up holds up nothing else.
final class ProgressDisplay: Sendable {
  /// How often a bar is redrawn.
  static let barInterval = DispatchTimeInterval.milliseconds(100)
  /// How often a line is written where there is no terminal.
  static let lineInterval = DispatchTimeInterval.seconds(5)

  private struct State {
    var title: String
    var progress: Progress?
    var rate = ProgressRate()
    var isDrawn = false
  }

  private let state: Mutex<State>
  private let isTerminal = StandardStream.diagnostics.isTerminal
  private let queue = DispatchQueue(label: "graft.progress")
  private let timer: any DispatchSourceTimer
  private let start = ContinuousClock.now

  init(_ title: String) {
    state = Mutex(State(title: title))
    timer = DispatchSource.makeTimerSource(queue: queue)
    timer.schedule(
      deadline: .now() + (isTerminal ? .milliseconds(0) : Self.lineInterval),
      repeating: isTerminal ? Self.barInterval : Self.lineInterval)
    timer.setEventHandler { [weak self] in self?.draw() }
    timer.resume()
  }

  deinit { timer.cancel() }

  /// Notes how far it has come.
  ///
  /// The first figures under a title are shown at once, so that what is over before the timer comes round was seen to begin.
  func update(_ progress: Progress) {
    let isFirst = state.withLock { state in
      defer { state.progress = progress }
      return state.progress == nil
    }
    guard isFirst, isTerminal, let line = nextLine() else { return }
    queue.async { Self.show(line) }
  }

  /// Says what is being done now.
  func retitle(_ title: String) {
    state.withLock {
      $0.title = title
      $0.progress = nil
      $0.rate = ProgressRate()
    }
  }

  /// Takes the bar away; returns when nothing more will be drawn.
  func finish() {
    timer.cancel()
    queue.sync {
      let wasDrawn = state.withLock { state in
        state.progress = nil
        defer { state.isDrawn = false }
        return state.isDrawn
      }
      if wasDrawn { try? StandardStream.diagnostics.write(Array("\r\u{1b}[K".utf8)) }
    }
  }

  private func draw() {
    if let line = nextLine() { Self.show(line) }
  }

  private static func show(_ line: String) {
    try? StandardStream.diagnostics.write(Array(line.utf8))
  }

  /// What is to be written now; nil where nothing is under way.
  private func nextLine() -> String? {
    let seconds = (ContinuousClock.now - start) / .seconds(1)
    return state.withLock { state in
      guard let progress = state.progress else { return nil }
      state.rate.add(seconds: seconds, byteCount: progress.completedByteCount)
      guard isTerminal else { return ProgressLine.plain(state.title, progress, state.rate) + "\n" }
      state.isDrawn = true
      let columns = StandardStream.diagnostics.columnCount
      return "\r" + ProgressLine.bar(state.title, progress, state.rate, columnCount: columns) + "\u{1b}[K"
    }
  }
}
