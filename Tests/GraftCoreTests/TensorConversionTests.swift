import Foundation
import GraftCore
import GraftTestSupport
import Testing

/// What ml_dtypes and NumPy say about every dtype; Tests/Fixtures/dtypes/generate.py made it.
private enum Golden {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures/dtypes/ml_dtypes-0.6.0")

  /// The bits of each code's number as float32, NaN as 0x7fc00000.
  static func bits(_ dtype: DType) throws -> [UInt32] {
    let data = try Data(contentsOf: folder.appending(path: "\(dtype).f32"))
    return data.withUnsafeBytes { bytes in
      (0..<data.count / 4).map {
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self))
      }
    }
  }

  /// Lines of words.
  static func words(_ file: String) throws -> [[String]] {
    try String(contentsOf: folder.appending(path: file), encoding: .utf8).split(separator: "\n")
      .map { $0.split(separator: " ").map(String.init) }
  }
}

private func canonicalBits(_ value: Float) -> UInt32 { value.isNaN ? 0x7FC0_0000 : value.bitPattern }

/// Packs codes as ``DType`` says.
private func packed(_ codes: some Sequence<Int>, _ dtype: DType) -> [UInt8] {
  var bits = 0
  var held = 0
  var bytes: [UInt8] = []
  for code in codes {
    held |= code << bits
    bits += dtype.bitWidth
    while bits >= 8 {
      bytes.append(UInt8(truncatingIfNeeded: held))
      held >>= 8
      bits -= 8
    }
  }
  if bits > 0 { bytes.append(UInt8(truncatingIfNeeded: held)) }
  return bytes
}

@Suite struct TensorConversionTests {
  static let smallFloats = DType.allCases.filter { $0.bitWidth <= 8 && $0.rawValue.hasPrefix("float") }

  @Test(arguments: smallFloats) func `every code of a small float is the number that ml_dtypes gives`(
    dtype: DType
  ) throws {
    let expected = try Golden.bits(dtype)
    #expect(expected.count == 1 << dtype.bitWidth)
    let tensor = try Tensor(
      bytes: packed(0..<expected.count, dtype), spec: TensorSpec(dtype, [expected.count]))
    #expect(try tensor.array(as: Float.self).map(canonicalBits) == expected)
    #expect(try tensor.array(as: Double.self).map { canonicalBits(Float($0)) } == expected)
  }

  @Test(arguments: [DType.bfloat16, .float16])
  func `every code of a 16-bit float is the number that NumPy gives`(dtype: DType) throws {
    let hashes = try Golden.words("hashes.txt")
    let expected = try #require(hashes.first { $0[0] == dtype.rawValue }?[1])
    let bytes = (0..<65536).flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
    let values = try Tensor(bytes: bytes, spec: TensorSpec(dtype, [65536])).array(as: Float.self)
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for value in values {
      let bits = canonicalBits(value)
      for shift in [0, 8, 16, 24] as [UInt32] {
        hash = (hash ^ UInt64(bits >> shift & 0xFF)) &* 0x100_0000_01B3
      }
    }
    #expect(String(hash, radix: 16) == String(expected.drop { $0 == "0" }))
    // Where Swift has the type itself, and by the description of the format, the numbers are the same.
    let format = try #require(FloatFormat(dtype))
    for code in 0..<65536 {
      let swift =
        dtype == .float16
        ? Float(Float16(bitPattern: UInt16(code))) : Float(BFloat16(bitPattern: UInt16(code)))
      guard canonicalBits(swift) == canonicalBits(values[code]),
        canonicalBits(format.value(of: UInt16(code))) == canonicalBits(values[code])
      else {
        Issue.record(
          "code \(code) is \(values[code]), by Swift \(swift), by the format \(format.value(of: UInt16(code)))"
        )
        return
      }
    }
  }

