package import GraftCore

/// `_METADATA`: which leaves a saved tree has, where they stand in it, and how their arrays are stored.
///
///     {"tree_metadata": {"('params', 'w')": {"key_metadata": [{"key": "params", "key_type": 2}, …],
///                                            "value_metadata": {"value_type": "jax.Array", "skip_deserialize": false}}, …},
///      "use_ocdbt": true, "use_zarr3": true, "store_array_data_equal_to_fill_value": true, "custom_metadata": null}
///
/// The outer keys are Python's way to print a tuple and are not parsed; `key_metadata` says the same unambiguously.
package struct OrbaxTreeMetadata: Sendable {
  /// What a leaf of the saved tree is.
  package enum Value: Hashable, Sendable {
    /// An array, under this name.
    case array(name: String)
    /// A string, under this name in `_strings.json`.
    case string(name: String)
    /// A container without children, or nothing at all.
    case empty(NodeKind)
    /// A leaf that is not read, for this reason, and what would help.
    case unsupported(name: String, reason: String, remedy: String)
  }

  /// The tree.
  ///
  /// Tuples and named tuples are lists and dictionaries, unless the checkpoint has rich types.
  package var tree: Tree<Value>
  /// The names of the arrays that were numbers or truths of Python's when they were saved.
  package var scalarNames: Set<Key> = []
  /// Whether the arrays are in an OCDBT database; nil where the file does not say.
  package var usesOCDBT: Bool?
  /// Whether the arrays are of Zarr's version 3.
  package var usesZarr3: Bool
  /// Whether chunks are stored even if all their elements are the fill value, so that an absent one is lost.
  package var storesFillValues: Bool
  /// What the user added; nil for nothing.
  package var customMetadata: JSONValue?

  /// The name of the file.
  package static let fileName = "_METADATA"

  /// Parses the file.
  ///
  /// - Parameter file: what errors call it.
  /// - Throws: `corrupt`; `collision` where two leaves have one name or one place; `limitExceeded`.
  package init(_ bytes: [UInt8], file: String, limits: Limits = Limits()) throws(GraftError) {
    let root: JSONValue
    do throws(JSONError) {
      root = try JSONValue(parsing: bytes, nestingLimit: limits.nestingDepth, acceptsNonFinite: true)
    } catch {
      throw error.graftError(in: "the tree's metadata", file: file)
    }
    guard let members = root["tree_metadata"]?.members else {
      throw Self.invalid("it has no tree_metadata", file: file)
    }
    guard members.count <= limits.leafCount else {
      throw GraftError(
        .limitExceeded, "the tree has too many leaves", file: file, expected: "at most \(limits.leafCount)",
        found: "\(members.count)", remedy: "raise Limits.leafCount if the checkpoint is trusted")
    }
    let branch = OrbaxBranch()
    var names: [Key: TreePath] = [:]
    for member in members {
      let (keys, value) = try Self.entry(member, file: file, limits: limits)
      let path = TreePath(keys.map(\.key))
      if let name = value.name, let other = names.updateValue(path, forKey: Key(name)) {
        throw GraftError(
          .collision,
          "two leaves are stored under the one name \(TreePath.printable(name)): \(other) and \(path)",
          leaf: path, file: file,
          remedy:
            "Orbax joins keys with dots, and one of the two was lost when the checkpoint was saved: save it again with other keys"
        )
      }
      try branch.add(value, at: keys[...], path: path, file: file)
      if case .array(let name) = value, member.value["value_metadata"]?["value_type"]?.text == "scalar" {
        scalarNames.insert(Key(name))
      }
    }
    tree = try branch.tree(at: .root, file: file)
    if let text = root["value_metadata_tree"]?.text {
      // It only adds kinds of containers, and Orbax itself ignores it when it is damaged.
      if let rich = try? JSONValue(parsing: Array(text.utf8), nestingLimit: limits.nestingDepth) {
        tree = tree.enriched(by: rich)
      }
    }
    usesOCDBT = root["use_ocdbt"]?.truth
    usesZarr3 = root["use_zarr3"]?.truth ?? false
    storesFillValues = root["store_array_data_equal_to_fill_value"]?.truth ?? false
    if let custom = root["custom_metadata"], custom.kind != .null { customMetadata = custom }
  }

  static func invalid(_ what: String, leaf: TreePath? = nil, file: String) -> GraftError {
    GraftError(
      .corrupt, "the tree's metadata is not valid: \(what)", leaf: leaf, file: file,
      remedy: "the checkpoint was damaged after it was written: copy or download it again")
  }

  private static func entry(
    _ member: JSONValue.Member, file: String, limits: Limits
  ) throws(GraftError) -> (keys: [OrbaxBranch.Step], value: Value) {
    let printed = TreePath.printable(member.key)
    guard let elements = member.value["key_metadata"]?.elements else {
      throw invalid("the entry \(printed) has no key_metadata", file: file)
    }
    guard elements.count <= limits.nestingDepth else {
      throw GraftError(
        .limitExceeded, "a leaf lies too deep", file: file, expected: "at most \(limits.nestingDepth) keys",
        found: "\(elements.count)", remedy: "raise Limits.nestingDepth if the checkpoint is trusted")
    }
    var keys: [OrbaxBranch.Step] = []
    for element in elements {
      guard let key = element["key"]?.text, let type = element["key_type"]?.integer, type == 1 || type == 2
      else {
        throw invalid("the entry \(printed) has a key without a name or of an unknown type", file: file)
      }
      guard key.utf8.count <= limits.keyByteCount else {
        throw GraftError(
          .limitExceeded, "a key is too long", file: file, expected: "at most \(limits.keyByteCount) bytes",
          found: "\(key.utf8.count)")
      }
      keys.append(OrbaxBranch.Step(key: Key(key), isIndex: type == 1))
    }
    // A tree that is one leaf has no keys; Orbax stores it under the name of the empty tuple or of nothing.
    let name = keys.map(\.key.string).joined(separator: ".")
    let metadata = member.value["value_metadata"]
    guard let type = metadata?["value_type"]?.text else {
      throw invalid("the entry \(printed) has no value_type", file: file)
    }
    switch type {
    case "jax.Array", "np.ndarray", "scalar":
      // Up to version 0.4 arrays could be put with others into one file, and what is there is not read by itself.
      if metadata?["skip_deserialize"]?.truth == true {
        return (
          keys,
          .unsupported(
            name: name,
            reason: "a leaf in the file named checkpoint, with others as msgpack, is not supported",
            remedy: "load the checkpoint with the Orbax that saved it and save it again without aggregate")
        )
      }
      return (keys, .array(name: name))
    case "string": return (keys, .string(name: name))
    case "None": return (keys, .empty(.empty))
    case "Dict": return (keys, .empty(.dictionary))
    case "List": return (keys, .empty(.list))
    case "Tuple": return (keys, .empty(.tuple))
    case "NamedTuple": return (keys, .empty(.namedTuple))
    default:
      return (
        keys,
        .unsupported(
          name: name, reason: "leaves of the type \(TreePath.printable(type)) are not supported",
          remedy: "load the checkpoint with Orbax and save the leaf as an array, scalar or string")
      )
    }
  }
}

