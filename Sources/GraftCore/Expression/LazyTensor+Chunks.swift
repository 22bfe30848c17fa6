// A leaf that is written in chunks is the same leaf in another order. Bringing it there is movement like any other, so the
// planner composes it with whatever the leaf is made of, and nothing is materialised for it.

extension LazyTensor {
  /// The tensor padded with zeros to whole chunks, with the axes of the grid before those within a chunk, so that each chunk is one
  /// run of the row-major order, and chunks come in the order of their grid.
  ///
  /// Where the chunks are runs of the tensor's own order, it is the tensor itself, padded at its end if it has to be; else the
  /// result has twice as many axes. A tensor without elements has no chunk, and the result no element.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` when the chunks have another rank than the tensor, or no elements.
  package func chunkMajor(_ chunk: Shape) throws(GraftError) -> LazyTensor {
    guard chunk.rank == rank, chunk.extents.allSatisfy({ $0 > 0 }) else {
      throw GraftError(
        .invalidArgument, "the tensor cannot be cut into chunks of this shape",
        expected: "\(rank) extents above 0", found: "chunks of shape \(chunk)")
    }
    if spec.elementCount == 0 { return self }
    let widths = shape.indices.map { axis -> (before: Int, after: Int) in
      let rest = shape[axis] % chunk[axis]
      return (before: 0, after: rest == 0 ? 0 : chunk[axis] - rest)
    }
    let whole = widths.contains { $0.after > 0 } ? try padded(widths) : self
    // Chunks are runs where only extents of 1 come before the axis that is cut, and whole axes after it.
    let cut = chunk.extents.firstIndex { $0 > 1 } ?? rank
    if (cut..<rank).dropFirst().allSatisfy({ chunk[$0] == whole.shape[$0] }) { return whole }
    let pairs = shape.indices.flatMap { [whole.shape[$0] / chunk[$0], chunk[$0]] }
    let axes = shape.indices.map { 2 * $0 } + shape.indices.map { 2 * $0 + 1 }
    return try whole.reshaped(pairs).transposed(axes)
  }
}
