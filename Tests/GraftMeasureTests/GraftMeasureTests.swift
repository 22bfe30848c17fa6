import Foundation
import Glibc
import GraftCore
import GraftIO
import GraftMeasure
import Synchronization
import Testing

/// Small inputs, so that the measurements are known to run and to move the right bytes; their speed is nobody's claim here.
@Suite struct GraftMeasureTests {
  let pool = MemoryPool()

  func file(_ bytes: [UInt8]) throws -> File {
    var template = Array("/tmp/graft-measure-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    defer { close(descriptor) }
    #expect(write(descriptor, bytes, bytes.count) == bytes.count)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(path) }
    return try File(opening: path)
  }

  func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 167 >> 3) } }

  func holds(_ extent: PoolExtent, _ bytes: [UInt8]) -> Bool {
    memcmp(extent.bytes.baseAddress!, bytes, bytes.count) == 0
  }

  @Test(arguments: [1, 31, 32, 128, 4096, 300_001], MemoryCeilings.Store.allCases)
  func `a copy moves every byte`(_ byteCount: Int, _ store: MemoryCeilings.Store) async throws {
    // Odd offsets, for the edges of the streaming loop.
    let source = try pool.allocate(byteCount: byteCount, alignment: 64, offsetInAlignment: 3)
    let destination = try pool.allocate(byteCount: byteCount, alignment: 64, offsetInAlignment: 17)
    let bytes = pattern(byteCount)
    source.bytes.copyBytes(from: bytes)
    memset(destination.bytes.baseAddress!, 0xEE, byteCount)
    let copy = MemoryCeilings.copy(from: source, to: destination, threadCount: 2, store: store)
    let result = try await InterleavedRounds.run([copy], rounds: 2)
    #expect(holds(destination, bytes))
    #expect(result[0].seconds.count == 2)
    #expect(result[0].byteCount == byteCount)
  }

  @Test func `a warm read gives the file's bytes, in any block size`() async throws {
    let bytes = pattern(1_234_567)
    let file = try file(bytes)
    for blockByteCount in [4096, 100_000, 4 << 20] {
      let destination = try pool.allocate(byteCount: bytes.count)
      let read = ReadCeilings.warm(file, into: destination, threadCount: 2, blockByteCount: blockByteCount)
      _ = try await InterleavedRounds.run([read], rounds: 1)
      #expect(holds(destination, bytes))
    }
  }

  @Test func `reads by io_uring give the file's bytes, in any block size and depth`() async throws {
    let bytes = pattern(1_234_567)
    let file = try file(bytes)
    for (depth, blockByteCount) in [(1, 4096), (3, 100_000), (64, 4096), (8, 4 << 20)] {
      let destination = try pool.allocate(byteCount: bytes.count)
      let read = ReadCeilings.warmByRing(
        file, into: destination, threadCount: 2, depth: depth, blockByteCount: blockByteCount)
      guard let read else { try Test.cancel("this process may not use io_uring") }
      let result = try await InterleavedRounds.run([read], rounds: 2)
      #expect(holds(destination, bytes))
      #expect(result[0].byteCount == bytes.count)
    }
  }

  @Test func `reads by io_uring of a file that is shorter than it was are an error`() async throws {
    let file = try file(pattern(100_000))
    let destination = try pool.allocate(byteCount: 100_000)
    let read = ReadCeilings.warmByRing(file, into: destination, threadCount: 2, blockByteCount: 4096)
    guard let read else { try Test.cancel("this process may not use io_uring") }
    #expect(truncate("/proc/self/fd/\(file.rawDescriptor)", 50_000) == 0)
    await #expect(throws: GraftError.self) { try await read.run() }
  }

  @Test(arguments: [true, false]) func `a read for each range gives its bytes`(_ isWarm: Bool) async throws {
    let bytes = pattern(500_000)
    let file = try file(bytes)
    let ranges = (0..<100).map { ByteRange(offset: $0 * 4_990, count: $0 * 13) }
    let plain = LeafByLeaf(file, ranges, isWarm: isWarm)
    let result = try await InterleavedRounds.run([plain.contestant], rounds: 2)
    var seen: [ByteRange] = []
    plain.forEachResult { range, memory in
      #expect(memory.elementsEqual(bytes[range.offset..<range.end]))
      seen.append(range)
    }
    #expect(seen == ranges)
    #expect(result[0].byteCount == ranges.reduce(0) { $0 + $1.count })
  }

  @Test func `a cold read gives the file's bytes, to the unaligned end`() async throws {
    let bytes = pattern(1_234_567)
    let file = try file(bytes)
    let destination = try pool.allocate(byteCount: ReadCeilings.extentByteCount(for: file), alignment: 4096)
    let read = try ReadCeilings.cold(file, into: destination, depth: 3, blockByteCount: 64 << 10)
    guard let read else { try Test.cancel("the file system of the temporary folder has no direct I/O") }
    _ = try await InterleavedRounds.run([read], rounds: 1)
    #expect(holds(destination, bytes))
    #expect(try PageCache.residentByteCount(of: file) == 0)
  }

  @Test func `a file that is shorter than it was is an error, not a result`() async throws {
    let file = try file(pattern(100_000))
    #expect(truncate("/proc/self/fd/\(file.rawDescriptor)", 50_000) == 0)
    let destination = try pool.allocate(byteCount: 100_000)
    let read = ReadCeilings.warm(file, into: destination, threadCount: 2, blockByteCount: 4096)
    await #expect(throws: GraftError.self) { try await InterleavedRounds.run([read], rounds: 1) }
  }

  /// A frame of a fixture as a checkpoint would store it.
  func frame(_ name: String, decodedByteCount: Int) throws -> DecodeCeilings.Frame {
    let path = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../Fixtures/codec/\(name)").standardized.path
    let file = StoredFile(path: path, byteCount: try File(opening: path).byteCount)
    return DecodeCeilings.Frame(
      file: file, range: ByteRange(offset: 0, count: file.byteCount), decodedByteCount: decodedByteCount)
  }

  @Test(arguments: [DecodeCeilings.Memory.reused, .fresh])
  func `frames decode to the bytes that they should, on every thread`(_ memory: DecodeCeilings.Memory)
    async throws
  {
    let frames = try [300_000, 1000, 1, 0].map {
      try frame("zstd-\($0).bin", decodedByteCount: $0)
    }
    let ceiling = try DecodeCeilings.zstd(frames, into: pool, threadCount: 3, memory: memory)
    #expect(ceiling.byteCount == 301_001)
    let result = try await InterleavedRounds.run([ceiling], rounds: 2)
    #expect(result[0].seconds.count == 2)
    // Everything went back.
    #expect(pool.statistics.extentByteCount == 0)
  }

  @Test(arguments: [299_999, 300_001])
  func `a frame that decodes to another size is an error that names its file`(_ byteCount: Int) async throws {
    let frame = try frame("zstd-300000.bin", decodedByteCount: byteCount)
    let ceiling = try DecodeCeilings.zstd([frame], into: pool, threadCount: 2)
    await #expect { try await InterleavedRounds.run([ceiling], rounds: 1) } throws: { error in
      guard let error = error as? GraftError else { return false }
      return error.code == .corrupt && error.file == frame.file.path && error.range == frame.range
    }
  }

  @Test func `a plan's frames are its chunks of zstd alone, the largest first`() throws {
    let file = StoredFile(path: "a", byteCount: 100)
    let zstd = [Codec(name: "bytes"), Codec(name: "zstd")]
    // Each leaf has one chunk of ten bytes, one after another.
    let leaves: [(name: String, byteCount: Int, codecs: [Codec])] = [
      ("small", 20, zstd), ("plain", 10, []), ("checked", 40, zstd + [Codec(name: "crc32c")]),
      ("large", 30, zstd),
    ]
    var tree: Tree<StoredLeaf> = [:]
    for (index, leaf) in leaves.enumerated() {
      let layout = Layout(
        chunkShape: [leaf.byteCount], codecs: leaf.codecs,
        chunks: [.file(StoredChunk(file: 0, range: ByteRange(offset: 10 * index, count: 10)))],
        storedBitWidth: 8)
      tree[Key(leaf.name)] = .leaf(.tensor(TensorSpec(.uint8, [leaf.byteCount]), layout, name: leaf.name))
    }
    let catalog = Catalog(format: "test", files: [file], tree: tree)
    let plan = try LoadPlan(tree.mapLeaves { _, _ in .leaf(Target.stored) }, from: catalog, partial: false)
      .plan
    #expect(
      DecodeCeilings.frames(of: plan) == [
        DecodeCeilings.Frame(file: file, range: ByteRange(offset: 30, count: 10), decodedByteCount: 30),
        DecodeCeilings.Frame(file: file, range: ByteRange(offset: 0, count: 10), decodedByteCount: 20),
      ])
  }

  @Test(arguments: [(1, 1), (10, 4), (1000, 100), (1000, 999), (3, 5000)])
  func `a sample stays within its limit, or is one frame`(_ count: Int, _ limit: Int) throws {
    let file = StoredFile(path: "a", byteCount: 0)
    let frames = (0..<count).reversed().map {
      DecodeCeilings.Frame(file: file, range: ByteRange(offset: $0, count: 1), decodedByteCount: $0 / 10 + 1)
    }
    let sample = DecodeCeilings.sample(frames, decodedByteCountLimit: limit)
    #expect(sample.count == 1 || sample.reduce(0) { $0 + $1.decodedByteCount } <= limit)
    #expect(!sample.isEmpty && Set(sample).isSubset(of: frames) && Set(sample).count == sample.count)
    if frames.reduce(0, { $0 + $1.decodedByteCount }) <= limit { #expect(sample == frames) }
  }

  @Test func `what finishes a run follows it`() async throws {
    let order = Order()
    let contestant = Contestant(
      "a", byteCount: 1, prepare: { () async throws(GraftError) in order.add("p") },
      run: { () async throws(GraftError) in order.add("r") },
      finish: { () async throws(GraftError) in order.add("f") })
    _ = try await contestant.time()
    #expect(order.text == "prf")
  }

  @Test func `several files are read one after another`() async throws {
    let (first, second) = (pattern(100_001), pattern(5_003))
    let destination = try pool.allocate(byteCount: first.count + second.count)
    let read = ReadCeilings.warm(
      [try file(first), try file(second)], into: destination, threadCount: 2, blockByteCount: 4096)
    _ = try await InterleavedRounds.run([read], rounds: 1)
    #expect(holds(destination, first + second))
  }

  @Test func `first touch runs on fresh memory each time`() async throws {
    let result = try await InterleavedRounds.run(
      [true, false].map { MemoryCeilings.firstTouch(byteCount: 6 << 20, threadCount: 2, hugePages: $0) },
      rounds: 2)
    #expect(
      result.map(\.name) == ["first touch, huge pages, 2 threads", "first touch, small pages, 2 threads"])
  }

  @Test func `rounds begin with another contestant each, after one that does not count`() async throws {
    let order = Order()
    let contestants = ["a", "b", "c"].map { name in
      Contestant(name, byteCount: 1, prepare: { () async throws(GraftError) in order.add(name.uppercased()) })
      {
        () async throws(GraftError) in order.add(name)
      }
    }
    let result = try await InterleavedRounds.run(contestants, rounds: 2)
    #expect(order.text == "AaBbCc" + "AaBbCc" + "BbCcAa")
    #expect(result.map(\.seconds.count) == [2, 2, 2])
  }

  @Test func `a spread has its median, and a ratio is taken round by round`() {
    #expect(Spread([3, 1, 2]).median == 2)
    #expect(Spread([4, 1, 2, 3]).median == 2.5)
    #expect(Spread([14.617, 12.8, 15.005]).description == "14.62 (12.80-15.01)")
    let slow = Measurement(name: "slow", byteCount: 1 << 30, seconds: [2, 4, 8])
    let fast = Measurement(name: "fast", byteCount: 1 << 30, seconds: [1, 1, 8])
    #expect(fast.speed(relativeTo: slow) == Spread([2, 4, 1]))
    #expect(slow.gibPerSecond == Spread([0.5, 0.25, 0.125]))
  }
}

