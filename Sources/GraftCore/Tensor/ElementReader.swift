/// Reads elements of any dtype from bytes in row-major order: the one place that knows what each dtype's bits mean.
enum ElementReader {
  /// The code of a packed or one-byte element; the index is in bounds.
  @inline(__always)
  static func code(_ bytes: UnsafeRawBufferPointer, bitWidth: Int, at index: Int) -> UInt8 {
    let bit = index * bitWidth
    let byte = bit / 8
    let shift = bit % 8
    var code = unsafe UInt16(bytes[byte]) >> UInt16(shift)
    if shift + bitWidth > 8 { code |= unsafe UInt16(bytes[byte + 1]) << UInt16(8 - shift) }
    return UInt8(truncatingIfNeeded: code & ((1 << UInt16(bitWidth)) - 1))
  }

  /// The number that the bits of a float16 are, without a conversion in software where the processor has one at hand.
  @inline(__always)
  static func float(float16 bits: UInt16) -> Float {
    // The exponent and significand, moved to where a `Float` has them, make a number 2^112 too small, subnormals included.
    let magnitude = UInt32(bits & 0x7FFF) << 13
    var result = (Float(bitPattern: magnitude) * 0x1p112).bitPattern
    if magnitude >= 0x7C00 << 13 { result |= 0x7F80_0000 }
    return Float(bitPattern: result | UInt32(bits & 0x8000) << 16)
  }

  /// Appends elements `range` to `out`, each as `Target` takes it; `out` has room for them.
  ///
  /// Complex numbers lose their imaginary part here, unless they become complex numbers. Call it where `Target` is known
  /// to the compiler, else by way of the type itself.
  static func read<Target: ConvertibleScalar>(
    _ bytes: UnsafeRawBufferPointer, _ dtype: DType, _ range: Range<Int>,
    into out: UnsafeMutableBufferPointer<Target>
  ) {
    @inline(__always) func fill<Element: BitwiseCopyable>(_: Element.Type, _ convert: (Element) -> Target) {
      for index in range {
        let element = unsafe bytes.loadUnaligned(
          fromByteOffset: index &* MemoryLayout<Element>.stride, as: Element.self)
        unsafe (out.baseAddress.unsafelyUnwrapped + (index &- range.lowerBound)).initialize(
          to: convert(element))
      }
    }
    @inline(__always) func fillCodes(_ convert: (UInt8) -> Target) {
      let bitWidth = dtype.bitWidth
      for index in range {
        let code = unsafe code(bytes, bitWidth: bitWidth, at: index)
        unsafe (out.baseAddress.unsafelyUnwrapped + (index &- range.lowerBound)).initialize(to: convert(code))
      }
    }
    guard !range.isEmpty else { return }
    switch dtype {
    case .bool: fill(UInt8.self) { Target(nearest: $0 != 0 ? 1 as Int64 : 0) }
    case .int4: fillCodes { Target(nearest: Int64(Int8(bitPattern: $0 << 4) >> 4)) }
    case .uint4: fillCodes { Target(nearest: Int64($0)) }
    case .int8: fill(Int8.self) { Target(nearest: Int64($0)) }
    case .uint8: fill(UInt8.self) { Target(nearest: Int64($0)) }
    case .int16: fill(Int16.self) { Target(nearest: Int64($0)) }
    case .uint16: fill(UInt16.self) { Target(nearest: Int64($0)) }
    case .int32: fill(Int32.self) { Target(nearest: Int64($0)) }
    case .uint32: fill(UInt32.self) { Target(nearest: Int64($0)) }
    case .int64: fill(Int64.self) { Target(nearest: $0) }
    case .uint64: fill(UInt64.self) { Target(nearest: $0) }
    case .bfloat16: fill(UInt16.self) { Target(nearest: Float(bitPattern: UInt32($0) << 16)) }
    case .float16: fill(UInt16.self) { Target(nearest: float(float16: $0)) }
    case .float32: fill(Float.self) { Target(nearest: $0) }
    case .float64: fill(Double.self) { Target(nearest: $0) }
    case .complex64:
      if Target.self == Complex128.self {
        fill(Complex64.self) {
          unsafe unsafeBitCast(Complex128(Double($0.real), Double($0.imaginary)), to: Target.self)
        }
      } else {
        fill(Complex64.self) { Target(nearest: Double($0.real)) }
      }
    case .complex128:
      if Target.self == Complex64.self {
        fill(Complex128.self) {
          unsafe unsafeBitCast(Complex64(Float($0.real), Float($0.imaginary)), to: Target.self)
        }
      } else {
        fill(Complex128.self) { Target(nearest: $0.real) }
      }
    case .float4E2M1FN, .float6E2M3FN, .float6E3M2FN, .float8E3M4, .float8E4M3, .float8E4M3B11FNUZ,
      .float8E4M3FN,
      .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU:
      guard let table = dtype.floatTable else { preconditionFailure("\(dtype) has a table") }
      if dtype.bitWidth == 8 {
        fill(UInt8.self) { Target(nearest: table[Int($0)]) }
      } else {
        fillCodes { Target(nearest: table[Int($0)]) }
      }
    }
  }

