/// A new path made of what a ``PathRegex`` captured: `params/layers/\2`.
///
/// `\1` … `\9` and `\g<12>` stand for captures, `\0` for the whole match, and `{index}` for the number of a part where a step makes
/// several. All else is text of a path as paths print, escapes included.
public struct PathTemplate: Hashable, Sendable {
  /// The template as it was written.
  public let text: String

  enum Piece: Hashable, Sendable {
    case text([UInt8])
    case capture(Int)
    case index
  }
  let pieces: [Piece]

  /// A template from its text.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for a reference that is not finished.
  public init(_ text: String) throws(GraftError) {
    self.text = text
    var pieces: [Piece] = []
    var plain: [UInt8] = []
    func flush() {
      if !plain.isEmpty { pieces.append(.text(plain)) }
      plain = []
    }
    let bytes = Array(text.utf8)
    let index = Array("{index}".utf8)
    var position = 0
    while position < bytes.count {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\\"), position + 1 < bytes.count {
        let following = bytes[position + 1]
        if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(following) {
          flush()
          pieces.append(.capture(Int(following - UInt8(ascii: "0"))))
          position += 2
        } else if following == UInt8(ascii: "g") {
          let rest = bytes[(position + 2)...]
          guard rest.first == UInt8(ascii: "<"), let end = rest.firstIndex(of: UInt8(ascii: ">")),
            let number = Int(String(decoding: rest[(rest.startIndex + 1)..<end], as: UTF8.self)),
            (0...999).contains(number)
          else {
            throw GraftError(
              .invalidArgument,
              "the template '\(TreePath.printable(text))' has a reference that is not finished",
              expected: "a capture's number, as in \\g<12>")
          }
          flush()
          pieces.append(.capture(number))
          position = end + 1
        } else {
          plain += [byte, following]
          position += 2
        }
      } else if byte == UInt8(ascii: "{"), bytes[position...].starts(with: index) {
        flush()
        pieces.append(.index)
        position += index.count
      } else {
        plain.append(byte)
        position += 1
      }
    }
    flush()
    self.pieces = pieces
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

extension PathTemplate {
  /// The captures that the template refers to.
  var captures: Set<Int> {
    Set(pieces.compactMap { if case .capture(let index) = $0, index > 0 { index } else { nil } })
  }

  var hasIndex: Bool { pieces.contains(.index) }

  /// Checks that the expression has the captures that the template refers to, and that there is a part to number.
  func check(against regex: PathRegex, allowsIndex: Bool) throws(GraftError) {
    if let missing = captures.first(where: { $0 > regex.captureCount }) {
      throw GraftError(
        .invalidArgument, "the template '\(TreePath.printable(text))' refers to a capture that there is not",
        expected: "at most \\\(regex.captureCount), the captures of '\(TreePath.printable(regex.text))'",
        found: "\\\(missing)")
    }
    if hasIndex, !allowsIndex {
      throw GraftError(
        .invalidArgument,
        "the template '\(TreePath.printable(text))' has an {index}, and there is nothing to number")
    }
  }

  /// Appends what the template gives for the matcher's last match.
  func append(
    _ matcher: borrowing PathRegexMatcher, of text: Span<UInt8>, index: Int? = nil, to result: inout [UInt8]
  ) {
    for piece in pieces {
      switch piece {
      case .text(let bytes): result += bytes
      case .capture(let capture): if let range = matcher.capture(capture) { text.append(range, to: &result) }
      case .index: if let index { result += Array(String(index).utf8) }
      }
    }
  }
}
