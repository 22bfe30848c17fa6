/// Reads a JSON text value by value, as the caller asks for it: a pull parser that allocates nothing by itself.
///
/// The caller says what it expects (``beginObject()``, ``readInteger()`` …) and gets it, or an error with the byte offset.
/// Every key is handed out in the order of the text, so that a key that comes twice is seen. The whole text is checked
/// strictly (RFC 8259, UTF-8 without repair, no half surrogate pairs), also where it is skipped.
///
/// ```swift
/// var json = JSONReader(bytes.span)
/// try json.beginObject()
/// while let key = try json.nextKey() {
///   if json.is(key, "count") { count = try json.readInteger() } else { try json.skipValue() }
/// }
/// try json.end()
/// ```
///
/// Nothing here recurses, and nesting is limited, so that `[[[[…` costs a byte of memory for each level up to the limit.
package struct JSONReader: ~Escapable {
  /// The longest number, in bytes; the longest that a double's exact value needs is 1,076.
  package static let numberByteCountLimit = 2_048

  private let bytes: Span<UInt8>
  private let nestingLimit: Int
  private let acceptsNonFinite: Bool

  /// The offset of the next byte to be looked at.
  package private(set) var offset = 0
  /// The arrays and objects that are open, outermost first.
  private var containers: [Container] = []
  /// Whether the innermost container has been opened and nothing in it read yet.
  private var isAtFirst = false

  private enum Container: UInt8 { case array, object }

  /// A reader at the start of a text.
  ///
  /// - Parameters:
  ///   - bytes: the text, in UTF-8.
  ///   - nestingLimit: how deep arrays and objects may be nested, usually ``Limits/nestingDepth``.
  ///   - acceptsNonFinite: whether `NaN`, `Infinity` and `-Infinity` are numbers, as Python's json module writes them.
  @_lifetime(copy bytes)
  package init(
    _ bytes: Span<UInt8>, nestingLimit: Int = Limits().nestingDepth, acceptsNonFinite: Bool = false
  ) {
    self.bytes = bytes
    self.nestingLimit = nestingLimit
    self.acceptsNonFinite = acceptsNonFinite
  }

  /// A string in the text: where its content is, not yet decoded.
  ///
  /// Comparing a key with a few known ones and reading a string of which only the extent matters need no `String`.
  package struct Text: Hashable, Sendable {
    /// The bytes between the quotes.
    package let range: Range<Int>
    /// Whether the bytes have escapes, so that they are not yet the string's UTF-8.
    package let hasEscapes: Bool
  }
}

// MARK: - Structure

extension JSONReader {
  /// What kind of value comes next; nothing is consumed.
  @_lifetime(self: copy self)
  package mutating func peekKind() throws(JSONError) -> JSONKind {
    skipWhitespace()
    guard offset < bytes.count else { throw ended(inside: "a value") }
    switch bytes[offset] {
    case UInt8(ascii: "{"): return .object
    case UInt8(ascii: "["): return .array
    case UInt8(ascii: "\""): return .string
    case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
    case UInt8(ascii: "n"): return .null
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
    case UInt8(ascii: "N") where acceptsNonFinite, UInt8(ascii: "I") where acceptsNonFinite: return .number
    case let byte: throw JSONError(.unexpectedByte(byte, expected: "a value"), at: offset)
    }
  }

  /// Enters an object; ``nextKey()`` gives its keys.
  @_lifetime(self: copy self)
  package mutating func beginObject() throws(JSONError) {
    try begin(.object, UInt8(ascii: "{"), kind: .object)
  }

  /// Enters an array; ``nextElement()`` goes from element to element.
  @_lifetime(self: copy self)
  package mutating func beginArray() throws(JSONError) {
    try begin(.array, UInt8(ascii: "["), kind: .array)
  }

  /// The next key of the object that was entered last, nil at its end; the key's value has to be read or skipped next.
  @_lifetime(self: copy self)
  package mutating func nextKey() throws(JSONError) -> Text? {
    precondition(containers.last == .object, "no object is open")
    guard try advance(closing: UInt8(ascii: "}"), inside: "an object") else { return nil }
    guard offset < bytes.count else { throw ended(inside: "an object") }
    guard bytes[offset] == UInt8(ascii: "\"") else {
      throw JSONError(.unexpectedByte(bytes[offset], expected: "a key"), at: offset)
    }
    let key = try scanString()
    skipWhitespace()
    guard offset < bytes.count else { throw ended(inside: "an object") }
    guard bytes[offset] == UInt8(ascii: ":") else {
      throw JSONError(.unexpectedByte(bytes[offset], expected: "a colon"), at: offset)
    }
    offset += 1
    return key
  }

