import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Synchronization

/// A kernel with faults on demand, over real files: it completes reads late and in random order, holds direct reads to
/// their alignment, and counts what it was asked.
final class SimulatedKernel: ReadKernel {
  /// What happens to one read.
  enum Fault: Sendable {
    /// It fails with this errno.
    case error(CInt)
    /// It brings at most so many bytes.
    case short(Int)
    /// The file ends where the read begins.
    case end
  }

  struct State {
    var random: SeededGenerator
    var readCount = 0
    var inFlightCount = 0
    var mostInFlight = 0
    var submissionCount = 0
    var ringCount = 0
    var directDescriptors: Set<CInt> = []
    var openDirectCount = 0
    var violations: [String] = []
    var asynchronousCount = 0
    /// Reads into several memories.
    var vectoredCount = 0
  }

  let state: Mutex<State>
  /// What happens to the n-th read, counted from 0 over all queues.
  let fault: @Sendable (_ index: Int, _ read: KernelRead) -> Fault?
  /// The submission, counted from 0 over all rings, from which on rings take nothing.
  let failingSubmission: Int?
  let ringRefusal: RingRefusal?
  let residentFraction: Double?
  /// The alignment that direct reads need; nil when there is no direct I/O.
  let alignment: Int?
  /// How long each read takes.
  let latencyMicroseconds: UInt32

  init(
    seed: UInt64, residentFraction: Double? = 1, alignment: Int? = 512, ringRefusal: RingRefusal? = nil,
    failingSubmission: Int? = nil, latencyMicroseconds: UInt32 = 0,
    fault: @escaping @Sendable (_ index: Int, _ read: KernelRead) -> Fault? = { _, _ in nil }
  ) {
    state = Mutex(State(random: SeededGenerator(seed: seed)))
    self.fault = fault
    self.failingSubmission = failingSubmission
    self.ringRefusal = ringRefusal
    self.residentFraction = residentFraction
    self.alignment = alignment
    self.latencyMicroseconds = latencyMicroseconds
  }

  var readCount: Int { state.withLock { $0.readCount } }
  var inFlightCount: Int { state.withLock { $0.inFlightCount } }
  var vectoredCount: Int { state.withLock { $0.vectoredCount } }
  var violations: [String] { state.withLock { $0.violations } }

  func makeRingQueue(capacity: Int) throws(RingRefusal) -> any ReadQueue {
    if let ringRefusal { throw ringRefusal }
    state.withLock { $0.ringCount += 1 }
    return SimulatedQueue(self, capacity: capacity, isBlocking: false)
  }

  func makeBlockingQueue() -> any ReadQueue { SimulatedQueue(self, capacity: 1, isBlocking: true) }

  func residentFraction(of file: File, _ range: ByteRange) -> Double? { residentFraction }

  func readResident(_ file: File, _ range: ByteRange, into memory: UnsafeMutableRawBufferPointer) -> Int {
    guard residentFraction == 1, let address = memory.baseAddress else { return 0 }
    let read = KernelRead(
      descriptor: file.rawDescriptor, address: address, byteCount: range.count, offset: range.offset, tag: 0,
      isAsynchronous: false)
    return max(0, perform(read))
  }

  func openDirect(_ file: File) throws(SystemCallFailure) -> DirectFile {
    guard let alignment else { throw SystemCallFailure("open", EINVAL) }
    let descriptor = OwnedDescriptor(adopting: dup(file.rawDescriptor))
    let rawValue = descriptor.rawValue
    state.withLock { state in
      state.directDescriptors.insert(rawValue)
      state.openDirectCount += 1
    }
    return DirectFile(descriptor, alignment: alignment)
  }

