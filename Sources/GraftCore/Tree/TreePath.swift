/// Where a node stands in a tree: the keys from the root down to it.
///
/// A path prints injectively, keys joined by `/`: inside a key, `\`, `/`, `*`, `?`, `{` and `}` print with a `\` before
/// them, a control character as `\u{…}`, and an empty key as `\e`. ``init(parsing:)`` reads that back, and a
/// ``PathPattern`` written that way matches that path alone.
/// So `{"a/b": …}` and `{"a": {"b": …}}` never meet, and a hostile key cannot send escape codes to a terminal.
public struct TreePath: Hashable, Sendable {
  /// The keys from the root down; a list's element has its index in decimal.
  public var keys: [Key]

  /// The path with these keys; no keys is the root.
  public init(_ keys: [Key] = []) { self.keys = keys }

  /// The path of keys that go on to change, as those down to where a walk is do: in memory of its own, as it would else be
  /// copied with room to grow.
  init(copying keys: [Key]) { self.keys = keys.map { $0 } }

  /// The root's path.
  public static let root = TreePath()

  /// The outermost key, nil for the root.
  public var first: Key? { keys.first }
  /// The innermost key, nil for the root.
  public var last: Key? { keys.last }

  /// The path of a child of this path's node.
  public func appending(_ key: Key) -> TreePath {
    // One allocation: walks over large trees make a path for every leaf.
    var keys = self.keys
    keys.append(key)
    return TreePath(keys)
  }
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
    if keys.isEmpty { return Self.rootText }
    // One text that grows: a hundred thousand paths are printed for one regular expression of Swift's.
    var text = ""
    text.reserveCapacity(keys.reduce(keys.count) { $0 + $1.string.utf8.count })
    for (position, key) in keys.enumerated() {
      if position > 0 { text += "/" }
      text += key.string.isEmpty ? "\\e" : Self.escaped(key.string, syntax: true)
    }
    return text
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
    if text.isEmpty || text == Self.rootText { return }
    var key = ""
    var scalars = text.unicodeScalars.makeIterator()
    while let scalar = scalars.next() {
      switch scalar {
      case "/":
        keys.append(Key(key))
        key = ""
      case "\\":
        switch Self.unescape(&scalars) {
        case .scalar(let decoded): key.unicodeScalars.append(decoded)
        case .nothing: break
        case .invalid: return nil
        }
      default: key.unicodeScalars.append(scalar)
      }
    }
    keys.append(Key(key))
  }

  /// How the root prints; a key of that text is escaped.
  static let rootText = "(root)"

  /// What a backslash and the characters after it stand for.
  enum Escape {
    /// This character.
    case scalar(Unicode.Scalar)
    /// No character: `\e`, which writes the empty key.
    case nothing
    /// Nothing: it is unknown or unfinished.
    case invalid
  }

  /// Reads what follows a backslash in a path or pattern.
  static func unescape(_ scalars: inout some IteratorProtocol<Unicode.Scalar>) -> Escape {
    guard let escaped = scalars.next() else { return .invalid }
    switch escaped {
    case "e": return .nothing
    case "u":
      guard scalars.next() == "{" else { return .invalid }
      var value: UInt32 = 0
      var digitCount = 0
      while let next = scalars.next() {
        if next == "}" {
          guard digitCount > 0, let decoded = Unicode.Scalar(value) else { return .invalid }
          return .scalar(decoded)
        }
        guard next.isASCII, let digit = Character(next).hexDigitValue, digitCount < 8 else { return .invalid }
        value = value << 4 | UInt32(digit)
        digitCount += 1
      }
      return .invalid
    default: return .scalar(escaped)
    }
  }

  /// Text with backslashes and control characters escaped, as error messages print a file's name.
  package static func printable(_ text: String) -> String { escaped(text, syntax: false) }

  /// The characters that have a meaning in the text of a path or pattern.
  private static func isSyntax(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "/", "*", "?", "{", "}": true
    default: false
    }
  }

  private static func escaped(_ text: String, syntax: Bool) -> String {
    // Most keys are plain, and 100,000 of them are printed by one `inspect`.
    let plain = text.utf8.allSatisfy {
      $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\\") && !(syntax && isSyntax(Unicode.Scalar($0)))
    }
    if plain { return syntax && text == rootText ? "\\(root)" : text }
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case _ where syntax && isSyntax(scalar):
        result += "\\"
        result.unicodeScalars.append(scalar)
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
