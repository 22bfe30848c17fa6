/// Where a node stands in a tree: the keys from the root down to it.
///
/// A path prints injectively, keys joined by `/`: inside a key, `\` prints as `\\`, `/` as `\/`, a control character as
/// `\u{…}`, and an empty key as `\e`. ``init(parsing:)`` reads that back, and a pattern written that way matches it.
/// So `{"a/b": …}` and `{"a": {"b": …}}` never meet, and a hostile key cannot send escape codes to a terminal.
public struct TreePath: Hashable, Sendable {
  /// The keys from the root down; a list's element has its index in decimal.
  public var keys: [Key]

  /// The path with these keys; no keys is the root.
  public init(_ keys: [Key] = []) { self.keys = keys }

  /// The root's path.
  public static let root = TreePath()

  /// The outermost key, nil for the root.
  public var first: Key? { keys.first }
  /// The innermost key, nil for the root.
  public var last: Key? { keys.last }

  /// The path of a child of this path's node.
  public func appending(_ key: Key) -> TreePath { TreePath(keys + [key]) }
}

extension TreePath: Comparable {
  /// Key by key, each by its UTF-8 bytes; a node comes before its children.
  public static func < (a: TreePath, b: TreePath) -> Bool {
    a.keys.lexicographicallyPrecedes(b.keys)
  }
}

extension TreePath: CustomStringConvertible, ExpressibleByStringLiteral {
  /// The keys joined by `/`, escaped so that no two paths print alike; `(root)` for the root.
  public var description: String {
    if keys.isEmpty { return "(root)" }
    return keys.map { $0.string.isEmpty ? "\\e" : Self.escaped($0.string, slash: true) }.joined(separator: "/")
  }

  /// A path from its printed form; traps when it cannot be parsed, so use ``init(parsing:)`` for text from outside.
  public init(stringLiteral value: String) {
    guard let path = TreePath(parsing: value) else { preconditionFailure("\(value) is no path") }
    self = path
  }

  /// A path from the form that ``description`` prints; nil when an escape is unknown or unfinished.
  ///
  /// A backslash before any other character than `e` and `u` gives that character. `""` and `(root)` are the root.
  public init?(parsing text: String) {
    keys = []
    if text.isEmpty || text == "(root)" { return }
    var key = ""
    var scalars = text.unicodeScalars.makeIterator()
    while let scalar = scalars.next() {
      switch scalar {
      case "/":
        keys.append(Key(key))
        key = ""
      case "\\":
        guard let escaped = scalars.next() else { return nil }
        switch escaped {
        case "e": break
        case "u":
          guard scalars.next() == "{" else { return nil }
          var digits = ""
          while let digit = scalars.next(), digit != "}" {
            guard digits.utf8.count < 8 else { return nil }
            digits.unicodeScalars.append(digit)
          }
          guard let value = UInt32(digits, radix: 16), let decoded = Unicode.Scalar(value) else { return nil }
          key.unicodeScalars.append(decoded)
        default: key.unicodeScalars.append(escaped)
        }
      default: key.unicodeScalars.append(scalar)
      }
    }
    keys.append(Key(key))
  }

  /// Text with backslashes and control characters escaped, as error messages print a file's name.
  package static func printable(_ text: String) -> String { escaped(text, slash: false) }

  private static func escaped(_ text: String, slash: Bool) -> String {
    // Most keys are plain, and 100,000 of them are printed by one `inspect`.
    let plain = text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\\") && !(slash && $0 == UInt8(ascii: "/")) }
    if plain { return slash && text == "(root)" ? "\\(root)" : text }
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "/" where slash: result += "\\/"
      default:
        switch scalar.properties.generalCategory {
        // Format characters include the bidirectional overrides, which can make one path look like another.
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse:
          result += "\\u{\(String(scalar.value, radix: 16))}"
        default: result.unicodeScalars.append(scalar)
        }
      }
    }
    return result
  }
}
