internal import Glibc
internal import GraftCore
internal import GraftIO

/// An executable that lies beside this one.
struct SiblingTool: Sendable {
  let path: String

  /// Nil where there is none of this name.
  init?(named name: String) {
    var bytes = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/exe", &bytes, bytes.count)
    guard count > 0, let slash = bytes[..<count].lastIndex(of: CChar(UInt8(ascii: "/"))) else { return nil }
    path = String(decoding: bytes[...slash].map { UInt8(bitPattern: $0) }, as: UTF8.self) + name
    guard unsafe access(path, X_OK) == 0 else { return nil }
  }

  /// Runs it with these arguments and nothing to write to, and awaits its end on the calling thread.
  ///
  /// - Throws: `ioFailed` when it cannot be started or does not succeed.
  func run(_ arguments: [String]) throws(GraftError) {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    for descriptor in [STDOUT_FILENO, STDERR_FILENO] {
      unsafe posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0)
    }
    var words: [UnsafeMutablePointer<CChar>?] = unsafe ([path] + arguments).map { unsafe strdup($0) } + [nil]
    defer { unsafe words.forEach { unsafe free($0) } }
    var process = pid_t()
    let result = unsafe posix_spawn(&process, path, &actions, nil, &words, environ)
    guard result == 0 else {
      throw GraftError(
        .ioFailed, "the tool cannot be started", file: path, cause: SystemCallFailure("posix_spawn", result))
    }
    var status: CInt = 0
    while unsafe waitpid(process, &status, 0) < 0 {
      guard errno == EINTR else {
        throw GraftError(
          .ioFailed, "the tool is lost", file: path, cause: SystemCallFailure("waitpid", errno))
      }
    }
    guard status == 0 else {
      throw GraftError(.ioFailed, "the tool did not succeed", file: path, found: "wait status \(status)")
    }
  }
}
