import Foundation
import GraftCore
import GraftTestSupport

extension SeededGenerator {
  /// A generator whose seed `GRAFT_TEST_SEED` sets, else a new one; print ``seed`` with every failure.
  static func forTest() -> SeededGenerator {
    let chosen = ProcessInfo.processInfo.environment["GRAFT_TEST_SEED"].flatMap { UInt64($0) }
    return SeededGenerator(seed: chosen ?? .random(in: 0...UInt64.max))
  }

  /// A key made of what is likely to confuse whatever prints or parses it.
  mutating func nastyKey() -> Key {
    let pieces = [
      "/", "\\", "", "a", "b", "(root)", "(", ")", "\u{0}", "\u{1b}[31m", "\n", "\r\n", "\"", "'", "*", "**",
      "?", "{", "}",
      ",", "\u{202e}", "\u{2066}", "\u{e9}", "e\u{301}", "\u{301}", "\\e", "\\u{61}", "u{", "e", "é", "🧬",
      "\u{e000}", "0", "00",
      ".", "..", " ", "\u{85}", "\u{2028}", "[", "]", "|", "\u{7f}", "\u{feff}",
    ]
    return Key(
      (0..<Int.random(in: 0...4, using: &self)).map { _ in pieces.randomElement(using: &self) ?? "" }.joined()
    )
  }

  /// A path of nasty keys; now and then the root.
  mutating func nastyPath() -> TreePath {
    TreePath((0..<Int.random(in: 0...4, using: &self)).map { _ in nastyKey() })
  }
}

/// A leaf that is a value or a placeholder for one.
enum Slot: Hashable, Sendable, PlaceholderLeaf, CustomStringConvertible {
  case value(Int)
  case placeholder

  var isPlaceholder: Bool { self == .placeholder }
  var description: String {
    switch self {
    case .value(let value): "\(value)"
    case .placeholder: "a placeholder"
    }
  }
}

extension Tree where Leaf == Slot {
  static func value(_ value: Int) -> Tree { .leaf(.value(value)) }
  static var placeholder: Tree { .leaf(.placeholder) }
}

extension Tree where Leaf == Int {
  static func value(_ value: Int) -> Tree { .leaf(value) }
}

/// The error that `body` throws; nil when it throws none.
func thrown(_ body: () throws(GraftError) -> Void) -> GraftError? {
  do throws(GraftError) {
    try body()
    return nil
  } catch { return error }
}
