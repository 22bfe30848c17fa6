extension Piece {
  /// Cuts the piece into boxes of loops in each of which a source stays within one cell of a grid.
  ///
  /// - Parameters:
  ///   - source: which of the piece's sources.
  ///   - cellShape: the extent of a cell along each axis.
  ///   - grid: the number of cells along each axis.
  ///   - body: called with each cell's number in row-major order, and the part in it, whose indices along the source's axes count
  ///     from the cell's own corner.
  func cut(
    source: Int, cellShape: Shape, grid: Shape,
    _ body: (Int, consuming Piece) throws(GraftError) -> Void
  ) throws(GraftError) {
    try cut(source: source, cellShape: cellShape, grid: grid, axis: 0, cell: 0, body)
  }

  /// Recursion is as deep as the tensor has axes.
  private func cut(
    source: Int, cellShape: Shape, grid: Shape, axis: Int, cell: Int,
    _ body: (Int, consuming Piece) throws(GraftError) -> Void
  ) throws(GraftError) {
    guard axis < grid.rank else { return try body(cell, self) }
    // Where there is one cell its number is 0, and indices count from its corner already.
    if grid[axis] == 1 {
      return try cut(source: source, cellShape: cellShape, grid: grid, axis: axis + 1, cell: cell, body)
    }
    let extent = Swift.max(cellShape[axis], 1)
    try cut(.axis(source: source, axis: axis), every: extent) { (index, part) throws(GraftError) in
      var part = part
      part.sources[source][axis].offset -= index * extent
      try part.cut(
        source: source, cellShape: cellShape, grid: grid, axis: axis + 1, cell: cell * grid[axis] + index,
        body)
    }
  }

  /// Where in row-major order a source's element is, along axes of these strides.
  func position(source: Int, strides: [Int]) -> Affine {
    var sum = Affine(offset: 0)
    for (axis, stride) in zip(sources[source], strides) { sum = sum + axis.scaled(by: stride) }
    return sum
  }
}

// MARK: - Through the operations of expressions

extension Piece {
  /// Takes a source's coordinates from those of a view to those of what it is a view of.
  mutating func enter(_ map: IndexMap, source: Int) {
    let axes = sources[source]
    sources[source] = map.axes.map { axis in
      switch axis {
      case .constant(let index): Affine(offset: index)
      case .result(let axis, let step, let offset): axes[axis].scaled(by: step, plus: offset)
      }
    }
  }

  /// Cuts the piece where a source goes over from one part of a concatenation to the next.
  ///
  /// - Parameters:
  ///   - extents: how long the parts are along the axis; some may be empty.
  ///   - body: called with each part's number and the piece in it, whose index along the axis counts from the part's beginning.
  func cut(
    source: Int, axis: Int, betweenPartsOf extents: [Int],
    _ body: (Int, consuming Piece) throws(GraftError) -> Void
  ) throws(GraftError) {
    let starts = extents.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
    func interval(at index: Int) -> Interval {
      var (lower, upper) = (0, starts.count - 1)
      // The last part that begins at or before the index; empty ones before it begin there too.
      while upper - lower > 1 {
        let middle = (lower + upper) / 2
        if starts[middle] <= index { lower = middle } else { upper = middle }
      }
      return Interval(index: lower, range: starts[lower]..<starts[lower + 1])
    }
    try cut(.axis(source: source, axis: axis), at: interval) { (index, part) throws(GraftError) in
      var part = part
      part.sources[source][axis].offset -= starts[index]
      try body(index, part)
    }
  }
}
