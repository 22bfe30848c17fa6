/// A Swift type whose values in memory are the elements of a tensor of one dtype.
///
/// A type of your own may conform, for example a one-byte structure for a dtype that Swift has no type for; its values
/// must be ``DType/bitWidth`` bits large, and every pattern of bits must be a valid value. There are no types for
/// elements of less than a byte: read those with ``Tensor/array(as:lossy:)``.
public protocol TensorScalar: BitwiseCopyable, Sendable {
  /// The dtype whose elements the type's values are.
  static var dtype: DType { get }
}

extension Bool: TensorScalar {
  /// `bool`.
  public static var dtype: DType { .bool }
}
extension Int8: TensorScalar {
  /// `int8`.
  public static var dtype: DType { .int8 }
}
extension Int16: TensorScalar {
  /// `int16`.
  public static var dtype: DType { .int16 }
}
extension Int32: TensorScalar {
  /// `int32`.
  public static var dtype: DType { .int32 }
}
extension Int64: TensorScalar {
  /// `int64`.
  public static var dtype: DType { .int64 }
}
extension Int: TensorScalar {
  /// `int64`: every machine that Graft runs on has 64 bits.
  public static var dtype: DType { .int64 }
}
extension UInt8: TensorScalar {
  /// `uint8`.
  public static var dtype: DType { .uint8 }
}
extension UInt16: TensorScalar {
  /// `uint16`.
  public static var dtype: DType { .uint16 }
}
extension UInt32: TensorScalar {
  /// `uint32`.
  public static var dtype: DType { .uint32 }
}
extension UInt64: TensorScalar {
  /// `uint64`.
  public static var dtype: DType { .uint64 }
}
extension UInt: TensorScalar {
  /// `uint64`: every machine that Graft runs on has 64 bits.
  public static var dtype: DType { .uint64 }
}
extension Float16: TensorScalar {
  /// `float16`.
  public static var dtype: DType { .float16 }
}
extension Float: TensorScalar {
  /// `float32`.
  public static var dtype: DType { .float32 }
}
extension Double: TensorScalar {
  /// `float64`.
  public static var dtype: DType { .float64 }
}

/// A complex number of two `Float`s, as a complex64 tensor holds it.
public struct Complex64: TensorScalar, Hashable {
  /// The real part.
  public var real: Float
  /// The imaginary part.
  public var imaginary: Float

  /// A number from its parts.
  public init(_ real: Float, _ imaginary: Float = 0) {
    self.real = real
    self.imaginary = imaginary
  }

  /// `complex64`.
  public static var dtype: DType { .complex64 }
}

/// A complex number of two `Double`s, as a complex128 tensor holds it.
public struct Complex128: TensorScalar, Hashable {
  /// The real part.
  public var real: Double
  /// The imaginary part.
  public var imaginary: Double

  /// A number from its parts.
  public init(_ real: Double, _ imaginary: Double = 0) {
    self.real = real
    self.imaginary = imaginary
  }

  /// `complex128`.
  public static var dtype: DType { .complex128 }
}
