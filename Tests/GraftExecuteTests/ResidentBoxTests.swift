import Glibc
import GraftCore
import GraftExecute
import GraftIO
import GraftTestSupport
import Synchronization
import Testing

/// `GRAFT_TEST_SEED`, else a seed of this run; failures print it.
private let testSeed = seedFromEnvironment() ?? .random(in: 0..<1_000_000)

/// Layers one after the other in a file, stacked so that their elements, or short runs of them, take turns.
private struct Stack {
  let folder: TestFolder
  let path: String
  let plan: Plan
  let values: [UInt8]
  let shape: [Int]
  let width: Int
  let axis: Int
  static let layerCount = 7

  init(_ dtype: DType, shape: [Int], axis: Int) throws {
    self.shape = shape
    self.axis = axis
    width = dtype.bitWidth / 8
    folder = try TestFolder()
    var generator = SeededGenerator(seed: testSeed)
    let spec = TensorSpec(dtype, Shape(shape))
    var words = [UInt64](repeating: 0, count: spec.byteCount * Self.layerCount / 8 + 1)
    for index in words.indices { words[index] = generator.next() }
    // Behind three bytes, so that nothing is aligned to anything.
    let values = words.withUnsafeBytes { Array($0.prefix(spec.byteCount * Self.layerCount)) }
    self.values = values
    path = try folder.write("layers", [1, 2, 3] + values)
    let layers = (0..<Self.layerCount).map { index -> LazyTensor in
      let range = ByteRange(offset: 3 + index * spec.byteCount, count: spec.byteCount)
      return LazyTensor(
        spec, StoredOperand(source: 0, path: "leaf", layout: Layout(contiguous: spec, file: 0, range: range)))
    }
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: 3 + values.count)])
    _ = try planner.add("stacked", .stack(layers, axis: axis))
    plan = planner.plan()
  }

  /// The stack, element by element.
  var expected: [UInt8] {
    let outer = shape[..<axis].reduce(1, *)
    let inner = shape[axis...].reduce(1, *) * width
    var result = values
    for layer in 0..<Self.layerCount {
      for index in 0..<outer {
        for byte in 0..<inner {
          result[(index * Self.layerCount + layer) * inner + byte] =
            values[(layer * outer + index) * inner + byte]
        }
      }
    }
    return result
  }

  /// Reads it: the bytes that came, and the report.
  func load(_ engine: ReadEngine, _ tuning: Tuning = Tuning()) async throws -> (
    found: [UInt8], report: ReadReport
  ) {
    let memory = ResultMemory(byteCount: values.count)
    let report = try await Executor(plan, tuning: tuning, engine: engine).run(
      into: [.memory(UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<values.count]))])
    return (Array(memory.bytes[..<values.count]), report)
  }
}

/// The system's kernel, which at some reads finds only a part of the bytes in the page cache.
private final class PartlyResidentKernel: ReadKernel {
  private let system = SystemKernel()
  private let calls = Atomic(0)
  private let byteCount: @Sendable (_ call: Int, _ wanted: Int) -> Int

  /// How often it was asked.
  var callCount: Int { calls.load(ordering: .relaxed) }
  private let residentFraction: Double?

  init(
    residentFraction: Double? = 1,
    _ byteCount: @escaping @Sendable (_ call: Int, _ wanted: Int) -> Int = { $1 }
  ) {
    self.residentFraction = residentFraction
    self.byteCount = byteCount
  }

  func makeRingQueue(capacity: Int) throws(RingRefusal) -> any ReadQueue {
    try system.makeRingQueue(capacity: capacity)
  }
  func makeBlockingQueue() -> any ReadQueue { system.makeBlockingQueue() }
  func residentFraction(of file: File, _ range: ByteRange) -> Double? { residentFraction }
  func openDirect(_ file: File) throws(SystemCallFailure) -> DirectFile { try system.openDirect(file) }

  func readResident(_ file: File, _ range: ByteRange, into memory: UnsafeMutableRawBufferPointer) -> Int {
    let call = calls.add(1, ordering: .relaxed).oldValue
    let count = min(range.count, byteCount(call, range.count))
    // Whatever lies behind what came, nobody may take it for the file's bytes.
    memory.initializeMemory(as: UInt8.self, repeating: 0xEE)
    if count > 0 {
      _ = try? file.readFully(
        ByteRange(offset: range.offset, count: count),
        into: UnsafeMutableRawBufferPointer(rebasing: memory[..<count]))
    }
    return max(0, count)
  }
}

/// Compares megabytes in a debug build.
private func areEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
  a.count == b.count
    && a.withUnsafeBytes { a in b.withUnsafeBytes { memcmp(a.baseAddress!, $0.baseAddress!, a.count) == 0 } }
}

