/// A leaf of a loaded checkpoint.
public enum LeafValue: Sendable {
  /// A tensor; a scalar is one of rank 0.
  case tensor(Tensor)
  /// Text.
  case string(String)
  /// A place that the target kept free: the leaf exists, and was not loaded.
  case placeholder

  /// What the leaf is; nil for a placeholder.
  public var spec: LeafSpec? {
    switch self {
    case .tensor(let tensor): .tensor(tensor.spec)
    case .string: .string
    case .placeholder: nil
    }
  }
}

extension LeafValue: PlaceholderLeaf {
  /// Whether the leaf was not loaded, so that a merge takes the other tree's value.
  public var isPlaceholder: Bool {
    if case .placeholder = self { true } else { false }
  }
}

extension LeafValue: CustomStringConvertible {
  /// The tensor's spec and first values, the text in quotes, or `placeholder`.
  public var description: String {
    switch self {
    case .tensor(let tensor): tensor.description
    case .string(let text): "\"\(TreePath.printable(text))\""
    case .placeholder: "placeholder"
    }
  }
}

// MARK: - Making trees of values

extension Tree where Leaf == LeafValue {
  /// A leaf that is a tensor: `["params": ["bias": .tensor(bias)], "step": .tensor(Tensor(scalar: step))]`.
  public static func tensor(_ tensor: Tensor) -> Tree { .leaf(.tensor(tensor)) }

  /// A leaf that is text.
  public static func string(_ text: String) -> Tree { .leaf(.string(text)) }
}

// MARK: - Looking into a tree of values

extension Tree where Leaf == LeafValue {
  /// The tensor at this node; throws an error that names the path when there is none.
  public var tensor: Tensor {
    get throws(GraftError) {
      guard case .tensor(let tensor) = try value(wanted: "a tensor") else { throw notHere("a tensor") }
      return tensor
    }
  }

  /// The text at this node; throws an error that names the path when there is none.
  public var string: String {
    get throws(GraftError) {
      guard case .string(let text) = try value(wanted: "a string") else { throw notHere("a string") }
      return text
    }
  }

  /// The number at this node, as ``Tensor/scalar(as:lossy:)`` converts it: `let step: Int = try tree["step"].scalar()`.
  ///
  /// Throws an error that names the path when there is no tensor of one element, or its value is no `Element`.
  public func scalar<Element: TensorScalar>(
    as type: Element.Type = Element.self, lossy: Bool = false
  ) throws(GraftError) -> Element {
    let tensor = try self.tensor
    do throws(GraftError) {
      return try tensor.scalar(as: type, lossy: lossy)
    } catch {
      var error = error
      error.leaf = origin
      throw error
    }
  }

  private func value(wanted: String) throws(GraftError) -> LeafValue {
    switch node {
    case .leaf(let value): return value
    case .fault, .absent: throw fault ?? notHere(wanted)
    case .dictionary, .list, .tuple, .namedTuple, .empty: throw notHere(wanted)
    }
  }

  private func notHere(_ wanted: String) -> GraftError {
    let found: String
    var remedy: String?
    var code = GraftError.Code.structureMismatch
    switch leaf {
    case .placeholder?:
      code = .leafNotFound
      found = "a placeholder"
      remedy = "load the leaf, with .stored in the target"
    case .string?: found = "a string"
    case .tensor(let tensor)?: found = "a tensor, \(tensor.spec)"
    case nil:
      found = kind == .empty ? "an empty node" : "a \(kind.rawValue) of \(childCount)"
      if let key = children.first?.key {
        remedy = "look up one of its children, for example \((origin ?? .root).appending(key))"
      }
    }
    return GraftError(
      code, "the tree has no \(wanted.split(separator: " ").last ?? "value") here", leaf: origin ?? .root,
      expected: wanted, found: found, remedy: remedy)
  }
}
