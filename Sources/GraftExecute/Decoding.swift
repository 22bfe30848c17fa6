internal import GraftCodec
internal import GraftCore
internal import GraftIO
internal import Synchronization

/// Decodes the chunks of one execution, with a decoder and scratch memory for each thread.
final class Decoding: Sendable {
  let placing = Placing()

  let plan: Plan
  let places: Places
  private let allJobs: [ChunkJob]
  let threadCount: Int
  /// The most encoded bytes of a chunk that the engine reads at once.
  private let operationByteCount: Int
  /// What one thread may use: half of the budget is for decoding, and shared by the threads.
  private let shareByteCount: Int
  private let idle = Mutex<[DecodingThread]>([])
  private let peak = Mutex(0)

  init(plan: Plan, places: Places, readLayout: StagingLayout, tuning: Tuning) throws(GraftError) {
    self.plan = plan
    self.places = places
    allJobs = try ChunkJob.jobs(of: plan, places: places)
    threadCount = readLayout.workerCount
    operationByteCount = readLayout.operationByteCount
    shareByteCount = tuning.budgetByteCount / 2 / readLayout.workerCount
  }

  /// The memory that the threads' decoders and scratch took, in bytes.
  var stagingByteCount: Int { peak.withLock { $0 } }

  /// The scratch memory of a thread; the rest of its share is left to its decoder's window.
  private var scratchByteCount: Int { Swift.min(shareByteCount / 4, 4 << 20) }

  /// Chunks that the engine reads whole, and those that are streamed by threads of their own.
  func jobs() -> (small: [ChunkJob], large: [ChunkJob]) {
    var small: [ChunkJob] = []
    var large: [ChunkJob] = []
    for job in allJobs {
      // A small chunk may decode to a large one.
      let fits = unsafe job.wholePlace != nil || job.decodedByteCount <= scratchByteCount
      if job.range.count <= operationByteCount && fits { small.append(job) } else { large.append(job) }
    }
    return (small, large)
  }

  /// Decodes a chunk that is in memory, and takes what is wanted of it to its place.
  func decode(_ job: ChunkJob, _ bytes: UnsafeRawBufferPointer) throws(GraftError) {
    try withThread { (thread) throws(GraftError) in
      do throws(CodecFailure) {
        if let place = unsafe job.wholePlace {
          unsafe try thread.decode(bytes, through: job.chain, into: place)
          return
        }
        let decoded = unsafe try thread.decode(
          bytes, through: job.chain, decodedByteCount: job.decodedByteCount)
        for copy in job.copies {
          do throws(GraftError) {
            unsafe try self.placing.put(copy.copy, from: decoded, into: copy.place)
          } catch {
            thread.failure = error
            return
          }
        }
      } catch {
        throw error.graftError(leaf: job.leaf, file: self.plan.files[job.file].path, range: job.range)
      }
    }
  }

  /// What streaming chunks took.
  struct Statistics: Sendable {
    var bytesRead = 0
    var requestCount = 0
  }

  /// Streams chunks, each on one thread; blocks until all are done.
  ///
  /// - Parameter file: the open file of a plan's index.
  func stream(
    _ jobs: [ChunkJob], cancellation: Cancellation, progress: ReadProgress?,
    file: @escaping @Sendable (Int) -> File
  ) throws(GraftError) -> Statistics {
    let total = Mutex(Statistics())
    try ParallelPieces.run(count: jobs.count, threadCount: threadCount) { (index) throws(GraftError) in
      let job = jobs[index]
      let source = ChunkStream.Source.file(file(job.file), job.range, cancellation)
      let statistics = try self.stream(job, from: source)
      total.withLock {
        $0.bytesRead += statistics.bytesRead
        $0.requestCount += statistics.requestCount
      }
      progress?.add(job.copiedByteCount)
    }
    return total.withLock { $0 }
  }

  @discardableResult
  func stream(_ job: ChunkJob, from source: consuming ChunkStream.Source) throws(GraftError)
    -> Statistics
  {
    var statistics = Statistics()
    let source = source
    try withThread { (thread) throws(GraftError) in
      var stream = ChunkStream(job: job, source: source, thread: thread)
      do throws(ChunkStream.Failure) {
        try stream.run(placing: self.placing)
      } catch {
        switch error {
        case .codec(let failure):
          throw failure.graftError(
            leaf: job.leaf, file: source.isFile ? self.plan.files[job.file].path : nil,
            range: source.isFile ? job.range : nil)
        case .other(var error):
          error.leaf = error.leaf ?? job.leaf
          throw error
        }
      }
      statistics = stream.statistics
    }
    return statistics
  }

  /// Lends a thread's decoder and scratch memory to the calling thread.
  private func withThread(_ body: (DecodingThread) throws(GraftError) -> Void) throws(GraftError) {
    let thread: DecodingThread
    if let taken = idle.withLock({ $0.popLast() }) {
      thread = taken
    } else {
      do throws(CodecFailure) {
        thread = try DecodingThread(
          scratchByteCount: scratchByteCount, windowByteCountLimit: shareByteCount - scratchByteCount)
      } catch {
        throw error.graftError()
      }
      peak.withLock { $0 += shareByteCount }
    }
    thread.failure = nil
    defer { idle.withLock { $0.append(thread) } }
    try body(thread)
    if let failure = thread.failure { throw failure }
  }
}

/// Owns what one thread decodes with.
///
/// Sendable, because it is lent to one thread at a time.
@safe final class DecodingThread: @unchecked Sendable {
  var decoder: ChunkDecoder
  /// What the decoder may use beside the scratch memory.
  let windowByteCountLimit: Int
  /// Memory for decoded bytes on their way to their place, and for encoded bytes that are read block by block.
  let scratch: UnsafeMutableRawBufferPointer
  /// What placing threw, where the decoder's own error type has no room for it.
  var failure: GraftError?

  init(scratchByteCount: Int, windowByteCountLimit: Int) throws(CodecFailure) {
    decoder = try ChunkDecoder(windowByteCountLimit: windowByteCountLimit)
    self.windowByteCountLimit = windowByteCountLimit
    unsafe scratch = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Swift.max(scratchByteCount, 4096), alignment: 4096)
  }

  deinit { unsafe scratch.deallocate() }

  func decode(
    _ bytes: UnsafeRawBufferPointer, through chain: CodecChain, into place: UnsafeMutableRawBufferPointer
  ) throws(CodecFailure) {
    var destination = unsafe MutableRawSpan(_unsafeBytes: place)
    unsafe try decoder.decode(RawSpan(_unsafeBytes: bytes), through: chain, into: &destination)
  }

  /// The decoded bytes, in the scratch memory, which has room for them.
  func decode(
    _ bytes: UnsafeRawBufferPointer, through chain: CodecChain, decodedByteCount: Int
  ) throws(CodecFailure) -> UnsafeRawBufferPointer {
    let part = unsafe UnsafeMutableRawBufferPointer(rebasing: scratch[..<decodedByteCount])
    unsafe try decode(bytes, through: chain, into: part)
    return UnsafeRawBufferPointer(part)
  }
}
