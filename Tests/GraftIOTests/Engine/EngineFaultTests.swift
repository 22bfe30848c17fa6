import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Synchronization
import Testing

/// How a simulated kernel is read in fault tests: both kinds of queue, through the cache and around it.
struct FaultCase: CustomTestStringConvertible, Sendable {
  var engine: Tuning.Engine
  var isResident: Bool
  var testDescription: String { "\(engine) \(isResident ? "buffered" : "direct")" }

  static let all = [Tuning.Engine.uring, .threads].flatMap { engine in
    [true, false].map { FaultCase(engine: engine, isResident: $0) }
  }

  var tuning: Tuning {
    var tuning = Tuning()
    tuning.engine = engine
    tuning.blockByteCount = 32 << 10
    tuning.directBlockByteCount = 64 << 10
    tuning.directMinimumByteCount = 64 << 10
    tuning.threadCount = 2
    tuning.queueDepth = 3
    return tuning
  }

  func kernel(
    seed: UInt64 = testSeed, alignment: Int? = 512,
    fault: @escaping @Sendable (Int, KernelRead) -> SimulatedKernel.Fault?
  ) -> SimulatedKernel {
    SimulatedKernel(seed: seed, residentFraction: isResident ? 1 : 0, alignment: alignment, fault: fault)
  }

  /// A kernel of which half of the reads are interrupted, postponed or cut short.
  func restlessKernel(seed: UInt64) -> SimulatedKernel {
    let random = Mutex(SeededGenerator(seed: seed))
    return kernel(seed: seed) { _, read in
      random.withLock { random in
        switch UInt8.random(in: 0..<8, using: &random) {
        case 0: .error(EINTR)
        case 1: .error(EAGAIN)
        case 2, 3: .short(Int.random(in: 1...read.byteCount, using: &random))
        default: nil
        }
      }
    }
  }
}

