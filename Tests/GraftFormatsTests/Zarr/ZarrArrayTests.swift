import GraftCore
import GraftFormats
import GraftIO
import GraftTestSupport
import Testing

/// An array of Tests/Fixtures/zarr, and what TensorStore reads from it.
struct ZarrFixture: CustomStringConvertible, Sendable {
  let name: String
  let dtype: String
  let shape: [Int]
  let byteCount: Int
  let digest: String

  var description: String { name }

  static let all: [ZarrFixture] = {
    guard let index = try? JSONValue(parsing: Fixture.bytes("zarr/index.json")) else { return [] }
    return (index.members ?? []).map { member in
      ZarrFixture(
        name: member.key, dtype: member.value["dtype"]?.text ?? "",
        shape: (member.value["shape"]?.elements ?? []).compactMap(\.integer),
        byteCount: member.value["byte_count"]?.integer ?? -1, digest: member.value["sha256"]?.text ?? "")
    }
  }()

  var array: ZarrArray {
    get throws {
      if name.hasPrefix("v2") {
        return try ZarrArray(version2: Fixture.bytes("zarr/\(name)/.zarray"), file: name)
      }
      return try ZarrArray(version3: Fixture.bytes("zarr/\(name)/zarr.json"), file: name)
    }
  }
}

struct ZarrArrayTests {
  @Test(arguments: ZarrFixture.all)
  func `arrays that TensorStore wrote read the same, in every dtype, codec and key encoding`(
    fixture: ZarrFixture
  ) async throws {
    let array = try fixture.array
    #expect(array.spec.dtype.rawValue == fixture.dtype)
    #expect(array.spec.shape.extents == fixture.shape)
    let folder = LocalFolder(Fixture.path("zarr/\(fixture.name)"))
    let stored = try await ZarrFolder.stored(array, in: folder, at: "")
    var files: [StoredFile] = []
    var places = [ChunkLocation](repeating: .absent, count: try #require(array.chunkCounts).stored)
    for chunk in stored {
      places[chunk.number] = .file(
        StoredChunk(
          file: files.count, range: ByteRange(offset: 0, count: chunk.byteCount)))
      files.append(StoredFile(path: folder.name(of: chunk.path), byteCount: chunk.byteCount))
    }
    let catalog = Catalog(format: "zarr", files: files, tree: .empty)
    let layout = try await catalog.lookingIntoShards([
      (path: .root, spec: array.spec, layout: array.layout(places: places, mayBeAbsent: true))
    ])[0]
    #expect(layout.shards == nil)
    let bytes = try naiveRead(array.spec, layout, files: files)
    #expect(bytes.count == fixture.byteCount)
    #expect(sha256(bytes) == fixture.digest)
  }

  @Test func `fixtures cover both versions`() {
    #expect(ZarrFixture.all.count(where: { $0.name.hasPrefix("v2") }) == 9)
    #expect(ZarrFixture.all.count(where: { $0.name.hasPrefix("v3") }) == 38)
  }

  @Test(arguments: [
    "v2-plain", "v2-zstd-slash", "v2-scalar", "v3-plain", "v3-keys-v2", "v3-keys-dot", "v3-scalar",
  ])
  func `every place has a key, and the key leads back`(name: String) throws {
    let array = try #require(ZarrFixture.all.first { $0.name == name }).array
    let grid = array.storedGrid
    for number in 0..<grid.reduce(1, *) {
      var rest = number
      let index = grid.reversed().map { extent -> Int in
        defer { rest /= extent }
        return rest % extent
      }
      var key: [UInt8] = []
      array.keys.appendKey(ofChunk: number, inGrid: grid, to: &key)
      #expect(array.index(ofKey: key) == number)
      let numbers = index.reversed().map(String.init)
      let parts = array.keys.hasPrefix ? ["c"] + numbers : numbers.isEmpty ? ["0"] : numbers
      #expect(
        String(decoding: key, as: UTF8.self)
          == parts.joined(separator: String(UnicodeScalar(array.keys.separator))))
    }
  }

