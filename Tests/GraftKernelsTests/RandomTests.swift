import CGraftKernels
import Glibc
import GraftCore
import GraftTestSupport
import Testing

private func random(
  _ distribution: graft_distribution, _ a: Double, _ b: Double, seed: UInt64 = 1, stream: UInt64 = 0,
  _ range: Range<Int>, _ dtype: DType, _ variant: graft_variant = GRAFT_PORTABLE
) -> [UInt8]? {
  var result: CInt = 0
  let bytes = written(range.count * dtype.bitWidth / 8, offset: range.lowerBound % 3) {
    result = graft_random(
      variant, distribution, a, b, seed, stream, UInt64(range.lowerBound), $0, dtype.kernelDType, range.count)
  }
  return result == 0 ? bytes : nil
}

/// The normal distribution's probability below `x`, by the C library's error function.
private func normalProbability(_ x: Double) -> Double { erfc(-x / 2.0.squareRoot()) / 2 }

/// The largest distance between the sample's distribution and the exact one, times the root of the sample's size.
///
/// Kolmogorov and Smirnov's figure: 1.95 is exceeded by one sample in a thousand.
private func kolmogorovSmirnov(_ sample: [Double], _ probability: (Double) -> Double) -> Double {
  let sorted = sample.sorted()
  let count = Double(sorted.count)
  var distance = 0.0
  for (index, value) in sorted.enumerated() {
    let exact = probability(value)
    distance = max(distance, exact - Double(index) / count, Double(index + 1) / count - exact)
  }
  return distance * count.squareRoot()
}

@Suite struct RandomTests {
  static let distributions: [(graft_distribution, Double, Double)] = [
    (GRAFT_UNIFORM, -1.5, 2), (GRAFT_NORMAL, 0.25, 1.5), (GRAFT_TRUNCATED_NORMAL, -1, 0.02),
  ]
  static let dtypes: [DType] = [.float64, .float32, .float16, .bfloat16]

  /// The vectors that Random123 publishes for philox4x32 with 10 rounds, in its file kat_vectors.
  @Test(
    arguments: [
      ([0, 0, 0, 0, 0, 0], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
      (
        [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff],
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
      ),
      (
        [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344, 0xa409_3822, 0x299f_31d0],
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
      ),
    ] as [([UInt32], [UInt32])])
  func `Philox gives the published vectors`(input: [UInt32], expected: [UInt32]) {
    var words = [UInt32](repeating: 0, count: 4)
    graft_philox(Array(input[..<4]), Array(input[4...]), &words)
    #expect(words == expected)
  }

  @Test(arguments: 0..<3) func `an element depends on its index alone, not on the piece or the variant`(
    index: Int
  ) throws {
    let (distribution, a, b) = Self.distributions[index]
    var generator = SeededGenerator(seed: testSeed)
    for dtype in Self.dtypes {
      let width = dtype.bitWidth / 8
      let whole = try #require(random(distribution, a, b, 0..<3000, dtype))
      for variant in variants {
        #expect(random(distribution, a, b, 0..<3000, dtype, variant) == whole)
        for _ in 0..<12 {
          let start = Int.random(in: 0..<3000, using: &generator)
          let end = Int.random(in: start..<min(3000, start + 1200), using: &generator)
          let piece = random(distribution, a, b, start..<end, dtype, variant)
          #expect(
            piece == Array(whole[(start * width)..<(end * width)]),
            "\(start)..<\(end) of \(dtype), variant \(variant.rawValue), seed \(generator.seed)")
        }
      }
      // Narrower dtypes are the float32 stream's numbers, rounded.
      #expect(random(distribution, a, b, seed: 2, 0..<3000, dtype) != whole)
      #expect(random(distribution, a, b, stream: 1, 0..<3000, dtype) != whole)
    }
    // Indices beyond 32 bits count on.
    let far = try #require(random(distribution, a, b, (1 << 36) + 1..<(1 << 36) + 9, .float32))
    let next = try #require(random(distribution, a, b, (1 << 36) + 3..<(1 << 36) + 9, .float32))
    #expect(Array(far[8...]) == next)
    #expect(far != random(distribution, a, b, 1..<9, .float32))
  }

