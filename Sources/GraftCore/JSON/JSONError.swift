/// What is wrong with a JSON text, and at which of its bytes.
package struct JSONError: Error, Hashable {
  /// What is wrong.
  package var reason: Reason
  /// The offset of the byte at which it is wrong; the text's length when it ends too early.
  package var offset: Int

  package init(_ reason: Reason, at offset: Int) {
    self.reason = reason
    self.offset = offset
  }

  /// The ways in which a JSON text can be wrong.
  package enum Reason: Hashable, Sendable {
    /// The text ends inside the thing named.
    case unexpectedEnd(inside: String)
    /// A byte stands where something else has to.
    case unexpectedByte(UInt8, expected: String)
    /// The bytes from here are not UTF-8.
    case invalidUTF8
    /// A control character stands unescaped in a string.
    case controlCharacter(UInt8)
    /// A backslash is followed by nothing that JSON knows.
    case invalidEscape
    /// An escaped half of a surrogate pair has no other half, so that it is no character.
    case loneSurrogate
    /// An integer is neither an `Int64` nor a `UInt64`.
    case integerOverflow
    /// A number with a fraction or exponent is larger than any `Double`.
    case numberOverflow
    /// A number is longer than ``JSONReader/numberByteCountLimit``.
    case numberTooLong
    /// Arrays and objects are nested deeper than allowed.
    case nestedTooDeep(limit: Int)
    /// Something other than whitespace follows the value.
    case trailingBytes
    /// A value of another kind stands where the caller wants one of this kind.
    case wrongKind(expected: String, found: JSONKind)
    /// An object has the same key twice.
    case duplicateKey(String)
  }
}

/// The kinds of JSON value.
package enum JSONKind: String, Hashable, Sendable {
  case null, bool = "a boolean", number = "a number", string = "a string", array = "an array", object =
    "an object"
}

extension JSONError: CustomStringConvertible {
  /// The reason as a clause, then the offset: `the text ends inside a string at byte 17`.
  package var description: String { "\(reason) at byte \(offset)" }

  /// The error as users see it, for a text that begins at `base` in `file`.
  ///
  /// - Parameter subject: what the text is, for example `the safetensors header`.
  package func graftError(in subject: String, file: String?, base: Int = 0) -> GraftError {
    let code: GraftError.Code =
      switch reason {
      case .nestedTooDeep, .numberTooLong: .limitExceeded
      default: .corrupt
      }
    // The offset lies in a text that is in memory, so that neither sum overflows.
    return GraftError(
      code, "\(subject) is not valid: \(reason)", file: file,
      range: ByteRange(offset: base + offset, count: 1))
  }
}

extension JSONError.Reason: CustomStringConvertible {
  /// The reason as a clause.
  package var description: String {
    switch self {
    case .unexpectedEnd(let inside): "the text ends inside \(inside)"
    case .unexpectedByte(let byte, let expected): "\(Self.printable(byte)) stands where \(expected) has to"
    case .invalidUTF8: "the bytes are not UTF-8"
    case .controlCharacter(let byte):
      "the control character \(Self.printable(byte)) stands unescaped in a string"
    case .invalidEscape: "a backslash is followed by no escape that JSON knows"
    case .loneSurrogate: "an escaped surrogate lacks its other half"
    case .integerOverflow: "an integer does not fit 64 bits"
    case .numberOverflow: "a number is too large for a double"
    case .numberTooLong: "a number is longer than \(JSONReader.numberByteCountLimit) bytes"
    case .nestedTooDeep(let limit): "arrays and objects are nested deeper than \(limit) levels"
    case .trailingBytes: "something follows the value"
    case .wrongKind(let expected, let found): "\(found.rawValue) stands where \(expected) has to"
    case .duplicateKey(let key): "the key \"\(TreePath.printable(key))\" comes twice"
    }
  }

  private static func printable(_ byte: UInt8) -> String {
    if byte > 0x20, byte < 0x7F { return "`\(Unicode.Scalar(byte))`" }
    let digits = String(byte, radix: 16, uppercase: true)
    return "byte 0x\(digits.utf8.count < 2 ? "0" : "")\(digits)"
  }
}