  /// Does a read, now that its completion is asked for.
  fileprivate func perform(_ read: KernelRead) -> Int {
    if latencyMicroseconds > 0 { usleep(latencyMicroseconds) }
    let (index, isDirect) = state.withLock { state in
      defer { state.readCount += 1 }
      if read.segments != nil { state.vectoredCount += 1 }
      return (state.readCount, state.directDescriptors.contains(read.descriptor))
    }
    if let alignment, isDirect {
      let mask = alignment - 1
      if read.segments != nil || read.offset & mask != 0 || read.byteCount & mask != 0
        || Int(bitPattern: read.address) & mask != 0
      {
        state.withLock { $0.violations.append("direct read of \(read.byteCount) bytes at \(read.offset)") }
        return -Int(EINVAL)
      }
    }
    var byteCount = read.byteCount
    switch fault(index, read) {
    case .error(let number): return -Int(number)
    case .end: return 0
    case .short(let limit): byteCount = min(byteCount, max(1, limit))
    case nil: break
    }
    guard let segments = read.segments else {
      let result = pread(read.descriptor, read.address, byteCount, off_t(read.offset))
      return result >= 0 ? result : -Int(errno)
    }
    let lengths = segments.map(\.iov_len)
    if segments.count < 2 || segments.count > ReadDestination.mostSegments || lengths.contains(0)
      || lengths.reduce(0, +) != read.byteCount || segments[0].iov_base != read.address
    {
      state.withLock { $0.violations.append("segments of \(lengths) bytes for \(read.byteCount)") }
      return -Int(EFAULT)
    }
    // Through other memory, so that it depends on nothing which is tested here.
    var bytes = [UInt8](repeating: 0, count: byteCount)
    let result = pread(read.descriptor, &bytes, byteCount, off_t(read.offset))
    guard result >= 0 else { return -Int(errno) }
    var rest = bytes[..<result]
    for segment in segments {
      let piece = rest.prefix(segment.iov_len)
      UnsafeMutableRawBufferPointer(start: segment.iov_base, count: piece.count).copyBytes(from: piece)
      rest = rest.dropFirst(piece.count)
    }
    return result
  }
}

/// A queue of a simulated kernel; memory is written only when a completion is taken, as late as can be.
final class SimulatedQueue: ReadQueue {
  let capacity: Int
  let isBlocking: Bool
  private let kernel: SimulatedKernel
  private var prepared: [KernelRead] = []
  private var inFlight: [KernelRead] = []
  private var isAbandoned = false

  init(_ kernel: SimulatedKernel, capacity: Int, isBlocking: Bool) {
    self.kernel = kernel
    self.capacity = capacity
    self.isBlocking = isBlocking
  }

  func prepare(_ read: KernelRead) {
    precondition(!isAbandoned && prepared.count + inFlight.count < capacity, "the queue's capacity is kept")
    prepared.append(read)
  }

  func submit(waiting: Bool) throws(SystemCallFailure) {
    precondition(!waiting || !prepared.isEmpty || !inFlight.isEmpty, "waiting for nothing would be for ever")
    let isFailing = kernel.state.withLock { state in
      if isBlocking { return false }
      defer { state.submissionCount += 1 }
      return kernel.failingSubmission.map { state.submissionCount >= $0 } ?? false
    }
    if isFailing { throw SystemCallFailure("io_uring_enter", ENOMEM) }
    kernel.state.withLock { state in
      state.inFlightCount += prepared.count
      state.mostInFlight = max(state.mostInFlight, state.inFlightCount)
      state.asynchronousCount += prepared.count { $0.isAsynchronous }
    }
    inFlight += prepared
    prepared = []
  }

  func nextCompletion() -> KernelCompletion? {
    guard !inFlight.isEmpty else { return nil }
    let chosen = kernel.state.withLock { $0.random.next() } % UInt64(inFlight.count)
    let read = inFlight.remove(at: Int(chosen))
    let result = kernel.perform(read)
    kernel.state.withLock { $0.inFlightCount -= 1 }
    return KernelCompletion(tag: read.tag, result: result)
  }

  func abandon() -> [Int] {
    isAbandoned = true
    defer { prepared = [] }
    return prepared.map(\.tag)
  }
}
