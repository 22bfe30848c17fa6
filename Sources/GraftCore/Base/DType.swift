/// The type of a tensor's elements, spelled as NumPy and ml_dtypes spell it.
///
/// Elements of less than a byte are *packed*: element `i` occupies the bits `i * bitWidth ..< (i + 1) * bitWidth` of
/// the little-endian bit stream, as safetensors keeps them (the first of two 4-bit elements is the low nibble).
public enum DType: String, CaseIterable, Hashable, Sendable, Codable {
  case bool
  case int4, uint4
  case int8, uint8, int16, uint16, int32, uint32, int64, uint64
  case float4E2M1FN = "float4_e2m1fn"
  case float6E2M3FN = "float6_e2m3fn"
  case float6E3M2FN = "float6_e3m2fn"
  case float8E3M4 = "float8_e3m4"
  case float8E4M3 = "float8_e4m3"
  case float8E4M3B11FNUZ = "float8_e4m3b11fnuz"
  case float8E4M3FN = "float8_e4m3fn"
  case float8E4M3FNUZ = "float8_e4m3fnuz"
  case float8E5M2 = "float8_e5m2"
  case float8E5M2FNUZ = "float8_e5m2fnuz"
  case float8E8M0FNU = "float8_e8m0fnu"
  case bfloat16, float16, float32, float64
  case complex64, complex128

  /// The number of bits of one element.
  public var bitWidth: Int {
    switch self {
    case .int4, .uint4, .float4E2M1FN: 4
    case .float6E2M3FN, .float6E3M2FN: 6
    case .bool, .int8, .uint8, .float8E3M4, .float8E4M3, .float8E4M3B11FNUZ, .float8E4M3FN, .float8E4M3FNUZ,
      .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU:
      8
    case .int16, .uint16, .bfloat16, .float16: 16
    case .int32, .uint32, .float32: 32
    case .int64, .uint64, .float64, .complex64: 64
    case .complex128: 128
    }
  }

  /// Whether an element takes less than a byte, so that elements are packed.
  public var isPacked: Bool { bitWidth < 8 }

  /// The alignment in bytes at which elements can be loaded directly; a complex number is aligned as its parts.
  public var alignment: Int {
    switch self {
    case .complex64: 4
    case .complex128: 8
    default: Swift.max(1, bitWidth / 8)
    }
  }

  /// The bytes that `elementCount` elements take, rounded up to whole bytes; nil when the number overflows.
  public func byteCount(elementCount: Int) -> Int? {
    guard elementCount >= 0 else { return nil }
    let (bits, overflow) = elementCount.multipliedReportingOverflow(by: bitWidth)
    if !overflow { return bits / 8 + (bits % 8 == 0 ? 0 : 1) }
    // Whole bytes can still fit where the number of bits does not.
    guard bitWidth % 8 == 0 else { return nil }
    let (bytes, overflowed) = elementCount.multipliedReportingOverflow(by: bitWidth / 8)
    return overflowed ? nil : bytes
  }
}

extension DType: CustomStringConvertible {
  /// The name as NumPy and ml_dtypes spell it, for example `bfloat16`.
  public var description: String { rawValue }
}
