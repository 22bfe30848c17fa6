import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Synchronization
import Testing

/// A few neighbours in a file that lie apart in memory.
private struct Neighbours {
  let ranges: [ByteRange]
  let memories: [Memory]
  let requests: [ReadRequest]

  /// Neighbours of these lengths, from an offset of the largest shared file on.
  init(_ byteCounts: [Int], from offset: Int = 0) {
    var ranges: [ByteRange] = []
    var end = offset
    for byteCount in byteCounts {
      ranges.append(ByteRange(offset: end, count: byteCount))
      end += byteCount
    }
    let memories = ranges.map { Memory($0.count + 4096 + 64) }
    self.ranges = ranges
    self.memories = memories
    requests = ranges.indices.map { index in
      // Congruent with the file, as destinations of large tensors are.
      ReadRequest(
        file: 0, range: ranges[index], target: .memory(memories[index].base + ranges[index].offset % 4096))
    }
  }

  /// Whether each memory holds its bytes, and nothing else was written.
  var isRight: Bool {
    zip(ranges, memories).allSatisfy { range, memory in
      let lead = range.offset % 4096
      var expected = [UInt8](repeating: Memory.untouched, count: memory.count)
      expected.replaceSubrange(
        lead..<(lead + range.count), with: sharedFiles.contents[4][range.offset..<range.end])
      return memcmp(expected, memory.base, memory.count) == 0
    }
  }

  func read(
    by kernel: any ReadKernel, _ tuning: Tuning, and others: [ReadRequest] = [], handler: ReadHandler? = nil
  ) async throws -> ReadStatistics {
    try await ReadEngine(kernel: kernel).read(
      requests + others, files: [sharedFiles.files[4]], tuning: tuning, handler: handler)
  }
}

