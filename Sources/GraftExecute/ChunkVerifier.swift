internal import GraftCodec
package import GraftCore
internal import GraftFormats
package import GraftIO
internal import Synchronization

// Verifying reads every stored chunk whole and undoes its codecs, as a load of everything would, but keeps nothing of it and goes
// on after failures: a reader of a broken checkpoint wants to know all that is broken, and what is not. Small chunks come through
// the engine, large ones are streamed, as in a load. When the engine fails, which stops it, what it was given is read
// once more piece by piece, so that the one bad sector costs its own chunk alone.

/// A stored chunk that is to be verified.
package struct ChunkToVerify: Sendable {
  /// What its bytes go through.
  package enum Content: Sendable {
    /// They are elements, and only have to be there; the digest, if there is one, takes them.
    case plain(BlockDigest?)
    /// They are undone; to so many bytes.
    case encoded([Codec], decodedByteCount: Int)
  }

  package var chunk: StoredChunk
  package var content: Content
  /// The leaf that errors name, if it is one's.
  package var leaf: TreePath?

  package init(_ chunk: StoredChunk, _ content: Content, leaf: TreePath? = nil) {
    self.chunk = chunk
    self.content = content
    self.leaf = leaf
  }
}

/// What verifying found out.
package struct ChunkFindings: Sendable {
  /// Chunks that cannot be read or undone, or do not have their checksums.
  package var failed: Set<StoredChunk> = []
  /// Chunks that were undone and whose codecs have checksums of all of their bytes.
  package var checksummed: Set<StoredChunk> = []
  /// What was wrong with the first of ``failed``, as many as are kept, in no order.
  package var errors: [GraftError] = []
  /// What was read.
  package var reading = ReadReport()

  /// How many errors are kept.
  package static let errorLimit = 1000
}