  /// Whether the array that was entered last has a further element, which has to be read or skipped next.
  @_lifetime(self: copy self)
  package mutating func nextElement() throws(JSONError) -> Bool {
    precondition(containers.last == .array, "no array is open")
    return try advance(closing: UInt8(ascii: "]"), inside: "an array")
  }

  /// Checks and skips the next value, however deep it is.
  @_lifetime(self: copy self)
  package mutating func skipValue() throws(JSONError) {
    let depth = containers.count
    repeat {
      switch try peekKind() {
      case .object: try beginObject()
      case .array: try beginArray()
      case .string: _ = try scanString()
      case .number: _ = try readNumber()
      case .bool: _ = try readBool()
      case .null: try readNull()
      }
      // Go to the next value inside what this one opened, leaving the containers that end here.
      while let container = containers.last, containers.count > depth {
        let hasMore = container == .object ? try nextKey() != nil : try nextElement()
        if hasMore { break }
      }
    } while containers.count > depth
  }

  /// Checks that nothing but whitespace follows.
  @_lifetime(self: copy self)
  package mutating func end() throws(JSONError) {
    precondition(containers.isEmpty, "an array or object is still open")
    skipWhitespace()
    guard offset == bytes.count else { throw JSONError(.trailingBytes, at: offset) }
  }

  @_lifetime(self: copy self)
  private mutating func begin(_ container: Container, _ opening: UInt8, kind: JSONKind) throws(JSONError) {
    skipWhitespace()
    guard offset < bytes.count, bytes[offset] == opening else { throw wrongKind(kind) }
    guard containers.count < nestingLimit else {
      throw JSONError(.nestedTooDeep(limit: nestingLimit), at: offset)
    }
    offset += 1
    containers.append(container)
    isAtFirst = true
  }

  /// Goes past the comma to the next member, or past the closing bracket: whether there is a member.
  @_lifetime(self: copy self)
  private mutating func advance(closing: UInt8, inside container: String) throws(JSONError) -> Bool {
    skipWhitespace()
    guard offset < bytes.count else { throw ended(inside: container) }
    let byte = bytes[offset]
    if byte == closing {
      offset += 1
      containers.removeLast()
      isAtFirst = false
      return false
    }
    if isAtFirst {
      isAtFirst = false
      return true
    }
    guard byte == UInt8(ascii: ",") else {
      throw JSONError(.unexpectedByte(byte, expected: "a comma or the end of \(container)"), at: offset)
    }
    offset += 1
    skipWhitespace()
    return true
  }
}

// MARK: - Values

extension JSONReader {
  /// The next value, a string, not yet decoded.
  @_lifetime(self: copy self)
  package mutating func readText() throws(JSONError) -> Text {
    skipWhitespace()
    guard offset < bytes.count, bytes[offset] == UInt8(ascii: "\"") else { throw wrongKind(.string) }
    return try scanString()
  }

  /// The next value, a string.
  @_lifetime(self: copy self)
  package mutating func readString() throws(JSONError) -> String {
    string(try readText())
  }

  /// The next value, `true` or `false`.
  @_lifetime(self: copy self)
  package mutating func readBool() throws(JSONError) -> Bool {
    guard try peekKind() == .bool else { throw wrongKind(.bool) }
    let value = bytes[offset] == UInt8(ascii: "t")
    try readLiteral(value ? "true" : "false")
    return value
  }

  /// The next value, `null`.
  @_lifetime(self: copy self)
  package mutating func readNull() throws(JSONError) {
    guard try peekKind() == .null else { throw wrongKind(.null) }
    try readLiteral("null")
  }

