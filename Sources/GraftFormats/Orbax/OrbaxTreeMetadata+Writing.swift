internal import GraftCore

/// Writes `_METADATA` leaf by leaf as a tree is walked, with the members and the order that Orbax 0.12 gives it.
///
/// Named tuples are dictionaries and tuples are lists to those who read it, as for Orbax unless it is told to keep rich types.
///
/// Most of the file is the keys on the way to each leaf, twice, which neighbours mostly share. So they are put into JSON once when the walk
/// goes down, and each leaf copies them.
struct OrbaxTreeMetadataWriter {
  /// The file so far.
  private var bytes = Array(#"{"tree_metadata":{"#.utf8)
  private var isEmpty = true
  /// The keys on the way to where the walk is, as the inside of a JSON string of Python's tuple of them.
  private var printed: [UInt8] = []
  /// The same as the inside of `key_metadata`.
  private var listed: [UInt8] = []
  /// How long the two were at each step down.
  private var marks: [(printed: Int, listed: Int)] = []

  /// Goes down to a child.
  mutating func enter(_ key: Key, isIndex: Bool) {
    marks.append((printed.count, listed.count))
    if marks.count > 1 {
      printed.append(contentsOf: ", ".utf8)
      listed.append(UInt8(ascii: ","))
    }
    listed.append(contentsOf: #"{"key":"#.utf8)
    if Self.isPlain(key.string) {
      printed.append(UInt8(ascii: "'"))
      printed.append(contentsOf: key.string.utf8)
      printed.append(UInt8(ascii: "'"))
      listed.append(UInt8(ascii: "\""))
      listed.append(contentsOf: key.string.utf8)
      listed.append(UInt8(ascii: "\""))
    } else {
      printed.append(
        contentsOf: JSONValue.string(Self.pythonText(key.string)).encoded().dropFirst().dropLast())
      listed.append(contentsOf: JSONValue.string(key.string).encoded())
    }
    listed.append(contentsOf: (isIndex ? #","key_type":1}"# : #","key_type":2}"#).utf8)
  }

  /// Goes up again.
  mutating func leave() {
    guard let mark = marks.popLast() else {
      preconditionFailure("the walk goes up no further than it went down")
    }
    printed.removeLast(printed.count - mark.printed)
    listed.removeLast(listed.count - mark.listed)
  }

  /// Adds what stands where the walk is: a leaf, or a node of that kind without children.
  mutating func add(_ kind: NodeKind, _ leaf: OrbaxPlan.Leaf?) {
    if !isEmpty { bytes.append(UInt8(ascii: ",")) }
    isEmpty = false
    bytes.append(contentsOf: #""("#.utf8)
    bytes.append(contentsOf: printed)
    bytes.append(contentsOf: (marks.count == 1 ? #",)":{"key_metadata":["# : #")":{"key_metadata":["#).utf8)
    bytes.append(contentsOf: listed)
    bytes.append(contentsOf: #"],"value_metadata":{"value_type":""#.utf8)
    bytes.append(contentsOf: Self.valueType(kind, leaf).utf8)
    bytes.append(
      contentsOf: (leaf == nil ? #"","skip_deserialize":true"# : #"","skip_deserialize":false"#).utf8)
    if case .tensor(let spec, .jax)? = leaf {
      bytes.append(contentsOf: #","write_shape":"#.utf8)
      bytes.appendJSON(spec.shape)
    }
    bytes.append(contentsOf: "}}".utf8)
  }

  /// Ends the file, and gives it.
  ///
  /// - Parameter storesFillValues: whether a chunk that is not there is lost, rather than full of its array's fill value.
  consuming func finish(usesOCDBT: Bool, usesZarr3: Bool, storesFillValues: Bool) -> [UInt8] {
    bytes.append(contentsOf: #"},"use_ocdbt":\#(usesOCDBT),"use_zarr3":\#(usesZarr3)"#.utf8)
    bytes.append(
      contentsOf: #","store_array_data_equal_to_fill_value":\#(storesFillValues),"custom_metadata":null}"#
        .utf8)
    return bytes
  }

  private static func valueType(_ kind: NodeKind, _ leaf: OrbaxPlan.Leaf?) -> String {
    switch kind {
    case .dictionary: return "Dict"
    case .list: return "List"
    case .tuple: return "Tuple"
    case .namedTuple: return "NamedTuple"
    case .empty, .fault: return "None"
    case .leaf: break
    }
    switch leaf {
    case .string?: return "string"
    case .tensor(_, .jax)?: return "jax.Array"
    // A scalar that got axes is none any more.
    case .tensor(let spec, .scalar)? where spec.rank == 0: return "scalar"
    case .tensor?, nil: return "np.ndarray"
    }
  }

  /// Whether Python and JSON print a text as it is.
  private static func isPlain(_ text: String) -> Bool {
    text.utf8.allSatisfy {
      $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "'") && $0 != UInt8(ascii: "\"")
        && $0 != UInt8(ascii: "\\")
    }
  }

  /// How Python prints a string; nobody parses it, but no two may be alike.
  private static func pythonText(_ key: String) -> String {
    let quote: Unicode.Scalar =
      key.utf8.contains(UInt8(ascii: "'")) && !key.utf8.contains(UInt8(ascii: "\"")) ? "\"" : "'"
    var text = ""
    text.unicodeScalars.append(quote)
    for scalar in key.unicodeScalars {
      switch scalar {
      case "\\": text += "\\\\"
      case quote: text += "\\" + String(quote)
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        text += "\\x" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: text.unicodeScalars.append(scalar)
      }
    }
    text.unicodeScalars.append(quote)
    return text
  }
}
