// What arrays say of themselves whose chunks were written by somebody else: version 3, over chunks of either version.

package import GraftCore

extension ZarrVersion {
  /// The metadata of an array of version 3 over chunks or shards that exist.
  ///
  /// Chunks of version 2 are chunks of version 3, whose compressors are codecs there.
  /// - Throws: `unsupported` for a dtype that TensorStore does not know, or a fill value that cannot be said; see
  ///   ``reasonNotToLink(_:_:)``.
  func metadata(of spec: TensorSpec, linkedTo layout: Layout) throws(GraftError) -> [UInt8] {
    func list(_ shape: Shape) -> JSONValue { .array(shape.map { JSONValue.integer($0) }) }
    let bytes = Codec(name: "bytes", settings: spec.dtype.bitWidth > 8 ? .littleEndian : .none)
    let elementByteCount = max(1, spec.dtype.bitWidth / 8)
    func json(_ codecs: [Codec]) -> JSONValue {
      .array(codecs.map { $0.version3JSON(elementByteCount: elementByteCount) })
    }
    var codecs = json([bytes] + layout.codecs.reversed().filter { $0.name != "bytes" })
    if let shards = layout.shards {
      var indexCodecs = [Codec(name: "bytes", settings: .littleEndian)]
      if shards.indexHasChecksum { indexCodecs.append(Codec(name: "crc32c")) }
      codecs = [
        [
          "name": "sharding_indexed",
          "configuration": [
            "chunk_shape": list(layout.chunkShape), "codecs": codecs, "index_codecs": json(indexCodecs),
            "index_location": .string(shards.indexIsAtEnd ? "end" : "start"),
          ],
        ]
      ]
    }
    guard let fillValue = Self.fillValue(layout.fillValue, of: spec.dtype) else {
      throw GraftError(.unsupported, "the array's fill value cannot be written")
    }
    let root: JSONValue = [
      "zarr_format": 3, "node_type": "array", "shape": list(spec.shape),
      "data_type": .string(try Self.version3.dtypeName(of: spec.dtype)),
      "chunk_grid": [
        "name": "regular",
        "configuration": ["chunk_shape": list(layout.shards?.shape ?? layout.chunkShape)],
      ],
      "chunk_key_encoding": ["name": "default", "configuration": ["separator": "/"]],
      "fill_value": fillValue, "codecs": codecs,
    ]
    return root.encoded()
  }

  /// Why an array cannot be linked to chunks of this layout, however whole they are; nil when it can.
  package static func reasonNotToLink(_ spec: TensorSpec, _ layout: Layout) -> String? {
    if fillValue(layout.fillValue, of: spec.dtype) == nil { return "its fill value cannot be written" }
    return nil
  }

  /// An element as version 3 says it; nil where it has no words for it.
  private static func fillValue(_ bytes: [UInt8]?, of dtype: DType) -> JSONValue? {
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
