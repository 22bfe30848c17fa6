/// A tensor that does not exist yet: its dtype and shape are known, and how it is made of others.
///
/// Inside a transform, the leaves of the trees are lazy tensors. Their operations compute nothing and read nothing; they check
/// dtypes and shapes, and say what is to be done once the result is loaded. Definitions are NumPy's where NumPy has one.
public struct LazyTensor: Sendable {
  package let expression: Expression

  package init(_ expression: Expression) { self.expression = expression }

  /// The dtype and shape.
  public var spec: TensorSpec { expression.spec }
  /// The type of the elements.
  public var dtype: DType { spec.dtype }
  /// The extent along each axis.
  public var shape: Shape { spec.shape }
  /// The number of axes.
  public var rank: Int { shape.rank }
}

// MARK: - Sources

extension LazyTensor {
  /// A leaf of an opened checkpoint.
  package init(_ spec: TensorSpec, _ operand: StoredOperand) {
    self.init(Expression(spec, .stored(operand)))
  }

  /// A tensor that is in memory, and kept alive until the result is made.
  public init(_ tensor: Tensor) {
    self.init(Expression(tensor.spec, .host(tensor)))
  }

  /// New values, as an initializer chooses them.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for a dtype or shape that the initializer is not defined for.
  public static func initialized(
    _ shape: Shape, _ dtype: DType, _ initializer: Initializer
  ) throws(GraftError) -> LazyTensor {
    let spec = try Self.spec(dtype, shape)
    return LazyTensor(Expression(spec, .generated(try initializer.generator(for: spec))))
  }

  /// Whatever the memory holds, for a leaf that is filled later; nothing is written there.
  public static func uninitialized(_ shape: Shape, _ dtype: DType) throws(GraftError) -> LazyTensor {
    LazyTensor(Expression(try spec(dtype, shape), .generated(.uninitialized)))
  }

  static func spec(_ dtype: DType, _ shape: Shape) throws(GraftError) -> TensorSpec {
    guard let spec = TensorSpec(checked: dtype, shape) else {
      throw GraftError(.invalidArgument, "the number of bytes of \(dtype)\(shape) overflows")
    }
    return spec
  }

  /// A node over operands, unless it would be too deep for the planner.
  static func make(_ spec: TensorSpec, _ operation: Expression.Operation) throws(GraftError) -> LazyTensor {
    let expression = Expression(spec, operation)
    guard expression.depth <= Expression.depthLimit else {
      throw GraftError(
        .limitExceeded, "the operations on one tensor are nested too deeply",
        expected: "at most \(Expression.depthLimit)")
    }
    return LazyTensor(expression)
  }

  /// The axis that an index means, counted from the end where it is negative.
  ///
  /// - Parameter count: the number of axes that there are, of the operand or of the result.
  static func axis(_ axis: Int, of count: Int, shape: Shape) throws(GraftError) -> Int {
    guard axis >= -count, axis < count else {
      throw GraftError(
        .invalidArgument, "there is no axis \(axis)", expected: "an axis from \(-count) to \(count - 1)",
        found: "shape \(shape)")
    }
    return axis < 0 ? axis + count : axis
  }
}
