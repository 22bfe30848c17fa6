import CGraftKernels
import Glibc
import GraftCore
import GraftTestSupport
import Testing

private func add(
  _ a: [UInt8], _ aType: DType, _ b: [UInt8], _ bType: DType, to sum: inout graft_sum,
  _ variant: graft_variant = GRAFT_PORTABLE
) -> CInt {
  a.withUnsafeBytes { left in
    b.withUnsafeBytes { right in
      graft_sum_products(
        variant, &sum, graft_operand(elements: left.baseAddress, format: aType.format()),
        graft_operand(elements: right.baseAddress, format: bType.format()), a.count * 8 / aType.bitWidth)
    }
  }
}

private func dot<T>(_ a: [T], _ b: [T], _ dtype: DType, _ variant: graft_variant = GRAFT_PORTABLE) -> Double {
  var sum = graft_sum()
  #expect(add(elementBytes(a), dtype, elementBytes(b), dtype, to: &sum, variant) == 0)
  return graft_sum_value(&sum)
}

@Suite struct SumTests {
  @Test func `whole numbers add up exactly, far beyond a Double's bits on the way`() {
    var generator = SeededGenerator(seed: testSeed)
    for count in [0, 1, 5, 513, 20_000] {
      let x = (0..<count).map { _ in Int64.random(in: -1 << 24...1 << 24, using: &generator) }
      let y = (0..<count).map { _ in Int64.random(in: -1 << 24...1 << 24, using: &generator) }
      let exact = zip(x, y).reduce(Int128(0)) { $0 + Int128($1.0) * Int128($1.1) }
      for variant in variants {
        #expect(dot(x.map(Float.init), y.map(Float.init), .float32, variant) == Double(exact))
        #expect(dot(x.map(Double.init), y.map(Double.init), .float64, variant) == Double(exact))
        #expect(dot(x, y, .int64, variant) == Double(exact), "seed \(generator.seed)")
      }
    }
  }

