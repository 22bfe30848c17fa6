/// A number of type bfloat16: the upper half of a `Float`.
///
/// It holds and converts; compute in `Float`.
public struct BFloat16: TensorScalar {
  /// The sign, 8 bits of exponent, 7 of significand.
  public var bitPattern: UInt16

  /// The number with these bits.
  public init(bitPattern: UInt16) { self.bitPattern = bitPattern }

  /// The nearest number, of two equally near ones the even one; NaN stays NaN.
  public init(_ value: Float) {
    let bits = value.bitPattern
    if value.isNaN {
      // A payload in the lower half only must not become an infinity.
      bitPattern = UInt16(truncatingIfNeeded: bits >> 16) | 0x0040
    } else {
      bitPattern = UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ ((bits >> 16) & 1)) >> 16)
    }
  }

  /// The nearest number, of two equally near ones the even one; NaN stays NaN.
  public init(_ value: Double) {
    var narrow = Float(value)
    if narrow.isFinite, Double(narrow) != value {
      // Rounding twice could round a near tie the wrong way. Cutting off and making the last bit odd keeps what the
      // second rounding needs to know: that something was cut off, and on which side of the tie.
      if Double(narrow).magnitude > value.magnitude { narrow = Float(bitPattern: narrow.bitPattern - 1) }
      narrow = Float(bitPattern: narrow.bitPattern | 1)
    }
    self.init(narrow)
  }

  /// `bfloat16`.
  public static var dtype: DType { .bfloat16 }
}

extension BFloat16: Equatable, CustomStringConvertible {
  /// Compares as numbers: NaN equals nothing, and the two zeros are equal.
  public static func == (a: BFloat16, b: BFloat16) -> Bool { Float(a) == Float(b) }

  /// The number as `Float` prints it.
  public var description: String { Float(self).description }
}

extension Float {
  /// The same number: every bfloat16 is a `Float`.
  public init(_ value: BFloat16) { self.init(bitPattern: UInt32(value.bitPattern) << 16) }
}
extension Double {
  /// The same number: every bfloat16 is a `Double`.
  public init(_ value: BFloat16) { self.init(Float(value)) }
}
