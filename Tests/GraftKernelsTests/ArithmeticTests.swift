import CGraftKernels
import Glibc
import GraftCore
import GraftTestSupport
import Testing

/// Computes with a kernel; nil when it refused or wrote elsewhere.
private func compute(
  _ operation: graft_operation, in computedIn: DType, _ a: [UInt8], _ aType: DType, _ b: [UInt8],
  _ bType: DType,
  to destination: DType, _ s: Double = 0, _ t: Double = 0, variant: graft_variant, count: Int
) -> [UInt8]? {
  var result: CInt = 0
  let bytes = a.withUnsafeBytes { left in
    b.withUnsafeBytes { right in
      written((count * destination.bitWidth + 7) / 8, offset: count % 3) {
        result = graft_compute(
          variant, operation, computedIn.kernelDType, $0, destination.format(),
          graft_operand(elements: left.baseAddress, format: aType.format()),
          graft_operand(elements: right.baseAddress, format: bType.format()), s, t, count)
      }
    }
  }
  return result == 0 ? bytes : nil
}

private let operations: [graft_operation] = [
  GRAFT_ADD, GRAFT_SUBTRACT, GRAFT_MULTIPLY, GRAFT_DIVIDE, GRAFT_ACCUMULATE, GRAFT_COMBINE, GRAFT_SCALE,
  GRAFT_UNSCALE,
]

private func expected<T: FloatingPoint>(_ operation: graft_operation, _ x: T, _ y: T, _ s: T, _ t: T) -> T {
  switch operation {
  case GRAFT_ADD: return x + y
  case GRAFT_SUBTRACT: return x - y
  case GRAFT_MULTIPLY: return x * y
  case GRAFT_DIVIDE: return x / y
  case GRAFT_ACCUMULATE:
    let product = s * y
    return x + product
  case GRAFT_COMBINE:
    let (first, second) = (s * x, t * y)
    return first + second
  case GRAFT_SCALE: return s * x
  default: return x / s
  }
}

private func expected<T: FixedWidthInteger>(_ operation: graft_operation, _ x: T, _ y: T, _ s: T, _ t: T) -> T
{
  func floorDivided(_ x: T, _ y: T) -> T {
    if y == 0 { return 0 }
    let (quotient, overflow) = x.dividedReportingOverflow(by: y)
    if overflow { return x }
    return x % y != 0 && (x < 0) != (y < 0) ? quotient - 1 : quotient
  }
  switch operation {
  case GRAFT_ADD: return x &+ y
  case GRAFT_SUBTRACT: return x &- y
  case GRAFT_MULTIPLY: return x &* y
  case GRAFT_DIVIDE: return floorDivided(x, y)
  case GRAFT_ACCUMULATE: return x &+ s &* y
  case GRAFT_COMBINE: return s &* x &+ t &* y
  case GRAFT_SCALE: return s &* x
  default: return floorDivided(x, s)
  }
}

@Suite struct ArithmeticTests {
  static let counts = [0, 1, 7, 16, 33, 511, 513, 1100]

  @Test(arguments: 0..<8) func `floats are computed as written, step by step`(index: Int) throws {
    let operation = operations[index]
    var generator = SeededGenerator(seed: testSeed)
    for count in Self.counts {
      let x = (0..<count).map { _ in Float.random(in: -9...9, using: &generator) }
      let y = (0..<count).map { _ in Float.random(in: -9...9, using: &generator) }
      let (s, t) = (0.3, -1.7)
      let narrow = zip(x, y).map { expected(operation, $0, $1, Float(s), Float(t)) }
      let wide = zip(x, y).map { expected(operation, Double($0), Double($1), s, t) }
      for variant in variants {
        let f32 = compute(
          operation, in: .float32, elementBytes(x), .float32, elementBytes(y), .float32, to: .float32, s, t,
          variant: variant, count: count)
        #expect(f32 == elementBytes(narrow), "seed \(generator.seed)")
        let f64 = compute(
          operation, in: .float64, elementBytes(x), .float32, elementBytes(y), .float32, to: .float64, s, t,
          variant: variant, count: count)
        #expect(f64 == elementBytes(wide), "seed \(generator.seed)")
        // Stored as bfloat16, computed in float32, rounded once.
        let stored = (x + y).map { BFloat16($0) }
        let result = compute(
          operation, in: .float32, elementBytes(Array(stored[..<count])), .bfloat16,
          elementBytes(Array(stored[count...])), .bfloat16, to: .bfloat16, s, t, variant: variant,
          count: count)
        let once = (0..<count).map {
          BFloat16(expected(operation, Float(stored[$0]), Float(stored[count + $0]), Float(s), Float(t)))
        }
        #expect(result == elementBytes(once.map(\.bitPattern)), "seed \(generator.seed)")
      }
    }
  }