  @Test(arguments: [
    "", "c", "c/", "c/0", "c/0/3", "c/00/0", "c/0/00", "c/0/0/0", "c/-1/0", "0/0", "c/0/",
    "c/99999999999999999999/0", "c.0.0",
  ])
  func `other keys are for nothing`(key: String) throws {
    let array = try #require(ZarrFixture.all.first { $0.name == "v3-plain" }).array
    #expect(array.index(ofKey: key.utf8) == nil)
  }

  /// Metadata of a small array, with some members replaced; nil removes one.
  static func metadata(version3 changes: [(String, JSONValue?)]) -> [UInt8] {
    merged(
      [
        ("zarr_format", 3), ("node_type", "array"), ("shape", [4, 4]), ("data_type", "float32"),
        ("chunk_grid", ["name": "regular", "configuration": ["chunk_shape": [2, 2]]]),
        ("chunk_key_encoding", ["name": "default"]),
        ("codecs", [["name": "bytes", "configuration": ["endian": "little"]]]), ("fill_value", 0),
      ], changes)
  }

  static func metadata(version2 changes: [(String, JSONValue?)]) -> [UInt8] {
    merged(
      [
        ("zarr_format", 2), ("shape", [4, 4]), ("chunks", [2, 2]), ("dtype", "<f4"), ("compressor", nil),
        ("order", "C"),
        ("filters", nil), ("fill_value", nil),
      ], changes)
  }

  private static func merged(_ base: [(String, JSONValue)], _ changes: [(String, JSONValue?)]) -> [UInt8] {
    var members = base
    for (key, value) in changes {
      members.removeAll { $0.0 == key }
      if let value { members.append((key, value)) }
    }
    return JSONValue.object(members.map { JSONValue.Member($0.0, $0.1) }).encoded()
  }

  struct Refusal: CustomStringConvertible, Sendable {
    let name: String
    let code: GraftError.Code
    let words: String
    let bytes: [UInt8]
    let version: Int
    var description: String { "version \(version): \(name)" }

    static func v3(
      _ name: String, _ code: GraftError.Code, _ words: String, _ changes: (String, JSONValue?)...
    ) -> Refusal {
      Refusal(name: name, code: code, words: words, bytes: metadata(version3: changes), version: 3)
    }
    static func v2(
      _ name: String, _ code: GraftError.Code, _ words: String, _ changes: (String, JSONValue?)...
    ) -> Refusal {
      Refusal(name: name, code: code, words: words, bytes: metadata(version2: changes), version: 2)
    }
  }

  static let little: JSONValue = ["name": "bytes", "configuration": ["endian": "little"]]

