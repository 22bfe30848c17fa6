import GraftCore
import GraftFormats
import GraftIO
import GraftTestSupport
import Testing

/// A database in memory: values in files of their own, nodes in another.
private struct BuiltDatabase {
  var manifest: [UInt8] = []
  var nodes: [UInt8] = []
  var nodeCount = 0

  init(_ entries: [OCDBTReader.Entry], nodeByteCountLimit: Int) throws(GraftError) {
    var nodes: [UInt8] = []
    var nodeCount = 0
    manifest = try OCDBTBuilder.build(
      entries, commitTime: 99, nodeByteCountLimit: nodeByteCountLimit
    ) { bytes throws(GraftError) in
      defer {
        nodes += bytes
        nodeCount += 1
      }
      return OCDBTReference(
        file: OCDBTFile(path: "d/nodes"), range: ByteRange(offset: nodes.count, count: bytes.count))
    }
    self.nodes = nodes
    self.nodeCount = nodeCount
  }

  var folder: MemoryFolder { MemoryFolder(["manifest.ocdbt": manifest, "d/nodes": nodes]) }

  func reader() async throws(GraftError) -> OCDBTReader { try await OCDBTReader(opening: folder) }
}

private func randomEntries(_ generator: inout SeededGenerator) -> [OCDBTReader.Entry] {
  let alphabet = Array("ab/.0\u{FF}".utf8)
  let files = ["d/0", "d/1", "ocdbt.process_0/d/é", "ocdbt.process_0/d/e\u{301}", "other/x"]
  var values: [[UInt8]: OCDBTValue] = [:]
  for _ in 0..<Int.random(in: 0...400, using: &generator) {
    // Long shared beginnings, as arrays' names have.
    let beginning = [[], Array("params.layer1".utf8), Array("params.layer10.kernel/c/".utf8)]
      .randomElement(using: &generator)!
    let key =
      beginning
      + (0..<Int.random(in: 0...6, using: &generator)).map { _ in alphabet.randomElement(using: &generator)! }
    if Bool.random(using: &generator) {
      values[key] = .inline(
        (0..<Int.random(in: 0...40, using: &generator)).map { _ in
          UInt8.random(in: 0...255, using: &generator)
        }
      )
    } else {
      values[key] = .stored(
        OCDBTReference(
          file: OCDBTFile(path: files.randomElement(using: &generator)!),
          range: ByteRange(
            offset: Int.random(in: 0...1 << 40, using: &generator),
            count: Int.random(in: 0...1 << 30, using: &generator))))
    }
  }
  return values.map { OCDBTReader.Entry(key: $0.key, value: $0.value) }.sorted {
    $0.key.lexicographicallyPrecedes($1.key)
  }
}

struct OCDBTBuilderTests {
  @Test(arguments: seedBatches(200))
  func `what is built is what is read, however small the nodes are`(batch: UInt64) async throws {
    let seed = seedFromEnvironment() ?? (0x0CDB + batch)
    var generator = SeededGenerator(seed: seed)
    let entries = randomEntries(&generator)
    let limit = [1, 40, 100, 1_000, OCDBTBuilder.nodeByteCountLimit].randomElement(using: &generator)!
    let database = try BuiltDatabase(entries, nodeByteCountLimit: limit)
    let reader = try await database.reader()
    #expect(try await reader.entries() == entries, "seed \(seed)")
    #expect(reader.manifest.newest?.keyCount == UInt64(entries.count), "seed \(seed)")
    for prefix in ["a", "params.layer1", "params.layer10.kernel/c/0"] {
      let expected = entries.filter { $0.key.starts(with: Array(prefix.utf8)) }
      #expect(try await reader.entries(withPrefix: Array(prefix.utf8)) == expected, "seed \(seed), \(prefix)")
    }
  }

  @Test func `a database without keys has no root`() async throws {
    let database = try BuiltDatabase([], nodeByteCountLimit: 100)
    let reader = try await database.reader()
    #expect(reader.manifest.newest?.root == nil)
    #expect(try await reader.entries().isEmpty)
    #expect(database.nodes.isEmpty)
  }

