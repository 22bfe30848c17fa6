// Computation element by element. Operands have one dtype; nothing is promoted silently, for that would read as another model.

extension LazyTensor {
  /// The values in another dtype.
  ///
  /// Floats round to the nearest value, ties to even, as NumPy and ml_dtypes do.
  ///
  /// - Parameter lossy: whether values may be lost; otherwise a dtype that cannot hold every value is an error.
  /// - Throws: ``GraftError`` of code `lossy`.
  public func cast(to dtype: DType, lossy: Bool = false) throws(GraftError) -> LazyTensor {
    if dtype == self.dtype { return self }
    guard lossy || self.dtype.convertsExactly(to: dtype) else {
      throw GraftError(
        .lossy, "a cast from \(self.dtype) to \(dtype) may lose values", remedy: "allow it with lossy: true")
    }
    return try .make(Self.spec(dtype, shape), .elementwise(.cast(to: dtype), [expression]))
  }

  /// The sum, element by element.
  public func adding(_ other: LazyTensor) throws(GraftError) -> LazyTensor {
    try Self.elementwise(.add, [self, other])
  }

  /// This tensor less the other, element by element.
  public func subtracting(_ other: LazyTensor) throws(GraftError) -> LazyTensor {
    try Self.elementwise(.subtract, [self, other])
  }

  /// The product, element by element.
  public func multiplied(by other: LazyTensor) throws(GraftError) -> LazyTensor {
    try Self.elementwise(.multiply, [self, other])
  }

  /// This tensor divided by the other, element by element; floats and complex numbers alone.
  public func divided(by other: LazyTensor) throws(GraftError) -> LazyTensor {
    try Self.elementwise(.divide, [self, other])
  }

  /// Every element times a number; floats and complex numbers alone.
  public func scaled(by factor: Double) throws(GraftError) -> LazyTensor {
    try Self.elementwise(.scale(factor), [self])
  }

  /// `self * (1 - position) + other * position`, element by element; floats alone.
  public func interpolated(to other: LazyTensor, at position: Double) throws(GraftError) -> LazyTensor {
    try Self.elementwise(.interpolate(position), [self, other])
  }

  /// The sum of tensors, each times its weight; floats alone.
  ///
  /// Sums are kept in float32 (float64 for that dtype) and rounded once.
  ///
  /// - Throws: ``GraftError`` when there is not one weight for each tensor, or their dtypes or shapes differ.
  public static func weightedSum(_ tensors: [LazyTensor], weights: [Double]) throws(GraftError) -> LazyTensor
  {
    try combined(tensors, weights, .weightedSum(weights))
  }

  private static func combined(
    _ tensors: [LazyTensor], _ weights: [Double], _ operation: Elementwise
  ) throws(GraftError) -> LazyTensor {
    guard tensors.count == weights.count, !tensors.isEmpty else {
      throw GraftError(
        .invalidArgument, "a weighted sum takes one weight for each tensor",
        expected: "\(tensors.count) weights",
        found: "\(weights.count)")
    }
    return try elementwise(operation, tensors)
  }

  /// The mean of tensors, by their weights; of all alike unless given.
  ///
  /// As mergekit's `linear` does it: the sum of the tensors, each times its weight, is divided by the sum of the weights, both in
  /// float32 (float64 for that dtype), and then rounded once.
  ///
  /// - Throws: ``GraftError`` as ``weightedSum(_:weights:)``, and when the weights add up to 0.
  public static func mean(_ tensors: [LazyTensor], weights: [Double]? = nil) throws(GraftError) -> LazyTensor
  {
    let weights = weights ?? [Double](repeating: 1, count: tensors.count)
    // Weights are rounded to what is computed in, and what they add up to then is what equal tensors have been multiplied with.
    let isWide = tensors.first.map { $0.dtype == .float64 || $0.dtype == .complex128 } ?? false
    let sum =
      isWide ? weights.reduce(0, +) : Double(Float(weights.reduce(0) { $0 + Double(Float($1)) }))
    guard sum != 0, sum.isFinite else {
      throw GraftError(.invalidArgument, "the weights of a mean must not add up to \(sum)")
    }
    if sum == 1 { return try weightedSum(tensors, weights: weights) }
    return try combined(tensors, weights, .weightedMean(weights, divisor: sum))
  }

