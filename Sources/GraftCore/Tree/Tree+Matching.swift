internal import OrderedCollections

// Finding and removing parts of a tree by pattern: a glob over keys (``PathPattern``) or a Swift regular expression.
//
// A regular expression must match a whole key, or a whole printed path. It sees Unicode scalars, not grapheme clusters,
// unless it says otherwise itself: keys are told apart by their bytes, so a pattern must not take one for another.

// MARK: - Children

extension Tree {
  /// The children whose whole key matches, in the numeric order of the first capture: `layer2` before `layer10`.
  ///
  /// Without a capture they come in the natural order of their keys, as ``NaturalOrder`` has it. A fault gives itself, so
  /// that what is made from the children reports it.
  public func children(matching pattern: some RegexComponent) -> [Tree] {
    if kind == .fault { return [self] }
    return childKeys(matching: pattern).map { self[$0] }
  }

  /// The keys of the children whose whole key matches, in the numeric order of the first capture.
  public func childKeys(matching pattern: some RegexComponent) -> [Key] {
    let regex = Self.prepared(pattern)
    var found: [(order: String, key: Key)] = []
    forEachChild { key, _ in
      guard let match = Self.wholeMatch(of: regex, in: key.string) else { return }
      let capture = match.count > 1 ? match[1].substring.map(String.init) : nil
      found.append((order: capture ?? key.string, key: key))
    }
    found.sort { a, b in
      if NaturalOrder.precedes(a.order, b.order) { return true }
      return !NaturalOrder.precedes(b.order, a.order) && NaturalOrder.precedes(a.key, b.key)
    }
    return found.map(\.key)
  }

  /// Removes the child with this key; a fault where there is none.
  ///
  /// A list's later elements move up. A tuple or named tuple cannot lose a child, so that asking for it is a fault.
  public mutating func removeChild(_ key: Key) {
    requirePresence()
    if kind == .fault { return }
    if hasChild(key) {
      removeChildren { $0 == key }
    } else {
      self = .fault(Self.absence(of: (origin ?? .root).appending(key), among: self))
    }
  }

  /// Removes the children whose whole key matches, and says how many they were; a fault where there is no node at all.
  ///
  /// A list's later elements move up. A tuple or named tuple cannot lose a child, so that a match there is a fault.
  @discardableResult
  public mutating func removeChildren(matching pattern: some RegexComponent) -> Int {
    requirePresence()
    let regex = Self.prepared(pattern)
    return removeChildren { Self.wholeMatch(of: regex, in: $0.string) != nil }
  }

  @discardableResult
  private mutating func removeChildren(where isRemoved: (Key) -> Bool) -> Int {
    let before = childCount
    switch node {
    case .dictionary(var children):
      node = .empty
      children.removeAll { isRemoved($0.key) }
      node = .dictionary(children)
    case .list(let elements):
      node = .list(elements.enumerated().filter { !isRemoved(Key(index: $0.offset)) }.map(\.element))
    case .tuple, .namedTuple:
      guard let lost = children.first(where: { isRemoved($0.key) }) else { return 0 }
      let path = (origin ?? .root).appending(lost.key)
      node = .fault(
        GraftError(
          .structureMismatch, "a \(kind.rawValue) cannot lose \(path)", leaf: path,
          remedy: "replace the whole \(kind.rawValue) instead"))
      return 1
    case .leaf, .empty, .fault, .absent: break
    }
    return before - childCount
  }
}

// MARK: - Leaves

extension Tree {
  /// The leaves that the pattern selects, with their paths, depth first.
  public func leaves(matching pattern: PathPattern) -> [(path: TreePath, leaf: Leaf)] {
    var found: [(path: TreePath, leaf: Leaf)] = []
    collectLeaves(at: .root, pattern, pattern.start, into: &found)
    return found
  }

  private func collectLeaves(
    at path: TreePath, _ pattern: PathPattern, _ progress: PathPattern.Progress,
    into found: inout [(path: TreePath, leaf: Leaf)]
  ) {
    if progress.isMatch {
      visit(at: path) { found.append((path: $0, leaf: $1)) }
    } else if progress.isAlive {
      forEachChild { key, child in
        child.collectLeaves(
          at: path.appending(key), pattern, pattern.advance(progress, over: key), into: &found)
      }
    }
  }

  /// The leaves whose whole printed path matches, with their paths, depth first.
  @_disfavoredOverload
  public func leaves(matching pattern: some RegexComponent) -> [(path: TreePath, leaf: Leaf)] {
    leaves(matching: Self.prepared(pattern))
  }

  // Compiled for lazy tensors too, as ``removeLeaves(where:)`` is and for the same reason.
  @_specialize(where Leaf == LazyLeaf)
  private func leaves(matching regex: Regex<AnyRegexOutput>) -> [(path: TreePath, leaf: Leaf)] {
    var found: [(path: TreePath, leaf: Leaf)] = []
    forEachLeaf { path, leaf in
      if Self.wholeMatch(of: regex, in: path.description) != nil { found.append((path: path, leaf: leaf)) }
    }
    return found
  }

  /// Removes what the pattern selects, and says how many leaves that were; a fault where there is no node at all.
  ///
  /// See ``removeLeaves(where:)`` for what becomes of the containers.
  @discardableResult
  public mutating func removeLeaves(matching pattern: PathPattern) -> Int {
    let before = leafCount
    removeNodes { pattern.removing(from: $0, pattern.start) }
    return before - leafCount
  }

  /// Removes the leaves whose whole printed path matches, and says how many they were; a fault where there is no node.
  ///
  /// See ``removeLeaves(where:)`` for what becomes of the containers.
  @_disfavoredOverload @discardableResult
  public mutating func removeLeaves(matching pattern: some RegexComponent) -> Int {
    let regex = Self.prepared(pattern)
    return removeLeaves { path, _ in Self.wholeMatch(of: regex, in: path.description) != nil }
  }

