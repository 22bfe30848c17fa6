import GraftCodec
import GraftCore
import GraftFormats
import GraftIO
import GraftTestSupport
import Testing

private let databases = ["plain", "zstd", "empty", "high", "versions", "numbered", "joined"]

struct OCDBTReaderTests {
  private func folder(_ name: String) -> LocalFolder { LocalFolder(Fixture.path("ocdbt/\(name)")) }

  /// What TensorStore reads: key, byte count and SHA-256 of the value.
  private func expected(_ name: String) throws -> [(key: [UInt8], count: Int, digest: String)] {
    let index = try JSONValue(parsing: Fixture.bytes("ocdbt/index.json"))
    return try #require(index[name]?.elements).map { entry in
      let entry = try #require(entry.elements)
      return (
        bytes(hexadecimal: try #require(entry[0].text)), try #require(entry[1].integer),
        try #require(entry[2].text)
      )
    }
  }

  @Test(arguments: databases)
  func `TensorStore's keys and values are all there`(name: String) async throws {
    let folder = folder(name)
    let entries = try await OCDBTReader(opening: folder).entries()
    let expected = try expected(name)
    #expect(entries.map(\.key) == expected.map(\.key))
    for (entry, expected) in zip(entries, expected) {
      let value: [UInt8]
      switch entry.value {
      case .inline(let bytes): value = bytes
      case .stored(let reference):
        value = try await folder.source(at: reference.file.path).read(reference.range)
      }
      #expect(value.count == expected.count)
      #expect(sha256(value) == expected.digest)
    }
  }

  @Test func `the databases have the shapes that they are for`() async throws {
    #expect(try await OCDBTReader(opening: folder("high")).manifest.newest?.rootHeight ?? 0 >= 5)
    #expect(try await OCDBTReader(opening: folder("empty")).manifest.newest?.root == nil)
    #expect(try await OCDBTReader(opening: folder("versions")).manifest.versionNodes.map(\.height) == [2, 1])
    let joined = try await OCDBTReader(opening: folder("joined")).entries()
    let files = Set(
      joined.compactMap {
        if case .stored(let reference) = $0.value { reference.file.path.prefix(8) } else { nil }
      })
    #expect(files == ["part0/d/", "part1/d/"])
  }

  @Test func `nodes of the version tree lead to all versions`() async throws {
    let folder = folder("versions")
    let manifest = try await OCDBTReader(opening: folder).manifest
    var generations = manifest.versions.map(\.generation)
    var pending = manifest.versionNodes
    while let reference = pending.popLast() {
      let bytes = try await folder.source(at: reference.node.file.path).read(reference.node.range)
      let node = try OCDBTVersionNode(bytes, base: reference.node.file.base, height: reference.height)
      switch node.content {
      case .versions(let versions): generations += versions.map(\.generation)
      case .nodes(let nodes): pending += nodes
      }
    }
    #expect(generations.sorted() == Array(1...10))
  }

  @Test(arguments: ["layer0.", "layer3.kernel/c/", "layer99.kernel/c/6/699", "x", "", "layer"])
  func `a prefix gives its keys, and only its nodes are read`(prefix: String) async throws {
    let name = "high"
    let expected = try expected(name).filter { $0.key.starts(with: Array(prefix.utf8)) }
    let source = folder(name)
    let file = try #require(try await OCDBTReader(opening: source).manifest.newest?.root?.file.path)
    let manifest = try await source.source(at: "manifest.ocdbt")
    let data = try await source.source(at: file)
    let memory = MemoryFolder([
      "manifest.ocdbt": try await manifest.read(ByteRange(offset: 0, count: manifest.byteCount)),
      file: try await data.read(ByteRange(offset: 0, count: data.byteCount)),
    ])
    let reader = try await OCDBTReader(opening: memory)
    #expect(try await reader.entries(withPrefix: Array(prefix.utf8)).map(\.key) == expected.map(\.key))
    let reads = memory.reads[file] ?? []
    #expect(Set(reads).count == reads.count, "a node was read twice")
    if expected.count < 20 { #expect(reads.count <= 9 + expected.count) }
  }

  @Test func `a folder without a manifest is no database`() async throws {
    await #expect { try await OCDBTReader(opening: MemoryFolder(["a": []])) } throws: {
      ($0 as? GraftError)?.code == .notFound
    }
  }

