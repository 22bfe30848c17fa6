internal import GraftCodec
internal import GraftCore

/// Makes the metadata of arrays, which in a checkpoint of very many are a few texts but for their shapes.
///
/// What of a text does not depend on a shape is made once and kept for the arrays of the same kind that follow.
struct ZarrMetadataTexts {
  /// What decides everything of a text but its shapes.
  private struct Kind {
    let dtype: DType
    let fillValue: [UInt8]?
    let codecs: [Codec]

    func isOf(_ spec: TensorSpec, _ layout: Layout) -> Bool {
      // Codecs are equal whatever their settings, which the text says too.
      dtype == spec.dtype && fillValue == layout.fillValue && codecs.count == layout.codecs.count
        && zip(codecs, layout.codecs).allSatisfy { $0.name == $1.name && $0.settings == $1.settings }
    }
  }

  /// The texts between the shapes.
  private struct Parts {
    let dtype: [UInt8]
    let rest: [UInt8]
  }

  private var known: [(kind: Kind, parts: Parts)] = []
  /// Dtypes with chains of codecs that one checkpoint mixes; of more, those that are met in turns are made anew each time.
  private static let knownLimit = 16

  /// The metadata of an array of version 3 over chunks or shards that exist.
  ///
  /// Chunks of version 2 are chunks of version 3, whose compressors are codecs there.
  /// - Throws: `unsupported` for a dtype that TensorStore does not know, or a fill value that cannot be said; see
  ///   ``ZarrVersion/reasonNotToLink(_:_:)``.
  mutating func text(of spec: TensorSpec, linkedTo layout: Layout) throws(GraftError) -> [UInt8] {
    if layout.shards == nil, let index = known.firstIndex(where: { $0.kind.isOf(spec, layout) }) {
      return Self.text(spec.shape, layout.chunkShape, known[index].parts)
    }
    let parts = try Self.parts(of: spec, linkedTo: layout)
    if layout.shards == nil {
      if known.count == Self.knownLimit { known.removeFirst() }
      known.append(
        (Kind(dtype: spec.dtype, fillValue: layout.fillValue, codecs: layout.codecs), parts))
    }
    return Self.text(spec.shape, layout.shards?.shape ?? layout.chunkShape, parts)
  }

  /// The metadata of an array of chunks that are written.
  ///
  /// - Throws: `unsupported` for a dtype that TensorStore, and with it Orbax, does not know.
  func text(
    _ version: ZarrVersion, of spec: TensorSpec, chunkShape: Shape, _ encoding: ChunkEncoding
  ) throws(GraftError) -> [UInt8] {
    switch version {
    case .version2: return try version.metadata2(of: spec, chunkShape: chunkShape, encoding: encoding)
    case .version3:
      let codecs = encoding.codecs.map { $0.version3JSON(elementByteCount: encoding.elementByteCount) }
      return Self.text(
        spec.shape, chunkShape,
        Self.parts(
          try version.dtypeName(of: spec.dtype), ZarrVersion.zero(of: spec.dtype), codecs: .array(codecs)))
    }
  }

  private static func parts(of spec: TensorSpec, linkedTo layout: Layout) throws(GraftError) -> Parts {
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
    guard let fillValue = ZarrVersion.fillValue(layout.fillValue, of: spec.dtype) else {
      throw GraftError(.unsupported, "the array's fill value cannot be written")
    }
    return parts(try ZarrVersion.version3.dtypeName(of: spec.dtype), fillValue, codecs: codecs)
  }

  private static func parts(_ dtypeName: String, _ fillValue: JSONValue, codecs: JSONValue) -> Parts {
    let keys: JSONValue = ["name": "default", "configuration": ["separator": "/"]]
    let members: JSONValue = ["chunk_key_encoding": keys, "fill_value": fillValue, "codecs": codecs]
    return Parts(dtype: JSONValue.string(dtypeName).encoded(), rest: Array(members.encoded().dropFirst()))
  }

  /// The members that Orbax writes too, in the order in which it does.
  private static func text(_ shape: Shape, _ gridShape: Shape, _ parts: Parts) -> [UInt8] {
    var text: [UInt8] = []
    text.reserveCapacity(160 + parts.rest.count + 16 * shape.rank)
    text.append(contentsOf: #"{"zarr_format":3,"node_type":"array","shape":"#.utf8)
    text.appendJSON(shape)
    text.append(contentsOf: #","data_type":"#.utf8)
    text.append(contentsOf: parts.dtype)
    text.append(contentsOf: #","chunk_grid":{"name":"regular","configuration":{"chunk_shape":"#.utf8)
    text.appendJSON(gridShape)
    text.append(contentsOf: "}},".utf8)
    text.append(contentsOf: parts.rest)
    return text
  }
}
