import GraftCodec
import GraftTestSupport
import Testing

struct ZstdFrameWalkTests {
  /// A frame of raw and repeated blocks, made by hand, and how many bytes of content it has.
  private static func frame(checksum: Bool, isSingleSegment: Bool, blocks: [Int]) -> [UInt8] {
    var bytes: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD]
    bytes.append((isSingleSegment ? 0x20 : 0) | (checksum ? 0x04 : 0))
    // The window, or the size of the content in one byte.
    bytes.append(0x20)
    for (index, count) in blocks.enumerated() {
      let isLast = index == blocks.count - 1
      let isRepetition = index % 2 == 1
      let header = UInt32(count) << 3 | (isRepetition ? 2 : 0) | (isLast ? 1 : 0)
      bytes += [UInt8(header & 0xFF), UInt8(header >> 8 & 0xFF), UInt8(header >> 16)]
      // Bytes that look like the beginning of a frame must not be taken for one.
      bytes += (0..<(isRepetition ? 1 : count)).map { [0x28, 0xB5, 0x2F, 0xFD][$0 % 4] }
    }
    if checksum { bytes += [1, 2, 3, 4] }
    return bytes
  }

  private static let skippable: [UInt8] = [0x53, 0x2A, 0x4D, 0x18, 5, 0, 0, 0, 9, 9, 9, 9, 9]

  @Test func `frames are counted with and without checksums, however the bytes are cut`() {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 31)
    for _ in 0..<200 {
      let flags = (0..<Int.random(in: 1...4, using: &random)).map { _ in Bool.random(using: &random) }
      var bytes: [UInt8] = []
      for flag in flags {
        let blocks = (0..<Int.random(in: 1...4, using: &random)).map { _ in
          Int.random(in: 0...300, using: &random)
        }
        if Bool.random(using: &random) { bytes += Self.skippable }
        bytes += Self.frame(checksum: flag, isSingleSegment: .random(using: &random), blocks: blocks)
      }
      var walk = ZstdFrameWalk()
      var rest = bytes[...]
      while !rest.isEmpty {
        let part = Array(rest.prefix(Int.random(in: 1...100, using: &random)))
        walk.walk(part.span.bytes)
        rest = rest.dropFirst(part.count)
      }
      #expect(walk.frameCount == flags.count, "seed \(random.seed)")
      #expect(walk.checksummedFrameCount == flags.count { $0 }, "seed \(random.seed)")
      #expect(walk.isChecksummed == flags.allSatisfy { $0 }, "seed \(random.seed)")
    }
  }

  @Test func `real frames are followed to their end`() throws {
    // Two frames of the same real data one after the other are two only if the first one's end was found.
    let names = ["zstd-300000", "zstd-no-content-size", "zstd-window-64KiB", "zstd-1"]
    for name in names {
      let bytes = Fixture.bytes("codec/\(name).bin")
      var walk = ZstdFrameWalk()
      walk.walk((bytes + bytes).span.bytes)
      #expect(walk.frameCount == 2, "\(name)")
    }
  }

  @Test func `nothing is not protected`() {
    var walk = ZstdFrameWalk()
    #expect(!walk.isChecksummed)
    walk.walk(Self.skippable.span.bytes)
    #expect(!walk.isChecksummed)
  }

  @Test func `two checksums make that of the bytes together`() {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 32)
    let bytes = (0..<5000).map { _ in UInt8.random(in: 0...255, using: &random) }
    for _ in 0..<300 {
      let count = Int.random(in: 0...bytes.count, using: &random)
      let cut = Int.random(in: 0...count, using: &random)
      let first = CRC32C.checksum(bytes.span.bytes.extracting(first: cut))
      let second = CRC32C.checksum(bytes.span.bytes.extracting(cut..<count))
      let both = CRC32C.checksum(bytes.span.bytes.extracting(first: count))
      #expect(CRC32C.combine(first, second, byteCount: count - cut) == both, "seed \(random.seed)")
    }
  }
}
