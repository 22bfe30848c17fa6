/// A target held against a checkpoint: the plan that fills it, and what becomes of every leaf.
package struct LoadPlan: Sendable {
  /// What stands at a leaf of the result's tree.
  package enum Outcome: Sendable {
    /// The plan's result of this index.
    case read(Int)
    /// A string, which was in the metadata.
    case string(String)
    /// Nothing was asked for.
    case placeholder
    /// The checkpoint lacks the leaf and the target gave this tensor to keep.
    case kept(Tensor)
    /// The checkpoint lacks the leaf, and the plan's result of this index is made by the target's initializer.
    case initialized(Int)
  }

  /// The result's tree, with the target's kinds of nodes.
  package var tree: Tree<Outcome>
  /// The reads.
  package var plan: Plan
  /// Leaves of the checkpoint that the target did not mention, each with its logical bytes.
  package var omitted: [(path: TreePath, byteCount: Int)] = []
  /// Leaves of the checkpoint whose target was a placeholder, each with its logical bytes.
  package var placeholders: [(path: TreePath, byteCount: Int)] = []
}

extension LoadPlan {
  /// Holds a target against a checkpoint's tree and plans the reads.
  ///
  /// Structure, shapes and dtypes must agree; every disagreement is found and all are thrown together. With `partial`, leaves
  /// that the target does not mention are omitted, and a leaf of the target may stand for a whole subtree.
  ///
  /// - Throws: ``GraftError`` whose `others` hold all further disagreements, at most 1,000.
  package init(_ target: Tree<Target>, from catalog: Catalog, partial: Bool) throws(GraftError) {
    var planner = Planner()
    planner.addFiles(catalog.files)
    let resolver = try TargetResolver.resolving(
      target, in: catalog.tree, partial: partial, collector: planner)
    self.init(
      tree: resolver.tree, plan: resolver.collector.plan(), omitted: resolver.omitted,
      placeholders: resolver.placeholders)
  }
}

extension Planner: TargetCollector {
  mutating func add(_ path: TreePath, _ leaf: StoredLeaf, slice: TensorSlice?) throws(GraftError) -> Int {
    guard case .tensor(let spec, let layout, _) = leaf else {
      preconditionFailure("only tensors are read")
    }
    return try add(path, spec, layout, slice: slice)
  }
}

extension StoredLeaf: TargetedLeaf {
  var targeted: Targeted {
    switch self {
    case .tensor(let spec, _, _): .tensor(spec)
    case .string(let text): .string(text)
    case .unsupported(let leaf): .unsupported(leaf)
    }
  }
}

extension StoredLeaf {
  /// The bytes that the leaf takes in memory; 0 for one that is not read.
  package var byteCount: Int {
    switch self {
    case .tensor(let spec, _, _): spec.byteCount
    case .string(let text): text.utf8.count
    case .unsupported: 0
    }
  }
}

extension Tree {
  /// How a message calls this node: `a leaf`, `an empty node`, `a dictionary of 3 children`.
  var nodeName: String {
    switch kind {
    case .leaf: "a leaf"
    case .empty: "an empty node"
    case .fault: "a fault"
    default:
      childCount == 1 ? "a \(kind.rawValue) of 1 child" : "a \(kind.rawValue) of \(childCount) children"
    }
  }
}
