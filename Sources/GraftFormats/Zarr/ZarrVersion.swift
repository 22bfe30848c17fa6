// What arrays that Graft writes say of themselves: the members that Orbax writes too, in the order in which it does.

internal import GraftCodec
package import GraftCore

/// The version of Zarr's metadata that arrays are written with.
package enum ZarrVersion: Int, Hashable, Sendable {
  /// `.zarray`, as version 0 of Orbax writes by default; it knows no checksum.
  case version2 = 2
  /// `zarr.json`.
  case version3 = 3

  /// The key of an array's metadata, below the array's name.
  package var metadataName: String {
    switch self {
    case .version2: ".zarray"
    case .version3: "zarr.json"
    }
  }

  /// How the keys of chunks are made.
  package var keys: ZarrArray.KeyEncoding {
    switch self {
    case .version2: ZarrArray.KeyEncoding(hasPrefix: false, separator: UInt8(ascii: "."))
    case .version3: ZarrArray.KeyEncoding(hasPrefix: true, separator: UInt8(ascii: "/"))
    }
  }

  /// The metadata of version 2 of an array of such chunks.
  func metadata2(
    of spec: TensorSpec, chunkShape: Shape, encoding: ChunkEncoding
  ) throws(GraftError) -> [UInt8] {
    func list(_ shape: Shape) -> JSONValue { .array(shape.map { JSONValue.integer($0) }) }
    let root: JSONValue = [
      "zarr_format": 2, "shape": list(spec.shape), "chunks": list(chunkShape),
      "dtype": .string(try dtypeName(of: spec.dtype)),
      // Every chunk is stored, so that no element is a fill value.
      "fill_value": nil, "order": "C", "filters": nil,
      "compressor": encoding.compressor?.version2JSON ?? nil, "dimension_separator": ".",
    ]
    return root.encoded()
  }

  /// The dtype's name in the metadata.
  ///
  /// - Throws: `unsupported` for a dtype that TensorStore 0.1.86 does not know.
  package func dtypeName(of dtype: DType) throws(GraftError) -> String {
    switch dtype {
    case .uint4, .float6E2M3FN, .float6E3M2FN, .float8E4M3:
      throw GraftError(
        .unsupported, "Orbax cannot load arrays of \(dtype)",
        remedy: "cast the leaf to another dtype, or write another format")
    default: break
    }
    guard self == .version2 else { return dtype.rawValue }
    // NumPy's spelling for NumPy's types; the others go by their names.
    return switch dtype {
    case .bool: "|b1"
    case .int8: "|i1"
    case .uint8: "|u1"
    case .int16: "<i2"
    case .int32: "<i4"
    case .int64: "<i8"
    case .uint16: "<u2"
    case .uint32: "<u4"
    case .uint64: "<u8"
    case .float16: "<f2"
    case .float32: "<f4"
    case .float64: "<f8"
    case .complex64: "<c8"
    case .complex128: "<c16"
    default: dtype.rawValue
    }
  }

  /// Zero as a fill value, which version 3 asks for; the least number where there is no zero.
  static func zero(of dtype: DType) -> JSONValue {
    switch dtype {
    case .bool: false
    case .complex64, .complex128: [0.0, 0.0]
    case .int4, .uint4, .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64, .uint64: 0
    default: 0.0
    }
  }
}
