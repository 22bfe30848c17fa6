import GraftCore
import GraftFormats
import Testing

/// A checkpoint in folders, one of whose two arrays is stored in a way that Graft does not read.
struct OrbaxUnsupportedTests {
  struct Case: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var version = 3
    var metadata: String
    var reason: String
    var dtypeName: String?
    var shape: Shape?
    var type = "np.ndarray"
  }

  private static func version2(
    dtype: String = #""|u1""#, order: String = "C", compressor: String = "null", filters: String = "null"
  ) -> String {
    """
    {"zarr_format":2,"shape":[2,3],"chunks":[2,3],"dtype":\(dtype),"compressor":\(compressor),"order":"\(order)",\
    "filters":\(filters),"fill_value":null}
    """
  }

  private static func version3(
    type: String = #""uint8""#, grid: String = "regular", codecs: String = #"[{"name":"bytes"}]"#,
    more: String = ""
  ) -> String {
    """
    {"zarr_format":3,"node_type":"array","shape":[2,3],"data_type":\(type),"fill_value":0,"codecs":\(codecs),\
    "chunk_grid":{"name":"\(grid)","configuration":{"chunk_shape":[2,3]}},"chunk_key_encoding":{"name":"default"}\(more)}
    """
  }

  private static func sharding(
    codecs: String = #"[{"name":"bytes"}]"#,
    index: String = #"[{"name":"bytes","configuration":{"endian":"little"}},{"name":"crc32c"}]"#
  ) -> String {
    """
    {"name":"sharding_indexed","configuration":{"chunk_shape":[1,3],"codecs":\(codecs),"index_codecs":\(index)}}
    """
  }

  static let cases: [Case] = [
    Case(
      testDescription: "a dtype of version 2", version: 2, metadata: version2(dtype: #""float99""#),
      reason: "the dtype float99", dtypeName: "float99", shape: [2, 3]),
    Case(
      testDescription: "a structured dtype", version: 2, metadata: version2(dtype: #"[["a","<i4"]]"#),
      reason: "a structured dtype", shape: [2, 3]),
    Case(
      testDescription: "big-endian elements", version: 2, metadata: version2(dtype: #"">f4""#),
      reason: "the big-endian dtype >f4", dtypeName: ">f4", shape: [2, 3]),
    Case(
      testDescription: "column-major order", version: 2, metadata: version2(order: "F"),
      reason: "the column-major order F", dtypeName: "|u1", shape: [2, 3]),
    Case(
      testDescription: "a compressor", version: 2,
      metadata: version2(compressor: #"{"id":"gzip","level":5}"#),
      reason: "the compressor gzip", dtypeName: "|u1", shape: [2, 3]),
    Case(
      testDescription: "a filter", version: 2, metadata: version2(filters: #"[{"id":"delta"}]"#),
      reason: "the filter delta", dtypeName: "|u1", shape: [2, 3]),
    Case(
      testDescription: "a dtype of version 3", metadata: version3(type: #""float99""#),
      reason: "the dtype float99", dtypeName: "float99", shape: [2, 3]),
    Case(
      testDescription: "a dtype that is an object",
      metadata: version3(type: #"{"name":"numpy.datetime64","configuration":{}}"#),
      reason: "the dtype numpy.datetime64", dtypeName: "numpy.datetime64", shape: [2, 3]),
    Case(
      testDescription: "a codec", metadata: version3(codecs: #"[{"name":"bytes"},{"name":"gzip"}]"#),
      reason: "the codec gzip", dtypeName: "uint8", shape: [2, 3]),
    Case(
      testDescription: "a transposition",
      metadata: version3(
        codecs: #"[{"name":"transpose","configuration":{"order":[1,0]}},{"name":"bytes"}]"#),
      reason: "the codec transpose", dtypeName: "uint8", shape: [2, 3]),
    Case(
      testDescription: "a codec around shards",
      metadata: version3(codecs: #"[\#(sharding()),{"name":"zstd"}]"#),
      reason: "the codec sharding_indexed together with zstd", dtypeName: "uint8", shape: [2, 3]),
    Case(
      testDescription: "shards in shards",
      metadata: version3(codecs: "[\(sharding(codecs: "[\(sharding())]"))]"),
      reason: "the codec sharding_indexed inside another", dtypeName: "uint8", shape: [2, 3]),
    Case(
      testDescription: "a compressed index of shards",
      metadata: version3(
        codecs:
          "[\(sharding(index: #"[{"name":"bytes","configuration":{"endian":"little"}},{"name":"zstd"}]"#))]"),
      reason: "a shard index with the codec zstd", dtypeName: "uint8", shape: [2, 3]),
    Case(
      testDescription: "an irregular grid", metadata: version3(grid: "rectangular"),
      reason: "the chunk grid rectangular", dtypeName: "uint8", shape: [2, 3]),
    Case(
      testDescription: "a storage transformer",
      metadata: version3(more: #","storage_transformers":[{"name":"x"}]"#),
      reason: "a storage transformer", dtypeName: "uint8", shape: [2, 3]),
    Case(
      testDescription: "an extension", metadata: version3(more: #","thing":{"must_understand":true}"#),
      reason: "the extension thing", dtypeName: "uint8", shape: [2, 3]),
    Case(
      testDescription: "a kind of leaf", metadata: version3(), reason: "leaves of the type Wonder",
      type: "Wonder"),
  ]

  private static func open(_ example: Case) async throws -> Catalog {
    let isVersion3 = example.version == 3
    let metadata = """
      {"tree_metadata":{
        "0":{"key_metadata":[{"key":"bad","key_type":2}],"value_metadata":{"value_type":"\(example.type)"}},
        "1":{"key_metadata":[{"key":"good","key_type":2}],"value_metadata":{"value_type":"np.ndarray"}}},
       "use_ocdbt":false,"use_zarr3":\(isVersion3)}
      """
    let name = isVersion3 ? "zarr.json" : ".zarray"
    let files = [
      "_METADATA": metadata, "bad/" + name: example.metadata,
      "good/" + name: isVersion3 ? version3() : version2(),
    ]
    return try await OrbaxFormat.open(
      MemoryFolder(files.mapValues { Array($0.utf8) }), options: OpenOptions())
  }

  @Test(arguments: cases)
  func `what is not read is a leaf that says so, beside others that are read`(example: Case) async throws {
    let catalog = try await Self.open(example)
    guard case .unsupported(let leaf)? = catalog.tree["bad"].leaf else {
      Issue.record("the leaf is \(catalog.tree["bad"])")
      return
    }
    #expect(leaf.reason.hasPrefix(example.reason) && leaf.reason.hasSuffix(" not supported"))
    #expect(leaf.dtypeName == example.dtypeName)
    #expect(leaf.shape == example.shape)
    #expect(leaf.file?.isEmpty == false && leaf.remedy?.isEmpty == false)
    #expect(catalog.tree["good"].leaf?.spec == .tensor(TensorSpec(.uint8, [2, 3])))
  }

  @Test(arguments: cases)
  func `a load that wants it is an error that names it, and one that does not is none`(example: Case)
    async throws
  {
    let catalog = try await Self.open(example)
    let load = try LoadPlan(["bad": .placeholder, "good": .stored], from: catalog, partial: false)
    #expect(load.plan.results.map(\.path) == ["good"])
    #expect(throws: Never.self) { try LoadPlan(["good": .stored], from: catalog, partial: true) }
    #expect {
      try LoadPlan(["bad": .stored, "good": .stored], from: catalog, partial: false)
    } throws: {
      guard let error = $0 as? GraftError else { return false }
      let printed = "\(error)"
      return error.code == .unsupported && error.leaf == "bad" && error.message.hasPrefix(example.reason)
        && printed.contains("--drop") && example.dtypeName.map { printed.contains($0) } ?? true
    }
  }
}
