/// A leaf of a tree inside a transform.
public enum LazyLeaf: Sendable {
  /// A tensor, of which nothing is read yet.
  case tensor(LazyTensor)
  /// Text, which is part of a checkpoint's metadata.
  case string(String)
  /// A place that is kept free in the result.
  case placeholder

  /// What the leaf is; nil for a placeholder.
  public var spec: LeafSpec? {
    switch self {
    case .tensor(let tensor): .tensor(tensor.spec)
    case .string: .string
    case .placeholder: nil
    }
  }
}

extension LazyLeaf: PlaceholderLeaf {
  /// Whether a merge takes the other tree's leaf.
  public var isPlaceholder: Bool {
    if case .placeholder = self { true } else { false }
  }
}

extension LazyLeaf: CustomStringConvertible {
  /// The tensor's spec, the text in quotes, or `placeholder`.
  public var description: String {
    switch self {
    case .tensor(let tensor): tensor.spec.description
    case .string(let text): "\"\(TreePath.printable(text))\""
    case .placeholder: "placeholder"
    }
  }
}

// MARK: - Making leaves

extension Tree where Leaf == LazyLeaf {
  /// A leaf that is a lazy tensor.
  public static func tensor(_ tensor: LazyTensor) -> Tree { .leaf(.tensor(tensor)) }

  /// A leaf that is a tensor in memory.
  public static func tensor(_ tensor: Tensor) -> Tree { .leaf(.tensor(LazyTensor(tensor))) }

  /// A leaf that is text.
  public static func string(_ text: String) -> Tree { .leaf(.string(text)) }

  /// A place that is kept free in the result.
  public static var placeholder: Tree { .leaf(.placeholder) }

  /// A new parameter, as an initializer chooses its values.
  public static func initialized(
    _ shape: Shape, _ dtype: DType, _ initializer: Initializer, file: StaticString = #fileID,
    line: UInt = #line
  ) -> Tree {
    making("initialized", file, line) { () throws(GraftError) in
      .tensor(try LazyTensor.initialized(shape, dtype, initializer))
    }
  }

