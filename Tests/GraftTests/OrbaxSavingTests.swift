import Foundation
import Graft
import Testing

/// Saves as Orbax, of checkpoints and of what is in memory; Tests/Interop has the real Orbax load such checkpoints.
@Suite struct OrbaxSavingTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// A tree of every kind of node.
  static func state() -> Tree<LeafValue> {
    [
      "params": [
        "kernel": .tensor(Tensor((0..<6_000).map { Float($0) * 0.5 }, shape: [60, 100])),
        "bias": .tensor(Tensor([Float](repeating: -0.25, count: 100))),
      ],
      "layers": [
        .tensor(Tensor([Int32(1), -2, 3], shape: [3, 1])), .empty,
        .tuple([.tensor(Tensor(scalar: Double.pi))]),
      ],
      "name": .string("a name/with é"), "nothing": .empty,
      "step": .tensor(Tensor(scalar: Int64(77))),
    ]
  }

  func same(_ found: Tree<LeafValue>, _ expected: Tree<LeafValue>) throws {
    #expect(
      found.leaves.map(\.path).sorted { "\($0)" < "\($1)" }
        == expected.leaves.map(\.path).sorted { "\($0)" < "\($1)" })
    for (path, leaf) in expected.leaves {
      switch leaf {
      case .tensor(let tensor): #expect(try found[at: path].tensor.contentEquals(tensor), "\(path)")
      case .string(let text): #expect(try found[at: path].string == text, "\(path)")
      case .placeholder: Issue.record("a placeholder is expected at \(path)")
      }
    }
  }

  func entries(_ path: String = "") throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path + "/" + path).sorted()
  }

  @Test func `what is in memory is saved with its structure, and a load of it is saved as it is`()
    async throws
  {
    let state = Self.state()
    let report = try await Checkpoint.save(
      state, to: folder.path + "/first", metadata: [(key: "by", value: "a test")])
    #expect(report.leafCount == 6)
    #expect(report.byteCount == 24_000 + 400 + 12 + 8 + 8)
    #expect(report.storedByteCount > 0 && report.storedByteCount < report.byteCount)
    #expect(report.reading.bytesRead == 0)
    let first = try await Checkpoint(at: folder.path + "/first")
    #expect(first.format == "orbax")
    let loaded = try await first.load()
    try same(loaded.tree, state)
    #expect(loaded.tree["nothing"].kind == .empty)
    #expect(loaded.tree["layers"].childCount == 3)

    try await Checkpoint.save(loaded.tree, to: folder.path + "/second")
    try same(try await Checkpoint(at: folder.path + "/second").load().tree, state)
    try await first.save(to: folder.path + "/third")
    let third = try await Checkpoint(at: folder.path + "/third")
    try same(try await third.load().tree, state)
    #expect(third.metadata.contains { $0.value.contains("a test") })
    #expect(try entries() == ["first", "second", "third"])
  }

  static let options: [OrbaxOptions] = {
    var small = OrbaxOptions()
    small.chunkByteCount = 256
    small.cuts = [OrbaxOptions.AxisCut("params/*", axis: -1, partCount: 3)]
    var old = OrbaxOptions()
    old.version = .version0
    old.compression = .blosc()
    var folders = small
    folders.usesDatabase = false
    folders.compression = .none
    folders.hasChecksums = false
    var entropy = OrbaxOptions()
    entropy.compression = .zstdEntropyOnly
    entropy.dataFileByteCount = 1
    return [small, old, folders, entropy]
  }()

  @Test(arguments: options)
  func `every way of writing is read back`(options: OrbaxOptions) async throws {
    let state = Self.state()
    var tuning = Tuning()
    tuning.budgetByteCount = 1 << 20
    try await Checkpoint.save(state, to: folder.path + "/saved", as: .orbax(options), tuning: tuning)
    let saved = try await Checkpoint(at: folder.path + "/saved")
    try same(try await saved.load().tree, state)
    // From one layout to another.
    try await saved.save(to: folder.path + "/again", as: .orbax(Self.options[0]), tuning: tuning)
    try same(try await Checkpoint(at: folder.path + "/again").load().tree, state)
  }

  @Test(arguments: [1 << 30, 12 << 20])
  func `large data files keep no more space than they have bytes`(fileByteCount: Int) async throws {
    // Past the length from which space is asked for in large steps.
    var bytes = [Int64](repeating: 0, count: 3 << 20)
    for index in stride(from: 0, to: bytes.count, by: 1001) { bytes[index] = Int64(index) }
    let state: Tree<LeafValue> = ["a": .tensor(Tensor(bytes, shape: [3 << 10, 1 << 10]))]
    var options = OrbaxOptions()
    options.compression = .none
    options.chunkByteCount = 1 << 20
    options.dataFileByteCount = fileByteCount
    try await Checkpoint.save(state, to: folder.path + "/saved", as: .orbax(options))
    try same(try await Checkpoint(at: folder.path + "/saved").load().tree, state)
    var sizes: [Int64] = []
    let files = try #require(FileManager.default.enumerator(atPath: folder.path + "/saved"))
    for case let name as String in files {
      var status = stat()
      #expect(stat(folder.path + "/saved/" + name, &status) == 0)
      guard status.st_mode & S_IFMT == S_IFREG else { continue }
      #expect(status.st_blocks * 512 < status.st_size + 1 << 20, "\(name)")
      if status.st_size > 1 << 20 { sizes.append(Int64(status.st_size)) }
    }
    #expect(sizes.count == (fileByteCount == 1 << 30 ? 1 : 3))
    #expect((24 << 20...25 << 20).contains(sizes.reduce(0, +)))
  }

  @Test func `a surgery is saved in chunks that are not the source's`() async throws {
    try await Checkpoint.save(Self.state(), to: folder.path + "/saved", as: .orbax(Self.options[0]))
    let surgery = try await Checkpoint(at: folder.path + "/saved").transform { tree in
      [
        "turned": tree["params"]["kernel"].transposed(), "name": tree["name"],
        "stack": .stack([tree["params"]["bias"], tree["params"]["bias"] * 2.0]), "free": .placeholder,
        "list": [.placeholder, tree["step"]],
      ]
    }
    let report = try await surgery.save(to: folder.path + "/result", as: .orbax(Self.options[0]))
    #expect(report.leafCount == 4)
    let result = try await Checkpoint(at: folder.path + "/result").load().tree
    #expect(!result.hasChild("free"))
    #expect(result["list"].childCount == 2)
    #expect(try result["list"][1].scalar(as: Int.self) == 77)
    #expect(
      try result["stack"].tensor.array(as: Float.self).suffix(100) == ArraySlice(repeating: -0.5, count: 100))
    let turned = try result["turned"].tensor.array(as: Float.self)
    #expect(turned[..<3] == [0, 50, 100])
    #expect(turned[60] == 0.5)
  }

  @Test func `a selection leaves out leaves of any kind`() async throws {
    try await Checkpoint.save(Self.state(), to: folder.path + "/saved")
    let saved = try await Checkpoint(at: folder.path + "/saved")
    try await saved.save(to: folder.path + "/part", selecting: Selection([.select(PathPattern("params/**"))]))
    #expect(try await Checkpoint(at: folder.path + "/part").tree.leaves.count == 2)
    let text = await #expect(throws: GraftError.self) {
      try await saved.save(to: folder.path + "/x.safetensors")
    }
    #expect(text?.code == .unsupported)
    #expect(text?.leaf == "name")
    let nothing = await #expect(throws: GraftError.self) {
      try await Checkpoint.save(["a": .leaf(.placeholder)] as Tree<LeafValue>, to: folder.path + "/none")
    }
    #expect(nothing?.code == .leafNotFound)
    #expect(try entries() == ["part", "saved"])
  }

  @Test func `steps go under a root, each once`() async throws {
    let root = folder.path + "/run"
    for step in [3, 20] {
      try await Checkpoint.save(["x": .tensor(Tensor([Int32(step)]))], to: root, step: step)
    }
    #expect(try entries("run") == ["20", "3"])
    #expect(try await Checkpoint(at: root).load().tree["x"].tensor.array(as: Int32.self) == [20])
    #expect(try await Checkpoint(at: root, step: "3").load().tree["x"].tensor.array(as: Int32.self) == [3])
    let again = await #expect(throws: GraftError.self) {
      try await Checkpoint.save(["x": .tensor(Tensor([Int32(0)]))], to: root, step: 3)
    }
    #expect(again?.code == .destinationExists)
    try await Checkpoint.save(["x": .tensor(Tensor([Int32(4)]))], to: root, step: 3, overwriting: true)
    #expect(try await Checkpoint(at: root, step: "3").load().tree["x"].tensor.array(as: Int32.self) == [4])
    for (step, format): (Int, SaveFormat) in [(-1, .orbax), (5, .safetensors)] {
      let wrong = await #expect(throws: GraftError.self) {
        try await Checkpoint.save(["x": .tensor(Tensor([Int32(0)]))], to: root, step: step, as: format)
      }
      #expect(wrong?.code == .invalidArgument)
    }
  }

  @Test func `impossible options and names are errors before anything is made`() async throws {
    var chunks = OrbaxOptions()
    chunks.chunkByteCount = 0
    var cut = OrbaxOptions()
    cut.cuts = [OrbaxOptions.AxisCut("**", axis: 0, partCount: 0)]
    var level = OrbaxOptions()
    level.compression = .zstd(level: 99)
    for options in [chunks, cut, level] {
      await #expect(throws: GraftError.self) {
        try await Checkpoint.save(Self.state(), to: folder.path + "/never", as: .orbax(options))
      }
    }
    let same = await #expect(throws: GraftError.self) {
      try await Checkpoint.save(
        ["a.b": .leaf(Tensor([Int32(1)])), "a": ["b": .leaf(Tensor([Int32(2)]))]] as Tree<Tensor>,
        to: folder.path + "/never")
    }
    #expect(same?.code == .collision)
    #expect(try entries() == [])
  }
}