  @Test(arguments: [DType.float32, .float64])
  func `what cancels leaves what does not, wherever it stands`(dtype: DType) {
    var generator = SeededGenerator(seed: testSeed)
    // Pairs of all magnitudes that cancel, and three products that do not.
    var pairs: [(Double, Double)] = [(3, 5), (0x1p-40, 0x1p-40), (-7, 0x1p-100)]
    for _ in 0..<700 {
      let exponent =
        dtype == .float32
        ? Int.random(in: -149..<127, using: &generator) : .random(in: -1074..<1023, using: &generator)
      let x = Double(sign: .plus, exponent: exponent, significand: 1)
      let y = Double(Float.random(in: -2...2, using: &generator))
      pairs += [(x, y), (-x, y)]
    }
    // The three do not fit a Double together, and so are rounded once: 15 + 2^-80 - 7 × 2^-100 is nearest to 15.
    let expected = 15.0
    for _ in 0..<4 {
      pairs.shuffle(using: &generator)
      let (x, y) = (pairs.map(\.0), pairs.map(\.1))
      let found =
        dtype == .float32 ? dot(x.map(Float.init), y.map(Float.init), dtype) : dot(x, y, dtype)
      #expect(found == expected, "seed \(generator.seed)")
    }
    pairs.removeAll { $0 == (3, 5) }
    let small = 0x1p-80 - 0x7p-100
    let (x, y) = (pairs.map(\.0), pairs.map(\.1))
    #expect(
      (dtype == .float32 ? dot(x.map(Float.init), y.map(Float.init), dtype) : dot(x, y, dtype)) == small)
  }

  @Test func `pieces in any order, merged, are the whole`() {
    var generator = SeededGenerator(seed: testSeed)
    let values = (0..<40_000).map { _ in Float.random(in: -1...1, using: &generator) * 1e4 }
    let whole = dot(values, values, .float32)
    var pieces: [graft_sum] = []
    var start = 0
    while start < values.count {
      let end = min(values.count, start + Int.random(in: 1...5000, using: &generator))
      var sum = graft_sum()
      let bytes = elementBytes(Array(values[start..<end]))
      #expect(
        add(bytes, .float32, bytes, .float32, to: &sum, variants.randomElement(using: &generator)!) == 0)
      pieces.append(sum)
      start = end
    }
    var total = graft_sum()
    for var piece in pieces.shuffled(using: &generator) { graft_sum_merge(&total, &piece) }
    #expect(graft_sum_value(&total) == whole, "seed \(generator.seed)")
    let near = values.reduce(0.0) { $0 + Double($1) * Double($1) }
    #expect((whole - near).magnitude <= near * 1e-10)
  }

  @Test func `the value is rounded to nearest, ties to even, subnormal and huge ones too`() {
    // Sums of two or three products, as a Double would round them once.
    #expect(dot([1, 0x1p-53] as [Double], [1, 1], .float64) == 1)
    #expect(dot([1, 0x1p-53, 0x1p-500], [1, 1, 0x1p-500], .float64) == (1.0 as Double).nextUp)
    #expect(dot([(1.0 as Double).nextUp, 0x1p-53], [1, 1], .float64) == (1.0 as Double).nextUp.nextUp)
    #expect(dot([-1, -0x1p-53, -0x1p-500], [1, 1, 0x1p-500], .float64) == -(1.0 as Double).nextUp)
    let least = Double.leastNonzeroMagnitude
    #expect(dot([least], [0.5], .float64) == 0)
    #expect(dot([least, least], [0.5, 0x1p-600], .float64) == least)
    #expect(dot([least], [1.5], .float64) == 2 * least)
    #expect(dot([least], [-1], .float64) == -least)
    #expect(dot([Double.leastNormalMagnitude], [1], .float64) == .leastNormalMagnitude)
    #expect(
      dot([Double.leastNormalMagnitude, -least], [1, 1], .float64) == Double.leastNormalMagnitude.nextDown)
    let most = Double.greatestFiniteMagnitude
    #expect(dot([most], [1], .float64) == most)
    #expect(dot([most, most], [most, -most], .float64) == 0)
    #expect(dot([most], [-most], .float64) == -.infinity)
    #expect(dot([most, most.ulp], [1, 0.5], .float64) == .infinity)
    #expect(dot([most, most.ulp], [1, 0.49], .float64) == most)
    #expect(dot([Float.leastNonzeroMagnitude], [.leastNonzeroMagnitude], .float32) == 0x1p-298)
    #expect(dot([] as [Float], [], .float32) == 0)
  }

  @Test func `infinities and NaN are what they are in any sum`() {
    for variant in variants {
      #expect(dot([1, .infinity] as [Float], [1, 2], .float32, variant) == .infinity)
      #expect(dot([1, -.infinity] as [Float], [1, 2], .float32, variant) == -.infinity)
      #expect(dot([.infinity, .infinity] as [Float], [1, -2], .float32, variant).isNaN)
      #expect(dot([.infinity] as [Float], [0], .float32, variant).isNaN)
      #expect(dot([.nan, 1] as [Float], [0, 1], .float32, variant).isNaN)
      #expect(dot([1, .infinity], [1, 2], .float64, variant) == .infinity)
      #expect(dot([.nan, 1], [0, 1], .float64, variant).isNaN)
    }
  }

  @Test func `operands of all real dtypes are served, others refused`() {
    for dtype in DType.allCases {
      let one = cast(elementBytes([Float](repeating: 1, count: 8)), .float32, to: dtype, GRAFT_PORTABLE)!
      let bytes = dtype.isPacked ? packed(one, dtype) : one
      let floats = elementBytes([Float](repeating: 2, count: 8))
      var sum = graft_sum()
      let result = add(floats, .float32, bytes, dtype, to: &sum)
      if dtype == .complex64 || dtype == .complex128 {
        #expect(result == -ENOTSUP)
      } else {
        #expect(result == 0 && graft_sum_value(&sum) == 16, "\(dtype)")
      }
    }
    var sum = graft_sum()
    let none = graft_operand(elements: nil, format: DType.float32.format())
    #expect(graft_sum_products(GRAFT_PORTABLE, &sum, none, none, 1) == -EINVAL)
    #expect(graft_sum_products(GRAFT_PORTABLE, nil, none, none, 1) == -EINVAL)
    #expect(graft_sum_products(GRAFT_VARIANT_COUNT, &sum, none, none, 0) == -ENOTSUP)
  }
}
