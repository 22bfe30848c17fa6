import Synchronization

/// A value that tasks and threads of a test share.
final class Locked<Value: Sendable>: Sendable {
  private let mutex: Mutex<Value>
  init(_ value: Value) { mutex = Mutex(value) }
  var value: Value { mutex.withLock { $0 } }
  /// The value until now; of several at once only one gets what was there.
  func exchange(_ new: Value) -> Value {
    mutex.withLock { value in
      defer { value = new }
      return value
    }
  }
  func change(_ body: (inout Value) -> Void) { mutex.withLock { body(&$0) } }
}
