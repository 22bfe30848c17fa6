internal import OrderedCollections

/// One place where two trees that should agree differ.
public struct TreeDifference: Hashable, Sendable {
  /// How they differ.
  public enum Reason: String, Hashable, Sendable {
    /// What was expected is not there.
    case missing
    /// What is there was not expected.
    case unexpected
    /// Nodes of different kinds: a leaf and a dictionary, say.
    case kind
    /// Lists or tuples of different lengths.
    case length
    /// Leaves that do not agree.
    case leaf
  }

  /// Where in the trees it is.
  public var path: TreePath
  /// How they differ.
  public var reason: Reason
  /// What should have been there.
  public var expected: String
  /// What was there instead.
  public var found: String

  /// A difference.
  public init(path: TreePath, reason: Reason, expected: String, found: String) {
    self.path = path
    self.reason = reason
    self.expected = expected
    self.found = found
  }

  /// The difference as an error: of code `leafNotFound` where something is missing, else `structureMismatch`.
  public var error: GraftError {
    let message =
      switch reason {
      case .missing: "the tree has nothing at \(path)"
      case .unexpected: "the tree has something unexpected at \(path)"
      case .kind: "the trees differ in kind at \(path)"
      case .length: "the trees differ in length at \(path)"
      case .leaf: "the leaves at \(path) differ"
      }
    return GraftError(
      reason == .missing ? .leafNotFound : .structureMismatch, message, leaf: path, expected: expected,
      found: found)
  }
}

extension TreeDifference: CustomStringConvertible {
  /// `params/kernel: expected float32[2], found nothing`.
  public var description: String { "\(path): expected \(expected), found \(found)" }
}

extension Tree {
  /// Where this tree, as found, differs from the one that was expected; none when they agree.
  ///
  /// A subtree that is missing or unexpected is one difference, at its root. Dictionaries differ only by their keys, not by
  /// the order of them. Faults are kinds of their own here; call ``validate()`` first to have them thrown.
  ///
  /// - Parameters:
  ///   - expected: the tree as it should be.
  ///   - exactKinds: whether a list differs from a tuple, and a dictionary from a named tuple. Orbax gives lists and
  ///     dictionaries back for tuples and named tuples, and accepts one for the other, so by default they agree.
  ///   - comparing: says how two leaves differ, first the expected one; nil when they agree.
  public func difference<Expected>(
    from expected: Tree<Expected>, exactKinds: Bool = false,
    comparing: (TreePath, Expected, Leaf) -> (expected: String, found: String)?
  ) -> [TreeDifference] {
    var differences: [TreeDifference] = []
    compare(with: expected, at: .root, exactKinds: exactKinds, comparing, into: &differences)
    return differences
  }

  private func compare<Expected>(
    with other: Tree<Expected>, at path: TreePath, exactKinds: Bool,
    _ comparing: (TreePath, Expected, Leaf) -> (expected: String, found: String)?,
    into differences: inout [TreeDifference]
  ) {
    func note(_ reason: TreeDifference.Reason, _ expected: String, _ found: String, at path: TreePath) {
      differences.append(TreeDifference(path: path, reason: reason, expected: expected, found: found))
    }
    if exactKinds, kind.rawValue != other.kind.rawValue {
      return note(.kind, other.outline, outline, at: path)
    }
    switch (node, other.node) {
    case (.leaf(let leaf), .leaf(let expected)):
      if let (expected, found) = comparing(path, expected, leaf) { note(.leaf, expected, found, at: path) }
    case (.dictionary(let children), .dictionary(let expected)),
      (.dictionary(let children), .namedTuple(_, let expected)),
      (.namedTuple(_, let children), .dictionary(let expected)),
      (.namedTuple(_, let children), .namedTuple(_, let expected)):
      for (key, expectedChild) in expected {
        let path = path.appending(key)
        if let child = children[key] {
          child.compare(with: expectedChild, at: path, exactKinds: exactKinds, comparing, into: &differences)
        } else {
          note(.missing, expectedChild.outline, "nothing", at: path)
        }
      }
      for (key, child) in children where expected[key] == nil {
        note(.unexpected, "nothing", child.outline, at: path.appending(key))
      }
    case (.list(let elements), .list(let expected)), (.list(let elements), .tuple(let expected)),
      (.tuple(let elements), .list(let expected)), (.tuple(let elements), .tuple(let expected)):
      guard elements.count == expected.count else {
        return note(.length, Self.count(expected.count, "element"), "\(elements.count)", at: path)
      }
      for (index, (element, expected)) in zip(elements, expected).enumerated() {
        element.compare(
          with: expected, at: path.appending(Key(index: index)), exactKinds: exactKinds, comparing,
          into: &differences)
      }
    case (.empty, .empty): break
    default: note(.kind, other.outline, outline, at: path)
    }
  }

  /// What this node is, in a few words: `float32[2, 4]`, `a dictionary with 3 leaves`, `an empty node`.
  package var outline: String {
    switch node {
    case .leaf(let leaf): Self.text(of: leaf)
    case .dictionary: "a dictionary with \(Self.count(leafCount, "leaf"))"
    case .namedTuple: "a named tuple with \(Self.count(leafCount, "leaf"))"
    case .list(let elements): "a list of \(Self.count(elements.count, "element"))"
    case .tuple(let elements): "a tuple of \(Self.count(elements.count, "element"))"
    case .empty: "an empty node"
    case .fault, .absent: "a fault"
    }
  }

  /// What a leaf says of itself, cut where it is long.
  static func text(of leaf: Leaf) -> String {
    guard let leaf = leaf as? any CustomStringConvertible else { return "a leaf" }
    let text = leaf.description
    let start = String(text.unicodeScalars.prefix(120))
    return TreePath.printable(start) + (start.utf8.count < text.utf8.count ? "…" : "")
  }

  static func count(_ count: Int, _ noun: String) -> String {
    if count == 1 { return "1 \(noun)" }
    return noun == "leaf" ? "\(count) leaves" : "\(count) \(noun)s"
  }
}
