import Foundation
import Graft
import GraftTestSupport
import Synchronization
import Testing

@Suite struct LinkingTests {
  let folder: TemporaryFolder
  let model: HandMadeFile
  let layerCount = 4

  init() throws {
    folder = try TemporaryFolder()
    model = try HandMadeFile(
      (0..<4).map { layer in
        ("params.layer\(layer).kernel", "F32", [6, 40], bytes((0..<240).map { Float(layer * 1000 + $0) }))
      } + [("params.embedding", "F16", [40, 8], bytes((0..<320).map { Float16($0) }))], in: folder)
  }

  private var linked: String { folder.path + "/linked" }

  private func stacked(_ checkpoint: Checkpoint) throws -> Surgery {
    try checkpoint.transform { tree in
      var tree = tree
      tree["params"]["layers"] = .stack(tree["params"].children(matching: #/layer(\d+)/#))
      tree["params"].removeChildren(matching: #/layer(\d+)/#)
      return tree
    }
  }

  private func same(_ found: Tree<LeafValue>, _ expected: Tree<LeafValue>, _ context: Comment? = nil) throws {
    #expect(Set(found.leaves.map(\.path)) == Set(expected.leaves.map(\.path)), context)
    for (path, leaf) in expected.leaves {
      guard case .tensor(let tensor) = leaf else { continue }
      #expect(try found[at: path].tensor.contentEquals(tensor), "\(path) \(context.map { "\($0)" } ?? "")")
    }
  }

  @Test func `a stack is linked without reading a byte, and outlives its source`() async throws {
    let surgery = try stacked(try await Checkpoint(at: model.path))
    let expected = try await surgery.load()
    let report = try await surgery.link(to: linked)
    #expect(report.linkedLeafCount == 2)
    #expect(report.rewritten == [])
    #expect(report.linkedByteCount == 4 * 960 + 640)
    #expect(report.reading.bytesRead == 0)
    #expect(report.storedByteCount == 0 && report.copiedByteCount == 0)
    #expect(report.files.map(\.way) == [.hardLink])
    #expect(report.files.map(\.name) == ["state/d/linked-0"])
    try FileManager.default.removeItem(atPath: model.path)
    try same(try await Checkpoint(at: linked).load().tree, expected.tree)
  }

  @Test func `what is no whole chunk is written, with its reason`() async throws {
    let surgery = try Checkpoint.transform([try await Checkpoint(at: model.path)]) { trees in
      let params = trees[0]["params"]
      return [
        "linked": params["layer1"]["kernel"], "cast": params["layer2"]["kernel"].cast(to: .float64),
        "new": .zeros([3], .float32), "turned": params["embedding"].transposed(),
        "note": .leaf(.string("a string")),
      ]
    }
    let expected = try await surgery.load()
    let report = try await surgery.link(to: linked)
    #expect(report.linkedLeafCount == 1 && report.stringCount == 1)
    #expect(report.rewritten.map(\.path) == ["cast", "new", "turned"])
    #expect(report.rewritten.first?.reason == "its values are computed: cast to float64")
    #expect(report.reading.bytesWanted == 960 + 640)
    try same(try await Checkpoint(at: linked).load().tree, expected.tree)
  }

  @Test(arguments: OrbaxCheckpoint.all)
  func `every checkpoint of the real Orbax is linked as it is`(fixture: OrbaxCheckpoint) async throws {
    let checkpoint = try await fixture.open()
    let report = try await checkpoint.link(to: linked)
    #expect(report.rewritten == [])
    #expect(report.reading.bytesRead == 0)
    try same(try await Checkpoint(at: linked).load().tree, try await checkpoint.load().tree)
    // And once more, over what is linked already.
    let again = folder.path + "/again"
    try await Checkpoint(at: linked).link(to: again)
    try FileManager.default.removeItem(atPath: linked)
    try same(try await Checkpoint(at: again).load().tree, try await checkpoint.load().tree)
  }

  @Test(arguments: seedBatches(4))
  func `random surgeries are the same linked and loaded`(batch: UInt64) async throws {
    let seed = seedFromEnvironment() ?? batch &* 15_485_863 &+ 11
    var random = SeededGenerator(seed: seed)
    let plain = try await Checkpoint(at: model.path)
    var options = OrbaxOptions()
    options.chunkByteCount = [100, 320, 5000].randomElement(using: &random)!
    options.compression = [.none, .zstd(), .blosc()].randomElement(using: &random)!
    options.hasChecksums = Bool.random(using: &random)
    try await plain.save(to: folder.path + "/chunked", as: .orbax(options))
    let chunked = try await Checkpoint(at: folder.path + "/chunked")
    var linkedCount = 0
    for round in 0..<6 {
      var choice = random
      let surgery = try Checkpoint.transform(plain, chunked) { plain, chunked in
        var result: Tree<LazyLeaf> = [:]
        for leaf in 0..<8 {
          let source = (Bool.random(using: &choice) ? plain : chunked)["params"]
          func layer() -> Tree<LazyLeaf> {
            source[Key("layer\(Int.random(in: 0..<layerCount, using: &choice))")]["kernel"]
          }
          var node = layer()
          for _ in 0..<Int.random(in: 0...3, using: &choice) {
            guard let shape = node.leaf?.spec?.tensor?.shape, shape.rank > 0 else { break }
            switch Int.random(in: 0..<6, using: &choice) {
            case 0: node = .stack([node, node])
            case 1: node = node.sliced(0..<Int.random(in: 1...shape[0], using: &choice))
            case 2: node = node.reshaped([shape.elementCount])
            case 3: node = node.expanded(axis: Int.random(in: 0...shape.rank, using: &choice))
            case 4: node = node.sliced(Int.random(in: 0..<shape[0], using: &choice))
            default: node = .concatenate([node, node], axis: 0)
            }
          }
          result[Key("leaf\(leaf)")] = node
        }
        return result
      }
      random = choice
      let report = try await surgery.link(to: linked, overwriting: true)
      linkedCount += report.linkedLeafCount
      try same(
        try await Checkpoint(at: linked).load().tree, try await surgery.load().tree,
        "seed \(seed), round \(round)")
    }
    #expect(linkedCount > 12, "seed \(seed)")
  }

  @Test func `a source changed in place is an error that names the file and what differs`() async throws {
    try await Checkpoint(at: model.path).link(to: linked)
    _ = try await Checkpoint(at: linked)
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSince1970: 1)], ofItemAtPath: model.path)
    let error = try await #require(throws: GraftError.self) { _ = try await Checkpoint(at: linked) }
    #expect(error.code == .fileChanged)
    #expect(error.file == linked + "/state/d/linked-0")
    #expect(error.found == "another time of modification")
    #expect(error.remedy?.contains("link it again") == true)
  }

