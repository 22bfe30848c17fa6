/// A copy between two byte sequences in a regular pattern: runs of consecutive bytes, repeated along some dimensions.
///
/// Every movement of a box of elements, however it is sliced, strided or permuted, is such a pattern. It is kept in its
/// shortest form: dimensions that continue each other are merged, so a copy without dimensions is one run. Positions count
/// in ``Unit``s: bytes, or bits where elements of less than a byte are not aligned to bytes.
public struct StridedCopy: Hashable, Sendable {
  /// What positions, counts and strides count.
  public enum Unit: Hashable, Sendable {
    /// Eight bits.
    case byte
    /// One bit, in little-endian order within a byte.
    case bit
  }

  /// One dimension along which the runs repeat.
  public struct Dimension: Hashable, Sendable {
    /// How often.
    public var count: Int
    /// The distance in the source from one repetition to the next; may be negative, and 0 for a broadcast.
    public var sourceStride: Int
    /// The distance in the destination from one repetition to the next.
    public var destinationStride: Int

    /// A dimension.
    public init(count: Int, sourceStride: Int, destinationStride: Int) {
      self.count = count
      self.sourceStride = sourceStride
      self.destinationStride = destinationStride
    }
  }

  /// What positions, counts and strides count.
  public var unit: Unit
  /// The length of one run.
  public var runCount: Int
  /// The position of the first run in the source.
  public var sourceOffset: Int
  /// The position of the first run in the destination.
  public var destinationOffset: Int
  /// The dimensions along which runs repeat, the one with the largest stride in the source first.
  public var dimensions: [Dimension]

  /// A copy of this pattern, taken as it is given.
  public init(unit: Unit, runCount: Int, sourceOffset: Int, destinationOffset: Int, dimensions: [Dimension]) {
    self.unit = unit
    self.runCount = runCount
    self.sourceOffset = sourceOffset
    self.destinationOffset = destinationOffset
    self.dimensions = dimensions
  }

  /// Whether the copy is one run of bytes.
  public var isContiguous: Bool { dimensions.isEmpty && unit == .byte }

  /// The number of units that are copied.
  public var copiedCount: Int { dimensions.reduce(runCount) { $0 * $1.count } }

  /// The number of bytes that are copied, rounded up.
  public var copiedByteCount: Int { unit == .byte ? copiedCount : (copiedCount + 7) / 8 }

  /// The half-open range of source positions between the lowest and the highest that the copy touches.
  public var sourceBounds: Range<Int> {
    var lower = sourceOffset
    var upper = sourceOffset + runCount
    for dimension in dimensions {
      let reach = (dimension.count - 1) * dimension.sourceStride
      if reach < 0 { lower += reach } else { upper += reach }
    }
    return lower..<upper
  }

  /// The whole bytes of the source that hold everything that the copy touches.
  public var sourceByteRange: ByteRange {
    let bounds = sourceBounds
    guard unit == .bit else { return ByteRange(offset: bounds.lowerBound, count: bounds.count) }
    let lower = bounds.lowerBound / 8
    return ByteRange(offset: lower, count: (bounds.upperBound + 7) / 8 - lower)
  }
}

extension StridedCopy {
  /// The shortest form of a copy of elements; nil when there is nothing to copy.
  ///
  /// - Parameters:
  ///   - elementBits: the width of one element in the destination, and of what is copied.
  ///   - storedBits: the width that an element takes in the source, of which the lowest bits are copied.
  ///   - sourceElement: the index of the first element in the source.
  ///   - destinationElement: the index of the first element in the destination.
  ///   - dimensions: counts, and strides in elements; in any order.
  init?(
    elementBits: Int, storedBits: Int, sourceElement: Int, destinationElement: Int, dimensions: [Dimension]
  ) {
    var bits: [Dimension] = []
    bits.reserveCapacity(dimensions.count)
    for dimension in dimensions where dimension.count != 1 {
      if dimension.count == 0 { return nil }
      bits.append(
        Dimension(
          count: dimension.count, sourceStride: dimension.sourceStride * storedBits,
          destinationStride: dimension.destinationStride * elementBits))
    }
    // In the order of the source, so that reads run forward through the file.
    if bits.count > 1 {
      bits.sort {
        ($0.sourceStride.magnitude, $0.destinationStride.magnitude) > (
          $1.sourceStride.magnitude, $1.destinationStride.magnitude
        )
      }
    }
    var run = elementBits
    // The innermost dimension is part of the run while it continues the run in both source and destination.
    while let inner = bits.last, inner.sourceStride == run, inner.destinationStride == run {
      run *= inner.count
      bits.removeLast()
    }
    var merged: [Dimension] = []
    for inner in bits {
      if let outer = merged.last, outer.sourceStride == inner.count * inner.sourceStride,
        outer.destinationStride == inner.count * inner.destinationStride
      {
        merged[merged.count - 1] = Dimension(
          count: outer.count * inner.count, sourceStride: inner.sourceStride,
          destinationStride: inner.destinationStride)
      } else {
        merged.append(inner)
      }
    }
    let sourceOffset = sourceElement * storedBits
    let destinationOffset = destinationElement * elementBits
    let wholeBytes =
      elementBits % 8 == 0
      || (run % 8 == 0 && sourceOffset % 8 == 0 && destinationOffset % 8 == 0
        && merged.allSatisfy { $0.sourceStride % 8 == 0 && $0.destinationStride % 8 == 0 })
    let divisor = wholeBytes ? 8 : 1
    self.init(
      unit: wholeBytes ? .byte : .bit, runCount: run / divisor, sourceOffset: sourceOffset / divisor,
      destinationOffset: destinationOffset / divisor,
      dimensions: divisor == 1
        ? merged
        : merged.map {
          Dimension(
            count: $0.count, sourceStride: $0.sourceStride / 8, destinationStride: $0.destinationStride / 8)
        })
  }
}

extension StridedCopy: CustomStringConvertible {
  /// For example `4096 bytes at 0 to 0, 8 times every 65536 to every 4096`.
  public var description: String {
    let unitName = unit == .byte ? "bytes" : "bits"
    return "\(runCount) \(unitName) at \(sourceOffset) to \(destinationOffset)"
      + dimensions.map { ", \($0.count) times every \($0.sourceStride) to every \($0.destinationStride)" }
      .joined()
  }
}
