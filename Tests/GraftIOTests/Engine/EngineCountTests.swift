import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Synchronization
import Testing

/// How much is read, in how many reads, for what is asked.
@Suite(.timeLimit(.minutes(5))) struct EngineCountTests {
  let kernel = SimulatedKernel(seed: testSeed)
  let file = sharedFiles.files[4]  // 1 MiB

  private func read(
    _ ranges: [ByteRange], residentFraction: Double = 1, change: (inout Tuning) -> Void = { _ in }
  ) async throws -> ReadStatistics {
    var tuning = Tuning()
    tuning.threadCount = 2
    tuning.blockByteCount = 64 << 10
    tuning.directBlockByteCount = 128 << 10
    tuning.directMinimumByteCount = 256 << 10
    change(&tuning)
    let kernel = SimulatedKernel(seed: testSeed, residentFraction: residentFraction)
    let engine = ReadEngine(kernel: kernel)
    let memory = ranges.map { range in (range, Memory(range.count + 4096)) }
    let requests = memory.map { range, memory in
      // Congruent with the file, as destinations of large tensors are.
      ReadRequest(file: 0, range: range, target: .memory(memory.base + range.offset % 4096))
    }
    let statistics = try await engine.read(requests, files: [file], tuning: tuning)
    for (range, memory) in memory {
      let lead = range.offset % 4096
      #expect(
        memory.bytes(lead..<(lead + range.count)) == Array(sharedFiles.contents[4][range.offset..<range.end]))
    }
    #expect(kernel.violations == [])
    #expect(kernel.readCount == statistics.requestCount)
    return statistics
  }

  @Test func `a large range is cut into reads of a block`() async throws {
    let statistics = try await read([ByteRange(offset: 0, count: 1 << 20)])
    #expect(statistics.requestCount == 16)
    #expect(statistics.bytesRead == 1 << 20)
    #expect(statistics.bytesWanted == 1 << 20)
    #expect(statistics.bufferedByteCount == 1 << 20)
    #expect(statistics.stagingByteCount == 0)
  }

  @Test func `a cold large range is read around the cache, its ends by one unit each`() async throws {
    let statistics = try await read([ByteRange(offset: 100, count: 600_000)], residentFraction: 0)
    // Cut at 128 KiB in the file: the first block has a head, the last one a tail.
    #expect(statistics.requestCount == 5 + 2)
    #expect(statistics.directByteCount == statistics.bytesRead)
    #expect(statistics.bytesRead == 600_576 - 0)  // from 0 to 600,100 rounded up to 512
    #expect(statistics.bouncedByteCount == 412 + 600_100 % 512)
  }

  @Test func `a cold small range goes through the cache`() async throws {
    let statistics = try await read([ByteRange(offset: 4096, count: 100_000)], residentFraction: 0)
    #expect(statistics.bufferedByteCount == 100_000)
    #expect(statistics.directByteCount == 0)
  }

  @Test func `a range that is mostly resident goes through the cache`() async throws {
    let statistics = try await read([ByteRange(offset: 0, count: 1 << 20)], residentFraction: 0.6)
    #expect(statistics.bufferedByteCount == 1 << 20)
  }

  @Test(arguments: [0, 0.5, 1]) func `near tiny neighbours are one read, wherever they are`(
    _ resident: Double
  )
    async throws
  {
    let ranges = (0..<100).map { ByteRange(offset: $0 * 2000, count: 1000) }
    let statistics = try await read(ranges, residentFraction: resident) { $0.blockByteCount = 1 << 20 }
    #expect(statistics.requestCount == 1)
    #expect(statistics.coalescedCount == 100)
    // What is on the disk alone is read around the page cache, in whole sectors.
    #expect(statistics.bytesRead == (resident == 0 ? 199_168 : 199_000))
    #expect(statistics.directByteCount == (resident == 0 ? 199_168 : 0))
    #expect(statistics.bytesWanted == 100_000)
  }

  @Test func `near small neighbours are one read from the disk, and read apart from the cache`() async throws
  {
    let ranges = (0..<20).map { ByteRange(offset: $0 * 40_000, count: 20_000) }
    let cold = try await read(ranges, residentFraction: 0) { $0.blockByteCount = 1 << 20 }
    #expect(cold.requestCount == 1)
    #expect(cold.coalescedCount == 20)
    // Rounded out to the alignment of direct reads, for a stretch that long.
    #expect(cold.bytesRead == 780_288)
    let warm = try await read(ranges) { $0.blockByteCount = 1 << 20 }
    #expect(warm.requestCount == 20)
    #expect(warm.coalescedCount == 0)
    #expect(warm.bytesRead == 400_000)
    #expect(warm.stagingByteCount == 0)
  }

  @Test(arguments: [0, 1.0]) func `neighbours further apart than the gap are read alone`(_ resident: Double)
    async throws
  {
    let ranges = (0..<100).map { ByteRange(offset: $0 * 2000, count: 1000) }
    let statistics = try await read(ranges, residentFraction: resident) { $0.coalescingGapByteCount = 999 }
    #expect(statistics.requestCount == 100)
    #expect(statistics.coalescedCount == 0)
    #expect(statistics.bytesRead == 100_000)
  }

  @Test(arguments: [1.0, 1.2, 1.5, 2.0, 3.0]) func `no more is read than the factor allows`(_ factor: Double)
    async throws
  {
    var random = SeededGenerator(seed: testSeed)
    var ranges: [ByteRange] = []
    var offset = 0
    while offset < 900_000 {
      let count = Int.random(in: 1...4000, using: &random)
      ranges.append(ByteRange(offset: offset, count: count))
      offset += count + Int.random(in: 0...8000, using: &random)
    }
    let statistics = try await read(ranges.shuffled(using: &random), residentFraction: 0.5) {
      $0.overReadFactor = factor
    }
    #expect(Double(statistics.bytesRead) <= factor * Double(statistics.bytesWanted), "seed \(testSeed)")
    #expect(statistics.bytesWanted == ranges.reduce(0) { $0 + $1.count })
    if factor >= 2 { #expect(statistics.requestCount < ranges.count) }
  }

  @Test func `requests that meet in the file and in memory become one`() async throws {
    let memory = Memory(300_000)
    let requests = (0..<300).shuffled().map {
      ReadRequest(
        file: 0, range: ByteRange(offset: $0 * 1000, count: 1000), target: .memory(memory.base + $0 * 1000))
    }
    let statistics = try await ReadEngine(kernel: kernel).read(requests, files: [file])
    #expect(statistics.requestCount == 1)
    #expect(statistics.stagingByteCount == 0)
    #expect(memory.bytes(0..<300_000) == Array(sharedFiles.contents[4][..<300_000]))
  }

  @Test(arguments: [1000, 200_000, 900_000], [0, 1.0])
  func `a range that several want is read once`(byteCount: Int, resident: Double) async throws {
    let memory = Memory(2 * byteCount)
    let range = ByteRange(offset: 4096, count: byteCount)
    var tuning = Tuning()
    tuning.blockByteCount = 64 << 10
    tuning.directBlockByteCount = 128 << 10
    let received = Locked([UInt8](repeating: 0, count: byteCount))
    let once = try await ReadEngine(kernel: KernelWithResidency(residentFraction: resident)).read(
      [ReadRequest(file: 0, range: range, target: .memory(memory.base))], files: [file], tuning: tuning)
    let requests = [
      ReadRequest(file: 0, range: range, target: .handler(token: 0)),
      ReadRequest(file: 0, range: range, target: .memory(memory.base)),
      ReadRequest(file: 0, range: range, target: .memory(memory.base + byteCount)),
    ]
    let statistics = try await ReadEngine(kernel: KernelWithResidency(residentFraction: resident)).read(
      requests.shuffled(), files: [file], tuning: tuning
    ) { (_, part, bytes) throws(GraftError) in
      received.change { $0.replaceSubrange((part.offset - 4096)..<(part.end - 4096), with: bytes) }
    }
    let expected = Array(sharedFiles.contents[4][range.offset..<range.end])
    #expect(memory.bytes(0..<byteCount) == expected)
    #expect(memory.bytes(byteCount..<(2 * byteCount)) == expected)
    #expect(received.value == expected)
    #expect(statistics.bytesRead == once.bytesRead)
    #expect(statistics.requestCount <= once.requestCount)
  }

  @Test func `ten thousand scattered bytes come in far fewer reads`() async throws {
    var random = SeededGenerator(seed: testSeed)
    let memory = Memory(20_000)
    let requests = (0..<10_000).map { index in
      let offset = Int.random(in: 0..<(1 << 20), using: &random)
      return ReadRequest(
        file: 0, range: ByteRange(offset: offset, count: 1), target: .memory(memory.base + 2 * index))
    }
    var tuning = Tuning()
    tuning.overReadFactor = 1000
    let statistics = try await ReadEngine().read(requests, files: [file], tuning: tuning)
    #expect(statistics.requestCount < 100)
    for (index, request) in requests.enumerated() {
      #expect(
        memory.base.load(fromByteOffset: 2 * index, as: UInt8.self)
          == sharedFiles.contents[4][request.range.offset])
    }
  }

  @Test func `nothing is read for nothing`() async throws {
    let statistics = try await read([ByteRange(offset: 5, count: 0), ByteRange(offset: 1 << 20, count: 0)])
    #expect(statistics.requestCount == 0)
    #expect(try await ReadEngine().read([], files: []).requestCount == 0)
  }

  @Test func `a ring learns which reads wait for the disk`() async throws {
    let kernel = SimulatedKernel(seed: testSeed, residentFraction: 0.5)
    _ = try await ReadEngine(kernel: kernel).bytes(ByteRange(offset: 0, count: 1 << 20), of: file)
    #expect(kernel.state.withLock { $0.asynchronousCount } > 0)
    let warm = SimulatedKernel(seed: testSeed, residentFraction: 1)
    _ = try await ReadEngine(kernel: warm).bytes(ByteRange(offset: 0, count: 1 << 20), of: file)
    #expect(warm.state.withLock { $0.asynchronousCount } == 0)
  }

  @Test func `threads and rings are kept from run to run`() async throws {
    var tuning = Tuning()
    tuning.engine = .uring
    tuning.threadCount = 3
    let engine = ReadEngine(kernel: kernel)
    for _ in 0..<30 {
      _ = try await engine.bytes(ByteRange(offset: 0, count: 1 << 20), of: file, tuning: tuning)
    }
    #expect(kernel.state.withLock { $0.ringCount } <= 3)
  }

  @Test func `progress counts what is wanted, and reports it no more often than asked`() async throws {
    let reports = Locked<[Int]>([])
    let progress = ReadProgress(interval: .zero) { count in reports.change { $0.append(count) } }
    let memory = Memory(1 << 20)
    let request = ReadRequest(
      file: 0, range: ByteRange(offset: 0, count: 1 << 20), target: .memory(memory.base))
    var tuning = Tuning()
    tuning.access = .buffered
    tuning.blockByteCount = 64 << 10
    _ = try await ReadEngine().read([request], files: [file], tuning: tuning, progress: progress)
    #expect(progress.completedByteCount == 1 << 20)
    #expect(reports.value.count >= 1 && reports.value.count <= 16)

    let quiet = ReadProgress(interval: .seconds(3600)) { _ in Issue.record("an hour has not passed") }
    _ = try await ReadEngine().read([request], files: [file], tuning: tuning, progress: quiet)
    #expect(quiet.completedByteCount == 1 << 20)
  }
}