@Suite struct BackgroundSaveTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// Memory of the test's own, into which a checkpoint is loaded and which is changed then.
  private final class Memory: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer
    init(_ byteCount: Int) { bytes = .allocate(byteCount: byteCount, alignment: Destination.alignment) }
    deinit { bytes.deallocate() }
  }

  @Test func `the save has what the tensors were, and the caller's memory may change meanwhile`() async throws
  {
    let values = (0..<200_000).map { Float($0) }
    try await Checkpoint.save(["w": .tensor(Tensor(values))], to: folder.path + "/source")
    let source = try await Checkpoint(at: folder.path + "/source")
    let memory = Memory(values.count * 4 + 64)
    let loaded = try await source.load(to: .memory(memory.bytes))
    let refused = await #expect(throws: GraftError.self) {
      _ = try await Checkpoint.beginSaving(loaded.tree, to: folder.path + "/copy", copyLimit: 1000)
    }
    #expect(refused?.code == .insufficientMemory)
    let save = try await Checkpoint.beginSaving(loaded.tree, to: folder.path + "/copy")
    memory.bytes.initializeMemory(as: UInt8.self, repeating: 0)
    let report = try await save.value()
    #expect(report.byteCount == values.count * 4)
    #expect(try await save.value().leafCount == 1)
    let copy = try await Checkpoint(at: save.path).load()
    #expect(try copy.tree["w"].tensor.array(as: Float.self) == values)
    withExtendedLifetime(memory) {}
  }

  @Test func `one name has one save at a time, and is free again afterwards`() async throws {
    let tree: Tree<Tensor> = ["w": .leaf(Tensor([Float](repeating: 1, count: 3_000_000)))]
    let path = folder.path + "/one"
    let first = try await Checkpoint.beginSaving(tree, to: path, as: .orbax(slow))
    let second = await #expect(throws: GraftError.self) {
      _ = try await Checkpoint.beginSaving(tree, to: folder.path + "//./one/", overwriting: true)
    }
    #expect(second?.code == .destinationExists)
    #expect(second?.message.contains("under way") == true)
    _ = try await first.value()
    let third = try await Checkpoint.beginSaving(tree, to: path, overwriting: true)
    _ = try await third.value()
  }

  /// Takes long enough for another call.
  private var slow: OrbaxOptions {
    var options = OrbaxOptions()
    options.compression = .zstd(level: 19)
    return options
  }

  @Test func `a save that is cancelled says so and leaves nothing, and one that nobody waits for completes`()
    async throws
  {
    let tree: Tree<Tensor> = [
      "w": .leaf(Tensor((0..<500_000).map { Int32(truncatingIfNeeded: $0 &* 0x9E37_79B1 >> 7) }))
    ]
    let cancelled = try await Checkpoint.beginSaving(tree, to: folder.path + "/cancelled", as: .orbax(slow))
    cancelled.cancel()
    let error = await #expect(throws: GraftError.self) { _ = try await cancelled.value() }
    #expect(error?.code == .cancelled)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)

    _ = try await Checkpoint.beginSaving(["w": .tensor(Tensor([Int32(7)]))], to: folder.path + "/alone")
    let deadline = ContinuousClock.now + .seconds(60)
    while !FileManager.default.fileExists(atPath: folder.path + "/alone"), ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(5))
    }
    #expect(
      try await Checkpoint(at: folder.path + "/alone").load().tree["w"].tensor.array(as: Int32.self) == [7])
  }

  @Test func `what is wrong before anything is written is thrown at once`() async throws {
    await #expect(throws: GraftError.self) {
      _ = try await Checkpoint.beginSaving(
        ["w": .tensor(Tensor([Int32(7)]))], to: folder.path + "/no/where/at/all")
    }
    try await Checkpoint.save(["w": .tensor(Tensor([Int32(7)]))], to: folder.path + "/there")
    let exists = await #expect(throws: GraftError.self) {
      _ = try await Checkpoint.beginSaving(["w": .tensor(Tensor([Int32(7)]))], to: folder.path + "/there")
    }
    #expect(exists?.code == .destinationExists)
  }
}
