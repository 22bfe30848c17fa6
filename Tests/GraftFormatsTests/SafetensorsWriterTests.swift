import Foundation
import GraftCore
import GraftFormats
import GraftTestSupport
import Testing

@Suite struct SafetensorsWriterTests {
  typealias Leaves = [(path: TreePath, spec: LeafSpec)]

  private func leaves(_ leaves: (String, DType, Shape)...) -> Leaves {
    leaves.map { (path: SafetensorsNaming.nested.path(of: $0.0), spec: .tensor(TensorSpec($0.1, $0.2))) }
  }

  // MARK: - The plan

  @Test func `data begins at a page, whole pages come first, then the larger alignments`() throws {
    let plan = try SafetensorsPlan(
      leaves(
        ("bytes", .uint8, [3]), ("half", .float16, [5]), ("page", .bfloat16, [2_048]),
        ("packed", .float4E2M1FN, [2]),
        ("double", .float64, []), ("empty", .float32, [0]), ("pages", .uint8, [8_192]),
        ("complex", .complex64, [1])),
      division: .single)
    let offsets = plan.places.map(\.range.offset)
    #expect(plan.files[0].head.count % 4_096 == 0)
    let data = plan.files[0].head.count
    // In order: page, empty, pages; double; complex; half; bytes, packed.
    #expect(offsets == [12_314, 12_304, 0, 12_317, 12_288, 4_096, 4_096, 12_296].map { data + $0 })
    #expect(plan.files[0].byteCount == data + 12_318)
    #expect(plan.index == nil)
  }

  @Test func `a model of one dtype keeps the order of its leaves`() throws {
    let plan = try SafetensorsPlan(
      leaves(("c", .bfloat16, [3]), ("a", .bfloat16, [5]), ("b", .bfloat16, [1])), division: .single)
    #expect(plan.places.map(\.range.offset).sorted() == plan.places.map(\.range.offset))
  }

