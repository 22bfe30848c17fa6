internal import GraftCore
internal import GraftExecute
internal import GraftIO

/// One load, from the planned reads to the tree of values and the report.
struct Loading {
  let load: LoadPlan
  let tuning: Tuning
  let progress: (@Sendable (Progress) -> Void)?

  private let clock = ContinuousClock()

  init(load: LoadPlan, tuning: Tuning, progress: (@Sendable (Progress) -> Void)?) {
    self.load = load
    self.tuning = tuning
    self.progress = progress
  }

  /// Fills the destination, and gives the tree of values.
  ///
  /// - Parameter started: when the caller's call began, for the report.
  func run(to destination: Destination, started: ContinuousClock.Instant) async throws(GraftError) -> Loaded {
    var notes: [String] = []
    let tensors: [Tensor]
    let reading: ReadReport
    switch destination.kind {
    case .host:
      (tensors, reading) = try await readIntoPool(load.plan)
    case .memory(let memory):
      (tensors, reading) = try await readIntoCallersMemory(memory)
    case .mapped:
      let mapped = try await MappedDestination(load.plan)
      var all = mapped.tensors
      let remaining = load.plan.restricted { mapped.tensors[$0] == nil }
      var read = ReadReport()
      if !remaining.indices.isEmpty {
        let tensors: [Tensor]
        (tensors, read) = try await readIntoPool(remaining.plan)
        for (index, tensor) in zip(remaining.indices, tensors) { all[index] = tensor }
        notes.append(
          "\(remaining.indices.count) leaves do not lie in one piece in a file and were read into memory, not mapped"
        )
      }
      reading = read
      tensors = all.map { tensor in
        guard let tensor else { preconditionFailure("what is not mapped was read") }
        return tensor
      }
      progress?(
        Progress(completedByteCount: load.plan.resultByteCount, totalByteCount: load.plan.resultByteCount))
    }
    let report = LoadReport(
      leaves: load.reportedLeaves, reading: reading, elapsed: started.duration(to: clock.now), notes: notes)
    return Loaded(tree: load.values(tensors), report: report)
  }

  private func readIntoPool(_ plan: Plan) async throws(GraftError) -> ([Tensor], ReadReport) {
    let destination = try await HostDestination(plan, tuning: tuning)
    let report = try await Executor(plan, tuning: tuning, pages: destination.pages)
      .run(into: destination.places, progress: progress)
    return (destination.tensors, report)
  }

  private func readIntoCallersMemory(
    _ memory: Destination.CallerMemory
  ) async throws(GraftError) -> ([Tensor], ReadReport) {
    let places = try Self.places(of: load.plan, in: memory)
    let report = try await Executor(load.plan, tuning: tuning).run(into: places, progress: progress)
    // The caller promised to keep the memory; the owner only stands where an owner must.
    let owner = CallersPromise()
    let tensors = zip(load.plan.results, places).map { result, place in
      guard case .memory(let bytes) = place else {
        preconditionFailure("all places are in the caller's memory")
      }
      return unsafe Tensor(
        spec: result.spec, owner: owner, bytes: UnsafeRawBufferPointer(bytes), isCallers: true)
    }
    return (tensors, report)
  }

  private static func places(of plan: Plan, in memory: Destination.CallerMemory) throws(GraftError) -> [Place]
  {
    let layout = PackedLayout(plan)
    let bytes = unsafe memory.bytes
    guard layout.byteCount <= bytes.count else {
      throw GraftError(
        .insufficientMemory, "the memory that was given is too small for the result",
        expected: "\(layout.byteCount) bytes", found: "\(bytes.count)",
        remedy: "ask the plan for its packedByteCount")
    }
    guard UInt(bitPattern: bytes.baseAddress) % UInt(Destination.alignment) == 0 else {
      throw GraftError(
        .invalidArgument, "the memory that was given is not aligned",
        expected: "an address that is a multiple of \(Destination.alignment)")
    }
    return zip(plan.results, layout.offsets).map { result, offset in
      unsafe .memory(
        UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<(offset + result.spec.byteCount)]))
    }
  }
}

/// Owns nothing: it stands for the promise of ``Destination/memory(_:)``.
private final class CallersPromise: Sendable {}
