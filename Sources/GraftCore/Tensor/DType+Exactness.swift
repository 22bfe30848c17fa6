extension DType {
  /// Whether every value of this dtype, infinities, NaN and negative zero included, is also one of `other`.
  ///
  /// A NaN's payload does not count. A conversion between a pair that is not exact is lossy, whatever the values are.
  package func convertsExactly(to other: DType) -> Bool {
    if self == other { return true }
    // Numbers have no place in a truth value, but true and false are 1 and 0.
    if other == .bool { return false }
    switch (self, other) {
    case (.complex64, .complex128): return true
    case (.complex64, _), (.complex128, _): return false
    case (_, .complex64): return convertsExactly(to: .float32)
    case (_, .complex128): return convertsExactly(to: .float64)
    default: return NumberSet.of(self).isSubset(of: .of(other))
    }
  }
}

/// The numbers that a dtype's elements can be: significands of so many bits times powers of two, within bounds.
private struct NumberSet {
  /// Bits of the significand, the leading one included.
  var precision: Int
  /// The exponent of the smallest positive number.
  var lowestExponent: Int
  var largest: Double
  /// The magnitude of the lowest number, which in two's complement is one more than the largest.
  var lowestMagnitude: Double
  var hasZero = true
  var hasNegativeZero = false
  var hasInfinity = false
  var hasNaN = false

  /// The numbers of a dtype.
  static func of(_ dtype: DType) -> NumberSet { sets[dtype] ?? NumberSet(dtype) }

  /// Those of all dtypes: finding the 65,536 numbers of a 16-bit float anew for each question takes milliseconds.
  private static let sets = Dictionary(
    uniqueKeysWithValues: DType.allCases.map { ($0, NumberSet($0)) })

  private init(_ dtype: DType) {
    switch dtype {
    case .bool: self.init(unsignedBits: 1)
    case .uint4, .uint8, .uint16, .uint32, .uint64: self.init(unsignedBits: dtype.bitWidth)
    case .int4, .int8, .int16, .int32, .int64:
      self.init(unsignedBits: dtype.bitWidth - 1)
      lowestMagnitude = Double(sign: .plus, exponent: dtype.bitWidth - 1, significand: 1)
    case .float32: self.init(ieee: Float.self)
    case .float64, .complex64, .complex128: self.init(ieee: Double.self)
    case .float4E2M1FN, .float6E2M3FN, .float6E3M2FN, .float8E3M4, .float8E4M3, .float8E4M3B11FNUZ,
      .float8E4M3FN,
      .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU, .bfloat16, .float16:
      guard let format = FloatFormat(dtype) else { preconditionFailure("\(dtype) has a format") }
      self.init(format)
    }
  }

  private init(unsignedBits bits: Int) {
    precision = bits
    lowestExponent = 0
    largest = Double(sign: .plus, exponent: bits, significand: 1)
    // 2^64 - 1 rounds to 2^64; the comparison of precisions tells such numbers apart.
    if bits <= 53 { largest -= 1 }
    lowestMagnitude = 0
  }

  private init<T: BinaryFloatingPoint>(ieee: T.Type) {
    precision = T.significandBitCount + 1
    lowestExponent = Int(T.leastNonzeroMagnitude.exponent)
    largest = Double(T.greatestFiniteMagnitude)
    lowestMagnitude = largest
    hasNegativeZero = true
    hasInfinity = true
    hasNaN = true
  }

  private init(_ format: FloatFormat) {
    let values = (0..<(1 << (format.exponentBits + format.significandBits)))
      .map { Double(format.value(of: UInt16($0))) }
    precision = format.significandBits + 1
    largest = values.lazy.filter(\.isFinite).max() ?? 0
    lowestMagnitude = format.specials == .powersOfTwo ? 0 : largest
    lowestExponent = values.lazy.filter { $0 > 0 }.min().map { Int($0.exponent) } ?? 0
    hasZero = format.specials != .powersOfTwo
    hasNegativeZero = hasZero && format.specials != .negativeZeroIsNaN
    hasInfinity = format.specials == .ieee
    hasNaN = format.specials != .none
  }

  func isSubset(of other: NumberSet) -> Bool {
    precision <= other.precision && lowestExponent >= other.lowestExponent
      && largest <= other.largest && lowestMagnitude <= other.lowestMagnitude
      && (!hasZero || other.hasZero) && (!hasNegativeZero || other.hasNegativeZero)
      && (!hasInfinity || other.hasInfinity) && (!hasNaN || other.hasNaN)
  }
}
