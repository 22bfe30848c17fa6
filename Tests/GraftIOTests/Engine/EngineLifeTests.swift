import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Synchronization
import Testing

/// Reads that go on until somebody stops them, block after block into the same memory.
private final class EndlessWork: ReadWork {
  let memory: Memory
  let blockByteCount: Int
  let isVectored: Bool
  let cursor = Atomic(0)
  let completedCount = Atomic(0)
  let onCompletion: @Sendable (Int) -> Void

  init(
    blockByteCount: Int = 16 << 10, isVectored: Bool = false, onCompletion: @escaping @Sendable (Int) -> Void
  ) {
    self.blockByteCount = blockByteCount
    self.isVectored = isVectored
    memory = Memory(1 << 20)
    self.onCompletion = onCompletion
  }

  func next() -> ReadOperation? {
    let block = cursor.add(1, ordering: .relaxed).oldValue % ((1 << 20) / blockByteCount)
    let range = ByteRange(offset: block * blockByteCount, count: blockByteCount)
    let half = blockByteCount / 2
    let base = memory.base + range.offset
    // The halves change places.
    let segments = [base + half, base].map { MemorySegment(address: $0, byteCount: half) }
    return ReadOperation(
      file: 0, range: range, destination: isVectored ? .memories(segments) : .memory(base),
      extentByteCount: 1 << 20)
  }

  func completed(_ operation: ReadOperation, _ bytes: UnsafeRawBufferPointer) throws(GraftError) {
    onCompletion(completedCount.add(1, ordering: .relaxed).newValue)
  }
}

