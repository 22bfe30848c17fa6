internal import OrderedCollections

extension Tree where Leaf: PlaceholderLeaf {
  /// The tree without its placeholders, as it can be saved; empty when there is nothing else.
  ///
  /// Of a dictionary the key goes with the placeholder. Elements of lists and tuples stand at numbers that others would
  /// take, and a named tuple is none of its type without a field, so there an empty node stays. Nodes that held nothing but
  /// placeholders go like these.
  package var withoutPlaceholders: Tree {
    // Nearly every tree has none, and then nothing is made anew.
    guard containsPlaceholder() else { return self }
    return strippedOfPlaceholders ?? .empty
  }

  @_specialize(where Leaf == LazyLeaf)
  private func containsPlaceholder() -> Bool {
    switch node {
    case .leaf(let leaf): leaf.isPlaceholder
    case .dictionary(let children), .namedTuple(_, let children):
      children.values.contains { $0.containsPlaceholder() }
    case .list(let children), .tuple(let children): children.contains { $0.containsPlaceholder() }
    case .empty, .fault, .absent: false
    }
  }

  private var strippedOfPlaceholders: Tree? {
    switch node {
    case .leaf(let leaf): return leaf.isPlaceholder ? nil : self
    case .dictionary(let children):
      var kept: [(key: Key, value: Tree)] = []
      kept.reserveCapacity(children.count)
      for (key, child) in children {
        if let child = child.strippedOfPlaceholders { kept.append((key, child)) }
      }
      return kept.isEmpty && !children.isEmpty ? nil : .dictionary(kept)
    case .namedTuple(let type, let fields):
      let stripped = fields.map { (key: $0.key, value: $0.value.strippedOfPlaceholders) }
      guard fields.isEmpty || stripped.contains(where: { $0.value != nil }) else { return nil }
      return .namedTuple(stripped.map { (key: $0.key, value: $0.value ?? .empty) }, type: type)
    case .list(let elements): return Self.stripped(elements).map { .list($0) }
    case .tuple(let elements): return Self.stripped(elements).map { .tuple($0) }
    case .empty, .fault, .absent: return self
    }
  }

  private static func stripped(_ elements: [Tree]) -> [Tree]? {
    let stripped = elements.map(\.strippedOfPlaceholders)
    guard elements.isEmpty || stripped.contains(where: { $0 != nil }) else { return nil }
    return stripped.map { $0 ?? .empty }
  }
}