  @Test func `what converts without loss is what NumPy converts without loss`() throws {
    let exact = Set(try Golden.words("exact.txt").map { $0.joined(separator: " ") })
    for source in DType.allCases {
      for target in DType.allCases {
        #expect(
          source.convertsExactly(to: target) == exact.contains("\(source) \(target)"),
          "\(source) to \(target)")
      }
    }
  }

  @Test func `dtypes that NumPy has meet where NumPy lets them meet`() throws {
    let golden = try Golden.words("promoted.txt")
    #expect(golden.count == 14 * 14)
    for words in golden {
      let (first, second) = (try #require(DType(rawValue: words[0])), try #require(DType(rawValue: words[1])))
      #expect(first.promoted(with: second).rawValue == words[2], "\(first) with \(second)")
    }
  }

  @Test func `two dtypes meet in one that holds both, and no narrower one does`() {
    for first in DType.allCases {
      for second in DType.allCases {
        let meeting = first.promoted(with: second)
        #expect(meeting == second.promoted(with: first))
        func holdsBoth(_ dtype: DType) -> Bool {
          first.convertsExactly(to: dtype) && second.convertsExactly(to: dtype)
        }
        let narrower = DType.allCases.filter {
          $0.bitWidth < meeting.bitWidth && $0.bitWidth % 8 == 0 && holdsBoth($0)
        }
        // Another float8 may happen to hold both, but nobody expects to be given a third one.
        #expect(
          narrower.allSatisfy { $0.bitWidth == 8 }, "\(first) with \(second): \(meeting), not \(narrower)")
        if !holdsBoth(meeting) {
          #expect(meeting == .float64 || meeting == .complex128)
          #expect(!DType.allCases.contains(where: holdsBoth), "\(first) with \(second)")
        }
      }
    }
    #expect(DType.bfloat16.promoted(with: .float16) == .float32)
    #expect(DType.float8E4M3FN.promoted(with: .float8E5M2) == .float16)
    #expect(DType.bfloat16.promoted(with: .int8) == .bfloat16)
    #expect(DType.int4.promoted(with: .uint4) == .int8)
    #expect(DType.float8E4M3FN.promoted(with: .bfloat16) == .bfloat16)
  }

  @Test(arguments: [DType.int4, .uint4]) func `4-bit integers read, from the low bits up`(dtype: DType) throws
  {
    let tensor = try Tensor(bytes: packed(0..<15, dtype), spec: TensorSpec(dtype, [3, 5]))
    let expected = dtype == .int4 ? Array(0..<8) + Array(-8 ..< -1) : Array(0..<15)
    #expect(try tensor.array(as: Int.self) == expected)
    #expect(try tensor.array(as: Float.self) == expected.map(Float.init))
    #expect(try tensor.array(as: Int8.self) == expected.map { Int8($0) })
  }

  @Test func `a conversion that could change a value is an error that names both dtypes`() throws {
    let tensor = Tensor([1, 2] as [Float])
    do throws(GraftError) {
      _ = try tensor.array(as: Int32.self)
      Issue.record("nothing was thrown")
    } catch {
      #expect(error.code == .lossy)
      #expect(
        error.description
          == "Not every float32 is a Int32. Expected a dtype within int32, found float32. Pass lossy: true, or ask for a wider type."
      )
    }
    #expect(throws: GraftError.self) { try Tensor([1] as [UInt64]).array(as: Int.self) }
    #expect(throws: GraftError.self) { try Tensor([1] as [Int]).array(as: Double.self) }
    #expect(throws: GraftError.self) { try Tensor([Complex64(1)]).array(as: Float.self) }
  }

  @Test func `a lossy conversion rounds, saturates and drops as documented`() throws {
    let values: [Double] = [2.5, -2.5, 1e300, -1e300, .nan, 300, -1]
    let tensor = Tensor(values)
    #expect(try tensor.array(as: Int8.self, lossy: true) == [2, -2, 127, -128, 0, 127, -1])
    #expect(try tensor.array(as: UInt8.self, lossy: true) == [2, 0, 255, 0, 0, 255, 0])
    #expect(try tensor.array(as: Int.self, lossy: true) == [2, -2, .max, .min, 0, 300, -1])
    #expect(try tensor.array(as: Bool.self, lossy: true) == [true, true, true, true, true, true, true])
    #expect(try tensor.array(as: Float.self, lossy: true).prefix(4) == [2.5, -2.5, .infinity, -.infinity])
    #expect(try Tensor([0, 1.0]).array(as: Bool.self, lossy: true) == [false, true])
    #expect(try Tensor([Int.min, .max]).array(as: UInt16.self, lossy: true) == [0, .max])
    #expect(try Tensor([Complex128(1, 2)]).array(as: Float.self, lossy: true) == [1])
    #expect(try Tensor([Complex128(1, 2)]).array(as: Complex64.self, lossy: true) == [Complex64(1, 2)])
    #expect(try Tensor([Complex64(1, 2)]).array(as: Complex128.self) == [Complex128(1, 2)])
    #expect(try Tensor([1.5] as [Float]).array(as: Complex64.self) == [Complex64(1.5, 0)])
  }

  @Test func `rounding to bfloat16 is to the nearest, ties to even, once`() throws {
    var generator = SeededGenerator(seed: seedFromEnvironment() ?? .random(in: 0..<1_000_000))
    // The nearest by comparison with both neighbours.
    func nearest(_ value: Double) -> BFloat16 {
      let below = BFloat16(bitPattern: UInt16(truncatingIfNeeded: Float(value).bitPattern >> 16) &- 1)
      return (0...2).map { BFloat16(bitPattern: below.bitPattern &+ UInt16($0)) }.min { a, b in
        let (x, y) = ((Double(a) - value).magnitude, (Double(b) - value).magnitude)
        return x != y ? x < y : a.bitPattern & 1 < b.bitPattern & 1
      } ?? below
    }
    for _ in 0..<300 {
      let base = BFloat16(bitPattern: UInt16.random(in: 0x0100..<0x7E00, using: &generator))
      let tie = (Double(base) + Double(BFloat16(bitPattern: base.bitPattern + 1))) / 2
      for value in [tie, tie.nextUp, tie.nextDown, -tie, tie * 0.9999] {
        let expected = value < 0 ? BFloat16(bitPattern: nearest(-value).bitPattern | 0x8000) : nearest(value)
        #expect(BFloat16(value).bitPattern == expected.bitPattern, "\(value), seed \(generator.seed)")
      }
    }
    // An integer whose `Double` is a tie, and that is not.
    let integer: Int64 = (1 << 62) + (1 << 54) + 1
    #expect(
      try Tensor([integer, -integer]).array(as: BFloat16.self, lossy: true).map(Float.init)
        == [0x1.02p62, -0x1.02p62])
    #expect(BFloat16(Float.nan).bitPattern & 0x7FC0 == 0x7FC0)
    #expect(Float(BFloat16(Float(bitPattern: 0x7F80_0001))).isNaN)
    #expect(Float(BFloat16(Float.greatestFiniteMagnitude)) == .infinity)
    #expect(Float(BFloat16(1e300)) == .infinity)
    #expect(BFloat16(-0.0).bitPattern == 0x8000)
  }

  @Test func `a scalar converts when its value survives`() throws {
    #expect(try Tensor(scalar: 1000).scalar(as: Float.self) == 1000)
    #expect(try Tensor(scalar: 1000).scalar(as: Int16.self) == 1000)
    #expect(try Tensor(scalar: UInt64(7)).scalar(as: Int.self) == 7)
    #expect(try Tensor(scalar: 3.0).scalar(as: Int.self) == 3)
    #expect(try Tensor(scalar: true).scalar(as: Bool.self))
    #expect(try Tensor(scalar: true).scalar(as: Int.self) == 1)
    #expect(try Tensor(scalar: 1).scalar(as: Bool.self))
    #expect(try Tensor([2.5], shape: [1, 1]).scalar(as: Float.self) == 2.5)
    #expect(try Tensor(scalar: Double.nan).scalar(as: Float.self).isNaN)
    #expect(try Tensor(scalar: Complex64(2)).scalar(as: Int.self) == 2)
    #expect(try Tensor(scalar: 300).scalar(as: Int8.self, lossy: true) == 127)
    #expect(throws: GraftError.self) { try Tensor(scalar: 300).scalar(as: Int8.self) }
    #expect(throws: GraftError.self) { try Tensor(scalar: UInt64.max).scalar(as: Int.self) }
    #expect(throws: GraftError.self) { try Tensor(scalar: UInt64.max).scalar(as: Double.self) }
    #expect(throws: GraftError.self) { try Tensor(scalar: (1 << 53) + 1).scalar(as: Double.self) }
    #expect(throws: GraftError.self) { try Tensor(scalar: 0.1).scalar(as: Float.self) }
    #expect(throws: GraftError.self) { try Tensor(scalar: 2).scalar(as: Bool.self) }
    #expect(throws: GraftError.self) { try Tensor(scalar: Complex64(2, 1)).scalar(as: Int.self) }
    #expect(throws: GraftError.self) { try Tensor([1, 2]).scalar(as: Int.self) }
  }
}