extension OrbaxTreeMetadata.Value {
  /// The name that the leaf is stored under.
  package var name: String? {
    switch self {
    case .array(let name), .string(let name), .unsupported(let name, _, _): name
    case .empty: nil
    }
  }
}

/// A container of the tree while it grows: a class, so that adding a leaf deep down copies nothing.
private final class OrbaxBranch {
  /// One step on the way to a leaf.
  struct Step {
    var key: Key
    var isIndex: Bool
  }

  private enum Child {
    case leaf(OrbaxTreeMetadata.Value)
    case branch(OrbaxBranch)
  }

  private var keys: [Key] = []
  private var children: [Key: Child] = [:]
  private var isList = false
  /// What the container is when it has no children.
  private var own: OrbaxTreeMetadata.Value?

  func add(
    _ value: OrbaxTreeMetadata.Value, at steps: ArraySlice<Step>, path: TreePath, file: String
  ) throws(GraftError) {
    guard let first = steps.first else {
      guard own == nil else { throw collision(path, file) }
      own = value
      return
    }
    if keys.isEmpty { isList = first.isIndex }
    guard isList == first.isIndex else {
      throw OrbaxTreeMetadata.invalid("a container has both keys and indices", leaf: path, file: file)
    }
    switch children[first.key] {
    case nil:
      let rest = steps.dropFirst()
      keys.append(first.key)
      if rest.isEmpty {
        children[first.key] = .leaf(value)
      } else {
        let branch = OrbaxBranch()
        children[first.key] = .branch(branch)
        try branch.add(value, at: rest, path: path, file: file)
      }
    case .branch(let branch): try branch.add(value, at: steps.dropFirst(), path: path, file: file)
    case .leaf(let leaf):
      // An empty container that later got children is one with children.
      guard steps.count > 1 else { throw collision(path, file) }
      let branch = OrbaxBranch()
      branch.own = leaf
      children[first.key] = .branch(branch)
      try branch.add(value, at: steps.dropFirst(), path: path, file: file)
    }
  }

