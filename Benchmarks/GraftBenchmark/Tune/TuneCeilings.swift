internal import Glibc
internal import GraftCodec
internal import GraftCore
internal import GraftExecute
internal import GraftIO
internal import GraftMeasure

/// What the machine and the storage can do, by loops that share nothing with Graft's engine.
struct TuneCeilings {
  /// A plain way to read the file.
  enum RawRead: Hashable, Sendable {
    case warm(threads: Int, block: Int)
    case ring(threads: Int, block: Int)
    case direct(depth: Int, block: Int)
    case cold(threads: Int, block: Int)
  }

  let file: File
  let byteCount: Int
  /// Where all raw reads go, one at a time.
  private let extent: PoolExtent
  private let isQuick: Bool

  /// The ceilings of what this data is read from.
  ///
  /// - Parameter byteCountLimit: how much of it is read at most, if not as much as loads read; a multiple of 4096.
  init(_ data: TuneData, byteCountLimit: Int = .max, isQuick: Bool) throws(GraftError) {
    file = data.ceilingFile.file
    byteCount = min(byteCountLimit, data.ceilingFile.byteCount)
    self.isQuick = isQuick
    // Of a pool of its own, as it is held all the time.
    extent = try MemoryPool().allocate(byteCount: (byteCount + 4095) / 4096 * 4096, alignment: 4096)
  }

  // MARK: reads

  private static let threads = UsableProcessors.count

  static let warmReads: [RawRead] =
    ReadCeilings.warmBlockByteCounts.map { .warm(threads: threads, block: $0) }
    + [.warm(threads: 1, block: 1 << 20)]
    + ReadCeilings.warmBlockByteCounts.map { .ring(threads: threads, block: $0) }

  func directReads() -> [RawRead] {
    let depths = isQuick ? [1, 4, 16] : [1, 2, 4, 8, 16, 32]
    let blocks = isQuick ? [20, 22] : [17, 19, 20, 22]
    return blocks.flatMap { block in depths.map { .direct(depth: $0, block: 1 << block) } }
  }

  func bufferedReads() -> [RawRead] {
    var reads: [RawRead] = []
    for (threads, block) in [
      (1, 1 << 20), (Self.threads, 256 << 10), (Self.threads, 1 << 20), (Self.threads, 4 << 20),
      (4 * Self.threads, 1 << 20),
    ] where !reads.contains(.cold(threads: threads, block: block)) {
      reads.append(.cold(threads: threads, block: block))
    }
    return reads
  }

  /// The contestant; nil where the kernel or the file system has no such reads.
  func contestant(_ read: RawRead) throws(GraftError) -> Contestant? {
    switch read {
    case .warm(let threads, let block):
      ReadCeilings.warm(
        file, byteCount: byteCount, into: extent, threadCount: threads, blockByteCount: block)
    case .ring(let threads, let block):
      ReadCeilings.warmByRing(
        file, byteCount: byteCount, into: extent, threadCount: threads, blockByteCount: block)
    case .direct(let depth, let block):
      try ReadCeilings.cold(file, byteCount: byteCount, into: extent, depth: depth, blockByteCount: block)
    case .cold(let threads, let block):
      ReadCeilings.coldBuffered(
        file, byteCount: byteCount, into: extent, threadCount: threads, blockByteCount: block)
    }
  }

  /// The reads that are to be had, with their contestants.
  func contestants(_ reads: [RawRead]) throws(GraftError) -> [Contestant] {
    var contestants: [Contestant] = []
    for read in reads { if let contestant = try contestant(read) { contestants.append(contestant) } }
    return contestants
  }

  /// The fastest of these reads by what was measured.
  func fastest(_ reads: [RawRead], _ measured: [Measurement]) throws(GraftError) -> Contestant? {
    let order = measured.sorted { $0.gibPerSecond.median > $1.gibPerSecond.median }
    for best in order {
      for read in reads {
        if let contestant = try contestant(read), contestant.name == best.name { return contestant }
      }
    }
    return nil
  }

  // MARK: memory

  /// Enough to be out of all caches, and little beside the machine.
  private var memoryByteCount: Int { min(256 << 20, max(1 << 20, byteCount / 4096 * 4096)) }

