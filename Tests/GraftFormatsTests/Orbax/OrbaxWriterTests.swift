import GraftCodec
import GraftCore
import GraftFormats
import GraftIO
import GraftTestSupport
import Testing

/// A tensor that is written: its spec, and its elements in row-major order, those of less than a byte in a byte each.
private struct Content {
  var spec: TensorSpec
  var elements: [UInt8]

  init(_ dtype: DType, _ shape: Shape, using generator: inout SeededGenerator) {
    spec = TensorSpec(dtype, shape)
    let mask: UInt8 = dtype == .bool ? 1 : dtype.isPacked ? UInt8((1 << dtype.bitWidth) - 1) : 0xFF
    // Some repeat, so that compressors have something to do.
    let repeats = Bool.random(using: &generator)
    elements = (0..<spec.elementCount * max(1, dtype.bitWidth / 8)).map { index in
      (repeats ? UInt8(truncatingIfNeeded: index / 50) : .random(in: 0...255, using: &generator)) & mask
    }
  }
}

private let dtypes = DType.allCases.filter { (try? ZarrVersion.version3.dtypeName(of: $0)) != nil }

private func give(
  _ bytes: [UInt8], to writer: OrbaxWriter, leaf: Int, byteOffset: Int
) throws(GraftError) {
  try writer.write(bytes.span.bytes, leaf: leaf, byteOffset: byteOffset)
}

private func write(
  _ contents: [Content], with writer: OrbaxWriter, order: (Int) -> [Int] = { Array(0..<$0) }
) throws(GraftError) {
  for (leaf, array) in writer.plan.arrays.enumerated() {
    let chunks = naiveChunks(of: contents[leaf].elements, array.spec, chunkShape: array.chunkShape)
    for number in order(chunks.count) {
      try give(chunks[number], to: writer, leaf: leaf, byteOffset: number * array.chunkByteCount)
    }
  }
}

private func open(_ path: String) async throws -> Catalog { try await FormatRegistry.standard.open(path) }

private func options(_ change: (inout OrbaxPlan.Options) -> Void) -> OrbaxPlan.Options {
  var options = OrbaxPlan.Options()
  change(&options)
  return options
}

private let compressions: [Compression] = [
  .none, .zstd(level: 1), .zstd(), .zstdEntropyOnly, .blosc(), .bloscEntropyOnly,
]

