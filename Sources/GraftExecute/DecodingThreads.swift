internal import GraftCodec
internal import GraftCore
internal import GraftIO
internal import Synchronization

// Tiles are done batch by batch, and a chunk that is larger than a batch is wanted by several of them, one after the other. So what
// a thread decodes with outlives a batch, and a stream that stopped after the last byte that was wanted goes on from there
// when the next batch wants more of the same chunk. Without that, the cost of a chunk would grow with the square of its size.

/// What the threads of one execution, or of one batch of tiles after the other, decode with: lent to one job at a time.
final class DecodingThreads: Sendable {
  /// How much memory each has, scratch memory and a decoder's window together.
  let shareByteCount: Int
  private let limit: Int
  private let verifiesChecksums: Bool
  private let state = Mutex(State())

  /// A chunk of which the beginning has been decoded.
  private struct Chunk: Hashable {
    var file: Int
    var range: ByteRange
    var decodedByteCount: Int

    init(_ job: ChunkJob) {
      (file, range, decodedByteCount) = (job.file, job.range, job.decodedByteCount)
    }
  }

  private struct Stopped {
    var chunk: Chunk
    /// How many of its bytes have been decoded.
    var position: Int
    /// Nil in a forecast.
    var thread: DecodingThread?
  }

  private struct State {
    var idle: [DecodingThread] = []
    /// Streams that may go on, the one that was used longest ago first.
    var stopped: [Stopped] = []
    var count = 0
  }

  /// One for each of so many threads.
  init(_ tuning: Tuning, count: Int) {
    limit = Swift.max(1, count)
    shareByteCount = tuning.budgetByteCount / 2 / limit
    verifiesChecksums = tuning.verification != .never
  }

  /// One for each thread, or for each of so many streams that are to go on together where there is room for them.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for settings that leave no room to read anything.
  convenience init(_ tuning: Tuning, streamCount: Int) throws(GraftError) {
    var readTuning = tuning
    readTuning.budgetByteCount /= 2
    let threadCount = try StagingLayout(readTuning).workerCount
    let room = tuning.budgetByteCount / 2 / Self.streamByteCount
    self.init(tuning, count: Swift.max(threadCount, Swift.min(streamCount, room)))
  }

  /// Room for the window of any usual frame; more streams would not be worth an error that says that there is none.
  private static let streamByteCount = 8 << 20

  /// Whether a reader takes little enough of a share; where there are many threads, they read ahead of each other anyway.
  var hasRoomForReader: Bool { StreamReader.byteCount <= shareByteCount / 4 }

  /// What is left for a decoder's window.
  private var windowByteCountLimit: Int {
    shareByteCount - scratchByteCount - (hasRoomForReader ? StreamReader.byteCount : 0)
  }

  /// The scratch memory of each; the rest of its share is left to its decoder's window.
  var scratchByteCount: Int { Swift.min(shareByteCount / 4, 4 << 20) }

  /// The memory that was taken, in bytes.
  var byteCount: Int { state.withLock { $0.count } * shareByteCount }

  /// Lends a decoder and scratch memory to the calling thread.
  ///
  /// - Parameter job: the job that is to be streamed, for which it may be a stream that stopped earlier in the same chunk:
  ///   see ``DecodingThread/stream``.
  func lend(
    to job: ChunkJob? = nil, _ body: (DecodingThread) throws(GraftError) -> Void
  ) throws(GraftError) {
    let thread = try take(for: job)
    thread.failure = nil
    defer { giveBack(thread, of: job) }
    try body(thread)
    if let failure = thread.failure { throw failure }
  }

  private func take(for job: ChunkJob?) throws(GraftError) -> DecodingThread {
    let taken = state.withLock { state -> DecodingThread? in
      if let job {
        let (chunk, first) = (Chunk(job), job.wantedRange.offset)
        if let index = state.stopped.firstIndex(where: { $0.chunk == chunk && $0.position <= first }) {
          return state.stopped.remove(at: index).thread
        }
      }
      if let idle = state.idle.popLast() { return idle }
      if state.count >= limit, !state.stopped.isEmpty, let thread = state.stopped.removeFirst().thread {
        thread.stream = nil
        return thread
      }
      state.count += 1
      return nil
    }
    if let taken { return taken }
    do throws(CodecFailure) {
      return try DecodingThread(
        scratchByteCount: scratchByteCount, windowByteCountLimit: windowByteCountLimit,
        verifiesChecksums: verifiesChecksums)
    } catch {
      state.withLock { $0.count -= 1 }
      throw error.graftError()
    }
  }

  private func giveBack(_ thread: DecodingThread, of job: ChunkJob?) {
    state.withLock { state in
      if let job, let stream = thread.stream {
        state.stopped.append(Stopped(chunk: Chunk(job), position: stream.decoded, thread: thread))
      } else {
        // A chunk that the metadata holds is decoded from its beginning each time.
        thread.stream = nil
        state.idle.append(thread)
      }
    }
  }

  /// Where a stream for a job would go on, and that it would then stop at `end`.
  func forecast(_ job: ChunkJob, from first: Int, to end: Int) -> Int {
    state.withLock { state in
      let chunk = Chunk(job)
      var position = 0
      if let index = state.stopped.firstIndex(where: { $0.chunk == chunk && $0.position <= first }) {
        position = state.stopped.remove(at: index).position
      } else if state.stopped.count >= limit {
        state.stopped.removeFirst()
      }
      if end < job.decodedByteCount { state.stopped.append(Stopped(chunk: chunk, position: end)) }
      return position
    }
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
  /// A stream that stopped before the chunk's end, and may go on from there; its encoded bytes are in the scratch memory.
  var stream: StoppedStream?
  /// What placing threw, where the decoder's own error type has no room for it.
  var failure: GraftError?

  /// How far a stream came.
  struct StoppedStream {
    /// The encoded bytes of the chunk that were taken from the source, and those of them that the decoder has not taken.
    var position: Int
    var pending: Range<Int>
    /// The decoded bytes.
    var decoded: Int
  }

  init(
    scratchByteCount: Int, windowByteCountLimit: Int, verifiesChecksums: Bool
  ) throws(CodecFailure) {
    decoder = try ChunkDecoder(
      windowByteCountLimit: windowByteCountLimit, verifiesChecksums: verifiesChecksums)
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
