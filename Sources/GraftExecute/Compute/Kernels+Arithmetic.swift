internal import CGraftKernels
package import GraftCore

/// An operation on the elements of one or two tiles, with its scalars.
package enum ElementOperation: Hashable, Sendable {
  /// `a + b`
  case add
  /// `a - b`
  case subtract
  /// `a * b`
  case multiply
  /// `a / b`; for integers rounded down, and 0 where `b` is 0, as NumPy's `floor_divide`.
  case divide
  /// `a + factor * b`: one more term of a weighted mean.
  case accumulate(Double)
  /// `first * a + second * b`, each product rounded before they are added: a linear interpolation is `1 - t` and `t`.
  case combine(Double, Double)
  /// `factor * a`
  case scale(Double)
  /// `a / divisor`, divided as by ``divide``.
  case unscale(Double)

  /// Whether there is a second operand.
  package var isBinary: Bool {
    switch self {
    case .scale, .unscale: false
    case .add, .subtract, .multiply, .divide, .accumulate, .combine: true
    }
  }

  var kernelOperation: graft_operation {
    switch self {
    case .add: GRAFT_ADD
    case .subtract: GRAFT_SUBTRACT
    case .multiply: GRAFT_MULTIPLY
    case .divide: GRAFT_DIVIDE
    case .accumulate: GRAFT_ACCUMULATE
    case .combine: GRAFT_COMBINE
    case .scale: GRAFT_SCALE
    case .unscale: GRAFT_UNSCALE
    }
  }

  var scalars: (Double, Double) {
    switch self {
    case .add, .subtract, .multiply, .divide: (0, 0)
    case .accumulate(let factor), .scale(let factor), .unscale(let factor): (factor, 0)
    case .combine(let first, let second): (first, second)
    }
  }
}

/// Elements that a kernel reads: where, and how they lie there.
@safe package struct KernelOperand {
  let bytes: UnsafeRawBufferPointer
  let format: ElementFormat

  /// The elements at the beginning of this memory, which must stay as it is until the kernel returns.
  @unsafe package init(_ bytes: UnsafeRawBufferPointer, _ format: ElementFormat) {
    unsafe self.bytes = bytes
    self.format = format
  }

  func holds(_ count: Int) -> Bool {
    unsafe count >= 0 && format.byteCount(elementCount: count) <= bytes.count
  }

  var kernelOperand: graft_operand {
    unsafe graft_operand(elements: bytes.baseAddress, format: format.kernelFormat)
  }
}

extension DType {
  /// The dtype that arithmetic on elements of this one is done in, with the result rounded once to the wanted dtype.
  ///
  /// float32 for floats up to that width, float64 for float64, the complex dtypes themselves; an integer of 32 bits or 64 for
  /// integers, which wrap around in their own width when the result is cast to it. `bool` counts as 0 and 1.
  package var computedIn: DType {
    switch self {
    case .float4E2M1FN, .float6E2M3FN, .float6E3M2FN, .float8E3M4, .float8E4M3, .float8E4M3B11FNUZ,
      .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU, .bfloat16, .float16,
      .float32:
      .float32
    case .float64: .float64
    case .complex64: .complex64
    case .complex128: .complex128
    case .bool, .int4, .uint4, .int8, .uint8, .int16, .uint16, .int32: .int32
    case .uint32: .uint32
    case .int64: .int64
    case .uint64: .uint64
    }
  }
}

extension Kernels {
  /// Computes `count` elements in the dtype `computedIn`: operands are cast to it, and the result to the destination's.
  ///
  /// `computedIn` is one of those that ``DType/computedIn`` gives. The destination may be exactly where an operand of
  /// the same format is, and must not overlap operands otherwise. `b` is for operations with two operands.
  package func compute(
    _ operation: ElementOperation, in computedIn: DType, _ a: KernelOperand, _ b: KernelOperand? = nil,
    to destination: UnsafeMutableRawBufferPointer, _ destinationFormat: ElementFormat, count: Int
  ) {
    precondition(operation.isBinary == (b != nil) && a.holds(count) && (b?.holds(count) ?? true))
    precondition(destinationFormat.byteCount(elementCount: count) <= destination.count)
    let (s, t) = operation.scalars
    // All memories hold `count` elements, and the kernel refuses those that overlap where they must not.
    let result = unsafe graft_compute(
      kernelVariant, operation.kernelOperation, computedIn.kernelDType, destination.baseAddress,
      destinationFormat.kernelFormat, a.kernelOperand, (b ?? a).kernelOperand, s, t, count)
    check(result, "\(operation) of \(count) elements in \(computedIn) to \(destinationFormat)")
  }

  /// Adds `scale * (left × right)` to `sum`: matrices of float32 in row-major order, without gaps.
  ///
  /// `sum` is rows × columns, `left` rows × depth, `right` depth × columns. Each element's products are added in the order of
  /// the depth, so that a product cut into tiles of rows or columns has the bits of the whole one.
  package func addProduct(
    of left: UnsafeBufferPointer<Float>, and right: UnsafeBufferPointer<Float>, scale: Float,
    to sum: UnsafeMutableBufferPointer<Float>, rows: Int, columns: Int, depth: Int
  ) {
    precondition(rows >= 0 && columns >= 0 && depth >= 0)
    precondition(sum.count >= rows * columns && left.count >= rows * depth && right.count >= depth * columns)
    // The matrices are as large as their buffers at most.
    let result = unsafe graft_fold_product(
      kernelVariant, sum.baseAddress, columns, left.baseAddress, depth, right.baseAddress, columns, rows,
      columns,
      depth, scale)
    check(result, "a product of \(rows) × \(depth) and \(depth) × \(columns)")
  }
}
