// Dispatch does not say that its sources may be used from any thread, which they may.
@preconcurrency @unsafe internal import Dispatch
internal import Glibc
package import GraftCore

/// Turns the first SIGINT or SIGTERM into the cancellation of a benchmark, which then ends in order; a second one ends the process.
package enum Interrupts {
  /// How shells number an interrupted command.
  package static let status: Int32 = 130

  /// Runs a benchmark that signals cancel.
  package static func cancel(
    _ body: @escaping @Sendable () async throws(GraftError) -> BenchmarkReport
  ) async throws(GraftError) -> BenchmarkReport {
    let task = Task { () async -> Result<BenchmarkReport, GraftError> in
      do throws(GraftError) { return .success(try await body()) } catch { return .failure(error) }
    }
    let sources = [SIGINT, SIGTERM].map { number in
      // The kernel's own action would end the process before it says how to go on.
      _ = signal(number, SIG_IGN)
      return DispatchSource.makeSignalSource(signal: number, queue: .global(qos: .userInteractive))
    }
    for source in sources {
      source.setEventHandler { @Sendable in
        if task.isCancelled { _exit(status) }
        task.cancel()
      }
      source.resume()
    }
    defer { for source in sources { source.cancel() } }
    return try await task.value.get()
  }
}
