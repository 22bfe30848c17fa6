/// A part of a result leaf that comes from one stored leaf: this box of the result is that box of the source.
public struct Piece: Hashable, Sendable {
  /// The box of the result, in the result's coordinates.
  public var box: Box
  /// Where each element of the box is in the source, from the result's coordinates.
  public var map: IndexMap

  /// A piece.
  public init(box: Box, map: IndexMap) {
    self.box = box
    self.map = map
  }

  /// Adds what fills the piece to a plan: a move or literal for each chunk of the source that it touches.
  ///
  /// The piece is cut at the source's chunk grid. Along each source axis the chunk index bounds the result index by two
  /// divisions, independently of the other axes, so the cuts are a product of intervals.
  func lower(into planner: inout Planner, from stored: StoredTensor, result: Int, resultShape: Shape) {
    if box.isEmpty { return }
    let source = stored.spec
    let layout = stored.layout
    // The case of nearly every leaf of nearly every load: a leaf that lies in one piece, wanted whole.
    if stored.isContiguous, box.shape == source.shape.extents, resultShape == source.shape,
      map == .identity(rank: source.rank), case .file(let chunk) = layout.chunks[0]
    {
      planner.moves.append(
        Plan.Move(
          chunk: StoredChunk(file: chunk.file + stored.fileOffset, range: chunk.range), result: result,
          copy: StridedCopy(
            unit: .byte, runCount: source.byteCount, sourceOffset: 0, destinationOffset: 0, dimensions: [])))
      return
    }
    let chunkShape = layout.chunkShape
    let chunkStrides = chunkShape.rowMajorStrides
    let gridShape = layout.gridShape(of: source.shape)
    let gridStrides = gridShape.rowMajorStrides
    let resultStrides = resultShape.rowMajorStrides

    // For each source axis, the chunks it touches and the interval of the driving result axis within each.
    let cuts: [[Cut]] = map.axes.enumerated().map { axis, entry in
      self.cuts(along: entry, chunkExtent: Swift.max(chunkShape[axis], 1))
    }
    if cuts.contains(where: \.isEmpty) { return }
    let driven = Set(
      map.axes.compactMap { axis -> Int? in if case .result(let axis, _, _) = axis { axis } else { nil } })
    let broadcast = box.shape.indices.filter { !driven.contains($0) }

    var choice = [Int](repeating: 0, count: cuts.count)
    while true {
      var sourceElement = 0
      var destinationElement = 0
      var chunkIndex = 0
      var dimensions: [StridedCopy.Dimension] = []
      dimensions.reserveCapacity(box.rank)
      for axis in choice.indices {
        let cut = cuts[axis][choice[axis]]
        chunkIndex += cut.chunk * gridStrides[axis]
        let origin = cut.chunk * Swift.max(chunkShape[axis], 1)
        switch map.axes[axis] {
        case .constant(let index): sourceElement += (index - origin) * chunkStrides[axis]
        case .result(let resultAxis, let step, let offset):
          sourceElement += (cut.lower * step + offset - origin) * chunkStrides[axis]
          destinationElement += cut.lower * resultStrides[resultAxis]
          dimensions.append(
            StridedCopy.Dimension(
              count: cut.count, sourceStride: step * chunkStrides[axis],
              destinationStride: resultStrides[resultAxis]))
        }
      }
      for axis in broadcast {
        destinationElement += box.origin[axis] * resultStrides[axis]
        dimensions.append(
          StridedCopy.Dimension(
            count: box.shape[axis], sourceStride: 0, destinationStride: resultStrides[axis]))
      }
      add(
        layout.chunks[chunkIndex], of: stored, result: result, to: &planner, sourceElement: sourceElement,
        destinationElement: destinationElement, dimensions: dimensions)
      // The next chunk, as an odometer turns.
      var axis = choice.count - 1
      while axis >= 0 {
        choice[axis] += 1
        if choice[axis] < cuts[axis].count { break }
        choice[axis] = 0
        axis -= 1
      }
      if axis < 0 { return }
    }
  }

  /// Adds what comes from one chunk.
  private func add(
    _ chunk: ChunkLocation, of stored: StoredTensor, result: Int, to planner: inout Planner,
    sourceElement: Int,
    destinationElement: Int, dimensions: [StridedCopy.Dimension]
  ) {
    let bits = stored.spec.dtype.bitWidth
    let storedBits = stored.layout.storedBitWidth
    func copy(sourceElement: Int, _ dimensions: [StridedCopy.Dimension]) -> StridedCopy? {
      StridedCopy(
        elementBits: bits, storedBits: storedBits, sourceElement: sourceElement,
        destinationElement: destinationElement, dimensions: dimensions)
    }
    switch chunk {
    case .file(let chunk):
      guard let copy = copy(sourceElement: sourceElement, dimensions) else { return }
      planner.moves.append(
        Plan.Move(
          chunk: StoredChunk(file: chunk.file + stored.fileOffset, range: chunk.range),
          encoding: stored.encoding,
          result: result, copy: copy))
    case .inline(let bytes):
      guard let copy = copy(sourceElement: sourceElement, dimensions) else { return }
      planner.literals.append(
        Plan.Literal(bytes: bytes, encoding: stored.encoding, result: result, copy: copy))
    case .absent:
      // One element, from which every step along every axis goes nowhere.
      let still = dimensions.map {
        StridedCopy.Dimension(count: $0.count, sourceStride: 0, destinationStride: $0.destinationStride)
      }
      guard let copy = copy(sourceElement: 0, still) else { return }
      let element = stored.layout.fillValue ?? [UInt8](repeating: 0, count: (storedBits + 7) / 8)
      planner.literals.append(Plan.Literal(bytes: element, encoding: nil, result: result, copy: copy))
    }
  }

  /// One chunk along a source axis, and the interval of result indices that lead into it.
  private struct Cut {
    var chunk: Int
    var lower: Int
    var count: Int
  }

  private func cuts(along entry: IndexMap.Axis, chunkExtent: Int) -> [Cut] {
    switch entry {
    case .constant(let index): return [Cut(chunk: index / chunkExtent, lower: 0, count: 1)]
    case .result(let axis, let step, let offset):
      let first = box.origin[axis]
      let end = first + box.shape[axis]
      var cuts: [Cut] = []
      var index = first
      while index < end {
        let chunk = (index * step + offset) / chunkExtent
        // The first result index beyond this chunk, going up or down through the source.
        let beyond =
          step > 0
          ? ((chunk + 1) * chunkExtent - offset + step - 1) / step
          : (offset - chunk * chunkExtent) / -step + 1
        let upper = Swift.min(beyond, end)
        cuts.append(Cut(chunk: chunk, lower: index, count: upper - index))
        index = upper
      }
      return cuts
    }
  }
}
