internal import GraftCore

extension OrbaxTreeMetadata {
  /// The file of a tree that is to be written, with the members and the order that Orbax 0.12 gives it.
  ///
  /// Named tuples are dictionaries and tuples are lists to those who read it, as for Orbax unless it is told to keep rich types.
  ///
  /// - Parameter storesFillValues: whether a chunk that is not there is lost, rather than full of its array's fill value.
  static func encoded(
    _ tree: Tree<OrbaxPlan.Leaf>, usesOCDBT: Bool, usesZarr3: Bool, storesFillValues: Bool = true
  ) -> [UInt8] {
    var json = JSONWriter()
    json.beginObject()
    json.key("tree_metadata")
    json.beginObject()
    var steps: [Step] = []
    write(tree, at: &steps, to: &json)
    json.endObject()
    json.key("use_ocdbt")
    json.bool(usesOCDBT)
    json.key("use_zarr3")
    json.bool(usesZarr3)
    json.key("store_array_data_equal_to_fill_value")
    json.bool(storesFillValues)
    json.key("custom_metadata")
    json.null()
    json.endObject()
    return json.takeBytes()
  }

  /// One step on the way to a leaf.
  private struct Step {
    var key: String
    var isIndex: Bool
  }

  // Recursion is as deep as the tree.
  private static func write(
    _ node: Tree<OrbaxPlan.Leaf>, at steps: inout [Step], to json: inout JSONWriter
  ) {
    if node.childCount > 0 {
      let isSequence = node.kind == .list || node.kind == .tuple
      for child in node.children {
        steps.append(Step(key: child.key.string, isIndex: isSequence))
        write(child.value, at: &steps, to: &json)
        steps.removeLast()
      }
      return
    }
    json.key(pythonTuple(steps.map(\.key)))
    json.beginObject()
    json.key("key_metadata")
    json.beginArray()
    for step in steps {
      json.beginObject()
      json.key("key")
      json.string(step.key)
      json.key("key_type")
      json.integer(step.isIndex ? 1 : 2)
      json.endObject()
    }
    json.endArray()
    json.key("value_metadata")
    json.beginObject()
    json.key("value_type")
    json.string(valueType(of: node))
    json.key("skip_deserialize")
    json.bool(node.leaf == nil)
    if case .tensor(let spec, .jax)? = node.leaf {
      json.key("write_shape")
      json.beginArray()
      for extent in spec.shape { json.integer(extent) }
      json.endArray()
    }
    json.endObject()
    json.endObject()
  }

  private static func valueType(of node: Tree<OrbaxPlan.Leaf>) -> String {
    switch node.kind {
    case .dictionary: return "Dict"
    case .list: return "List"
    case .tuple: return "Tuple"
    case .namedTuple: return "NamedTuple"
    case .empty, .fault: return "None"
    case .leaf: break
    }
    switch node.leaf {
    case .string?: return "string"
    case .tensor(_, .jax)?: return "jax.Array"
    // A scalar that got axes is none any more.
    case .tensor(let spec, .scalar)? where spec.rank == 0: return "scalar"
    case .tensor?, nil: return "np.ndarray"
    }
  }

  /// How Python prints a tuple of strings; nobody parses it, but no two may be alike.
  static func pythonTuple(_ keys: [String]) -> String {
    var text = "("
    for (index, key) in keys.enumerated() {
      if index > 0 { text += ", " }
      let quote: Unicode.Scalar =
        key.utf8.contains(UInt8(ascii: "'")) && !key.utf8.contains(UInt8(ascii: "\"")) ? "\"" : "'"
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
    }
    return text + (keys.count == 1 ? ",)" : ")")
  }
}
