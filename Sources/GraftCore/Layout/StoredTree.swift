internal import OrderedCollections

extension Tree where Leaf == StoredLeaf {
  /// A dictionary of children whose keys are known to differ, each with the value at its place.
  ///
  /// For formats that build trees of a hundred thousand leaves. It is compiled for this leaf alone: the generic
  /// ``dictionary(_:)`` looks up the types' metadata at every step when it is called from another module.
  package static func dictionary(uniqueKeys keys: [Key], values: [Tree]) -> Tree {
    Tree(.dictionary(OrderedDictionary(uncheckedUniqueKeys: keys, values: values)))
  }
}