@Suite struct StatisticsTests {
  @Test func `the figures are those of the plain formulas, however the pieces are cut`() throws {
    var generator = SeededGenerator(seed: seedFromEnvironment() ?? .random(in: 0..<1_000_000))
    for count in [1, 7, 8, 9, 2047, 2049, 9001] {
      var values = (0..<count).map { _ in Float.random(in: -1...3, using: &generator) * 1e3 + 1e5 }
      if count > 8 {
        values[3] = .nan
        values[4] = .infinity
        values[5] = 0
        values[6] = -0.0
        values[8] = -.infinity
      }
      let finite = values.filter(\.isFinite).map(Double.init)
      let mean = finite.reduce(0, +) / Double(finite.count)
      let deviation = (finite.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(finite.count))
        .squareRoot()

      var pieces = Statistics()
      var start = 0
      while start < count {
        let end = Int.random(in: start + 1...count, using: &generator)
        pieces.merge(try Tensor(Array(values[start..<end])).statistics())
        start = end
      }
      for statistics in [try Tensor(values).statistics(), pieces] {
        #expect(statistics.count == count)
        #expect(statistics.nanCount == (count > 8 ? 1 : 0))
        #expect(statistics.infinityCount == (count > 8 ? 2 : 0))
        #expect(statistics.zeroCount == (count > 8 ? 2 : 0))
        #expect(statistics.minimum == finite.min())
        #expect(statistics.maximum == finite.max())
        let error = (try #require(statistics.mean) - mean).magnitude
        #expect(error <= mean.magnitude * 1e-13, "seed \(generator.seed)")
        let difference = (try #require(statistics.standardDeviation) - deviation).magnitude
        #expect(difference <= deviation * 1e-9, "seed \(generator.seed)")
      }
    }
  }

  @Test func `no finite element leaves only counts`() throws {
    let statistics = try Tensor([Float.nan, .infinity]).statistics()
    #expect(statistics.count == 2 && statistics.nanCount == 1 && statistics.infinityCount == 1)
    #expect(statistics.minimum == nil && statistics.maximum == nil)
    #expect(statistics.mean == nil && statistics.standardDeviation == nil)
    #expect(try Tensor([] as [Float]).statistics() == Statistics())
  }

  @Test func `equal elements have no spread`() throws {
    let statistics = try Tensor([Double](repeating: 0.1, count: 10_000)).statistics()
    #expect(try #require(statistics.standardDeviation) < 1e-15)
    #expect(statistics.minimum == 0.1)
  }

  @Test func `every dtype has statistics`() throws {
    for dtype in DType.allCases {
      let spec = TensorSpec(dtype, [5])
      let statistics = try Tensor(bytes: [UInt8](repeating: 1, count: spec.byteCount), spec: spec)
        .statistics()
      #expect(statistics.count == 5, "\(dtype)")
      #expect(statistics.finiteCount == 5, "\(dtype)")
    }
    let complex = try Tensor([Complex64(3, 4), Complex64(0, 0), Complex64(.nan, 1)]).statistics()
    #expect(complex.maximum == 5 && complex.zeroCount == 1 && complex.nanCount == 1)
    #expect(try Tensor([true, false, true, true]).statistics().mean == 0.75)
  }

  @Test func `fewer bytes than elements are refused`() throws {
    let tensor = Tensor([1] as [Float])
    var statistics = Statistics()
    #expect(throws: GraftError.self) { try statistics.add(tensor.bytes, dtype: .float32, elementCount: 2) }
    #expect(throws: GraftError.self) { try statistics.add(tensor.bytes, dtype: .float32, elementCount: -1) }
    #expect(statistics == Statistics())
  }
}
