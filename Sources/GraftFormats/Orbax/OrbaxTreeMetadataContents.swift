internal import GraftCore

/// What the file `_METADATA` says, entry by entry, before anything is made of it.
///
/// Nearly every such file has the members that Orbax and Graft write, and no others, and can be read in one pass that keeps only what
/// is wanted. Whatever is not so, right or wrong, is made into a ``JSONValue`` first, and that decides what it says or
/// what is wrong with it.
struct OrbaxTreeMetadataContents {
  /// A leaf or an empty node.
  struct Entry {
    var steps: [OrbaxTreeBuilder.Step]
    var type: String
    /// Whether an array is in a file with others.
    var isAggregated: Bool
  }

  private(set) var entries: [Entry] = []
  private(set) var usesOCDBT: Bool?
  private(set) var usesZarr3: Bool?
  private(set) var storesFillValues: Bool?
  private(set) var customMetadata: JSONValue?
  private(set) var richTypes: String?

  /// What of an entry there is at least, in bytes; for the room that is made.
  private static let typicalEntryByteCount = 200

  init(_ bytes: [UInt8], file: String, limits: Limits) throws(GraftError) {
    if let contents = Self(usual: bytes, limits: limits) {
      self = contents
      return
    }
    let root: JSONValue
    do throws(JSONError) {
      root = try JSONValue(parsing: bytes, nestingLimit: limits.nestingDepth, acceptsNonFinite: true)
    } catch {
      throw error.graftError(in: "the tree's metadata", file: file)
    }
    guard let members = root["tree_metadata"]?.members else {
      throw OrbaxTreeMetadata.invalid("it has no tree_metadata", file: file)
    }
    guard members.count <= limits.leafCount else {
      throw GraftError(
        .limitExceeded, "the tree has too many leaves", file: file, expected: "at most \(limits.leafCount)",
        found: "\(members.count)", remedy: "raise Limits.leafCount if the checkpoint is trusted")
    }
    for member in members { entries.append(try Entry(member, file: file, limits: limits)) }
    usesOCDBT = root["use_ocdbt"]?.truth
    usesZarr3 = root["use_zarr3"]?.truth
    storesFillValues = root["store_array_data_equal_to_fill_value"]?.truth
    customMetadata = root["custom_metadata"]
    richTypes = root["value_metadata_tree"]?.text
  }
}

extension OrbaxTreeMetadataContents.Entry {
  fileprivate init(_ member: JSONValue.Member, file: String, limits: Limits) throws(GraftError) {
    let printed = TreePath.printable(member.key)
    guard let elements = member.value["key_metadata"]?.elements else {
      throw OrbaxTreeMetadata.invalid("the entry \(printed) has no key_metadata", file: file)
    }
    guard elements.count <= limits.nestingDepth else {
      throw GraftError(
        .limitExceeded, "a leaf lies too deep", file: file, expected: "at most \(limits.nestingDepth) keys",
        found: "\(elements.count)", remedy: "raise Limits.nestingDepth if the checkpoint is trusted")
    }
    steps = []
    for element in elements {
      guard let key = element["key"]?.text, let type = element["key_type"]?.integer, type == 1 || type == 2
      else {
        throw OrbaxTreeMetadata.invalid(
          "the entry \(printed) has a key without a name or of an unknown type", file: file)
      }
      guard key.utf8.count <= limits.keyByteCount else {
        throw GraftError(
          .limitExceeded, "a key is too long", file: file, expected: "at most \(limits.keyByteCount) bytes",
          found: "\(key.utf8.count)")
      }
      steps.append(OrbaxTreeBuilder.Step(key: Key(key), isIndex: type == 1))
    }
    let metadata = member.value["value_metadata"]
    guard let type = metadata?["value_type"]?.text else {
      throw OrbaxTreeMetadata.invalid("the entry \(printed) has no value_type", file: file)
    }
    self.type = type
    isAggregated = metadata?["skip_deserialize"]?.truth == true
  }

  /// What the entry is.
  var value: OrbaxTreeMetadata.Value {
    switch type {
    case "None": return .empty(.empty)
    case "Dict": return .empty(.dictionary)
    case "List": return .empty(.list)
    case "Tuple": return .empty(.tuple)
    case "NamedTuple": return .empty(.namedTuple)
    case "string": return .string(name: name)
    case "jax.Array", "np.ndarray", "scalar":
      guard isAggregated else { return .array(name: name) }
      // Up to version 0.4 arrays could be put with others into one file, and what is there is not read by itself.
      return .unsupported(
        name: name, reason: "a leaf in the file named checkpoint, with others as msgpack, is not supported",
        remedy: "load the checkpoint with the Orbax that saved it and save it again without aggregate")
    default:
      return .unsupported(
        name: name, reason: "leaves of the type \(TreePath.printable(type)) are not supported",
        remedy: "load the checkpoint with Orbax and save the leaf as an array, scalar or string")
    }
  }

  /// The name that a leaf is stored under: its keys with dots between them.
  ///
  /// A tree that is one leaf has no keys; Orbax stores it under the name of the empty tuple or of nothing.
  private var name: String {
    guard var name = steps.first?.key.string else { return "" }
    name.reserveCapacity(steps.reduce(0) { $0 + 1 + $1.key.string.utf8.count })
    for step in steps.dropFirst() {
      name += "."
      name += step.key.string
    }
    return name
  }
}

