internal import Glibc

/// Owns a counting semaphore of the system, for threads that block.
///
/// The pointer is private and every operation on it is safe at any time, on any thread: sem_t is made for that.
@safe
final class Semaphore: @unchecked Sendable {  // for the pointer, which never changes
  private let storage: UnsafeMutablePointer<sem_t>

  init(value: UInt32 = 0) {
    unsafe storage = .allocate(capacity: 1)
    // The storage is fresh; it fails only for values that are absurd.
    let result = unsafe sem_init(storage, 0, value)
    precondition(result == 0, "sem_init")
  }

  deinit {
    // Nobody refers to it any more, so nobody waits.
    unsafe sem_destroy(storage)
    unsafe storage.deallocate()
  }

  func signal() { _ = unsafe sem_post(storage) }

  func wait() {
    while unsafe sem_wait(storage) != 0 {}  // only a signal interrupts it
  }
}
