// A zstd stream as far as it matters here:
//
//   frame:      magic, descriptor, [window] [dictionary] [content size], block, …, block, [checksum of the content]
//   block:      3 bytes: last (1 bit), kind (2), size (21), then its bytes; one alone where the kind is a repetition
//   skippable:  magic 184D2A5?, size, its bytes

/// Follows the frames of a zstd stream from header to header, without decoding, to see whether each has a checksum of its content.
///
/// The decoder checks the checksums that are there; which are, it does not say.
package struct ZstdFrameWalk: Hashable, Sendable {
  /// What the next header is.
  private enum Part: Hashable {
    case magic, descriptor, block, skippableByteCount
  }

  private var part = Part.magic
  /// The header as far as it came, and how many of its bytes that is.
  private var value: UInt32 = 0
  private var count = 0
  /// How many bytes come before the next header.
  private var skipped = 0
  private var hasChecksum = false

  /// The frames that begin in what was walked over, skippable ones left out.
  package private(set) var frameCount = 0
  /// Those of them that have a checksum.
  package private(set) var checksummedFrameCount = 0

  /// A walk that stands before the first frame.
  package init() {}

  /// Whether every frame so far has a checksum, and there is one.
  package var isChecksummed: Bool { frameCount > 0 && checksummedFrameCount == frameCount }

  /// Walks over the stream's next bytes; of bytes that are no zstd it makes whatever it makes.
  package mutating func walk(_ bytes: RawSpan) {
    var offset = 0
    while offset < bytes.byteCount {
      if skipped > 0 {
        let step = Swift.min(skipped, bytes.byteCount - offset)
        skipped -= step
        offset += step
        continue
      }
      // Inside the bytes by the loop's condition; any bits are a number.
      value |= UInt32(unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self)) << (8 * UInt32(count))
      count += 1
      offset += 1
      if count == headerByteCount { take() }
    }
  }

  private var headerByteCount: Int {
    switch part {
    case .magic, .skippableByteCount: 4
    case .descriptor: 1
    case .block: 3
    }
  }

  /// Takes a whole header.
  private mutating func take() {
    defer { (value, count) = (0, 0) }
    switch part {
    case .magic:
      part = value & 0xFFFF_FFF0 == 0x184D_2A50 ? .skippableByteCount : .descriptor
    case .skippableByteCount:
      skipped = Int(value)
      part = .magic
    case .descriptor:
      let isSingleSegment = value & 0x20 != 0
      hasChecksum = value & 0x04 != 0
      frameCount += 1
      if hasChecksum { checksummedFrameCount += 1 }
      skipped = isSingleSegment ? 0 : 1
      skipped += [0, 1, 2, 4][Int(value & 3)]
      skipped += [isSingleSegment ? 1 : 0, 2, 4, 8][Int(value >> 6)]
      part = .block
    case .block:
      let isRepetition = value >> 1 & 3 == 1
      skipped = isRepetition ? 1 : Int(value >> 3)
      if value & 1 != 0 {
        skipped += hasChecksum ? 4 : 0
        part = .magic
      }
    }
  }
}
