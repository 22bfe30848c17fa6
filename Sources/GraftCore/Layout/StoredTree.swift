internal import OrderedCollections

// For formats that build trees of a hundred thousand leaves. These are compiled for this leaf alone; the generic `leaf(_:)`
// and `dictionary(_:)` look up the types' metadata at every step when they are called from another module.
extension Tree where Leaf == StoredLeaf {
  /// A node that is a leaf.
  package static func stored(_ leaf: StoredLeaf) -> Tree { Tree(.leaf(leaf)) }

  /// A dictionary of children whose keys are known to differ, each with the value at its place.
  package static func dictionary(uniqueKeys keys: [Key], values: [Tree]) -> Tree {
    Tree(.dictionary(OrderedDictionary(uncheckedUniqueKeys: keys, values: values)))
  }
}
