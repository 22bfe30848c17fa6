internal import CGraftMeasure
package import GraftCore
package import GraftIO
internal import Synchronization

/// What the processors can decode: the ceiling of every load of compressed chunks.
package enum DecodeCeilings {
  /// A chunk that is zstd and nothing else, where it is stored.
  package struct Frame: Hashable, Sendable {
    /// The file that has it.
    package var file: StoredFile
    /// The encoded bytes.
    package var range: ByteRange
    /// The bytes of its elements.
    package var decodedByteCount: Int

    /// A frame that lies here and decodes to so many bytes.
    package init(file: StoredFile, range: ByteRange, decodedByteCount: Int) {
      self.file = file
      self.range = range
      self.decodedByteCount = decodedByteCount
    }
  }

  /// The chunks of a plan that are zstd and nothing else, each once, the largest first.
  ///
  /// Other chunks, and those that metadata holds, are left out: a ceiling is what can be said for sure.
  package static func frames(of plan: Plan) -> [Frame] {
    let isZstd = plan.encodings.map { $0.codecs.map(\.name).filter { $0 != "bytes" } == ["zstd"] }
    var frames: [Frame] = []
    var previous: StoredChunk?
    // Moves of one chunk stand together.
    for move in plan.moves where move.chunk != previous {
      previous = move.chunk
      guard let encoding = move.encoding, isZstd[encoding] else { continue }
      frames.append(
        Frame(
          file: plan.files[move.chunk.file], range: move.chunk.range,
          decodedByteCount: plan.encodings[encoding].decodedByteCount))
    }
    return frames.sorted {
      ($1.decodedByteCount, $0.file.path, $0.range.offset)
        < ($0.decodedByteCount, $1.file.path, $1.range.offset)
    }
  }

  /// Some of these frames that decode to no more than so many bytes, large and small ones alike; at least one.
  package static func sample(_ frames: [Frame], decodedByteCountLimit limit: Int) -> [Frame] {
    let total = frames.reduce(0) { $0 + $1.decodedByteCount }
    guard total > limit, let last = frames.last else { return frames }
    // Every so many-th in the order of their sizes, so that the sample is a small likeness of the whole.
    let step = (total + limit - 1) / limit
    var sample: [Frame] = []
    var left = limit
    for index in stride(from: step / 2, to: frames.count, by: step)
    where frames[index].decodedByteCount <= left {
      sample.append(frames[index])
      left -= frames[index].decodedByteCount
    }
    return sample.isEmpty ? [last] : sample
  }

  /// Which memory frames are decoded into.
  package enum Memory: Hashable, Sendable {
    /// Memory that was touched before the time began, as a load finds it that follows another.
    case reused
    /// Memory that is mapped and touched within the time, as the first load of a process finds it.
    case fresh
  }

  /// The same frames, in memory already, decoded one by one by as many threads, the largest first, and nothing else.
  ///
  /// Blocks while it reads the frames into memory of its own, which the contestant holds.
  /// - Parameters:
  ///   - pool: where the decoded bytes go, an extent for each frame; all go back after every run, as a load's result does.
  /// - Throws: ``GraftError`` when a file cannot be read or memory does not suffice; the contestant, when a frame does not
  ///   decode to what it should.
  package static func zstd(
    _ frames: [Frame], into pool: MemoryPool = .shared, threadCount: Int, memory: Memory = .reused
  ) throws(GraftError) -> Contestant {
    let bare = try BareFrames(frames, pool: pool, threadCount: threadCount)
    let touch = memory == .fresh ? ", and first touch" : ""
    return Contestant(
      blocking: "zstd of frames in memory, \(MemoryCeilings.threads(threadCount))\(touch)",
      byteCount: frames.reduce(0) { $0 + $1.decodedByteCount },
      prepare: { () throws(GraftError) in
        bare.drop()
        if memory == .reused { try bare.takePlaces(threadCount: threadCount) }
      },
      run: { () throws(GraftError) in
        if memory == .fresh { try bare.takePlaces(threadCount: threadCount) }
        try bare.decode(threadCount: threadCount)
      },
      finish: { () throws(GraftError) in bare.drop() })
  }
}

/// Owns encoded frames in memory, and the memory that they are decoded into while that goes on.
private final class BareFrames: Sendable {
  private let frames: [DecodeCeilings.Frame]
  private let encoded: PoolExtent
  private let offsets: [Int]
  private let pool: MemoryPool
  private let places = Mutex<[PoolExtent]>([])

  /// The most files that are open at a time: a checkpoint of folders has one for each chunk.
  private static let openFileLimit = 64

  init(_ frames: [DecodeCeilings.Frame], pool: MemoryPool, threadCount: Int) throws(GraftError) {
    var offsets: [Int] = []
    var byteCount = 0
    for frame in frames {
      offsets.append(byteCount)
      byteCount += (frame.range.count + 63) / 64 * 64
    }
    // From a pool of its own, so that what it holds is not what loads would reuse.
    var options = MemoryPool.Options()
    options.retentionByteCount = 0
    encoded = try MemoryPool(options: options).allocate(byteCount: byteCount)
    try encoded.populate(threadCount: threadCount)
    var files: [String: File] = [:]
    for (frame, offset) in zip(frames, offsets) {
      if files[frame.file.path] == nil && files.count >= Self.openFileLimit { files = [:] }
      let file = if let open = files[frame.file.path] { open } else { try File(opening: frame.file.path) }
      files[frame.file.path] = file
      unsafe try file.readFully(
        frame.range,
        into: UnsafeMutableRawBufferPointer(rebasing: encoded.bytes[offset..<offset + frame.range.count]))
    }
    self.frames = frames
    self.offsets = offsets
    self.pool = pool
  }

  func takePlaces(threadCount: Int) throws(GraftError) {
    var extents: [PoolExtent] = []
    for frame in frames {
      extents.append(try pool.allocate(byteCount: frame.decodedByteCount, alignment: 4096))
    }
    for extent in extents { try extent.populate(threadCount: threadCount) }
    places.withLock { $0 = extents }
  }

  func drop() { places.withLock { $0 = [] } }

  func decode(threadCount: Int) throws(GraftError) {
    let places = places.withLock { $0 }
    precondition(places.count == frames.count, "one place for each frame")
    let turn = Turn()
    try ParallelPieces.run(count: threadCount, threadCount: threadCount) { (_) throws(GraftError) in
      guard let decoder = unsafe graft_measure_zstd_open() else {
        throw GraftError(.insufficientMemory, "there is no memory for a decoder of zstd")
      }
      defer { unsafe graft_measure_zstd_close(decoder) }
      while true {
        let index = turn.take()
        guard index < self.frames.count else { return }
        let (frame, place) = (self.frames[index], places[index])
        // Each place is one thread's alone, and both extents are held here.
        let count = unsafe graft_measure_zstd_decode(
          decoder, self.encoded.bytes.baseAddress! + self.offsets[index], frame.range.count,
          place.bytes.baseAddress, place.byteCount)
        guard count == frame.decodedByteCount else {
          throw GraftError(
            .corrupt, "the zstd frame does not decode to what its leaf has", file: frame.file.path,
            range: frame.range, expected: "\(frame.decodedByteCount) bytes",
            found: count < 0 ? "what zstd refuses" : "\(count) bytes")
        }
      }
    }
  }
}
