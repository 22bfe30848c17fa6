/// What a transform's function returned, held against a target if there is one: everything but the reads is settled.
package struct TransformPlan: Sendable {
  /// The result's tree; a read is of the tensor of that index.
  package let tree: Tree<LoadPlan.Outcome>
  /// The tensors to make, with their paths.
  package let tensors: [(path: TreePath, tensor: LazyTensor)]
  /// Leaves of the function's result that the target did not want.
  package let omitted: [(path: TreePath, byteCount: Int)]
  /// Leaves whose target was a placeholder.
  package let placeholders: [(path: TreePath, byteCount: Int)]
  /// What the function returned, where no target changes anything of it.
  private let unchanged: Tree<LazyLeaf>?

  /// Checks the tree, and holds it against a target.
  ///
  /// - Parameter target: what must come out; nil for whatever the tree has.
  /// - Throws: ``GraftError`` with every fault of the tree, or everything on which tree and target disagree.
  package init(_ result: Tree<LazyLeaf>, expecting target: Tree<Target>?) throws(GraftError) {
    try result.validate()
    if let target {
      let resolved = try TargetResolver.resolving(
        target, in: result, partial: false, collector: TensorCollector())
      tree = resolved.tree
      tensors = resolved.collector.tensors
      omitted = resolved.omitted
      placeholders = resolved.placeholders
      unchanged = nil
      return
    }
    var tensors: [(path: TreePath, tensor: LazyTensor)] = []
    var placeholders: [(path: TreePath, byteCount: Int)] = []
    tree = result.mapLeaves { path, leaf in
      switch leaf {
      case .tensor(let tensor):
        tensors.append((path, tensor))
        return .leaf(tensor.isMade ? .initialized(tensors.count - 1) : .read(tensors.count - 1))
      case .string(let text): return .leaf(.string(text))
      case .placeholder:
        placeholders.append((path, 0))
        return .leaf(.placeholder)
      }
    }
    self.tensors = tensors
    self.placeholders = placeholders
    omitted = []
    unchanged = result
  }

  /// Holds a target against a checkpoint's own tree, as a transform that changes nothing would have returned it.
  ///
  /// Leaves that the target does not want may be of any kind.
  ///
  /// - Throws: ``GraftError`` with everything on which target and checkpoint disagree.
  package init(_ target: Tree<Target>, from catalog: Catalog, partial: Bool) throws(GraftError) {
    let resolved = try TargetResolver.resolving(
      target, in: catalog.tree, partial: partial, collector: StoredTensorCollector())
    tree = resolved.tree
    tensors = resolved.collector.tensors
    omitted = resolved.omitted
    placeholders = resolved.placeholders
    unchanged = nil
  }

  /// The tree of what comes out; what a target keeps is a tensor of memory in it.
  package var result: Tree<LazyLeaf> {
    if let unchanged { return unchanged }
    return tree.mapNodes { outcome in
      switch outcome {
      case .read(let index), .initialized(let index): .leaf(.tensor(tensors[index].tensor))
      case .kept(let tensor): .leaf(.tensor(LazyTensor(tensor)))
      case .string(let text): .leaf(.string(text))
      case .placeholder: .leaf(.placeholder)
      }
    }
  }

  /// What comes out: every leaf's dtype and shape; a placeholder's node is empty.
  package var specs: Tree<LeafSpec> {
    tree.mapNodes { outcome in
      switch outcome {
      case .read(let index), .initialized(let index): .leaf(.tensor(tensors[index].tensor.spec))
      case .kept(let tensor): .leaf(.tensor(tensor.spec))
      case .string: .leaf(.string)
      case .placeholder: .empty
      }
    }
  }

  /// The leaves of each checkpoint that some result is made of, by the checkpoint's index.
  package func usedLeaves() -> [Int: Set<TreePath>] { Self.leaves(usedBy: tensors.map(\.tensor)) }

  /// The leaves of each checkpoint that these tensors are made of, by the checkpoint's index.
  package static func leaves(usedBy tensors: [LazyTensor]) -> [Int: Set<TreePath>] {
    var used: [Int: Set<TreePath>] = [:]
    var seen: Set<ObjectIdentifier> = []
    func visit(_ node: Expression) {
      // A node that is used many times is looked at once, or a deep graph would take for ever.
      guard seen.insert(ObjectIdentifier(node)).inserted else { return }
      switch node.operation {
      case .stored(let operand): used[operand.source, default: []].insert(operand.path)
      case .host, .generated: break
      case .product(let left, let right, _):
        visit(left)
        visit(right)
      case .view(let operand, _), .reshaped(let operand): visit(operand)
      case .concatenated(let operands, _), .elementwise(_, let operands): operands.forEach(visit)
      }
    }
    for tensor in tensors { visit(tensor.expression) }
    return used
  }

  /// Plans the reads.
  ///
  /// - Parameter catalogs: the checkpoints, in the order of their indices, with the shards of all used leaves looked into.
  /// - Throws: ``GraftError`` naming the leaf whose layout is broken, or whose plan would be too large.
  package func plan(_ catalogs: [Catalog]) throws(GraftError) -> LoadPlan {
    var planner = Planner()
    for catalog in catalogs { planner.addCheckpoint(catalog) }
    for (path, tensor) in tensors { _ = try planner.add(path, tensor) }
    return LoadPlan(tree: tree, plan: planner.plan(), omitted: omitted, placeholders: placeholders)
  }
}

