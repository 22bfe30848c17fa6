import Foundation
import Graft
import GraftCore
import GraftTestSupport
import Testing

extension TemporaryFolder {
  /// A copy of a fixture, to be broken.
  func copy(of fixture: String) throws -> String {
    let copy = path + "/" + (fixture as NSString).lastPathComponent
    try FileManager.default.copyItem(atPath: Fixture.path(fixture), toPath: copy)
    return copy
  }
}

/// Flips one bit of a file.
private func flip(_ bit: Int, at offset: Int, of path: String) throws {
  var data = try Data(contentsOf: URL(fileURLWithPath: path))
  data[offset] ^= 1 << UInt8(bit)
  try data.write(to: URL(fileURLWithPath: path))
}

/// All files in a folder and below, with their sizes.
private func files(in folder: String) throws -> [(path: String, byteCount: Int)] {
  let names = try #require(FileManager.default.enumerator(atPath: folder)).compactMap { $0 as? String }
  return try names.sorted().compactMap { name in
    let attributes = try FileManager.default.attributesOfItem(atPath: folder + "/" + name)
    guard attributes[.type] as? FileAttributeType == .typeRegular else { return nil }
    return (folder + "/" + name, attributes[.size] as? Int ?? 0)
  }
}

@Suite struct VerifyTests {
  let folder: TemporaryFolder
  let file: HandMadeFile

  init() throws {
    folder = try TemporaryFolder()
    file = try HandMadeFile(
      [
        ("a", "U8", [5_000_000], [UInt8](repeating: 31, count: 5_000_000)),
        ("b.w", "F32", [3], bytes([Float](arrayLiteral: 1, -2, .pi))),
        ("c", "U8", [4_000_000], [UInt8](repeating: 7, count: 4_000_000)),
        ("nothing", "F32", [0, 4], []),
      ], in: folder)
  }

  @Test(arguments: OrbaxCheckpoint.all)
  func `every checkpoint that the real Orbax wrote is intact`(fixture: OrbaxCheckpoint) async throws {
    let checkpoint = try await fixture.open()
    let report = try await checkpoint.verify()
    #expect(report.isIntact && report.failures.isEmpty, "\(report.failures)")
    #expect(report.leaves.map(\.path) == checkpoint.tree.leaves.map(\.path))
    #expect(report.leaves(.failed).isEmpty && report.leaves(.unread).isEmpty)
  }

  @Test func `chunks in a database's nodes are verified, files without checksums are not`() async throws {
    let mesh = try await OrbaxCheckpoint.named("v1-mesh").open().verify()
    #expect(Set(mesh.leaves.map(\.outcome)) == [.verified])
    let folders = try await OrbaxCheckpoint.named("v1-folders-zarr2").open().verify()
    #expect(Set(folders.leaves.map(\.outcome)) == [.unprotected])
    // Through the page cache, wherever the file is by now: direct reads bring the ends of their sectors along.
    var buffered = Tuning()
    buffered.access = .buffered
    let plain = try await Checkpoint(at: file.path, tuning: buffered).verify()
    #expect(plain.leaves.allSatisfy { $0.outcome == ($0.path == "nothing" ? .verified : .unprotected) })
    #expect(plain.reading.bytesRead == 9_000_012)
  }

  @Test func `no byte of a seal's checkpoint can change unseen, and the leaf is named`() async throws {
    let sealed = try await Checkpoint(at: file.path).seal()
    #expect(sealed.isIntact && Set(sealed.leaves.map(\.outcome)) == [.verified])
    #expect(sealed.seal?.contains(file.path + ".graft-seal") == true)
    let size = try Data(contentsOf: URL(fileURLWithPath: file.path)).count
    #expect(try await Checkpoint(at: file.path).verify().reading.bytesRead == size)

    var random = SeededGenerator(seed: seedFromEnvironment() ?? 41)
    let dataStart = size - 9_000_012
    for _ in 0..<12 {
      let offset = Int.random(in: dataStart..<size, using: &random)
      let bit = Int.random(in: 0..<8, using: &random)
      try flip(bit, at: offset, of: file.path)
      let report = try await Checkpoint(at: file.path).verify()
      #expect(report.failureCount == 1, "seed \(random.seed)")
      let failure = try #require(report.failures.first)
      #expect(failure.code == .corrupt && failure.file == file.path && failure.leaf != nil)
      #expect(failure.range?.contains(ByteRange(offset: offset, count: 1)) == true, "seed \(random.seed)")
      #expect((failure.range?.count ?? .max) <= 4 << 20)
      // A leaf of which no block is broken is still known to be right.
      let position = offset - dataStart
      let expected: TreePath = position < 5_000_000 ? "a" : position < 5_000_012 ? "b/w" : "c"
      #expect(report.leaves(.failed).contains { $0.path == expected }, "seed \(random.seed)")
      #expect(report.leaves(.failed).count + report.leaves(.verified).count == 4)
      try flip(bit, at: offset, of: file.path)
    }
    #expect(try await Checkpoint(at: file.path).verify().isIntact)
  }