@Suite(.timeLimit(.minutes(5))) struct EngineFaultTests {
  @Test(arguments: FaultCase.all)
  func `interrupted, postponed and short reads go on until all is there`(_ faultCase: FaultCase) async throws
  {
    for round in 0..<8 {
      let seed = testSeed &+ UInt64(round)
      let kernel = faultCase.restlessKernel(seed: seed)
      var requestRandom = SeededGenerator(seed: seed)
      let set = RequestSet(sharedFiles, count: 30, random: &requestRandom)
      let statistics = try await ReadEngine(kernel: kernel).read(
        set.requests, files: sharedFiles.files, tuning: faultCase.tuning, handler: set.handler)
      #expect(set.faults(sharedFiles) == [], "seed \(seed)")
      #expect(kernel.violations == [], "seed \(seed)")
      #expect(statistics.retryCount > 0)
    }
  }

  @Test(arguments: FaultCase.all)
  func `the device failing at the n-th read ends the run, whichever it is`(_ faultCase: FaultCase)
    async throws
  {
    var random = SeededGenerator(seed: testSeed)
    let set = RequestSet(sharedFiles, count: 25, random: &random)
    var n = 0
    while true {
      let failing = n
      let failed = Locked<[Int]>([])
      let kernel = faultCase.kernel { index, read in
        guard index == failing else { return nil }
        failed.change { $0.append(read.offset) }
        return .error(EIO)
      }
      do {
        _ = try await ReadEngine(kernel: kernel).read(
          set.requests, files: sharedFiles.files, tuning: faultCase.tuning, handler: set.handler)
        #expect(failed.value.isEmpty)
        break
      } catch {
        #expect(error.code == .ioFailed)
        #expect(sharedFiles.files.map(\.path).contains(error.file ?? ""))
        let offset = try #require(failed.value.first)
        let range = try #require(error.range)
        // Direct reads are rounded out to their alignment, by less than 512 bytes here.
        #expect(offset > range.offset - 512 && offset < range.end)
        #expect((error.cause as? SystemCallFailure)?.errorNumber == EIO)
      }
      #expect(kernel.inFlightCount == 0, "no read is in flight when the run has thrown")
      n += 1
      #expect(n < 2000)
    }
    #expect(n > 10, "the sweep covers every read of the run")
  }

  @Test(arguments: FaultCase.all)
  func `a read that is postponed for ever fails in the end`(_ faultCase: FaultCase) async throws {
    // Every attempt but the first sixteen waits a millisecond: seconds in all, so only one of the cases is run in full.
    let failing = faultCase.engine == .threads && faultCase.isResident
    let kernel = faultCase.kernel { index, _ in failing || index < 30 ? .error(EAGAIN) : nil }
    let range = ByteRange(offset: 10, count: 1000)
    if failing {
      let error = await #expect(throws: GraftError.self) {
        try await ReadEngine(kernel: kernel).bytes(range, of: sharedFiles.files[4], tuning: faultCase.tuning)
      }
      #expect(error?.code == .ioFailed)
      #expect(error?.range == range)
    } else {
      let (bytes, _) = try await ReadEngine(kernel: kernel).bytes(
        range, of: sharedFiles.files[4], tuning: faultCase.tuning)
      #expect(bytes == Array(sharedFiles.contents[4][10..<1010]))
    }
  }

  @Test(arguments: [EINVAL, EOPNOTSUPP], [Tuning.Engine.uring, .threads])
  func `direct reads that fail although they are offered go through the cache`(
    _ number: CInt, _ engine: Tuning.Engine
  ) async throws {
    let faultCase = FaultCase(engine: engine, isResident: false)
    let descriptors = Locked<Set<CInt>>([])
    let real = CInt(sharedFiles.files[4].rawDescriptor)
    let kernel = faultCase.kernel { _, read in
      descriptors.change { $0.insert(read.descriptor) }
      return read.descriptor == real ? nil : .error(number)
    }
    for offset in [0, 100] {
      let range = ByteRange(offset: offset, count: 900_000)
      let (bytes, statistics) = try await ReadEngine(kernel: kernel).bytes(
        range, of: sharedFiles.files[4], tuning: faultCase.tuning)
      #expect(bytes == Array(sharedFiles.contents[4][range.offset..<range.end]))
      #expect(statistics.bufferedByteCount == 900_000)
      #expect(statistics.directByteCount == 0)
      #expect(statistics.directRefusal?.contains(sharedFiles.files[4].path) == true)
    }
    #expect(descriptors.value.count > 1, "it was tried")
  }

  @Test func `a file system without direct I/O is read through the cache, and the statistics say so`()
    async throws
  {
    let faultCase = FaultCase(engine: .uring, isResident: false)
    let kernel = faultCase.kernel(alignment: nil) { _, _ in nil }
    let (bytes, statistics) = try await ReadEngine(kernel: kernel).bytes(
      ByteRange(offset: 0, count: 1 << 20), of: sharedFiles.files[4], tuning: faultCase.tuning)
    #expect(bytes == sharedFiles.contents[4])
    #expect(statistics.bufferedByteCount == 1 << 20)
    #expect(statistics.directRefusal?.hasPrefix("open: Invalid argument (EINVAL)") == true)
  }

  // MARK: files that are shorter than they were

  @Test(arguments: EngineCase.all.filter { $0.isRunnable && $0.threadCount == 2 })
  func `a file that shrinks after it was opened is named with the range`(_ engineCase: EngineCase)
    async throws
  {
    let folder = TemporaryFolder()
    let path = folder.write("shrinks", [UInt8](repeating: 7, count: 300_000))
    let file = try File(opening: path)
    #expect(truncate(path, 150_001) == 0)
    let range = ByteRange(offset: 100_000, count: 150_000)
    let error = await #expect(throws: GraftError.self) {
      try await ReadEngine(kernel: engineCase.kernel(seed: testSeed)).bytes(
        range, of: file, tuning: engineCase.tuning)
    }
    #expect(error?.code == .fileChanged)
    #expect(error?.file == path)
    #expect(error?.range == range)
    #expect(error?.found == "150001 bytes instead of 300000")
  }

  @Test(arguments: FaultCase.all)
  func `a file that ends in the midst of a range ends the run`(_ faultCase: FaultCase) async throws {
    for n in 0..<6 {
      let kernel = faultCase.kernel { index, _ in index == n ? .end : nil }
      let error = await #expect(throws: GraftError.self) {
        try await ReadEngine(kernel: kernel).bytes(
          ByteRange(offset: 1000, count: 900_000), of: sharedFiles.files[4], tuning: faultCase.tuning)
      }
      #expect(error?.code == .truncated)
      #expect(error?.file == sharedFiles.files[4].path)
    }
  }

  @Test func `a range past the end of the file is refused before anything is read`() async throws {
    let kernel = SimulatedKernel(seed: testSeed)
    let memory = Memory(10)
    for range in [
      ByteRange(offset: (1 << 20) - 5, count: 10), ByteRange(offset: Int.max - 10, count: 10),
    ] {
      let error = await #expect(throws: GraftError.self) {
        try await ReadEngine(kernel: kernel).read(
          [ReadRequest(file: 0, range: range, target: .memory(memory.base))], files: [sharedFiles.files[4]])
      }
      #expect(error?.code == .truncated)
      #expect(error?.range == range)
      #expect(error?.found == "1048576 bytes")
    }
    #expect(kernel.readCount == 0)
    #expect(memory.isUntouched)
  }

  @Test func `a request for a file that is not there is an error`() async throws {
    for index in [-1, 1, Int.max] {
      let error = await #expect(throws: GraftError.self) {
        try await ReadEngine().read(
          [ReadRequest(file: index, range: ByteRange(offset: 0, count: 1), target: .handler(token: 0))],
          files: [sharedFiles.files[4]])
      }
      #expect(error?.code == .invalidArgument)
    }
  }

  @Test func `an operation longer than a slot is an error`() async throws {
    struct OneLong: ReadWork {
      let isTaken = Locked(false)
      func next() -> ReadOperation? {
        if isTaken.exchange(true) { return nil }
        return ReadOperation(file: 0, range: ByteRange(offset: 0, count: 1 << 20), destination: .slot)
      }
      func completed(_ operation: ReadOperation, _ bytes: UnsafeRawBufferPointer) throws(GraftError) {}
    }
    var tuning = Tuning()
    tuning.threadCount = 1
    tuning.blockByteCount = 4096
    tuning.directBlockByteCount = 4096
    let error = await #expect(throws: GraftError.self) {
      try await ReadEngine().run(OneLong(), files: [sharedFiles.files[4]], tuning: tuning)
    }
    #expect(error?.code == .invalidArgument)
  }

  @Test func `what a handler throws ends the run, and nothing is handled after it`() async throws {
    let calls = Locked(0)
    var tuning = Tuning()
    tuning.threadCount = 1
    tuning.blockByteCount = 4096
    tuning.directBlockByteCount = 4096
    let kernel = SimulatedKernel(seed: testSeed)
    let error = await #expect(throws: GraftError.self) {
      try await ReadEngine(kernel: kernel).read(
        [ReadRequest(file: 0, range: ByteRange(offset: 0, count: 1 << 20), target: .handler(token: 0))],
        files: [sharedFiles.files[4]], tuning: tuning
      ) { (_, _, _) throws(GraftError) in
        calls.change { $0 += 1 }
        if calls.value == 7 { throw GraftError(.corrupt, "on purpose") }
      }
    }
    #expect(error?.code == .corrupt)
    #expect(calls.value == 7)
    #expect(kernel.inFlightCount == 0)
  }

  // MARK: rings that are refused or fail

  static let refusal = RingRefusal(
    reason: "a test forbids it", remedy: "ask the test", cause: SystemCallFailure("io_uring_setup", EPERM))

  @Test func `where rings are refused, threads read, and the statistics say why`() async throws {
    let kernel = SimulatedKernel(seed: testSeed, ringRefusal: Self.refusal)
    let (bytes, statistics) = try await ReadEngine(kernel: kernel).bytes(
      ByteRange(offset: 0, count: 1 << 20), of: sharedFiles.files[4])
    #expect(bytes == sharedFiles.contents[4])
    #expect(statistics.engine == .threads)
    #expect(
      statistics.engineReason
        == "io_uring is refused: a test forbids it (io_uring_setup: Operation not permitted (EPERM))")
  }

  @Test func `whoever insists on io_uring is told why not and what to do`() async throws {
    let kernel = SimulatedKernel(seed: testSeed, ringRefusal: Self.refusal)
    var tuning = Tuning()
    tuning.engine = .uring
    let error = await #expect(throws: GraftError.self) {
      try await ReadEngine(kernel: kernel).bytes(
        ByteRange(offset: 0, count: 1 << 20), of: sharedFiles.files[4], tuning: tuning)
    }
    #expect(error?.code == .unsupported)
    #expect(error?.remedy == "ask the test, or choose the engine auto or threads")
    #expect(kernel.readCount == 0)
  }

  @Test(arguments: [true, false]) func `a ring that fails in the midst of a run gives over to threads`(
    _ isResident: Bool
  ) async throws {
    var failedRunCount = 0
    for failing in 0..<30 {
      let kernel = SimulatedKernel(
        seed: testSeed, residentFraction: isResident ? 1 : 0, failingSubmission: failing)
      var tuning = FaultCase(engine: .uring, isResident: isResident).tuning
      tuning.engine = .automatic
      var random = SeededGenerator(seed: testSeed)
      let set = RequestSet(sharedFiles, count: 40, random: &random)
      let statistics = try await ReadEngine(kernel: kernel).read(
        set.requests, files: sharedFiles.files, tuning: tuning, handler: set.handler)
      #expect(set.faults(sharedFiles) == [], "seed \(testSeed), submission \(failing)")
      #expect(kernel.violations == [])
      #expect(kernel.inFlightCount == 0)
      // The workers share the work as they come, so how often they submit differs from run to run.
      guard kernel.state.withLock({ $0.submissionCount }) > failing else { continue }
      failedRunCount += 1
      #expect(statistics.engine != .uring)
      #expect(statistics.engineReason.contains("stopped taking reads"))
    }
    #expect(failedRunCount > 2)
  }

  @Test func `a ring that fails in the midst of a run ends it where io_uring was insisted on`() async throws {
    let kernel = SimulatedKernel(seed: testSeed, failingSubmission: 1)
    var tuning = FaultCase(engine: .uring, isResident: true).tuning
    tuning.threadCount = 1
    let error = await #expect(throws: GraftError.self) {
      try await ReadEngine(kernel: kernel).bytes(
        ByteRange(offset: 0, count: 1 << 20), of: sharedFiles.files[4], tuning: tuning)
    }
    #expect(error?.code == .unsupported)
    #expect(kernel.inFlightCount == 0)
  }

  @Test func `threads without a ring bring in others where reads wait for the disk`() async throws {
    // Each read takes a while, so that one worker alone could never have several at once.
    let kernel = SimulatedKernel(
      seed: testSeed, residentFraction: 0, ringRefusal: Self.refusal, latencyMicroseconds: 2000)
    var tuning = FaultCase(engine: .threads, isResident: false).tuning
    tuning.threadCount = 1
    tuning.queueDepth = 8
    let (bytes, _) = try await ReadEngine(kernel: kernel).bytes(
      ByteRange(offset: 0, count: 1 << 20), of: sharedFiles.files[4], tuning: tuning)
    #expect(bytes == sharedFiles.contents[4])
    #expect(kernel.state.withLock { $0.mostInFlight } > 1)
  }
}
