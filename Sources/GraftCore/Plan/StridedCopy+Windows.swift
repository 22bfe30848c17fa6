// A strided copy out of a file is done through windows: each window is one read of consecutive bytes into a slot, from which
// the wanted runs are placed. Where the runs lie close together a window covers many of them and the bytes between; where
// they lie far apart each is a window of its own. "Close" is what the cost model says one more request is worth.

extension StridedCopy {
  /// Calls `body` with parts of this copy that together are all of it, each touching at most `limit` bytes of the source.
  ///
  /// - Parameters:
  ///   - limit: the size of a slot in bytes, at least 16.
  ///   - cost: when to read through the bytes between two runs.
  package func forEachWindow(limit: Int, cost: CostModel, _ body: (StridedCopy) -> Void) {
    precondition(limit >= 16)
    if sourceByteRange.count <= limit, isDense(cost) {
      body(self)
      return
    }
    guard let outer = dimensions.first else {
      forEachPartOfRun(limit: limit, body)
      return
    }
    var inner = self
    inner.dimensions.removeFirst()
    // How many repetitions of the outer dimension fit one window; 1 means to go on with the inner dimensions alone.
    var repetitions = 1
    if inner.isDense(cost), gap(of: outer, around: inner) <= cost.requestByteCount {
      // In the copy's own units; bits that begin inside a byte touch one byte more than their number says.
      let capacity = unit == .byte ? limit : (limit - 1) * 8
      let span = inner.sourceBounds.count
      let stride = Swift.max(1, Int(outer.sourceStride.magnitude))
      if span <= capacity { repetitions = (capacity - span) / stride + 1 }
    }
    var index = 0
    while index < outer.count {
      let count = Swift.min(repetitions, outer.count - index)
      var part = inner
      part.sourceOffset += index * outer.sourceStride
      part.destinationOffset += index * outer.destinationStride
      if count > 1 {
        part.dimensions.insert(outer, at: 0)
        part.dimensions[0].count = count
        body(part)
      } else {
        part.forEachWindow(limit: limit, cost: cost, body)
      }
      index += count
    }
  }

  /// The same copy out of a buffer that begins with the first byte of ``sourceByteRange``.
  package var rebasedToWindow: StridedCopy {
    var copy = self
    copy.sourceOffset -= sourceByteRange.offset * (unit == .bit ? 8 : 1)
    return copy
  }

  private func forEachPartOfRun(limit: Int, _ body: (StridedCopy) -> Void) {
    // A run of bits that starts inside a byte touches one byte more than its length says.
    let capacity = unit == .byte ? limit : (limit - 1) * 8
    // Elements stay whole: of all widths there are (1 to 16 bytes, 4 and 6 bits), 48 units are a multiple, and 16 of most.
    let part = capacity >= 48 ? capacity / 48 * 48 : capacity / 16 * 16
    var position = 0
    while position < runCount {
      var copy = self
      copy.runCount = Swift.min(part, runCount - position)
      copy.sourceOffset += position
      copy.destinationOffset += position
      body(copy)
      position += copy.runCount
    }
  }

  /// Whether reading through everything between the runs costs less than skipping it.
  private func isDense(_ cost: CostModel) -> Bool {
    var inner = self
    for outer in dimensions {
      inner.dimensions.removeFirst()
      if gap(of: outer, around: inner) > cost.requestByteCount { return false }
    }
    return true
  }

  /// The bytes between two repetitions of what lies inside a dimension.
  private func gap(of outer: Dimension, around inner: StridedCopy) -> Int {
    bytes(outer.sourceStride.magnitude) - bytes(UInt(inner.sourceBounds.count))
  }

  private func bytes(_ count: UInt) -> Int { unit == .byte ? Int(count) : Int(count / 8) }
}

extension StridedCopy {
  /// The same copy in two halves along its outermost dimension, the one that comes first in that dimension first; nil when it
  /// is a single run.
  package var halves: (StridedCopy, StridedCopy)? {
    guard let outer = dimensions.first else { return nil }
    let half = outer.count / 2
    func part(from lower: Int, count: Int) -> StridedCopy {
      var part = self
      part.sourceOffset += lower * outer.sourceStride
      part.destinationOffset += lower * outer.destinationStride
      if count == 1 { part.dimensions.removeFirst() } else { part.dimensions[0].count = count }
      return part
    }
    return (part(from: 0, count: half), part(from: half, count: outer.count - half))
  }
}