  @Test func `uniform elements are the documented function of the Philox words`() throws {
    let f32: [Float] = elements(try #require(random(GRAFT_UNIFORM, 0, 1, seed: 0, 0..<8, .float32)))
    let f64: [Double] = elements(try #require(random(GRAFT_UNIFORM, 0, 1, seed: 0, 0..<2, .float64)))
    let words: [UInt32] = [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
    #expect(Array(f32[..<4]) == words.map { Float(Double($0) * 0x1p-32) })
    #expect(f64[0] == Double((UInt64(words[1]) << 32 | UInt64(words[0])) >> 12) * 0x1p-52)
    #expect(f64[1] == Double((UInt64(words[3]) << 32 | UInt64(words[2])) >> 12) * 0x1p-52)
  }

  @Test func `normal elements are the quantiles of the uniform ones`() throws {
    let count = 4000
    for dtype in [DType.float64, .float32] {
      let (half, tolerance) = dtype == .float64 ? (0x1p-53, 1e-14) : (0x1p-33, 1e-6)
      let uniform = try #require(
        random(GRAFT_UNIFORM, 0, 1, 0..<count, .float64).map { elements($0) as [Double] })
      let fractions: [Double]
      let normal: [Double]
      if dtype == .float64 {
        fractions = uniform
        normal = elements(try #require(random(GRAFT_NORMAL, 0, 1, 0..<count, dtype)))
      } else {
        var words = [UInt32](repeating: 0, count: count)
        for block in 0..<count / 4 {
          var four = [UInt32](repeating: 0, count: 4)
          graft_philox([UInt32(block), 0, 0, 0], [1, 0], &four)
          for part in 0..<4 { words[4 * block + part] = four[part] }
        }
        fractions = words.map { Double($0) * 0x1p-32 }
        normal = (elements(try #require(random(GRAFT_NORMAL, 0, 1, 0..<count, dtype))) as [Float]).map(
          Double.init)
      }
      for (fraction, value) in zip(fractions, normal) {
        let probability = fraction + half
        // The smaller of both tails, which is what tells.
        let (found, expected) =
          value < 0 ? (normalProbability(value), probability) : (normalProbability(-value), 1 - probability)
        #expect((found - expected).magnitude <= tolerance * expected * max(1, value * value), "\(value)")
      }
    }
  }

  @Test func `the moments and the distribution are those that are asked for`() throws {
    let count = 60_000
    for dtype in [DType.float64, .float32] {
      for (index, (distribution, a, b)) in Self.distributions.enumerated() {
        let bytes = try #require(
          random(distribution, a, b, seed: 2024, stream: 3, 0..<count, dtype, variants.last!))
        let sample: [Double] =
          dtype == .float64 ? elements(bytes) : (elements(bytes) as [Float]).map(Double.init)
        let mean = sample.reduce(0, +) / Double(count)
        let variance = sample.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count)
        let fourth = sample.reduce(0) { $0 + pow($1 - mean, 4) } / Double(count) / (variance * variance)
        let (least, covered) = (normalProbability(-2), normalProbability(2) - normalProbability(-2))
        // Of the truncated one: 1 - 4 φ(2) / covered; and its fourth moment likewise.
        let density = exp(-2.0) / (2 * Double.pi).squareRoot()
        let cutVariance = 1 - 4 * density / covered
        let cutFourth = (3 - 2 * (8 + 3 * 2) * density / covered) / (cutVariance * cutVariance)
        let expected: (mean: Double, variance: Double, fourth: Double, probability: (Double) -> Double) =
          switch index {
          case 0: ((a + b) / 2, (b - a) * (b - a) / 12, 1.8, { ($0 - a) / (b - a) })
          case 1: (a, b * b, 3, { normalProbability(($0 - a) / b) })
          default:
            (a, b * b * cutVariance, cutFourth, { (normalProbability(($0 - a) / b) - least) / covered })
          }
        // Within about four standard errors.
        #expect((mean - expected.mean).magnitude < 4 * (expected.variance / Double(count)).squareRoot())
        #expect(
          (variance / expected.variance - 1).magnitude < 4
            * ((expected.fourth - 1) / Double(count)).squareRoot())
        #expect((fourth / expected.fourth - 1).magnitude < 0.06)
        #expect(kolmogorovSmirnov(sample, expected.probability) < 1.95, "\(dtype) \(index)")
        // Neighbours know nothing of each other.
        let together = zip(sample, sample.dropFirst()).reduce(0) { $0 + ($1.0 - mean) * ($1.1 - mean) }
        #expect((together / variance / Double(count).squareRoot()).magnitude < 4)
      }
    }
  }

  @Test(arguments: dtypes) func `bounds are kept after rounding to the dtype`(dtype: DType) throws {
    func values(_ distribution: graft_distribution, _ a: Double, _ b: Double) throws -> [Double] {
      let bytes = try #require(random(distribution, a, b, 0..<20_000, dtype, variants.last!))
      return elements(try #require(cast(bytes, dtype, to: .float64, GRAFT_PORTABLE)))
    }
    for (a, b) in [(0.0, 1.0), (-1, 0), (0.1, 0.3), (-3, -2.9), (1, 1.01)] {
      let uniform = try values(GRAFT_UNIFORM, a, b)
      #expect(uniform.allSatisfy { $0 >= a && $0 < b }, "\(a) to \(b)")
    }
    for (mean, deviation) in [(0.0, 1.0), (0.3, 0.02), (-5, 0.3)] {
      let cut = try values(GRAFT_TRUNCATED_NORMAL, mean, deviation)
      #expect(cut.allSatisfy { ($0 - mean).magnitude <= 2 * deviation }, "\(mean) ± \(deviation)")
    }
    #expect(try values(GRAFT_NORMAL, 0.5, 0).allSatisfy { $0 == 0.5 })
  }

  @Test func `what makes no sense is refused`() {
    #expect(random(GRAFT_UNIFORM, 1, 1, 0..<1, .float32) == nil)
    #expect(random(GRAFT_UNIFORM, 2, 1, 0..<1, .float32) == nil)
    #expect(random(GRAFT_UNIFORM, -1e308, 1e308, 0..<1, .float64) == nil)
    #expect(random(GRAFT_NORMAL, 0, -1, 0..<1, .float32) == nil)
    #expect(random(GRAFT_NORMAL, .nan, 1, 0..<1, .float32) == nil)
    #expect(random(GRAFT_NORMAL, 0, .infinity, 0..<1, .float32) == nil)
    #expect(random(GRAFT_NORMAL, 0, 1, 0..<1, .int32) == nil)
    #expect(random(GRAFT_DISTRIBUTION_COUNT, 0, 1, 0..<1, .float32) == nil)
    #expect(random(GRAFT_NORMAL, 0, 1, 0..<1, .float32, GRAFT_VARIANT_COUNT) == nil)
    #expect(graft_random(GRAFT_PORTABLE, GRAFT_NORMAL, 0, 1, 0, 0, 0, nil, GRAFT_FLOAT32, 1) == -EINVAL)
    #expect(graft_random(GRAFT_PORTABLE, GRAFT_NORMAL, 0, 1, 0, 0, .max, nil, GRAFT_FLOAT32, 1) == -EINVAL)
    #expect(random(GRAFT_NORMAL, 0, 1, 5..<5, .float32) == [])
  }
}
