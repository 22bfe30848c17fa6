import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Testing

@Suite struct MemoryPoolTests {
  static let mebibyte = 1 << 20

  /// A pool with small slabs, and as much available memory as a test says.
  static func pool(retained: Int = 1 << 30, available: Int = .max, slab: Int = 8 * mebibyte) -> MemoryPool {
    var options = MemoryPool.Options()
    options.retentionByteCount = retained
    options.slabByteCount = slab
    options.headroomByteCount = 0
    return MemoryPool(options: options) { AvailableMemory(testing: available) }
  }

  @Test func `extents have the address they were asked for, and their own bytes`() throws {
    var random = SeededGenerator(seed: 5)
    let pool = Self.pool()
    var living: [(extent: PoolExtent, mark: UInt8)] = []
    for step in 0..<2_000 {
      if living.count > 40 || (!living.isEmpty && Int.random(in: 0..<3, using: &random) == 0) {
        let gone = living.remove(at: Int.random(in: 0..<living.count, using: &random))
        #expect(
          gone.extent.bytes.first ?? gone.mark == gone.mark
            && gone.extent.bytes.last ?? gone.mark == gone.mark, "seed 5, step \(step)")
        continue
      }
      let alignment = 64 << Int.random(in: 0...15, using: &random)
      let offset = Int.random(in: 0..<alignment, using: &random)
      let byteCount = Int.random(in: 0...(1 << Int.random(in: 0...21, using: &random)), using: &random)
      let extent = try pool.allocate(byteCount: byteCount, alignment: alignment, offsetInAlignment: offset)
      #expect(extent.byteCount == byteCount)
      #expect(Int(bitPattern: extent.bytes.baseAddress) % alignment == offset, "seed 5, step \(step)")
      let mark = UInt8.random(in: 0...255, using: &random)
      if byteCount > 0 {
        extent.bytes[0] = mark
        extent.bytes[byteCount - 1] = mark
      }
      living.append((extent, mark))
    }
    for (extent, mark) in living where extent.byteCount > 0 {
      #expect(extent.bytes[0] == mark && extent.bytes[extent.byteCount - 1] == mark, "seed 5")
    }
    living = []
    // Everything came back and grew together again: each slab gives one extent of its whole size.
    let statistics = pool.statistics
    #expect(statistics.extentByteCount == 0)
    let whole = try (0..<statistics.slabCount).map { _ in try pool.allocate(byteCount: 8 * Self.mebibyte) }
    #expect(pool.statistics.slabCount == statistics.slabCount)
    #expect(whole.count == statistics.slabCount)
  }

  @Test func `what comes back is reused without another mapping`() throws {
    let pool = Self.pool()
    var extent: PoolExtent? = try pool.allocate(byteCount: 20 * Self.mebibyte)
    let address = extent?.bytes.baseAddress
    try extent?.populate(threadCount: 2)
    #expect(extent?.untouchedPieces == [])
    extent = nil
    #expect(pool.statistics.retainedByteCount == 20 * Self.mebibyte)
    let again = try pool.allocate(byteCount: 18 * Self.mebibyte)
    #expect(again.bytes.baseAddress == address)
    #expect(again.untouchedPieces == [])
    #expect(pool.statistics.slabCount == 1)
  }

  @Test func `no more free memory is kept than the limit says`() throws {
    let pool = Self.pool(retained: 10 * Self.mebibyte)
    var extents = try (0..<4).map { _ in try pool.allocate(byteCount: 8 * Self.mebibyte) }
    for extent in extents { try extent.populate() }
    extents.removeLast()
    #expect(pool.statistics.retainedByteCount == 8 * Self.mebibyte)
    extents = []
    #expect(pool.statistics.retainedByteCount <= 10 * Self.mebibyte)
    pool.trim()
    #expect(pool.statistics.retainedByteCount == 0)
    #expect(pool.statistics.mappedByteCount == 0)
  }

  @Test func `trimming gives back the free part of a slab that is in use`() throws {
    let pool = Self.pool()
    let kept = try pool.allocate(byteCount: 2 * Self.mebibyte)
    var released: PoolExtent? = try pool.allocate(byteCount: 6 * Self.mebibyte)
    memset(kept.bytes.baseAddress!, 7, kept.byteCount)
    try released?.populate()
    #expect(pool.statistics.slabCount == 1)
    released = nil
    #expect(pool.statistics.retainedByteCount == 6 * Self.mebibyte)
    pool.trim()
    #expect(pool.statistics.retainedByteCount == 0)
    #expect(pool.statistics.slabCount == 1)
    #expect(holds(kept.bytes, 7))
  }

  @Test func `populating keeps what is written, and can be done piece by piece`() throws {
    let pool = Self.pool()
    let extent = try pool.allocate(byteCount: 5 * Self.mebibyte + 777, alignment: 4096, offsetInAlignment: 9)
    let pieces = extent.untouchedPieces
    #expect(pieces.first?.lowerBound == 0)
    #expect(pieces.last?.upperBound == extent.byteCount)
    #expect(zip(pieces, pieces.dropFirst()).allSatisfy { $0.upperBound == $1.lowerBound })
    #expect(pieces.allSatisfy { $0.count <= 2 * Self.mebibyte })
    memset(extent.bytes.baseAddress!, 0xA5, extent.byteCount)
    try extent.populate(0..<10)
    #expect(extent.untouchedPieces.count == pieces.count - 1)
    try extent.populate()
    #expect(extent.untouchedPieces == [])
    #expect(holds(extent.bytes, 0xA5))
  }

  @Test func `populated memory is resident, and slabs that are given back are not`() throws {
    let size = 64 * Self.mebibyte
    let pool = Self.pool(retained: 0)
    func resident(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
      var pages = [UInt8](repeating: 0, count: bytes.count / 4096)
      guard mincore(bytes.baseAddress!, bytes.count, &pages) == 0 else { return -1 }  // not mapped at all
      return pages.count { $0 & 1 != 0 } * 4096
    }
    var extent: PoolExtent? = try pool.allocate(byteCount: size, alignment: 4096)
    let bytes = try #require(extent?.bytes)
    #expect(resident(bytes) == 0)
    try extent?.populate()
    #expect(resident(bytes) == size)
    extent = nil
    #expect(pool.statistics.mappedByteCount == 0)
  }

  @Test func `a result that does not fit is refused with what to do`() throws {
    let pool = Self.pool(available: 100 * Self.mebibyte)
    let error = try #require(throws: GraftError.self) { try pool.allocate(byteCount: 101 * Self.mebibyte) }
    #expect(error.code == .insufficientMemory)
    #expect(error.expected == "at most 104857600 bytes (limited by the machine)")
    #expect(error.found == "a result of 105906176 bytes")
    #expect(error.remedy?.contains(".mapped") == true)
    #expect(pool.statistics.slabCount == 0)
    #expect(throws: GraftError.self) { try pool.checkRoom(for: 101 * Self.mebibyte) }
    try pool.checkRoom(for: 100 * Self.mebibyte)
  }

  @Test(arguments: [Int.max, Int.max - 63, Int.max / 2, 1 << 60]) func `an absurd size is refused`(
    _ byteCount: Int
  ) throws {
    for pool in [Self.pool(available: .max), MemoryPool()] {
      let error = try #require(throws: GraftError.self) {
        try pool.allocate(byteCount: byteCount, alignment: 2 * Self.mebibyte)
      }
      #expect(error.code == .insufficientMemory)
    }
  }

  @Test func `what extents were promised counts as taken until they touched it`() throws {
    let pool = Self.pool(available: 100 * Self.mebibyte)
    let first = try pool.allocate(byteCount: 64 * Self.mebibyte)
    #expect(throws: GraftError.self) { try pool.allocate(byteCount: 64 * Self.mebibyte) }
    // From now on the machine's own figure would count it. It was written to without being populated, which is found out.
    memset(first.bytes.baseAddress!, 1, first.byteCount)
    _ = try pool.allocate(byteCount: 64 * Self.mebibyte)
  }

  @Test func `free memory that the pool keeps counts as available`() throws {
    let pool = Self.pool(available: 10 * Self.mebibyte)
    var extents = try (0..<1).map { _ in try pool.allocate(byteCount: 8 * Self.mebibyte) }
    try extents[0].populate()
    extents = []
    try pool.checkRoom(for: 18 * Self.mebibyte)
    #expect(throws: GraftError.self) { try pool.checkRoom(for: 19 * Self.mebibyte) }
    // Too large for what is kept, which is given back to make room.
    _ = try pool.allocate(byteCount: 10 * Self.mebibyte)
    #expect(pool.statistics.slabCount == 1)
  }

  @Test func `many threads take and give back at once`() async throws {
    let pool = Self.pool(retained: 16 * Self.mebibyte)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<4 {
        group.addTask {
          var random = SeededGenerator(seed: UInt64(task))
          var extents: [PoolExtent] = []
          for _ in 0..<300 {
            let extent = try pool.allocate(byteCount: Int.random(in: 1...(3 * Self.mebibyte), using: &random))
            extent.bytes[0] = UInt8(task)
            extents.append(extent)
            if extents.count > 8 { extents.remove(at: Int.random(in: 0..<8, using: &random)) }
            guard extents.allSatisfy({ $0.bytes[0] == UInt8(task) }) else {
              throw GraftError(.corrupt, "two extents share bytes (seed \(task))")
            }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(pool.statistics.extentByteCount == 0)
    #expect(pool.statistics.retainedByteCount <= 16 * Self.mebibyte)
  }

  @Test func `populated memory holds what is written, whatever its pages are`() throws {
    // Enough stretches for both kinds of pages where the machine gives huge ones slowly.
    let pool = Self.pool(slab: 80 << 20)
    let extent = try pool.allocate(byteCount: 70 << 20, alignment: 4096, offsetInAlignment: 512)
    try extent.populate(threadCount: 3)
    #expect(extent.untouchedPieces.isEmpty)
    for offset in stride(from: 0, to: extent.byteCount, by: 4099) {
      extent.bytes[offset] = UInt8(truncatingIfNeeded: offset)
    }
    try extent.populate(threadCount: 2)
    for offset in stride(from: 0, to: extent.byteCount, by: 4099) {
      guard extent.bytes[offset] == UInt8(truncatingIfNeeded: offset) else {
        Issue.record("byte \(offset) was lost")
        return
      }
    }
  }
}

/// Whether all bytes have this value, by one call of the C library: tests are not optimised.
private func holds(_ bytes: UnsafeMutableRawBufferPointer, _ value: UInt8) -> Bool {
  bytes[0] == value && memcmp(bytes.baseAddress!, bytes.baseAddress! + 1, bytes.count - 1) == 0
}

extension AvailableMemory {
  /// A machine that has this much available.
  init(testing byteCount: Int) {
    self.init { path in
      path == "/proc/meminfo" && byteCount != .max ? "MemAvailable: \(byteCount / 1024) kB\n" : nil
    }
  }
}
