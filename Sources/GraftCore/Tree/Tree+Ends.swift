internal import OrderedCollections

extension Tree {
  /// Walks the tree depth first: a call for each step down, for each step up, and for each node without children.
  ///
  /// For who makes something of the keys on the way other than a path: of 100,000 leaves that lie deep, the paths are most of what
  /// ``forEachLeaf(_:)`` costs.
  ///
  /// - Parameters:
  ///   - enter: told the key of a child before anything in it, and whether the key is an index.
  ///   - leave: called behind everything in that child.
  ///   - end: told of a leaf, a container without children, an empty node or a fault.
  package func forEachEnd(
    enter: (_ key: Key, _ isIndex: Bool) -> Void, leave: () -> Void,
    end: (_ kind: NodeKind, _ leaf: Leaf?) throws(GraftError) -> Void
  ) throws(GraftError) {
    try visitEnds(enter, leave, end)
  }

  private func visitEnds(
    _ enter: (Key, Bool) -> Void, _ leave: () -> Void, _ end: (NodeKind, Leaf?) throws(GraftError) -> Void
  ) throws(GraftError) {
    func descend(_ key: Key, isIndex: Bool, _ child: Tree) throws(GraftError) {
      enter(key, isIndex)
      try child.visitEnds(enter, leave, end)
      leave()
    }
    switch node {
    case .leaf(let leaf): try end(.leaf, leaf)
    case .dictionary(let children) where !children.isEmpty,
      .namedTuple(_, let children) where !children.isEmpty:
      for (key, child) in children { try descend(key, isIndex: false, child) }
    case .list(let children) where !children.isEmpty, .tuple(let children) where !children.isEmpty:
      for (index, child) in children.enumerated() {
        try descend(Key(index: index), isIndex: true, child)
      }
    case .dictionary, .namedTuple, .list, .tuple, .empty, .fault, .absent: try end(kind, nil)
    }
  }
}