  static let refusals: [Refusal] = [
    .v3(
      "gzip", .unsupported, "the codec gzip is not supported",
      ("codecs", [little, ["name": "gzip", "configuration": ["level": 5]]])),
    .v3(
      "transpose", .unsupported, "the codec transpose is not supported",
      ("codecs", [["name": "transpose", "configuration": ["order": [1, 0]]], little])),
    .v3(
      "big endian", .unsupported, "the codec bytes with big-endian elements is not supported",
      ("codecs", [["name": "bytes", "configuration": ["endian": "big"]]])),
    .v3("no bytes", .corrupt, "make no bytes of elements", ("codecs", [])),
    .v3(
      "zstd first", .corrupt, "the codec zstd stands at the wrong place",
      ("codecs", [["name": "zstd"], little])),
    .v3("no endian", .corrupt, "endian", ("codecs", ["bytes"])),
    .v3("a struct", .unsupported, "the dtype r16 is not supported", ("data_type", "r16")),
    .v3(
      "an irregular grid", .unsupported, "the chunk grid rectilinear is not supported",
      ("chunk_grid", ["name": "rectilinear"])),
    .v3(
      "unknown keys", .unsupported, "the chunk key encoding v9 is not supported",
      ("chunk_key_encoding", ["name": "v9"])),
    .v3("a group", .corrupt, "node_type", ("node_type", "group")),
    .v3(
      "an extension", .unsupported, "the extension new is not supported", ("new", ["must_understand": true])),
    .v3(
      "a transformer", .unsupported, "a storage transformer is not supported",
      ("storage_transformers", [["name": "x"]])),
    .v3(
      "a chunk of nothing", .corrupt, "chunk_shape",
      ("chunk_grid", ["name": "regular", "configuration": ["chunk_shape": [2, 0]]])),
    .v3("a negative extent", .corrupt, "shape", ("shape", [4, -1])),
    .v3("another rank", .corrupt, "different numbers of axes", ("shape", [4, 4, 4])),
    .v3("an overflow", .corrupt, "overflows", ("shape", [.integer(1 << 40), .integer(1 << 40)])),
    .v3(
      "a chunk that overflows", .corrupt, "the chunk's size overflows",
      ("chunk_grid", ["name": "regular", "configuration": ["chunk_shape": [.integer(1 << 61), 2]]])),
    .v3(
      "too many axes", .limitExceeded, "too many axes",
      ("shape", .array([JSONValue](repeating: 1, count: 65)))),
    .v3("no fill value", .corrupt, "fill_value is missing", ("fill_value", nil)),
    .v3("a fill value of another kind", .corrupt, "fill_value", ("fill_value", "zero")),
    .v3(
      "an int4 out of range", .corrupt, "fill_value", ("data_type", "int4"), ("codecs", [["name": "bytes"]]),
      ("fill_value", 8)),
    .v3(
      "shards that chunks do not divide", .corrupt, "do not divide",
      (
        "codecs",
        [
          [
            "name": "sharding_indexed",
            "configuration": ["chunk_shape": [2, 3], "codecs": [little], "index_codecs": [little]],
          ]
        ]
      )),
    .v3(
      "a compressed index", .unsupported, "a shard index with the codec zstd",
      (
        "codecs",
        [
          [
            "name": "sharding_indexed",
            "configuration": [
              "chunk_shape": [1, 1], "codecs": [little], "index_codecs": [little, ["name": "zstd"]],
            ],
          ]
        ]
      )),
    .v3(
      "compressed shards", .unsupported, "sharding_indexed together with zstd",
      (
        "codecs",
        [
          [
            "name": "sharding_indexed",
            "configuration": ["chunk_shape": [1, 1], "codecs": [little], "index_codecs": [little]],
          ], ["name": "zstd"],
        ]
      )),
    .v3("version 2", .corrupt, "zarr_format", ("zarr_format", 2)),
    .v2("column-major", .unsupported, "the column-major order F is not supported", ("order", "F")),
    .v2("big endian", .unsupported, "the big-endian dtype >f4 is not supported", ("dtype", ">f4")),
    .v2("a structure", .unsupported, "a structured dtype is not supported", ("dtype", [["a", "<f4"]])),
    .v2("dates", .unsupported, "the dtype <M8[ns] is not supported", ("dtype", "<M8[ns]")),
    .v2(
      "zlib", .unsupported, "the compressor zlib is not supported",
      ("compressor", ["id": "zlib", "level": 1])),
    .v2("a filter", .unsupported, "the filter delta is not supported", ("filters", [["id": "delta"]])),
    .v2("version 3", .corrupt, "zarr_format", ("zarr_format", 3)),
    .v2("no chunks", .corrupt, "chunks", ("chunks", nil)),
    .v2("a separator", .corrupt, "dimension_separator", ("dimension_separator", "-")),
  ]

