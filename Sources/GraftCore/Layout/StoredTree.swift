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

// Likewise a tree of numbers, which stands for the structure alone while the leaves are looked for.
extension Tree where Leaf == Int {
  /// A node that is the leaf of this number.
  package static func numbered(_ number: Int) -> Tree { Tree(.leaf(number)) }

  /// A dictionary of children whose keys are known to differ, each with the value at its place.
  package static func dictionary(uniqueKeys keys: [Key], values: [Tree]) -> Tree {
    Tree(.dictionary(OrderedDictionary(uncheckedUniqueKeys: keys, values: values)))
  }

  /// The same tree of the leaves that have these numbers.
  package func filled(with leaves: [StoredLeaf]) -> Tree<StoredLeaf> {
    mapNodes { .stored(leaves[$0]) }
  }
}