/// The order in which things happened.
private final class Order: Sendable {
  private let names = Mutex("")
  func add(_ name: String) { names.withLock { $0 += name } }
  var text: String { names.withLock { $0 } }
}

@Suite struct ScheduleTests {
  private func contestants(_ count: Int, _ log: Log) -> [Contestant] {
    (0..<count).map { index in
      Contestant("\(index)", byteCount: 1) { () async throws(GraftError) in log.add(index) }
    }
  }

  private final class Log: Sendable {
    private let indices = Mutex<[Int]>([])
    func add(_ index: Int) { indices.withLock { $0.append(index) } }
    var all: [Int] { indices.withLock { $0 } }
  }

  @Test func `a contestant that is dropped runs no more, and keeps the figures that it has`() async throws {
    let log = Log()
    var schedule = InterleavedRounds.Schedule(rounds: 5)
    schedule.drops = { seconds, index in index == 1 && seconds[1].count == 2 }
    let results = try await InterleavedRounds.run(contestants(3, log), schedule)
    #expect(results.map(\.seconds.count) == [5, 2, 5])
    // One round before the first.
    #expect((0..<3).map { index in log.all.count { $0 == index } } == [6, 3, 6])
    #expect(Array(log.all.prefix(6)) == [0, 1, 2, 0, 1, 2])
  }