  @Test(arguments: 0..<8) func `integers wrap around and divide downwards`(index: Int) {
    var generator = SeededGenerator(seed: testSeed)
    func check<T: FixedWidthInteger>(_: T.Type, stored: DType, computedIn: DType) {
      var x: [T] = [.min, .min, .max, 7, 7, 0], y: [T] = [~0, 0, .max, 2, ~1, 3]
      for _ in 0..<600 {
        x.append(.random(in: .min ... .max, using: &generator))
        y.append(
          .random(in: .min ... .max, using: &generator) >> T.random(in: 0..<T(T.bitWidth), using: &generator))
      }
      let (s, t): (T, T) = (T(truncatingIfNeeded: -3), 5)
      let wanted = zip(x, y).map { expected(operations[index], $0, $1, s, t) }
      for variant in variants {
        let result = compute(
          operations[index], in: computedIn, elementBytes(x), stored, elementBytes(y), stored, to: stored,
          T.isSigned ? -3 : Double(s), 5, variant: variant, count: x.count)
        // An unsigned factor of 64 bits that is near 2^64 is no exact Double: there -3 itself is passed.
        let passed =
          stored == .uint64
          ? compute(
            operations[index], in: computedIn, elementBytes(x), stored, elementBytes(y), stored, to: stored,
            -3, 5,
            variant: variant, count: x.count) : result
        #expect(passed == elementBytes(wanted), "\(stored), seed \(generator.seed)")
      }
    }
    check(Int8.self, stored: .int8, computedIn: .int32)
    check(Int16.self, stored: .int16, computedIn: .int32)
    check(Int32.self, stored: .int32, computedIn: .int32)
    check(UInt32.self, stored: .uint32, computedIn: .uint32)
    check(Int64.self, stored: .int64, computedIn: .int64)
    check(UInt64.self, stored: .uint64, computedIn: .uint64)
    // An unsigned factor is not negative, and the scalar of a narrow dtype is one of the dtype that is computed in.
    if operations[index] == GRAFT_ADD || operations[index] == GRAFT_MULTIPLY
      || operations[index] == GRAFT_DIVIDE
    {
      check(UInt8.self, stored: .uint8, computedIn: .int32)
      check(UInt16.self, stored: .uint16, computedIn: .int32)
    }
  }

