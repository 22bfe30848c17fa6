internal import Synchronization

/// Gives out numbers, each once.
final class Turn: Sendable {
  private let next = Atomic(0)
  func take() -> Int { next.add(1, ordering: .relaxed).oldValue }
}