  @Test func `no round begins after the time is up, beyond the fewest`() async throws {
    let log = Log()
    var schedule = InterleavedRounds.Schedule(rounds: 50)
    (schedule.fewestRounds, schedule.seconds, schedule.warmedUpCount) = (3, 0, 1)
    let results = try await InterleavedRounds.run(contestants(2, log), schedule)
    #expect(results.map(\.seconds.count) == [3, 3])
    #expect(log.all.count == 7)
  }
}

extension GraftMeasureTests {
  @Test func `a part of a file is read as such, through the page cache and around it`() async throws {
    let bytes = pattern(1_234_567)
    let file = try file(bytes)
    let part = 300 * 4096
    for isCold in [false, true] {
      let destination = try pool.allocate(byteCount: 1_240_000, alignment: 4096)
      memset(destination.bytes.baseAddress!, 0xEE, destination.byteCount)
      let contestant: Contestant? =
        isCold
        ? try ReadCeilings.cold(
          file, byteCount: part, into: destination, depth: 2, blockByteCount: 128 << 10)
        : ReadCeilings.coldBuffered(
          file, byteCount: part, into: destination, threadCount: 2, blockByteCount: 100_000)
      guard let contestant else { continue }
      let result = try await InterleavedRounds.run([contestant], rounds: 1)
      #expect(result[0].byteCount == part)
      #expect(holds(destination, Array(bytes.prefix(part))))
      #expect(destination.bytes[part] == 0xEE)
    }
  }

  @Test func `the page cache is looked at and warmed by range`() throws {
    let file = try file(pattern(64 * 4096))
    try PageCache.warm(file)
    #expect(try PageCache.residentByteCount(of: file, ByteRange(offset: 4096, count: 8192)) == 8192)
    #expect(try PageCache.residentByteCount(of: file, ByteRange(offset: 0, count: 0)) == 0)
    let left = try PageCache.empty(of: file, ByteRange(offset: 0, count: 4096))
    #expect(left <= 4096)
    // Where the file system keeps no more than it is asked for, only the range comes back; it may read ahead.
    try PageCache.warm(file, ByteRange(offset: 8 * 4096, count: 4096))
    #expect(try PageCache.residentByteCount(of: file, ByteRange(offset: 8 * 4096, count: 4096)) == 4096)
  }
}
