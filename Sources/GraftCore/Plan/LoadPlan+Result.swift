internal import OrderedCollections

// The walks over trees that every load of a checkpoint does. They stand in this module because they are compiled for the
// leaves they are for only where the tree is: the generic walk of another module looks up the types' metadata at every step,
// which a fifth of the samples were in when a profile was taken of opening and planning 100,000 leaves.

extension Tree where Leaf == StoredLeaf {
  /// The same tree of what each leaf is.
  package var specs: Tree<LeafSpec> { mapNodes { .leaf($0.spec) } }
}

extension Tree where Leaf == LazyLeaf {
  /// The tensors with their paths, depth first, children in order, and how many leaves are none.
  package func tensors() -> (tensors: [(path: TreePath, tensor: LazyTensor)], otherCount: Int) {
    var tensors: [(path: TreePath, tensor: LazyTensor)] = []
    var otherCount = 0
    forEachLeaf { path, leaf in
      if case .tensor(let tensor) = leaf { tensors.append((path, tensor)) } else { otherCount += 1 }
    }
    return (tensors, otherCount)
  }

  /// Walks the tree as ``Tree/forEachEnd(enter:leave:end:)`` does.
  package func forEachLazyEnd(
    enter: (_ key: Key, _ isIndex: Bool) -> Void, leave: () -> Void,
    end: (_ kind: NodeKind, _ leaf: LazyLeaf?) throws(GraftError) -> Void
  ) throws(GraftError) {
    try forEachEnd(enter: enter, leave: leave, end: end)
  }
}

extension Tree where Leaf == LeafSpec {
  /// The same tree of what `body` wants of each leaf.
  package func targets<Failure: Error>(
    _ body: (TreePath, LeafSpec) throws(Failure) -> Tree<Target>
  ) throws(Failure) -> Tree<Target> {
    // A walk that throws would be generic over what it throws, and so not compiled for these leaves either.
    var failure: Failure?
    let targets: Tree<Target> = mapLeaves { path, spec in
      if failure != nil { return .empty }
      do throws(Failure) { return try body(path, spec) } catch {
        failure = error
        return .empty
      }
    }
    if let failure { throw failure }
    return targets
  }
}

extension LoadPlan {
  /// The tree of values, once the plan's results are these tensors.
  package func values(_ tensors: [Tensor]) -> Tree<LeafValue> {
    tree.mapNodes { outcome in
      switch outcome {
      case .read(let index), .initialized(let index): .leaf(.tensor(tensors[index]))
      case .string(let text): .leaf(.string(text))
      case .placeholder: .leaf(.placeholder)
      case .kept(let tensor): .leaf(.tensor(tensor))
      }
    }
  }

  /// Every leaf of the target and of the checkpoint, in the order of the tree, then those that were left out.
  package var reportedLeaves: [LoadReport.Leaf] {
    var leaves: [LoadReport.Leaf] = []
    leaves.reserveCapacity(plan.results.count + placeholders.count + omitted.count)
    tree.forEachLeaf { path, outcome in
      switch outcome {
      case .read(let index):
        leaves.append(
          LoadReport.Leaf(path: path, outcome: .loaded, byteCount: plan.results[index].spec.byteCount))
      case .string(let text):
        leaves.append(LoadReport.Leaf(path: path, outcome: .loaded, byteCount: text.utf8.count))
      case .initialized(let index):
        leaves.append(
          LoadReport.Leaf(path: path, outcome: .initialized, byteCount: plan.results[index].spec.byteCount))
      case .kept(let tensor):
        leaves.append(LoadReport.Leaf(path: path, outcome: .kept, byteCount: tensor.spec.byteCount))
      case .placeholder: break  // listed below, with the bytes of every leaf under it
      }
    }
    leaves += placeholders.map {
      LoadReport.Leaf(path: $0.path, outcome: .placeholder, byteCount: $0.byteCount)
    }
    leaves += omitted.map { LoadReport.Leaf(path: $0.path, outcome: .omitted, byteCount: $0.byteCount) }
    return leaves
  }
}
