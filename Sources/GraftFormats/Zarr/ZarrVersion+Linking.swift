package import GraftCore

extension ZarrVersion {
  /// Why an array cannot be linked to chunks of this layout, however whole they are; nil when it can.
  package static func reasonNotToLink(_ spec: TensorSpec, _ layout: Layout) -> String? {
    if fillValue(layout.fillValue, of: spec.dtype) == nil { return "its fill value cannot be written" }
    return nil
  }

  /// An element as version 3 says it; nil where it has no words for it.
  static func fillValue(_ bytes: [UInt8]?, of dtype: DType) -> JSONValue? {
    guard let bytes, bytes.contains(where: { $0 != 0 }) else { return zero(of: dtype) }
    let bits = bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    switch dtype {
    case .bool: return bits == 1 ? true : nil
    case .int4, .uint4, .float4E2M1FN: return nil
    case .int8: return .integer(Int(Int8(truncatingIfNeeded: bits)))
    case .int16: return .integer(Int(Int16(truncatingIfNeeded: bits)))
    case .int32: return .integer(Int(Int32(truncatingIfNeeded: bits)))
    case .int64: return .integer(Int(Int64(bitPattern: bits)))
    case .uint8, .uint16, .uint32, .uint64: return .number(.unsigned(bits))
    case .complex64, .complex128:
      let part: DType = dtype == .complex64 ? .float32 : .float64
      guard let real = fillValue(Array(bytes.prefix(bytes.count / 2)), of: part),
        let imaginary = fillValue(Array(bytes.suffix(bytes.count / 2)), of: part)
      else { return nil }
      return [real, imaginary]
    case .float32: return number(Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits))))
    case .float64: return number(Double(bitPattern: bits))
    default:
      return FloatFormat(dtype).flatMap { number(Double($0.value(of: UInt16(truncatingIfNeeded: bits)))) }
    }
  }

  private static func number(_ value: Double) -> JSONValue? {
    // Of the many NaNs only one has a name, and nobody says which it is.
    if value.isNaN { return nil }
    if value.isInfinite { return .string(value < 0 ? "-Infinity" : "Infinity") }
    return .number(.double(value))
  }
}
