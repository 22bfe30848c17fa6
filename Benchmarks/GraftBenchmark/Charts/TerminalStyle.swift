internal import Glibc

/// What the place that text goes to can show.
package struct TerminalStyle: Hashable, Sendable {
  /// Whether it shows the blocks of Unicode; else everything is ASCII.
  package var isUnicode: Bool
  /// How many columns a line has.
  package var columnCount: Int

  package init(isUnicode: Bool, columnCount: Int) {
    self.isUnicode = isUnicode
    self.columnCount = columnCount
  }

  /// For files, pipes and whoever has no terminal.
  package static let plain = TerminalStyle(isUnicode: false, columnCount: 100)

  /// For this process's standard output.
  package static var standardOutput: TerminalStyle {
    func variable(_ name: String) -> String? {
      let text = unsafe getenv(name).map { unsafe String(cString: $0) }
      return text?.isEmpty == false ? text : nil
    }
    guard isatty(STDOUT_FILENO) == 1, variable("TERM") != "dumb" else { return plain }
    var size = winsize()
    let isKnown = unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
    return TerminalStyle(
      isUnicode: isUTF8(variable("LC_ALL") ?? variable("LC_CTYPE") ?? variable("LANG")),
      columnCount: isKnown ? Int(size.ws_col) : 80)
  }

  /// Whether a locale is one of UTF-8: `en_GB.UTF-8`, `C.utf8`.
  package static func isUTF8(_ locale: String?) -> Bool {
    guard let locale = locale?.lowercased() else { return false }
    return locale.contains("utf-8") || locale.contains("utf8")
  }
}
