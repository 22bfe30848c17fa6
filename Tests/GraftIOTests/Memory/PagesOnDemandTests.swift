import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Testing

/// Memory that gets its pages when something is about to be written to it.
@Suite struct PagesOnDemandTests {
  private static let mebibyte = 1 << 20

  private static func part(_ extent: PoolExtent, _ range: Range<Int>) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(rebasing: extent.bytes[range])
  }

  @Test func `one thread populates what it writes to, and nothing else`() throws {
    let pool = MemoryPoolTests.pool(slab: 64 * Self.mebibyte)
    let extent = try pool.allocate(byteCount: 16 * Self.mebibyte, alignment: 2 * Self.mebibyte)
    let pages = PagesOnDemand([extent])
    #expect(extent.untouchedPieces.count == 8)
    try pages.prepare(Self.part(extent, 5..<6))
    #expect(extent.untouchedPieces.count == 7)
    // Again, and across a border.
    try pages.prepare(Self.part(extent, 5..<6))
    try pages.prepare(Self.part(extent, 4 * Self.mebibyte - 1..<4 * Self.mebibyte + 1))
    #expect(extent.untouchedPieces.count == 5)
    try pages.prepare(Self.part(extent, 9..<9))
    var elsewhere = [UInt8](repeating: 0, count: 100)
    try elsewhere.withUnsafeMutableBytes { try pages.prepare($0) }
    #expect(extent.untouchedPieces.count == 5)
  }

  @Test func `many threads that write next to each other find all of it there, and keep what was written`()
    async throws
  {
    var random = SeededGenerator(seed: testSeed)
    let pool = MemoryPoolTests.pool(slab: 64 * Self.mebibyte)
    // Some pieces are of two extents, and one extent was touched before.
    let extents = try [9_000_001, 300_000, 20 * Self.mebibyte, 70_000, 11 * Self.mebibyte].map {
      try pool.allocate(byteCount: $0)
    }
    try extents[1].populate()
    let pages = PagesOnDemand(extents)
    var blocks: [(extent: Int, range: Range<Int>)] = []
    for (index, extent) in extents.enumerated() {
      var start = 0
      while start < extent.byteCount {
        let end = min(extent.byteCount, start + Int.random(in: 1...1_500_000, using: &random))
        blocks.append((index, start..<end))
        start = end
      }
    }
    // Roughly in order, as reads are.
    for index in blocks.indices.dropLast(4) where Bool.random(using: &random) {
      blocks.swapAt(index, index + Int.random(in: 1..<4, using: &random))
    }
    let shuffled = blocks
    try ParallelPieces.run(count: shuffled.count, threadCount: 7) { (index) throws(GraftError) in
      let (extent, range) = shuffled[index]
      let bytes = Self.part(extents[extent], range)
      try pages.prepare(bytes)
      memset(bytes.baseAddress!, CInt(UInt8(truncatingIfNeeded: index)), bytes.count)
    }
    for (index, (extent, range)) in shuffled.enumerated() {
      let bytes = Self.part(extents[extent], range)
      // All bytes are the first one.
      let isRight =
        bytes[0] == UInt8(truncatingIfNeeded: index)
        && memcmp(bytes.baseAddress!, bytes.baseAddress! + 1, bytes.count - 1) == 0
      #expect(isRight, "seed \(testSeed): block \(index)")
    }
    #expect(extents.allSatisfy { $0.untouchedPieces.isEmpty })
  }
}
