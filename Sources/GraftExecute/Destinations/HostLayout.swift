package import GraftCore

/// Where the results of a plan lie in extents of a pool: large ones each in an extent of their own, small ones many in one.
///
/// ```
/// file:            | a | b |  …  | c |  …  | d | e |
/// shared extent:   | a | b |  | c |  | d | e |          neighbours in the file are neighbours in memory
/// ```
/// An extent for each small leaf would cost more than reading it: an allocation, a first touch, and a read of its own.
/// Neighbours that lie in memory as in the file are read at once, straight into place. A shared extent lives as long as any of
/// its tensors, so it is small: who keeps one tensor of each keeps at most that much memory for each.
package struct HostLayout: Hashable, Sendable {
  /// An extent to take from the pool.
  package struct Extent: Hashable, Sendable {
    /// Its size.
    package var byteCount: Int
    /// What its address is aligned to, save for the offset.
    package var alignment: Int
    /// How many bytes its address is past a multiple of the alignment.
    package var offsetInAlignment: Int
  }

  /// Where a result lies.
  package struct Placement: Hashable, Sendable {
    /// The index of the extent.
    package var extent: Int
    /// Where in the extent the result begins.
    package var byteOffset: Int
  }

  /// The extents, in the order of the files.
  package private(set) var extents: [Extent] = []
  /// Where each of the plan's results lies, in the plan's order.
  package private(set) var placements: [Placement]
  /// The bytes of all extents.
  package private(set) var byteCount = 0

  /// The most bytes of a shared extent: as much as a huge page, which is what memory is populated in.
  package static let sharedExtentByteCount = 2 << 20
  /// Results of fewer bytes share extents.
  ///
  /// A read of so many is as fast as one of more, and next to it an extent costs nothing.
  package static let sharedResultByteCount = 256 << 10

  /// The coarsest alignment that direct I/O commonly asks of memory and file offsets.
  private static let directAlignment = 4096
  /// Results, and runs of them that are neighbours in a file, begin with a cache line where nothing speaks against it.
  private static let lineAlignment = 64

  /// Whether the last extent is a shared one that may still grow.
  private var isLastOpen = false

  /// The layout for results that are read with these settings.
  package init(_ plan: Plan, tuning: Tuning) {
    placements = [Placement](repeating: Placement(extent: 0, byteOffset: 0), count: plan.results.count)
    let origins = Self.origins(plan)
    let mayBeDirect = tuning.access != .buffered
    let order = plan.resultsInFileOrder
    var next = 0
    while next < order.count {
      let result = order[next]
      let byteCount = plan.results[result].spec.byteCount
      guard byteCount < Self.sharedResultByteCount else {
        let isDirect = mayBeDirect && byteCount >= tuning.directMinimumByteCount
        addExtent(for: result, byteCount, congruentTo: isDirect ? origins[result]?.aligned : nil)
        next += 1
        continue
      }
      var run = next..<(next + 1)
      var runByteCount = byteCount
      while run.upperBound < order.count,
        let before = origins[order[run.upperBound - 1]], let origin = origins[order[run.upperBound]],
        before.meets(origin), case let more = plan.results[order[run.upperBound]].spec.byteCount,
        more < Self.sharedResultByteCount
      {
        runByteCount += more
        run = run.lowerBound..<(run.upperBound + 1)
      }
      share(
        order[run], plan, origins, isDirect: mayBeDirect && runByteCount >= tuning.directMinimumByteCount)
      next = run.upperBound
    }
  }

  // MARK: - Extents

  /// An extent for one result alone.
  ///
  /// A large one lies at the same distance from a page boundary as in its file, so that direct I/O can read it into place.
  private mutating func addExtent(for result: Int, _ byteCount: Int, congruentTo fileOffset: Int?) {
    let alignment = fileOffset == nil ? Self.lineAlignment : Self.directAlignment
    placements[result] = Placement(extent: extents.count, byteOffset: 0)
    extents.append(
      Extent(byteCount: byteCount, alignment: alignment, offsetInAlignment: (fileOffset ?? 0) % alignment))
    add(byteCount)
    isLastOpen = false
  }

  /// Adds small results to shared extents: one alone, or several that are neighbours in a file.
  private mutating func share(
    _ run: ArraySlice<Int>, _ plan: Plan, _ origins: [Origin?], isDirect: Bool
  ) {
    // Neighbours keep their distances, so they are aligned as in the file; a result alone is better aligned in any case.
    let alignment = isDirect ? Self.directAlignment : Self.lineAlignment
    var isFirst = true
    for result in run {
      let byteCount = plan.results[result].spec.byteCount
      let fileOffset = run.count > 1 || isDirect ? origins[result]?.aligned ?? 0 : 0
      var start = 0
      if isLastOpen, let last = extents.last, !(isFirst && isDirect) {
        start =
          isFirst
          ? Self.position(
            from: last.offsetInAlignment + last.byteCount, congruentTo: fileOffset, Self.lineAlignment)
            - last.offsetInAlignment
          : last.byteCount
        if start + byteCount > Self.sharedExtentByteCount { isLastOpen = false }
      } else {
        isLastOpen = false
      }
      if !isLastOpen {
        start = 0
        extents.append(
          Extent(byteCount: 0, alignment: alignment, offsetInAlignment: fileOffset % alignment))
        isLastOpen = true
      }
      let index = extents.count - 1
      placements[result] = Placement(extent: index, byteOffset: start)
      add(start + byteCount - extents[index].byteCount)
      extents[index].byteCount = start + byteCount
      isFirst = false
    }
  }

  /// Counts bytes of extents, as far as there are numbers: absurd shapes are for whoever asks for the memory to refuse.
  private mutating func add(_ byteCount: Int) {
    let (sum, overflow) = self.byteCount.addingReportingOverflow(byteCount)
    self.byteCount = overflow ? .max : sum
  }

  /// The first position from `position` on that is as far past a multiple of `alignment` as `offset`.
  private static func position(from position: Int, congruentTo offset: Int, _ alignment: Int) -> Int {
    position + (offset - position) & (alignment - 1)
  }

  // MARK: - Files

  /// Where a result begins in its file, if it is read from there in one run.
  private struct Origin {
    var file: Int
    var range: ByteRange
    /// Whether the run is all of the result.
    var isWhole: Bool
    /// Whether elements in memory that is as far past a cache line as this are aligned.
    var isAligned: Bool

    /// The offset in the file, if elements that are as far past a boundary in memory are aligned.
    var aligned: Int? { isAligned ? range.offset : nil }

    /// Whether the other begins where this one ends, and both can lie in memory as they do in the file.
    func meets(_ other: Origin) -> Bool {
      file == other.file && range.end == other.range.offset && isWhole && other.isWhole && isAligned
        && other.isAligned
    }
  }

  private static func origins(_ plan: Plan) -> [Origin?] {
    var origins = [Origin?](repeating: nil, count: plan.results.count)
    for move in plan.moves
    where move.isReadIntoPlace && move.copy.destinationOffset == 0 {
      let offset = move.chunk.range.offset + move.copy.sourceOffset
      let spec = plan.results[move.result].spec
      origins[move.result] = Origin(
        file: move.chunk.file, range: ByteRange(offset: offset, count: move.copy.runCount),
        isWhole: move.copy.runCount == spec.byteCount, isAligned: offset % spec.dtype.alignment == 0)
    }
    return origins
  }
}
