internal import CGraftMeasure
package import GraftCore
package import GraftIO

/// What the processors can encode: the ceiling of every save of compressed chunks.
package enum EncodeCeilings {
  /// The source cut into chunks, each encoded by zstd at this level as one frame, and nothing else.
  ///
  /// Each thread writes all its frames to the same place.
  package static func zstd(
    _ source: PoolExtent, chunkByteCount: Int, level: Int, threadCount: Int
  ) throws(GraftError) -> Contestant {
    let bound = graft_measure_zstd_bound(chunkByteCount)
    var rooms: [PoolExtent] = []
    for _ in 0..<threadCount {
      rooms.append(try MemoryPool.shared.allocate(byteCount: bound, alignment: 4096))
    }
    for room in rooms { try room.populate() }
    return Contestant(
      blocking: "bare zstd at level \(level), \(MemoryCeilings.threads(threadCount))",
      byteCount: source.byteCount
    ) { [rooms] () throws(GraftError) in
      let turn = Turn()
      try ParallelPieces.run(count: threadCount, threadCount: threadCount) { (piece) throws(GraftError) in
        guard let encoder = unsafe graft_measure_zstd_encoder_open(CInt(level)) else {
          throw GraftError(.insufficientMemory, "there is no memory for an encoder of zstd")
        }
        defer { unsafe graft_measure_zstd_encoder_close(encoder) }
        while true {
          let start = turn.take() * chunkByteCount
          guard start < source.byteCount else { return }
          let chunk = unsafe UnsafeRawBufferPointer(
            rebasing: source.bytes[start..<min(source.byteCount, start + chunkByteCount)])
          // Each room is one thread's alone, and both extents are held here.
          let count = unsafe graft_measure_zstd_encode(
            encoder, chunk.baseAddress, chunk.count, rooms[piece].bytes.baseAddress, rooms[piece].byteCount)
          precondition(count > 0, "a frame is no larger than its bound")
        }
      }
    }
  }
}
