// A chunk's bytes on their way from the file to the elements:
//
//   file  ──►  crc32c ──► zstd / blosc ──► crc32c ──►  elements, little-endian, row-major
//              check      decode           check
//
// Any order and repetition of the three is undone when a chunk is decoded as a whole. Real chains are one zstd, and a stream
// decodes those: at most one zstd, with at most one crc32c on either side.

package import GraftCore

/// The codecs that a chunk's bytes went through, in the order in which they are undone.
package struct CodecChain: Hashable, Sendable {
  /// One codec to undo.
  package enum Stage: String, Hashable, Sendable {
    case zstd, blosc, crc32c
  }

  /// The most codecs that a chain may have; real ones have one or two.
  package static let stageCountLimit = 8

  /// The codecs, first to undo first.
  package let stages: [Stage]

  /// The chain of a layout's codecs; `bytes`, which only says that elements are little-endian, is no stage.
  ///
  /// - Throws: `unsupported`, naming the codec; `chainTooLong`.
  package init(_ codecs: [Codec]) throws(CodecFailure) {
    var stages: [Stage] = []
    for codec in codecs where codec.name != "bytes" {
      guard let stage = Stage(rawValue: codec.name) else {
        let name = TreePath.printable(codec.name)
        throw CodecFailure(name, .unsupported("the codec \(name) is not supported"))
      }
      guard stages.count < Self.stageCountLimit else {
        throw CodecFailure(stage.rawValue, .chainTooLong(limit: Self.stageCountLimit))
      }
      stages.append(stage)
    }
    self.stages = stages
  }

  /// Whether the file holds the elements' bytes as they are.
  package var isIdentity: Bool { stages.isEmpty }

  /// Whether chunks can be decoded piece by piece; others are decoded as a whole.
  package var canStream: Bool { streamShape != nil }

  /// Whether a stream can write the decoded bytes straight to where they stay, without a window.
  package var canStreamIntoPlace: Bool {
    guard let shape = streamShape else { return false }
    return shape.hasZstd && !shape.hasInnerChecksum
  }

  /// The memory for intermediate results that decoding a whole chunk of this size takes, in bytes; 0 for real chains.
  package func scratchByteCount(decodedByteCount: Int) -> Int {
    var total = 0
    for index in stages.indices.dropLast() where stages[index] != .crc32c {
      let bound = Self.encodedBound(stages[(index + 1)...], decodedByteCount: decodedByteCount) ?? Int.max
      total = total.addingReportingOverflow(bound).overflow ? Int.max : total + bound
    }
    return total
  }

  /// What a chain is that can be decoded as a stream.
  struct StreamShape: Hashable {
    var hasOuterChecksum = false
    var hasZstd = false
    var hasInnerChecksum = false
  }

  var streamShape: StreamShape? {
    var shape = StreamShape()
    for stage in stages {
      switch stage {
      case .crc32c where shape.hasZstd && !shape.hasInnerChecksum: shape.hasInnerChecksum = true
      case .crc32c where !shape.hasZstd && !shape.hasOuterChecksum: shape.hasOuterChecksum = true
      case .zstd where !shape.hasZstd: shape.hasZstd = true
      default: return nil
      }
    }
    return shape
  }

  /// The most bytes that a sane encoder makes of `decodedByteCount` bytes; nil when that overflows.
  static func encodedBound(_ stages: ArraySlice<Stage>, decodedByteCount: Int) -> Int? {
    var bound = decodedByteCount
    for stage in stages.reversed() {
      let (sum, overflow) = bound.addingReportingOverflow(overhead(stage, byteCount: bound))
      if overflow { return nil }
      bound = sum
    }
    return bound
  }

  private static func overhead(_ stage: Stage, byteCount: Int) -> Int {
    switch stage {
    // zstd's own bound is a 256th and a little; a few frames in one chunk add their headers.
    case .zstd: byteCount / 128 + 1024
    case .blosc: 16
    case .crc32c: 4
    }
  }
}