/// When an engine starts, stops and shares.
@Suite(.timeLimit(.minutes(5))) struct EngineLifeTests {
  let file = sharedFiles.files[4]

  @Test(arguments: EngineCase.all.filter { $0.isRunnable && $0.threadCount == 3 }, [false, true])
  func `a cancelled read returns at once, and nothing is written after it`(
    _ engineCase: EngineCase, _ isVectored: Bool
  ) async throws {
    let kernel = engineCase.kernel(seed: testSeed)
    let engine = ReadEngine(kernel: kernel)
    for after in [1, 2, 17, 60] {
      let (arrivals, arrived) = AsyncStream<Void>.makeStream()
      let work = EndlessWork(isVectored: isVectored) { count in
        if count == after { arrived.finish() }
      }
      let file = file
      let task = Task { try await engine.run(work, files: [file], tuning: engineCase.tuning) }
      for await _ in arrivals {}
      task.cancel()
      let result = await task.result
      let memory = work.memory
      memset(memory.base, Int32(Memory.untouched), memory.count)
      let error = #expect(throws: GraftError.self) { try result.get() }
      #expect(error?.code == .cancelled)
      if let kernel = kernel as? SimulatedKernel { #expect(kernel.inFlightCount == 0) }
      usleep(3000)
      #expect(memory.isUntouched)
    }
  }

  @Test func `a task that is cancelled already reads nothing`() async throws {
    let kernel = SimulatedKernel(seed: testSeed)
    let engine = ReadEngine(kernel: kernel)
    let file = file
    let task = Task {
      while !Task.isCancelled { await Task.yield() }
      return try await engine.run(EndlessWork { _ in }, files: [file])
    }
    task.cancel()
    let result = await task.result
    let error = #expect(throws: GraftError.self) { try result.get() }
    #expect(error?.code == .cancelled)
    #expect(kernel.readCount == 0)
  }

  @Test func `a run that waits for a thread can be cancelled`() async throws {
    let engine = ReadEngine(kernel: SimulatedKernel(seed: testSeed), maximumThreadCount: 1)
    let file = file
    let (arrivals, arrived) = AsyncStream<Void>.makeStream()
    let first = Task {
      try await engine.run(EndlessWork { if $0 == 1 { arrived.finish() } }, files: [file])
    }
    for await _ in arrivals {}
    // The only thread is busy for ever.
    let second = Task {
      try await engine.run(EndlessWork { _ in Issue.record("there is no thread") }, files: [file])
    }
    try await Task.sleep(for: .milliseconds(5))
    second.cancel()
    let result = await second.result
    #expect(throws: GraftError.self) { try result.get() }
    first.cancel()
    _ = await first.result
  }

  @Test(arguments: [1, 2, 50]) func `many runs share the threads there are`(_ maximumThreadCount: Int)
    async throws
  {
    let engine = ReadEngine(kernel: SystemKernel(), maximumThreadCount: maximumThreadCount)
    try await withThrowingTaskGroup(of: [String].self) { group in
      for run in 0..<12 {
        group.addTask {
          var random = SeededGenerator(seed: testSeed &+ UInt64(run))
          let set = RequestSet(sharedFiles, count: 15, random: &random)
          var tuning = Tuning()
          tuning.threadCount = 3
          tuning.budgetByteCount = 1 << 20
          _ = try await engine.read(
            set.requests, files: sharedFiles.files, tuning: tuning, handler: set.handler)
          return set.faults(sharedFiles)
        }
      }
      for try await faults in group { #expect(faults == [], "seed \(testSeed)") }
    }
  }

  @Test func `the threads and rings end with the engine`() async throws {
    func descriptorCount() -> Int { TemporaryFolder.names("/proc/self/fd").count }
    func threadCount() -> Int { TemporaryFolder.names("/proc/self/task").count }
    for _ in 0..<40 {
      var tuning = Tuning()
      tuning.threadCount = 8
      _ = try await ReadEngine().bytes(ByteRange(offset: 0, count: 1 << 20), of: file, tuning: tuning)
    }
    // 320 threads and rings were made. Other tests run at the same time, so the bounds are wide.
    for _ in 0..<500 where threadCount() > 150 || descriptorCount() > 200 { usleep(10_000) }
    #expect(threadCount() <= 150)
    #expect(descriptorCount() <= 200)
  }

  @Test func `a run with a smaller budget does not keep the memory of a larger one`() async throws {
    let engine = ReadEngine(kernel: SimulatedKernel(seed: testSeed))
    for budget in [16 << 20, 1 << 20, 64 << 10, 16 << 20] {
      var tuning = Tuning()
      tuning.budgetByteCount = budget
      let bytes = Locked(0)
      let statistics = try await engine.read(
        [ReadRequest(file: 0, range: ByteRange(offset: 1, count: 1_000_000), target: .handler(token: 0))],
        files: [file], tuning: tuning
      ) { (_, _, part) in bytes.change { $0 += part.count } }
      #expect(bytes.value == 1_000_000)
      #expect(statistics.stagingByteCount > 0 && statistics.stagingByteCount <= budget)
    }
    engine.releaseIdleMemory()
  }

  @Test(arguments: ringsAreUsable ? [Tuning.Engine.uring, .threads] : [.threads])
  func `a range of more than two gibibytes is read`(_ kind: Tuning.Engine) async throws {
    // A sparse file in memory: reading its holes costs no cache and no disk.
    let folder = TemporaryFolder(in: "/dev/shm")
    let byteCount = (2 << 30) + 12_345
    let path = folder.write("sparse", [])
    #expect(truncate(path, off_t(byteCount)) == 0)
    let marks = [0, (1 << 31) - 1, 1 << 31, byteCount - 1]
    let descriptor = open(path, O_WRONLY)
    for mark in marks {
      var byte: UInt8 = 42
      #expect(pwrite(descriptor, &byte, 1, off_t(mark)) == 1)
    }
    close(descriptor)
    let file = try File(opening: path)
    var tuning = Tuning()
    tuning.engine = kind
    let seen = Locked<(byteCount: Int, marks: Set<Int>)>((0, []))
    let statistics = try await ReadEngine().read(
      [ReadRequest(file: 0, range: ByteRange(offset: 0, count: byteCount), target: .handler(token: 0))],
      files: [file], tuning: tuning
    ) { (_, part, bytes) in
      seen.change { seen in
        seen.byteCount += bytes.count
        for mark in marks where mark >= part.offset && mark < part.end && bytes[mark - part.offset] == 42 {
          seen.marks.insert(mark)
        }
      }
    }
    #expect(seen.value.byteCount == byteCount)
    #expect(seen.value.marks == Set(marks))
    #expect(statistics.bytesRead == byteCount)
  }
}