@Suite(.timeLimit(.minutes(5))) struct ResidentBoxTests {
  @Test(arguments: [
    (DType.uint8, [1021, 611], 2), (.bfloat16, [1021, 311], 2), (.float32, [1021, 155], 2),
    (.float64, [1021, 77], 2), (.complex128, [1021, 39], 2), (.bfloat16, [40_001, 8], 1),
    (.bfloat16, [317_777], 1),
  ])
  func `layers that take turns come out of the page cache in boxes, each byte once`(
    dtype: DType, shape: [Int], axis: Int
  ) async throws {
    let stack = try Stack(dtype, shape: shape, axis: axis)
    let kernel = PartlyResidentKernel()
    let (found, report) = try await stack.load(ReadEngine(kernel: kernel))
    #expect(areEqual(found, stack.expected), "seed \(testSeed)")
    #expect(report.bytesRead == stack.values.count)
    #expect(report.bytesWanted == stack.values.count)
    #expect(report.requestCount == kernel.callCount)
    #expect(
      report.requestCount.isMultiple(of: Stack.layerCount) && report.requestCount > 2 * Stack.layerCount)
    #expect(report.bytesRead / report.requestCount > 64 << 10)
    let forecast = try Executor(stack.plan, tuning: Tuning()).forecast(isResident: true)
    #expect(forecast.requestCount == report.requestCount)
    #expect(forecast.bytesRead == report.bytesRead)
    #expect(forecast.peakStagingByteCount == report.peakStagingByteCount)
  }

  /// Something is missing at the n-th read, for every n: a whole piece, a part of one, and everything from there on.
  @Test(arguments: [0, 1, 4095, Int.max]) func `what is not in the page cache comes through the engine`(
    byteCount: Int
  ) async throws {
    let stack = try Stack(.bfloat16, shape: [521, 311], axis: 2)
    let expected = stack.expected
    var missedCount = 0
    for failing in 0... {
      let kernel = PartlyResidentKernel { call, wanted in
        if byteCount == .max { return call < failing ? wanted : 0 }
        return call == failing ? byteCount : wanted
      }
      let (found, report) = try await stack.load(ReadEngine(kernel: kernel))
      #expect(areEqual(found, expected), "the \(failing)th read brings \(byteCount) bytes, seed \(testSeed)")
      #expect(report.bytesWanted == stack.values.count)
      // Of a box of which something is missing, what came before is read again.
      #expect(report.bytesRead >= stack.values.count)
      #expect(report.bytesRead <= stack.values.count + 4 * (1 << 20))
      if kernel.callCount <= failing { break }
      missedCount += 1
    }
    #expect(missedCount >= 14)
  }

  @Test(arguments: [nil, 0, 0.5]) func `what the page cache is not known to have is not asked of it`(
    fraction: Double?
  ) async throws {
    let stack = try Stack(.bfloat16, shape: [1021, 311], axis: 2)
    let kernel = PartlyResidentKernel(residentFraction: fraction)
    let (found, report) = try await stack.load(ReadEngine(kernel: kernel))
    #expect(areEqual(found, stack.expected), "seed \(testSeed)")
    #expect(kernel.callCount == 0)
    #expect(report.bytesWanted == stack.values.count)
  }

  @Test func `a page cache that loses the file is asked a few times more at most`() async throws {
    let stack = try Stack(.bfloat16, shape: [1021, 1311], axis: 2)
    let kernel = PartlyResidentKernel { _, _ in 0 }
    let (found, report) = try await stack.load(ReadEngine(kernel: kernel))
    #expect(areEqual(found, stack.expected), "seed \(testSeed)")
    #expect(kernel.callCount <= 4 + UsableProcessors.count)
    #expect(report.bytesRead == stack.values.count)
  }

  @Test func `whoever wants direct reads or a ring gets them`() async throws {
    let stack = try Stack(.bfloat16, shape: [1021, 311], axis: 2)
    for change in [{ $0.access = .direct }, { $0.engine = .uring }] as [(inout Tuning) -> Void] {
      var tuning = Tuning()
      change(&tuning)
      let kernel = PartlyResidentKernel()
      do {
        let (found, _) = try await stack.load(ReadEngine(kernel: kernel), tuning)
        #expect(areEqual(found, stack.expected), "seed \(testSeed)")
      } catch let error as GraftError where error.code == .unsupported {}
      #expect(kernel.callCount == 0)
    }
  }

  @Test(arguments: [1 << 20, 2 << 20, 8 << 20]) func `boxes keep to the budget`(budgetByteCount: Int)
    async throws
  {
    let stack = try Stack(.bfloat16, shape: [1021, 311], axis: 2)
    var tuning = Tuning()
    tuning.budgetByteCount = budgetByteCount
    let (found, report) = try await stack.load(ReadEngine(), tuning)
    #expect(areEqual(found, stack.expected), "seed \(testSeed)")
    #expect(report.peakStagingByteCount <= budgetByteCount)
  }

  @Test func `a file that became shorter is an error that names it`() async throws {
    let stack = try Stack(.bfloat16, shape: [1021, 311], axis: 2)
    // It shrinks when boxes are read already.
    let path = stack.path
    let kernel = PartlyResidentKernel { call, wanted in
      if call == 5 { _ = truncate(path, 4097) }
      return call < 5 ? wanted : 0
    }
    let error = await #expect(throws: GraftError.self) { try await stack.load(ReadEngine(kernel: kernel)) }
    #expect(error?.file == path)
  }

  @Test func `a task that is cancelled ends between two boxes`() async throws {
    let stack = try Stack(.bfloat16, shape: [1021, 1311], axis: 2)
    let task = Mutex<Task<ReadReport, any Error>?>(nil)
    let kernel = PartlyResidentKernel { call, wanted in
      if call == 9 { task.withLock { $0?.cancel() } }
      return wanted
    }
    let started = Task { () async throws -> ReadReport in
      while task.withLock({ $0 == nil }) { await Task.yield() }
      return try await stack.load(ReadEngine(kernel: kernel)).report
    }
    task.withLock { $0 = started }
    let result = await started.result
    #expect { try result.get() } throws: { ($0 as? GraftError)?.code == .cancelled }
    #expect(kernel.callCount < 10 + 2 * Stack.layerCount * UsableProcessors.count)
  }
}
