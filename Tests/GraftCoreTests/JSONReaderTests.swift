import GraftCore
import Testing

@Suite struct JSONReaderTests {
  /// A malformed text, with the error that it gives.
  struct Malformed: CustomTestStringConvertible {
    let text: [UInt8]
    let reason: JSONError.Reason
    let offset: Int
    init(_ text: String, _ reason: JSONError.Reason, at offset: Int) {
      self.init(bytes: Array(text.utf8), reason, at: offset)
    }
    init(bytes: [UInt8], _ reason: JSONError.Reason, at offset: Int) {
      text = bytes
      self.reason = reason
      self.offset = offset
    }
    var testDescription: String { String(decoding: text.prefix(60), as: UTF8.self) + ": \(reason)" }
  }

  static let malformed: [Malformed] = [
    Malformed("", .unexpectedEnd(inside: "a value"), at: 0),
    Malformed("  ", .unexpectedEnd(inside: "a value"), at: 2),
    Malformed("{", .unexpectedEnd(inside: "an object"), at: 1),
    Malformed("[", .unexpectedEnd(inside: "an array"), at: 1),
    Malformed("[1", .unexpectedEnd(inside: "an array"), at: 2),
    Malformed("[1,", .unexpectedEnd(inside: "a value"), at: 3),
    Malformed("[1,]", .unexpectedByte(UInt8(ascii: "]"), expected: "a value"), at: 3),
    Malformed("[,1]", .unexpectedByte(UInt8(ascii: ","), expected: "a value"), at: 1),
    Malformed("[1 2]", .unexpectedByte(UInt8(ascii: "2"), expected: "a comma or the end of an array"), at: 3),
    Malformed("[1}", .unexpectedByte(UInt8(ascii: "}"), expected: "a comma or the end of an array"), at: 2),
    Malformed("{\"a\":1,}", .unexpectedByte(UInt8(ascii: "}"), expected: "a key"), at: 7),
    Malformed("{,\"a\":1}", .unexpectedByte(UInt8(ascii: ","), expected: "a key"), at: 1),
    Malformed("{a:1}", .unexpectedByte(UInt8(ascii: "a"), expected: "a key"), at: 1),
    Malformed("{1:1}", .unexpectedByte(UInt8(ascii: "1"), expected: "a key"), at: 1),
    Malformed("{\"a\" 1}", .unexpectedByte(UInt8(ascii: "1"), expected: "a colon"), at: 5),
    Malformed("{\"a\"}", .unexpectedByte(UInt8(ascii: "}"), expected: "a colon"), at: 4),
    Malformed("{\"a\":}", .unexpectedByte(UInt8(ascii: "}"), expected: "a value"), at: 5),
    Malformed(
      "{\"a\":1]", .unexpectedByte(UInt8(ascii: "]"), expected: "a comma or the end of an object"), at: 6),
    Malformed("{\"a\":1", .unexpectedEnd(inside: "an object"), at: 6),
    Malformed("{\"a\"", .unexpectedEnd(inside: "an object"), at: 4),
    Malformed("{\"a\":1,\"a\":2}", .duplicateKey("a"), at: 8),
    Malformed(#"{"a":1,"\u0061":2}"#, .duplicateKey("a"), at: 8),
    Malformed("1 1", .trailingBytes, at: 2),
    Malformed("{}\0", .trailingBytes, at: 2),
    Malformed("nul", .unexpectedEnd(inside: "null"), at: 3),
    Malformed("nulL", .unexpectedByte(UInt8(ascii: "L"), expected: "null"), at: 3),
    Malformed("tru", .unexpectedEnd(inside: "true"), at: 3),
    Malformed("True", .unexpectedByte(UInt8(ascii: "T"), expected: "a value"), at: 0),
    Malformed("falsy", .unexpectedByte(UInt8(ascii: "y"), expected: "false"), at: 4),
    Malformed("'a'", .unexpectedByte(UInt8(ascii: "'"), expected: "a value"), at: 0),
    Malformed("NaN", .unexpectedByte(UInt8(ascii: "N"), expected: "a value"), at: 0),
    Malformed("-Infinity", .unexpectedByte(UInt8(ascii: "I"), expected: "a digit"), at: 1),
    Malformed("\u{FEFF}1", .unexpectedByte(0xEF, expected: "a value"), at: 0),
    Malformed("// no\n1", .unexpectedByte(UInt8(ascii: "/"), expected: "a value"), at: 0),
    // Numbers.
    Malformed("-", .unexpectedEnd(inside: "a number"), at: 1),
    Malformed("+1", .unexpectedByte(UInt8(ascii: "+"), expected: "a value"), at: 0),
    Malformed("01", .unexpectedByte(UInt8(ascii: "1"), expected: "no digit after a leading zero"), at: 1),
    Malformed("-01", .unexpectedByte(UInt8(ascii: "1"), expected: "no digit after a leading zero"), at: 2),
    Malformed("1.", .unexpectedEnd(inside: "a number"), at: 2),
    Malformed(".5", .unexpectedByte(UInt8(ascii: "."), expected: "a value"), at: 0),
    Malformed("1.e5", .unexpectedByte(UInt8(ascii: "e"), expected: "a digit"), at: 2),
    Malformed("1e", .unexpectedEnd(inside: "a number"), at: 2),
    Malformed("1e+", .unexpectedEnd(inside: "a number"), at: 3),
    Malformed("0x10", .trailingBytes, at: 1),
    Malformed("18446744073709551616", .integerOverflow, at: 0),
    Malformed("[-9223372036854775809]", .integerOverflow, at: 1),
    Malformed("1e309", .numberOverflow, at: 0),
    Malformed("0." + String(repeating: "1", count: 2_047), .numberTooLong, at: 0),
    // Strings.
    Malformed("\"", .unexpectedEnd(inside: "a string"), at: 1),
    Malformed("\"abcdefghijkl", .unexpectedEnd(inside: "a string"), at: 13),
    Malformed("\"\\", .unexpectedEnd(inside: "a string"), at: 2),
    Malformed("\"\\\"", .unexpectedEnd(inside: "a string"), at: 3),
    Malformed("\"a\nb\"", .controlCharacter(0x0A), at: 2),
    Malformed("\"0123456789\0\"", .controlCharacter(0), at: 11),
    Malformed(#""\x41""#, .invalidEscape, at: 1),
    Malformed(#""\u12g4""#, .invalidEscape, at: 1),
    Malformed(#""\u12"#, .invalidEscape, at: 1),
    Malformed(#""\ud800""#, .loneSurrogate, at: 1),
    Malformed(#""\ud800A""#, .loneSurrogate, at: 1),
    Malformed(#""\ud800\u0041""#, .loneSurrogate, at: 1),
    Malformed(#""\udc00\ud800""#, .loneSurrogate, at: 1),
    Malformed(bytes: [0x22, 0x80, 0x22], .invalidUTF8, at: 1),
    Malformed(bytes: [0x22, 0xC3, 0x22], .invalidUTF8, at: 1),
    Malformed(bytes: [0x22, 0xC0, 0x80, 0x22], .invalidUTF8, at: 1),  // overlong NUL
    Malformed(bytes: [0x22, 0xE0, 0x80, 0x80, 0x22], .invalidUTF8, at: 1),  // overlong
    Malformed(bytes: [0x22, 0xED, 0xA0, 0x80, 0x22], .invalidUTF8, at: 1),  // a surrogate
    Malformed(bytes: [0x22, 0xF0, 0x80, 0x80, 0x80, 0x22], .invalidUTF8, at: 1),  // overlong
    Malformed(bytes: [0x22, 0xF4, 0x90, 0x80, 0x80, 0x22], .invalidUTF8, at: 1),  // above U+10FFFF
    Malformed(bytes: [0x22, 0xF5, 0x80, 0x80, 0x80, 0x22], .invalidUTF8, at: 1),
    Malformed(bytes: [0x22, 0x61, 0xE2, 0x82], .invalidUTF8, at: 2),  // cut off
    Malformed(bytes: Array("\"0123456789abcdef".utf8) + [0xFF, 0x22], .invalidUTF8, at: 17),
  ]

  @Test(arguments: malformed) func `a malformed text names what is wrong and where`(_ malformed: Malformed) {
    #expect(throws: JSONError(malformed.reason, at: malformed.offset)) {
      try JSONValue(parsing: malformed.text)
    }
    // What is skipped is checked as strictly, apart from keys that come twice.
    if case .duplicateKey = malformed.reason { return }
    #expect(throws: JSONError(malformed.reason, at: malformed.offset)) {
      var json = JSONReader(malformed.text.span)
      try json.skipValue()
      try json.end()
    }
  }

  static let wellFormed: [(String, JSONValue)] = [
    (" \t\r\n1 ", 1),
    ("0", 0),
    ("-0", .double(-0.0)),
    ("9223372036854775807", .integer(.max)),
    ("-9223372036854775808", .integer(.min)),
    ("9223372036854775808", .number(.unsigned(1 << 63))),
    ("18446744073709551615", .number(.unsigned(.max))),
    ("100000000000000000", .integer(100_000_000_000_000_000)),
    ("1.0", 1.0),
    ("-0.0", .double(-0.0)),
    ("1e2", 100.0),
    ("1E-2", 0.01),
    ("1e-400", 0.0),
    ("123456789012345678901.5", 123456789012345678901.5),
    ("\"\"", ""),
    (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
    (#""\u0000\u00e9\u20AC""#, "\0é€"),
    (#""\ud83d\ude00""#, "😀"),
    ("\"\u{7F}é€😀\u{10FFFF}\"", "\u{7F}é€😀\u{10FFFF}"),
    ("[]", []),
    ("{ }", [:]),
    ("[ [ ] , { \"a\" : null } , true , false ]", [[], ["a": nil], true, false]),
    // Two spellings of é are two keys.
    ("{\"\u{e9}\":1,\"e\u{301}\":2}", ["\u{e9}": 1, "e\u{301}": 2]),
  ]

  @Test(arguments: wellFormed) func `a well-formed text gives its value`(_ text: String, _ value: JSONValue)
    throws
  {
    #expect(try JSONValue(parsing: Array(text.utf8)) == value)
  }

  @Test func `keys come in the order of the text, also when one comes twice`() throws {
    let text = Array(#"{"b":1,"a":[2,3],"b":4}"#.utf8)
    var json = JSONReader(text.span)
    var keys: [String] = []
    try json.beginObject()
    while let key = try json.nextKey() {
      keys.append(json.string(key))
      try json.skipValue()
    }
    try json.end()
    #expect(keys == ["b", "a", "b"])
  }

  @Test func `a key compares with and without escapes`() throws {
    let text = Array(#"{"dtype":1,"\u0064type":2,"dtypes":3,"dtyp":4}"#.utf8)
    var json = JSONReader(text.span)
    var matches: [Bool] = []
    try json.beginObject()
    while let key = try json.nextKey() {
      matches.append(json.is(key, "dtype"))
      try json.skipValue()
    }
    #expect(matches == [true, true, false, false])
  }

  @Test(arguments: [
    ("1.0", JSONError.Reason.wrongKind(expected: "an integer", found: .number)),
    ("-0", .wrongKind(expected: "an integer", found: .number)),
    ("1e3", .wrongKind(expected: "an integer", found: .number)),
    ("\"1\"", .wrongKind(expected: "a number", found: .string)),
    ("9223372036854775808", .integerOverflow),
    ("null", .wrongKind(expected: "a number", found: .null)),
    ("?", .unexpectedByte(UInt8(ascii: "?"), expected: "a value")),
  ]) func `an integer is wanted and something else found`(_ text: String, _ reason: JSONError.Reason) {
    #expect(throws: JSONError(reason, at: 0)) {
      let bytes = Array(text.utf8)
      var json = JSONReader(bytes.span)
      _ = try json.readInteger()
    }
  }

  @Test func `Python's NaN and Infinity are read only where they are asked for`() throws {
    let text = Array("[NaN,Infinity,-Infinity]".utf8)
    let value = try JSONValue(parsing: text, acceptsNonFinite: true)
    let numbers = (value.elements ?? []).compactMap(\.double)
    try #require(numbers.count == 3)
    #expect(numbers[0].isNaN && numbers[1] == .infinity && numbers[2] == -.infinity)
    #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
    #expect(throws: JSONError(.unexpectedByte(UInt8(ascii: "N"), expected: "a digit"), at: 1)) {
      try JSONValue(parsing: Array("-NaN".utf8), acceptsNonFinite: true)
    }
  }

  @Test(arguments: ["[", "{\"a\":", "[{\"a\":"]) func `a bomb of nested values is refused at the limit`(
    _ opening: String
  ) {
    let levels = opening == "[{\"a\":" ? 2 : 1
    let bomb = Array(String(repeating: opening, count: 1_000_000).utf8)
    let offset = 128 / levels * opening.utf8.count
    #expect(throws: JSONError(.nestedTooDeep(limit: 128), at: offset)) { try JSONValue(parsing: bomb) }
    #expect(throws: JSONError(.nestedTooDeep(limit: 128), at: offset)) {
      var json = JSONReader(bomb.span)
      try json.skipValue()
    }
  }

  @Test func `a limit beyond the default still bounds values, and skipping needs no stack`() throws {
    let depth = 1_000_000
    let deep =
      [UInt8](repeating: UInt8(ascii: "["), count: depth)
      + [UInt8](repeating: UInt8(ascii: "]"), count: depth)
    var json = JSONReader(deep.span, nestingLimit: depth)
    try json.skipValue()
    try json.end()
    #expect(throws: JSONError(.nestedTooDeep(limit: JSONValue.nestingLimit), at: JSONValue.nestingLimit)) {
      try JSONValue(parsing: deep, nestingLimit: depth)
    }
    let deepest = Array(deep[(depth - JSONValue.nestingLimit)..<(depth + JSONValue.nestingLimit)])
    #expect(try JSONValue(parsing: deepest, nestingLimit: depth).encoded() == deepest)
  }

  @Test func `an error says what, and becomes a paragraph with file and range`() throws {
    let error = JSONError(.unexpectedByte(0x0A, expected: "a colon"), at: 7)
    #expect("\(error)" == "byte 0x0A stands where a colon has to at byte 7")
    let public_ = error.graftError(in: "the header", file: "a.safetensors", base: 8)
    #expect(public_.code == .corrupt)
    #expect(
      "\(public_)"
        == "The header is not valid: byte 0x0A stands where a colon has to. In file a.safetensors, bytes 15..<16."
    )
    #expect(JSONError(.nestedTooDeep(limit: 3), at: 0).graftError(in: "it", file: nil).code == .limitExceeded)
  }
}
