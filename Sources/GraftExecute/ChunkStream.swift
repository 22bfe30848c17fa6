internal import GraftCodec
internal import GraftCore
internal import GraftIO

/// Decodes one chunk as a stream: encoded bytes come block by block, decoded ones go straight into place or through a window.
///
/// ```
/// scratch:  [ encoded block | decoded window, sliding over the chunk ]
/// ```
/// What lies beyond the last wanted byte is neither read nor decoded, save the rest of the block that has it. A later job may go on
/// there: see DecodingThreads.swift.
@safe struct ChunkStream {
  /// Where the encoded bytes are.
  enum Source {
    case file(File, ByteRange, Cancellation)
    /// All of a chunk's bytes, which were announced to a reader.
    case reader(StreamReader, Cancellation)
    case memory([UInt8])

    var isFile: Bool {
      if case .memory = self { false } else { true }
    }
  }

  enum Failure: Error {
    case codec(CodecFailure)
    case other(GraftError)
  }

  /// A window of the decoded chunk, and what of it goes where.
  private struct Window {
    var range: ByteRange
    var copy: StridedCopy
    var place: Place
  }

  /// Long enough that a read's own cost does not show, short enough that the bytes are still in the cache when they are decoded.
  static let blockByteCount = 256 << 10
  /// How much of the result gets its pages at once: as much as a huge page.
  private static let preparedByteCount = 2 << 20

  private let job: ChunkJob
  private let source: Source
  private let thread: DecodingThread
  private let pages: PagesOnDemand?
  private let block: UnsafeMutableRawBufferPointer
  /// The encoded bytes that were read last: in ``block``, or lent by a reader.
  private var encoded: UnsafeRawBufferPointer
  private let window: UnsafeMutableRawBufferPointer

  /// The encoded bytes of the chunk that were taken from the source, and those of them that the decoder has not taken.
  private var position = 0
  private var pending = 0..<0
  private(set) var statistics = Decoding.Statistics()
  /// The frames of what was read, where the chunk begins with zstd.
  private(set) var frames = ZstdFrameWalk()
  /// Whether all of the chunk was decoded, and its end was right.
  private(set) var isFinished = false

  init(job: ChunkJob, source: Source, thread: DecodingThread, pages: PagesOnDemand?) {
    self.job = job
    self.pages = pages
    self.source = source
    self.thread = thread
    let blockByteCount = unsafe Swift.min(Self.blockByteCount, thread.scratch.count / 4)
    unsafe block = UnsafeMutableRawBufferPointer(rebasing: thread.scratch[..<blockByteCount])
    unsafe window = UnsafeMutableRawBufferPointer(rebasing: thread.scratch[blockByteCount...])
    unsafe encoded = UnsafeRawBufferPointer(block)
  }

  /// Decodes what the job wants, and takes it to its places.
  mutating func run(placing: Placing) throws(Failure) {
    guard job.chain.canStream else {
      try decodeWhole(placing)
      return
    }
    if job.chain.canStreamIntoPlace, let place = unsafe job.wholePlace {
      unsafe try decodeIntoPlace(place)
    } else {
      try decodeThroughWindow(placing)
    }
  }

  // MARK: - Three ways

  private mutating func decodeIntoPlace(_ place: UnsafeMutableRawBufferPointer) throws(Failure) {
    try begin(intoPlace: true)
    var filled = 0
    while position < job.range.count || !pending.isEmpty {
      try readOn()
      // What a block decodes to is not known; beyond a guess the memory gets its pages when it is written to.
      let reached = Swift.min(place.count, filled + Swift.max(2 * pending.count, Self.preparedByteCount))
      unsafe try prepare(UnsafeMutableRawBufferPointer(rebasing: place[filled..<reached]))
      let progress = unsafe try decodeOn(into: place)
      filled += progress.produced
      // The chunk is full and more encoded bytes are left that the decoder does not want.
      if progress.consumed == 0 && progress.produced == 0 && !pending.isEmpty { break }
    }
    try finish()
  }