  /// The next value, an integer that `Int` holds.
  ///
  /// - Throws: `integerOverflow` when it is outside of `Int`, `wrongKind` when it has a fraction or exponent.
  @_lifetime(self: copy self)
  package mutating func readInteger() throws(JSONError) -> Int {
    skipWhitespace()
    let start = offset
    // Almost all numbers of a header are short and plain.
    var value = 0
    while offset < bytes.count, offset - start < 18 {
      let digit = bytes[offset] &- UInt8(ascii: "0")
      guard digit <= 9 else { break }
      value = value &* 10 &+ Int(digit)
      offset += 1
    }
    let count = offset - start
    let isPlain =
      count > 0 && count < 18 && (count == 1 || bytes[start] != UInt8(ascii: "0")) && offset < bytes.count
      && (bytes[offset] == UInt8(ascii: ",") || bytes[offset] == UInt8(ascii: "]") || bytes[offset] <= 0x20)
    if isPlain { return value }
    offset = start
    switch try readNumber() {
    case .integer(let integer): return integer
    case .unsigned: throw JSONError(.integerOverflow, at: start)
    case .double: throw JSONError(.wrongKind(expected: "an integer", found: .number), at: start)
    }
  }

  /// The next value, a number.
  @_lifetime(self: copy self)
  package mutating func readNumber() throws(JSONError) -> JSONNumber {
    guard try peekKind() == .number else { throw wrongKind(.number) }
    let start = offset
    let isNegative = bytes[offset] == UInt8(ascii: "-")
    if isNegative { offset += 1 }
    if acceptsNonFinite, offset < bytes.count {
      if bytes[offset] == UInt8(ascii: "I") {
        try readLiteral("Infinity")
        return .double(isNegative ? -.infinity : .infinity)
      }
      if bytes[offset] == UInt8(ascii: "N"), !isNegative {
        try readLiteral("NaN")
        return .double(.nan)
      }
    }

    let digits = offset
    var magnitude: UInt64 = 0
    var overflowed = false
    while let digit = nextDigit() {
      let (product, productOverflow) = magnitude.multipliedReportingOverflow(by: 10)
      let (sum, sumOverflow) = product.addingReportingOverflow(UInt64(digit))
      overflowed = overflowed || productOverflow || sumOverflow
      magnitude = sum
    }
    if offset == digits { throw unexpected("a digit") }
    if offset - digits > 1, bytes[digits] == UInt8(ascii: "0") {
      throw JSONError(
        .unexpectedByte(bytes[digits + 1], expected: "no digit after a leading zero"), at: digits + 1)
    }

    var isInteger = true
    if offset < bytes.count, bytes[offset] == UInt8(ascii: ".") {
      isInteger = false
      offset += 1
      try skipDigits()
    }
    if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
      isInteger = false
      offset += 1
      if offset < bytes.count, bytes[offset] == UInt8(ascii: "+") || bytes[offset] == UInt8(ascii: "-") {
        offset += 1
      }
      try skipDigits()
    }
    guard offset - start <= Self.numberByteCountLimit else { throw JSONError(.numberTooLong, at: start) }

    guard isInteger else {
      // All bytes of the range are ASCII, so that this is the number's text.
      guard let value = Double(decoded(start..<offset)), value.isFinite else {
        throw JSONError(.numberOverflow, at: start)
      }
      return .double(value)
    }
    if overflowed { throw JSONError(.integerOverflow, at: start) }
    if isNegative {
      // As an integer it would lose its sign.
      if magnitude == 0 { return .double(-0.0) }
      guard magnitude <= Int.min.magnitude else { throw JSONError(.integerOverflow, at: start) }
      return .integer(Int(truncatingIfNeeded: 0 &- magnitude))
    }
    return magnitude <= UInt64(Int.max) ? .integer(Int(magnitude)) : .unsigned(magnitude)
  }

  @_lifetime(self: copy self)
  private mutating func nextDigit() -> UInt8? {
    guard offset < bytes.count else { return nil }
    let digit = bytes[offset] &- UInt8(ascii: "0")
    guard digit <= 9 else { return nil }
    offset += 1
    return digit
  }

  @_lifetime(self: copy self)
  private mutating func skipDigits() throws(JSONError) {
    guard nextDigit() != nil else { throw unexpected("a digit") }
    while nextDigit() != nil {}
  }

  @_lifetime(self: copy self)
  private mutating func readLiteral(_ literal: String) throws(JSONError) {
    for byte in literal.utf8 {
      guard offset < bytes.count else { throw ended(inside: literal) }
      guard bytes[offset] == byte else {
        throw JSONError(.unexpectedByte(bytes[offset], expected: literal), at: offset)
      }
      offset += 1
    }
  }

  @_lifetime(self: copy self)
  private mutating func skipWhitespace() {
    while offset < bytes.count {
      switch bytes[offset] {
      case 0x20, 0x0A, 0x0D, 0x09: offset += 1
      default: return
      }
    }
  }
}