  @Test func `a subtree that occurs twice is read once`() async throws {
    let leaf = OCDBTBytes.leaf([(0, "1"), (0, "2")])
    let root = OCDBTBytes.interior(
      height: 1, [("a", 1, 0, UInt64(leaf.count)), ("b", 1, 0, UInt64(leaf.count))])
    let memory = MemoryFolder([
      "manifest.ocdbt": OCDBTBytes.manifest(
        rootHeight: 1, offset: UInt64(leaf.count), length: UInt64(root.count)),
      "d/0": leaf + root,
    ])
    let entries = try await OCDBTReader(opening: memory).entries()
    #expect(entries.map { String(decoding: $0.key, as: UTF8.self) } == ["a1", "a2", "b1", "b2"])
    #expect(memory.reads["d/0"]?.count == 2)
  }

  @Test func `subtrees that multiply without end meet a limit`() async throws {
    // Forty levels of two children, both the same node: a trillion keys in four kilobytes.
    var file = OCDBTBytes.leaf([(0, "x")])
    var previous = (offset: 0, count: file.count)
    for height in 1...40 {
      let node = OCDBTBytes.interior(
        height: UInt8(height),
        ["a", "b"].map { ($0, 1, UInt64(previous.offset), UInt64(previous.count)) })
      previous = (file.count, node.count)
      file += node
    }
    let memory = MemoryFolder([
      "manifest.ocdbt": OCDBTBytes.manifest(
        rootHeight: 40, offset: UInt64(previous.offset), length: UInt64(previous.count)),
      "d/0": file,
    ])
    var limits = Limits()
    limits.metadataByteCount = 100_000
    let reader = try await OCDBTReader(opening: memory, limits: limits)
    await #expect { try await reader.entries() } throws: { ($0 as? GraftError)?.code == .limitExceeded }
  }

  @Test func `keys are at most as many as the bytes of their nodes allow`() async throws {
    // Three levels of a hundred children, all of a level the same node: a million keys in five kilobytes.
    var file = OCDBTBytes.leaf([(0, "x")])
    var previous = (offset: 0, count: file.count)
    for height in 1...3 {
      let node = OCDBTBytes.interior(
        height: UInt8(height),
        (10..<110).map { (String($0 + 100), 3, UInt64(previous.offset), UInt64(previous.count)) })
      previous = (file.count, node.count)
      file += node
    }
    let memory = MemoryFolder([
      "manifest.ocdbt": OCDBTBytes.manifest(
        rootHeight: 3, offset: UInt64(previous.offset), length: UInt64(previous.count)),
      "d/0": file,
    ])
    let reader = try await OCDBTReader(opening: memory)
    await #expect { try await reader.entries() } throws: { ($0 as? GraftError)?.code == .limitExceeded }
    #expect(OCDBTReader.entryCountLimit(storedByteCount: file.count) < 200_000)
    #expect(OCDBTReader.entryCountLimit(storedByteCount: 4_000_000) > 10_000_000)
    #expect(OCDBTReader.entryCountLimit(storedByteCount: .max) == OCDBTReader.entryCountLimit)
  }

