internal import Glibc
package import GraftCore

/// Starting threads of GraftIO's own, which are not of Swift's cooperative pool and so may block.
package enum Thread {
  /// Starts a detached thread that runs `body` and ends.
  ///
  /// All signals are blocked on it, so that a program's handlers run on the program's own threads.
  ///
  /// - Throws: `insufficientMemory` when the system has no room for another thread.
  package static func start(_ body: @escaping @Sendable () -> Void) throws(GraftError) {
    var every = sigset_t()
    var before = sigset_t()
    unsafe sigfillset(&every)
    unsafe pthread_sigmask(SIG_SETMASK, &every, &before)
    defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }

    var thread = pthread_t()
    let box = unsafe Unmanaged.passRetained(Body(body))
    let result = unsafe pthread_create(
      &thread, nil,
      { argument in
        // The retain of passRetained is taken over here, exactly once; a null argument was never passed.
        if let argument = unsafe argument {
          unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
        }
        return nil
      }, box.toOpaque())
    guard result == 0 else {
      unsafe box.release()
      throw GraftError(
        .insufficientMemory, "the system refuses another thread",
        remedy:
          "raise the limits on processes and memory (ulimit -u, the container's pids limit), or use fewer threads",
        cause: SystemCallFailure("pthread_create", result))
    }
    pthread_detach(thread)
  }

  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }
}
