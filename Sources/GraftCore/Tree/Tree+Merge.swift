internal import OrderedCollections

/// A leaf that may stand for a value that is elsewhere, and so gives way when trees are merged.
public protocol PlaceholderLeaf {
  /// Whether this leaf has no value of its own.
  var isPlaceholder: Bool { get }
}

extension Tree {
  /// The union of both trees: what either has, the first tree's children before those that only the other one has.
  ///
  /// - A placeholder, and an empty node, never takes the place of anything; what the other tree has there stays.
  /// - Two leaves at one path are an error that lists the paths; with `overwrite` the later one is taken.
  /// - Nodes of different kinds are an error. With `overwrite` the later one is taken, unless it holds no value at all.
  /// - Lists and tuples merge element by element, so they have the same length; named tuples have the same fields.
  ///
  /// - Throws: ``GraftError`` of code `collision` or `structureMismatch` with every conflict, or the trees' own faults.
  public func merging(_ other: Tree, overwrite: Bool = false) throws(GraftError) -> Tree {
    try validate()
    try other.validate()
    var merge = Merge<Leaf>(overwrite: overwrite)
    let result = merge.merge(self, other, at: .root)
    try merge.check()
    return result
  }

  /// The union of all trees in turn, see ``merging(_:overwrite:)``; an empty dictionary when there are none.
  public static func merging(
    _ trees: some Sequence<Tree>, overwrite: Bool = false
  ) throws(GraftError) -> Tree {
    var result: Tree?
    for tree in trees { result = try result?.merging(tree, overwrite: overwrite) ?? tree }
    return result ?? [:]
  }

  /// Whether nothing in the tree is a value: there are only placeholders, empty nodes and what contains them.
  package var holdsNoValue: Bool {
    switch node {
    case .leaf(let leaf): Self.isPlaceholder(leaf)
    case .dictionary(let children), .namedTuple(_, let children): children.values.allSatisfy(\.holdsNoValue)
    case .list(let children), .tuple(let children): children.allSatisfy(\.holdsNoValue)
    case .empty: true
    case .fault, .absent: false
    }
  }

  fileprivate static func isPlaceholder(_ leaf: Leaf) -> Bool {
    (leaf as? any PlaceholderLeaf)?.isPlaceholder ?? false
  }
}

/// One merge of two trees, and what went wrong in it.
private struct Merge<Leaf: Sendable> {
  let overwrite: Bool
  var conflicts: [TreePath] = []
  var mismatches: [GraftError] = []

  mutating func merge(_ first: Tree<Leaf>, _ later: Tree<Leaf>, at path: TreePath) -> Tree<Leaf> {
    if givesWay(later) { return first }
    if givesWay(first) { return later }
    switch (first.node, later.node) {
    case (.leaf, .leaf):
      if !overwrite { conflicts.append(path) }
      return later
    case (.dictionary(let children), .dictionary(let laterChildren)):
      return Tree(.dictionary(merge(children, laterChildren, at: path)))
    case (.namedTuple(let type, let fields), .namedTuple(let laterType, let laterFields))
    where fields.count == laterFields.count && fields.keys.allSatisfy { laterFields[$0] != nil }:
      return Tree(.namedTuple(type: laterType ?? type, merge(fields, laterFields, at: path)))
    case (.list(let elements), .list(let laterElements)):
      return merge(elements, laterElements, at: path).map(Tree.list) ?? first
    case (.tuple(let elements), .tuple(let laterElements)):
      return merge(elements, laterElements, at: path).map(Tree.tuple) ?? first
    default:
      guard overwrite else {
        mismatches.append(
          GraftError(
            .structureMismatch, "the trees to merge differ in kind at \(path)", leaf: path,
            expected: first.outline, found: later.outline, remedy: "allow overwriting to take the later one"))
        return first
      }
      return later.holdsNoValue ? first : later
    }
  }

  private func givesWay(_ tree: Tree<Leaf>) -> Bool {
    switch tree.node {
    case .empty: true
    case .leaf(let leaf): Tree.isPlaceholder(leaf)
    default: false
    }
  }

  private mutating func merge(
    _ children: OrderedDictionary<Key, Tree<Leaf>>, _ later: OrderedDictionary<Key, Tree<Leaf>>,
    at path: TreePath
  ) -> OrderedDictionary<Key, Tree<Leaf>> {
    var result = children
    for (key, child) in later {
      if let existing = children[key] {
        result[key] = merge(existing, child, at: path.appending(key))
      } else {
        result[key] = child
      }
    }
    return result
  }

  private mutating func merge(
    _ elements: [Tree<Leaf>], _ later: [Tree<Leaf>], at path: TreePath
  ) -> [Tree<Leaf>]? {
    guard elements.count == later.count else {
      mismatches.append(
        GraftError(
          .structureMismatch, "the trees to merge differ in length at \(path)", leaf: path,
          expected: Tree<Leaf>.count(elements.count, "element"), found: "\(later.count)"))
      return nil
    }
    var result: [Tree<Leaf>] = []
    result.reserveCapacity(elements.count)
    for (index, (element, laterElement)) in zip(elements, later).enumerated() {
      result.append(merge(element, laterElement, at: path.appending(Key(index: index))))
    }
    return result
  }

  func check() throws(GraftError) {
    var errors = mismatches
    if let first = conflicts.first {
      let shown = conflicts.prefix(10).map(\.description).joined(separator: ", ")
      let more = conflicts.count > 10 ? " and \(conflicts.count - 10) more" : ""
      errors.insert(
        GraftError(
          .collision, "both trees have a value at \(shown)\(more)", leaf: first,
          remedy: "allow overwriting to take the later one"), at: 0)
    }
    guard var first = errors.first else { return }
    first.others = Array(errors.dropFirst())
    throw first
  }
}
