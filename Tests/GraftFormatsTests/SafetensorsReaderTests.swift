import GraftCore
import GraftFormats
import Testing

@Suite struct SafetensorsReaderTests {
  /// A file of one-byte tensors with these names.
  static func file(_ names: [String], metadata: String = "") -> [UInt8] {
    var entries = names.enumerated().map { index, name in
      var quoted = JSONWriter()
      quoted.string(name)
      return #"\#(quoted.string):{"dtype":"U8","shape":[1],"data_offsets":[\#(index),\#(index + 1)]}"#
    }
    if !metadata.isEmpty { entries.insert(#""__metadata__":\#(metadata)"#, at: 0) }
    return safetensors("{\(entries.joined(separator: ","))}", dataByteCount: names.count)
  }

  @Test func `a small file is opened with one read, and no more than its beginning is read`() async throws {
    let small = MemoryByteSource(Self.file(["a", "b"]))
    _ = try await SafetensorsReader.catalog(of: small)
    #expect(small.reads == [ByteRange(offset: 0, count: small.byteCount)])

    // A mebibyte of data behind a short header: the first 256 KiB are all that is read.
    let header = #"{"a":{"dtype":"U8","shape":[1048576],"data_offsets":[0,1048576]}}"#
    let large = MemoryByteSource(safetensors(header, dataByteCount: 1 << 20))
    _ = try await SafetensorsReader.catalog(of: large)
    #expect(large.reads == [ByteRange(offset: 0, count: 256 << 10)])
  }

  @Test func `a header longer than the first read costs one more, of exactly the header`() async throws {
    let names = (0..<8_000).map { "layers.\($0).weight" }
    let source = MemoryByteSource(Self.file(names))
    let catalog = try await SafetensorsReader.catalog(of: source)
    let headerCount = source.byteCount - 8 - names.count
    #expect(
      source.reads == [ByteRange(offset: 0, count: 256 << 10), ByteRange(offset: 8, count: headerCount)])
    #expect(catalog.tree.leaves.count == 8_000)
    #expect(catalog.tree["layers"].childCount == 8_000)
  }

  @Test func `a header's length is not allocated before it is checked`() async throws {
    // 99,999,999 bytes are within the limit and beyond the file: nothing but the file's bytes is read.
    let source = MemoryByteSource(lengthField(99_999_999) + Array("{}".utf8))
    await #expect(throws: GraftError.self) { _ = try await SafetensorsReader.catalog(of: source) }
    #expect(source.reads == [ByteRange(offset: 0, count: 10)])
  }

  @Test func `names are split at dots, in the order of the file, and the stored name is kept`() async throws {
    let source = MemoryByteSource(
      Self.file(["b.x", "a", "b.w.0", "b.w.10", "b.w.2"], metadata: #"{"format":"pt"}"#))
    let catalog = try await SafetensorsReader.catalog(of: source)
    #expect(catalog.format == "safetensors")
    #expect(catalog.files == [StoredFile(path: "model.safetensors", byteCount: source.byteCount)])
    #expect(catalog.metadata.map(\.key) == ["format"] && catalog.metadata.map(\.value) == ["pt"])
    #expect(catalog.tree.leaves.map(\.path.description) == ["b/x", "b/w/0", "b/w/10", "b/w/2", "a"])
    let dataOffset = source.byteCount - 5
    #expect(
      catalog.tree["b"]["w"]["10"].leaf
        == .tensor(
          TensorSpec(.uint8, [1]),
          Layout(
            contiguous: TensorSpec(.uint8, [1]), file: 0, range: ByteRange(offset: dataOffset + 3, count: 1)),
          name: "b.w.10"
        ))
  }

  @Test func `names are kept whole when that is asked for`() async throws {
    let source = MemoryByteSource(Self.file(["a.b", "a", "a.b.c", ""]))
    let catalog = try await SafetensorsReader.catalog(of: source, naming: .whole)
    #expect(catalog.tree.children.map(\.key) == ["a.b", "a", "a.b.c", ""])
  }

  @Test func `splitting loses nothing: empty parts and both spellings of é stay`() async throws {
    let names = [".", "a..b", "c.", ".a", "caf\u{e9}", "cafe\u{301}", "a/b", "\\"]
    let catalog = try await SafetensorsReader.catalog(of: MemoryByteSource(Self.file(names)))
    let leaves = catalog.tree.leaves
    #expect(leaves.count == names.count)
    for (path, leaf) in leaves {
      guard case .tensor(_, _, let name) = leaf else { continue }
      #expect(Key(SafetensorsNaming.name(of: path)) == Key(name))
      #expect(SafetensorsNaming.nested.path(of: name) == path)
    }
    #expect(catalog.tree[at: TreePath(["a", "", "b"])].leaf != nil)
  }

  @Test(arguments: [
    (["a", "a.b"], "\"a\" and \"a.b\"", "a/b"), (["a.b", "a"], "\"a.b\" and \"a\"", "a"),
    (["x.y.z", "x.y"], "\"x.y.z\" and \"x.y\"", "x/y"),
    (["x.y", "q", "x.y.z.w"], "\"x.y\" and \"x.y.z.w\"", "x/y/z/w"),
  ]) func `a tensor where another has children is a collision that names both`(
    _ names: [String], _ both: String, _ leaf: String
  ) async throws {
    let error = try await #require(throws: GraftError.self) {
      try await SafetensorsReader.catalog(of: MemoryByteSource(Self.file(names)))
    }
    #expect(error.code == .collision)
    #expect(
      error.description
        == "The tensors \(both) cannot be in one tree: one is where the other has children. "
        + "In leaf \(leaf), file model.safetensors. Keep the names whole instead of splitting them at dots.")
  }

  @Test func `a name of too many parts is refused as a path and accepted whole`() async throws {
    let deep = MemoryByteSource(Self.file([String(repeating: ".", count: 60_000)]))
    let error = try await #require(throws: GraftError.self) { try await SafetensorsReader.catalog(of: deep) }
    #expect(error.code == .limitExceeded && error.expected == "at most 128 parts")
    #expect(try await SafetensorsReader.catalog(of: deep, naming: .whole).tree.leaves.count == 1)
    let deepest = MemoryByteSource(Self.file([String(repeating: ".", count: 127)]))
    #expect(try await SafetensorsReader.catalog(of: deepest).tree.leaves.first?.path.keys.count == 128)
  }

  @Test func `many names in any order make the tree that one by one assignment makes`() async throws {
    let names = (0..<500).map { "l\($0 % 7).m\($0 % 31).n\($0)" }.shuffled()
    let catalog = try await SafetensorsReader.catalog(of: MemoryByteSource(Self.file(names)))
    #expect(Set(catalog.tree.leaves.map { SafetensorsNaming.name(of: $0.path) }) == Set(names))
    #expect(catalog.tree.childCount == 7)
    #expect(Set(catalog.tree.children.flatMap { $0.value.children.map(\.key) }).count == 31)
  }

  @Test func `names of many parts count as nodes, so that a small file makes no huge tree`() async throws {
    let names = (0..<20).map { "\($0)" + String(repeating: ".", count: 100) }
    var limits = Limits()
    limits.leafCount = 1_000
    let source = MemoryByteSource(Self.file(names))
    let error = try await #require(throws: GraftError.self) {
      try await SafetensorsReader.catalog(of: source, limits: limits)
    }
    #expect(error.code == .limitExceeded && error.expected == "at most 1000 nodes")
    #expect(try await SafetensorsReader.catalog(of: source).tree.leaves.count == 20)
  }
}
