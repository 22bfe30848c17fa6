import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Testing

/// One way to read; all of them give the same bytes.
struct EngineCase: CustomTestStringConvertible, Sendable {
  enum Backend: String, CaseIterable { case uring, threads, simulatedRing, simulatedThreads }
  var backend: Backend
  var access: Tuning.Access
  var isResident: Bool
  var blockByteCount: Int
  var budgetByteCount: Int
  var threadCount: Int

  var testDescription: String {
    "\(backend) \(access) \(isResident ? "warm" : "cold") block \(blockByteCount) budget \(budgetByteCount) threads \(threadCount)"
  }

  static let all: [EngineCase] = Backend.allCases.flatMap { backend in
    Tuning.Access.allCases.flatMap { access in
      [true, false].flatMap { isResident in
        [(4096, 40_000, 1), (65_536, 1 << 20, 3), (1 << 20, 64 << 20, 2)].map {
          EngineCase(
            backend: backend, access: access, isResident: isResident, blockByteCount: $0, budgetByteCount: $1,
            threadCount: $2)
        }
      }
    }
  }

  var isRunnable: Bool { backend != .uring || ringsAreUsable }

  func kernel(seed: UInt64) -> any ReadKernel {
    switch backend {
    case .uring, .threads: KernelWithResidency(residentFraction: isResident ? 1 : 0)
    case .simulatedRing, .simulatedThreads: SimulatedKernel(seed: seed, residentFraction: isResident ? 1 : 0)
    }
  }

  var tuning: Tuning {
    var tuning = Tuning()
    tuning.engine =
      switch backend {
      case .uring, .simulatedRing: .uring
      case .threads, .simulatedThreads: .threads
      }
    tuning.access = access
    tuning.blockByteCount = blockByteCount
    tuning.directBlockByteCount = 2 * blockByteCount
    tuning.directMinimumByteCount = 60_000
    tuning.budgetByteCount = budgetByteCount
    tuning.threadCount = threadCount
    tuning.queueDepth = 4
    return tuning
  }
}

/// The real kernel, with a residency that does not depend on what the machine has cached.
struct KernelWithResidency: ReadKernel {
  var residentFraction: Double?
  private let system = SystemKernel()
  init(residentFraction: Double?) { self.residentFraction = residentFraction }
  func makeRingQueue(capacity: Int) throws(RingRefusal) -> any ReadQueue {
    try system.makeRingQueue(capacity: capacity)
  }
  func makeBlockingQueue() -> any ReadQueue { system.makeBlockingQueue() }
  func residentFraction(of file: File, _ range: ByteRange) -> Double? { residentFraction }
  func readResident(_ file: File, _ range: ByteRange, into memory: UnsafeMutableRawBufferPointer) -> Int {
    residentFraction == 1 ? system.readResident(file, range, into: memory) : 0
  }
  func openDirect(_ file: File) throws(SystemCallFailure) -> DirectFile { try system.openDirect(file) }
}

@Suite(.timeLimit(.minutes(5))) struct EngineConformanceTests {
  @Test(arguments: EngineCase.all.filter(\.isRunnable))
  func `random ranges of random files come as they are`(_ engineCase: EngineCase) async throws {
    let seed = testSeed
    var random = SeededGenerator(seed: seed)
    let files = sharedFiles
    let kernel = engineCase.kernel(seed: seed)
    let engine = ReadEngine(kernel: kernel)
    for round in 0..<2 {
      let set = RequestSet(files, count: 40, random: &random)
      let statistics = try await engine.read(
        set.requests, files: files.files, tuning: engineCase.tuning, handler: set.handler)
      #expect(set.faults(files) == [], "seed \(seed), round \(round)")
      #expect(statistics.bytesRead == statistics.directByteCount + statistics.bufferedByteCount)
      #expect(statistics.stagingByteCount <= engineCase.budgetByteCount)
      #expect(statistics.engine == engineCase.tuning.engine)
      if engineCase.access == .buffered || engineCase.access == .automatic && engineCase.isResident {
        #expect(statistics.directByteCount == 0)
        #expect(statistics.bytesRead >= statistics.bytesWanted)
        #expect(
          Double(statistics.bytesRead) <= engineCase.tuning.overReadFactor * Double(statistics.bytesWanted))
      } else {
        #expect(statistics.directByteCount > 0 || statistics.directRefusal != nil, "seed \(seed)")
      }
      if engineCase.access == .direct, statistics.directRefusal == nil {
        #expect(statistics.bufferedByteCount == 0)
      }
    }
    if let kernel = kernel as? SimulatedKernel {
      #expect(kernel.violations == [], "seed \(seed)")
      #expect(kernel.inFlightCount == 0)
    }
  }
}
