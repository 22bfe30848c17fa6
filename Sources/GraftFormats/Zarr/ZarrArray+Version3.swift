package import GraftCore

extension ZarrArray {
  /// Parses `zarr.json`, the metadata of version 3.
  ///
  /// - Parameter file: what errors call the metadata.
  package init(version3 bytes: [UInt8], file: String, limits: Limits = Limits()) throws(GraftError) {
    let json = try ZarrMetadata(bytes, file: file, limits: limits)
    guard json.root["zarr_format"]?.integer == 3 else { throw json.invalid("zarr_format", expected: "3") }
    guard json.root["node_type"]?.text == "array" else { throw json.invalid("node_type", expected: "array") }
    try Self.refuseUnknown(json)

    let (typeName, _) = try Self.named(json.root["data_type"], "data_type", json)
    guard let dtype = json.dtype(named: typeName) else {
      throw json.unsupportedDType("the dtype \(TreePath.printable(typeName))")
    }
    let shape = try json.extents(json.root["shape"], "shape", minimum: 0)

    let (grid, gridConfiguration) = try Self.named(json.root["chunk_grid"], "chunk_grid", json)
    guard grid == "regular" else { throw json.unsupported("the chunk grid \(TreePath.printable(grid))") }
    let stored = try json.extents(gridConfiguration?["chunk_shape"], "chunk_shape", minimum: 1)

    let (encoding, encodingConfiguration) = try Self.named(
      json.root["chunk_key_encoding"], "chunk_key_encoding", json)
    guard encoding == "default" || encoding == "v2" else {
      throw json.unsupported("the chunk key encoding \(TreePath.printable(encoding))")
    }
    var separator: UInt8 = encoding == "v2" ? UInt8(ascii: ".") : UInt8(ascii: "/")
    if let text = encodingConfiguration?["separator"] {
      guard text.text == "." || text.text == "/" else { throw json.invalid("separator", expected: ". or /") }
      separator = text.text?.utf8.first ?? separator
    }
    keys = KeyEncoding(hasPrefix: encoding == "default", separator: separator)

    var chain = try Chain(json.root["codecs"], "codecs", dtype, rank: shape.count, json)
    var chunk = stored
    shardIndex = nil
    if let sharding = chain.sharding {
      guard chain.codecs.isEmpty else {
        throw json.unsupported("the codec sharding_indexed together with \(chain.codecs[0].name)")
      }
      chunk = try json.extents(sharding["chunk_shape"], "chunk_shape of sharding_indexed", minimum: 1)
      shardIndex = try Self.shardIndex(sharding, json)
      chain = try Chain(sharding["codecs"], "codecs of sharding_indexed", dtype, rank: shape.count, json)
      guard chain.sharding == nil else { throw json.unsupported("the codec sharding_indexed inside another") }
    }
    codecs = chain.codecs
    (spec, storedShape, chunkShape) = try json.checked(dtype, shape: shape, stored: stored, chunk: chunk)
    guard let fill = json.root["fill_value"] else { throw json.invalid("fill_value is missing") }
    fillValue = try ZarrFillValue.bytes(of: fill, dtype, json)
  }

  private static let knownMembers: Set<String> = [
    "zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "codecs",
    "fill_value",
    "attributes", "dimension_names", "storage_transformers",
  ]

  /// What an extension adds must be understood unless it says otherwise.
  private static func refuseUnknown(_ json: ZarrMetadata) throws(GraftError) {
    for member in json.root.members ?? [] where !knownMembers.contains(member.key) {
      if member.value["must_understand"]?.truth == false { continue }
      throw json.unsupported("the extension \(TreePath.printable(member.key))")
    }
    switch json.root["storage_transformers"] {
    case nil, .array([])?: break
    default: throw json.unsupported("a storage transformer")
    }
  }

  /// Something that is a name, or an object of a name and a configuration.
  private static func named(
    _ value: JSONValue?, _ what: String, _ json: ZarrMetadata
  ) throws(GraftError) -> (name: String, configuration: JSONValue?) {
    if let name = value?.text { return (name, nil) }
    guard let name = value?["name"]?.text else {
      throw json.invalid(what, expected: "a name and a configuration")
    }
    return (name, value?["configuration"])
  }

  private static func shardIndex(_ sharding: JSONValue, _ json: ZarrMetadata) throws(GraftError) -> ShardIndex
  {
    var isAtEnd = true
    if let location = sharding["index_location"] {
      guard location.text == "end" || location.text == "start" else {
        throw json.invalid("index_location", expected: "start or end")
      }
      isAtEnd = location.text == "end"
    }
    // An index is 64-bit integers, so its byte order must be said; rank 1 here only stands for no particular rank.
    let chain = try Chain(sharding["index_codecs"], "index_codecs", .uint64, rank: 1, json)
    let names = chain.codecs.map(\.name)
    guard chain.sharding == nil, names.isEmpty || names == ["crc32c"] else {
      throw json.unsupported(
        "a shard index with the codec \(TreePath.printable(names.first ?? "sharding_indexed"))")
    }
    return ShardIndex(isAtEnd: isAtEnd, hasChecksum: !names.isEmpty)
  }

  /// A list of codecs: perhaps some that change nothing, then one that makes bytes of elements, then some over bytes.
  private struct Chain {
    /// The codecs over bytes, first to undo first.
    var codecs: [Codec] = []
    /// The configuration of `sharding_indexed`, when that is what makes bytes of elements.
    var sharding: JSONValue?

    init(
      _ value: JSONValue?, _ what: String, _ dtype: DType, rank: Int, _ json: ZarrMetadata
    ) throws(GraftError) {
      guard let elements = value?.elements else { throw json.invalid(what, expected: "a list") }
      var hasBytes = false
      for element in elements {
        let (name, configuration) = try ZarrArray.named(element, what, json)
        switch name {
        case "bytes" where !hasBytes:
          hasBytes = true
          switch configuration?["endian"]?.text {
          case "little": break
          case nil where dtype.bitWidth <= 8: break
          case "big" where dtype.bitWidth <= 8: break
          case "big": throw json.unsupported("the codec bytes with big-endian elements")
          default: throw json.invalid("endian", expected: "little or big")
          }
        case "sharding_indexed" where !hasBytes:
          hasBytes = true
          guard let configuration else { throw json.invalid("sharding_indexed has no configuration") }
          sharding = configuration
        case "transpose" where !hasBytes:
          let order = try json.extents(configuration?["order"], "order", minimum: 0)
          guard order == Array(0..<rank) else { throw json.unsupported("the codec transpose") }
        case "zstd" where hasBytes, "blosc" where hasBytes, "crc32c" where hasBytes:
          codecs.append(Codec(name: name, settings: CodecSettings(version3: name, configuration)))
        case "bytes", "sharding_indexed", "transpose", "zstd", "blosc", "crc32c":
          throw json.invalid("the codec \(name) stands at the wrong place of \(what)")
        default: throw json.unsupported("the codec \(TreePath.printable(name))")
        }
      }
      guard hasBytes else {
        throw json.invalid(
          "\(what) make no bytes of elements", expected: "the codec bytes or sharding_indexed")
      }
      codecs.reverse()
    }
  }
}
