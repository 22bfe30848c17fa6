internal import CGraftRing
internal import GraftCore

/// Why the kernel does not let this process use io_uring.
package struct RingRefusal: Error, Hashable, Sendable, CustomStringConvertible {
  /// The reason, as a clause.
  package let reason: String
  /// What one can do, as a clause.
  package let remedy: String
  /// The call that failed.
  package let cause: SystemCallFailure

  /// A refusal for a reason.
  package init(reason: String, remedy: String, cause: SystemCallFailure) {
    self.reason = reason
    self.remedy = remedy
    self.cause = cause
  }

  init(_ report: graft_ring_report) {
    cause = SystemCallFailure("io_uring_setup", report.error)
    switch report.refusal {
    case GRAFT_RING_NOT_IN_KERNEL:
      reason = "the kernel, or the sandbox around this process, has no io_uring"
      remedy = "use a kernel from 5.6 on, or a container profile that permits io_uring"
    case GRAFT_RING_DISABLED:
      reason = "io_uring is switched off on this machine"
      remedy = "set the sysctl kernel.io_uring_disabled to 0"
    case GRAFT_RING_FORBIDDEN:
      reason = "a security policy, such as a container's seccomp profile, forbids io_uring"
      remedy = "run with a seccomp profile that permits io_uring_setup, io_uring_enter and io_uring_register"
    case GRAFT_RING_NO_MEMORY:
      reason = "the limit on locked memory leaves no room for a ring"
      remedy = "raise the limit on locked memory (ulimit -l)"
    case GRAFT_RING_NO_DESCRIPTORS:
      reason = "too many files are open for another ring"
      remedy = "raise the limit on open files (ulimit -n)"
    case GRAFT_RING_TOO_OLD:
      reason = "the kernel's io_uring is too old to read into plain memory"
      remedy = "use a kernel from 5.6 on"
    default:
      reason = "the kernel refuses a ring"
      remedy = "look into the kernel's log"
    }
  }

  /// The reason and the call that failed.
  package var description: String { "\(reason) (\(cause))" }

  /// The error for a run that insists on io_uring.
  var error: GraftError {
    GraftError(
      .unsupported, "io_uring cannot be used: \(reason)",
      remedy: "\(remedy), or choose the engine auto or threads",
      cause: cause)
  }
}

/// Whether this process may use io_uring now, and with which features; for people who ask what their machine offers.
package struct RingAvailability: Hashable, Sendable {
  /// Why it may not; nil when it may.
  package let refusal: RingRefusal?
  /// Whether completions wait until the worker asks for them (kernel 6.1), rather than interrupting it.
  package let defersCompletions: Bool

  /// Creates a ring, looks at it and closes it again.
  package init() {
    var ring: OpaquePointer?
    var report = graft_ring_report()
    let result = unsafe graft_ring_create(8, &ring, &report)
    unsafe graft_ring_destroy(ring)
    refusal = result == 0 ? nil : RingRefusal(report)
    defersCompletions = result == 0 && report.defer_taskrun
  }
}