  @Test(
    arguments: [
      ("a node of another height", [("a", 1, 0)], "height"),
      ("keys of siblings that overlap", [("a", 0, 0), ("b", 0, 0)], "ascending"),
      ("a first key below the parent's", [("zz", 0, 0)], "below"),
    ] as [(String, [(key: String, prefix: UInt64, offset: UInt64)], String)])
  func `what nodes promise each other is checked`(
    name: String, children: [(key: String, prefix: UInt64, offset: UInt64)], word: String
  ) async throws {
    let leaf = OCDBTBytes.leaf([(0, "m"), (0, "n")], height: word == "height" ? 3 : 0)
    let root = OCDBTBytes.interior(
      height: 1, children.map { ($0.key, $0.prefix, $0.offset, UInt64(leaf.count)) })
    let memory = MemoryFolder([
      "manifest.ocdbt": OCDBTBytes.manifest(
        rootHeight: 1, offset: UInt64(leaf.count), length: UInt64(root.count)),
      "d/0": leaf + root,
    ])
    let reader = try await OCDBTReader(opening: memory)
    await #expect { try await reader.entries() } throws: { error in
      guard let error = error as? GraftError else { return false }
      return error.code == .corrupt && error.message.contains(word) && error.file == "memory/d/0"
        && error.range != nil
    }
  }

  @Test(arguments: ["plain", "zstd", "high", "joined"])
  func `flipped bits in manifest and nodes are always an error`(name: String) async throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 41)
    let source = folder(name)
    let reader = try await OCDBTReader(opening: source)
    let root = try #require(reader.manifest.newest?.root)
    let manifest = Fixture.bytes("ocdbt/\(name)/manifest.ocdbt")
    let data = Fixture.bytes("ocdbt/\(name)/\(root.file.path)")
    let node = Array(data[root.range.offset..<root.range.end])
    let height = try #require(reader.manifest.newest?.rootHeight)
    for _ in 0..<200 {
      func flipped(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        return bytes
      }
      #expect(throws: OCDBTFailure.self, "seed \(random.seed)") { try OCDBTManifest(flipped(manifest)) }
      #expect(throws: OCDBTFailure.self, "seed \(random.seed)") {
        try OCDBTNode(flipped(node), base: "", height: height)
      }
      let cut = Int.random(in: 0..<node.count, using: &random)
      #expect(throws: OCDBTFailure.self) { try OCDBTNode(Array(node[..<cut]), base: "", height: height) }
    }
  }

  @Test(arguments: ["plain", "high", "joined", "versions"])
  func `hostile bodies with a right checksum never trap`(name: String) async throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 42)
    let reader = try await OCDBTReader(opening: folder(name))
    let version = try #require(reader.manifest.newest)
    let root = try #require(version.root)
    let manifest = Fixture.bytes("ocdbt/\(name)/manifest.ocdbt")
    let data = Fixture.bytes("ocdbt/\(name)/\(root.file.path)")
    let node = Array(data[root.range.offset..<root.range.end])
    func body(_ bytes: [UInt8]) throws -> [UInt8] {
      let content = Array(bytes[14..<bytes.count - 4])
      return bytes[13] == 0 ? content : try ZstdDecoder.decodeAll(content.span.bytes, byteCountLimit: 1 << 20)
    }
    for (magic, original) in [
      (OCDBTBytes.manifestMagic, try body(manifest)), (OCDBTBytes.nodeMagic, try body(node)),
    ] {
      for _ in 0..<400 {
        var hostile = original
        for _ in 0..<Int.random(in: 1...3, using: &random) {
          let index = Int.random(in: 0..<hostile.count, using: &random)
          switch Int.random(in: 0..<4, using: &random) {
          case 0: hostile[index] = 0xFF
          case 1: hostile[index] = UInt8.random(in: 0...255, using: &random)
          case 2: hostile.remove(at: index)
          default: hostile.insert(UInt8.random(in: 0...255, using: &random), at: index)
          }
        }
        let bytes = OCDBTBytes.envelope(magic, hostile)
        if magic == OCDBTBytes.manifestMagic {
          _ = try? OCDBTManifest(bytes)
        } else {
          _ = try? OCDBTNode(bytes, base: root.file.base, height: version.rootHeight)
        }
      }
    }
  }
}