  private static var threadCounts: [Int] { threads == 1 ? [1] : [1, threads] }

  func copies() throws(GraftError) -> [Contestant] {
    let pool = MemoryPool()
    let source = try pool.allocate(byteCount: memoryByteCount, alignment: 4096)
    let destination = try pool.allocate(byteCount: memoryByteCount, alignment: 4096)
    let stores: [MemoryCeilings.Store] = MemoryCeilings.hasStreamingStores ? [.plain, .streaming] : [.plain]
    return stores.flatMap { store in
      Self.threadCounts.map {
        MemoryCeilings.copy(from: source, to: destination, threadCount: $0, store: store)
      }
    }
  }

  func firstTouches() -> [Contestant] {
    [true, false].flatMap { hugePages in
      Self.threadCounts.map {
        MemoryCeilings.firstTouch(byteCount: memoryByteCount, threadCount: $0, hugePages: hugePages)
      }
    }
  }

  // MARK: zstd

  /// Chunks as Graft writes them.
  private static let chunkByteCount = 4 << 20

  /// Bare zstd both ways, of bfloat16 normals, which is what parameters look like to it.
  ///
  /// - Parameter folder: where a file of frames is made and removed again.
  func zstd(in folder: String) throws(GraftError) -> [Contestant] {
    let byteCount = min(64 << 20, memoryByteCount)
    let source = try MemoryPool().allocate(byteCount: byteCount, alignment: 4096)
    let elements = RandomElements(.normal(mean: 0, standardDeviation: 0.02), seed: 1, stream: 1)
    unsafe elements.write(0..<byteCount / 2, of: .bfloat16, to: source.bytes)
    var contestants: [Contestant] = []
    for count in Self.threadCounts {
      contestants.append(
        try EncodeCeilings.zstd(source, chunkByteCount: Self.chunkByteCount, level: 3, threadCount: count))
    }
    let path = "\(folder)/frames"
    defer { _ = unsafe unlink(path) }
    let frames = try Self.writeFrames(of: source, to: path)
    for count in Self.threadCounts {
      contestants.append(try DecodeCeilings.zstd(frames, into: MemoryPool(), threadCount: count))
    }
    return contestants
  }

  private static func writeFrames(
    of source: PoolExtent, to path: String
  ) throws(GraftError) -> [DecodeCeilings.Frame] {
    let encoded: (bytes: [UInt8], frames: [(range: ByteRange, decodedByteCount: Int)])
    do throws(CodecFailure) { encoded = try encode(source) } catch { throw error.graftError() }
    let bytes = encoded.bytes
    let staged = try AtomicFile(at: path, overwriting: true)
    do {
      try unsafe staged.file.write(bytes.span.bytes, at: 0)
      try staged.commit()
    } catch {
      staged.abandon()
      throw error
    }
    let file = StoredFile(path: path, byteCount: encoded.bytes.count)
    return encoded.frames.map {
      DecodeCeilings.Frame(file: file, range: $0.range, decodedByteCount: $0.decodedByteCount)
    }
  }

  private static func encode(
    _ source: PoolExtent
  ) throws(CodecFailure) -> (bytes: [UInt8], frames: [(range: ByteRange, decodedByteCount: Int)]) {
    let encoding = try ChunkEncoding(.zstd(level: 3), hasChecksum: false, elementByteCount: 2)
    var encoder = try ChunkEncoder(encoding)
    guard let bound = encoding.encodedByteCountBound(chunkByteCount) else {
      preconditionFailure("chunks are of a few MiB")
    }
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: bound, alignment: 64)
    defer { unsafe room.deallocate() }
    var bytes: [UInt8] = []
    var frames: [(range: ByteRange, decodedByteCount: Int)] = []
    for start in stride(from: 0, to: source.byteCount, by: chunkByteCount) {
      let chunk = unsafe UnsafeRawBufferPointer(
        rebasing: source.bytes[start..<min(source.byteCount, start + chunkByteCount)])
      let count = try unsafe encoder.encode(chunk, into: room)
      frames.append((ByteRange(offset: bytes.count, count: count), chunk.count))
      unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: room[..<count]))
    }
    return (bytes, frames)
  }
}
