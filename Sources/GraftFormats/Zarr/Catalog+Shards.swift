package import GraftCore

extension Catalog {
  /// The catalog with the shards of those leaves looked into that a target wants, so that a load can be planned.
  ///
  /// A leaf is wanted when the target has something other than a placeholder at its path or above it, and of a leaf of which a slice
  /// is wanted only the shards that the slice touches are looked into: the others stay absent. Where no leaf has
  /// shards, nothing is read. A target that does not fit the tree is left for the planner to judge.
  ///
  /// - Throws: ``GraftError`` that names leaf and file for an index that is damaged or cannot be read.
  @concurrent
  package func resolvingShards(
    for target: Tree<Target>, limits: Limits = Limits()
  ) async throws(GraftError) -> Catalog {
    guard hasShards else { return self }
    var sharded: [(path: TreePath, spec: TensorSpec, layout: Layout)] = []
    tree.forEachLeaf { path, leaf in
      if case .tensor(let spec, let layout, _) = leaf, layout.shards != nil {
        sharded.append((path, spec, layout))
      }
    }
    var wanted: Set<TreePath> = []
    var slices: [TreePath: TensorSlice] = [:]
    target.forEachLeaf { path, leaf in
      if !leaf.isPlaceholder { wanted.insert(path) }
      slices[path] = leaf.slice
    }
    let leaves = sharded.filter { leaf in
      var above = leaf.path
      while !wanted.contains(above) {
        if above.keys.isEmpty { return false }
        above.keys.removeLast()
      }
      return true
    }
    guard !leaves.isEmpty else { return self }
    let parts = leaves.map { leaf in slices[leaf.path].flatMap { $0.bounds(in: leaf.spec.shape) } }
    let layouts = try await lookingIntoShards(leaves, within: parts, limits: limits)
    var resolved: [TreePath: Layout] = [:]
    for (leaf, layout) in zip(leaves, layouts) { resolved[leaf.path] = layout }
    var catalog = self
    catalog.tree = tree.mapLeaves { path, leaf in
      guard case .tensor(let spec, _, let name) = leaf, let layout = resolved[path] else {
        return .leaf(leaf)
      }
      return .leaf(.tensor(spec, layout, name: name))
    }
    return catalog
  }
}

extension TensorSlice {
  /// The smallest box that has all wanted elements of a tensor of this shape; nil for a slice that does not fit it or wants none.
  fileprivate func bounds(in shape: Shape) -> Box? {
    guard let (result, map) = try? resolved(for: shape), !result.extents.contains(0) else { return nil }
    var box = Box(whole: shape)
    for (axis, source) in map.axes.enumerated() {
      switch source {
      case .constant(let index): (box.origin[axis], box.shape[axis]) = (index, 1)
      case .result(let resultAxis, let step, let offset):
        let last = offset + step * (result[resultAxis] - 1)
        (box.origin[axis], box.shape[axis]) = (min(offset, last), abs(last - offset) + 1)
      }
    }
    return box
  }
}