/// Reads of neighbours in a file that go to several memories.
@Suite(.timeLimit(.minutes(5))) struct EngineVectorTests {
  /// Blocks that hold all of a test's bytes.
  private func tuning(_ engine: Tuning.Engine = .automatic) -> Tuning {
    var tuning = Tuning()
    tuning.engine = engine
    tuning.threadCount = 2
    tuning.queueDepth = 3
    return tuning
  }

  private static let engines = [Tuning.Engine.uring, .threads]

  // MARK: the bytes

  @Test(arguments: EngineCase.all.filter(\.isRunnable))
  func `random neighbours come as they are, wherever they go`(_ engineCase: EngineCase) async throws {
    let seed = testSeed
    var random = SeededGenerator(seed: seed)
    let kernel = engineCase.kernel(seed: seed)
    let engine = ReadEngine(kernel: kernel)
    for round in 0..<6 {
      let set = RequestSet(neighboursIn: sharedFiles, random: &random)
      let statistics = try await engine.read(
        set.requests, files: sharedFiles.files, tuning: engineCase.tuning, handler: set.handler)
      #expect(set.faults(sharedFiles) == [], "seed \(seed), round \(round)")
      #expect(statistics.stagingByteCount <= engineCase.budgetByteCount)
      if engineCase.access == .direct, statistics.directRefusal == nil {
        #expect(statistics.bufferedByteCount == 0, "seed \(seed), round \(round)")
      }
    }
    if let kernel = kernel as? SimulatedKernel {
      #expect(kernel.violations == [], "seed \(seed)")
      #expect(kernel.inFlightCount == 0)
      if engineCase.access == .direct {
        #expect(kernel.vectoredCount == 0)
      } else if engineCase.isResident {
        #expect(kernel.vectoredCount > 0, "seed \(seed)")
      }
    }
  }

  @Test func `operations of random neighbours cover what is wanted once, within their bounds`() throws {
    var vectoredCount = 0
    for round in 0..<200 {
      let seed = testSeed &+ UInt64(round)
      var random = SeededGenerator(seed: seed)
      let set = RequestSet(neighboursIn: sharedFiles, random: &random)
      var tuning = Tuning()
      tuning.blockByteCount = 1 << Int.random(in: 12...21, using: &random)
      tuning.directBlockByteCount = tuning.blockByteCount
      let batch = try ReadBatch(set.requests, tuning: tuning, handler: set.handler)
      // Operations that meet make one of these.
      var covered: [(file: Int, range: ByteRange)] = []
      while let operation = batch.next() {
        let range = operation.range
        #expect(!range.isEmpty && range.count <= tuning.blockByteCount, "seed \(seed)")
        if let last = covered.last, last.file == operation.file, last.range.end >= range.offset {
          #expect(last.range.end == range.offset, "nothing is read twice, seed \(seed)")
          covered[covered.count - 1].range = ByteRange(
            offset: last.range.offset, count: range.end - last.range.offset)
        } else {
          covered.append((operation.file, range))
        }
        guard case .memories(let segments) = operation.destination else { continue }
        vectoredCount += 1
        #expect((2...ReadDestination.mostSegments).contains(segments.count), "seed \(seed)")
        #expect(segments.reduce(0) { $0 + $1.byteCount } == range.count, "seed \(seed)")
        let parts = batch.directParts(of: operation)
        #expect(
          parts.first?.range.offset == range.offset && parts.last?.range.end == range.end, "seed \(seed)")
        #expect(zip(parts, parts.dropFirst()).allSatisfy { $0.range.end == $1.range.offset }, "seed \(seed)")
        for part in parts {
          if case .memories = part.destination { Issue.record("a part has several memories, seed \(seed)") }
        }
      }
      for request in set.requests {
        let isCovered = covered.contains { $0.file == request.file && $0.range.contains(request.range) }
        #expect(isCovered, "seed \(seed), \(request.range)")
      }
    }
    #expect(vectoredCount > 200)
  }

  // MARK: how many reads

  /// Shorter ones than 128 KiB would form groups.
  private static let layer = [150_000, 4096, 200_000, 12, 140_000]

  @Test(arguments: EngineCase.Backend.allCases)
  func `neighbours cost no read of their own, wherever they go`(_ backend: EngineCase.Backend) async throws {
    var engineCase = EngineCase(
      backend: backend, access: .automatic, isResident: true, blockByteCount: 1 << 20,
      budgetByteCount: 64 << 20, threadCount: 2)
    guard engineCase.isRunnable else { return }
    let neighbours = Neighbours(Self.layer, from: 77)
    let kernel = engineCase.kernel(seed: testSeed)
    let statistics = try await neighbours.read(by: kernel, engineCase.tuning)
    #expect(neighbours.isRight)
    #expect(statistics.requestCount == 1)
    #expect(statistics.bytesRead == Self.layer.reduce(0, +))
    #expect(statistics.bytesWanted == statistics.bytesRead)
    #expect(statistics.stagingByteCount == 0)
    #expect(statistics.bouncedByteCount == 0)
    #expect(statistics.coalescedCount == 0)

    // In blocks of 64 KiB, which begin at multiples of that, it is as many reads as one range would take.
    engineCase.blockByteCount = 32 << 10
    var tuning = engineCase.tuning
    tuning.blockByteCount = 64 << 10
    let again = Neighbours(Self.layer)
    let blocks = try await again.read(by: kernel, tuning)
    #expect(again.isRight)
    #expect(blocks.requestCount == (Self.layer.reduce(0, +) + (64 << 10) - 1) / (64 << 10))
  }

  @Test func `a row is cut at multiples of the block, whatever it is made of`() async throws {
    var tuning = tuning()
    tuning.blockByteCount = 64 << 10
    tuning.directBlockByteCount = 64 << 10
    for (byteCounts, vectoredCount) in [
      ([400_000], 0), ([200_000, 200_000], 1), ([150_000, 50, 249_950], 1), ([1, 399_998, 1], 2),
    ] {
      let kernel = SimulatedKernel(seed: testSeed)
      let neighbours = Neighbours(byteCounts, from: 60 << 10)
      let statistics = try await neighbours.read(by: kernel, tuning)
      #expect(neighbours.isRight)
      #expect(statistics.requestCount == 8)
      #expect(kernel.vectoredCount == vectoredCount)
    }
  }

  @Test func `a group that a multiple of the block cuts is read whole`() async throws {
    var tuning = tuning()
    tuning.blockByteCount = 64 << 10
    tuning.directBlockByteCount = 64 << 10
    let kernel = SimulatedKernel(seed: testSeed)
    let neighbours = Neighbours([65_000, 300, 300, 100_000])
    let statistics = try await neighbours.read(by: kernel, tuning)
    #expect(neighbours.isRight)
    // Up to the group, the group, from there to the next multiple, and the rest.
    #expect(statistics.requestCount == 4)
    #expect(statistics.coalescedCount == 2)
  }

  @Test(arguments: [(1, 1), (3, 1), (6, 1), (7, 2), (8, 3), (40, 3)])
  func `a read fills few memories, and many small ones go through a slot`(
    _ smallCount: Int, _ requestCount: Int
  ) async throws {
    let kernel = SimulatedKernel(seed: testSeed)
    let neighbours = Neighbours(
      [140_000] + Array(repeating: 100, count: smallCount) + [140_000])
    let statistics = try await neighbours.read(by: kernel, tuning())
    #expect(neighbours.isRight)
    #expect(statistics.requestCount == requestCount)
    #expect(statistics.coalescedCount == (smallCount > 7 ? smallCount : 0))
    #expect(kernel.violations == [])
  }

  @Test func `what is read directly is read apart, and by the same rules`() async throws {
    var tuning = tuning()
    tuning.directMinimumByteCount = 128 << 10
    let kernel = SimulatedKernel(seed: testSeed, residentFraction: 0)
    let neighbours = Neighbours([256 << 10, 4096, 2048, 2048, 256 << 10])
    let statistics = try await neighbours.read(by: kernel, tuning)
    #expect(neighbours.isRight)
    #expect(kernel.violations == [])
    #expect(kernel.vectoredCount == 0)
    // The three small ones come in one read, through a slot.
    #expect(statistics.requestCount == 3)
    #expect(statistics.coalescedCount == 3)
    #expect(statistics.bufferedByteCount == 8192)
    #expect(statistics.directByteCount == 512 << 10)
    #expect(statistics.bouncedByteCount == 0)
  }

  @Test func `what is too short to be read directly is one read from the disk, too`() async throws {
    let kernel = SimulatedKernel(seed: testSeed, residentFraction: 0)
    let neighbours = Neighbours([256 << 10, 4096, 2048, 2048, 256 << 10])
    let statistics = try await neighbours.read(by: kernel, tuning())
    #expect(neighbours.isRight)
    #expect(statistics.requestCount == 1)
    #expect(statistics.bufferedByteCount == 520 << 10)
    #expect(kernel.state.withLock { $0.asynchronousCount } == 1)
  }

  @Test(arguments: [false, true])
  func `what is wanted twice, or by a handler, is read by itself`(_ isForHandler: Bool) async throws {
    let kernel = SimulatedKernel(seed: testSeed)
    let neighbours = Neighbours([140_000, 4096, 140_000])
    let other = Memory(4096)
    let range = neighbours.ranges[1]
    let target = isForHandler ? ReadTarget.handler(token: 5) : .memory(other.base)
    let statistics = try await neighbours.read(
      by: kernel, tuning(), and: [ReadRequest(file: 0, range: range, target: target)]
    ) { (token, part, bytes) throws(GraftError) in
      #expect(token == 5)
      UnsafeMutableRawBufferPointer(start: other.base + (part.offset - range.offset), count: part.count)
        .copyMemory(from: bytes)
    }
    #expect(neighbours.isRight)
    #expect(other.bytes(0..<4096) == Array(sharedFiles.contents[4][range.offset..<range.end]))
    #expect(statistics.requestCount == 3)
    #expect(kernel.vectoredCount == 0)
  }

  @Test func `work of another kind is cut at its memories where it is read directly`() async throws {
    struct OneOfThree: ReadWork {
      let isTaken = Locked(false)
      let memory = Memory(300_000)
      let completed = Locked<[ByteRange]>([])
      func next() -> ReadOperation? {
        if isTaken.exchange(true) { return nil }
        let segments = [(200_000, 1), (0, 100_000), (100_000, 12_345)].map {
          MemorySegment(address: memory.base + $0, byteCount: $1)
        }
        return ReadOperation(
          file: 0, range: ByteRange(offset: 5, count: 112_346), destination: .memories(segments))
      }
      func completed(_ operation: ReadOperation, _ bytes: UnsafeRawBufferPointer) throws(GraftError) {
        completed.change { $0.append(operation.range) }
      }
    }
    for access in Tuning.Access.allCases {
      var tuning = tuning()
      tuning.access = access
      let work = OneOfThree()
      let kernel = SimulatedKernel(seed: testSeed)
      let statistics = try await ReadEngine(kernel: kernel).run(
        work, files: [sharedFiles.files[4]], tuning: tuning)
      let content = sharedFiles.contents[4]
      #expect(work.memory.bytes(200_000..<200_001) == [content[5]])
      #expect(work.memory.bytes(0..<100_000) == Array(content[6..<100_006]))
      #expect(work.memory.bytes(100_000..<112_345) == Array(content[100_006..<112_351]))
      #expect(statistics.bytesWanted == 112_346)
      #expect(work.completed.value.count == (access == .direct ? 3 : 1))
      #expect(kernel.violations == [])
    }
  }

  // MARK: faults

  @Test(arguments: engines)
  func `a read that stops short anywhere goes on in the midst of its memories`(_ engine: Tuning.Engine)
    async throws
  {
    let sizes = [140_001, 4096, 150_003, 17, 160_000, 1, 140_000]
    var end = 0
    let ends = sizes.map { size in
      end += size
      return end
    }
    let stops = Set(
      (ends + [0, 512, 4096, 140_032]).flatMap { [$0 - 1, $0, $0 + 1] }.filter { $0 > 0 && $0 < end })
    for stop in stops.sorted() {
      let kernel = SimulatedKernel(seed: testSeed) { index, _ in index == 0 ? .short(stop) : nil }
      let neighbours = Neighbours(sizes, from: 4109)
      let statistics = try await neighbours.read(by: kernel, tuning(engine))
      #expect(neighbours.isRight, "after \(stop) bytes")
      #expect(statistics.requestCount == 2)
      #expect(statistics.retryCount == 1)
      #expect(statistics.bytesRead == end)
      #expect(kernel.violations == [])
    }
    for step in [257, 511, 512, 4096, 4097, 65_536] {
      let kernel = SimulatedKernel(seed: testSeed) { _, _ in .short(step) }
      let neighbours = Neighbours(sizes, from: 4109)
      let statistics = try await neighbours.read(by: kernel, tuning(engine))
      #expect(neighbours.isRight, "in steps of \(step) bytes")
      #expect(statistics.requestCount == (end + step - 1) / step)
      #expect(kernel.violations == [])
    }
  }

  @Test(arguments: FaultCase.all)
  func `interrupted, postponed and short reads of neighbours go on until all is there`(
    _ faultCase: FaultCase
  ) async throws {
    var vectoredCount = 0
    for round in 0..<12 {
      let seed = testSeed &+ UInt64(round)
      let kernel = faultCase.restlessKernel(seed: seed)
      var requestRandom = SeededGenerator(seed: seed)
      let set = RequestSet(neighboursIn: sharedFiles, random: &requestRandom)
      let statistics = try await ReadEngine(kernel: kernel).read(
        set.requests, files: sharedFiles.files, tuning: faultCase.tuning, handler: set.handler)
      #expect(set.faults(sharedFiles) == [], "seed \(seed)")
      #expect(kernel.violations == [], "seed \(seed)")
      #expect(statistics.retryCount > 0)
      vectoredCount += kernel.vectoredCount
    }
    if faultCase.isResident { #expect(vectoredCount > 0) }
  }

  @Test(arguments: FaultCase.all)
  func `the device failing at the n-th read of neighbours ends the run, whichever it is`(
    _ faultCase: FaultCase
  ) async throws {
    var random = SeededGenerator(seed: testSeed)
    var set = RequestSet(neighboursIn: sharedFiles, random: &random)
    // Threads take reads in an order of their own, so that a sweep could miss a single vectored one in each of its runs.
    var vectoredCount = 0
    while faultCase.isResident, vectoredCount < 8 {
      set = RequestSet(neighboursIn: sharedFiles, random: &random)
      let kernel = faultCase.kernel { _, _ in nil }
      _ = try await ReadEngine(kernel: kernel).read(
        set.requests, files: sharedFiles.files, tuning: faultCase.tuning, handler: set.handler)
      vectoredCount = kernel.vectoredCount
    }
    var failedVectoredCount = 0
    var n = 0
    while true {
      let failing = n
      let failed = Locked<[(offset: Int, isVectored: Bool)]>([])
      let kernel = faultCase.kernel { index, read in
        guard index == failing else { return nil }
        failed.change { $0.append((read.offset, read.segments != nil)) }
        return .error(EIO)
      }
      do {
        _ = try await ReadEngine(kernel: kernel).read(
          set.requests, files: sharedFiles.files, tuning: faultCase.tuning, handler: set.handler)
        #expect(failed.value.isEmpty)
        break
      } catch {
        #expect(error.code == .ioFailed)
        let (offset, isVectored) = try #require(failed.value.first)
        let range = try #require(error.range)
        // Direct reads are rounded out to their alignment, by less than 512 bytes here.
        #expect(offset > range.offset - 512 && offset < range.end)
        #expect((error.cause as? SystemCallFailure)?.errorNumber == EIO)
        if isVectored { failedVectoredCount += 1 }
      }
      #expect(kernel.inFlightCount == 0, "no read is in flight when the run has thrown")
      n += 1
      #expect(n < 2000)
    }
    #expect(n > 10, "the sweep covers every read of the run")
    if faultCase.isResident { #expect(failedVectoredCount > 0, "seed \(testSeed)") }
  }

  @Test(arguments: EngineCase.all.filter { $0.isRunnable && $0.threadCount == 2 })
  func `a file that ends within any of the memories of a read is named with the range`(
    _ engineCase: EngineCase
  ) async throws {
    let folder = TemporaryFolder()
    let sizes = [140_000, 4096, 140_000]
    for byteCount in [10, 70_000, 142_000, 144_096, 200_001, 284_095] {
      let path = folder.write("shrinks", [UInt8](repeating: 7, count: 300_000))
      let file = try File(opening: path)
      #expect(truncate(path, off_t(byteCount)) == 0)
      let neighbours = Neighbours(sizes)
      let error = await #expect(throws: GraftError.self) {
        try await ReadEngine(kernel: engineCase.kernel(seed: testSeed)).read(
          neighbours.requests, files: [file], tuning: engineCase.tuning)
      }
      #expect(error?.code == .fileChanged)
      #expect(error?.file == path)
      #expect(error?.found == "\(byteCount) bytes instead of 300000")
      let range = try #require(error?.range)
      #expect(range.end > byteCount && range.end <= 284_096)
    }
  }

  @Test(arguments: engines)
  func `a file that ends at the n-th read of neighbours ends the run`(_ engine: Tuning.Engine) async throws {
    var tuning = FaultCase(engine: engine, isResident: true).tuning
    tuning.directBlockByteCount = 32 << 10
    for n in 0..<6 {
      let kernel = SimulatedKernel(seed: testSeed) { index, _ in index == n ? .end : nil }
      let neighbours = Neighbours(Self.layer)
      let error = await #expect(throws: GraftError.self) { try await neighbours.read(by: kernel, tuning) }
      #expect(error?.code == .truncated)
      #expect(error?.file == sharedFiles.files[4].path)
      #expect(kernel.inFlightCount == 0)
    }
  }

  @Test func `a ring that fails in the midst of neighbours gives over to threads`() async throws {
    var failedRunCount = 0
    var random = SeededGenerator(seed: testSeed)
    for failing in 0..<30 {
      let kernel = SimulatedKernel(seed: testSeed, failingSubmission: failing)
      var tuning = FaultCase(engine: .uring, isResident: true).tuning
      tuning.engine = .automatic
      let set = RequestSet(neighboursIn: sharedFiles, random: &random)
      let statistics = try await ReadEngine(kernel: kernel).read(
        set.requests, files: sharedFiles.files, tuning: tuning, handler: set.handler)
      #expect(set.faults(sharedFiles) == [], "seed \(testSeed), submission \(failing)")
      #expect(kernel.violations == [])
      #expect(kernel.inFlightCount == 0)
      guard kernel.state.withLock({ $0.submissionCount }) > failing else { continue }
      failedRunCount += 1
      #expect(statistics.engine != .uring)
    }
    #expect(failedRunCount > 2)
  }
}
