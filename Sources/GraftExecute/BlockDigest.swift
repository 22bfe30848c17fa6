internal import GraftCodec
package import GraftCore
internal import Synchronization

/// The CRC-32C of a block of a file whose parts come in any order, on any thread.
package final class BlockDigest: Sendable {
  private struct Part {
    var range: ByteRange
    var checksum: UInt32
  }

  /// The bytes of the file that are the block.
  package let range: ByteRange
  private let parts = Mutex<[Part]>([])

  /// The digest of a block of which nothing has come.
  package init(_ range: ByteRange) { self.range = range }

  /// Takes a part of the block; one that came before is ignored.
  func add(_ part: ByteRange, _ bytes: RawSpan) {
    let checksum = CRC32C.checksum(bytes)
    parts.withLock { parts in
      if parts.contains(where: { $0.range == part }) { return }
      parts.append(Part(range: part, checksum: checksum))
    }
  }

  /// The checksum of the whole block; nil when parts of it have not come.
  package var checksum: UInt32? {
    var sum: UInt32 = 0
    var end = range.offset
    // What was read again after a failure may have come in other parts: of those that begin alike the longest counts.
    for part in parts.withLock({ $0 }).sorted(by: {
      ($0.range.offset, $1.range.end) < ($1.range.offset, $0.range.end)
    }) where part.range.offset == end {
      sum = CRC32C.combine(sum, part.checksum, byteCount: part.range.count)
      end = part.range.end
    }
    return end == range.end ? sum : nil
  }
}