  /// A new parameter of zeros.
  public static func zeros(
    _ shape: Shape, _ dtype: DType, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree { .initialized(shape, dtype, .zeros, file: file, line: line) }

  /// A new parameter of ones.
  public static func ones(
    _ shape: Shape, _ dtype: DType, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree { .initialized(shape, dtype, .ones, file: file, line: line) }

  /// A new parameter whose elements are all one number.
  public static func full(
    _ shape: Shape, _ dtype: DType, _ value: Double, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree { .initialized(shape, dtype, .constant(value), file: file, line: line) }

  private static func making(
    _ operation: String, _ file: StaticString, _ line: UInt, at path: TreePath? = nil,
    _ body: () throws(GraftError) -> Tree
  ) -> Tree {
    do throws(GraftError) {
      return try body()
    } catch {
      return .fault(error.during(operation, file, line, at: path))
    }
  }
}

extension GraftError {
  /// The error with what was being done where.
  func during(_ operation: String, _ file: StaticString, _ line: UInt, at path: TreePath? = nil) -> GraftError
  {
    var error = self
    if error.operation == nil { error.operation = "\(operation) at \(file):\(line)" }
    if error.leaf == nil { error.leaf = path }
    return error
  }
}

// MARK: - What is done to every tensor of a subtree

extension Tree where Leaf == LazyLeaf {
  /// The tree with each tensor replaced; strings and placeholders stay, and what goes wrong becomes a fault at the leaf.
  func mapTensors(
    _ operation: String, _ file: StaticString, _ line: UInt,
    _ body: (LazyTensor) throws(GraftError) -> LazyTensor
  ) -> Tree {
    let origin = origin
    var result = mapLeaves { path, leaf -> Tree in
      guard case .tensor(let tensor) = leaf else { return .leaf(leaf) }
      return Self.making(operation, file, line, at: origin.map { TreePath($0.keys + path.keys) }) {
        () throws(GraftError) in .tensor(try body(tensor))
      }
    }
    result.origin = origin
    return result
  }

  /// Each tensor cast to a dtype; see ``LazyTensor/cast(to:lossy:)``.
  public func cast(
    to dtype: DType, lossy: Bool = false, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    mapTensors("cast", file, line) { (tensor) throws(GraftError) in try tensor.cast(to: dtype, lossy: lossy) }
  }

  /// A part of each tensor, `.sliced(0..<4, .all, 7)`; see ``LazyTensor/sliced(_:)-(TensorSlice)``.
  public func sliced(
    _ axes: any AxisSliceConvertible..., file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    let slice = TensorSlice(axes.map(\.axisSlice))
    return mapTensors("sliced", file, line) { (tensor) throws(GraftError) in try tensor.sliced(slice) }
  }

  /// A part of each tensor.
  public func sliced(_ slice: TensorSlice, file: StaticString = #fileID, line: UInt = #line) -> Tree {
    mapTensors("sliced", file, line) { (tensor) throws(GraftError) in try tensor.sliced(slice) }
  }

  /// Each tensor with its axes in another order; see ``LazyTensor/transposed(_:)``.
  public func transposed(
    _ axes: [Int]? = nil, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    mapTensors("transposed", file, line) { (tensor) throws(GraftError) in try tensor.transposed(axes) }
  }

  /// Each tensor in another shape, of which one extent may be -1; see ``LazyTensor/reshaped(_:)``.
  public func reshaped(_ extents: [Int], file: StaticString = #fileID, line: UInt = #line) -> Tree {
    mapTensors("reshaped", file, line) { (tensor) throws(GraftError) in try tensor.reshaped(extents) }
  }

  /// Each tensor without an axis of extent 1, or without all of them; see ``LazyTensor/squeezed(axis:)``.
  public func squeezed(
    axis: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    mapTensors("squeezed", file, line) { (tensor) throws(GraftError) in try tensor.squeezed(axis: axis) }
  }

  /// Each tensor with a new axis of extent 1; see ``LazyTensor/expanded(axis:)``.
  public func expanded(axis: Int, file: StaticString = #fileID, line: UInt = #line) -> Tree {
    mapTensors("expanded", file, line) { (tensor) throws(GraftError) in try tensor.expanded(axis: axis) }
  }

  /// Each tensor broadcast to a shape; see ``LazyTensor/broadcast(to:)``.
  public func broadcast(to shape: Shape, file: StaticString = #fileID, line: UInt = #line) -> Tree {
    mapTensors("broadcast", file, line) { (tensor) throws(GraftError) in try tensor.broadcast(to: shape) }
  }

  /// Each index of each tensor so many times in a row; see ``LazyTensor/repeated(_:axis:)``.
  public func repeated(
    _ count: Int, axis: Int, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    mapTensors("repeated", file, line) { (tensor) throws(GraftError) in try tensor.repeated(count, axis: axis)
    }
  }

  /// Each tensor so many times along its axes; see ``LazyTensor/tiled(_:)``.
  public func tiled(_ counts: [Int], file: StaticString = #fileID, line: UInt = #line) -> Tree {
    mapTensors("tiled", file, line) { (tensor) throws(GraftError) in try tensor.tiled(counts) }
  }

  /// Each tensor reversed along an axis; see ``LazyTensor/flipped(axis:)``.
  public func flipped(axis: Int, file: StaticString = #fileID, line: UInt = #line) -> Tree {
    mapTensors("flipped", file, line) { (tensor) throws(GraftError) in try tensor.flipped(axis: axis) }
  }

  /// Each tensor with a margin of one value; see ``LazyTensor/padded(_:with:)``.
  public func padded(
    _ widths: [(before: Int, after: Int)], with value: Double = 0, file: StaticString = #fileID,
    line: UInt = #line
  ) -> Tree {
    mapTensors("padded", file, line) { (tensor) throws(GraftError) in try tensor.padded(widths, with: value) }
  }

  /// Each tensor cut or padded at the end of an axis; see ``LazyTensor/resized(_:axis:padding:)``.
  public func resized(
    _ extent: Int, axis: Int, padding value: Double = 0, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    mapTensors("resized", file, line) { (tensor) throws(GraftError) in
      try tensor.resized(extent, axis: axis, padding: value)
    }
  }

  /// The elements at these indices along an axis of each tensor; see ``LazyTensor/taking(_:axis:)``.
  public func taking(
    _ indices: [Int], axis: Int = 0, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    mapTensors("taking", file, line) { (tensor) throws(GraftError) in try tensor.taking(indices, axis: axis) }
  }

  /// Each element of each tensor times a number; see ``LazyTensor/scaled(by:)``.
  public func scaled(by factor: Double, file: StaticString = #fileID, line: UInt = #line) -> Tree {
    mapTensors("scaled", file, line) { (tensor) throws(GraftError) in try tensor.scaled(by: factor) }
  }

  /// Another value for each element of each tensor; see ``LazyTensor/map(_:to:_:)``.
  public func map(
    _ name: String = "map", to dtype: DType? = nil, file: StaticString = #fileID, line: UInt = #line,
    _ body: @escaping ElementFunction.Unary
  ) -> Tree {
    mapTensors(name, file, line) { (tensor) throws(GraftError) in try tensor.map(name, to: dtype, body) }
  }

  /// Each element times a number.
  public static func * (tree: Tree, factor: Double) -> Tree { tree.scaled(by: factor) }
  /// Each element times a number.
  public static func * (factor: Double, tree: Tree) -> Tree { tree.scaled(by: factor) }
}

// MARK: - What is made of several subtrees

extension Tree where Leaf == LazyLeaf {
  /// Trees of one structure with each leaf stacked along a new axis; see ``LazyTensor/stack(_:axis:)``.
  public static func stack(
    _ trees: [Tree], axis: Int = 0, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    combining("stack", trees, file, line) { (tensors) throws(GraftError) in
      try LazyTensor.stack(tensors, axis: axis)
    }
  }

  /// Trees of one structure with each leaf concatenated along an axis; see ``LazyTensor/concatenate(_:axis:)``.
  public static func concatenate(
    _ trees: [Tree], axis: Int = 0, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    combining("concatenate", trees, file, line) { (tensors) throws(GraftError) in
      try LazyTensor.concatenate(tensors, axis: axis)
    }
  }

  /// The mean of trees of one structure, leaf by leaf, by their weights; of all alike unless given.
  ///
  /// See ``LazyTensor/mean(_:weights:)``.
  public static func mean(
    _ trees: [Tree], weights: [Double]? = nil, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    combining("mean", trees, file, line) { (tensors) throws(GraftError) in
      try LazyTensor.mean(tensors, weights: weights)
    }
  }

  /// The sum of trees of one structure, leaf by leaf, each times its weight.
  public static func weightedSum(
    _ trees: [Tree], weights: [Double], file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    combining("weightedSum", trees, file, line) { (tensors) throws(GraftError) in
      try LazyTensor.weightedSum(tensors, weights: weights)
    }
  }

  /// `self * (1 - position) + other * position`, leaf by leaf.
  public func interpolated(
    to other: Tree, at position: Double, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    Self.combining("interpolated", [self, other], file, line) { (tensors) throws(GraftError) in
      try tensors[0].interpolated(to: tensors[1], at: position)
    }
  }

  /// A value for each pair of elements, leaf by leaf; see ``LazyTensor/map(with:_:to:_:)``.
  public func map(
    with other: Tree, _ name: String = "map", to dtype: DType? = nil, file: StaticString = #fileID,
    line: UInt = #line, _ body: @escaping ElementFunction.Binary
  ) -> Tree {
    Self.combining(name, [self, other], file, line) { (tensors) throws(GraftError) in
      try tensors[0].map(with: tensors[1], name, to: dtype, body)
    }
  }

  /// The sum of two trees of one structure, leaf by leaf.
  public static func + (a: Tree, b: Tree) -> Tree {
    combining("+", [a, b], #fileID, #line) { (tensors) throws(GraftError) in try tensors[0].adding(tensors[1])
    }
  }

  /// The difference of two trees of one structure, leaf by leaf.
  public static func - (a: Tree, b: Tree) -> Tree {
    combining("-", [a, b], #fileID, #line) { (tensors) throws(GraftError) in
      try tensors[0].subtracting(tensors[1])
    }
  }

  /// The product of two trees of one structure, leaf by leaf.
  public static func * (a: Tree, b: Tree) -> Tree {
    combining("*", [a, b], #fileID, #line) { (tensors) throws(GraftError) in
      try tensors[0].multiplied(by: tensors[1])
    }
  }

  /// The quotient of two trees of one structure, leaf by leaf.
  public static func / (a: Tree, b: Tree) -> Tree {
    combining("/", [a, b], #fileID, #line) { (tensors) throws(GraftError) in
      try tensors[0].divided(by: tensors[1])
    }
  }

  /// The trees that stacking would make this one of: as many as each tensor's extent along the axis, which must be the same.
  ///
  /// A tree with a fault gives that one alone.
  public func unstacked(
    axis: Int = 0, file: StaticString = #fileID, line: UInt = #line
  ) -> [Tree] {
    apart("unstacked", file, line) { (tensor) throws(GraftError) in try tensor.unstacked(axis: axis) }
  }

  /// Equal parts of each tensor along an axis, each part a tree of this one's structure.
  public func split(
    _ count: Int, axis: Int, file: StaticString = #fileID, line: UInt = #line
  ) -> [Tree] {
    apart("split", file, line) { (tensor) throws(GraftError) in try tensor.split(count, axis: axis) }
  }

  /// Parts of these extents of each tensor along an axis, each part a tree of this one's structure.
  public func split(
    sizes: [Int], axis: Int, file: StaticString = #fileID, line: UInt = #line
  ) -> [Tree] {
    apart("split", file, line) { (tensor) throws(GraftError) in try tensor.split(sizes: sizes, axis: axis) }
  }

  /// The tree taken apart: each tensor gives the same number of parts.
  private func apart(
    _ operation: String, _ file: StaticString, _ line: UInt,
    _ body: (LazyTensor) throws(GraftError) -> [LazyTensor]
  ) -> [Tree] {
    var parts: [TreePath: [LazyTensor]] = [:]
    var count: Int?
    var fault: GraftError?
    forEachLeaf { path, leaf in
      guard fault == nil, case .tensor(let tensor) = leaf else { return }
      let whole = origin.map { TreePath($0.keys + path.keys) } ?? path
      do throws(GraftError) {
        let made = try body(tensor)
        if let count, count != made.count {
          throw GraftError(
            .shapeMismatch, "the tensors of the subtree do not come apart in the same number of parts",
            expected: "\(count) parts", found: "\(made.count)")
        }
        count = made.count
        parts[path] = made
      } catch {
        fault = error.during(operation, file, line, at: whole)
      }
    }
    if let error = fault ?? self.fault { return [.fault(error)] }
    guard let count else {
      return [
        .fault(
          GraftError(.invalidArgument, "there is no tensor to take apart").during(
            operation, file, line, at: origin)
        )
      ]
    }
    return (0..<count).map { index in
      mapLeaves { path, leaf in parts[path].map { .tensor($0[index]) } ?? .leaf(leaf) }
    }
  }

  /// One tree of several of the same structure.
  static func combining(
    _ operation: String, _ trees: [Tree], _ file: StaticString, _ line: UInt,
    _ body: ([LazyTensor]) throws(GraftError) -> LazyTensor
  ) -> Tree {
    combining(operation, trees, file, line) { (tensors, _) throws(GraftError) in try body(tensors) }
  }

  /// The same, where the path matters: that in its checkpoint where the first tree comes from one.
  static func combining(
    _ operation: String, _ trees: [Tree], _ file: StaticString, _ line: UInt,
    _ body: ([LazyTensor], TreePath) throws(GraftError) -> LazyTensor
  ) -> Tree {
    guard let first = trees.first else {
      return making(operation, file, line) { () throws(GraftError) in .tensor(try body([], .root)) }
    }
    // A fault of an operand is the one to report, whatever it would be combined with.
    if let fault = trees.lazy.compactMap(\.fault).first { return .fault(fault) }
    let place = trees.lazy.compactMap(\.origin).first
    return combine(trees, at: place ?? .root) { (tensors, path) -> Tree in
      making(operation, file, line, at: place == nil ? nil : path) { () throws(GraftError) in
        .tensor(try body(tensors, path))
      }
    } mismatch: { tree, index, path in
      .fault(
        GraftError(
          .structureMismatch, "tree \(index) has another structure than the first", expected: first.nodeName,
          found: tree.nodeName
        ).during(operation, file, line, at: path))
    }
  }

  private static func combine(
    _ trees: [Tree], at path: TreePath, leaf: ([LazyTensor], TreePath) -> Tree,
    mismatch: (Tree, Int, TreePath) -> Tree
  ) -> Tree {
    if let fault = trees.lazy.compactMap(\.fault).first { return .fault(fault) }
    let first = trees[0]
    if case .leaf(let value) = first.node {
      guard case .tensor = value else {
        // Text and free places are not computed with: all must be the same kind, and the first one's is taken.
        if let other = trees.firstIndex(where: { $0.leaf?.spec != value.spec }) {
          return mismatch(trees[other], other, path)
        }
        return first
      }
      var tensors: [LazyTensor] = []
      tensors.reserveCapacity(trees.count)
      for (index, tree) in trees.enumerated() {
        guard case .leaf(.tensor(let tensor)) = tree.node else { return mismatch(tree, index, path) }
        tensors.append(tensor)
      }
      return leaf(tensors, path)
    }
    let keys = first.children.map(\.key)
    for (index, tree) in trees.enumerated().dropFirst() {
      guard tree.kind == first.kind, tree.childCount == keys.count, keys.allSatisfy({ tree.hasChild($0) })
      else {
        return mismatch(tree, index, path)
      }
    }
    func child(_ key: Key) -> Tree {
      // All have it, as was just seen.
      combine(
        trees.map { $0.child(key) ?? .empty }, at: path.appending(key), leaf: leaf, mismatch: mismatch)
    }
    switch first.node {
    case .dictionary: return .dictionary(keys.map { (key: $0, value: child($0)) })
    case .namedTuple(let type, _): return .namedTuple(keys.map { (key: $0, value: child($0)) }, type: type)
    case .list: return .list(keys.map(child))
    case .tuple: return .tuple(keys.map(child))
    case .leaf, .empty, .fault, .absent: return first
    }
  }
}
