/// Writes a JSON text into memory, value by value.
///
/// Integers are written exactly, doubles as the shortest text that reads back as the same double, strings with only the
/// escapes that JSON demands. Commas and colons are the writer's business; a call that makes no JSON (a value without its
/// key, an end without its beginning) traps, since it is a mistake in the program.
package struct JSONWriter: Sendable {
  /// What stands for a number that JSON has no form for.
  package enum NonFinite: Sendable {
    /// The strings `"NaN"`, `"Infinity"` and `"-Infinity"`, as Zarr writes them: valid JSON, and nothing is lost.
    case string
    /// The bare words `NaN`, `Infinity` and `-Infinity`, which Python's json module reads, and strict parsers refuse.
    case literal
    /// `null`.
    case null
  }

  /// What has been written.
  package private(set) var bytes: [UInt8] = []
  private let indentation: Int
  private let nonFinite: NonFinite
  private var containers: [(isObject: Bool, isEmpty: Bool)] = []
  private var hasKey = false

  /// A writer of one text.
  ///
  /// - Parameters:
  ///   - indentation: how many spaces each level is indented by, every member on its own line; 0 for no spaces at all.
  ///   - nonFinite: what stands for NaN and the infinities.
  package init(indentation: Int = 0, nonFinite: NonFinite = .string) {
    self.indentation = indentation
    self.nonFinite = nonFinite
  }

  /// The text as a string.
  package var string: String { String(decoding: bytes, as: UTF8.self) }

  /// Gives what has been written since it was last taken, so that a long text need not be in memory as a whole.
  package mutating func takeBytes() -> [UInt8] {
    defer { bytes.removeAll(keepingCapacity: true) }
    return bytes
  }

  /// Makes room for a text of about this length.
  package mutating func reserveCapacity(_ byteCount: Int) { bytes.reserveCapacity(byteCount) }

  /// Begins an object.
  package mutating func beginObject() { begin(isObject: true, UInt8(ascii: "{")) }
  /// Ends the object begun last.
  package mutating func endObject() { end(isObject: true, UInt8(ascii: "}")) }
  /// Begins an array.
  package mutating func beginArray() { begin(isObject: false, UInt8(ascii: "[")) }
  /// Ends the array begun last.
  package mutating func endArray() { end(isObject: false, UInt8(ascii: "]")) }

  /// The key of the value that follows.
  package mutating func key(_ key: String) {
    precondition(containers.last?.isObject == true && !hasKey, "a key has no place here")
    separate()
    quote(key)
    bytes.append(UInt8(ascii: ":"))
    if indentation > 0 { bytes.append(UInt8(ascii: " ")) }
    hasKey = true
  }

  /// A string.
  package mutating func string(_ value: String) {
    beginValue()
    quote(value)
  }

  /// An integer.
  package mutating func integer(_ value: some BinaryInteger) {
    beginValue()
    bytes.append(contentsOf: String(value).utf8)
  }

  /// A number, in the shortest text that reads back as the same `Double`.
  package mutating func double(_ value: Double) {
    number(value.description, isFinite: value.isFinite, isNaN: value.isNaN, sign: value.sign)
  }

  /// A number, in the shortest text that reads back as the same `Float`.
  package mutating func float(_ value: Float) {
    number(value.description, isFinite: value.isFinite, isNaN: value.isNaN, sign: value.sign)
  }

  /// `true` or `false`.
  package mutating func bool(_ value: Bool) { literal(value ? "true" : "false") }

  /// `null`.
  package mutating func null() { literal("null") }

  /// A whole value.
  package mutating func value(_ value: JSONValue) {
    switch value {
    case .null: null()
    case .bool(let truth): bool(truth)
    case .number(.integer(let number)): integer(number)
    case .number(.unsigned(let number)): integer(number)
    case .number(.double(let number)): double(number)
    case .string(let text): string(text)
    case .array(let elements):
      beginArray()
      for element in elements { self.value(element) }
      endArray()
    case .object(let members):
      beginObject()
      for member in members {
        key(member.key)
        self.value(member.value)
      }
      endObject()
    }
  }

  private mutating func number(_ text: String, isFinite: Bool, isNaN: Bool, sign: FloatingPointSign) {
    // Swift's descriptions of finite numbers (`1.5`, `5e-324`, `1e+20`) are JSON.
    if isFinite { return literal(text) }
    let name = isNaN ? "NaN" : sign == .minus ? "-Infinity" : "Infinity"
    switch nonFinite {
    case .string: string(name)
    case .literal: literal(name)
    case .null: null()
    }
  }

  private mutating func literal(_ text: String) {
    beginValue()
    bytes.append(contentsOf: text.utf8)
  }

  private mutating func begin(isObject: Bool, _ bracket: UInt8) {
    beginValue()
    bytes.append(bracket)
    containers.append((isObject: isObject, isEmpty: true))
  }

  private mutating func end(isObject: Bool, _ bracket: UInt8) {
    guard let container = containers.popLast(), container.isObject == isObject, !hasKey else {
      preconditionFailure("nothing of this kind can end here")
    }
    if !container.isEmpty { newLine() }
    bytes.append(bracket)
  }

  private mutating func beginValue() {
    guard let container = containers.last else {
      precondition(bytes.isEmpty, "a text is one value")
      return
    }
    precondition(container.isObject == hasKey, "a value in an object has a key, and one in an array has none")
    if !container.isObject { separate() }
    hasKey = false
  }

  private mutating func separate() {
    if !containers[containers.count - 1].isEmpty { bytes.append(UInt8(ascii: ",")) }
    containers[containers.count - 1].isEmpty = false
    newLine()
  }

  private mutating func newLine() {
    guard indentation > 0 else { return }
    bytes.append(UInt8(ascii: "\n"))
    bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: indentation * containers.count))
  }

  private mutating func quote(_ text: String) {
    bytes.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0x08: bytes.append(contentsOf: "\\b".utf8)
      case 0x09: bytes.append(contentsOf: "\\t".utf8)
      case 0x0A: bytes.append(contentsOf: "\\n".utf8)
      case 0x0C: bytes.append(contentsOf: "\\f".utf8)
      case 0x0D: bytes.append(contentsOf: "\\r".utf8)
      case 0..<0x20:
        bytes.append(contentsOf: (byte < 0x10 ? "\\u000" : "\\u00").utf8)
        bytes.append(contentsOf: String(byte, radix: 16).utf8)
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}

extension JSONValue {
  /// The value as a JSON text.
  package func encoded(indentation: Int = 0, nonFinite: JSONWriter.NonFinite = .string) -> [UInt8] {
    var writer = JSONWriter(indentation: indentation, nonFinite: nonFinite)
    writer.value(self)
    return writer.bytes
  }
}