  @Test func `nodes keep within their size, and no level is higher than it must be`() async throws {
    let entries = (0..<20_000).map { number in
      let key = "params.layer\(100_000 + number).kernel/zarr.json"
      return OCDBTReader.Entry(key: Array(key.utf8), value: .inline([UInt8](repeating: 1, count: 100)))
    }
    let database = try BuiltDatabase(entries, nodeByteCountLimit: 10_000)
    let reader = try await database.reader()
    #expect(reader.manifest.newest?.rootHeight == 2)
    // 160 bytes each are 62 in a node.
    #expect((300...450).contains(database.nodeCount))
    #expect(try await reader.entries() == entries)
  }

  @Test func `what repeats is compressed, but not beyond what a reader believes`() async throws {
    let text = Array(#"{"zarr_format":3,"node_type":"array","shape":[2,4],"data_type":"bfloat16"}"#.utf8)
    let arrays = (0..<2_000).map { number in
      OCDBTReader.Entry(key: Array("layer\(10_000 + number)/zarr.json".utf8), value: .inline(text))
    }
    let compressed = try BuiltDatabase(arrays, nodeByteCountLimit: OCDBTBuilder.nodeByteCountLimit)
    #expect(compressed.nodes.count < arrays.count * text.count / 10)
    #expect(try await compressed.reader().manifest.configuration.compression == .zstd(level: 0))
    #expect(try await compressed.reader().entries() == arrays)
    // One chunk over and over: nothing but a digit differs, in more entries than any database may have in so few bytes.
    let same = OCDBTValue.stored(
      OCDBTReference(file: OCDBTFile(path: "d/linked-0"), range: ByteRange(offset: 8, count: 4096)))
    let tiled = (0..<300_000).map { number in
      OCDBTReader.Entry(key: Array("x/c/\(1_000_000 + number)".utf8), value: same)
    }
    let repeated = try BuiltDatabase(tiled, nodeByteCountLimit: OCDBTBuilder.nodeByteCountLimit)
    #expect(OCDBTReader.entryCountLimit(storedByteCount: repeated.nodes.count) >= tiled.count)
    #expect(try await repeated.reader().entries() == tiled)
  }

  @Test func `a value too long for a node is put into a data file`() async throws {
    let long = [UInt8](repeating: 5, count: 1 << 20 + 1)
    let database = try BuiltDatabase(
      [OCDBTReader.Entry(key: [1], value: .inline(long))], nodeByteCountLimit: 100)
    let entries = try await database.reader().entries()
    let value = OCDBTValue.stored(
      OCDBTReference(file: OCDBTFile(path: "d/nodes"), range: ByteRange(offset: 0, count: long.count)))
    #expect(entries == [OCDBTReader.Entry(key: [1], value: value)])
  }

  @Test func `what cannot be read again is refused`() {
    func build(_ entries: [OCDBTReader.Entry]) throws(GraftError) {
      _ = try BuiltDatabase(entries, nodeByteCountLimit: 1_000)
    }
    let value = OCDBTValue.inline([1])
    let twice = OCDBTReader.Entry(key: [1], value: value)
    #expect(throws: GraftError.self) { try build([twice, twice]) }
    do throws(GraftError) { try build([twice, twice]) } catch { #expect(error.code == .collision) }
    let tooLong = OCDBTReader.Entry(key: [UInt8](repeating: 1, count: 65_536), value: value)
    do throws(GraftError) {
      try build([tooLong])
      Issue.record("a key of 65,536 bytes was taken")
    } catch { #expect(error.code == .limitExceeded) }
    for path in ["", "/etc/passwd", "d/../../x"] {
      let outside = OCDBTReference(file: OCDBTFile(path: path), range: ByteRange(offset: 0, count: 1))
      do throws(GraftError) {
        try build([OCDBTReader.Entry(key: [1], value: .stored(outside))])
        Issue.record("the path \(path) was taken")
      } catch { #expect(error.code == .invalidArgument) }
    }
  }
}