  private func collision(_ path: TreePath, _ file: String) -> GraftError {
    GraftError(
      .collision, "two leaves have one place in the tree", leaf: path, file: file,
      remedy: "the checkpoint's metadata contradicts itself: save it again")
  }

  // Recursion is as deep as the tree, which ``Limits/nestingDepth`` bounds.
  func tree(at path: TreePath, file: String) throws(GraftError) -> Tree<OrbaxTreeMetadata.Value> {
    if keys.isEmpty { return own.map(Self.leaf) ?? .dictionary([]) }
    switch own {
    case nil, .empty?: break
    case .array?, .string?, .unsupported?: throw collision(path, file)
    }
    func child(_ key: Key) throws(GraftError) -> Tree<OrbaxTreeMetadata.Value> {
      switch children[key] {
      case .leaf(let value)?: return Self.leaf(value)
      case .branch(let branch)?: return try branch.tree(at: path.appending(key), file: file)
      case nil: preconditionFailure("every key has a child")
      }
    }
    guard isList else {
      var fields: [(key: Key, value: Tree<OrbaxTreeMetadata.Value>)] = []
      for key in keys { fields.append((key, try child(key))) }
      return .dictionary(fields)
    }
    var elements: [Tree<OrbaxTreeMetadata.Value>] = []
    for index in keys.indices {
      let key = Key(index: index)
      guard children[key] != nil else {
        throw OrbaxTreeMetadata.invalid(
          "a list of \(keys.count) elements has none at \(index)", leaf: path, file: file)
      }
      elements.append(try child(key))
    }
    return .list(elements)
  }

  private static func leaf(_ value: OrbaxTreeMetadata.Value) -> Tree<OrbaxTreeMetadata.Value> {
    guard case .empty(let kind) = value else { return .leaf(value) }
    return switch kind {
    case .dictionary: .dictionary([])
    case .list: .list([])
    case .tuple: .tuple([])
    case .namedTuple: .namedTuple([])
    case .leaf, .empty, .fault: .empty
    }
  }
}

extension Tree where Leaf == OrbaxTreeMetadata.Value {
  /// The tree with the kinds of containers that `value_metadata_tree` knows: tuples, and named tuples with their type's name.
  ///
  /// Where the two disagree about what is there, the tree stays as it is. Recursion is as deep as the tree.
  fileprivate func enriched(by rich: JSONValue) -> Tree {
    let own = children
    switch rich {
    case .array(let elements):
      guard kind == .list, elements.count == own.count else { return self }
      return .list(zip(own, elements).map { $0.value.enriched(by: $1) })
    case .object(let members):
      switch (rich["category"]?.text, rich["entries"]?.elements) {
      case ("namedtuple", let entries?):
        let fields = entries.compactMap { entry in
          entry["key"]?.text.flatMap { key in entry["value"].map { (key: Key(key), value: $0) } }
        }
        guard fields.count == entries.count, Set(fields.map(\.key)).count == fields.count,
          kind == .namedTuple || kind == .dictionary, Set(fields.map(\.key)) == Set(own.map(\.key))
        else { return self }
        let module = rich["module"]?.text.map { $0 + "." } ?? ""
        return .namedTuple(
          fields.map { (key: $0.key, value: self[$0.key].detached.enriched(by: $0.value)) },
          type: rich["clazz"]?.text.map { module + $0 })
      case ("custom", let entries?):
        guard rich["clazz"]?.text == "tuple", kind == .list || kind == .tuple, entries.count == own.count
        else {
          return self
        }
        return .tuple(zip(own, entries).map { $0.value.enriched(by: $1) })
      default:
        guard kind == .dictionary, members.count == own.count else { return self }
        var kinds: [Key: JSONValue] = [:]
        for member in members { kinds[Key(member.key)] = member.value }
        return .dictionary(
          own.map { child in
            (key: child.key, value: kinds[child.key].map { child.value.enriched(by: $0) } ?? child.value)
          })
      }
    default: return self
    }
  }

  /// The node without the path that it was looked up at.
  private var detached: Tree {
    var tree = self
    tree.origin = nil
    return tree
  }
}