extension LazyTensor {
  /// Whether the tensor's values are new: no stored leaf has part in them.
  fileprivate var isMade: Bool {
    if case .generated = expression.operation { true } else { false }
  }
}

/// Keeps the tensors that a target wants of a transform's result.
private struct TensorCollector: TargetCollector {
  var tensors: [(path: TreePath, tensor: LazyTensor)] = []

  mutating func add(_ path: TreePath, _ leaf: LazyLeaf, slice: TensorSlice?) throws(GraftError) -> Int {
    guard case .tensor(let tensor) = leaf else { preconditionFailure("only tensors are made") }
    if let slice { return try add(path, tensor.sliced(slice)) }
    return try add(path, tensor)
  }

  mutating func add(_ path: TreePath, _ tensor: LazyTensor) throws(GraftError) -> Int {
    tensors.append((path, tensor))
    return tensors.count - 1
  }
}

/// Makes tensors of the leaves of one checkpoint that a target wants.
private struct StoredTensorCollector: TargetCollector {
  var tensors: [(path: TreePath, tensor: LazyTensor)] = []

  mutating func add(_ path: TreePath, _ leaf: StoredLeaf, slice: TensorSlice?) throws(GraftError) -> Int {
    guard case .tensor(let spec, let layout, _) = leaf else {
      preconditionFailure("only tensors are read")
    }
    let tensor = LazyTensor(spec, StoredOperand(source: 0, path: path, layout: layout))
    if let slice { return try add(path, tensor.sliced(slice)) }
    return try add(path, tensor)
  }

  mutating func add(_ path: TreePath, _ tensor: LazyTensor) throws(GraftError) -> Int {
    tensors.append((path, tensor))
    return tensors.count - 1
  }
}

extension LazyLeaf: TargetedLeaf {
  var targeted: Targeted {
    switch self {
    case .tensor(let tensor): .tensor(tensor.spec)
    case .string(let text): .string(text)
    case .placeholder: .placeholder
    }
  }

  /// The bytes that the leaf takes in memory.
  var byteCount: Int {
    switch self {
    case .tensor(let tensor): tensor.spec.byteCount
    case .string(let text): text.utf8.count
    case .placeholder: 0
    }
  }
}

extension Catalog {
  /// The checkpoint's tree as a transform's function sees it.
  ///
  /// A leaf that is not read is a fault: an error only where it is still in the function's result.
  ///
  /// - Parameter source: the index of the checkpoint among those of the transform.
  package func lazyTree(source: Int) -> Tree<LazyLeaf> {
    tree.mapLeaves { path, leaf in
      switch leaf {
      case .tensor(let spec, let layout, _):
        .leaf(.tensor(LazyTensor(spec, StoredOperand(source: source, path: path, layout: layout))))
      case .string(let text): .leaf(.string(text))
      case .unsupported(let leaf): .fault(leaf.error(at: path))
      }
    }
  }
}