  /// Another value for each element, as a function computes it over tiles in float32.
  ///
  /// - Parameters:
  ///   - name: what plans and errors call the function.
  ///   - dtype: the result's; this tensor's unless given. Values are rounded to it.
  ///   - body: fills as many elements of its output as its input has. It is called on several threads, in no order, with tiles
  ///     of any length, so a value may depend on the element alone.
  /// - Throws: ``GraftError`` of code `invalidArgument` for complex numbers.
  public func map(
    _ name: String = "map", to dtype: DType? = nil, _ body: @escaping ElementFunction.Unary
  ) throws(GraftError) -> LazyTensor {
    try Self.custom(ElementFunction(name: name, body: .unary(body)), [self], dtype ?? self.dtype)
  }

  /// A value for each pair of elements of this tensor and another, as a function computes it over tiles in float32.
  ///
  /// - Parameters: as for ``map(_:to:_:)``, with two inputs of the same length.
  /// - Throws: ``GraftError`` of code `invalidArgument` for complex numbers, and when dtypes or shapes differ.
  public func map(
    with other: LazyTensor, _ name: String = "map", to dtype: DType? = nil,
    _ body: @escaping ElementFunction.Binary
  ) throws(GraftError) -> LazyTensor {
    try Self.custom(ElementFunction(name: name, body: .binary(body)), [self, other], dtype ?? self.dtype)
  }

  private static func custom(
    _ function: ElementFunction, _ tensors: [LazyTensor], _ dtype: DType
  ) throws(GraftError) -> LazyTensor {
    guard !tensors[0].dtype.isComplex, !dtype.isComplex else {
      throw GraftError(
        .invalidArgument, "functions over tiles take and give real numbers",
        found: "\(tensors[0].dtype) to \(dtype)")
    }
    return try elementwise(.custom(function), tensors, to: dtype)
  }

  private static func elementwise(
    _ operation: Elementwise, _ tensors: [LazyTensor], to dtype: DType? = nil
  ) throws(GraftError) -> LazyTensor {
    let first = tensors[0]
    for tensor in tensors.dropFirst() where tensor.dtype != first.dtype {
      throw GraftError(
        .dtypeMismatch, "the tensors have different dtypes", expected: "\(first.spec)",
        found: "\(tensor.spec)",
        remedy: "cast one of them with cast(to:)")
    }
    try check(operation, first)
    // Axes of extent 1 are broadcast, as NumPy does.
    var shape = first.shape
    for tensor in tensors.dropFirst() { shape = try broadcastShape(shape, tensor.shape) }
    var operands: [Expression] = []
    operands.reserveCapacity(tensors.count)
    for tensor in tensors { operands.append(try tensor.broadcast(to: shape).expression) }
    return try make(spec(dtype ?? first.dtype, shape), .elementwise(operation, operands))
  }

  private static func check(_ operation: Elementwise, _ tensor: LazyTensor) throws(GraftError) {
    let isAllowed =
      switch operation {
      case .cast, .custom: true
      case .add, .subtract, .multiply: tensor.dtype != .bool
      case .divide, .slerp, .products, .scale, .weightedSum, .weightedMean, .interpolate:
        tensor.dtype.isRealFloat || tensor.dtype.isComplex
      }
    guard isAllowed else {
      throw GraftError(
        .invalidArgument, "the operation \(operation) is not defined for \(tensor.dtype)",
        found: "\(tensor.spec)",
        remedy: "cast to a float first")
    }
  }

  private static func broadcastShape(_ a: Shape, _ b: Shape) throws(GraftError) -> Shape {
    if a == b { return a }
    let rank = max(a.rank, b.rank)
    var extents = [Int](repeating: 1, count: rank)
    for axis in 0..<rank {
      let first = axis < rank - a.rank ? 1 : a[axis - (rank - a.rank)]
      let second = axis < rank - b.rank ? 1 : b[axis - (rank - b.rank)]
      guard first == second || first == 1 || second == 1 else {
        throw GraftError(
          .shapeMismatch, "the tensors have shapes that cannot be broadcast to each other", expected: "\(a)",
          found: "\(b)")
      }
      extents[axis] = first == 1 ? second : first
    }
    return Shape(extents)
  }
}
