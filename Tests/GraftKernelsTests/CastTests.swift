import CGraftKernels
import Foundation
import GraftCore
import GraftTestSupport
import Testing

/// A number as a significand times a power of two, exact for every element of 64 bits.
private struct ExactNumber {
  var isNegative: Bool
  var significand: UInt64
  var exponent: Int

  init(_ value: Double) {
    isNegative = value < 0
    let magnitude = value.magnitude
    if magnitude == 0 {
      (significand, exponent) = (0, 0)
    } else {
      significand = UInt64(magnitude.significand * 0x1p52)
      exponent = Int(magnitude.exponent) - 52
    }
  }

  init<T: FixedWidthInteger>(_ value: T) {
    isNegative = value < 0
    significand = UInt64(value.magnitude)
    exponent = 0
  }

  /// -1, 0 or 1: how the magnitude compares with another's.
  func compareMagnitude(_ other: ExactNumber) -> Int {
    if significand == 0 || other.significand == 0 {
      return (significand == 0 ? 0 : 1) - (other.significand == 0 ? 0 : 1)
    }
    let place = 64 - significand.leadingZeroBitCount + exponent
    let otherPlace = 64 - other.significand.leadingZeroBitCount + other.exponent
    if place != otherPlace { return place < otherPlace ? -1 : 1 }
    let aligned = significand << UInt64(significand.leadingZeroBitCount)
    let otherAligned = other.significand << UInt64(other.significand.leadingZeroBitCount)
    return aligned == otherAligned ? 0 : aligned < otherAligned ? -1 : 1
  }
}

/// The nearest code of a small float by looking through all of its numbers, which knows nothing of bits.
private struct NearestCode {
  let dtype: DType
  let format: FloatFormat
  /// Half-way from each code's number to the next one's, where the last is the first number that is too large.
  let halves: [ExactNumber]

  init?(_ dtype: DType) {
    guard let format = FloatFormat(dtype), format.specials != .powersOfTwo else { return nil }
    self.dtype = dtype
    self.format = format
    let codes = 0..<UInt16(1) << UInt16(format.exponentBits + format.significandBits)
    let numbers = codes.map { Double(format.value(of: $0)) }.prefix { $0.isFinite }
    var halves = zip(numbers, numbers.dropFirst()).map { ($0 + $1) / 2 }
    halves.append(numbers[numbers.count - 1] + (numbers[numbers.count - 1] - numbers[numbers.count - 2]) / 2)
    self.halves = halves.map { ExactNumber($0) }
  }

  func callAsFunction(_ number: ExactNumber) -> UInt16 {
    var (low, high) = (0, halves.count)
    while low < high {
      let middle = (low + high) / 2
      if halves[middle].compareMagnitude(number) < 0 { low = middle + 1 } else { high = middle }
    }
    if low < halves.count, halves[low].compareMagnitude(number) == 0, low % 2 == 1 { low += 1 }
    let sign = UInt16(number.isNegative ? 1 : 0) << UInt16(format.exponentBits + format.significandBits)
    if low == halves.count {
      switch format.specials {
      case .ieee, .nanOnly: return sign | UInt16(low)  // infinity, or NaN, comes after the last number
      case .negativeZeroIsNaN: return 1 << UInt16(format.exponentBits + format.significandBits)
      case .none, .powersOfTwo: return sign | UInt16(low - 1)
      }
    }
    return low == 0 && format.specials == .negativeZeroIsNaN ? 0 : sign | UInt16(low)
  }
}

@Suite struct CastTests {
  /// `source destination` to the hash of the destination's bytes; Tests/Fixtures/kernels/generate.py made it.
  private static let golden: [String: String] = {
    let text = String(decoding: Fixture.bytes("kernels/ml_dtypes-0.6.0/casts.txt"), as: UTF8.self)
    let lines = text.split(separator: "\n").map { $0.split(separator: " ") }
    return Dictionary(uniqueKeysWithValues: lines.map { ("\($0[0]) \($0[1])", String($0[2])) })
  }()

  private static func hash(_ bytes: [UInt8]) -> String {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    bytes.withUnsafeBufferPointer { for byte in $0 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 } }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  static let goldenSources = DType.allCases.filter { $0.bitWidth <= 16 } + [.float32]

