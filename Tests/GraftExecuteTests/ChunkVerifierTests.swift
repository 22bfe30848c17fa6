import Foundation
import GraftCodec
import GraftCore
import GraftExecute
import GraftTestSupport
import Testing

@Suite struct ChunkVerifierTests {
  private let path = NSTemporaryDirectory() + "/graft-verifier-\(UUID().uuidString)"
  private let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 2) }

  private func verify(
    _ chunks: [ChunkToVerify], budget: Int = 64 << 20, claimedByteCount: Int? = nil
  ) async throws -> ChunkFindings {
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    var tuning = Tuning()
    tuning.budgetByteCount = budget
    return try await ChunkVerifier(
      [StoredFile(path: path, byteCount: claimedByteCount ?? bytes.count)], tuning: tuning
    ).run(chunks)
  }

  private func chunk(_ offset: Int, _ count: Int) -> StoredChunk {
    StoredChunk(file: 0, range: ByteRange(offset: offset, count: count))
  }

  @Test(arguments: [1 << 20, 256 << 20])
  func `a read that fails costs its own chunk alone`(budget: Int) async throws {
    let digests = [BlockDigest(chunk(0, 100_000).range), BlockDigest(chunk(100_000, 150_000).range)]
    let beyond = chunk(290_000, 20_000)
    let findings = try await verify(
      [
        ChunkToVerify(chunk(0, 100_000), .plain(digests[0])), ChunkToVerify(beyond, .plain(nil), leaf: "x"),
        ChunkToVerify(chunk(100_000, 150_000), .plain(digests[1])),
      ], budget: budget)
    #expect(findings.failed == [beyond])
    #expect(findings.errors.map(\.code) == [.truncated] && findings.errors.map(\.leaf) == ["x"])
    #expect(digests[0].checksum == CRC32C.checksum(bytes.span.bytes.extracting(0..<100_000)))
    #expect(digests[1].checksum == CRC32C.checksum(bytes.span.bytes.extracting(100_000..<250_000)))
  }

  @Test func `chunks that do not decode fail, each with its place, and the others are told apart`()
    async throws
  {
    let encoded: ChunkToVerify.Content = .encoded([Codec(name: "zstd")], decodedByteCount: 5000)
    let unknown = chunk(50_000, 10)
    let findings = try await verify([
      ChunkToVerify(chunk(0, 1000), encoded, leaf: "a"), ChunkToVerify(chunk(1000, 0), encoded, leaf: "b"),
      ChunkToVerify(chunk(2000, 1000), .plain(nil), leaf: "c"),
      ChunkToVerify(unknown, .encoded([Codec(name: "lz99")], decodedByteCount: 1), leaf: "d"),
    ])
    #expect(findings.failed == [chunk(0, 1000), chunk(1000, 0), unknown])
    #expect(Set(findings.errors.compactMap(\.leaf)) == ["a", "b", "d"])
    #expect(findings.errors.allSatisfy { $0.file == path && $0.range != nil })
    #expect(findings.checksummed.isEmpty)
  }

  @Test
  func `a file of another size than the checkpoint had when it was opened fails once, with all its chunks`()
    async throws
  {
    let findings = try await verify(
      (0..<5).map { ChunkToVerify(chunk($0 * 1000, 1000), .plain(nil)) }, claimedByteCount: 7)
    #expect(findings.failed.count == 5 && findings.errors.map(\.code) == [.fileChanged])
  }

  @Test func `a digest of parts in any order is that of the block`() async throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 61)
    // A budget whose blocks cut the digested range into many reads.
    for _ in 0..<5 {
      let offset = Int.random(in: 0..<1000, using: &random)
      let digest = BlockDigest(chunk(offset, bytes.count - offset).range)
      _ = try await verify(
        [ChunkToVerify(StoredChunk(file: 0, range: digest.range), .plain(digest))], budget: 256 << 10)
      #expect(
        digest.checksum == CRC32C.checksum(bytes.span.bytes.extracting(offset...)), "seed \(random.seed)")
    }
    #expect(BlockDigest(chunk(0, 10).range).checksum == nil)
  }
}