@Suite struct StagingLayoutTests {
  @Test func `a layout keeps within its budget, or says how much it needs`() throws {
    var random = SeededGenerator(seed: testSeed)
    for _ in 0..<20_000 {
      var tuning = Tuning()
      tuning.access = Tuning.Access.allCases.randomElement(using: &random)!
      tuning.threadCount = [nil, 1, 2, 7, 64, 1000].randomElement(using: &random)!
      tuning.queueDepth = Int.random(in: 1...300, using: &random)
      tuning.blockByteCount = 1 << Int.random(in: 0...40, using: &random)
      tuning.directBlockByteCount = Int.random(in: 1...(16 << 20), using: &random)
      tuning.budgetByteCount = Int.random(
        in: -1...(1 << Int.random(in: 1...32, using: &random)), using: &random)
      do throws(GraftError) {
        let layout = try StagingLayout(tuning)
        #expect(layout.byteCount <= tuning.budgetByteCount, "\(tuning)")
        #expect(layout.slotsPerWorker >= 1 && layout.depth >= 1 && layout.workerCount >= 1)
        #expect(layout.slotsPerWorker <= layout.depth)
        #expect(layout.operationByteCount >= 4096 && layout.operationByteCount % 4096 == 0)
      } catch {
        #expect(error.code == .invalidArgument)
        #expect(tuning.budgetByteCount < 28 << 10, "\(tuning)")
      }
    }
  }

  @Test func `64 MiB are enough for the default blocks`() throws {
    var tuning = Tuning()
    tuning.budgetByteCount = 64 << 20
    tuning.threadCount = 2
    let layout = try StagingLayout(tuning)
    #expect(layout.operationByteCount == tuning.directBlockByteCount)
    #expect(layout.workerCount == 2)
    #expect(layout.slotsPerWorker >= 7)
  }

  @Test(arguments: ["threadCount", "queueDepth", "blockByteCount", "directBlockByteCount"])
  func `settings below one are refused by name`(_ setting: String) throws {
    for value in [0, -1, Int.min] {
      var tuning = Tuning()
      switch setting {
      case "threadCount": tuning.threadCount = value
      case "queueDepth": tuning.queueDepth = value
      case "blockByteCount": tuning.blockByteCount = value
      default: tuning.directBlockByteCount = value
      }
      let error = try #require(throws: GraftError.self) { try StagingLayout(tuning) }
      #expect(error.code == .invalidArgument)
      #expect(error.message.contains(setting))
    }
  }
}