  private mutating func decodeThroughWindow(_ placing: Placing) throws(Failure) {
    let windows = wantedWindows()
    // The decoded bytes of the chunk that the window memory holds, from its start.
    var held = 0..<0
    if let stopped = thread.stream {
      (position, pending) = (stopped.position, stopped.pending)
      held = stopped.decoded..<stopped.decoded
    } else {
      try begin(intoPlace: false)
    }
    thread.stream = nil
    for wanted in windows {
      if wanted.range.offset >= held.upperBound {
        // Everything held is done with; what lies between is decoded over and over the same memory.
        held = held.upperBound..<held.upperBound
        while held.upperBound < wanted.range.offset {
          let count = unsafe Swift.min(window.count, wanted.range.offset - held.upperBound)
          unsafe try produce(UnsafeMutableRawBufferPointer(rebasing: window[..<count]))
          held = (held.upperBound + count)..<(held.upperBound + count)
        }
      } else if unsafe wanted.range.end - held.lowerBound > window.count {
        let kept = wanted.range.offset - held.lowerBound
        unsafe window.baseAddress?.copyMemory(
          from: window.baseAddress.unsafelyUnwrapped + kept, byteCount: held.upperBound - wanted.range.offset)
        held = wanted.range.offset..<held.upperBound
      }
      if wanted.range.end > held.upperBound {
        let (from, to) = (held.upperBound - held.lowerBound, wanted.range.end - held.lowerBound)
        unsafe try produce(UnsafeMutableRawBufferPointer(rebasing: window[from..<to]))
        held = held.lowerBound..<wanted.range.end
      }
      let (from, to) = (wanted.range.offset - held.lowerBound, wanted.range.end - held.lowerBound)
      let bytes = unsafe UnsafeRawBufferPointer(rebasing: window[from..<to])
      do throws(GraftError) {
        unsafe try placing.put(wanted.copy, from: bytes, into: wanted.place)
      } catch {
        throw .other(error)
      }
    }
    // The end is checked where it was reached; a prefix has no checksum that could be.
    guard held.upperBound == job.decodedByteCount else {
      thread.stream = DecodingThread.StoppedStream(
        position: position, pending: pending, decoded: held.upperBound)
      return
    }
    while position < job.range.count || !pending.isEmpty {
      try readOn()
      let progress = unsafe try decodeOn(into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
      if progress.consumed == 0 && !pending.isEmpty { break }
    }
    try finish()
  }

  /// Blosc and odd chains are decoded in one piece, which takes memory for both ends.
  private mutating func decodeWhole(_ placing: Placing) throws(Failure) {
    let whole = unsafe job.wholePlace
    let byteCount = unsafe job.range.count + (whole == nil ? job.decodedByteCount : 0)
    guard byteCount <= thread.windowByteCountLimit else {
      throw .other(
        GraftError(
          .limitExceeded, "the chunk's codecs are undone in one piece, and the budget has no room for it",
          leaf: job.leaf,
          expected: "at most \(thread.windowByteCountLimit) bytes for each thread", found: "\(byteCount)",
          remedy: "raise the budget, or use fewer threads"))
    }
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Swift.max(1, byteCount), alignment: 64)
    defer { unsafe memory.deallocate() }
    let encoded = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[..<job.range.count])
    unsafe try read(ByteRange(offset: 0, count: job.range.count), into: encoded)
    if let whole = unsafe whole { unsafe try prepare(whole) }
    let place = unsafe whole ?? UnsafeMutableRawBufferPointer(rebasing: memory[job.range.count..<byteCount])
    do throws(CodecFailure) {
      unsafe try thread.decode(UnsafeRawBufferPointer(encoded), through: job.chain, into: place)
    } catch {
      throw .codec(error)
    }
    isFinished = true
    if unsafe whole != nil { return }
    for copy in job.copies {
      do throws(GraftError) {
        unsafe try placing.put(copy.copy, from: UnsafeRawBufferPointer(place), into: copy.place)
      } catch {
        throw .other(error)
      }
    }
  }

  // MARK: - Steps

  /// The wanted windows in the order of the decoded chunk, each small enough that two fit the memory.
  private func wantedWindows() -> [Window] {
    var windows: [Window] = []
    for wanted in job.copies {
      // Everything is decoded on the way, so bytes between runs cost nothing more.
      let limit = unsafe Swift.max(16, window.count / 2)
      wanted.copy.forEachWindow(limit: limit, cost: CostModel(requestByteCount: .max)) {
        windows.append(Window(range: $0.sourceByteRange, copy: $0.rebasedToWindow, place: wanted.place))
      }
    }
    windows.sort { ($0.range.offset, $0.range.end) < ($1.range.offset, $1.range.end) }
    return windows
  }

  /// Fills `destination` with the next decoded bytes.
  private mutating func produce(_ destination: UnsafeMutableRawBufferPointer) throws(Failure) {
    var filled = 0
    while filled < destination.count {
      try readOn()
      let progress = unsafe try decodeOn(
        into: UnsafeMutableRawBufferPointer(rebasing: destination[filled...]))
      filled += progress.produced
      // Nothing came and nothing can: the chunk ends before its elements do.
      if progress.produced == 0, pending.isEmpty, position == job.range.count {
        throw .codec(CodecFailure(job.chain.stages.first?.rawValue ?? "bytes", .truncated))
      }
    }
  }

  /// Gives memory of the result its pages.
  private func prepare(_ memory: UnsafeMutableRawBufferPointer) throws(Failure) {
    guard let pages else { return }
    do throws(GraftError) { unsafe try pages.prepare(memory) } catch { throw .other(error) }
  }

  private mutating func readOn() throws(Failure) {
    guard pending.isEmpty, position < job.range.count else { return }
    if case .reader(let reader, let cancellation) = source {
      do throws(GraftError) {
        try cancellation.check()
        unsafe encoded = try reader.next()
      } catch {
        throw .other(error)
      }
    } else {
      let count = unsafe Swift.min(block.count, job.range.count - position)
      let part = unsafe UnsafeMutableRawBufferPointer(rebasing: block[..<count])
      unsafe try read(ByteRange(offset: position, count: count), into: part)
      unsafe encoded = UnsafeRawBufferPointer(part)
    }
    unsafe position += encoded.count
    pending = unsafe 0..<encoded.count
    if job.chain.stages.first == .zstd { unsafe frames.walk(RawSpan(_unsafeBytes: encoded)) }
  }

  /// Reads a part of the chunk's encoded bytes.
  private mutating func read(_ part: ByteRange, into memory: UnsafeMutableRawBufferPointer) throws(Failure) {
    switch source {
    case .reader: preconditionFailure("what a reader reads is decoded as it comes")
    case .memory(let bytes):
      unsafe bytes[part.offset..<part.end].withUnsafeBytes { unsafe memory.copyMemory(from: $0) }
    case .file(let file, let range, let cancellation):
      do throws(GraftError) {
        try cancellation.check()
        unsafe try file.readFully(
          ByteRange(offset: range.offset + part.offset, count: part.count), into: memory)
      } catch {
        throw .other(error)
      }
      statistics.bytesRead += part.count
      statistics.requestCount += 1
    }
  }

  private mutating func decodeOn(
    into destination: UnsafeMutableRawBufferPointer
  ) throws(Failure) -> ChunkDecoder.Progress {
    let bytes = unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: encoded[pending]))
    var span = unsafe MutableRawSpan(_unsafeBytes: destination)
    do throws(CodecFailure) {
      let progress = try thread.decoder.decodeOn(bytes, into: &span)
      pending = (pending.lowerBound + progress.consumed)..<pending.upperBound
      return progress
    } catch {
      throw .codec(error)
    }
  }

  private func begin(intoPlace: Bool) throws(Failure) {
    do throws(CodecFailure) {
      try thread.decoder.beginStream(
        through: job.chain, encodedByteCount: job.range.count, decodedByteCount: job.decodedByteCount,
        intoPlace: intoPlace)
    } catch {
      throw .codec(error)
    }
  }

  private mutating func finish() throws(Failure) {
    do throws(CodecFailure) { try thread.decoder.finishStream() } catch { throw .codec(error) }
    isFinished = true
  }
}
