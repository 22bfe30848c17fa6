// Movement: every element of the result is an element of an operand. Nothing here costs more than reading the elements that
// the result needs; the planner composes these into pieces.

extension LazyTensor {
  /// The elements at these indices, as NumPy's basic indexing: `tensor.sliced(0..<4, .all, 7)`.
  ///
  /// - Throws: ``GraftError`` when the slice does not fit the shape.
  public func sliced(_ axes: any AxisSliceConvertible...) throws(GraftError) -> LazyTensor {
    try sliced(TensorSlice(axes.map(\.axisSlice)))
  }

  /// The elements at these indices, as NumPy's basic indexing.
  ///
  /// - Throws: ``GraftError`` when the slice does not fit the shape.
  public func sliced(_ slice: TensorSlice) throws(GraftError) -> LazyTensor {
    let (shape, map) = try slice.resolved(for: shape)
    return try view(shape, map)
  }

  /// The axes in another order, NumPy's `transpose`: axis `i` of the result is axis `axes[i]` of this one; reversed unless given.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` when `axes` is no permutation of the axes.
  public func transposed(_ axes: [Int]? = nil) throws(GraftError) -> LazyTensor {
    let order = axes ?? Array(shape.indices.reversed())
    var map = [IndexMap.Axis?](repeating: nil, count: rank)
    var extents: [Int] = []
    for (position, axis) in order.enumerated() {
      let axis = try Self.axis(axis, of: rank, shape: shape)
      guard map[axis] == nil else { throw notAPermutation(order) }
      map[axis] = .result(axis: position, step: 1, offset: 0)
      extents.append(shape[axis])
    }
    guard order.count == rank else { throw notAPermutation(order) }
    return try view(Shape(extents), IndexMap(map.compactMap { $0 }))
  }

  private func notAPermutation(_ order: [Int]) -> GraftError {
    GraftError(
      .invalidArgument, "the axes \(order) are not all axes, each once", expected: "\(rank) axes",
      found: "shape \(shape)")
  }

  /// The same elements in row-major order in another shape; one extent may be -1, and is then what is left.
  ///
  /// - Throws: ``GraftError`` of code `shapeMismatch` when the shapes have different numbers of elements.
  public func reshaped(_ extents: [Int]) throws(GraftError) -> LazyTensor {
    let shape = try Self.inferred(extents, elementCount: spec.elementCount, from: self.shape)
    if shape == self.shape { return self }
    let spec = try Self.spec(dtype, shape)
    // One reshape after another is the last one.
    if case .reshaped(let operand) = expression.operation { return try .make(spec, .reshaped(operand)) }
    return try .make(spec, .reshaped(expression))
  }

  private static func inferred(
    _ extents: [Int], elementCount: Int, from shape: Shape
  ) throws(GraftError) -> Shape {
    let mismatch = GraftError(
      .shapeMismatch, "a tensor of shape \(shape) cannot be reshaped to \(extents)",
      expected: "\(elementCount) elements")
    let known = extents.filter { $0 != -1 }
    guard let shape = Shape(checked: known), extents.count - known.count <= 1,
      let count = shape.checkedElementCount
    else { throw mismatch }
    guard known.count < extents.count else {
      guard count == elementCount else { throw mismatch }
      return shape
    }
    guard count > 0, elementCount % count == 0 else { throw mismatch }
    return Shape(extents.map { $0 == -1 ? elementCount / count : $0 })
  }

  /// Without an axis of extent 1, or without all of them.
  ///
  /// - Throws: ``GraftError`` of code `shapeMismatch` when the axis has another extent.
  public func squeezed(axis: Int? = nil) throws(GraftError) -> LazyTensor {
    var removed: Set<Int> = []
    if let axis {
      let axis = try Self.axis(axis, of: rank, shape: shape)
      guard shape[axis] == 1 else {
        throw GraftError(
          .shapeMismatch, "axis \(axis) cannot be removed, for its extent is not 1", found: "shape \(shape)")
      }
      removed = [axis]
    } else {
      removed = Set(shape.indices.filter { shape[$0] == 1 })
    }
    var kept = 0
    let map = shape.indices.map { axis -> IndexMap.Axis in
      if removed.contains(axis) { return .constant(0) }
      defer { kept += 1 }
      return .result(axis: kept, step: 1, offset: 0)
    }
    return try view(Shape(shape.indices.filter { !removed.contains($0) }.map { shape[$0] }), IndexMap(map))
  }

  /// With a new axis of extent 1 before this one, NumPy's `expand_dims`; -1 makes it the last.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` when there is no such axis in the result.
  public func expanded(axis: Int) throws(GraftError) -> LazyTensor {
    let (spec, map) = try expansion(axis: axis)
    return try view(spec, map)
  }