  @Test(arguments: goldenSources)
  func `every code becomes what NumPy and ml_dtypes make of it, in every dtype and variant`(source: DType) {
    let codes: [UInt8] =
      switch source.bitWidth {
      case 32: elementBytes((0..<65536).map { UInt32(truncatingIfNeeded: $0 * 65537) })
      case 16: elementBytes((0..<65536).map { UInt16($0) })
      default: (0..<(source == .bool ? 2 : 1 << source.bitWidth)).map { UInt8($0) }
      }
    for destination in DType.allCases {
      let portable = cast(codes, source, to: destination, GRAFT_PORTABLE)
      #expect(
        portable.map(Self.hash) == Self.golden["\(source) \(destination)"], "\(source) to \(destination)")
      for variant in variants.dropFirst() {
        #expect(
          cast(codes, source, to: destination, variant) == portable,
          "\(source) to \(destination), variant \(variant.rawValue)")
      }
    }
  }

  /// Numbers near what decides a rounding, and random ones.
  private static func doubles(using generator: inout SeededGenerator) -> [Double] {
    var values: [Double] = [
      0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 0x1p31, 0x1p31 - 0.5, -0x1p31 - 0.5, 0x1p32, 0x1p63, -0x1p63,
      0x1p64,
      0x1p63.nextDown, 0x1p64.nextDown, 1e300, -1e300, .leastNonzeroMagnitude, 0x1p-149, 0x1p-150,
      (0x1p-150).nextUp, 127.9,
      -128.9, 255.9, -0.9, 65519.99, 65520, .infinity, -.infinity, 0x1.fffffp127, 0x1.ffffffp127, 0x1p128,
    ]
    for _ in 0..<150 {
      values.append(Double(bitPattern: .random(in: 0..<0x7FF0_0000_0000_0000, using: &generator)))
      values.append(Double.random(in: -300...300, using: &generator))
      // Ties of the formats of 8, 11 and fewer bits, and what is next to them.
      let bits = Int.random(in: 1...11, using: &generator)
      let odd = Double(Int.random(in: 0..<1 << bits, using: &generator) * 2 + 1)
      let tie = odd * Double(sign: .plus, exponent: .random(in: -30...20, using: &generator), significand: 1)
      values += [tie, tie.nextUp, -tie.nextDown, tie + tie * 0x1p-40, tie - tie * 0x1p-40]
    }
    return values
  }

  private static func integers<T: FixedWidthInteger>(
    _: T.Type, using generator: inout SeededGenerator
  ) -> [T] {
    var values: [T] = [.min, .max, 0, 1, .min + 1, .max - 1]
    for _ in 0..<200 {
      let value =
        T.random(in: .min ... .max, using: &generator) >> T.random(in: 0..<T(T.bitWidth), using: &generator)
      let tie = (1 as T) << T.random(in: 8..<T(T.bitWidth - 1), using: &generator)
      values += [
        value, ~value, tie | tie >> 8, tie | tie >> 8 | 1, tie | tie >> 8 &- 1, tie | tie >> 24 | tie >> 25,
      ]
    }
    return values
  }

  /// The bytes of a number, known exactly and as a `Double` or an integer, in a dtype; by other means than the kernels'.
  private static func expected(
    _ exact: ExactNumber, double: Double?, integer: (any FixedWidthInteger)?, _ dtype: DType,
    _ nearest: NearestCode?
  ) -> [UInt8] {
    func saturated<T: FixedWidthInteger>(_: T.Type, _ range: ClosedRange<Double>? = nil) -> [UInt8] {
      if let integer { return elementBytes([T(truncatingIfNeeded: integer)]) }
      guard let double else { return [] }
      return elementBytes([T(exactly: double.rounded(.towardZero)) ?? (double < 0 ? .min : .max)])
    }
    func float<T: BinaryFloatingPoint>(_: T.Type) -> T {
      if let double { return T(double) }
      func convert(_ value: some FixedWidthInteger) -> T { T(value) }
      return convert(integer!)
    }
    switch dtype {
    case .bool: return [exact.significand == 0 ? 0 : 1]
    case .int4, .uint4:
      if let integer { return [UInt8(truncatingIfNeeded: integer) & 15] }
      let bounds: (Double, Double) = dtype == .int4 ? (-8, 7) : (0, 15)
      return [UInt8(truncatingIfNeeded: Int(max(bounds.0, min(bounds.1, double!)))) & 15]
    case .int8: return saturated(Int8.self)
    case .uint8: return saturated(UInt8.self)
    case .int16: return saturated(Int16.self)
    case .uint16: return saturated(UInt16.self)
    case .int32: return saturated(Int32.self)
    case .uint32: return saturated(UInt32.self)
    case .int64: return saturated(Int64.self)
    case .uint64: return saturated(UInt64.self)
    case .float32: return elementBytes([float(Float.self)])
    case .float64: return elementBytes([float(Double.self)])
    case .complex64: return elementBytes([float(Float.self), 0])
    case .complex128: return elementBytes([float(Double.self), 0])
    case .float8E8M0FNU:
      // The code whose power of two is nearest; a tie goes up.
      if exact.isNegative || exact.significand == 0 || double?.isFinite == false { return [0xFF] }
      let code = (0..<255).first { code in
        exact.compareMagnitude(ExactNumber(Double(sign: .plus, exponent: code - 127, significand: 1.5))) < 0
      }
      return [UInt8(code ?? 255)]
    default:
      guard var code = nearest?(exact) else { return [] }
      if double?.isFinite == false, dtype == .float8E4M3FN { code |= 0x7F }
      // Negative zero is a number of its own where there is one.
      if let double, double == 0, double.sign == .minus, nearest?.format.specials != .negativeZeroIsNaN {
        code |= 1 << UInt16(dtype.bitWidth - 1)
      }
      return dtype.bitWidth == 16 ? elementBytes([code]) : [UInt8(code)]
    }
  }

  @Test(arguments: [DType.int32, .uint32, .int64, .uint64, .float64])
  func `wide elements round once, to the nearest, and wrap or saturate`(source: DType) throws {
    var generator = SeededGenerator(seed: testSeed)
    var numbers: [(exact: ExactNumber, double: Double?, integer: (any FixedWidthInteger)?)] = []
    var bytes: [UInt8] = []
    func add<T: FixedWidthInteger>(_: T.Type) {
      let values = Self.integers(T.self, using: &generator)
      numbers = values.map { (ExactNumber($0), nil, $0) }
      bytes = elementBytes(values)
    }
    switch source {
    case .int32: add(Int32.self)
    case .uint32: add(UInt32.self)
    case .int64: add(Int64.self)
    case .uint64: add(UInt64.self)
    default:
      let values = Self.doubles(using: &generator)
      numbers = values.map {
        ($0.isFinite ? ExactNumber($0) : Self.infinite($0), $0, nil)
      }
      bytes = elementBytes(values)
    }
    for destination in DType.allCases {
      let nearest = NearestCode(destination)
      let width = destination.wholeByteCount
      for variant in variants {
        let result = try #require(cast(bytes, source, to: destination, variant))
        for (index, number) in numbers.enumerated() {
          let expected = Self.expected(
            number.exact, double: number.double, integer: number.integer, destination, nearest)
          let found = Array(result[(index * width)..<((index + 1) * width)])
          guard found == expected else {
            Issue.record(
              "\(source) \(number.double.map { "\($0)" } ?? "\(number.integer!)") to \(destination): \(found), not \(expected); variant \(variant.rawValue), seed \(generator.seed)"
            )
            return
          }
        }
      }
    }
  }

  private static func infinite(_ value: Double) -> ExactNumber {
    var number = ExactNumber(Double.greatestFiniteMagnitude)
    number.exponent += 10
    number.isNegative = value < 0
    return number
  }

  @Test func `NaN becomes NaN, 0 or true, and complex numbers lose their imaginary part but for truth`() {
    let nan = elementBytes([Double.nan, -Double.nan])
    for variant in variants {
      #expect(cast(nan, .float64, to: .int8, variant) == [0, 0])
      #expect(cast(nan, .float64, to: .uint64, variant) == [UInt8](repeating: 0, count: 16))
      #expect(cast(nan, .float64, to: .bool, variant) == [1, 1])
      #expect(cast(nan, .float64, to: .float8E4M3FN, variant) == [0x7F, 0xFF])
      #expect(cast(nan, .float64, to: .bfloat16, variant) == elementBytes([0x7FC0, 0xFFC0] as [UInt16]))
      let complex = elementBytes([1.5, 2, 0, 3, 0, 0] as [Float])
      #expect(cast(complex, .complex64, to: .bool, variant) == [1, 1, 0])
      #expect(cast(complex, .complex64, to: .int8, variant) == [1, 0, 0])
      #expect(
        cast(complex, .complex64, to: .complex128, variant) == elementBytes([1.5, 2, 0, 3, 0, 0] as [Double]))
      let wide = elementBytes([0.1, -1e300] as [Double])
      #expect(
        cast(wide, .complex128, to: .complex64, variant) == elementBytes([0.1, -Float.infinity] as [Float]))
      #expect(cast(wide, .complex128, to: .bool, variant) == [1])
      #expect(cast(wide, .complex128, to: .float16, variant) == elementBytes([Float16(0.1)]))
      #expect(cast([0, 1, 2, 255], .bool, to: .bool, variant) == [0, 1, 1, 1])
    }
  }

  @Test(arguments: [DType.int4, .uint4, .float4E2M1FN, .float6E2M3FN, .float6E3M2FN])
  func `packed elements are cast as those with a byte each, up to the last bit`(dtype: DType) {
    var generator = SeededGenerator(seed: testSeed)
    for count in Array(0...17) + [511, 512, 513, 1031] {
      let codes = (0..<count).map { _ in UInt8.random(in: 0..<1 << UInt8(dtype.bitWidth), using: &generator) }
      let packedCodes = packed(codes, dtype)
      for variant in variants {
        let floats = written(4 * count) {
          #expect(graft_cast(variant, $0, DType.float32.format(), packedCodes, dtype.format(), count) == 0)
        }
        #expect(floats == cast(codes, dtype, to: .float32, variant), "\(count), seed \(generator.seed)")
        let back = written(packedCodes.count) {
          #expect(graft_cast(variant, $0, dtype.format(), floats!, DType.float32.format(), count) == 0)
        }
        #expect(back == packedCodes, "\(count), seed \(generator.seed)")
        let same = written(packedCodes.count) {
          #expect(graft_cast(variant, $0, dtype.format(), codes, dtype.format(wholeBytes: true), count) == 0)
        }
        #expect(same == packedCodes, "\(count), seed \(generator.seed)")
        // High bits of a byte are nobody's.
        let dirty = codes.map { $0 | ~((1 << UInt8(dtype.bitWidth)) - 1) }
        #expect(cast(dirty, dtype, to: dtype, variant) == codes)
      }
    }
  }

  @Test func `elements at odd addresses, in any number, are cast as others`() {
    var generator = SeededGenerator(seed: testSeed)
    let pairs: [(DType, DType)] = [
      (.bfloat16, .float32), (.float32, .bfloat16), (.float16, .float32), (.float32, .float16),
      (.float64, .float32), (.float32, .float64), (.int64, .float16), (.int8, .int32), (.uint16, .bfloat16),
      (.float8E4M3FN, .bfloat16), (.complex64, .complex128), (.bool, .float64), (.float32, .float32),
    ]
    for (from, to) in pairs {
      for count in [0, 1, 2, 3, 7, 8, 15, 16, 17, 33, 63, 65, 513] {
        // Numbers of moderate size, as random bits are mostly none.
        let numbers = elementBytes((0..<count).map { _ in Float.random(in: -99...99, using: &generator) })
        let source = cast(numbers, .float32, to: from, GRAFT_PORTABLE)!
        let expected = cast(source, from, to: to, GRAFT_PORTABLE)!
        for variant in variants {
          for (sourceOffset, offset) in [(0, 0), (1, 0), (0, 1), (3, 5), (7, 2)] {
            let shifted = [UInt8](repeating: 0, count: sourceOffset) + source
            let result = shifted.withUnsafeBytes { raw in
              written(expected.count, offset: offset) {
                #expect(
                  graft_cast(variant, $0, to.format(), raw.baseAddress! + sourceOffset, from.format(), count)
                    == 0)
              }
            }
            #expect(result == expected, "\(from) to \(to), \(count), seed \(generator.seed)")
          }
        }
      }
    }
  }

  @Test func `what makes no sense is refused, and nothing is written`() {
    var memory: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
    let (f32, bf16) = (DType.float32.format(), DType.bfloat16.format())
    let unknown = graft_format(dtype: UInt8(DType.allCases.count), has_whole_bytes: false)
    memory.withUnsafeMutableBytes { raw in
      let base = raw.baseAddress!
      #expect(graft_cast(GRAFT_PORTABLE, base, f32, base + 2, bf16, 1) == -EINVAL)
      #expect(graft_cast(GRAFT_PORTABLE, base, f32, base, f32, 1) == -EINVAL)
      #expect(graft_cast(GRAFT_PORTABLE, nil, f32, base, bf16, 1) == -EINVAL)
      #expect(graft_cast(GRAFT_PORTABLE, base, f32, nil, bf16, 1) == -EINVAL)
      #expect(graft_cast(GRAFT_PORTABLE, base, unknown, base + 4, bf16, 1) == -EINVAL)
      #expect(graft_cast(GRAFT_PORTABLE, base, f32, base + 4, unknown, 1) == -EINVAL)
      #expect(graft_cast(GRAFT_VARIANT_COUNT, base, f32, base + 4, bf16, 1) == -ENOTSUP)
      #expect(graft_cast(GRAFT_PORTABLE, nil, f32, nil, bf16, 0) == 0)
    }
    #expect(memory == [1, 2, 3, 4, 5, 6, 7, 8])
  }

  @Test func `the best variant is the widest that is supported`() {
    #expect(graft_variant_best() == variants.last)
    #expect(graft_variant_is_supported(GRAFT_PORTABLE))
    #expect(!graft_variant_is_supported(GRAFT_VARIANT_COUNT))
    #expect(UInt32(DType.allCases.count) == GRAFT_DTYPE_COUNT.rawValue)
  }
}
