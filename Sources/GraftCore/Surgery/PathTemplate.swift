/// A new path made of what a ``PathRegex`` captured: `params/layers/\2`.
///
/// `\1` … `\9` and `\g<12>` stand for captures, `\0` for the whole path, and `{index}` for the number of a part where a step
/// makes several. All else is text of a path as paths print, escapes included.
public struct PathTemplate: Hashable, Sendable {
  /// The template as it was written.
  public let text: String

  package enum Piece: Hashable, Sendable {
    case text([UInt8])
    case capture(Int)
    case index
  }
  package let pieces: [Piece]

  /// A template from its text.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for a reference that is not finished.
  public init(_ text: String) throws(GraftError) {
    self.text = text
    pieces = [.text(Array(text.utf8))]
  }
}

extension PathTemplate: CustomStringConvertible, ExpressibleByStringLiteral {
  /// The template as it was written.
  public var description: String { text }

  /// A template that the program itself wrote; traps when it is malformed, so use ``init(_:)`` for text from outside.
  public init(stringLiteral value: String) {
    do throws(GraftError) { self = try PathTemplate(value) } catch { preconditionFailure("\(error)") }
  }
}
