internal import CGraftMeasure
internal import Glibc
internal import GraftCore
package import GraftIO

/// What the machine's memory can do: the ceilings of everything that copies or makes a result.
package enum MemoryCeilings {
  /// How a copy stores.
  package enum Store: String, CaseIterable, Sendable {
    /// As the C library's memcpy does.
    case plain = "memcpy"
    /// Around the processor's caches, which a result larger than them does not profit from.
    case streaming = "streaming stores"
  }

  /// Whether this processor has streaming stores that the measurement can use.
  package static var hasStreamingStores: Bool { graft_measure_has_streaming_stores() }

  /// A copy from one extent to another of the same size, by this many threads.
  ///
  /// Both are populated before the first round, so first touch is not part of it.
  package static func copy(
    from source: PoolExtent, to destination: PoolExtent, threadCount: Int, store: Store
  ) -> Contestant {
    precondition(source.byteCount == destination.byteCount)
    return Contestant(
      blocking: "\(store.rawValue), \(threads(threadCount))", byteCount: destination.byteCount,
      prepare: { () throws(GraftError) in
        try source.populate()
        try destination.populate()
      },
      run: { () throws(GraftError) in
        try forBlocks(of: 4 << 20, in: destination.byteCount, threadCount: threadCount) {
          (block) throws(GraftError) in
          guard let from = unsafe source.bytes.baseAddress, let to = unsafe destination.bytes.baseAddress
          else { return }
          // The extents are kept by this closure, and blocks do not overlap.
          switch store {
          case .plain: unsafe memcpy(to + block.offset, from + block.offset, block.count)
          case .streaming:
            unsafe graft_measure_copy_streaming(to + block.offset, from + block.offset, block.count)
          }
        }
      })
  }

  /// The first touch of fresh memory, by this many threads, in huge pages or small ones.
  ///
  /// Mapping and unmapping are not timed. Memory that a process gave back a moment ago is touched faster than memory that the
  /// host of a virtual machine has taken back, so figures depend on what ran before.
  package static func firstTouch(byteCount: Int, threadCount: Int, hugePages: Bool) -> Contestant {
    let holder = FreshMemory(byteCount: byteCount, hugePages: hugePages)
    return Contestant(
      blocking: "first touch, \(hugePages ? "huge" : "small") pages, \(threads(threadCount))",
      byteCount: byteCount,
      prepare: { () throws(GraftError) in try holder.renew() },
      run: { () throws(GraftError) in try holder.populate(threadCount: threadCount) })
  }

  static func threads(_ count: Int) -> String { count == 1 ? "1 thread" : "\(count) threads" }
}

/// Does `body` for each block of this size, on this many threads.
func forBlocks(
  of blockByteCount: Int, in byteCount: Int, threadCount: Int,
  _ body: @escaping @Sendable (ByteRange) throws(GraftError) -> Void
) throws(GraftError) {
  try ParallelPieces.run(
    count: (byteCount + blockByteCount - 1) / blockByteCount, threadCount: threadCount
  ) { (index) throws(GraftError) in
    let offset = index * blockByteCount
    try body(ByteRange(offset: offset, count: min(blockByteCount, byteCount - offset)))
  }
}
