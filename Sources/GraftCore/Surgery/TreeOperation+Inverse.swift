// A step is inverted against the tree that it was applied to: what a pattern forgets of the paths and shapes, the inverse says
// outright. So it brings back exactly that tree, whatever the pattern was.

extension TreeOperation {
  /// The steps that bring back `tree` from what this step makes of it.
  ///
  /// Values come back bit for bit, and so do paths and kinds of containers; only the order of a dictionary's keys may differ.
  ///
  /// - Throws: ``GraftError`` of code `unsupported` that says what cannot be brought back, or what is wrong with the step itself.
  public func inverse(on tree: Tree<LazyLeaf>) throws(GraftError) -> [TreeOperation] {
    // Whatever is wrong with the step is said as usual.
    _ = try apply(to: tree)
    do throws(GraftError) {
      return try inverted(on: tree)
    } catch {
      var error = error
      error.operation = error.operation ?? name
      throw error
    }
  }

  private func inverted(on tree: Tree<LazyLeaf>) throws(GraftError) -> [TreeOperation] {
    let before = LeafTable(tree)
    switch action {
    case .rename, .move, .nest, .unnest, .flatten, .unflatten:
      var after = before
      _ = try SurgeryStep(operation: self) { $0 }.change(&after)
      let moves = zip(before.entries, after.entries).filter { $0.path != $1.path }.map {
        TreeMove(from: $1.path, to: $0.path)
      }
      return moves.isEmpty ? [] : [TreeOperation(.move(moves, before.containers))]
    case .drop, .keep:
      var after = before
      _ = try SurgeryStep(operation: self) { $0 }.change(&after)
      if after.entries.count == before.entries.count { return [] }
      throw Self.irreversible("the leaves that were dropped are not there any more")
    case .fuse, .fusePaths, .stack, .stackPaths: return try taking(before)
    case .split, .splitPaths, .unstack, .unstackPaths: return try joining(before)
    case .transform(let pattern, let transform):
      var table = before
      var inverses: [[TreeOperation]] = []
      // Leaves with the same inverse share a step.
      var positions: [LeafTransform: Int] = [:]
      var paths: [(transform: LeafTransform, paths: [TreePath])] = []
      var shapes: [TreePath: [Int]] = [:]
      for index in try table.indices(pattern) {
        let entry = table.entries[index]
        guard let tensor = entry.tensor else { continue }
        switch try transform.inverse(of: tensor, at: entry.path) {
        case .none: break
        case .reshape: shapes[entry.path] = tensor.shape.extents
        case .transform(let inverse):
          if let position = positions[inverse] {
            paths[position].paths.append(entry.path)
          } else {
            positions[inverse] = paths.count
            paths.append((inverse, [entry.path]))
          }
        }
      }
      inverses.append(paths.map { .transform(.paths($0.paths), $0.transform) })
      if !shapes.isEmpty { inverses.append([TreeOperation(.reshapeEach(shapes))]) }
      return inverses.flatMap(\.self)
    case .reshapeEach(let shapes):
      let positions = before.leafPositions()
      var old: [TreePath: [Int]] = [:]
      for path in shapes.keys {
        if let index = positions[path], let tensor = before.entries[index].tensor {
          old[path] = tensor.shape.extents
        }
      }
      return old.isEmpty ? [] : [TreeOperation(.reshapeEach(old))]
    }
  }

  fileprivate static func irreversible(_ message: String, at path: TreePath? = nil) -> GraftError {
    GraftError(
      .unsupported, "the step cannot be undone: \(message)", leaf: path,
      remedy: "keep the original checkpoint")
  }

  /// What takes apart again what a fuse or stack has joined.
  private func taking(_ before: LeafTable) throws(GraftError) -> [TreeOperation] {
    var after = before
    var log = SurgeryStep(operation: self) { $0 }
    let record = JoinRecord()
    log.record = record
    _ = try log.change(&after)
    var groups = record.groups
    if groups.isEmpty { return [] }
    let containers: [TreeOperation] =
      before.containers.kinds.isEmpty ? [] : [TreeOperation(.move([], before.containers)).optional]
    switch action {
    case .fuse(_, _, _, let axis, _), .fusePaths(_, let axis, _):
      let positions = before.leafPositions()
      for index in groups.indices {
        for path in groups[index].parts.lazy.compactMap(\.self) {
          guard let position = positions[path], let tensor = before.entries[position].tensor else { continue }
          groups[index].sizes.append(
            tensor.shape[try LazyTensor.axis(axis, of: tensor.rank, shape: tensor.shape)])
        }
      }
      return [TreeOperation(.splitPaths(groups, axis: axis))] + containers
    case .stack(_, _, let axis, _, _), .stackPaths(_, let axis):
      return [TreeOperation(.unstackPaths(groups, axis: axis))] + containers
    default: return []
    }
  }

