import GraftCore
import GraftExecute
import GraftTestSupport
import Testing

/// The wrapper of the kernels: what they compute is GraftKernelsTests' subject, what reaches them is this one's.
@Suite struct KernelsTests {
  private static func bytes<Element>(_ elements: [Element]) -> [UInt8] {
    elements.withUnsafeBytes { Array($0) }
  }

  @Test(arguments: DType.allCases) func `every dtype reaches the kernels under its own name`(dtype: DType)
    throws
  {
    // The number 1 in each dtype, by the tables that GraftCore has of them.
    let one: [UInt8] =
      switch dtype {
      case .bool, .int4, .uint4, .int8, .uint8: [1]
      case .int16, .uint16: [1, 0]
      case .int32, .uint32: [1, 0, 0, 0]
      case .int64, .uint64: [1, 0, 0, 0, 0, 0, 0, 0]
      case .bfloat16: Self.bytes([BFloat16(1 as Float).bitPattern])
      case .float16: Self.bytes([Float16(1)])
      case .float32: Self.bytes([Float(1)])
      case .float64: Self.bytes([1.0])
      case .complex64: Self.bytes([Float(1), 0])
      case .complex128: Self.bytes([1.0, 0])
      default: [UInt8(try #require(dtype.floatTable?.firstIndex(of: 1)))]
      }
    for kernels in Kernels.all {
      var number: Float = 0
      withUnsafeMutableBytes(of: &number) { destination in
        one.withUnsafeBytes {
          kernels.cast($0, ElementFormat(dtype), to: destination, ElementFormat(.float32), count: 1)
        }
      }
      #expect(number == 1)
      var back = [UInt8](repeating: 0xFF, count: one.count)
      back.withUnsafeMutableBytes { destination in
        withUnsafeBytes(of: number) {
          kernels.cast($0, ElementFormat(.float32), to: destination, ElementFormat(dtype), count: 1)
        }
      }
      #expect(back == one)
    }
  }

  @Test func `elements of less than a byte are taken as they are stored`() {
    let codes: [UInt8] = [1, 2, 0xF3, 4]
    var result = [Int8](repeating: 0, count: 4)
    result.withUnsafeMutableBytes { destination in
      codes.withUnsafeBytes {
        Kernels.best.cast(
          $0, ElementFormat(.int4, storedBitWidth: 8), to: destination, ElementFormat(.int8), count: 4)
      }
    }
    #expect(result == [1, 2, 3, 4])
    #expect(ElementFormat(.int4).byteCount(elementCount: 5) == 3)
    #expect(ElementFormat(.int4, storedBitWidth: 8).byteCount(elementCount: 5) == 5)
    #expect(ElementFormat(.complex128).byteCount(elementCount: 5) == 80)
  }

  /// Two halves of the sum of three numbers, by way of an accumulator in float32.
  @Test func `a weighted mean is accumulated in float32 and rounded once`() {
    let parts: [[Float]] = [[1, 2, 3], [3, 5, 7], [0.5, 0.25, 1000]]
    var accumulator = [Float](repeating: 0, count: 3)
    for part in parts {
      let stored = Self.bytes(part.map { BFloat16($0).bitPattern })
      accumulator.withUnsafeMutableBytes { sum in
        stored.withUnsafeBytes { source in
          Kernels.best.compute(
            .accumulate(1.0 / 3), in: .float32,
            unsafe KernelOperand(UnsafeRawBufferPointer(sum), ElementFormat(.float32)),
            unsafe KernelOperand(source, ElementFormat(.bfloat16)), to: sum, ElementFormat(.float32), count: 3
          )
        }
      }
    }
    let third = Float(1.0 / 3)
    for index in 0..<3 {
      let expected = parts.reduce(Float(0)) { sum, part in
        let product = third * part[index]
        return sum + product
      }
      #expect(accumulator[index] == expected)
    }
  }

  @Test func `every dtype is computed in one that the kernels serve`() {
    let zeros = [UInt8](repeating: 0, count: 64)
    var result = [UInt8](repeating: 0xFF, count: 64)
    for dtype in DType.allCases {
      let format = ElementFormat(dtype)
      for operation: ElementOperation in [
        .add, .subtract, .multiply, .accumulate(2), .combine(1, 2), .scale(3), .unscale(2),
      ] {
        zeros.withUnsafeBytes { source in
          result.withUnsafeMutableBytes { destination in
            let operand = unsafe KernelOperand(source, format)
            Kernels.best.compute(
              operation, in: dtype.computedIn, operand, operation.isBinary ? operand : nil, to: destination,
              format, count: 4)
          }
        }
      }
      #expect(dtype.computedIn.computedIn == dtype.computedIn)
    }
  }

  @Test func `sums of tiles merge into the whole, and random elements are the same in pieces`() {
    let elements = RandomElements(.normal(mean: 0, standardDeviation: 2), seed: 5, stream: 9)
    var whole = [Float](repeating: 0, count: 5000)
    whole.withUnsafeMutableBytes { elements.write(0..<5000, of: .float32, to: $0) }
    var pieces = [Float](repeating: 0, count: 5000)
    var (sum, part) = (ExactSum(), ExactSum())
    pieces.withUnsafeMutableBytes { bytes in
      for range in [3001..<5000, 0..<777, 777..<3001] {
        elements.write(
          range, of: .float32,
          to: UnsafeMutableRawBufferPointer(rebasing: bytes[(4 * range.lowerBound)..<(4 * range.upperBound)]))
      }
      let format = ElementFormat(.float32)
      let all = unsafe KernelOperand(UnsafeRawBufferPointer(bytes), format)
      sum.addProducts(of: all, and: all, count: 2000)
      let rest = unsafe KernelOperand(UnsafeRawBufferPointer(rebasing: bytes[8000...]), format)
      part.addProducts(of: rest, and: rest, count: 3000, with: Kernels.all[0])
    }
    #expect(pieces == whole)
    sum.merge(part)
    var direct = ExactSum()
    whole.withUnsafeBytes { bytes in
      let all = unsafe KernelOperand(bytes, ElementFormat(.float32))
      direct.addProducts(of: all, and: all, count: 5000)
    }
    #expect(sum.value == direct.value && sum.value > 0)
    #expect(!RandomDistribution.uniform(0..<0).isValid && !RandomElements.serves(.int8))
    #expect(!RandomDistribution.uniform(-1e308..<1e308).isValid)
    #expect(!RandomDistribution.normal(mean: 0, standardDeviation: -1).isValid)
  }

  @Test func `a product is added to a sum`() {
    var sum: [Float] = [1, 1, 1, 1]
    sum.withUnsafeMutableBufferPointer { sum in
      [1, 2].withUnsafeBufferPointer { left in
        [3, 4].withUnsafeBufferPointer { right in
          Kernels.best.addProduct(of: left, and: right, scale: 0.5, to: sum, rows: 2, columns: 2, depth: 1)
        }
      }
    }
    #expect(sum == [2.5, 3, 4, 5])
  }

  @Test func `memory that is too small is our own mistake`() async {
    await #expect(processExitsWith: .failure) {
      var destination = [UInt8](repeating: 0, count: 4)
      let source = [UInt8](repeating: 0, count: 8)
      destination.withUnsafeMutableBytes { to in
        source.withUnsafeBytes {
          Kernels.best.cast($0, ElementFormat(.float32), to: to, ElementFormat(.float32), count: 2)
        }
      }
    }
  }
}
