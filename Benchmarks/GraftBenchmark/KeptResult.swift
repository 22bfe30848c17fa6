internal import Graft
internal import Synchronization

/// Holds the result of a load until the next one is prepared, as giving memory back is not part of a load.
final class KeptResult: Sendable {
  private let loaded = Mutex<Loaded?>(nil)

  func keep(_ result: Loaded) { loaded.withLock { $0 = result } }
  func drop() { loaded.withLock { $0 = nil } }
  var report: LoadReport? { loaded.withLock { $0?.report } }
}

/// Holds how many bytes the last load of a contestant read.
final class KeptReading: Sendable {
  private let bytesRead = Mutex(0)

  func keep(_ byteCount: Int) { bytesRead.withLock { $0 = byteCount } }
  var byteCount: Int { bytesRead.withLock { $0 } }
}