  @Test func `a leaf is verified by the blocks that it is in, and no others`() async throws {
    _ = try await Checkpoint(at: file.path).seal()
    let report = try await Checkpoint(at: file.path).verify(selecting: Selection([.select("b")]))
    #expect(report.leaves.map(\.path) == ["b/w"] && report.leaves.map(\.outcome) == [.verified])
    #expect(report.reading.bytesRead == 4 << 20)
  }

  @Test func `a broken checkpoint is not sealed anew`() async throws {
    _ = try await Checkpoint(at: file.path).seal()
    let seal = try Data(contentsOf: URL(fileURLWithPath: file.path + ".graft-seal"))
    let size = try Data(contentsOf: URL(fileURLWithPath: file.path)).count
    try flip(0, at: size - 1, of: file.path)
    let report = try await Checkpoint(at: file.path).seal()
    #expect(report.failureCount == 1)
    #expect(try Data(contentsOf: URL(fileURLWithPath: file.path + ".graft-seal")) == seal)
  }

  @Test func `a broken seal is a failure and not a seal`() async throws {
    _ = try await Checkpoint(at: file.path).seal()
    try flip(3, at: 40, of: file.path + ".graft-seal")
    let report = try await Checkpoint(at: file.path).verify()
    #expect(report.failures.map(\.file) == [file.path + ".graft-seal"])
    #expect(report.leaves(.unprotected).count == 3)
  }

  @Test(arguments: ["v1-uncompressed", "v1-folders-zarr3", "v0-steps", "v1"])
  func `a sealed Orbax checkpoint opens as before, and no byte of it can change unseen`(name: String)
    async throws
  {
    let path = try folder.copy(of: "orbax/\(OrbaxCheckpoint.version)/\(name)")
    let checkpoint = try await Checkpoint(at: path)
    let before = try await checkpoint.load()
    let report = try await checkpoint.seal()
    #expect(report.isIntact && Set(report.leaves.map(\.outcome)) == [.verified], "\(report.failures)")
    let sealed = try await Checkpoint(at: path)
    #expect(sealed.tree.leaves.map(\.path) == before.tree.leaves.map(\.path))

    var random = SeededGenerator(seed: seedFromEnvironment() ?? 42)
    let all = try files(in: checkpoint.catalog.location).filter {
      $0.byteCount > 0 && !$0.path.hasSuffix("graft-seal.json")
    }
    for _ in 0..<12 {
      let file = try #require(all.randomElement(using: &random))
      let offset = Int.random(in: 0..<file.byteCount, using: &random)
      try flip(2, at: offset, of: file.path)
      do {
        let report = try await Checkpoint(at: path).verify()
        #expect(!report.isIntact, "seed \(random.seed): byte \(offset) of \(file.path)")
      } catch {
        // What the metadata says is wrong is found when it is opened.
        #expect(
          [.corrupt, .truncated, .notFound, .unsupported, .notACheckpoint, .limitExceeded].contains(
            error.code), "\(error)")
      }
      try flip(2, at: offset, of: file.path)
    }
  }

  @Test func `failures do not stop it, and each names leaf, file and range`() async throws {
    let path = try folder.copy(of: "orbax/\(OrbaxCheckpoint.version)/v1-folders-zarr2")
    // Every compressed chunk loses its first byte's bits, in files that stay as long as they were.
    var broken: Set<String> = []
    for file in try files(in: path)
    where file.path.contains("/0") && !file.path.hasSuffix("json") && file.byteCount > 8 {
      guard (file.path as NSString).lastPathComponent.allSatisfy({ $0.isNumber || $0 == "." }) else {
        continue
      }
      try flip(7, at: 0, of: file.path)
      broken.insert(file.path)
    }
    try #require(broken.count > 1)
    let report = try await Checkpoint(at: path).verify()
    #expect(Set(report.failures.compactMap(\.file)) == broken)
    #expect(report.failures.allSatisfy { $0.code == .corrupt && $0.leaf != nil && $0.range != nil })
    #expect(Set(report.leaves(.failed).map(\.path)) == Set(report.failures.compactMap(\.leaf)))
    #expect(report.failureCount == broken.count)
  }

  @Test func `a file that has gone or shrunk since it was opened fails its leaves`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    #expect(truncate(file.path, 6_000_000) == 0)
    let report = try await checkpoint.verify()
    #expect(report.failures.map(\.code) == [.fileChanged])
    #expect(report.leaves(.failed).count == 3)
    try FileManager.default.removeItem(atPath: file.path)
  }

  @Test func `a cancelled verification throws`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let task = Task { try await checkpoint.verify() }
    task.cancel()
    await #expect(throws: GraftError.self) { try await task.value }
  }

  @Test func `progress ends with everything done, within a small budget`() async throws {
    let last = LastProgress()
    var tuning = Tuning()
    tuning.budgetByteCount = 256 << 10
    let report = try await Checkpoint(at: file.path).verify(tuning: tuning) { last.set($0) }
    #expect(last.value?.fraction == 1)
    #expect(report.reading.peakStagingByteCount <= tuning.budgetByteCount)
  }
}

private final class LastProgress: @unchecked Sendable {
  private let lock = NSLock()
  private var last: GraftCore.Progress?

  var value: GraftCore.Progress? { lock.withLock { last } }
  func set(_ progress: GraftCore.Progress) {
    lock.withLock { if progress.completedByteCount >= last?.completedByteCount ?? 0 { last = progress } }
  }
}
