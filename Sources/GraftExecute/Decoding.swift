internal import GraftCodec
internal import GraftCore
internal import GraftIO
internal import Synchronization

/// Decodes the chunks of one execution, with a decoder and scratch memory for each thread.
final class Decoding: Sendable {
  let placing: Placing
  private let pages: PagesOnDemand?

  let plan: Plan
  let places: Places
  private let allJobs: [ChunkJob]
  let threadCount: Int
  /// The most encoded bytes of a chunk that the engine reads at once.
  private let operationByteCount: Int
  private let threads: DecodingThreads
  /// Whether a stream may go on where one of another execution stopped.
  private let mayGoOn: Bool
  private let verifiesChecksums: Bool

  /// - Parameters:
  ///   - threads: what to decode with, where an earlier execution may have left streams to go on with.
  ///   - pages: what populates memory of the places on the way.
  init(
    plan: Plan, places: Places, readLayout: StagingLayout, tuning: Tuning, threads: DecodingThreads? = nil,
    pages: PagesOnDemand? = nil
  ) throws(GraftError) {
    placing = Placing(pages: pages)
    self.pages = pages
    self.plan = plan
    self.places = places
    allJobs = try ChunkJob.jobs(of: plan, places: places)
    threadCount = readLayout.workerCount
    operationByteCount = readLayout.operationByteCount
    mayGoOn = threads != nil
    self.threads = threads ?? DecodingThreads(tuning, count: readLayout.workerCount)
    verifiesChecksums = tuning.verification != .never
  }

  /// The memory that the threads' decoders and scratch took, in bytes.
  var stagingByteCount: Int { threads.byteCount }

  /// Chunks that the engine reads whole, and those that are streamed by threads of their own.
  func jobs() -> (small: [ChunkJob], large: [ChunkJob]) {
    var small: [ChunkJob] = []
    var large: [ChunkJob] = []
    for job in allJobs { if isSmall(job) { small.append(job) } else { large.append(job) } }
    return (small, large)
  }

  /// Whether a checksum of all of the chunk's bytes is verified when it is decoded to its end.
  func verifies(_ job: ChunkJob) -> Bool { verifiesChecksums && job.chain.stages.contains(.crc32c) }

  /// Whether the engine reads the chunk whole.
  func isSmall(_ job: ChunkJob) -> Bool {
    // A small chunk may decode to a large one.
    let fits = unsafe job.wholePlace != nil || job.decodedByteCount <= threads.scratchByteCount
    return job.range.count <= operationByteCount && fits
  }

  /// Decodes a chunk that is in memory, and takes what is wanted of it to its place.
  func decode(_ job: ChunkJob, _ bytes: UnsafeRawBufferPointer) throws(GraftError) {
    try threads.lend { (thread) throws(GraftError) in
      do throws(CodecFailure) {
        if let place = unsafe job.wholePlace {
          do throws(GraftError) {
            unsafe try self.pages?.prepare(place)
          } catch {
            thread.failure = error
            return
          }
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
    /// Of the bytes read, those that came around the page cache.
    var directByteCount = 0
    /// The bytes of chunks that were decoded to their end and have the checksums that stand with them.
    var bytesVerified = 0
    /// Of one chunk: whether all its frames of zstd have checksums.
    var isChecksummed = false
  }

  /// Streams chunks, each on one thread; blocks until all are done.
  ///
  /// - Parameters:
  ///   - reader: makes what a thread reads with.
  ///   - file: the open file of a plan's index.
  func stream(
    _ jobs: [ChunkJob], cancellation: Cancellation, progress: ReadProgress?,
    reader: @escaping @Sendable () -> StreamReader, file: @escaping @Sendable (Int) -> File
  ) throws(GraftError) -> Statistics {
    let total = Mutex(Statistics())
    let next = Atomic(0)
    let lanes = Swift.min(threadCount, jobs.count)
    try ParallelPieces.run(count: lanes, threadCount: lanes) { (_) throws(GraftError) in
      let reader = self.threads.hasRoomForReader && !self.mayGoOn ? reader() : nil
      func take() -> ChunkJob? {
        let index = next.add(1, ordering: .relaxed).oldValue
        return index < jobs.count ? jobs[index] : nil
      }
      // A chunk that was taken while the one before it was decoded, because the disk had nothing else to do.
      var following: ChunkJob?
      reader?.supply = {
        guard following == nil, let job = take() else { return nil }
        following = job
        return job.isStreamedWhole ? (file(job.file), job.range) : nil
      }
      while let job = following ?? take() {
        let isAnnounced = following != nil
        following = nil
        let statistics: Statistics
        if let reader, job.isStreamedWhole {
          if !isAnnounced { reader.announce(job.range, of: file(job.file)) }
          statistics = try self.stream(job, from: .reader(reader, cancellation))
          reader.endRange()
        } else {
          statistics = try self.stream(job, from: .file(file(job.file), job.range, cancellation))
        }
        total.withLock {
          $0.bytesRead += statistics.bytesRead
          $0.requestCount += statistics.requestCount
          $0.bytesVerified += statistics.bytesVerified
        }
        progress?.add(job.copiedByteCount)
      }
      guard let read = reader?.statistics else { return }
      total.withLock {
        $0.bytesRead += read.bytesRead
        $0.requestCount += read.requestCount
        $0.directByteCount += read.directByteCount
      }
    }
    return total.withLock { $0 }
  }

  @discardableResult
  func stream(_ job: ChunkJob, from source: consuming ChunkStream.Source) throws(GraftError)
    -> Statistics
  {
    var statistics = Statistics()
    let source = source
    var isResumable = job.isStreamedThroughWindow
    if case .file = source {} else { isResumable = false }
    try threads.lend(to: isResumable ? job : nil) {
      (thread) throws(GraftError) in
      var stream = ChunkStream(job: job, source: source, thread: thread, pages: self.pages)
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
      statistics.isChecksummed = stream.frames.isChecksummed
      if stream.isFinished && self.verifies(job) { statistics.bytesVerified = job.range.count }
    }
    return statistics
  }

  /// The encoded bytes that streaming a job reads, as far as they are known before; leaves the stream to the jobs that come after.
  func forecastStreamedByteCount(_ job: ChunkJob) -> Int {
    let (first, end) = (job.wantedRange.offset, job.wantedRange.end)
    guard job.isStreamedThroughWindow else { return job.range.count }
    let position = threads.forecast(job, from: first, to: end)
    // As if every part of the chunk were compressed alike, so that all parts together are the chunk.
    func encoded(_ decoded: Int) -> Int {
      Int(Double(job.range.count) * Double(decoded) / Double(Swift.max(1, job.decodedByteCount)))
    }
    return (end == job.decodedByteCount ? job.range.count : encoded(end)) - encoded(position)
  }
}
