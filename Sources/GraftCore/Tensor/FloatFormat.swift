/// How a floating-point dtype of at most 16 bits spends its bits, and so which number each of its codes is.
///
/// The suffixes of ml_dtypes say what is special: none is IEEE's infinities and NaNs; `fn` is finite, with NaN only where
/// all exponent and significand bits are set, if at all; `fnuz` is finite, its one NaN being what would be negative zero.
package struct FloatFormat: Hashable, Sendable {
  package enum Specials: Hashable, Sendable {
    /// The highest exponent is for infinity and NaNs.
    case ieee
    /// All bits but the sign set is NaN; every other code is finite.
    case nanOnly
    /// Every code is finite.
    case none
    /// The negative zero is NaN; every other code is finite.
    case negativeZeroIsNaN
    /// No sign, no significand, no zero: a power of two, and NaN for all bits set.
    case powersOfTwo
  }

  package let exponentBits: Int
  package let significandBits: Int
  package let bias: Int
  package let specials: Specials

  /// The format of a dtype; nil for what is no floating-point dtype or is wider than 16 bits.
  package init?(_ dtype: DType) {
    switch dtype {
    case .float4E2M1FN: self.init(2, 1, bias: 1, .none)
    case .float6E2M3FN: self.init(2, 3, bias: 1, .none)
    case .float6E3M2FN: self.init(3, 2, bias: 3, .none)
    case .float8E3M4: self.init(3, 4, bias: 3, .ieee)
    case .float8E4M3: self.init(4, 3, bias: 7, .ieee)
    case .float8E4M3B11FNUZ: self.init(4, 3, bias: 11, .negativeZeroIsNaN)
    case .float8E4M3FN: self.init(4, 3, bias: 7, .nanOnly)
    case .float8E4M3FNUZ: self.init(4, 3, bias: 8, .negativeZeroIsNaN)
    case .float8E5M2: self.init(5, 2, bias: 15, .ieee)
    case .float8E5M2FNUZ: self.init(5, 2, bias: 16, .negativeZeroIsNaN)
    case .float8E8M0FNU: self.init(8, 0, bias: 127, .powersOfTwo)
    case .bfloat16: self.init(8, 7, bias: 127, .ieee)
    case .float16: self.init(5, 10, bias: 15, .ieee)
    case .bool, .int4, .uint4, .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64, .uint64, .float32,
      .float64,
      .complex64, .complex128:
      return nil
    }
  }

  private init(_ exponentBits: Int, _ significandBits: Int, bias: Int, _ specials: Specials) {
    self.exponentBits = exponentBits
    self.significandBits = significandBits
    self.bias = bias
    self.specials = specials
  }

  /// The number that a code is, which is a `Float` in every one of these formats.
  ///
  /// Bits above the format's are ignored.
  package func value(of code: UInt16) -> Float {
    let magnitudeBits = exponentBits + significandBits
    let magnitude = Int(code) & ((1 << magnitudeBits) - 1)
    let isNegative = specials != .powersOfTwo && Int(code) >> magnitudeBits & 1 == 1
    let exponent = magnitude >> significandBits
    let significand = magnitude & ((1 << significandBits) - 1)
    let highestExponent = (1 << exponentBits) - 1
    switch specials {
    case .ieee where exponent == highestExponent:
      if significand != 0 { return .nan }
      return isNegative ? -.infinity : .infinity
    case .nanOnly where magnitude == (1 << magnitudeBits) - 1: return .nan
    case .negativeZeroIsNaN where magnitude == 0 && isNegative: return .nan
    case .powersOfTwo:
      return exponent == highestExponent ? .nan : Self.scaled(1, by: exponent - bias)
    default: break
    }
    // Below the lowest exponent numbers are spaced evenly down to zero; above, the leading bit is implied.
    let value =
      exponent == 0
      ? Self.scaled(significand, by: 1 - bias - significandBits)
      : Self.scaled(significand + 1 << significandBits, by: exponent - bias - significandBits)
    return isNegative ? -value : value
  }

  /// A small integer times a power of two, in `Double` so that neither factor leaves its range.
  private static func scaled(_ significand: Int, by exponent: Int) -> Float {
    Float(Double(sign: .plus, exponent: exponent, significand: 1) * Double(significand))
  }
}

extension DType {
  /// The numbers of all codes of a floating-point dtype of at most 8 bits, by code; nil for other dtypes.
  package var floatTable: [Float]? { bitWidth <= 8 ? Self.floatTables[self] : nil }

  private static let floatTables: [DType: [Float]] = {
    var tables: [DType: [Float]] = [:]
    for dtype in DType.allCases where dtype.bitWidth <= 8 {
      guard let format = FloatFormat(dtype) else { continue }
      tables[dtype] = (0..<(1 << dtype.bitWidth)).map { format.value(of: UInt16($0)) }
    }
    return tables
  }()
}
