import GraftCore

/// What a command found out: it can be shown to a person and given to a program, and both come from the same figures.
protocol Answer: Sendable {
  /// Writes the one JSON object.
  func write(to json: inout JSONStream) throws(OutputFailure)

  /// Writes what a person reads.
  func write(to text: inout TextStream) throws(OutputFailure)

  /// The exit status: 0, or 1 where the answer is "no".
  var status: Int32 { get }
}

extension Answer {
  var status: Int32 { 0 }
}

/// Standard output, which is written in blocks, so that the text of a very large answer is never in memory as a whole.
struct TextStream {
  private var buffer: [UInt8] = []
  private let write: ([UInt8]) throws(OutputFailure) -> Void

  static let blockByteCount = 64 << 10

  init(_ write: @escaping ([UInt8]) throws(OutputFailure) -> Void) { self.write = write }

  /// Writes a line.
  mutating func line(_ text: String = "") throws(OutputFailure) {
    buffer += text.utf8
    buffer.append(UInt8(ascii: "\n"))
    if buffer.count >= Self.blockByteCount { try flush() }
  }

  /// Writes what is left.
  mutating func flush() throws(OutputFailure) {
    if buffer.isEmpty { return }
    try write(buffer)
    buffer.removeAll(keepingCapacity: true)
  }
}

/// One JSON object, written in blocks.
struct JSONStream {
  private var writer = JSONWriter()
  private let write: ([UInt8]) throws(OutputFailure) -> Void

  init(_ write: @escaping ([UInt8]) throws(OutputFailure) -> Void) { self.write = write }

  /// Writes an object: `body` adds its members.
  mutating func object(_ body: (inout JSONStream) throws(OutputFailure) -> Void) throws(OutputFailure) {
    writer.beginObject()
    try body(&self)
    writer.endObject()
    try flush(from: TextStream.blockByteCount)
  }

  /// Writes an array: `body` adds its elements.
  mutating func array(_ body: (inout JSONStream) throws(OutputFailure) -> Void) throws(OutputFailure) {
    writer.beginArray()
    try body(&self)
    writer.endArray()
    try flush(from: TextStream.blockByteCount)
  }

  /// Writes a member of an object.
  mutating func member(_ key: String, _ value: JSONValue) {
    writer.key(key)
    writer.value(value)
  }

  /// Writes the key of a member; an object or array follows.
  mutating func key(_ key: String) { writer.key(key) }

  /// Writes an element of an array.
  mutating func element(_ value: JSONValue) throws(OutputFailure) {
    writer.value(value)
    try flush(from: TextStream.blockByteCount)
  }

  /// Ends the text with a line break and writes what is left.
  mutating func finish() throws(OutputFailure) {
    try flush(from: 0)
    try write([UInt8(ascii: "\n")])
  }

  private mutating func flush(from byteCount: Int) throws(OutputFailure) {
    guard writer.bytes.count > byteCount else { return }
    try write(writer.takeBytes())
  }
}
