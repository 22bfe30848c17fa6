// Dispatch does not say that its sources may be used from any thread, which they may.
@preconcurrency @unsafe import Dispatch
import Glibc
import Synchronization

/// Turns SIGINT and SIGTERM into the cancellation of what runs, which takes away what is half written; a second one ends
/// the process at once.
final class Interruption: Sendable {
  private struct State {
    var count = 0
    var cancel: (@Sendable () -> Void)?
  }

  private let state = Mutex(State())
  private let sources: [any DispatchSourceSignal]

  init() {
    sources = [SIGINT, SIGTERM].map { number in
      // The kernel's own action would end the process before anything is cleaned up.
      _ = signal(number, SIG_IGN)
      return DispatchSource.makeSignalSource(signal: number, queue: .global(qos: .userInteractive))
    }
    for source in sources {
      source.setEventHandler { [weak self] in self?.interrupt() }
      source.resume()
    }
  }

  /// Whether there was a signal.
  var isInterrupted: Bool { state.withLock { $0.count > 0 } }

  /// Has `cancel` called at the first signal, at once when it came already.
  func onInterrupt(_ cancel: @escaping @Sendable () -> Void) {
    let isInterrupted = state.withLock { state in
      state.cancel = cancel
      return state.count > 0
    }
    if isInterrupted { cancel() }
  }

  private func interrupt() {
    let (count, cancel) = state.withLock { state in
      state.count += 1
      return (state.count, state.cancel)
    }
    if count > 1 { _exit(Tool.Status.interrupted) }
    cancel?()
  }
}
