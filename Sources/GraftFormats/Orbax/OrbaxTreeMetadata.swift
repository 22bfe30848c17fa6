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

  /// The leaves in the order of the file, each with its path.
  package private(set) var leaves: [(path: TreePath, value: Value)] = []
  /// The tree, each of whose leaves is the index of one of ``leaves``.
  ///
  /// Tuples and named tuples are lists and dictionaries, unless the checkpoint has rich types.
  package private(set) var structure: Tree<Int>
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
    let contents = try OrbaxTreeMetadataContents(bytes, file: file, limits: limits)
    var builder = OrbaxTreeBuilder(file: file)
    var names: Set<Key> = []
    names.reserveCapacity(contents.entries.count)
    leaves.reserveCapacity(contents.entries.count)
    for entry in contents.entries {
      let path = TreePath(entry.steps.map(\.key))
      let value = entry.value
      if let name = value.name, !names.insert(Key(name)).inserted {
        let other = leaves.first { $0.value.name?.utf8.elementsEqual(name.utf8) == true }?.path ?? path
        throw GraftError(
          .collision,
          "two leaves are stored under the one name \(TreePath.printable(name)): \(other) and \(path)",
          leaf: path, file: file,
          remedy:
            "Orbax joins keys with dots, and one of the two was lost when the checkpoint was saved: save it again with other keys"
        )
      }
      if case .empty(let kind) = value {
        try builder.add(.empty(kind), at: entry.steps, path)
      } else {
        try builder.add(.leaf(leaves.count), at: entry.steps, path)
        leaves.append((path, value))
      }
      if case .array(let name) = value, entry.type == "scalar" { scalarNames.insert(Key(name)) }
    }
    structure = try builder.tree()
    if let text = contents.richTypes {
      // It only adds kinds of containers, and Orbax itself ignores it when it is damaged.
      if let rich = try? JSONValue(parsing: Array(text.utf8), nestingLimit: limits.nestingDepth) {
        structure = structure.enriched(by: rich)
      }
    }
    usesOCDBT = contents.usesOCDBT
    usesZarr3 = contents.usesZarr3 ?? false
    storesFillValues = contents.storesFillValues ?? false
    if let custom = contents.customMetadata, custom.kind != .null { customMetadata = custom }
  }

  /// The tree with its leaves in their places.
  package var tree: Tree<Value> { structure.mapLeaves { .leaf(leaves[$1].value) } }

  static func invalid(_ what: String, leaf: TreePath? = nil, file: String) -> GraftError {
    GraftError(
      .corrupt, "the tree's metadata is not valid: \(what)", leaf: leaf, file: file,
      remedy: "the checkpoint was damaged after it was written: copy or download it again")
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

extension Tree where Leaf == Int {
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