// MARK: - The usual form

extension OrbaxTreeMetadataContents {
  /// Reads a file in one pass; nil for one that is not of the usual form.
  private init?(usual bytes: [UInt8], limits: Limits) {
    var json = JSONReader(
      bytes.span, nestingLimit: min(limits.nestingDepth, JSONValue.nestingLimit), acceptsNonFinite: true)
    do throws(JSONError) {
      guard try read(&json, byteCount: bytes.count, limits) else { return nil }
      try json.end()
    } catch {
      return nil
    }
  }

  /// Whether the file is of the usual form, as far as it was read.
  @_lifetime(json: copy json)
  private mutating func read(
    _ json: inout JSONReader, byteCount: Int, _ limits: Limits
  ) throws(JSONError) -> Bool {
    var hasEntries = false
    var others: Set<String> = []
    guard try json.peekKind() == .object else { return false }
    try json.beginObject()
    while let key = try json.nextKey() {
      if json.is(key, "tree_metadata") {
        guard !hasEntries, try json.peekKind() == .object else { return false }
        hasEntries = true
        guard try readEntries(&json, byteCount: byteCount, limits) else { return false }
        continue
      }
      let name = json.string(key)
      guard others.insert(name).inserted else { return false }
      let value = try json.readValue()
      switch name {
      case "use_ocdbt": usesOCDBT = value.truth
      case "use_zarr3": usesZarr3 = value.truth
      case "store_array_data_equal_to_fill_value": storesFillValues = value.truth
      case "custom_metadata": customMetadata = value
      case "value_metadata_tree": richTypes = value.text
      default: return false
      }
    }
    return hasEntries
  }

  @_lifetime(json: copy json)
  private mutating func readEntries(
    _ json: inout JSONReader, byteCount: Int, _ limits: Limits
  ) throws(JSONError) -> Bool {
    let expected = min(byteCount / Self.typicalEntryByteCount, limits.leafCount)
    entries.reserveCapacity(expected)
    var printed: Set<Key> = []
    printed.reserveCapacity(expected)
    try json.beginObject()
    while let key = try json.nextKey() {
      guard entries.count < limits.leafCount, printed.insert(Key(json.string(key))).inserted,
        try json.peekKind() == .object, let entry = try Self.entry(&json, limits)
      else { return false }
      entries.append(entry)
    }
    return true
  }

  @_lifetime(json: copy json)
  private static func entry(_ json: inout JSONReader, _ limits: Limits) throws(JSONError) -> Entry? {
    var steps: [OrbaxTreeBuilder.Step]?
    var value: (type: String, isAggregated: Bool)?
    try json.beginObject()
    while let key = try json.nextKey() {
      if steps == nil, json.is(key, "key_metadata") {
        guard try json.peekKind() == .array, let own = try Self.steps(&json, limits) else { return nil }
        steps = own
      } else if value == nil, json.is(key, "value_metadata") {
        guard try json.peekKind() == .object, let own = try Self.value(&json) else { return nil }
        value = own
      } else {
        return nil
      }
    }
    guard let steps, let value else { return nil }
    return Entry(steps: steps, type: value.type, isAggregated: value.isAggregated)
  }

  @_lifetime(json: copy json)
  private static func steps(
    _ json: inout JSONReader, _ limits: Limits
  ) throws(JSONError) -> [OrbaxTreeBuilder.Step]? {
    var steps: [OrbaxTreeBuilder.Step] = []
    steps.reserveCapacity(8)
    try json.beginArray()
    while try json.nextElement() {
      guard steps.count < limits.nestingDepth, try json.peekKind() == .object else { return nil }
      var key: String?
      var type: Int?
      try json.beginObject()
      while let member = try json.nextKey() {
        if key == nil, json.is(member, "key") {
          let text = try json.readText()
          guard text.range.count <= limits.keyByteCount else { return nil }
          key = json.string(text)
        } else if type == nil, json.is(member, "key_type") {
          type = try json.readInteger()
        } else {
          return nil
        }
      }
      guard let key, type == 1 || type == 2 else { return nil }
      steps.append(OrbaxTreeBuilder.Step(key: Key(key), isIndex: type == 1))
    }
    return steps
  }

  @_lifetime(json: copy json)
  private static func value(
    _ json: inout JSONReader
  ) throws(JSONError) -> (type: String, isAggregated: Bool)? {
    var type: String?
    var isAggregated: Bool?
    var hasWriteShape = false
    try json.beginObject()
    while let member = try json.nextKey() {
      if type == nil, json.is(member, "value_type") {
        type = try json.readString()
      } else if isAggregated == nil, json.is(member, "skip_deserialize") {
        isAggregated = try json.readBool()
      } else if !hasWriteShape, json.is(member, "write_shape") {
        // Of nothing but numbers, so that no key can come twice in it.
        hasWriteShape = true
        guard try json.peekKind() == .array else { return nil }
        try json.beginArray()
        while try json.nextElement() { _ = try json.readNumber() }
      } else {
        return nil
      }
    }
    return type.map { ($0, isAggregated ?? false) }
  }
}
