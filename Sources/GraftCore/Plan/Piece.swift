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

  /// Adds the moves that fill the piece: one for each chunk of the source that it touches.
  ///
  /// The piece is cut at the source's chunk grid. Along each source axis the chunk index bounds the result index by two
  /// divisions, independently of the other axes, so the cuts are a product of intervals.
  ///
  /// - Parameters:
  ///   - source: the stored tensor's dtype and shape.
  ///   - layout: its chunks.
  ///   - result: the index of the result leaf, and `resultShape` its shape.
  ///   - fileOffset: what is added to the layout's file indices.
  func appendMoves(
    to moves: inout [Plan.Move], source: TensorSpec, layout: Layout, result: Int, resultShape: Shape,
    fileOffset: Int
  ) {
    if box.isEmpty { return }
    let elementBits = source.dtype.bitWidth
    // The case of nearly every leaf of nearly every load: a leaf that lies in one piece, wanted whole.
    if layout.chunks.count == 1, layout.codecs.isEmpty, elementBits % 8 == 0,
      map == .identity(rank: source.rank),
      box.shape == source.shape.extents, resultShape == source.shape, layout.chunkShape == source.shape
    {
      let chunk = layout.chunks[0]
      moves.append(
        Plan.Move(
          chunk: StoredChunk(file: chunk.file + fileOffset, range: chunk.range), result: result,
          copy: StridedCopy(
            unit: .byte, runCount: source.byteCount, sourceOffset: 0, destinationOffset: 0, dimensions: [])))
      return
    }
    let chunkShape = layout.chunkShape
    let chunkStrides = chunkShape.rowMajorStrides
    let gridShape = Shape(zip(source.shape, chunkShape).map { ($0 + $1 - 1) / Swift.max($1, 1) })
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
      let chunk = layout.chunks[chunkIndex]
      if let copy = StridedCopy(
        elementBits: elementBits, sourceElement: sourceElement, destinationElement: destinationElement,
        dimensions: dimensions)
      {
        moves.append(
          Plan.Move(
            chunk: StoredChunk(file: chunk.file + fileOffset, range: chunk.range), result: result, copy: copy)
        )
      }
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
