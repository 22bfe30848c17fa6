// Rounding calls libm on processors without an instruction for it; this import links it.
import Glibc

/// A scalar that any element can be converted to.
///
/// Numbers that it does not have become the nearest one: floating-point numbers round to nearest, ties to even; integers
/// saturate, and take a fraction towards zero and NaN for 0; `Bool` takes anything but 0 for true.
protocol ConvertibleScalar: TensorScalar {
  init(nearest value: Double)
  /// As from `Double`, without the way through it for types that have a shorter one.
  init(nearest value: Float)
  init(nearest value: Int64)
  init(nearest value: UInt64)

  /// ``ElementReader/read(_:_:_:into:)`` for this type.
  ///
  /// A requirement, so that the table of each conformance holds a function that the compiler specialized for its type,
  /// which a call through `any ConvertibleScalar.Type` finds; a generic function would not be.
  static func read(
    _ bytes: UnsafeRawBufferPointer, _ dtype: DType, _ range: Range<Int>,
    into out: UnsafeMutableBufferPointer<Self>)
}

extension ConvertibleScalar {
  @inline(__always) init(nearest value: Float) { self.init(nearest: Double(value)) }

  static func read(
    _ bytes: UnsafeRawBufferPointer, _ dtype: DType, _ range: Range<Int>,
    into out: UnsafeMutableBufferPointer<Self>
  ) {
    unsafe ElementReader.read(bytes, dtype, range, into: out)
  }
}

extension ConvertibleScalar where Self: FixedWidthInteger {
  @inline(__always) init(nearest value: Double) {
    self = value.isNaN ? 0 : Self(exactly: value.rounded(.towardZero)) ?? (value < 0 ? .min : .max)
  }
  @inline(__always) init(nearest value: Int64) { self.init(clamping: value) }
  @inline(__always) init(nearest value: UInt64) { self.init(clamping: value) }
}
extension Int8: ConvertibleScalar {}
extension Int16: ConvertibleScalar {}
extension Int32: ConvertibleScalar {}
extension Int64: ConvertibleScalar {}
extension Int: ConvertibleScalar {}
extension UInt8: ConvertibleScalar {}
extension UInt16: ConvertibleScalar {}
extension UInt32: ConvertibleScalar {}
extension UInt64: ConvertibleScalar {}
extension UInt: ConvertibleScalar {}

extension ConvertibleScalar where Self: BinaryFloatingPoint {
  @inline(__always) init(nearest value: Float) { self.init(value) }
  @inline(__always) init(nearest value: Double) { self.init(value) }
  @inline(__always) init(nearest value: Int64) { self.init(value) }
  @inline(__always) init(nearest value: UInt64) { self.init(value) }
}
extension Float16: ConvertibleScalar {}
extension Float: ConvertibleScalar {}
extension Double: ConvertibleScalar {}

extension BFloat16: ConvertibleScalar {
  init(nearest value: Double) { self.init(value) }
  init(nearest value: Float) { self.init(value) }
  init(nearest value: Int64) {
    self.init(nearest: value.magnitude)
    if value < 0 { bitPattern |= 0x8000 }
  }
  init(nearest value: UInt64) {
    // The upper 32 bits, the last one set when anything below them is, decide the rounding as all 64 would, and are
    // a `Double` without rounding first.
    let shift = Swift.max(0, 32 - value.leadingZeroBitCount)
    let kept = value >> UInt64(shift)
    let sticky: UInt64 = kept << UInt64(shift) == value ? 0 : 1
    self.init(Double(sign: .plus, exponent: shift, significand: Double(kept | sticky)))
  }
}

extension Bool: ConvertibleScalar {
  init(nearest value: Double) { self = value != 0 }
  init(nearest value: Int64) { self = value != 0 }
  init(nearest value: UInt64) { self = value != 0 }
}

extension Complex64: ConvertibleScalar {
  init(nearest value: Double) { self.init(Float(value)) }
  init(nearest value: Int64) { self.init(Float(value)) }
  init(nearest value: UInt64) { self.init(Float(value)) }
}
extension Complex128: ConvertibleScalar {
  init(nearest value: Double) { self.init(value) }
  init(nearest value: Int64) { self.init(Double(value)) }
  init(nearest value: UInt64) { self.init(Double(value)) }
}
