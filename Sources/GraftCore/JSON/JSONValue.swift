/// A JSON value as a whole, for small metadata; large texts are better pulled through a ``JSONReader``.
package enum JSONValue: Sendable {
  case null
  case bool(Bool)
  case number(JSONNumber)
  case string(String)
  case array([JSONValue])
  /// The members in the order of the text.
  case object([Member])

  /// A key of an object and its value.
  package struct Member: Sendable {
    package var key: String
    package var value: JSONValue

    package init(_ key: String, _ value: JSONValue) {
      self.key = key
      self.value = value
    }
  }

  /// The deepest value that is made, whatever the limit asked for: comparing, writing and releasing a value recurse.
  package static let nestingLimit = 512
}

// MARK: - Parsing

extension JSONValue {
  /// The value that a whole text is; a key that comes twice in one object is an error.
  package init(
    parsing bytes: [UInt8], nestingLimit: Int = Limits().nestingDepth, acceptsNonFinite: Bool = false
  ) throws(JSONError) {
    var json = JSONReader(
      bytes.span, nestingLimit: Swift.min(nestingLimit, Self.nestingLimit), acceptsNonFinite: acceptsNonFinite
    )
    self = try json.readValue()
    try json.end()
  }
}

extension JSONReader {
  /// The next value as a whole; a key that comes twice in one object is an error.
  @_lifetime(self: copy self)
  package mutating func readValue() throws(JSONError) -> JSONValue {
    /// An array or object of which some members have been read; changed in place, so that nothing is copied.
    struct Partial {
      let isObject: Bool
      var elements: [JSONValue] = []
      var members: [JSONValue.Member] = []
      var key = ""
      /// The keys, of an object that has many; of few members a look at all of them is faster.
      private var seen: Set<Key> = []

      init(isObject: Bool) { self.isObject = isObject }

      /// Whether a key differs from those of all members, which it then becomes the next of.
      mutating func take(_ next: String) -> Bool {
        let isNew: Bool
        if members.count < 8 {
          let own = Key(next)
          isNew = members.allSatisfy { Key($0.key) != own }
        } else {
          if seen.isEmpty { seen = Set(members.lazy.map { Key($0.key) }) }
          isNew = seen.insert(Key(next)).inserted
        }
        key = next
        return isNew
      }
    }
    var partials: [Partial] = []
    while true {
      // One value, or the opening of one.
      var value: JSONValue? = nil
      let start = offset
      switch try peekKind() {
      case .object:
        try beginObject()
        partials.append(Partial(isObject: true))
      case .array:
        try beginArray()
        partials.append(Partial(isObject: false))
      case .string: value = .string(try readString())
      case .number: value = .number(try readNumber())
      case .bool: value = .bool(try readBool())
      case .null:
        try readNull()
        value = .null
      }
      guard partials.count <= JSONValue.nestingLimit else {
        throw JSONError(.nestedTooDeep(limit: JSONValue.nestingLimit), at: start)
      }

      // Put it into what is open, and close what ends here.
      while true {
        let last = partials.count - 1
        guard last >= 0 else {
          guard let value else { preconditionFailure("a value outside of all containers is complete") }
          return value
        }
        if partials[last].isObject {
          if let value { partials[last].members.append(JSONValue.Member(partials[last].key, value)) }
          if let text = try nextKey() {
            let key = string(text)
            guard partials[last].take(key) else {
              throw JSONError(.duplicateKey(key), at: text.range.lowerBound)
            }
            break
          }
          value = .object(partials.removeLast().members)
        } else {
          if let value { partials[last].elements.append(value) }
          if try nextElement() { break }
          value = .array(partials.removeLast().elements)
        }
      }
    }
  }
}

// MARK: - Looking

extension JSONValue {
  /// The kind of value.
  package var kind: JSONKind {
    switch self {
    case .null: .null
    case .bool: .bool
    case .number: .number
    case .string: .string
    case .array: .array
    case .object: .object
    }
  }

  /// The member with this key, nil when this is no object or has none; looks through the members one by one.
  package subscript(key: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
  }

  /// The members of an object, nil for anything else.
  package var members: [Member]? { if case .object(let members) = self { members } else { nil } }
  /// The elements of an array, nil for anything else.
  package var elements: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }
  /// The text of a string, nil for anything else.
  package var text: String? { if case .string(let text) = self { text } else { nil } }

  /// A text as it is, and anything else as JSON, as formats that keep texts alone have it.
  package var plainText: String { text ?? String(decoding: encoded(), as: UTF8.self) }
  /// The truth of a boolean, nil for anything else.
  package var truth: Bool? { if case .bool(let truth) = self { truth } else { nil } }
  /// The integer that `Int` holds, nil for anything else.
  package var integer: Int? { if case .number(.integer(let integer)) = self { integer } else { nil } }
  /// The number, rounded where it is a large integer; nil for anything else.
  package var double: Double? {
    guard case .number(let number) = self else { return nil }
    return switch number {
    case .integer(let integer): Double(integer)
    case .unsigned(let integer): Double(integer)
    case .double(let double): double
    }
  }
}

extension JSONValue: Equatable {
  /// Whether both are the same value: texts by their bytes, objects with their members in the same order, integers and
  /// doubles apart.
  package static func == (a: JSONValue, b: JSONValue) -> Bool {
    switch (a, b) {
    case (.null, .null): true
    case (.bool(let a), .bool(let b)): a == b
    case (.number(let a), .number(let b)): a == b
    case (.string(let a), .string(let b)): a.utf8.elementsEqual(b.utf8)
    case (.array(let a), .array(let b)): a == b
    case (.object(let a), .object(let b)):
      a.elementsEqual(b) { $0.key.utf8.elementsEqual($1.key.utf8) && $0.value == $1.value }
    default: false
    }
  }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByNilLiteral, ExpressibleByArrayLiteral,
  ExpressibleByDictionaryLiteral
{
  package init(stringLiteral value: String) { self = .string(value) }
  package init(integerLiteral value: Int) { self = .number(.integer(value)) }
  package init(floatLiteral value: Double) { self = .number(.double(value)) }
  package init(booleanLiteral value: Bool) { self = .bool(value) }
  package init(nilLiteral: ()) { self = .null }
  package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  package init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(elements.map { Member($0.0, $0.1) })
  }

  /// An integer.
  package static func integer(_ value: Int) -> JSONValue { .number(.integer(value)) }
  /// A double.
  package static func double(_ value: Double) -> JSONValue { .number(.double(value)) }
}
