internal import Glibc
internal import GraftCodec
internal import GraftCore
internal import GraftExecute
internal import GraftIO
internal import GraftMeasure
internal import Synchronization

/// Encodes chunks of 4 MiB of what training states are made of, in memory, beside bare zstd at level 3 and a copy.
struct EncodeBenchmark {
  let options: BenchmarkOptions

  init(_ options: BenchmarkOptions) { self.options = options }

  /// More than any cache holds.
  private var byteCount: Int { options.size == .full ? 64 << 20 : 1 << 20 }
  private var chunkByteCount: Int { options.size == .full ? 4 << 20 : 256 << 10 }

  private static let compressions: [Compression] = [
    .zstd(level: 1), .zstd(level: 3), .zstdEntropyOnly, .blosc(level: 1), .blosc(level: 5), .bloscEntropyOnly,
    .none,
  ]

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    report.conditions.append("\(byteCount) bytes in chunks of \(chunkByteCount), a crc32c behind each")
    let source = try MemoryPool.shared.allocate(byteCount: byteCount, alignment: 4096)
    try source.populate()
    for content in Content.allCases {
      try content.fill(source)
      for threadCount in Set([1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))]).sorted() {
        try await measure(content, source, threadCount: threadCount, &report)
      }
    }
    return report
  }

  private func measure(
    _ content: Content, _ source: PoolExtent, threadCount: Int, _ report: inout BenchmarkReport
  ) async throws(GraftError) {
    let destination = try MemoryPool.shared.allocate(byteCount: byteCount, alignment: 4096)
    var jobs: [EncodeJob] = []
    for compression in Self.compressions {
      jobs.append(
        try EncodeJob(
          compression, elementByteCount: content.elementByteCount, source, chunkByteCount: chunkByteCount,
          threadCount: threadCount))
    }
    let contestants = [
      try EncodeCeilings.zstd(source, chunkByteCount: chunkByteCount, level: 3, threadCount: threadCount),
      MemoryCeilings.copy(from: source, to: destination, threadCount: threadCount, store: .plain),
    ]
    let results = try await InterleavedRounds.run(
      contestants + jobs.map(\.contestant), rounds: options.rounds)
    var table = BenchmarkReport.Table(
      "\(content.rawValue), \(threadCount == 1 ? "1 thread" : "\(threadCount) threads")",
      ["encoder", "size", "GiB/s", "to bare zstd", "to a copy"])
    for (index, result) in results.enumerated() {
      let size: BenchmarkReport.Cell =
        index < contestants.count
        ? .text("") : .figure(Double(jobs[index - contestants.count].encodedByteCount) / Double(byteCount))
      table.rows.append([
        .text(result.name), size, .spread(result.gibPerSecond),
        .spread(result.speed(relativeTo: results[0])), .spread(result.speed(relativeTo: results[1])),
      ])
    }
    report.tables.append(table)
    guard threadCount == 1 else { return }
    func speed(_ compression: Compression) -> Double {
      guard let index = Self.compressions.firstIndex(of: compression) else { return .nan }
      return results[contestants.count + index].speed(relativeTo: results[0]).median
    }
    func size(_ compression: Compression) -> Double {
      guard let index = Self.compressions.firstIndex(of: compression) else { return .nan }
      return Double(jobs[index].encodedByteCount)
    }
    for (compression, ratio) in [(Compression.zstd(), 0.95), (.zstdEntropyOnly, 3), (.bloscEntropyOnly, 5)] {
      report.claims.append(
        .init(
          "\(content.rawValue): speed of \(compression) / bare zstd at level 3", speed(compression),
          .atLeast(ratio)))
    }
    for compression in [Compression.zstdEntropyOnly, .bloscEntropyOnly] {
      report.claims.append(
        .init(
          "\(content.rawValue): size of \(compression) / zstd at level 3", size(compression) / size(.zstd()),
          .atMost(1)))
    }
  }
}

