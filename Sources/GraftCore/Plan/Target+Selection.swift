extension Tree where Leaf == StoredLeaf {
  /// The target that asks for the leaves that a selection selects and leaves the others out, for a partial load.
  ///
  /// A list, tuple or named tuple keeps its length, with placeholders for what is not selected, so that paths keep their meaning.
  ///
  /// - Throws: ``GraftError`` of code `leafNotFound` that names every rule which concerns no leaf, with near names.
  package func target(selecting selection: Selection) throws(GraftError) -> Tree<Target> {
    try selecting(selection).asTarget(of: self)
  }

  /// The target for what is left of `whole` in this tree.
  private func asTarget(of whole: Tree<StoredLeaf>) -> Tree<Target> {
    switch node {
    case .leaf: return .stored
    // Selecting leaves an empty node where something was taken out of a container that keeps its length.
    case .empty, .absent: return whole.kind == .empty ? .empty : .placeholder
    case .fault(let error): return .fault(error)
    case .dictionary, .namedTuple:
      let targets = children.lazy.map { (key: $0.key, value: $0.value.asTarget(of: whole[$0.key])) }
      if case .namedTuple(let type, _) = node { return .namedTuple(targets, type: type) }
      return .dictionary(targets)
    case .list: return .list(children.lazy.map { $0.value.asTarget(of: whole[$0.key]) })
    case .tuple: return .tuple(children.lazy.map { $0.value.asTarget(of: whole[$0.key]) })
    }
  }
}
