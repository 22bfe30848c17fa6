import Foundation
import Graft
import Testing

@Suite struct SavingTests {
  let folder: TemporaryFolder
  let file: HandMadeFile
  let names = ["params.a", "params.b", "opt.m", "step"]

  init() throws {
    folder = try TemporaryFolder()
    file = try HandMadeFile(
      [
        ("params.a", "BF16", [300, 1000], (0..<600_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }),
        ("params.b", "F32", [3], bytes([Float](arrayLiteral: 1, -2, .pi))),
        ("opt.m", "U8", [70_001], (0..<70_001).map { UInt8(truncatingIfNeeded: $0 &* 7) }),
        ("step", "I64", [], bytes([Int64(-9)])),
      ], in: folder)
  }

  func same(_ path: String, dropping: Set<TreePath> = []) async throws {
    let original = try await Checkpoint(at: file.path).load()
    let copy = try await Checkpoint(at: path).load()
    let expected = original.tree.leaves.filter { !dropping.contains($0.path) }
    #expect(Set(copy.tree.leaves.map(\.path)) == Set(expected.map(\.path)))
    for (leafPath, leaf) in expected {
      guard case .tensor(let tensor) = leaf else { continue }
      #expect(try copy.tree[at: leafPath].tensor.contentEquals(tensor), "\(leafPath)")
    }
  }

  func leftovers() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
  }

  @Test(arguments: [nil, 100_000, 1_000_000_000])
  func `a checkpoint is written again, in one file or in shards`(shard: Int?) async throws {
    let target = folder.path + (shard == nil ? "/copy.safetensors" : "/copy")
    var tuning = Tuning()
    tuning.budgetByteCount = 300_000
    let report = try await Checkpoint(at: file.path).save(
      to: target, as: shard.map { .safetensors(shardByteCount: $0) } ?? .safetensors, tuning: tuning)
    #expect(report.leafCount == 4)
    #expect(report.byteCount == 600_000 + 12 + 70_001 + 8)
    #expect(report.reading.bytesRead == report.byteCount)
    #expect(report.reading.peakStagingByteCount <= 300_000)
    try await same(target)
    #expect(try leftovers().count == 2)
  }

  @Test func `what is dropped is neither written nor read`() async throws {
    let target = folder.path + "/slim.safetensors"
    let report = try await Checkpoint(at: file.path).save(
      to: target, selecting: Selection([.drop(PathPattern("opt"))]))
    #expect(report.reading.bytesRead == 600_000 + 12 + 8)
    try await same(target, dropping: ["opt/m"])
  }

  @Test
  func `an existing file is kept unless overwriting was asked for, then it is replaced, even by itself`()
    async throws
  {
    let checkpoint = try await Checkpoint(at: file.path)
    let error = await #expect(throws: GraftError.self) { try await checkpoint.save(to: file.path) }
    #expect(error?.code == .destinationExists)
    #expect(try Array(Data(contentsOf: URL(filePath: file.path))) == file.bytes)
    let kept = try await checkpoint.load()
    try await checkpoint.save(to: file.path, overwriting: true)
    let again = try await Checkpoint(at: file.path).load()
    for (path, leaf) in kept.tree.leaves {
      guard case .tensor(let tensor) = leaf else { continue }
      #expect(try again.tree[at: path].tensor.contentEquals(tensor))
    }
    #expect(try leftovers() == ["model.safetensors"])
  }

  @Test func `a save that fails or is cancelled leaves nothing behind`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let target = folder.path + "/never.safetensors"
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await checkpoint.save(to: target)
    }
    let cancelled = await #expect(throws: GraftError.self) { try await task.value }
    #expect(cancelled?.code == .cancelled)
    #expect(try leftovers() == ["model.safetensors"])
    truncate(file.path, off_t(file.bytes.count - 1))
    let short = await #expect(throws: GraftError.self) {
      try await checkpoint.save(to: folder.path + "/never")
    }
    #expect(short?.code == .fileChanged)
    #expect(try leftovers() == ["model.safetensors"])
  }

  @Test func `names that were kept whole are written whole`() async throws {
    let target = folder.path + "/flat.safetensors"
    try await Checkpoint(at: file.path, flat: true).save(to: target)
    #expect(
      Set(try await Checkpoint(at: target, flat: true).tree.leaves.map(\.path))
        == Set(names.map { TreePath([Key($0)]) }))
    try await same(target)
  }
}

@Suite struct ManyThingsTests {
  @Test func `more leaves than are read at once come whole and in order`() async throws {
    let folder = try TemporaryFolder()
    let count = 70_000
    let file = try HandMadeFile(
      (0..<count).map { ("t\($0)", "I32", [1], bytes([Int32($0)])) }, in: folder)
    let loaded = try await Checkpoint(at: file.path).load()
    #expect(loaded.report.leaves.count == count)
    for index in stride(from: 0, to: count, by: 997) {
      #expect(try loaded.tree[Key("t\(index)")].scalar(as: Int.self) == index)
    }
    // Neighbours are read together: far fewer requests than leaves.
    #expect(loaded.report.reading.requestCount < 100)
    #expect(loaded.report.reading.bytesRead == 4 * count)
  }

  @Test func `more files than may be open at once are read in turns`() async throws {
    let folder = try TemporaryFolder()
    for index in 0..<300 {
      _ = try HandMadeFile(
        [("t\(index)", "I32", [2], bytes([Int32(index), Int32(-index)]))], in: folder,
        name: "model-\(String(format: "%05d", index + 1))-of-00300.safetensors")
    }
    let loaded = try await Checkpoint(at: folder.path).load()
    for index in 0..<300 {
      #expect(
        try loaded.tree[Key("t\(index)")].tensor.array(as: Int32.self) == [Int32(index), Int32(-index)])
    }
  }
}