/// What is encoded.
private enum Content: String, CaseIterable, Sendable {
  case bfloat16 = "bfloat16 normals"
  case float32 = "float32 normals"
  case firstMoments = "first moments"
  case secondMoments = "second moments"

  var elementByteCount: Int { self == .bfloat16 ? 2 : 4 }

  func fill(_ extent: PoolExtent) throws(GraftError) {
    let dtype: DType = self == .bfloat16 ? .bfloat16 : .float32
    let count = extent.byteCount / elementByteCount
    let elements = RandomElements(.normal(mean: 0, standardDeviation: 0.02), seed: 1, stream: 1)
    unsafe elements.write(0..<count, of: dtype, to: extent.bytes)
    guard self == .firstMoments || self == .secondMoments else { return }
    // Gradients differ by orders of magnitude from one to the next.
    let other = try MemoryPool.shared.allocate(byteCount: extent.byteCount, alignment: 4096)
    let scales = RandomElements(.normal(mean: -7, standardDeviation: 1), seed: 1, stream: 2)
    unsafe scales.write(0..<count, of: dtype, to: other.bytes)
    unsafe extent.bytes.withMemoryRebound(to: Float.self) { moments in
      unsafe other.bytes.withMemoryRebound(to: Float.self) { scales in
        for index in moments.indices {
          let gradient = unsafe moments[index] * expf(scales[index])
          unsafe moments[index] = self == .firstMoments ? gradient : gradient * gradient
        }
      }
    }
  }
}

/// Chunks of a source that threads encode, each into a place of its own.
private final class EncodeJob: Sendable {
  private let encoding: ChunkEncoding
  private let source: PoolExtent
  private let rooms: [PoolExtent]
  private let chunkByteCount: Int
  private let encoded = Atomic(0)

  init(
    _ compression: Compression, elementByteCount: Int, _ source: PoolExtent, chunkByteCount: Int,
    threadCount: Int
  ) throws(GraftError) {
    var rooms: [PoolExtent] = []
    do throws(CodecFailure) {
      encoding = try ChunkEncoding(compression, hasChecksum: true, elementByteCount: elementByteCount)
    } catch { throw error.graftError() }
    guard let bound = encoding.encodedByteCountBound(chunkByteCount) else {
      preconditionFailure("chunks are of a few MiB")
    }
    for _ in 0..<threadCount {
      rooms.append(try MemoryPool.shared.allocate(byteCount: bound, alignment: 4096))
    }
    for room in rooms { try room.populate() }
    self.source = source
    self.rooms = rooms
    self.chunkByteCount = chunkByteCount
  }

  /// The bytes that the last run made.
  var encodedByteCount: Int { encoded.load(ordering: .relaxed) }

  var contestant: Contestant {
    Contestant(blocking: "\(encoding.compression)", byteCount: source.byteCount) { () throws(GraftError) in
      try self.run()
    }
  }

  private func run() throws(GraftError) {
    encoded.store(0, ordering: .relaxed)
    let next = Counter()
    try ParallelPieces.run(count: rooms.count, threadCount: rooms.count) { (piece) throws(GraftError) in
      do throws(CodecFailure) {
        var encoder = try ChunkEncoder(self.encoding)
        while true {
          let start = next.take() * self.chunkByteCount
          guard start < self.source.byteCount else { return }
          let end = min(self.source.byteCount, start + self.chunkByteCount)
          // Each room is one thread's alone, and both extents are held by the job.
          let count = try unsafe encoder.encode(
            UnsafeRawBufferPointer(rebasing: self.source.bytes[start..<end]), into: self.rooms[piece].bytes)
          self.encoded.add(count, ordering: .relaxed)
        }
      } catch { throw error.graftError() }
    }
  }

  private final class Counter: Sendable {
    private let next = Atomic(0)
    func take() -> Int { next.add(1, ordering: .relaxed).oldValue }
  }
}
