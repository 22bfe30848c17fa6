internal import Glibc

/// Owns one file descriptor of the system, and closes it at the end of its life.
///
/// It holds nothing else, so that ``close()`` can discard it; what also has a path composes it.
package struct OwnedDescriptor: ~Copyable, Sendable {
  /// The descriptor, for system calls; it is only valid while this value lives.
  package let rawValue: CInt

  /// Takes over a descriptor that a system call just returned.
  package init(adopting rawValue: CInt) {
    precondition(rawValue >= 0, "a failed call's result is no descriptor")
    self.rawValue = rawValue
  }

  deinit {
    // Nobody is left to tell of a failure; who must know calls close().
    _ = Glibc.close(rawValue)
  }

  /// Closes the descriptor and says if that failed, which network file systems use to report a lost write.
  package consuming func close() throws(SystemCallFailure) {
    let descriptor = rawValue
    discard self
    // Linux frees the descriptor even when it returns EINTR, so a second attempt could close a stranger's.
    if Glibc.close(descriptor) != 0, errno != EINTR { throw SystemCallFailure("close", errno) }
  }
}