struct OrbaxWriterTests {
  @Test(arguments: seedBatches(40))
  func `what is written is what is read, whatever the options`(batch: UInt64) async throws {
    let seed = seedFromEnvironment() ?? (0x0B + batch)
    var generator = SeededGenerator(seed: seed)
    let folder = TemporaryFolder()
    let chosen = options { options in
      if Bool.random(using: &generator) { options.version = .version0 }
      options.zarrVersion = [nil, .version2, .version3].randomElement(using: &generator)!
      options.usesDatabase = Int.random(in: 0..<4, using: &generator) > 0
      options.compression = compressions.randomElement(using: &generator)!
      options.hasChecksums = Bool.random(using: &generator)
      options.chunks.byteCountLimit = [8, 100, 1_000, 4 << 20].randomElement(using: &generator)!
      if Bool.random(using: &generator) { options.chunks.cuts = [.init(axis: -1, partCount: 2)] }
      options.dataFileByteCount = [1, 500, 1 << 30].randomElement(using: &generator)!
    }
    let contents = (0..<Int.random(in: 1...6, using: &generator)).map { _ in
      let shape = Shape(
        (0..<Int.random(in: 0...4, using: &generator)).map { _ in Int.random(in: 0...9, using: &generator) })
      return Content(dtypes.randomElement(using: &generator)!, shape, using: &generator)
    }
    var specs = contents.map(\.spec).makeIterator()
    var leaves: [(key: Key, value: Tree<OrbaxPlan.Leaf>)] = []
    while let spec = specs.next() {
      var inner: [Tree<OrbaxPlan.Leaf>] = [.leaf(.tensor(spec)), .leaf(.string("text \(leaves.count)"))]
      if let next = specs.next() { inner.append(.dictionary([(key: "k", value: .leaf(.tensor(next)))])) }
      leaves.append((key: Key("a\(leaves.count)"), value: .list(inner)))
    }
    let tree = Tree.dictionary(leaves + [(key: "none", value: .empty), (key: "empty", value: .list([]))])
    let writer = try OrbaxWriter(at: folder.path("c"), OrbaxPlan(tree, options: chosen))
    try write(contents, with: writer) { Array(0..<$0).shuffled(using: &generator) }
    try await writer.finish()

    let catalog = try await open(folder.path("c"))
    let expected: Tree<LeafSpec> = tree.mapLeaves { _, leaf in
      leaf.spec.map { .leaf(.tensor($0)) } ?? .leaf(.string)
    }
    #expect(catalog.tree.mapLeaves { .leaf($1.spec) } == expected, "seed \(seed)")
    for (array, content) in zip(writer.plan.arrays, contents) {
      guard case .tensor(let spec, let layout, _)? = catalog.tree[at: array.path].leaf else {
        Issue.record("seed \(seed): \(array.path) is no tensor")
        continue
      }
      #expect(
        try naiveRead(spec, layout, files: catalog.files) == content.elements, "seed \(seed), \(array.path)")
      #expect(layout.chunkShape == array.chunkShape, "seed \(seed)")
    }
    #expect(folder.names == ["c"], "seed \(seed)")
  }

  @Test func `chunks that come from several threads at once, and twice, are all there`() async throws {
    var generator = SeededGenerator(seed: 5)
    let folder = TemporaryFolder()
    let contents = (0..<4).map { _ in Content(.float32, [64, 32], using: &generator) }
    let tree: Tree<OrbaxPlan.Leaf> = .list(contents.map { .leaf(.tensor($0.spec)) })
    let plan = try OrbaxPlan(
      tree,
      options: options {
        $0.chunks.byteCountLimit = 256
        $0.dataFileByteCount = 4_000
      })
    let writer = try await OrbaxWriter.begin(at: folder.path("c"), plan)
    let copies = contents
    try await withThrowingTaskGroup(of: Void.self) { group in
      for thread in 0..<4 {
        group.addTask {
          try write(copies, with: writer) { count in (0..<count).map { ($0 + thread * count / 4) % count } }
        }
      }
      try await group.waitForAll()
    }
    try await writer.finish()
    let catalog = try await open(folder.path("c"))
    for (leaf, content) in zip(catalog.tree.leaves, contents) {
      guard case .tensor(let spec, let layout, _) = leaf.leaf else { continue }
      #expect(try naiveRead(spec, layout, files: catalog.files) == content.elements)
    }
    // What was given twice is stored once.
    let stored = catalog.tree.leaves.reduce(0) { sum, leaf in
      if case .tensor(_, let layout, _) = leaf.leaf {
        sum + layout.chunks.compactMap(\.stored).reduce(0) { $0 + $1.range.count }
      } else {
        sum
      }
    }
    let onDisk = catalog.files.reduce(0) { $0 + $1.byteCount }
    #expect(onDisk == stored && catalog.files.count > 2)
  }

  @Test func `chunks as they are lie at multiples of a page`() async throws {
    var generator = SeededGenerator(seed: 6)
    let folder = TemporaryFolder()
    let content = Content(.uint8, [3, 1 << 20], using: &generator)
    let tree: Tree<OrbaxPlan.Leaf> = ["w": .leaf(.tensor(content.spec))]
    let writer = try OrbaxWriter(
      at: folder.path("c"),
      OrbaxPlan(
        tree,
        options: options {
          $0.compression = .none
          $0.chunks.byteCountLimit = 1 << 20
        }))
    try write([content], with: writer)
    try await writer.finish()
    let catalog = try await open(folder.path("c"))
    guard case .tensor(_, let layout, _)? = catalog.tree["w"].leaf else {
      throw GraftError(.corrupt, "no tensor")
    }
    #expect(layout.chunks.compactMap(\.stored?.range.offset).map { $0 % 4_096 } == [0, 0, 0])
  }

  @Test func `small chunks lie in the nodes, and a tree without arrays has no data`() async throws {
    let folder = TemporaryFolder()
    let tree: Tree<OrbaxPlan.Leaf> = [
      "step": .leaf(.tensor(TensorSpec(.int64, []), .scalar)), "n": .leaf(.string("x")),
    ]
    let writer = try OrbaxWriter(at: folder.path("c"), OrbaxPlan(tree))
    try give([7, 0, 0, 0, 0, 0, 0, 0], to: writer, leaf: 0, byteOffset: 0)
    try await writer.finish()
    let catalog = try await open(folder.path("c"))
    #expect(catalog.files.isEmpty)
    guard case .tensor(let spec, let layout, _)? = catalog.tree["step"].leaf else {
      throw GraftError(.corrupt, "no tensor")
    }
    #expect(try naiveRead(spec, layout, files: []) == [7, 0, 0, 0, 0, 0, 0, 0])

    let strings = try OrbaxWriter(at: folder.path("s"), OrbaxPlan(["n": .leaf(.string("x"))]))
    try await strings.finish()
    #expect(try await open(folder.path("s")).tree["n"].leaf == .string("x"))
  }

  @Test func `custom metadata and times are there to be read`() async throws {
    let folder = TemporaryFolder()
    let plan = try OrbaxPlan(
      ["n": .leaf(.string("x"))],
      options: options { $0.customMetadata = [.init("note", "mine"), .init("list", [1, 2.5])] })
    try await OrbaxWriter(at: folder.path("c"), plan).finish()
    let catalog = try await open(folder.path("c"))
    #expect(catalog.userMetadata.map(\.key) == ["note", "list"])
    #expect(catalog.userMetadata.map(\.value) == ["mine", "[1,2.5]"])
    #expect(catalog.metadata.contains { $0.key == "commit_timestamp_nsecs" && Int($0.value) ?? 0 > 1 << 60 })
  }

  @Test func `what the source said of a leaf is kept`() async throws {
    let folder = TemporaryFolder()
    let sharding = #"{"sharding_type": "SingleDeviceSharding", "device_str": "cpu:0"}"#
    let leaves: [(key: Key, kind: OrbaxPlan.ArrayKind)] = [
      ("step", .scalar), ("w", .numpy), ("x", .jax(sharding: sharding)),
      ("key", .jax(sharding: sharding, randomKey: "threefry2x32")),
    ]
    let tree = Tree<OrbaxPlan.Leaf>.dictionary(
      leaves.map {
        (key: $0.key, value: .leaf(.tensor(TensorSpec(.uint32, $0.key == "step" ? [] : [2]), $0.kind)))
      })
    let writer = try OrbaxWriter(at: folder.path("c"), OrbaxPlan(tree))
    for (leaf, array) in writer.plan.arrays.enumerated() {
      try give([UInt8](repeating: 1, count: array.spec.byteCount), to: writer, leaf: leaf, byteOffset: 0)
    }
    try await writer.finish()
    let catalog = try await open(folder.path("c"))
    for (key, kind) in leaves {
      #expect(
        OrbaxPlan.ArrayKind(leafMetadata: catalog.leafMetadata[TreePath([key])] ?? [:]) == kind, "\(key)")
    }
  }

  // MARK: - Refusals

  private func code(_ body: () async throws -> Void) async -> (GraftError.Code, String)? {
    do {
      try await body()
      return nil
    } catch let error as GraftError {
      return (error.code, "\(error)")
    } catch {
      return nil
    }
  }

  @Test func `missing chunks are an error that names the leaves, and can still be written`() async throws {
    var generator = SeededGenerator(seed: 7)
    let folder = TemporaryFolder()
    let contents = (0..<2).map { _ in Content(.uint8, [100], using: &generator) }
    let tree: Tree<OrbaxPlan.Leaf> = [
      "a": .leaf(.tensor(contents[0].spec)), "b": .leaf(.tensor(contents[1].spec)),
    ]
    let plan = try OrbaxPlan(tree, options: options { $0.chunks.byteCountLimit = 10 })
    let writer = try OrbaxWriter(at: folder.path("c"), plan)
    try write(contents, with: writer) { Array(0..<$0 - 1) }
    let failure = await code { try await writer.finish() }
    #expect(failure?.0 == .truncated)
    for part in ["leaf a", "the first of 2 leaves", "leaf b", "10 chunks", "9, and none of number 9"] {
      #expect(failure?.1.contains(part) == true, "\(part)")
    }
    #expect(FileManagerNames.visible(folder) == [])
    try write(contents, with: writer)
    try await writer.finish()
    #expect(FileManagerNames.visible(folder) == ["c"])
    let again = await code { try await writer.finish() }
    #expect(again?.0 == .invalidArgument)
  }

  @Test func `bytes that are not whole chunks of a leaf are refused`() async throws {
    let folder = TemporaryFolder()
    let plan = try OrbaxPlan(
      ["a": .leaf(.tensor(TensorSpec(.uint8, [100]))), "z": .leaf(.tensor(TensorSpec(.uint8, [0])))],
      options: options { $0.chunks.byteCountLimit = 10 })
    let writer = try OrbaxWriter(at: folder.path("c"), plan)
    for (count, leaf, offset) in [
      (9, 0, 0), (10, 0, 5), (10, 0, 100), (20, 0, 90), (10, 0, -10), (10, 0, Int.max - 7), (10, 7, 0),
      (10, -1, 0),
      (10, 1, 0),
    ] {
      let failure = await code {
        try give([UInt8](repeating: 1, count: count), to: writer, leaf: leaf, byteOffset: offset)
      }
      #expect(failure?.0 == .invalidArgument, "\(count) bytes of leaf \(leaf) from \(offset)")
    }
    writer.abandon()
    let late = await code {
      try give([UInt8](repeating: 1, count: 10), to: writer, leaf: 0, byteOffset: 0)
    }
    #expect(late?.0 == .invalidArgument)
    #expect(folder.names == [])
  }

  @Test func `nothing is left behind by a writer that is dropped`() throws {
    let folder = TemporaryFolder()
    do { _ = try OrbaxWriter(at: folder.path("c"), OrbaxPlan(["n": .leaf(.string("x"))])) }
    #expect(folder.names == [])
  }

  @Test func `names that Orbax cannot tell apart are refused before anything is made`() {
    let array = Tree<OrbaxPlan.Leaf>.leaf(.tensor(TensorSpec(.uint8, [1])))
    for (tree, inFolders) in [
      (["a.b": array, "a": ["b": array]] as Tree<OrbaxPlan.Leaf>, false),
      (["a": [.leaf(.string("x"))], "a.0": array], false),
      (["a": array, "a/c": array], true), (["_METADATA": ["x": array], "_METADATA/y": array], true),
    ] {
      do throws(GraftError) {
        _ = try OrbaxPlan(tree, options: options { $0.usesDatabase = !inFolders })
        Issue.record("\(tree) was taken")
      } catch { #expect(error.code == .collision) }
    }
  }

  @Test func `what Orbax or a limit cannot take is refused`() {
    func code(_ leaf: TensorSpec, _ change: (inout OrbaxPlan.Options) -> Void = { _ in }) -> GraftError.Code?
    {
      do throws(GraftError) {
        _ = try OrbaxPlan(["a": .leaf(.tensor(leaf))], options: options(change))
        return nil
      } catch {
        #expect(error.leaf == "a")
        return error.code
      }
    }
    #expect(code(TensorSpec(.uint4, [1])) == .unsupported)
    #expect(code(TensorSpec(.float32, [1])) { $0.compression = .zstd(level: 99) } == .invalidArgument)
    #expect(
      code(TensorSpec(.uint8, [100])) {
        $0.chunks.byteCountLimit = 1; $0.limits.chunkCount = 99
      } == .limitExceeded)
    #expect(code(TensorSpec(.uint8, [Int.max])) == .limitExceeded)
    #expect(code(TensorSpec(.int4, [Int.max / 8])) { $0.chunks.byteCountLimit = .max } == nil)
  }

  @Test func `only an Orbax checkpoint is replaced`() async throws {
    let folder = TemporaryFolder()
    func save(_ text: String, overwriting: Bool) async throws {
      let plan = try OrbaxPlan(
        ["n": .leaf(.string(text))], options: options { $0.isOverwriting = overwriting })
      try await OrbaxWriter.begin(at: folder.path("c"), plan).finish()
    }
    try await save("1", overwriting: false)
    #expect(await code { try await save("2", overwriting: false) }?.0 == .destinationExists)
    try await save("3", overwriting: true)
    #expect(try await open(folder.path("c")).tree["n"].leaf == .string("3"))
    try folder.write("c/notes.txt", [1])
    let failure = await code { try await save("4", overwriting: true) }
    #expect(failure?.0 == .destinationExists && failure?.1.contains("notes.txt") == true)
    let other = TemporaryFolder()
    try other.write("c/letters/one", [1])
    let plan = try OrbaxPlan(["n": .leaf(.string("x"))], options: options { $0.isOverwriting = true })
    #expect(await code { _ = try OrbaxWriter(at: other.path("c"), plan) }?.0 == .destinationExists)
    #expect(try other.bytes("c/letters/one") == [1])
    let temporary = await code { _ = try OrbaxWriter(at: other.path("x.orbax-checkpoint-tmp"), plan) }
    #expect(temporary?.0 == .invalidArgument)
  }
}

private enum FileManagerNames {
  /// The names of a folder that do not begin with a dot.
  static func visible(_ folder: TemporaryFolder) -> [String] { folder.names.filter { !$0.hasPrefix(".") } }
}