  /// What ``expanded(axis:)`` gives, and where its elements are, for this tensor and others of its dtype and shape.
  func expansion(axis: Int) throws(GraftError) -> (spec: TensorSpec, map: IndexMap) {
    let axis = try Self.axis(axis, of: rank + 1, shape: shape)
    var extents = shape.extents
    extents.insert(1, at: axis)
    let map = shape.indices.map { IndexMap.Axis.result(axis: $0 < axis ? $0 : $0 + 1, step: 1, offset: 0) }
    return (try Self.spec(dtype, Shape(extents)), IndexMap(map))
  }

  /// The tensor repeated along axes that it lacks or that have extent 1, NumPy's `broadcast_to`.
  ///
  /// - Throws: ``GraftError`` of code `shapeMismatch` when another axis differs.
  public func broadcast(to shape: Shape) throws(GraftError) -> LazyTensor {
    if shape == self.shape { return self }
    let extra = shape.rank - rank
    let fits =
      extra >= 0 && self.shape.indices.allSatisfy { [1, shape[$0 + extra]].contains(self.shape[$0]) }
    guard fits else {
      throw GraftError(
        .shapeMismatch, "the tensor cannot be broadcast", expected: "shape \(shape)",
        found: "shape \(self.shape)")
    }
    let map = self.shape.indices.map { axis -> IndexMap.Axis in
      self.shape[axis] == 1 ? .constant(0) : .result(axis: axis + extra, step: 1, offset: 0)
    }
    return try view(shape, IndexMap(map))
  }

  /// Each index along an axis so many times in a row, NumPy's `repeat`: 1, 1, 2, 2.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for a negative count or an axis that is not there.
  public func repeated(_ count: Int, axis: Int) throws(GraftError) -> LazyTensor {
    let axis = try Self.axis(axis, of: rank, shape: shape)
    try Self.check(count: count)
    var extents = shape.extents
    extents.insert(count, at: axis + 1)
    let repeated = try expanded(axis: axis + 1).broadcast(to: Self.checked(extents))
    return try repeated.merged(axis, extents: shape.extents, factor: count)
  }

  /// The whole tensor so many times one after the other along each axis, NumPy's `tile`: 1, 2, 1, 2.
  ///
  /// - Parameter counts: one for each axis of the result; when there are fewer than axes, they are those of the last axes.
  /// - Throws: ``GraftError`` of code `invalidArgument` for a negative count.
  public func tiled(_ counts: [Int]) throws(GraftError) -> LazyTensor {
    var tensor = self
    while tensor.rank < counts.count { tensor = try tensor.expanded(axis: 0) }
    let first = tensor.rank - counts.count
    for (position, count) in counts.enumerated() where count != 1 {
      try Self.check(count: count)
      let axis = first + position
      let before = tensor.shape.extents
      var extents = before
      extents.insert(count, at: axis)
      tensor = try tensor.expanded(axis: axis).broadcast(to: Self.checked(extents))
        .merged(axis, extents: before, factor: count)
    }
    return tensor
  }

  private static func check(count: Int) throws(GraftError) {
    guard count >= 0 else {
      throw GraftError(.invalidArgument, "nothing can be repeated \(count) times")
    }
  }

  private static func checked(_ extents: [Int]) throws(GraftError) -> Shape {
    let shape = Shape(extents)
    guard shape.checkedElementCount != nil else {
      throw GraftError(.invalidArgument, "the number of elements of shape \(shape) overflows")
    }
    return shape
  }

  /// One axis made of two.
  private func merged(_ axis: Int, extents: [Int], factor: Int) throws(GraftError) -> LazyTensor {
    var extents = extents
    extents[axis] *= factor
    return try reshaped(extents)
  }

  /// The indices along an axis in reverse order, NumPy's `flip`.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` when there is no such axis.
  public func flipped(axis: Int) throws(GraftError) -> LazyTensor {
    let axis = try Self.axis(axis, of: rank, shape: shape)
    var slices = [AxisSlice](repeating: .all, count: rank)
    slices[axis] = .strided(lower: nil, upper: nil, step: -1)
    return try sliced(TensorSlice(slices))
  }

  /// The elements at these places of the operand, through which an existing view is seen.
  private func view(_ shape: Shape, _ map: IndexMap) throws(GraftError) -> LazyTensor {
    try view(Self.spec(dtype, shape), map)
  }

  func view(_ spec: TensorSpec, _ map: IndexMap) throws(GraftError) -> LazyTensor {
    if spec.shape == shape, map == .identity(rank: rank) { return self }
    // A view of a view is one view of what that one shows.
    if case .view(let operand, let inner) = expression.operation {
      return try .make(spec, .view(operand, inner.composed(with: map)))
    }
    return try .make(spec, .view(expression, map))
  }
}

extension IndexMap {
  /// The map that looks through this one at what `outer` shows of it.
  func composed(with outer: IndexMap) -> IndexMap {
    IndexMap(
      axes.map { axis in
        guard case .result(let middle, let step, let offset) = axis else { return axis }
        switch outer.axes[middle] {
        case .constant(let index): return .constant(index * step + offset)
        case .result(let result, let outerStep, let outerOffset):
          return .result(axis: result, step: step * outerStep, offset: step * outerOffset + offset)
        }
      })
  }
}