// MARK: - Strings

extension JSONReader {
  /// Whether a key or string is this text; `text` is ASCII.
  package func `is`(_ text: Text, _ literal: StaticString) -> Bool {
    if text.hasEscapes { return string(text).utf8.elementsEqual("\(literal)".utf8) }
    guard text.range.count == literal.utf8CodeUnitCount else { return false }
    // The literal's bytes live as long as the program and are as many as just compared.
    let wanted = unsafe UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount)
    for index in 0..<wanted.count where unsafe wanted[index] != bytes[text.range.lowerBound + index] {
      return false
    }
    return true
  }

  /// A key or string, decoded.
  package func string(_ text: Text) -> String {
    text.hasEscapes ? String(decoding: unescaped(text), as: UTF8.self) : decoded(text.range)
  }

  private func decoded(_ range: Range<Int>) -> String {
    let content = bytes.extracting(range)
    // The buffer is only read, inside the closure; the bytes have been checked to be UTF-8, so that nothing is repaired.
    return unsafe content.withUnsafeBufferPointer { unsafe String(decoding: $0, as: UTF8.self) }
  }

  /// The UTF-8 of a text with escapes, all of which ``scanString()`` has checked.
  private func unescaped(_ text: Text) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.range.count)
    var index = text.range.lowerBound
    while index < text.range.upperBound {
      let byte = bytes[index]
      guard byte == UInt8(ascii: "\\") else {
        result.append(byte)
        index += 1
        continue
      }
      let escape = bytes[index + 1]
      index += 2
      switch escape {
      case UInt8(ascii: "b"): result.append(0x08)
      case UInt8(ascii: "f"): result.append(0x0C)
      case UInt8(ascii: "n"): result.append(0x0A)
      case UInt8(ascii: "r"): result.append(0x0D)
      case UInt8(ascii: "t"): result.append(0x09)
      case UInt8(ascii: "u"):
        var value = UInt32(hexadecimal(at: index) ?? 0)
        index += 4
        if value & 0xFC00 == 0xD800 {
          let low = UInt32(hexadecimal(at: index + 2) ?? 0)
          index += 6
          value = 0x1_0000 + (value & 0x3FF) << 10 + low & 0x3FF
        }
        result.append(contentsOf: Character(Unicode.Scalar(value) ?? "\u{FFFD}").utf8)
      default: result.append(escape)
      }
    }
    return result
  }

  /// Checks the string that begins here and goes past its closing quote.
  @_lifetime(self: copy self)
  private mutating func scanString() throws(JSONError) -> Text {
    offset += 1  // the opening quote
    let start = offset
    var hasEscapes = false
    while true {
      skipPlainText()
      guard offset < bytes.count else { throw ended(inside: "a string") }
      switch bytes[offset] {
      case UInt8(ascii: "\""):
        let text = Text(range: start..<offset, hasEscapes: hasEscapes)
        offset += 1
        return text
      case UInt8(ascii: "\\"):
        hasEscapes = true
        try scanEscape()
      case let byte where byte < 0x20: throw JSONError(.controlCharacter(byte), at: offset)
      case let byte where byte >= 0x80:
        guard let length = utf8SequenceLength() else { throw JSONError(.invalidUTF8, at: offset) }
        offset += length
      default: offset += 1
      }
    }
  }

  /// Goes to the next byte that is a quote, a backslash, a control character or not ASCII, eight bytes at a time;
  /// stops up to seven bytes before the end of the text, where the caller goes on byte by byte.
  @_lifetime(self: copy self)
  private mutating func skipPlainText() {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let highs: UInt64 = 0x8080_8080_8080_8080
    // A view of the same bytes; `bytes` is marked unsafe only because padding could be read, which bytes have none of.
    let raw = unsafe bytes.bytes
    while raw.byteCount - offset >= 8 {
      // Eight bytes from `offset` on are inside the span.
      let word = UInt64(
        littleEndian: unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self))
      let quotes = word ^ (ones &* 0x22)
      let backslashes = word ^ (ones &* 0x5C)
      // A byte's high bit is set where the byte is zero, below 0x20, or not ASCII. A borrow can set it wrongly only
      // above a byte where it is right, and only the lowest counts.
      let stops =
        ((quotes &- ones) & ~quotes) | ((backslashes &- ones) & ~backslashes)
        | ((word &- ones &* 0x20) & ~word) | word
      let lowest = stops & highs
      if lowest != 0 {
        offset += lowest.trailingZeroBitCount / 8
        return
      }
      offset += 8
    }
  }

  @_lifetime(self: copy self)
  private mutating func scanEscape() throws(JSONError) {
    let start = offset
    guard offset + 1 < bytes.count else {
      offset = bytes.count
      throw ended(inside: "a string")
    }
    switch bytes[offset + 1] {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
      UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      offset += 2
    case UInt8(ascii: "u"):
      guard let unit = hexadecimal(at: offset + 2) else { throw JSONError(.invalidEscape, at: start) }
      offset += 6
      if unit & 0xFC00 == 0xDC00 { throw JSONError(.loneSurrogate, at: start) }
      if unit & 0xFC00 == 0xD800 {
        guard offset + 1 < bytes.count, bytes[offset] == UInt8(ascii: "\\"),
          bytes[offset + 1] == UInt8(ascii: "u"),
          let low = hexadecimal(at: offset + 2), low & 0xFC00 == 0xDC00
        else { throw JSONError(.loneSurrogate, at: start) }
        offset += 6
      }
    default: throw JSONError(.invalidEscape, at: start)
    }
  }

  /// The four hexadecimal digits at `index`, nil where there are not four.
  private func hexadecimal(at index: Int) -> UInt16? {
    guard index + 4 <= bytes.count else { return nil }
    var value: UInt16 = 0
    for position in index..<index + 4 {
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt16(byte - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt16(byte - UInt8(ascii: "a") + 10)
      case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt16(byte - UInt8(ascii: "A") + 10)
      default: return nil
      }
    }
    return value
  }

  /// The length of the well-formed UTF-8 sequence here, nil where there is none: overlong forms, surrogates and
  /// anything above U+10FFFF are not well formed.
  private func utf8SequenceLength() -> Int? {
    let lead = bytes[offset]
    let length: Int
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch lead {
    case 0xC2...0xDF: length = 2
    case 0xE0...0xEF:
      length = 3
      if lead == 0xE0 { second = 0xA0...0xBF } else if lead == 0xED { second = 0x80...0x9F }
    case 0xF0...0xF4:
      length = 4
      if lead == 0xF0 { second = 0x90...0xBF } else if lead == 0xF4 { second = 0x80...0x8F }
    default: return nil
    }
    guard bytes.count - offset >= length, second.contains(bytes[offset + 1]) else { return nil }
    for index in 2..<length where length > 2 && bytes[offset + index] & 0xC0 != 0x80 { return nil }
    return length
  }
}

// MARK: - Failing

extension JSONReader {
  private func ended(inside: String) -> JSONError {
    JSONError(.unexpectedEnd(inside: inside), at: bytes.count)
  }

  private func unexpected(_ expected: String) -> JSONError {
    guard offset < bytes.count else { return ended(inside: "a number") }
    return JSONError(.unexpectedByte(bytes[offset], expected: expected), at: offset)
  }

  /// The error for a value that is not what the caller wants: not a value at all, or of another kind.
  @_lifetime(self: copy self)
  private mutating func wrongKind(_ expected: JSONKind) -> JSONError {
    do {
      return JSONError(.wrongKind(expected: expected.rawValue, found: try peekKind()), at: offset)
    } catch {
      return error
    }
  }
}

/// A JSON number: integers stay exact.
package enum JSONNumber: Hashable, Sendable {
  /// An integer that `Int` holds.
  case integer(Int)
  /// An integer above `Int.max`.
  case unsigned(UInt64)
  /// A number with a fraction or an exponent.
  case double(Double)
}