  // Transforms of other modules call this on trees of very many lazy tensors; generic code would look types up at every step.
  /// Removes the leaves for which `isRemoved` says so, and says how many they were; a fault where there is no node.
  ///
  /// Paths are those below this node. In lists, tuples and named tuples a removed leaf becomes ``empty``, so that the other
  /// elements' paths stay what they were; a container all of whose children are removed is removed too.
  @_specialize(where Leaf == LazyLeaf)
  @discardableResult
  public mutating func removeLeaves(where isRemoved: (TreePath, Leaf) -> Bool) -> Int {
    var count = 0
    removeNodes { tree in
      var keys: [Key] = []
      return tree.removingLeaves(at: &keys) { path, leaf in
        let isRemoved = isRemoved(path, leaf)
        if isRemoved { count += 1 }
        return isRemoved
      }
    }
    return count
  }

  private mutating func removeNodes(_ remaining: (Tree) -> Remainder) {
    requirePresence()
    if kind == .fault { return }
    switch remaining(self) {
    case .same: break
    case .changed(let tree): node = tree.node
    case .nothing: node = .dictionary([:])
    }
  }

  /// `keys` are those down to this node.
  private func removingLeaves(at keys: inout [Key], where isRemoved: (TreePath, Leaf) -> Bool) -> Remainder {
    if case .leaf(let leaf) = node { return isRemoved(TreePath(copying: keys), leaf) ? .nothing : .same }
    return filteringChildren { key, child in
      keys.append(key)
      defer { keys.removeLast() }
      return child.removingLeaves(at: &keys, where: isRemoved)
    }
  }

  /// The faults of the tree in their containers, which stay to be reported whatever else is removed.
  var faultsOnly: Remainder {
    if kind == .fault { return .same }
    return childCount == 0 ? .nothing : filteringChildren { _, child in child.faultsOnly }
  }

  /// What a step leaves of a node.
  enum Remainder {
    /// All of it, so that nothing has to be copied.
    case same
    /// Another node.
    case changed(Tree)
    case nothing
  }

  /// The node with what `body` leaves of its children, asked one after the other; nothing when it had children and none is left.
  ///
  /// Of a dictionary the key goes with the child; in lists, tuples and named tuples an empty node stays.
  func filteringChildren(_ body: (Key, Tree) -> Remainder) -> Remainder {
    switch node {
    case .dictionary(let children):
      // Copied when the first child changes, and with new keys when the first one goes.
      var (rest, isSame, isFewer) = (children, true, false)
      for index in children.values.indices {
        let key = children.keys[index]
        switch body(key, children.values[index]) {
        case .same: if isFewer { rest[key] = children.values[index] }
        case .changed(let child):
          isSame = false
          if isFewer { rest[key] = child } else { rest.values[index] = child }
        case .nothing:
          if isFewer { continue }
          (isSame, isFewer) = (false, true)
          var before: OrderedDictionary<Key, Tree> = [:]
          for earlier in 0..<index { before[rest.keys[earlier]] = rest.values[earlier] }
          rest = before
        }
      }
      if isSame { return .same }
      return rest.isEmpty ? .nothing : .changed(Tree(.dictionary(rest)))
    case .namedTuple(let type, var fields):
      guard let rest = Self.filtering(Array(fields.values), { fields.keys[$0] }, body) else { return .same }
      for (index, child) in rest.enumerated() { fields.values[index] = child }
      return rest.isEmpty ? .nothing : .changed(Tree(.namedTuple(type: type, fields)))
    case .list(let elements):
      guard let rest = Self.filtering(elements, { Key(index: $0) }, body) else { return .same }
      return rest.isEmpty ? .nothing : .changed(Tree(.list(rest)))
    case .tuple(let elements):
      guard let rest = Self.filtering(elements, { Key(index: $0) }, body) else { return .same }
      return rest.isEmpty ? .nothing : .changed(Tree(.tuple(rest)))
    case .leaf, .empty, .fault, .absent: return .same
    }
  }

  /// What is left of elements in their places; none when nothing is, nil when all are the same.
  private static func filtering(
    _ elements: [Tree], _ key: (Int) -> Key, _ body: (Key, Tree) -> Remainder
  ) -> [Tree]? {
    var (rest, isSame, isLeft) = (elements, true, false)
    for index in elements.indices {
      switch body(key(index), elements[index]) {
      case .same: isLeft = true
      case .changed(let child):
        (isSame, isLeft) = (false, true)
        rest[index] = child
      case .nothing:
        isSame = false
        rest[index] = .empty
      }
    }
    return isSame ? nil : isLeft ? rest : []
  }
}

extension PathPattern {
  /// What is left of a node without what the pattern selects.
  fileprivate func removing<Leaf>(from tree: Tree<Leaf>, _ progress: Progress) -> Tree<Leaf>.Remainder {
    if progress.isMatch { return tree.faultsOnly }
    guard progress.isAlive else { return .same }
    return tree.filteringChildren { key, child in removing(from: child, advance(progress, over: key)) }
  }
}

// MARK: - Regular expressions

extension Tree {
  private static func prepared(_ pattern: some RegexComponent) -> Regex<AnyRegexOutput> {
    Regex(pattern.regex).matchingSemantics(.unicodeScalar)
  }

  /// The match of a whole text; a regular expression that fails while it runs, as one of the caller's own may, matches nothing.
  private static func wholeMatch(of regex: Regex<AnyRegexOutput>, in text: String) -> AnyRegexOutput? {
    (try? regex.wholeMatch(in: text))?.output
  }
}