  @Test func `complex numbers are computed by parts, multiplied and divided`() throws {
    var generator = SeededGenerator(seed: testSeed)
    let count = 515
    let x = (0..<2 * count).map { _ in Double.random(in: -9...9, using: &generator) }
    var y = (0..<2 * count).map { _ in Double.random(in: -9...9, using: &generator) }
    (y[0], y[1]) = (1e200, 1e200)  // whose square is no Double
    for variant in variants {
      for operation in operations {
        let result: [Double] = elements(
          try #require(
            compute(
              operation, in: .complex128, elementBytes(x), .complex128, elementBytes(y), .complex128,
              to: .complex128, 0.3, -1.7, variant: variant, count: count)))
        for i in stride(from: 0, to: 2 * count, by: 2) {
          let wanted: (Double, Double)
          switch operation {
          case GRAFT_MULTIPLY: wanted = (x[i] * y[i] - x[i + 1] * y[i + 1], x[i] * y[i + 1] + x[i + 1] * y[i])
          case GRAFT_DIVIDE:
            let scale = max(y[i].magnitude, y[i + 1].magnitude)
            let (real, imaginary) = (y[i] / scale, y[i + 1] / scale)
            let square = (real * real + imaginary * imaginary) * scale
            wanted = (
              (x[i] * real + x[i + 1] * imaginary) / square, (x[i + 1] * real - x[i] * imaginary) / square
            )
            let near = 1e-13 * (wanted.0.magnitude + wanted.1.magnitude)
            #expect((result[i] - wanted.0).magnitude <= near && (result[i + 1] - wanted.1).magnitude <= near)
            continue
          default:
            wanted = (
              expected(operation, x[i], y[i], 0.3, -1.7), expected(operation, x[i + 1], y[i + 1], 0.3, -1.7)
            )
          }
          #expect(result[i] == wanted.0 && result[i + 1] == wanted.1, "\(operation), seed \(generator.seed)")
        }
        let narrow = elementBytes(x.map(Float.init))
        let other = elementBytes(y.map { Float($0 / 2) })
        let portable = compute(
          operation, in: .complex64, narrow, .complex64, other, .complex64, to: .complex64, 0.3, -1.7,
          variant: GRAFT_PORTABLE, count: count)
        let again = compute(
          operation, in: .complex64, narrow, .complex64, other, .complex64, to: .complex64, 0.3, -1.7,
          variant: variant, count: count)
        #expect(portable != nil && portable == again)
      }
    }
    let zero: [Double] = elements(
      try #require(
        compute(
          GRAFT_DIVIDE, in: .complex128, elementBytes([1.0, 0]), .complex128, elementBytes([0.0, 0]),
          .complex128,
          to: .complex128, variant: GRAFT_PORTABLE, count: 1)))
    #expect(zero[0] == .infinity && zero[1].isNaN)
  }

  @Test func `operands of different dtypes, packed ones too, meet in the dtype that is computed in`() throws {
    let count = 1037
    let codes = (0..<count).map { UInt8($0 * 7 % 16) }
    let halves = (0..<count).map { Float16($0) / 8 }
    for variant in variants {
      let result = compute(
        GRAFT_ACCUMULATE, in: .float32, elementBytes(halves), .float16, packed(codes, .uint4), .uint4,
        to: .int8, 2,
        variant: variant, count: count)
      let wanted = (0..<count).map { Int8(max(-128, min(127, Float(halves[$0]) + 2 * Float(codes[$0])))) }
      #expect(result == elementBytes(wanted))
    }
  }

  @Test(arguments: [DType.float32, .bfloat16, .float64])
  func `a result in the place of an operand is the same`(stored: DType) throws {
    var generator = SeededGenerator(seed: testSeed)
    let count = 1201
    let x = cast(
      elementBytes((0..<count).map { _ in Float.random(in: -9...9, using: &generator) }), .float32,
      to: stored,
      GRAFT_PORTABLE)!
    let y = Array(x.reversed())
    for variant in variants {
      let apart = compute(
        GRAFT_COMBINE, in: .float32, x, stored, y, stored, to: stored, 0.25, 0.5, variant: variant,
        count: count)
      for place in 0..<2 {
        var memory = [x, y]
        let result = memory[place].withUnsafeMutableBytes { raw in
          let here = graft_operand(elements: raw.baseAddress, format: stored.format())
          return (place == 0 ? y : x).withUnsafeBytes { other in
            let there = graft_operand(elements: other.baseAddress, format: stored.format())
            return graft_compute(
              variant, GRAFT_COMBINE, GRAFT_FLOAT32, raw.baseAddress, stored.format(),
              place == 0 ? here : there,
              place == 0 ? there : here, 0.25, 0.5, count)
          }
        }
        #expect(result == 0 && memory[place] == apart, "seed \(generator.seed)")
      }
    }
  }

  @Test func `what makes no sense is refused, and nothing is written`() {
    var memory = [UInt8](repeating: 3, count: 64)
    let f32 = DType.float32.format()
    memory.withUnsafeMutableBytes { raw in
      let base = raw.baseAddress!
      let a = graft_operand(elements: base, format: f32)
      let overlapping = graft_operand(elements: base + 2, format: f32)
      let unknown = graft_operand(elements: base, format: graft_format(dtype: 99, has_whole_bytes: false))
      func call(
        _ operation: graft_operation, _ computedIn: graft_dtype, _ b: graft_operand, _ s: Double = 0,
        to destination: UnsafeMutableRawPointer? = nil
      ) -> CInt {
        graft_compute(
          GRAFT_PORTABLE, operation, computedIn, destination ?? (base + 32), f32, a, b, s, 0, 4)
      }
      #expect(call(GRAFT_ADD, GRAFT_FLOAT32, unknown) == -EINVAL)
      #expect(call(GRAFT_OPERATION_COUNT, GRAFT_FLOAT32, a) == -EINVAL)
      #expect(call(GRAFT_ADD, GRAFT_BFLOAT16, a) == -ENOTSUP)
      #expect(call(GRAFT_ADD, GRAFT_FLOAT32, overlapping, to: base) == -EINVAL)
      #expect(call(GRAFT_SCALE, GRAFT_INT32, a, 0.5) == -EINVAL)
      #expect(call(GRAFT_SCALE, GRAFT_INT32, a, .nan) == -EINVAL)
      #expect(call(GRAFT_SCALE, GRAFT_INT64, a, 0x1p54) == -EINVAL)
      #expect(
        graft_compute(GRAFT_VARIANT_COUNT, GRAFT_ADD, GRAFT_FLOAT32, base + 32, f32, a, a, 0, 0, 4)
          == -ENOTSUP)
      #expect(graft_compute(GRAFT_PORTABLE, GRAFT_ADD, GRAFT_FLOAT32, nil, f32, a, a, 0, 0, 4) == -EINVAL)
      #expect(graft_compute(GRAFT_PORTABLE, GRAFT_ADD, GRAFT_FLOAT32, nil, f32, a, a, 0, 0, 0) == 0)
    }
    #expect(memory == [UInt8](repeating: 3, count: 64))
  }
}

