package import GraftCore
package import GraftIO

/// Results in memory of Graft's own pool: each leaf has an extent, which its tensor keeps alive.
package struct HostDestination: Sendable {
  private let results: [Plan.Result]
  private let extents: [PoolExtent]

  /// The memory that the results are written to, in the plan's order.
  package let places: [Place]

  /// Takes memory for every result from the pool, and gives fresh memory its pages, with all threads.
  ///
  /// - Throws: `insufficientMemory` when the results do not fit the memory at hand, before any of it is taken.
  package init(_ plan: Plan, pool: MemoryPool = .shared, tuning: Tuning) async throws(GraftError) {
    let threadCount = tuning.threadCount ?? UsableProcessors.count
    let extents = try await BlockingThreads.shared.run { () throws(GraftError) in
      try pool.checkRoom(for: plan.resultByteCount)
      let offsets = Self.fileOffsets(plan)
      var extents: [PoolExtent] = []
      extents.reserveCapacity(plan.results.count)
      for (result, fileOffset) in zip(plan.results, offsets) {
        let alignment = Self.alignment(of: result.spec, fileOffset: fileOffset, tuning)
        extents.append(
          try pool.allocate(
            byteCount: result.spec.byteCount, alignment: alignment,
            offsetInAlignment: alignment == Self.directAlignment ? (fileOffset ?? 0) % alignment : 0))
      }
      try Self.populate(extents, threadCount: threadCount)
      return extents
    }
    results = plan.results
    self.extents = extents
    // The extents outlive the places: whoever runs the executor holds this destination until it has returned.
    places = extents.map { unsafe Place.memory($0.bytes) }
  }

  /// The results, once they are filled.
  package var tensors: [Tensor] {
    zip(results, extents).map { result, extent in
      // From here on nobody writes to the extent, and the tensor keeps it.
      unsafe Tensor(
        spec: result.spec,
        storage: BorrowedStorage(owner: extent, bytes: UnsafeRawBufferPointer(extent.bytes), location: .host))
    }
  }

  /// The coarsest alignment that direct I/O commonly asks of memory and file offsets.
  private static let directAlignment = 4096

  /// Large leaves lie at the same distance from a page boundary as in their file, so that direct I/O can read them into place.
  private static func alignment(of spec: TensorSpec, fileOffset: Int?, _ tuning: Tuning) -> Int {
    guard let fileOffset, tuning.access != .buffered, spec.byteCount >= tuning.directMinimumByteCount,
      // A leaf that is misaligned in its file is better aligned in memory, even if that costs it a copy.
      fileOffset % spec.dtype.alignment == 0
    else { return 64 }
    return directAlignment
  }

  /// Where in its file each result begins, if it is read from there in one run.
  private static func fileOffsets(_ plan: Plan) -> [Int?] {
    var offsets = [Int?](repeating: nil, count: plan.results.count)
    for move in plan.moves where move.copy.isContiguous && move.copy.destinationOffset == 0 {
      offsets[move.result] = move.chunk.range.offset + move.copy.sourceOffset
    }
    return offsets
  }

  /// First touch costs more than reading a warm file, so all cores share it, across extents.
  private static func populate(_ extents: [PoolExtent], threadCount: Int) throws(GraftError) {
    let pieces = extents.flatMap { extent in extent.untouchedPieces.map { (extent: extent, range: $0) } }
    try ParallelPieces.run(count: pieces.count, threadCount: threadCount) { (index) throws(GraftError) in
      try pieces[index].extent.populate(pieces[index].range)
    }
  }
}
