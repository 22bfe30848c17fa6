internal import OrderedCollections

extension Tree {
  /// The tree of dictionaries that has these leaves at these paths, in this order.
  ///
  /// Lists and tuples cannot be told from paths, so an index becomes a dictionary's key. Two leaves at one path, and a
  /// leaf below another leaf, are errors of code `collision` that name both; the work is linear in the number of keys.
  ///
  /// - Throws: ``GraftError`` of code `collision`, or `limitExceeded` where a path is deeper, a key longer or the
  ///   number of leaves larger than `limits` allow.
  public init(
    leaves: some Sequence<(path: TreePath, leaf: Leaf)>, limits: Limits = Limits()
  ) throws(GraftError) {
    let root = Branch<Leaf>()
    var count = 0
    for (path, leaf) in leaves {
      count += 1
      guard count <= limits.leafCount else {
        throw GraftError(
          .limitExceeded, "the tree has too many leaves", expected: "at most \(limits.leafCount)",
          found: "more",
          remedy: "raise Limits.leafCount if the checkpoint is trusted")
      }
      try root.add(leaf, at: path, limits: limits)
    }
    self = root.tree
  }

  /// The tree of dictionaries that has these leaves at these paths; see ``init(leaves:limits:)``.
  @_disfavoredOverload
  public init(leaves: some Sequence<(TreePath, Leaf)>, limits: Limits = Limits()) throws(GraftError) {
    try self.init(leaves: leaves.lazy.map { (path: $0.0, leaf: $0.1) }, limits: limits)
  }
}

/// A dictionary while it grows: a class, so that adding a leaf deep down copies nothing.
private final class Branch<Leaf: Sendable> {
  enum Child {
    case leaf(Leaf)
    case branch(Branch)
  }

  var children: OrderedDictionary<Key, Child> = [:]
  /// The leaf at the root itself, which only a tree without other leaves can have.
  var ownLeaf: Leaf?
  /// A leaf somewhere below, to name in a collision.
  var example: TreePath?

  func add(_ leaf: Leaf, at path: TreePath, limits: Limits) throws(GraftError) {
    guard path.keys.count <= limits.nestingDepth else {
      throw GraftError(
        .limitExceeded, "a leaf lies too deep", leaf: TreePath(Array(path.keys.prefix(8))),
        expected: "at most \(limits.nestingDepth) keys",
        found: "\(path.keys.count) keys, of which these are the first",
        remedy: "raise Limits.nestingDepth if the checkpoint is trusted")
    }
    if ownLeaf != nil { throw path == .root ? Self.twice(path) : Self.collision(between: .root, and: path) }
    guard let last = path.last else {
      if let example { throw Self.collision(between: .root, and: example) }
      ownLeaf = leaf
      return
    }
    var branch = self
    for (depth, key) in path.keys.enumerated() {
      guard key.string.utf8.count <= limits.keyByteCount else {
        throw GraftError(
          .limitExceeded, "a key is too long", leaf: TreePath(Array(path.keys.prefix(depth))),
          expected: "at most \(limits.keyByteCount) bytes", found: "\(key.string.utf8.count) bytes",
          remedy: "raise Limits.keyByteCount if the checkpoint is trusted")
      }
      if branch.example == nil { branch.example = path }
      if depth == path.keys.count - 1 { break }
      switch branch.children[key] {
      case .branch(let next): branch = next
      case .leaf: throw Self.collision(between: TreePath(Array(path.keys[...depth])), and: path)
      case nil:
        let next = Branch()
        branch.children[key] = .branch(next)
        branch = next
      }
    }
    switch branch.children.updateValue(.leaf(leaf), forKey: last) {
    case nil: break
    case .leaf: throw Self.twice(path)
    case .branch(let below): throw Self.collision(between: path, and: below.example ?? path)
    }
  }

  static func twice(_ path: TreePath) -> GraftError {
    GraftError(.collision, "two leaves are named \(path)", leaf: path, remedy: "rename one of them")
  }

  static func collision(between leaf: TreePath, and other: TreePath) -> GraftError {
    GraftError(
      .collision, "\(other) lies below \(leaf), which is itself a leaf", leaf: leaf,
      remedy: "rename one of them")
  }

  /// The finished tree; no deeper than the paths, whose length was checked.
  var tree: Tree<Leaf> {
    if let ownLeaf { return .leaf(ownLeaf) }
    return .dictionary(
      children.lazy.map { key, child in
        switch child {
        case .leaf(let leaf): (key: key, value: .leaf(leaf))
        case .branch(let branch): (key: key, value: branch.tree)
        }
      })
  }
}
