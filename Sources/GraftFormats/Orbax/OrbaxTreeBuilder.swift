internal import GraftCore

/// Makes a tree of leaves that come one by one with the keys on the way to them, as `_METADATA` lists them.
///
/// Neighbours in the list are mostly neighbours in the tree, so that the way to the leaf before is remembered.
struct OrbaxTreeBuilder {
  /// One step on the way to a leaf.
  struct Step: Hashable {
    var key: Key
    var isIndex: Bool
  }

  /// What is put into the tree.
  enum Item {
    /// A leaf, by its index.
    case leaf(Int)
    /// A container without children, or nothing at all.
    case empty(NodeKind)
  }

  private let file: String
  private let root = Branch()
  /// The containers on the way to where something was added last, below the root.
  private var way: [(step: Step, branch: Branch)] = []

  /// - Parameter file: what errors call the list.
  init(file: String) { self.file = file }

  /// Adds something.
  ///
  /// - Throws: `collision` where something is there; `corrupt` where a container would have both keys and indices.
  mutating func add(_ item: Item, at steps: [Step], _ path: TreePath) throws(GraftError) {
    var depth = 0
    while depth < way.count, depth + 1 < steps.count, way[depth].step == steps[depth] { depth += 1 }
    way.removeLast(way.count - depth)
    var branch = depth == 0 ? root : way[depth - 1].branch
    while true {
      guard depth < steps.count else {
        guard branch.own == nil else { throw collision(path) }
        branch.own = item
        return
      }
      let step = steps[depth]
      if branch.keys.isEmpty { branch.isList = step.isIndex }
      guard branch.isList == step.isIndex else {
        throw OrbaxTreeMetadata.invalid("a container has both keys and indices", leaf: path, file: file)
      }
      let isLast = depth + 1 == steps.count
      let next: Branch
      if let index = branch.index(of: step.key) {
        switch branch.children[index] {
        case .branch(let branch): next = branch
        case .item(let item):
          // An empty container that later got children is one with children.
          guard !isLast else { throw collision(path) }
          next = Branch()
          next.own = item
          branch.children[index] = .branch(next)
        }
      } else if isLast {
        return branch.append(step.key, .item(item))
      } else {
        next = Branch()
        branch.append(step.key, .branch(next))
      }
      if !isLast { way.append((step, next)) }
      branch = next
      depth += 1
    }
  }

  private func collision(_ path: TreePath) -> GraftError {
    GraftError(
      .collision, "two leaves have one place in the tree", leaf: path, file: file,
      remedy: "the checkpoint's metadata contradicts itself: save it again")
  }

  /// The tree of everything that was added.
  ///
  /// - Throws: `collision` for a leaf with something below it; `corrupt` for a list with a gap.
  func tree() throws(GraftError) -> Tree<Int> {
    var keys: [Key] = []
    return try tree(of: root, at: &keys)
  }

  // Recursion is as deep as the tree, which ``Limits/nestingDepth`` bounds.
  private func tree(of branch: Branch, at keys: inout [Key]) throws(GraftError) -> Tree<Int> {
    if branch.keys.isEmpty { return branch.own.map(Self.tree) ?? .dictionary([]) }
    if case .leaf? = branch.own { throw collision(TreePath(keys)) }
    func tree(_ index: Int) throws(GraftError) -> Tree<Int> {
      switch branch.children[index] {
      case .item(let item): return Self.tree(of: item)
      case .branch(let child):
        keys.append(branch.keys[index])
        defer { keys.removeLast() }
        return try self.tree(of: child, at: &keys)
      }
    }
    var children: [Tree<Int>] = []
    children.reserveCapacity(branch.keys.count)
    guard branch.isList else {
      for index in branch.keys.indices { children.append(try tree(index)) }
      return .dictionary(uniqueKeys: branch.keys, values: children)
    }
    for index in branch.keys.indices {
      guard let place = branch.index(of: Key(index: index)) else {
        throw OrbaxTreeMetadata.invalid(
          "a list of \(branch.keys.count) elements has none at \(index)", leaf: TreePath(keys), file: file)
      }
      children.append(try tree(place))
    }
    return .list(children)
  }

  private static func tree(of item: Item) -> Tree<Int> {
    switch item {
    case .leaf(let index): .numbered(index)
    case .empty(.dictionary): .dictionary([])
    case .empty(.list): .list([])
    case .empty(.tuple): .tuple([])
    case .empty(.namedTuple): .namedTuple([])
    case .empty(.leaf), .empty(.empty), .empty(.fault): .empty
    }
  }
}

/// A container of the tree while it grows: a class, so that adding a leaf deep down copies nothing.
private final class Branch {
  enum Child {
    case item(OrbaxTreeBuilder.Item)
    case branch(Branch)
  }

  private(set) var keys: [Key] = []
  var children: [Child] = []
  var isList = false
  /// What the container is when it has no children.
  var own: OrbaxTreeBuilder.Item?
  /// The children's indices by their keys, of a container that has many; of few keys a look at all of them is faster.
  private var indices: [Key: Int] = [:]

  /// From how many children on they are looked up by a hash.
  private static let hashedCount = 16

  func index(of key: Key) -> Int? {
    if keys.count < Self.hashedCount { return keys.firstIndex(of: key) }
    return indices[key]
  }

  func append(_ key: Key, _ child: Child) {
    keys.append(key)
    children.append(child)
    guard keys.count >= Self.hashedCount else { return }
    if indices.isEmpty {
      for (index, key) in keys.enumerated() { indices[key] = index }
    } else {
      indices[key] = keys.count - 1
    }
  }
}
