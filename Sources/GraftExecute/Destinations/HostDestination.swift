package import GraftCore
package import GraftIO

/// Results in memory of Graft's own pool, which lie as ``HostLayout`` says; a tensor keeps its extent alive.
package struct HostDestination: Sendable {
  private let results: [Plan.Result]
  private let layout: HostLayout
  private let extents: [PoolExtent]

  /// The memory that the results are written to, in the plan's order.
  package let places: [Place]

  /// What populates the memory that was left for the executor to populate on the way.
  package let pages: PagesOnDemand

  /// Takes memory for every result from the pool, and gives fresh memory its pages, with all threads.
  ///
  /// What is read or decoded in order is left: the executor populates it on the way, by ``pages``.
  /// - Parameter pool: where the memory comes from; nil for the process's pool, of the pages that the tuning asks for.
  /// - Throws: `insufficientMemory` when the results do not fit the memory at hand, before any of it is taken.
  package init(_ plan: Plan, pool: MemoryPool? = nil, tuning: Tuning) async throws(GraftError) {
    let pool = pool ?? (tuning.hugePages ? .shared : .sharedInSmallPages)
    let threadCount = tuning.threadCount ?? UsableProcessors.count
    let (layout, extents, pages) = try await BlockingThreads.shared.run { () throws(GraftError) in
      let layout = HostLayout(plan, tuning: tuning)
      try pool.checkRoom(for: layout.byteCount)
      var extents: [PoolExtent] = []
      extents.reserveCapacity(layout.extents.count)
      for extent in layout.extents {
        extents.append(
          try pool.allocate(
            byteCount: extent.byteCount, alignment: extent.alignment,
            offsetInAlignment: extent.offsetInAlignment))
      }
      let isFilledInOrder = Self.extentsFilledInOrder(plan, layout)
      try Self.populate(
        extents.indices.filter { !isFilledInOrder[$0] }.map { extents[$0] }, threadCount: threadCount)
      let pages = PagesOnDemand(extents.indices.filter { isFilledInOrder[$0] }.map { extents[$0] })
      return (layout, extents, pages)
    }
    self.pages = pages
    results = plan.results
    self.layout = layout
    self.extents = extents
    // The extents outlive the places: whoever runs the executor holds this destination until it has returned.
    places = plan.results.indices.map { index in
      let placement = layout.placements[index]
      let start = placement.byteOffset
      return unsafe Place.memory(
        UnsafeMutableRawBufferPointer(
          rebasing: extents[placement.extent].bytes[start..<(start + plan.results[index].spec.byteCount)]))
    }
  }

  /// The results, once they are filled.
  package var tensors: [Tensor] {
    // From here on nobody writes to the extents, and the tensors keep them.
    let storages = extents.map { extent in
      unsafe BorrowedStorage(
        owner: extent, bytes: UnsafeRawBufferPointer(extent.bytes), location: .host)
    }
    return results.indices.map { index in
      let placement = layout.placements[index]
      return Tensor(
        spec: results[index].spec, storage: storages[placement.extent], byteOffset: placement.byteOffset)
    }
  }

  /// Which extents are of one result that is put together of whole runs, each of them in order.
  private static func extentsFilledInOrder(_ plan: Plan, _ layout: HostLayout) -> [Bool] {
    var byteCounts = [Int](repeating: 0, count: plan.results.count)
    for move in plan.moves where move.copy.isContiguous && move.copy.unit == .byte && move.program == nil {
      byteCounts[move.result] += move.copy.copiedByteCount
    }
    var answer = [Bool](repeating: false, count: layout.extents.count)
    for (result, placement) in layout.placements.enumerated() {
      let byteCount = plan.results[result].spec.byteCount
      // What shares an extent is small, and may come through a slot together with its neighbours.
      answer[placement.extent] =
        byteCount >= HostLayout.sharedResultByteCount && byteCounts[result] >= byteCount
    }
    return answer
  }

  /// First touch costs more than reading a warm file, so all cores share it, across extents.
  private static func populate(_ extents: [PoolExtent], threadCount: Int) throws(GraftError) {
    let pieces = extents.flatMap { extent in extent.untouchedPieces.map { (extent: extent, range: $0) } }
    try ParallelPieces.run(count: pieces.count, threadCount: threadCount) { (index) throws(GraftError) in
      try pieces[index].extent.populate(pieces[index].range)
    }
  }
}