  @Test(arguments: refusals)
  func `what is not decoded, or makes no sense, is refused by name`(refusal: Refusal) {
    #expect {
      if refusal.version == 3 {
        _ = try ZarrArray(version3: refusal.bytes, file: "x/zarr.json")
      } else {
        _ = try ZarrArray(version2: refusal.bytes, file: "x/.zarray")
      }
    } throws: { error in
      guard let error = error as? GraftError else { return false }
      #expect(error.message.contains(refusal.words), "\(error)")
      return error.code == refusal.code && error.file?.hasPrefix("x/") == true
    }
  }

  @Test func `the base of the refusals is accepted`() throws {
    #expect(try ZarrArray(version3: Self.metadata(version3: []), file: "").fillValue == [0, 0, 0, 0])
    #expect(
      try ZarrArray(version2: Self.metadata(version2: []), file: "").keys.separator == UInt8(ascii: "."))
    // Column-major with one axis, an extension that need not be understood, and a transposition that changes nothing.
    _ = try ZarrArray(
      version2: Self.metadata(version2: [("order", "F"), ("shape", [4]), ("chunks", [2])]), file: "")
    _ = try ZarrArray(version3: Self.metadata(version3: [("new", ["must_understand": false])]), file: "")
    let transposed: JSONValue = [["name": "transpose", "configuration": ["order": [0, 1]]], Self.little]
    _ = try ZarrArray(version3: Self.metadata(version3: [("codecs", transposed)]), file: "")
  }

  @Test(
    arguments: [
      ("float32", 1.5, [0, 0, 0xC0, 0x3F]), ("float32", "-Infinity", [0, 0, 0x80, 0xFF]),
      ("float32", "0x7fc00001", [1, 0, 0xC0, 0x7F]),
      ("bfloat16", -2.0, [0, 0xC0]), ("float8_e4m3fn", 0.5, [0x30]), ("int16", -2, [0xFE, 0xFF]),
      ("uint64", .number(.unsigned(.max)), [UInt8](repeating: 0xFF, count: 8)), ("bool", true, [1]),
      ("int4", -3, [0x0D]),
      ("complex64", ["NaN", 1], [0, 0, 0xC0, 0x7F, 0, 0, 0x80, 0x3F]),
    ] as [(String, JSONValue, [UInt8])])
  func `fill values become the bytes of an element`(dtype: String, value: JSONValue, bytes: [UInt8]) throws {
    let changes: [(String, JSONValue?)] = [("data_type", .string(dtype)), ("fill_value", value)]
    #expect(try ZarrArray(version3: Self.metadata(version3: changes), file: "").fillValue == bytes)
  }

  @Test func `hostile metadata never traps`() {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 51)
    for fixture in ZarrFixture.all {
      let isOld = fixture.name.hasPrefix("v2")
      let bytes = Fixture.bytes("zarr/\(fixture.name)/\(isOld ? ".zarray" : "zarr.json")")
      for _ in 0..<40 {
        var hostile = bytes
        let index = Int.random(in: 0..<hostile.count, using: &random)
        hostile[index] = Array("0123456789-.eE[]{}\",:naN ".utf8).randomElement(using: &random)!
        let array =
          isOld ? try? ZarrArray(version2: hostile, file: "") : try? ZarrArray(version3: hostile, file: "")
        if let array { _ = array.chunkCounts }
      }
    }
  }
}

struct ShardIndexTests {
  private let catalog = Catalog(format: "zarr", files: [], tree: .empty)

  private func layout(
    _ shard: [UInt8], chunks: Int = 2, checksum: Bool = true, fillValue: [UInt8]? = [0]
  ) -> (path: TreePath, spec: TensorSpec, layout: Layout) {
    var layout = Layout(chunkShape: [1], chunks: [], fillValue: fillValue, storedBitWidth: 8)
    layout.shards = Shards(
      shape: [chunks], places: [.inline(shard)], indexIsAtEnd: true, indexHasChecksum: checksum)
    return ("w", TensorSpec(.uint8, [chunks]), layout)
  }

  private func index(_ entries: [(UInt64, UInt64)]) -> [UInt8] {
    var bytes = OCDBTBytes()
    for entry in entries {
      bytes.fixed(entry.0)
      bytes.fixed(entry.1)
    }
    return bytes.bytes
  }