/// Reads chunks whole, undoes their codecs, and goes on after failures.
package struct ChunkVerifier: Sendable {
  private let files: [StoredFile]
  private let tuning: Tuning
  private let engine: ReadEngine

  /// A verifier of chunks of these files.
  package init(_ files: [StoredFile], tuning: Tuning, engine: ReadEngine = .shared) {
    self.files = files
    self.tuning = tuning
    self.engine = engine
  }

  /// Verifies chunks, no two of which are the same.
  ///
  /// - Parameter progress: called with the stored bytes that are done.
  /// - Throws: `cancelled`, or `invalidArgument` for settings with which nothing can be read; what is wrong with chunks is in
  ///   the findings.
  package func run(
    _ chunks: [ChunkToVerify], progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> ChunkFindings {
    // Half of the budget is for decoding, as in a load.
    var readTuning = tuning
    readTuning.budgetByteCount /= 2
    let layout = try StagingLayout(readTuning)
    let plan = Plan(files: files, results: [], moves: [])
    let decoding = try Decoding(
      plan: plan, places: Places([], of: plan), readLayout: layout, tuning: tuning)
    let run = VerifierRun(
      files: files, decoding: decoding, totalByteCount: chunks.reduce(0) { $0 + $1.chunk.range.count },
      progress: progress)

    var small: [VerifierRun.Item] = []
    var large: [VerifierRun.Item] = []
    for chunk in chunks {
      switch run.item(chunk) {
      case .success(let item):
        let isForEngine = item.job.map { !$0.range.isEmpty && decoding.isSmall($0) } ?? true
        if isForEngine { small.append(item) } else { large.append(item) }
      case .failure(let error): run.fail(chunk.chunk, error)
      }
    }
    for items in portions(of: small.sorted { $0.precedes($1) }) {
      try await read(items, run, readTuning)
    }
    // The largest first, so that no thread is left with a long one when the others are done.
    for items in portions(of: large.sorted { $0.chunk.range.count > $1.chunk.range.count }) {
      try await readAlone(items, run, open: try await run.open(items))
    }
    return run.takeFindings(stagingByteCount: layout.byteCount + decoding.stagingByteCount)
  }

  /// Reads chunks by the engine, and one by one if that fails.
  private func read(
    _ items: [VerifierRun.Item], _ run: VerifierRun, _ tuning: Tuning
  ) async throws(GraftError) {
    let open = try await run.open(items)
    let items = items.filter { open[$0.chunk.file] != nil }
    let order = open.keys.sorted()
    let position = Dictionary(uniqueKeysWithValues: order.enumerated().map { ($1, $0) })
    let requests = items.enumerated().map { index, item in
      ReadRequest(
        file: position[item.chunk.file] ?? 0, range: item.chunk.range, target: .handler(token: index))
    }
    do throws(GraftError) {
      let statistics = unsafe try await engine.read(
        requests, files: order.compactMap { open[$0] }, tuning: tuning, progress: run.readProgress
      ) { (index, part, bytes) throws(GraftError) in
        unsafe run.take(items[index], part, bytes)
      }
      run.add(statistics)
      run.advance(by: items.reduce(0) { $0 + $1.chunk.range.count })
    } catch {
      if error.code == .cancelled || error.code == .invalidArgument || error.code == .unsupported {
        throw error
      }
      try await readAlone(items, run, open: open)
    }
  }

  /// Reads chunks by themselves, each on one thread.
  private func readAlone(
    _ items: [VerifierRun.Item], _ run: VerifierRun, open: [Int: File]
  ) async throws(GraftError) {
    let cancellation = Cancellation()
    try await withCancellation(cancellation) { () throws(GraftError) in
      try await BlockingThreads.shared.run { () throws(GraftError) in
        try ParallelPieces.run(count: items.count, threadCount: run.decoding.threadCount) {
          (index) throws(GraftError) in
          guard let file = open[items[index].chunk.file] else { return }
          try run.read(items[index], from: file, cancellation)
        }
      }
    }
  }

  /// Chunks in portions of no more files, and no more chunks, than may be open and listed at once.
  private func portions(of items: [VerifierRun.Item]) -> [[VerifierRun.Item]] {
    var portions: [[VerifierRun.Item]] = []
    var files: Set<Int> = []
    for item in items {
      if portions.isEmpty || portions[portions.count - 1].count == Portion.requestLimit(tuning)
        || (!files.contains(item.chunk.file) && files.count == Portion.openFileLimit)
      {
        portions.append([])
        files = []
      }
      files.insert(item.chunk.file)
      portions[portions.count - 1].append(item)
    }
    return portions
  }
}

/// One run of a verifier: what its threads share.
private final class VerifierRun: Sendable {
  struct Item: Sendable {
    var chunk: StoredChunk
    var leaf: TreePath?
    /// What undoes the codecs, nil for plain bytes.
    var job: ChunkJob?
    var digest: BlockDigest?

    func precedes(_ other: Item) -> Bool {
      (chunk.file, chunk.range.offset) < (other.chunk.file, other.chunk.range.offset)
    }
  }

  let files: [StoredFile]
  let decoding: Decoding
  private let totalByteCount: Int
  private let progress: (@Sendable (Progress) -> Void)?
  private let findings = Mutex(ChunkFindings())
  private let doneByteCount = Atomic(0)

  /// Plain bytes are read in blocks of this size where the engine does not read them.
  private static let blockByteCount = 1 << 20

  init(
    files: [StoredFile], decoding: Decoding, totalByteCount: Int,
    progress: (@Sendable (Progress) -> Void)?
  ) {
    self.files = files
    self.decoding = decoding
    self.totalByteCount = totalByteCount
    self.progress = progress
  }

  // MARK: What comes in

  func item(_ chunk: ChunkToVerify) -> Result<Item, GraftError> {
    var item = Item(chunk: chunk.chunk, leaf: chunk.leaf)
    switch chunk.content {
    case .plain(let digest): item.digest = digest
    case .encoded(let codecs, let decodedByteCount):
      do throws(CodecFailure) {
        item.job = ChunkJob(
          file: chunk.chunk.file, range: chunk.chunk.range, chain: try CodecChain(codecs),
          decodedByteCount: decodedByteCount,
          copies: [
            ChunkJob.Copy(
              copy: StridedCopy(
                unit: .byte, runCount: decodedByteCount, sourceOffset: 0, destinationOffset: 0, dimensions: []
              ), place: .writer(Discard(), leaf: 0))
          ],
          leaf: chunk.leaf ?? .root)
      } catch {
        return .failure(
          error.graftError(
            leaf: chunk.leaf, file: files[chunk.chunk.file].path, range: chunk.chunk.range))
      }
    }
    return .success(item)
  }

  /// The files of these chunks that can be opened; chunks of others have failed.
  func open(_ items: [Item]) async throws(GraftError) -> [Int: File] {
    let indices = Set(items.map(\.chunk.file)).sorted()
    return try await BlockingThreads.shared.run { () throws(GraftError) in
      var open: [Int: File] = [:]
      for index in indices {
        do throws(GraftError) {
          open[index] = try self.files[index].open()
        } catch {
          for (number, item) in items.filter({ $0.chunk.file == index }).enumerated() {
            // Once for the file, not for each of its chunks.
            var error = error
            error.leaf = item.leaf
            self.fail(item.chunk, number == 0 ? error : nil)
          }
        }
      }
      return open
    }
  }

  // MARK: Chunks

  /// Takes bytes that the engine read.
  func take(_ item: Item, _ part: ByteRange, _ bytes: UnsafeRawBufferPointer) {
    guard let job = item.job else {
      unsafe item.digest?.add(part, RawSpan(_unsafeBytes: bytes))
      return
    }
    precondition(part == job.range, "a chunk that fits an operation comes whole")
    do throws(GraftError) {
      unsafe try decoding.decode(job, bytes)
      var frames = ZstdFrameWalk()
      if job.chain.stages.first == .zstd { unsafe frames.walk(RawSpan(_unsafeBytes: bytes)) }
      note(job, item.chunk, framesAreChecksummed: frames.isChecksummed)
    } catch {
      fail(item.chunk, error)
    }
  }

  /// Reads a chunk by itself.
  func read(_ item: Item, from file: File, _ cancellation: Cancellation) throws(GraftError) {
    defer { advance(by: item.chunk.range.count) }
    do throws(GraftError) {
      if let job = item.job {
        let statistics = try decoding.stream(
          job, from: .file(file, job.range, cancellation))
        findings.withLock {
          $0.reading.bytesRead += statistics.bytesRead
          $0.reading.requestCount += statistics.requestCount
        }
        note(job, item.chunk, framesAreChecksummed: statistics.isChecksummed)
      } else {
        try readPlain(item, from: file, cancellation)
      }
    } catch {
      if error.code == .cancelled { throw error }
      var error = error
      error.leaf = error.leaf ?? item.leaf
      fail(item.chunk, error)
    }
  }

  private func readPlain(
    _ item: Item, from file: File, _ cancellation: Cancellation
  ) throws(GraftError) {
    var offset = item.chunk.range.offset
    var failure: GraftError?
    while offset < item.chunk.range.end {
      try cancellation.check()
      let part = ByteRange(
        offset: offset, count: Swift.min(Self.blockByteCount, item.chunk.range.end - offset))
      do throws(GraftError) {
        let bytes = try file.readFully(part)
        // An array's bytes have no padding that could be read.
        unsafe item.digest?.add(part, bytes.span.bytes)
        findings.withLock {
          $0.reading.bytesRead += part.count
          $0.reading.requestCount += 1
        }
      } catch {
        failure = failure ?? error
      }
      offset = part.end
    }
    if let failure { throw failure }
  }

  // MARK: What is found out

  private func note(_ job: ChunkJob, _ chunk: StoredChunk, framesAreChecksummed: Bool) {
    guard job.chain.stages.contains(.crc32c) || framesAreChecksummed else { return }
    findings.withLock { _ = $0.checksummed.insert(chunk) }
  }

  func fail(_ chunk: StoredChunk, _ error: GraftError?) {
    findings.withLock { findings in
      // What is read again by itself may fail again.
      guard findings.failed.insert(chunk).inserted, let error,
        findings.errors.count < ChunkFindings.errorLimit
      else { return }
      findings.errors.append(error)
    }
  }

  func add(_ statistics: ReadStatistics) {
    findings.withLock { $0.reading.add(statistics, wantedByteCount: statistics.bytesWanted) }
  }

  func takeFindings(stagingByteCount: Int) -> ChunkFindings {
    var found = findings.withLock { $0 }
    if found.reading.engine.isEmpty { found.reading.engine = "threads" }
    found.reading.peakStagingByteCount = stagingByteCount
    return found
  }

  // MARK: Progress

  /// What reports how far the engine is.
  var readProgress: ReadProgress? {
    guard let progress else { return nil }
    let (before, total) = (doneByteCount.load(ordering: .relaxed), totalByteCount)
    return ReadProgress { completed in
      progress(Progress(completedByteCount: Swift.min(before + completed, total), totalByteCount: total))
    }
  }

  func advance(by byteCount: Int) {
    let done = doneByteCount.add(byteCount, ordering: .relaxed).newValue
    progress?(
      Progress(completedByteCount: Swift.min(done, totalByteCount), totalByteCount: totalByteCount))
  }
}

/// Stands where a chunk's elements would go.
private struct Discard: CheckpointWriter {
  var preferredChunkByteCount: Int { 1 << 20 }
  var storedByteCount: Int { 0 }

  func write(_ bytes: UnsafeRawBufferPointer, leaf: Int, byteOffset: Int) throws(GraftError) {}
  func finish() async throws(GraftError) {}
  func abandon() {}
}

extension ChunkVerifier {
  /// Undoes a chunk that the metadata holds itself.
  ///
  /// - Throws: ``GraftError`` naming the leaf when its codecs cannot be undone.
  package static func verify(
    inline bytes: [UInt8], _ codecs: [Codec], decodedByteCount: Int, leaf: TreePath
  ) throws(GraftError) {
    do throws(CodecFailure) {
      let chain = try CodecChain(codecs)
      // The metadata that held the bytes bounds them, and what they decode to is bounded here.
      guard decodedByteCount <= inlineByteCountLimit else {
        throw CodecFailure("bytes", .tooLong(expected: inlineByteCountLimit))
      }
      var decoder = try ChunkDecoder(windowByteCountLimit: inlineByteCountLimit)
      var decoded = [UInt8](repeating: 0, count: decodedByteCount)
      var space = decoded.mutableSpan
      // Bytes have no padding that could be read.
      var destination = unsafe space.mutableBytes
      unsafe try decoder.decode(bytes.span.bytes, through: chain, into: &destination)
    } catch {
      throw error.graftError(leaf: leaf)
    }
  }

  /// Chunks in the metadata are of a hundred bytes or so; a compressed one of zeros may be of some mebibytes.
  private static let inlineByteCountLimit = 64 << 20
}
