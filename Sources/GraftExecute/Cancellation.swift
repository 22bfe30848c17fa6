package import GraftCore
internal import Synchronization

/// Whether a task was cancelled, as threads can see it.
package final class Cancellation: Sendable {
  private let flag = Atomic(false)

  /// A task that was not cancelled yet.
  package init() {}

  /// Whether the task was cancelled.
  package var isCancelled: Bool { flag.load(ordering: .relaxed) }

  /// Tells the threads.
  func cancel() { flag.store(true, ordering: .relaxed) }

  /// - Throws: ``GraftError`` of code `cancelled` when the task was cancelled.
  func check() throws(GraftError) {
    if isCancelled { throw GraftError(.cancelled, "the load was cancelled") }
  }
}

/// Runs `body`, and tells `cancellation` when the task is cancelled meanwhile.
package func withCancellation<Value: Sendable>(
  _ cancellation: Cancellation, _ body: () async throws(GraftError) -> Value
) async throws(GraftError) -> Value {
  let result: Result<Value, GraftError> = await withTaskCancellationHandler {
    do throws(GraftError) { return .success(try await body()) } catch { return .failure(error) }
  } onCancel: {
    cancellation.cancel()
  }
  return try result.get()
}
