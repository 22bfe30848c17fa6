package import GraftCore

extension ZarrArray {
  /// Parses `.zarray`, the metadata of version 2.
  ///
  /// - Parameter file: what errors call the metadata.
  package init(version2 bytes: [UInt8], file: String, limits: Limits = Limits()) throws(GraftError) {
    let json = try ZarrMetadata(bytes, file: file, limits: limits)
    guard json.root["zarr_format"]?.integer == 2 else { throw json.invalid("zarr_format", expected: "2") }
    let dtype = try Self.dtype(version2: json.root["dtype"], json)
    let shape = try json.extents(json.root["shape"], "shape", minimum: 0)
    let chunk = try json.extents(json.root["chunks"], "chunks", minimum: 1)
    (spec, storedShape, chunkShape) = try json.checked(dtype, shape: shape, stored: chunk, chunk: chunk)

    switch json.root["order"]?.text {
    case "C": break
    // With one axis both orders are one.
    case "F" where shape.count <= 1: break
    case "F": throw json.unsupported("the column-major order F")
    default: throw json.invalid("order", expected: "C or F")
    }
    switch json.root["filters"] {
    case nil, .null?, .array([])?: break
    case .array(let filters)?:
      throw json.unsupported(
        "the filter \(TreePath.printable(filters.first?["id"]?.text ?? "of an unknown kind"))")
    default: throw json.invalid("filters", expected: "null or a list")
    }
    switch json.root["compressor"] {
    case nil, .null?: codecs = []
    case let compressor?:
      guard let id = compressor["id"]?.text else {
        throw json.invalid("compressor", expected: "an object with an id")
      }
      guard id == "zstd" || id == "blosc" else {
        throw json.unsupported("the compressor \(TreePath.printable(id))")
      }
      codecs = [Codec(name: id, settings: CodecSettings(version2: id, compressor))]
    }
    var separator = UInt8(ascii: ".")
    if let text = json.root["dimension_separator"] {
      guard text.text == "." || text.text == "/" else {
        throw json.invalid("dimension_separator", expected: ". or /")
      }
      separator = text.text?.utf8.first ?? separator
    }
    keys = KeyEncoding(hasPrefix: false, separator: separator)
    shardIndex = nil
    // No fill value means that nobody cares; TensorStore then reads zeros.
    fillValue = [UInt8](repeating: 0, count: max(1, dtype.bitWidth / 8))
    if let value = json.root["fill_value"], value.kind != .null {
      fillValue = try ZarrFillValue.bytes(of: value, dtype, json)
    }
  }

  private static func dtype(version2 value: JSONValue?, _ json: ZarrMetadata) throws(GraftError) -> DType {
    guard let name = value?.text else {
      if value?.kind == .array { throw json.unsupportedDType("a structured dtype") }
      throw json.invalid("dtype", expected: "a string")
    }
    // NumPy's spelling has byte order, kind and bytes; ml_dtypes' types go by their names.
    switch name {
    case "|b1", "<b1", ">b1": return .bool
    case "|i1", "<i1", ">i1": return .int8
    case "|u1", "<u1", ">u1": return .uint8
    case "<i2": return .int16
    case "<i4": return .int32
    case "<i8": return .int64
    case "<u2": return .uint16
    case "<u4": return .uint32
    case "<u8": return .uint64
    case "<f2": return .float16
    case "<f4": return .float32
    case "<f8": return .float64
    case "<c8": return .complex64
    case "<c16": return .complex128
    default:
      if name.utf8.first == UInt8(ascii: ">") {
        throw json.unsupported("the big-endian dtype \(TreePath.printable(name))")
      }
      guard let dtype = json.dtype(named: name) else {
        throw json.unsupportedDType("the dtype \(TreePath.printable(name))")
      }
      return dtype
    }
  }
}