  @Test(arguments: [
    ("{", GraftError.Code.corrupt), ("[]", .unsupported), (#"{"version": 2, "files": []}"#, .unsupported),
    (
      #"{"version": 1, "files": [{"name": "../../x", "byte_count": 1, "modified": [0, 0], "inode": 1}]}"#,
      .corrupt
    ),
    (#"{"version": 1, "files": [{"name": "d/x", "byte_count": -1, "modified": [], "inode": 1}]}"#, .corrupt),
    (
      #"{"version": 1, "files": [{"name": "d/x", "byte_count": 1, "modified": [0, 0], "inode": 1.5}]}"#,
      .corrupt
    ),
  ])
  func `a damaged list of linked files is an error that names it`(text: String, code: GraftError.Code)
    async throws
  {
    try await Checkpoint(at: model.path).link(to: linked)
    let list = linked + "/state/graft_links.json"
    try Data(text.utf8).write(to: URL(fileURLWithPath: list))
    let error = try await #require(throws: GraftError.self) { _ = try await Checkpoint(at: linked) }
    #expect(error.code == code && error.file == list, "\(error)")
  }

  @Test func `a sealed source's digests go with its file, and find what no time shows`() async throws {
    let seal = linked + "/graft-seal.json"
    try await Checkpoint(at: model.path).link(to: linked)
    #expect(!FileManager.default.fileExists(atPath: seal))
    #expect(try await Checkpoint(at: linked).verify().leaves(.verified).isEmpty)
    try FileManager.default.removeItem(atPath: linked)

    _ = try await Checkpoint(at: model.path).seal()
    try await stacked(Checkpoint(at: model.path)).link(to: linked)
    var status = stat()
    try #require(stat(model.path, &status) == 0)
    var report = try await Checkpoint(at: linked).verify()
    #expect(report.isIntact && report.leaves(.verified).count == report.leaves.count)
    #expect(report.seal?.contains(seal) == true)
    // What is linked to what is linked has them, too.
    let again = folder.path + "/again"
    try await Checkpoint(at: linked).link(to: again)
    #expect(try await Checkpoint(at: again).verify().leaves(.verified).count == report.leaves.count)

    // Somebody changes a byte in place and sets the time back.
    let bytes = try Data(contentsOf: URL(fileURLWithPath: model.path))
    let handle = try #require(FileHandle(forUpdatingAtPath: model.path))
    try handle.seek(toOffset: UInt64(bytes.count - 5))
    try handle.write(contentsOf: Data([bytes[bytes.count - 5] ^ 4]))
    try handle.close()
    let times = [status.st_atim, status.st_mtim]
    try #require(utimensat(AT_FDCWD, model.path, times, 0) == 0)
    report = try await Checkpoint(at: again).verify()
    #expect(report.failureCount == 1 && !report.leaves(.failed).isEmpty, "\(report.failures)")
    #expect(report.failures.first?.file == again + "/state/d/linked-0")
  }

  /// A folder of another file system than that of temporary files, where there is one.
  private static let elsewhere: String? = {
    func device(_ path: String) -> Int? {
      (try? FileManager.default.attributesOfItem(atPath: path))?[.systemNumber] as? Int
    }
    return device("/dev/shm").flatMap { $0 != device(NSTemporaryDirectory()) ? "/dev/shm" : nil }
  }()

  @Test(.enabled(if: LinkingTests.elsewhere != nil, "there is no second file system to copy from"))
  func `copying from another file system tells how far it is`() async throws {
    let source = try #require(Self.elsewhere) + "/graft-linking-\(UInt64.random(in: 0 ... .max)).safetensors"
    defer { try? FileManager.default.removeItem(atPath: source) }
    try FileManager.default.copyItem(atPath: model.path, toPath: source)
    let told = Told()
    let report = try await Checkpoint.transform([try await Checkpoint(at: source)]) { trees in
      let params = trees[0]["params"]
      return ["kernel": params["layer1"]["kernel"], "wide": params["layer2"]["kernel"].cast(to: .float64)]
    }.link(to: linked) { progress in
      told.progress.withLock { $0.append((progress.completedByteCount, progress.totalByteCount)) }
    }
    #expect(report.files.map(\.way) == [.copy] && report.copiedByteCount == 960)
    let progress = told.progress.withLock { $0 }
    // Of float64 the second kernel has twice the bytes or more, in whole chunks.
    let total = try #require(progress.first).total
    #expect(total > 2 * 960 && progress.allSatisfy { $0.total == total })
    #expect(progress.first?.completed == 960 && progress.last?.completed == total)
    #expect(zip(progress, progress.dropFirst()).allSatisfy { $0.completed <= $1.completed })
  }

  @Test func `a seal that cannot be read is an error, and nothing is left`() async throws {
    try Data("{}".utf8).write(to: URL(fileURLWithPath: model.path + ".graft-seal"))
    let error = try await #require(throws: GraftError.self) {
      try await Checkpoint(at: model.path).link(to: linked)
    }
    #expect(error.code == .corrupt && error.file == model.path + ".graft-seal")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).count == 2)
  }

  @Test func `a source that was replaced since it was opened is refused, and nothing is left`() async throws {
    let checkpoint = try await Checkpoint(at: model.path)
    try Data(count: 10).write(to: URL(fileURLWithPath: model.path))
    let error = try await #require(throws: GraftError.self) { try await checkpoint.link(to: linked) }
    #expect(error.code == .fileChanged && error.file == model.path)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).count == 1)
  }

  @Test func `other layouts than the usual one, and names that exist, are refused`() async throws {
    let checkpoint = try await Checkpoint(at: model.path)
    var options = OrbaxOptions()
    options.usesDatabase = false
    var error = try await #require(throws: GraftError.self) {
      try await checkpoint.link(to: linked, rewriting: options)
    }
    #expect(error.code == .invalidArgument)
    try await checkpoint.link(to: linked)
    error = try await #require(throws: GraftError.self) { try await checkpoint.link(to: linked) }
    #expect(error.code == .destinationExists)
    error = try await #require(throws: GraftError.self) {
      try await checkpoint.link(to: linked + "2", selecting: Selection([.drop(PathPattern("**"))]))
    }
    #expect(error.code == .leafNotFound)
  }
}

/// What was told of the progress.
private final class Told: Sendable {
  let progress = Mutex<[(completed: Int, total: Int)]>([])
}