  @Test func `shards are filled in order, and a larger tensor has one of its own`() throws {
    let plan = try SafetensorsPlan(
      leaves(
        ("a", .uint8, [6]), ("b", .uint8, [4]), ("c", .uint8, [1]), ("d", .uint8, [100]), ("e", .uint8, [0]),
        ("f", .uint8, [10])), division: .shards(byteCount: 10))
    #expect(plan.places.map(\.file) == [0, 0, 1, 2, 2, 3])
    #expect(plan.files.map(\.name) == (1...4).map { "model-0000\($0)-of-00004.safetensors" })
    let index = try JSONValue(parsing: try #require(plan.index))
    #expect(index["metadata"]?["total_size"] == 121)
    #expect(index["weight_map"]?["d"] == "model-00003-of-00004.safetensors")
    #expect(index["weight_map"]?.members?.map(\.key) == ["a", "b", "c", "d", "e", "f"])
  }

  @Test func `what fits one shard is one file without an index`() throws {
    let plan = try SafetensorsPlan(leaves(("a", .uint8, [6])), division: .shards(byteCount: 10))
    #expect(plan.files.map(\.name) == ["model.safetensors"] && plan.index == nil)
    #expect(throws: GraftError.self) { try SafetensorsPlan([], division: .shards(byteCount: 0)) }
  }

  struct Refusal: CustomTestStringConvertible {
    var leaves: Leaves
    var naming = SafetensorsNaming.nested
    var code: GraftError.Code
    var message: String
    var testDescription: String { message }
  }

  static let tensor = LeafSpec.tensor(TensorSpec(.float32, [1]))

  static let refusals: [Refusal] = [
    Refusal(
      leaves: [(path: "a", spec: .string)], code: .unsupported,
      message: "Safetensors keeps tensors only. In leaf a. Found a string. "
        + "Leave the leaf out, or choose a format that keeps strings."),
    Refusal(
      leaves: [(path: .root, spec: tensor)], code: .unsupported,
      message: "A tensor without a name cannot be kept in safetensors. Put it under a key."),
    Refusal(
      leaves: [(path: TreePath(["a.b", "c"]), spec: tensor)], code: .collision,
      message: "The key \"a.b\" has a dot, at which names are split when they are read. In leaf a.b/c. "
        + "Keep names whole, with --flat in the tool or flat: true in the library, or leave the leaf out."),
    Refusal(
      leaves: [(path: TreePath(["a.b"]), spec: tensor), (path: TreePath(["a", "b"]), spec: tensor)],
      naming: .whole,
      code: .collision,
      message: "The leaves a.b and a/b would both be named \"a.b\". In leaf a/b. Rename one of them."),
    Refusal(
      leaves: [(path: "__metadata__", spec: tensor)], code: .collision,
      message: "The name __metadata__ is safetensors' own. In leaf __metadata__. Rename the leaf."),
    Refusal(
      leaves: [(path: "x", spec: .tensor(TensorSpec(.float8E3M4, [1])))], code: .unsupported,
      message:
        "Safetensors has no such dtype. In leaf x. Expected one of bool, float4_e2m1fn, float6_e2m3fn, "
        + "float6_e3m2fn, uint8, int8, float8_e5m2, float8_e4m3fn, float8_e8m0fnu, float8_e4m3fnuz, float8_e5m2fnuz, "
        + "int16, uint16, float16, bfloat16, int32, uint32, float32, complex64, float64, int64, uint64, "
        + "found float8_e3m4. Cast the leaf to one of these."),
    Refusal(
      leaves: [(path: "x", spec: .tensor(TensorSpec(.float6E2M3FN, [2])))], code: .unsupported,
      message: "Safetensors keeps packed elements only where they fill whole bytes. In leaf x. "
        + "Found float6_e2m3fn[2] of 6 bits per element. Pad or cast the leaf."),
    Refusal(
      leaves: [(path: "a", spec: tensor), (path: "b", spec: .string), (path: "c", spec: .string)],
      code: .unsupported,
      message:
        "Safetensors keeps tensors only. In leaf b. Found a string. Leave the leaf out, or choose a format that "
        + "keeps strings. Also: Safetensors keeps tensors only. In leaf c. Found a string. Leave the leaf out, or choose "
        + "a format that keeps strings."),
    Refusal(
      leaves: [
        (path: "a", spec: .tensor(TensorSpec(.uint8, [Int.max]))),
        (path: "b", spec: .tensor(TensorSpec(.uint8, [2]))),
      ], code: .limitExceeded, message: "The tensors together have more bytes than a file can have."),
  ]

  @Test(arguments: refusals) func `what the format cannot keep is refused before anything is written`(
    _ refusal: Refusal
  ) throws {
    let error = try #require(throws: GraftError.self) {
      try SafetensorsPlan(refusal.leaves, division: .single, naming: refusal.naming)
    }
    #expect(error.code == refusal.code)
    #expect("\(error)" == refusal.message)
    let folder = TemporaryFolder()
    var options = SafetensorsWriter.Options()
    options.naming = refusal.naming
    #expect(throws: GraftError.self) {
      try SafetensorsWriter(at: folder.path("x.safetensors"), leaves: refusal.leaves, options: options)
    }
    #expect(folder.names.isEmpty)
  }

  @Test func `a key of the metadata twice is refused, and so is a header over the limit`() throws {
    let twice = try #require(throws: GraftError.self) {
      try SafetensorsPlan([], division: .single, metadata: [(key: "a", value: "1"), (key: "a", value: "2")])
    }
    #expect(twice.code == .collision)
    var limits = Limits()
    limits.metadataByteCount = 4_088
    for (count, isRefused) in [(4_080 - 18, false), (4_088, true)] {
      let metadata = [(key: "a", value: String(repeating: "x", count: count))]
      do throws(GraftError) {
        let plan = try SafetensorsPlan([], division: .single, metadata: metadata, limits: limits)
        #expect(!isRefused && plan.files[0].head.count == 4_096)
      } catch {
        #expect(isRefused && error.code == .limitExceeded && error.expected == "at most 4088 bytes")
      }
    }
  }

  // MARK: - Writing

  @Test func `random trees come back as they were written, in any order and from many threads`() async throws
  {
    let seed = seedFromEnvironment() ?? UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    for round in 0..<25 {
      let leaves = Self.randomLeaves(using: &random)
      var options = SafetensorsWriter.Options()
      options.metadata = round % 2 == 0 ? [] : [(key: "format", value: "pt"), (key: "é\n", value: "\"\\😀")]
      if round % 3 != 0 { options.division = .shards(byteCount: .random(in: 1...400, using: &random)) }
      let folder = TemporaryFolder()
      let path = folder.path(round % 3 == 0 ? "x.safetensors" : "x")
      let contents = leaves.map { leaf in
        (0..<(leaf.spec.tensor?.byteCount ?? 0)).map { _ in UInt8.random(in: 0...255, using: &random) }
      }
      var pieces: [(leaf: Int, range: Range<Int>)] = []
      for (leaf, bytes) in contents.enumerated() {
        var offset = 0
        while offset < bytes.count {
          let end = min(bytes.count, offset + .random(in: 1...64, using: &random))
          pieces.append((leaf: leaf, range: offset..<end))
          offset = end
        }
      }
      pieces.shuffle(using: &random)

      let writer = try await SafetensorsWriter.begin(at: path, leaves: leaves, options: options)
      #expect(!FileManager.default.fileExists(atPath: path))
      let shuffled = pieces
      DispatchQueue.concurrentPerform(iterations: 4) { thread in
        for (index, piece) in shuffled.enumerated() where index % 4 == thread {
          do {
            try contents[piece.leaf][piece.range].withUnsafeBytes {
              try writer.write($0, leaf: piece.leaf, byteOffset: piece.range.lowerBound)
            }
          } catch { Issue.record("\(error), GRAFT_TEST_SEED=\(seed)") }
        }
      }
      try await writer.finish()

      let catalog = try await FormatRegistry.standard.open(path)
      #expect(catalog.metadata.map(\.key) == options.metadata.map(\.key), "GRAFT_TEST_SEED=\(seed)")
      #expect(catalog.metadata.map(\.value) == options.metadata.map(\.value), "GRAFT_TEST_SEED=\(seed)")
      let read = catalog.tree.leaves
      #expect(read.count == leaves.count, "GRAFT_TEST_SEED=\(seed)")
      let files = try catalog.files.map { Array(try Data(contentsOf: URL(fileURLWithPath: $0.path))) }
      for (index, leaf) in leaves.enumerated() {
        guard case .tensor(let spec, let layout, _)? = catalog.tree[at: leaf.path].leaf else {
          Issue.record("\(leaf.path) is gone, GRAFT_TEST_SEED=\(seed)")
          continue
        }
        let chunk = try #require(layout.chunks[0].stored)
        #expect(LeafSpec.tensor(spec) == leaf.spec, "GRAFT_TEST_SEED=\(seed)")
        #expect(
          Array(files[chunk.file][chunk.range.offset..<chunk.range.end]) == contents[index],
          "GRAFT_TEST_SEED=\(seed)")
        #expect(chunk.range.offset % spec.dtype.alignment == 0, "GRAFT_TEST_SEED=\(seed)")
      }
    }
  }

  @Test func `missing bytes are named, and can be written after all`() async throws {
    let folder = TemporaryFolder()
    let path = folder.path("x.safetensors")
    let writer = try SafetensorsWriter(
      at: path, leaves: leaves(("a", .uint8, [10]), ("empty", .uint8, [0]), ("b", .uint8, [4])))
    try writer.write([UInt8](repeating: 1, count: 3).span.bytes, leaf: 0, byteOffset: 0)
    try writer.write([UInt8](repeating: 1, count: 2).span.bytes, leaf: 0, byteOffset: 7)
    let error = try await #require(throws: GraftError.self) { try await writer.finish() }
    #expect(error.code == .truncated && error.leaf == "a" && error.others.map(\.leaf) == ["b"])
    #expect(error.message == "bytes of the leaf were never written (the first of 2 leaves)")
    #expect(error.found == "none of its bytes 3..<7")
    #expect(!FileManager.default.fileExists(atPath: path))
    try writer.write([UInt8](repeating: 1, count: 7).span.bytes, leaf: 0, byteOffset: 3)
    try writer.write([UInt8](repeating: 1, count: 4).span.bytes, leaf: 2, byteOffset: 0)
    try await writer.finish()
    #expect(try folder.bytes("x.safetensors").suffix(14) == [UInt8](repeating: 1, count: 14)[...])
  }

  @Test func `bytes outside of a leaf are refused, and so is writing after the end`() async throws {
    let folder = TemporaryFolder()
    let writer = try SafetensorsWriter(at: folder.path("x.safetensors"), leaves: leaves(("a", .uint8, [4])))
    let five = [UInt8](repeating: 0, count: 5)
    for (leaf, offset, count) in [(0, 0, 5), (0, 4, 1), (0, -1, 1), (0, Int.max, 1), (1, 0, 1), (-1, 0, 1)] {
      let error = try #require(throws: GraftError.self) {
        try writer.write(five.span.bytes.extracting(0..<count), leaf: leaf, byteOffset: offset)
      }
      #expect(error.code == .invalidArgument)
    }
    try writer.write(five.span.bytes.extracting(0..<4), leaf: 0, byteOffset: 0)
    try await writer.finish()
    #expect(throws: GraftError.self) {
      try writer.write(five.span.bytes.extracting(0..<1), leaf: 0, byteOffset: 0)
    }
    await #expect(throws: GraftError.self) { try await writer.finish() }
    writer.abandon()
    #expect(folder.names == ["x.safetensors"])
  }

  @Test(arguments: [SafetensorsPlan.Division.single, .shards(byteCount: 1)])
  func `an abandoned or dropped writer leaves nothing`(_ division: SafetensorsPlan.Division) throws {
    let folder = TemporaryFolder()
    var options = SafetensorsWriter.Options()
    options.division = division
    let two = leaves(("a", .uint8, [4]), ("b", .uint8, [4]))
    let writer = try SafetensorsWriter(at: folder.path("x"), leaves: two, options: options)
    #expect(folder.names.count == 1 && folder.names != ["x"])
    writer.abandon()
    #expect(folder.names.isEmpty)
    do { _ = try SafetensorsWriter(at: folder.path("x"), leaves: two, options: options) }
    #expect(folder.names.isEmpty)
  }

  @Test func `an existing destination is replaced only when asked, a folder only when it is a checkpoint`()
    async throws
  {
    let folder = TemporaryFolder()
    var options = SafetensorsWriter.Options()
    options.division = .shards(byteCount: 1)
    let two = leaves(("a", .uint8, [1]), ("b", .uint8, [1]))
    func write() async throws {
      let writer = try await SafetensorsWriter.begin(at: folder.path("x"), leaves: two, options: options)
      for leaf in 0..<2 { try writer.write([UInt8(leaf)].span.bytes, leaf: leaf, byteOffset: 0) }
      try await writer.finish()
    }
    try await write()
    await #expect(throws: GraftError.self) { try await write() }
    options.isOverwriting = true
    try await write()
    try folder.write("x/config.json", [1])
    let error = try await #require(throws: GraftError.self) { try await write() }
    #expect(error.code == .destinationExists && error.found == "config.json")
    #expect(try folder.bytes("x/config.json") == [1])
  }

  @Test func `a file as the reference implementation lays it out apart from padding`() async throws {
    let folder = TemporaryFolder()
    var options = SafetensorsWriter.Options()
    options.metadata = [(key: "format", value: "pt")]
    let writer = try SafetensorsWriter(
      at: folder.path("x.safetensors"), leaves: leaves(("a.b", .int16, [2]), ("c", .float64, [])),
      options: options)
    let data: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
    try writer.write(data.span.bytes.extracting(0..<4), leaf: 0, byteOffset: 0)
    try writer.write(data.span.bytes, leaf: 1, byteOffset: 0)
    try await writer.finish()
    let json =
      #"{"__metadata__":{"format":"pt"},"c":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"#
      + #""a.b":{"dtype":"I16","shape":[2],"data_offsets":[8,12]}}"#
    let padded = Array(json.utf8) + [UInt8](repeating: 0x20, count: 4_088 - json.utf8.count)
    let bytes: [UInt8] = try folder.bytes("x.safetensors")
    #expect(bytes == lengthField(4_088) + padded + data + data[..<4])
  }

  static func randomLeaves(using random: inout SeededGenerator) -> Leaves {
    var leaves: Leaves = []
    for index in 0..<Int.random(in: 0..<20, using: &random) {
      guard let (_, dtype) = SafetensorsDType.names.randomElement(using: &random) else { continue }
      var shape = (0..<Int.random(in: 0..<4, using: &random)).map { _ in Int.random(in: 0..<6, using: &random)
      }
      if dtype.isPacked { shape.append(8) }
      let keys: [Key] = ["é", "e\u{301}", "", Key("layer \(index % 3)"), "\"quoted\"\n", "😀"]
      var path = TreePath(
        (0..<Int.random(in: 0..<4, using: &random)).map { _ in
          keys[.random(in: 0..<keys.count, using: &random)]
        })
      path.keys.append(Key("t\(index)"))
      leaves.append((path: path, spec: .tensor(TensorSpec(dtype, Shape(shape)))))
    }
    return leaves
  }
}

