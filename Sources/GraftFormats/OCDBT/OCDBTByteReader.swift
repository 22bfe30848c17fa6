/// Reads the fields of a manifest or node one after the other; every read is checked against the end.
struct OCDBTByteReader: ~Escapable {
  private let bytes: RawSpan
  private(set) var offset = 0

  @_lifetime(copy bytes)
  init(_ bytes: RawSpan) { self.bytes = bytes }

  var remaining: Int { bytes.byteCount - offset }

  @_lifetime(self: copy self)
  mutating func byte(_ what: String) throws(OCDBTFailure) -> UInt8 {
    guard remaining >= 1 else { throw OCDBTFailure(.ends(inside: what), at: offset) }
    defer { offset += 1 }
    // Any byte is a value, and it was just checked to be there.
    return unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
  }

  @_lifetime(self: copy self)
  mutating func fixed<Value: FixedWidthInteger & BitwiseCopyable>(
    _ what: String, as type: Value.Type
  ) throws(OCDBTFailure) -> Value {
    let size = MemoryLayout<Value>.size
    guard remaining >= size else { throw OCDBTFailure(.ends(inside: what), at: offset) }
    defer { offset += size }
    return unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: Value.self)
  }

  /// An unsigned number in base 128, least significant digits first.
  @_lifetime(self: copy self)
  mutating func varint(_ what: String) throws(OCDBTFailure) -> UInt64 {
    let start = offset
    var value: UInt64 = 0
    for shift in stride(from: 0 as UInt64, to: 70, by: 7) {
      let digit = try byte(what)
      let bits = UInt64(digit & 0x7F)
      if shift == 63 && bits > 1 { break }
      value |= bits << shift
      if digit < 0x80 { return value }
    }
    throw OCDBTFailure(.number(what), at: start)
  }

  /// A number that counts things of which each takes at least `minimumByteCount` of the bytes that are left.
  @_lifetime(self: copy self)
  mutating func count(
    _ what: String, limit: Int, minimumByteCount: Int
  ) throws(OCDBTFailure) -> Int {
    let start = offset
    let value = try varint("the number of \(what)")
    guard value <= UInt64(limit) else {
      throw OCDBTFailure(.tooMany(what, claimed: value, limit: limit), at: start)
    }
    // What is claimed must be there, or nothing is allocated for it.
    guard Int(value) <= remaining / minimumByteCount else {
      throw OCDBTFailure(.ends(inside: "the \(what)"), at: start)
    }
    return Int(value)
  }

  /// A length of at most 16 bits.
  @_lifetime(self: copy self)
  mutating func length(_ what: String) throws(OCDBTFailure) -> Int {
    let start = offset
    let value = try varint(what)
    guard value <= 0xFFFF else { throw OCDBTFailure(.keyTooLong(Int(clamping: value)), at: start) }
    return Int(value)
  }

  @_lifetime(self: copy self)
  mutating func take(_ count: Int, _ what: String) throws(OCDBTFailure) -> [UInt8] {
    guard count <= remaining else { throw OCDBTFailure(.ends(inside: what), at: offset) }
    defer { offset += count }
    return unsafe bytes.extracting(offset..<offset + count).withUnsafeBytes { unsafe Array($0) }
  }

  /// Appends the next bytes to `result`.
  @_lifetime(self: copy self)
  mutating func append(_ count: Int, of what: String, to result: inout [UInt8]) throws(OCDBTFailure) {
    guard count <= remaining else { throw OCDBTFailure(.ends(inside: what), at: offset) }
    unsafe bytes.extracting(offset..<offset + count).withUnsafeBytes { unsafe result.append(contentsOf: $0) }
    offset += count
  }

  func end() throws(OCDBTFailure) {
    if remaining > 0 { throw OCDBTFailure(.trailingBytes(remaining), at: offset) }
  }
}
