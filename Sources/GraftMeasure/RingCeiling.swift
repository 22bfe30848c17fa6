internal import CGraftMeasure
internal import Glibc
internal import GraftCore
package import GraftIO

extension ReadCeilings {
  /// Reads in flight for each thread that are worth trying on a warm file.
  package static let warmRingDepth = 8

  /// io_uring reads of the file in the page cache, by this many threads with a ring each, in blocks of this size.
  ///
  /// Nil where the kernel refuses this process a ring. Making the rings is part of what is timed, and takes a fraction of a
  /// millisecond.
  package static func warmByRing(
    _ file: File, byteCount: Int? = nil, into destination: PoolExtent, threadCount: Int,
    depth: Int = warmRingDepth, blockByteCount: Int
  ) -> Contestant? {
    let byteCount = byteCount ?? file.byteCount
    precondition(destination.byteCount >= byteCount && byteCount <= file.byteCount)
    precondition(blockByteCount > 0 && depth > 0 && depth <= 64)
    var probe = unsafe graft_measure_ring_read(
      memory: nil, byte_count: 0, next_offset: 0, block_byte_count: 1, depth: 1, descriptor: -1)
    guard unsafe graft_measure_read_by_ring(&probe) == 0 else { return nil }
    let name =
      "io_uring, \(MemoryCeilings.threads(threadCount)), \(depth) in flight, \(blockByteCount >> 10) KiB"
    return Contestant(
      blocking: name, byteCount: byteCount,
      prepare: { () throws(GraftError) in
        try destination.populate()
        try PageCache.warm(file, ByteRange(offset: 0, count: byteCount))
      },
      run: { () throws(GraftError) in
        let shared = unsafe SharedRead(
          graft_measure_ring_read(
            memory: destination.bytes.baseAddress?.assumingMemoryBound(to: UInt8.self),
            byte_count: UInt64(byteCount), next_offset: 0, block_byte_count: UInt32(blockByteCount),
            depth: UInt32(depth), descriptor: file.rawDescriptor))
        try ParallelPieces.run(count: threadCount, threadCount: threadCount) { (_) throws(GraftError) in
          let result = unsafe graft_measure_read_by_ring(shared.read)
          switch -result {
          case 0: return
          case ENODATA:
            throw GraftError.truncated(
              file: file.path, range: ByteRange(offset: 0, count: file.byteCount), byteCount: file.byteCount)
          default: throw GraftError(.read, SystemCallFailure("io_uring_enter", -result), file: file.path)
          }
        }
      })
  }
}

/// Owns what the threads of one read share.
///
/// Sendable, because the C function takes blocks from it atomically.
@safe private final class SharedRead: @unchecked Sendable {
  let read: UnsafeMutablePointer<graft_measure_ring_read>

  init(_ value: graft_measure_ring_read) {
    unsafe read = .allocate(capacity: 1)
    unsafe read.initialize(to: value)
  }

  deinit { unsafe read.deallocate() }
}
