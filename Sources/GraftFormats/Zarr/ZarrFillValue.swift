internal import GraftCore

/// Turns a fill value of the metadata into the bytes of an element.
enum ZarrFillValue {
  static func bytes(
    of value: JSONValue, _ dtype: DType, _ json: ZarrMetadata
  ) throws(GraftError) -> [UInt8] {
    switch dtype {
    case .bool:
      guard let truth = value.truth ?? value.integer.flatMap({ $0 == 0 ? false : $0 == 1 ? true : nil })
      else {
        throw json.invalid("fill_value", expected: "true or false")
      }
      return [truth ? 1 : 0]
    case .int8: return try integer(value, Int8.self, dtype, json)
    case .uint8: return try integer(value, UInt8.self, dtype, json)
    case .int16: return try integer(value, Int16.self, dtype, json)
    case .uint16: return try integer(value, UInt16.self, dtype, json)
    case .int32: return try integer(value, Int32.self, dtype, json)
    case .uint32: return try integer(value, UInt32.self, dtype, json)
    case .int64: return try integer(value, Int64.self, dtype, json)
    case .uint64: return try integer(value, UInt64.self, dtype, json)
    case .int4, .uint4:
      guard let number = value.integer, (dtype == .int4 ? -8...7 : 0...15).contains(number) else {
        throw json.invalid("fill_value", expected: "an \(dtype)")
      }
      return [UInt8(truncatingIfNeeded: number) & 0x0F]
    case .complex64, .complex128:
      // One number is its real part, as version 2 allows.
      let parts = value.elements ?? [value, 0.0]
      guard parts.count == 2 else { throw json.invalid("fill_value", expected: "two numbers") }
      let part: DType = dtype == .complex64 ? .float32 : .float64
      return try bytes(of: parts[0], part, json) + bytes(of: parts[1], part, json)
    default: return try float(value, dtype, json)
    }
  }

  private static func integer<Value: FixedWidthInteger>(
    _ value: JSONValue, _ type: Value.Type, _ dtype: DType, _ json: ZarrMetadata
  ) throws(GraftError) -> [UInt8] {
    var exact: Value?
    switch value {
    case .number(.integer(let number)): exact = Value(exactly: number)
    case .number(.unsigned(let number)): exact = Value(exactly: number)
    // Version 2 writes 0.0 for whatever dtype.
    case .number(.double(let number)): exact = Value(exactly: number)
    default: break
    }
    guard let exact else { throw json.invalid("fill_value", expected: "an \(dtype)") }
    return (0..<Value.bitWidth / 8).map { UInt8(truncatingIfNeeded: exact >> (8 * $0)) }
  }

  private static func float(
    _ value: JSONValue, _ dtype: DType, _ json: ZarrMetadata
  ) throws(GraftError) -> [UInt8] {
    let byteCount = max(1, dtype.bitWidth / 8)
    let number: Double
    switch value {
    case .number: number = value.double ?? .nan
    case .string("NaN"): number = .nan
    case .string("Infinity"): number = .infinity
    case .string("-Infinity"): number = -.infinity
    case .string(let text) where text.hasPrefix("0x"):
      // The bits themselves, most significant digits first.
      guard text.utf8.count == 2 + 2 * byteCount, let bits = UInt64(text.dropFirst(2), radix: 16) else {
        throw json.invalid("fill_value", expected: "\(2 * byteCount) hexadecimal digits")
      }
      return (0..<byteCount).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
    default: throw json.invalid("fill_value", expected: "a number")
    }
    let bits: UInt64
    switch dtype {
    case .float64: bits = number.bitPattern
    case .float32: bits = UInt64(Float(number).bitPattern)
    default:
      guard let code = code(of: number, dtype) else {
        throw json.invalid("fill_value", expected: "a number that \(dtype) has")
      }
      bits = UInt64(code)
    }
    return (0..<byteCount).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
  }

  /// The code of a small float that is nearest to a number.
  ///
  /// Almost all fill values are zero, so a search will do for the others.
  private static func code(of number: Double, _ dtype: DType) -> UInt16? {
    guard let format = FloatFormat(dtype) else { return nil }
    if number.isNaN, format.specials == .ieee {
      // The quiet NaN, as NumPy and TensorStore have it.
      return UInt16((1 << (format.exponentBits + 1)) - 1) << UInt16(format.significandBits - 1)
    }
    var nearest: (code: UInt16, distance: Double)?
    for code in 0...UInt16(truncatingIfNeeded: (1 << dtype.bitWidth) - 1) {
      let value = Double(format.value(of: code))
      if number.isNaN ? value.isNaN : value == number && value.sign == number.sign { return code }
      let distance = (value - number).magnitude
      if distance < nearest?.distance ?? .infinity { nearest = (code, distance) }
    }
    return nearest?.code
  }
}