@Suite struct FoldTests {
  @Test(arguments: [
    (1, 1, 1), (3, 5, 2), (4, 64, 8), (9, 131, 7), (8, 200, 33), (5, 64, 0), (0, 3, 2), (3, 0, 2),
  ])
  func `a product is added in the order of its depth, in every variant`(
    rows: Int, columns: Int, depth: Int
  ) {
    var generator = SeededGenerator(seed: testSeed)
    let (sumStride, leftStride, rightStride) = (columns + 3, depth + 1, columns + 2)
    func random(_ count: Int) -> [Float] { (0..<count).map { _ in .random(in: -2...2, using: &generator) } }
    let (sum, left, right) = (
      random(rows * sumStride), random(rows * leftStride), random(depth * rightStride + 1)
    )
    var expected = sum
    for row in 0..<rows {
      for column in 0..<columns {
        var product: Float = 0
        for k in 0..<depth {
          let step = right[k * rightStride + column] * left[row * leftStride + k]
          product += step
        }
        let scaled = product * 0.7
        expected[row * sumStride + column] += scaled
      }
    }
    for variant in variants {
      var found = sum
      #expect(
        graft_fold_product(
          variant, &found, sumStride, left, leftStride, right, rightStride, rows, columns, depth, 0.7) == 0)
      #expect(found == expected, "seed \(generator.seed)")
    }
  }

  @Test func `strides that are too short, missing memory and a factor in the sum are refused`() {
    var sum: [Float] = [1, 2, 3, 4]
    let factor: [Float] = [1, 2, 3, 4]
    #expect(graft_fold_product(GRAFT_PORTABLE, &sum, 1, factor, 2, factor, 2, 2, 2, 2, 1) == -EINVAL)
    #expect(graft_fold_product(GRAFT_PORTABLE, &sum, 2, factor, 1, factor, 2, 2, 2, 2, 1) == -EINVAL)
    #expect(graft_fold_product(GRAFT_PORTABLE, &sum, 2, factor, 2, factor, 1, 2, 2, 2, 1) == -EINVAL)
    #expect(graft_fold_product(GRAFT_PORTABLE, &sum, 2, nil, 2, factor, 2, 2, 2, 2, 1) == -EINVAL)
    #expect(graft_fold_product(GRAFT_VARIANT_COUNT, &sum, 2, factor, 2, factor, 2, 2, 2, 2, 1) == -ENOTSUP)
    sum.withUnsafeMutableBufferPointer {
      #expect(
        graft_fold_product(GRAFT_PORTABLE, $0.baseAddress, 2, $0.baseAddress, 2, factor, 2, 2, 2, 2, 1)
          == -EINVAL)
    }
    #expect(sum == [1, 2, 3, 4])
  }
}
