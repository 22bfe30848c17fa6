internal import CGraftSystem
internal import Glibc

/// A system call that failed: its name and errno, as the cause below a `GraftError`.
package struct SystemCallFailure: Error, Hashable, Sendable, CustomStringConvertible {
  /// The name of the call, for example `open`.
  package let call: String
  /// What it left in errno.
  package let errorNumber: CInt

  /// The failure of this call with this errno.
  package init(_ call: String, _ errorNumber: CInt) {
    self.call = call
    self.errorNumber = errorNumber
  }

  /// `open: No such file or directory (ENOENT)`.
  package var description: String {
    // Both are static texts of the C library or nil.
    let text = unsafe graft_system_errno_text(errorNumber).map { unsafe String(cString: $0) }
    let name = unsafe graft_system_errno_name(errorNumber).map { unsafe String(cString: $0) }
    return "\(call): \(text ?? "unknown error") (\(name ?? "errno \(errorNumber)"))"
  }
}

/// Makes a system call that returns -1 and sets errno, again for as long as a signal interrupts it.
func systemCall<Result: FixedWidthInteger>(
  _ name: String, _ body: () -> Result
) throws(SystemCallFailure) -> Result {
  while true {
    let result = body()
    if result != -1 { return result }
    let error = errno
    if error != EINTR { throw SystemCallFailure(name, error) }
  }
}

/// Makes a call of the C core that returns a negated errno, again for as long as a signal interrupts it.
@discardableResult
func systemCall(negatedErrno name: String, _ body: () -> CInt) throws(SystemCallFailure) -> CInt {
  while true {
    let result = body()
    if result >= 0 { return result }
    if -result != EINTR { throw SystemCallFailure(name, -result) }
  }
}