  /// What joins again what a split or an unstack has taken apart.
  private func joining(_ before: LeafTable) throws(GraftError) -> [TreeOperation] {
    var after = before
    var log = SurgeryStep(operation: self) { $0 }
    let record = JoinRecord()
    log.record = record
    _ = try log.change(&after)
    let groups = record.groups
    if groups.isEmpty { return [] }
    if let lost = groups.first(where: { $0.parts.contains(nil) || $0.parts.isEmpty }) {
      throw Self.irreversible("a part was left out", at: lost.whole)
    }
    let containers: [TreeOperation] =
      before.containers.kinds.isEmpty ? [] : [TreeOperation(.move([], before.containers)).optional]
    switch action {
    case .split(_, _, _, let axis), .splitPaths(_, let axis):
      return [TreeOperation(.fusePaths(groups, axis: axis, allowsIncomplete: false))] + containers
    case .unstack(_, _, let axis, _), .unstackPaths(_, let axis):
      return [TreeOperation(.stackPaths(groups, axis: axis))] + containers
    default: return []
    }
  }
}

/// Which leaves a step joined or took apart.
final class JoinRecord {
  var groups: [PathGroup] = []
}

/// How a tensor comes back.
private enum LeafInverse {
  /// It is what it was.
  case none
  case transform(LeafTransform)
  /// By its old shape.
  case reshape
}

extension LeafTransform {
  fileprivate func inverse(of tensor: LazyTensor, at path: TreePath) throws(GraftError) -> LeafInverse {
    func irreversible(_ message: String) -> GraftError { TreeOperation.irreversible(message, at: path) }
    let rank = tensor.rank
    func axis(_ axis: Int) throws(GraftError) -> Int {
      try LazyTensor.axis(axis, of: rank, shape: tensor.shape)
    }
    /// A slice along one axis alone.
    func slice(_ axis: Int, _ part: AxisSlice) -> LeafInverse {
      .transform(.slice(TensorSlice([AxisSlice](repeating: .all, count: axis) + [part])))
    }
    switch self {
    case .transpose(let axes):
      guard let axes else { return .transform(.transpose()) }
      var inverse = [Int](repeating: 0, count: rank)
      for (position, source) in axes.enumerated() { inverse[try axis(source)] = position }
      return .transform(.transpose(inverse))
    case .cast(let dtype, _):
      if dtype == tensor.dtype { return .none }
      guard tensor.dtype.convertsExactly(to: dtype) else {
        throw irreversible("a cast from \(tensor.dtype) to \(dtype) may have lost values")
      }
      return .transform(.cast(tensor.dtype, lossy: true))
    case .slice(let slice):
      if try tensor.sliced(slice).shape == tensor.shape, !slice.axes.contains(where: \.isBackward) {
        return .none
      }
      throw irreversible("what was cut off is not there any more")
    case .take(let indices, let given):
      let axis = try axis(given)
      let extent = tensor.shape[axis]
      var inverse = [Int](repeating: -1, count: extent)
      for (position, index) in indices.enumerated() { inverse[index < 0 ? index + extent : index] = position }
      guard indices.count == extent, !inverse.contains(-1) else {
        throw irreversible("not every index was taken once")
      }
      return .transform(.take(inverse, axis: axis))
    case .flip: return .transform(self)
    case .pad(let margins, _):
      return .transform(
        .slice(
          TensorSlice(
            zip(margins, tensor.shape.extents).map { .range($0.before..<($0.before + $1)) })))
    case .resize(let extent, let given, _):
      let old = tensor.shape[try axis(given)]
      if extent == old { return .none }
      guard extent > old else { throw irreversible("what was cut off is not there any more") }
      return .transform(.resize(old, axis: given))
    case .reshape, .squeeze, .expand: return .reshape
    case .broadcast(let shape):
      if shape == tensor.shape { return .none }
      throw irreversible("how a leaf was broadcast is not known any more")
    case .repeat(let count, let given):
      guard count > 0 else { throw irreversible("nothing is left of the leaf") }
      return slice(try axis(given), .strided(lower: nil, upper: nil, step: count))
    case .tile(let counts):
      guard counts.count <= rank, !counts.contains(0) else {
        throw irreversible("the leaf has other axes now")
      }
      return .transform(.slice(TensorSlice(tensor.shape.extents.map { .range(0..<$0) })))
    case .scale(let factor):
      if factor == 1 { return .none }
      throw irreversible("a product is rounded")
    case .interleave(let sizes, let groups, let axis):
      return .transform(.deinterleave(sizes: sizes, groups: groups, axis: axis))
    case .deinterleave(let sizes, let groups, let axis):
      return .transform(.interleave(sizes: sizes, groups: groups, axis: axis))
    case .rotary(let order, let heads, let dimensions, let axis):
      return .transform(
        .rotary(
          to: order == .halfSplit ? .interleaved : .halfSplit, heads: heads, dimensions: dimensions,
          axis: axis))
    }
  }
}

extension AxisSlice {
  fileprivate var isBackward: Bool {
    if case .strided(_, _, let step) = self { step < 0 } else { false }
  }
}

extension Sequence<TreeOperation> {
  /// The steps that bring back `tree` from what these steps make of it, one after the other.
  ///
  /// - Throws: ``GraftError`` for the first step that cannot be undone.
  public func inverse(on tree: Tree<LazyLeaf>) throws(GraftError) -> [TreeOperation] {
    var tree = tree
    var inverses: [[TreeOperation]] = []
    for operation in self {
      inverses.append(try operation.inverse(on: tree))
      tree = try operation.apply(to: tree)
    }
    return inverses.reversed().flatMap(\.self)
  }
}