  @Test(arguments: [(4, .max), (.max, 4), (1 << 63, 1 << 63), (40, 0), (0, 36)] as [(UInt64, UInt64)])
  func `a chunk outside of its shard is an error that names the leaf`(entry: (UInt64, UInt64)) async {
    let shard = [1, 2, 3] + index([(0, 3), entry])
    await #expect { try await catalog.lookingIntoShards([layout(shard, checksum: false)]) } throws: {
      guard let error = $0 as? GraftError else { return false }
      return error.code == .corrupt && error.leaf == "w" && error.message.contains("outside of the shard")
    }
  }

  @Test func `a damaged index fails its checksum`() async throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 52)
    let good = [1, 2, 3] + OCDBTBytes.summed(index([(0, 1), (1, 2)]))
    #expect(
      try await catalog.lookingIntoShards([layout(good)])[0].chunks == [.inline([1]), .inline([2, 3])])
    for _ in 0..<50 {
      var bad = good
      bad[Int.random(in: 3..<bad.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      await #expect { try await catalog.lookingIntoShards([layout(bad)]) } throws: {
        ($0 as? GraftError)?.code == .corrupt
      }
    }
  }

  @Test func `a chunk that is absent from its shard is the fill value, or an error where there is none`()
    async throws
  {
    let shard = [1] + index([(0, 1), (.max, .max)])
    #expect(
      try await catalog.lookingIntoShards([layout(shard, checksum: false)])[0].chunks == [
        .inline([1]), .absent,
      ])
    await #expect {
      try await catalog.lookingIntoShards([layout(shard, checksum: false, fillValue: nil)])
    } throws: {
      guard let error = $0 as? GraftError else { return false }
      return error.code == .corrupt && error.leaf == "w" && error.message == "a chunk of the array is missing"
    }
  }

  @Test func `only the shards that a part touches are looked into`() async throws {
    // Four rows of two columns in shards of one row and chunks of one element; the others have no index to look into.
    let good = [5, 6] + index([(0, 1), (1, 1)])
    var leaf = layout(good, checksum: false, fillValue: nil)
    leaf.spec = TensorSpec(.uint8, [4, 2])
    leaf.layout.chunkShape = [1, 1]
    leaf.layout.shards?.shape = [1, 2]
    leaf.layout.shards?.places = [.inline([]), .inline(good), .absent, .inline([])]
    let row = Box(origin: [1, 0], shape: [1, 2])
    let chunks = try await catalog.lookingIntoShards([leaf], within: [row])[0].chunks
    #expect(
      chunks == [.absent, .absent, .inline([5]), .inline([6]), .absent, .absent, .absent, .absent])
    // A row whose shard is absent, and all rows, of which one is damaged.
    for part in [Box(origin: [2, 1], shape: [1, 1]), nil] {
      await #expect(throws: GraftError.self) {
        try await catalog.lookingIntoShards([leaf], within: [part])
      }
    }
  }

  @Test func `the cells that a box touches are those whose elements it has`() {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<200 {
      let rank = Int.random(in: 0...3, using: &random)
      let shape = (0..<rank).map { _ in Int.random(in: 1...7, using: &random) }
      let cell = (0..<rank).map { _ in Int.random(in: 1...4, using: &random) }
      let origin = shape.map { Int.random(in: 0..<$0, using: &random) }
      let box = Box(
        origin: origin, shape: zip(shape, origin).map { Int.random(in: 0...($0 - $1), using: &random) })
      // Element by element.
      let grid = ZarrArray.grid(Shape(shape), Shape(cell))
      var expected = Set<Int>()
      for number in 0..<box.elementCount {
        var (rest, index) = (number, box.origin)
        for axis in (0..<rank).reversed() {
          index[axis] += rest % box.shape[axis]
          rest /= box.shape[axis]
        }
        expected.insert((0..<rank).reduce(0) { $0 * grid[$1] + index[$1] / cell[$1] })
      }
      #expect(
        ZarrArray.cells(of: box, in: Shape(shape), cellShape: Shape(cell)) == expected.sorted(),
        "seed 11: \(box) of \(shape) in cells of \(cell)")
    }
  }

  @Test func `a shard without room for its index is an error`() async {
    await #expect { try await catalog.lookingIntoShards([layout([1, 2, 3])]) } throws: {
      ($0 as? GraftError)?.message == "the shard is too short for its index"
    }
  }

  @Test func `an array of more chunks than the limit allocates none of them`() async {
    var layout = layout([1, 2, 3])
    layout.spec = TensorSpec(.uint8, [1 << 50])
    await #expect { try await catalog.lookingIntoShards([layout]) } throws: {
      ($0 as? GraftError)?.code == .limitExceeded
    }
  }

  @Test func `what the indices of shards list beyond their arrays counts too`() async throws {
    // One element in a shard with room for ninety, and that twice: within the limit only each by itself.
    var large = layout(
      [1] + OCDBTBytes.summed(index([(0, 1)] + [(UInt64, UInt64)](repeating: (.max, .max), count: 89))),
      chunks: 90)
    large.spec = TensorSpec(.uint8, [1])
    var limits = Limits()
    limits.chunkCount = 100
    #expect(try await catalog.lookingIntoShards([large], limits: limits)[0].chunks == [.inline([1])])
    await #expect { try await catalog.lookingIntoShards([large, large], limits: limits) } throws: {
      ($0 as? GraftError)?.code == .limitExceeded
    }
  }
}
