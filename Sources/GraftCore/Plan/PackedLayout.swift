/// How the results of a plan lie in one piece of memory: one after another, each aligned to a cache line.
package struct PackedLayout: Sendable {
  /// Where each result begins.
  package let offsets: [Int]
  /// The bytes of all of them, with the gaps.
  package let byteCount: Int

  /// The alignment of each result; also what devices ask for that take host memory without a copy.
  package static let alignment = 64

  /// The layout of a plan's results, in the plan's order.
  package init(_ plan: Plan) {
    var offsets: [Int] = []
    offsets.reserveCapacity(plan.results.count)
    var end = 0
    for result in plan.results {
      let offset = (end + Self.alignment - 1) / Self.alignment * Self.alignment
      offsets.append(offset)
      end = offset + result.spec.byteCount
    }
    self.offsets = offsets
    byteCount = end
  }
}

extension Plan {
  /// The bytes that a caller's own memory needs for all results, each aligned to 64 bytes.
  public var packedByteCount: Int { PackedLayout(self).byteCount }
}
