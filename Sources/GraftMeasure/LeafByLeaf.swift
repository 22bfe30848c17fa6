internal import Glibc
package import GraftCore
package import GraftIO
internal import Synchronization

/// The plain way to read many ranges of a file: for each, memory from malloc and a `pread`, on a few threads.
///
/// It shares nothing with Graft's read engine or its memory, and so says whether those are worth having.
package struct LeafByLeaf: Sendable {
  private let file: File
  private let ranges: [ByteRange]
  private let isWarm: Bool
  private let results: HeapResults

  /// As many at once as a disk has use for; out of the page cache more threads than processors gain nothing.
  private static let coldThreadCount = 16
  /// The ranges that a thread takes at a time, so that threads do not meet at the counter.
  private static let rangesAtATime = 32

  /// Reads these ranges, which lie within the file, from the page cache or from the disk.
  package init(_ file: File, _ ranges: [ByteRange], isWarm: Bool) {
    self.file = file
    self.ranges = ranges
    self.isWarm = isWarm
    results = HeapResults(count: ranges.count)
  }

  /// Reads every range; giving back the memory of the run before is not timed.
  package var contestant: Contestant {
    let threadCount = isWarm ? UsableProcessors.count : Self.coldThreadCount
    return Contestant(
      blocking: "malloc and pread, \(MemoryCeilings.threads(threadCount))",
      byteCount: ranges.reduce(0) { $0 + $1.count },
      prepare: { () throws(GraftError) in
        results.free()
        if isWarm { try PageCache.warm(file) } else { try PageCache.empty(of: file) }
      },
      run: { () throws(GraftError) in
        let pieces = (ranges.count + Self.rangesAtATime - 1) / Self.rangesAtATime
        try ParallelPieces.run(count: pieces, threadCount: threadCount) { (piece) throws(GraftError) in
          let first = piece * Self.rangesAtATime
          for index in first..<min(ranges.count, first + Self.rangesAtATime) {
            let memory = unsafe results.allocate(index, byteCount: ranges[index].count)
            unsafe try file.readFully(ranges[index], into: memory)
          }
        }
      })
  }

  /// Whether the last run's memory holds what `body` compares it with; for tests.
  package func forEachResult(_ body: (ByteRange, UnsafeRawBufferPointer) -> Void) {
    for (index, range) in ranges.enumerated() {
      if let memory = unsafe results.memory(index, byteCount: range.count) { unsafe body(range, memory) }
    }
  }
}

/// Owns memory of the heap, a part for each range.
///
/// Sendable, because each part is allocated and filled by one thread, and looked at and freed when those have ended.
@safe private final class HeapResults: @unchecked Sendable {
  private let parts: UnsafeMutableBufferPointer<UnsafeMutableRawPointer?>

  init(count: Int) {
    unsafe parts = .allocate(capacity: count)
    unsafe parts.initialize(repeating: nil)
  }

  deinit {
    free()
    unsafe parts.deallocate()
  }

  func allocate(_ index: Int, byteCount: Int) -> UnsafeMutableRawBufferPointer {
    // Not zeroed, as nobody who reads into it would.
    unsafe parts[index] = malloc(max(1, byteCount))
    precondition(
      unsafe parts[index] != nil, "malloc fails for a few KiB only where nothing else goes on either")
    return unsafe UnsafeMutableRawBufferPointer(start: parts[index], count: byteCount)
  }

  func memory(_ index: Int, byteCount: Int) -> UnsafeRawBufferPointer? {
    unsafe parts[index].map { unsafe UnsafeRawBufferPointer(start: $0, count: byteCount) }
  }

  func free() {
    for index in unsafe parts.indices {
      unsafe Glibc.free(parts[index])
      unsafe parts[index] = nil
    }
  }
}