@Suite struct WrittenBytesTests {
  @Test func `what is missing is what was not inserted, whatever the order and overlap`() {
    let seed = seedFromEnvironment() ?? UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    for _ in 0..<300 {
      let counts = (0..<4).map { _ in Int.random(in: 0..<40, using: &random) }
      var written = WrittenBytes(byteCounts: counts)
      var model = counts.map { [Bool](repeating: false, count: $0) }
      for _ in 0..<Int.random(in: 0..<60, using: &random) {
        let leaf = Int.random(in: 0..<4, using: &random)
        let begin = Int.random(in: 0...counts[leaf], using: &random)
        let end = Int.random(in: begin...min(counts[leaf], begin + 12), using: &random)
        written.insert(begin..<end, leaf: leaf)
        for index in begin..<end { model[leaf][index] = true }
      }
      var expected: [Int: ByteRange] = [:]
      for (leaf, bytes) in model.enumerated() {
        guard let begin = bytes.firstIndex(of: false) else { continue }
        expected[leaf] = ByteRange(
          offset: begin, count: (bytes[begin...].firstIndex(of: true) ?? bytes.count) - begin)
      }
      let missing = Dictionary(uniqueKeysWithValues: written.missing.map { ($0.leaf, $0.range) })
      #expect(missing == expected, "GRAFT_TEST_SEED=\(seed)")
    }
  }
}
