import Glibc
import GraftCore

/// Why a standard stream takes no more.
struct OutputFailure: Error, Hashable {
  /// The number of the error.
  var errorNumber: CInt

  /// Whether the reader went away, as `head` does when it has seen enough.
  var isClosedPipe: Bool { errorNumber == EPIPE }
}

/// One of the process's standard streams.
enum StandardStream: CInt {
  case output = 1
  case diagnostics = 2

  /// Writes all of it.
  func write(_ bytes: [UInt8]) throws(OutputFailure) {
    var position = 0
    while position < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { bytes in
        unsafe Glibc.write(rawValue, bytes.baseAddress.map { unsafe $0 + position }, bytes.count - position)
      }
      if count < 0 {
        if errno == EINTR { continue }
        if errno == EAGAIN {
          // Somebody made our terminal non-blocking; wait until it takes more.
          var entry = pollfd(fd: rawValue, events: Int16(POLLOUT), revents: 0)
          _ = unsafe poll(&entry, 1, 1000)
          continue
        }
        throw OutputFailure(errorNumber: errno)
      }
      position += count
    }
  }

  /// Writes a line to people, who may have stopped reading: then it is lost.
  func tell(_ line: String) { try? write(Array("\(line)\n".utf8)) }

  /// Whether a terminal shows it that can move its cursor.
  var isTerminal: Bool {
    guard isatty(rawValue) == 1 else { return false }
    return unsafe getenv("TERM").map { unsafe String(cString: $0) != "dumb" } ?? true
  }

  /// The columns of the terminal, 80 where nobody knows.
  var columnCount: Int {
    var size = winsize()
    guard unsafe ioctl(rawValue, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }
}
