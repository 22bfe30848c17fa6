import Glibc
import GraftCore
import GraftIO
import Testing

@Suite(.serialized) struct ProcessMemoryTests {
  @Test func `the sampler sees memory that came and went`() throws {
    // In a process of its own other tests' memory would not count; here it must only be large beside theirs.
    let size = 256 << 20
    let sampler = try PeakMemorySampler()
    let pool = MemoryPool(
      options: {
        var options = MemoryPool.Options(); options.retentionByteCount = 0; return options
      }())
    do {
      let extent = try pool.allocate(byteCount: size)
      try extent.populate()
      usleep(20_000)
      #expect(ProcessMemory.exactAnonymousByteCount > size / 2)
    }
    usleep(5_000)
    let peak = sampler.stop()
    #expect(peak - sampler.baseByteCount > size / 2)
    #expect(ProcessMemory.peakResidentByteCount >= size)
    #expect(sampler.stop() >= peak)
  }

  @Test func `the machine's memory and processors are counted`() {
    #expect(ProcessMemory.physicalByteCount > 64 << 20)
    #expect(UsableProcessors.count >= 1)
  }
}

@Suite struct ParallelPiecesTests {
  @Test(arguments: [(0, 4), (1, 4), (1000, 1), (1000, 4), (3, 100)])
  func `every piece is done once`(_ count: Int, _ threadCount: Int) throws {
    let done = Locked([Int](repeating: 0, count: count))
    try ParallelPieces.run(count: count, threadCount: threadCount) { (piece) throws(GraftError) in
      done.change { $0[piece] += 1 }
    }
    #expect(done.value == [Int](repeating: 1, count: count))
  }

  @Test func `an error ends the work`() throws {
    let done = Locked(0)
    let error = try #require(throws: GraftError.self) {
      try ParallelPieces.run(count: 1_000_000, threadCount: 3) { (piece) throws(GraftError) in
        done.change { $0 += 1 }
        if piece == 10 { throw GraftError(.ioFailed, "on purpose") }
        usleep(10)
      }
    }
    #expect(error.code == .ioFailed)
    #expect(done.value < 1_000_000)
  }
}