  /// The element at an index, as it is; the index is in bounds.
  static func number(_ bytes: UnsafeRawBufferPointer, _ dtype: DType, at index: Int) -> Number {
    func read<Target: ConvertibleScalar>(_ value: Target) -> Target {
      var value = value
      unsafe withUnsafeMutablePointer(to: &value) {
        unsafe Self.read(
          bytes, dtype, index..<index + 1, into: UnsafeMutableBufferPointer(start: $0, count: 1))
      }
      return value
    }
    switch dtype {
    case .bool: return .boolean(read(false))
    case .int4, .uint4, .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64:
      return .integer(read(0 as Int64))
    case .uint64: return .unsigned(read(0 as UInt64))
    case .complex64:
      let value: Complex64 = unsafe loadElement(bytes, at: index)
      return .complex(Double(value.real), Double(value.imaginary), isSingle: true)
    case .complex128:
      let value: Complex128 = unsafe loadElement(bytes, at: index)
      return .complex(value.real, value.imaginary, isSingle: false)
    case .float64: return .real(read(0 as Double), isSingle: false)
    default: return .real(read(0 as Double), isSingle: true)
    }
  }
}

/// One element of any dtype.
enum Number {
  case boolean(Bool)
  case integer(Int64)
  case unsigned(UInt64)
  /// `isSingle`: the number is a `Float`, and prints as one.
  case real(Double, isSingle: Bool)
  case complex(Double, Double, isSingle: Bool)

  /// Whether both are the same number, NaN the same as NaN, and negative zero the same as zero.
  func isSameNumber(as other: Number) -> Bool {
    let (a, b) = (parts, other.parts)
    guard Self.isSame(a.imaginary, b.imaginary) else { return false }
    switch (a.integer, b.integer) {
    case (let x?, let y?): return x == y
    case (nil, nil): return Self.isSame(a.real, b.real)
    default: return false
    }
  }

  /// The number as an integer where it is one, and as its real and imaginary part.
  private var parts: (integer: Int128?, real: Double, imaginary: Double) {
    switch self {
    case .boolean(let value): (value ? 1 : 0, 0, 0)
    case .integer(let value): (Int128(value), 0, 0)
    case .unsigned(let value): (Int128(value), 0, 0)
    case .real(let value, _): (Int128(exactly: value), value, 0)
    case .complex(let real, let imaginary, _): (Int128(exactly: real), real, imaginary)
    }
  }

  private static func isSame(_ a: Double, _ b: Double) -> Bool { a == b || a.isNaN && b.isNaN }
}

extension Number: CustomStringConvertible {
  var description: String {
    func text(_ value: Double, _ isSingle: Bool) -> String {
      isSingle ? Float(value).description : value.description
    }
    switch self {
    case .boolean(let value): return value.description
    case .integer(let value): return value.description
    case .unsigned(let value): return value.description
    case .real(let value, let isSingle): return text(value, isSingle)
    case .complex(let real, let imaginary, let isSingle):
      let sign = imaginary.sign == .minus && !imaginary.isNaN ? "" : "+"
      return text(real, isSingle) + sign + text(imaginary, isSingle) + "i"
    }
  }
}
