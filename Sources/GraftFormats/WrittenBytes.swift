package import GraftCore

/// Which bytes of each leaf a writer has been given, so that it can say what is missing.
///
/// It takes memory for leaves that are written in part, which are few at a time, and within one for every gap.
package struct WrittenBytes: Sendable {
  private let byteCounts: [Int]
  private var isComplete: [Bool]
  /// What has been written of leaves that are not complete: ranges in order that do not touch.
  private var partial: [Int: [Range<Int>]] = [:]

  /// Nothing written of leaves of these sizes.
  package init(byteCounts: [Int]) {
    self.byteCounts = byteCounts
    isComplete = byteCounts.map { $0 == 0 }
  }

  /// Notes that bytes of a leaf, inside it, have been written.
  package mutating func insert(_ range: Range<Int>, leaf: Int) {
    guard !range.isEmpty, !isComplete[leaf] else { return }
    if range.count == byteCounts[leaf] {
      isComplete[leaf] = true
      partial[leaf] = nil
      return
    }
    Self.insert(range, into: &partial[leaf, default: []])
    if partial[leaf]?.first == 0..<byteCounts[leaf] {
      isComplete[leaf] = true
      partial[leaf] = nil
    }
  }

  /// The leaves that are not complete, each with its first missing bytes, in order.
  package var missing: [(leaf: Int, range: ByteRange)] {
    isComplete.indices.filter { !isComplete[$0] }.map { leaf in
      let written = partial[leaf] ?? []
      let begin = written.first?.lowerBound == 0 ? written[0].upperBound : 0
      let end = written.first { $0.lowerBound > begin }?.lowerBound ?? byteCounts[leaf]
      return (leaf: leaf, range: ByteRange(offset: begin, count: end - begin))
    }
  }

  private static func insert(_ range: Range<Int>, into ranges: inout [Range<Int>]) {
    // The first range that ends where the new one begins or later, by bisection.
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < range.lowerBound { low = middle + 1 } else { high = middle }
    }
    var merged = range
    var end = low
    while end < ranges.count, ranges[end].lowerBound <= range.upperBound {
      merged =
        Swift.min(
          merged.lowerBound, ranges[end].lowerBound)..<Swift.max(merged.upperBound, ranges[end].upperBound)
      end += 1
    }
    ranges.replaceSubrange(low..<end, with: CollectionOfOne(merged))
  }
}
