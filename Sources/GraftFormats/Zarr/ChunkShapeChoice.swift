package import GraftCore

/// How a tensor that is written is cut into chunks, decided from its dtype and shape alone.
///
/// Leading axes are cut first, so that a chunk is whole rows, and one run of the tensor's row-major order. Small axes stay whole.
/// What the caller says of an axis comes before: it is cut into so many equal parts, and chunks are cut from one of them.
package struct ChunkShapeChoice: Hashable, Sendable {
  /// An axis that is cut whether or not its elements would fit.
  package struct Cut: Hashable, Sendable {
    /// The axis; negative ones count from the last.
    package var axis: Int
    /// How many parts of it there are, where it has as many elements.
    package var partCount: Int

    package init(axis: Int, partCount: Int) {
      precondition(partCount > 0)
      self.axis = axis
      self.partCount = partCount
    }
  }

  /// The most bytes of elements that a chunk has, unless a single element is larger.
  ///
  /// 4 MiB are a request that reaches a disk's speed, a fraction of a second of work for one core, and small beside any budget.
  package var byteCountLimit = 4 << 20
  /// What is cut first; axes that a tensor does not have are passed over.
  package var cuts: [Cut] = []

  /// Chunks of at most so many bytes.
  package init(byteCountLimit: Int = 4 << 20, cuts: [Cut] = []) {
    precondition(byteCountLimit > 0)
    self.byteCountLimit = byteCountLimit
    self.cuts = cuts
  }

  /// The extent of a chunk along each axis, at least 1.
  package func chunkShape(of spec: TensorSpec) -> Shape {
    var extents = spec.shape.map { max(1, $0) }
    for cut in cuts {
      let axis = cut.axis < 0 ? cut.axis + extents.count : cut.axis
      guard extents.indices.contains(axis) else { continue }
      extents[axis] = Self.quotient(extents[axis], min(cut.partCount, extents[axis]))
    }
    // Elements of less than a byte have a byte each in a chunk.
    let elementByteCount = max(1, spec.dtype.bitWidth / 8)
    for axis in extents.indices {
      let rowByteCount = Self.product(extents[(axis + 1)...], times: elementByteCount)
      if Self.product(extents[axis...], times: elementByteCount) <= byteCountLimit { break }
      guard rowByteCount <= byteCountLimit else {
        extents[axis] = 1
        continue
      }
      extents[axis] = Self.rowCount(
        of: extents[axis], atMost: byteCountLimit / rowByteCount,
        atLeast: Self.quotient(byteCountLimit, rowByteCount * 2))
      break
    }
    return Shape(extents)
  }

  /// How many rows of an axis a chunk has, where not all fit.
  ///
  /// The most that divide the axis, where that makes chunks of at least half of the limit; else as few chunks as possible, whose rows
  /// are as many as evenly as can be, so that the last is padded by less than a row for each chunk.
  private static func rowCount(of extent: Int, atMost limit: Int, atLeast minimum: Int) -> Int {
    let fewestChunks = quotient(extent, limit)
    // Counts of chunks or counts of rows, whichever are fewer to try: the square root of the extent at most, about.
    if fewestChunks <= limit {
      var chunks = fewestChunks
      while extent / chunks >= max(1, minimum) {
        if extent % chunks == 0 { return extent / chunks }
        chunks += 1
      }
    } else {
      var rows = limit
      while rows >= max(1, minimum) {
        if extent % rows == 0 { return rows }
        rows -= 1
      }
    }
    return quotient(extent, fewestChunks)
  }

  private static func quotient(_ dividend: Int, _ divisor: Int) -> Int {
    dividend / divisor + (dividend % divisor == 0 ? 0 : 1)
  }

  /// The product, or the largest number where it overflows.
  private static func product(_ extents: ArraySlice<Int>, times factor: Int) -> Int {
    extents.reduce(factor) { product, extent in
      let (next, overflow) = product.multipliedReportingOverflow(by: extent)
      return overflow ? .max : next
    }
  }
}
