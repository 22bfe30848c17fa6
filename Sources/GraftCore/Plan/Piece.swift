/// A part of a result: a nest of loops over its elements, and where each element is in one or several sources.
///
/// Loops are independent and never empty. The destination counts the result's elements in row-major order; each source has an
/// index along each of its axes. Movement (slicing, stacking, transposing, reshaping …) composes and cuts pieces, and does
/// nothing else: see ``Lowering``.
package struct Piece: Hashable, Sendable {
  /// How often each loop turns, at least once.
  package var extents: [Int]
  /// The element of the result, in row-major order.
  package var destination: Affine
  /// For each source, the index along each of its axes.
  package var sources: [[Affine]]

  /// The piece that is a whole tensor of this shape, which has elements, and whose sources have the same coordinates.
  package init(whole shape: Shape, sourceCount: Int = 1) {
    let axes = shape.indices.map { axis -> Affine in
      Affine(offset: 0, terms: shape[axis] > 1 ? [Affine.Term(loop: axis, step: 1)] : [])
    }
    let strides = shape.rowMajorStrides
    extents = shape.extents
    destination = Affine(
      offset: 0,
      terms: Affine.Terms(
        shape.indices.lazy.filter { shape[$0] > 1 }.map { Affine.Term(loop: $0, step: strides[$0]) }))
    sources = [[Affine]](repeating: axes, count: sourceCount)
  }

  /// The number of elements.
  package var elementCount: Int { extents.reduce(1, *) }

  // MARK: loops

  private mutating func updateAll(_ update: (inout Affine) -> Void) {
    update(&destination)
    for source in sources.indices {
      for axis in sources[source].indices { update(&sources[source][axis]) }
    }
  }

  /// The piece with one loop cut down to some of its turns, of which there is at least one.
  package func restricted(loop: Int, to turns: Range<Int>) -> Piece {
    if turns == 0..<extents[loop] { return self }
    var piece = self
    piece.updateAll { $0.restrict(loop: loop, to: turns) }
    piece.extents[loop] = turns.count
    return piece
  }

  /// The same elements, with one loop running backwards.
  func reversed(loop: Int) -> Piece {
    var piece = self
    let extent = extents[loop]
    piece.updateAll { $0.reverse(loop: loop, extent: extent) }
    return piece
  }

  /// The same elements, with one loop made two, of which the inner has `innerExtent` turns, a divisor of the loop's.
  func split(loop: Int, innerExtent: Int) -> Piece {
    var piece = self
    piece.updateAll { $0.split(loop: loop, innerExtent: innerExtent) }
    piece.extents[loop] /= innerExtent
    piece.extents.insert(innerExtent, at: loop + 1)
    for (position, extent) in [(loop, piece.extents[loop]), (loop + 1, innerExtent)] where extent == 1 {
      piece.updateAll { $0.terms.removeAll { $0.loop == position } }
    }
    return piece
  }

  /// The same elements, packed: those of the result are counted in the order of the loops, without gaps.
  package var packed: Piece {
    var piece = self
    let strides = Shape(extents).rowMajorStrides
    piece.destination = Affine(
      offset: 0,
      terms: Affine.Terms(
        extents.indices.lazy.filter { piece.extents[$0] > 1 }.map {
          Affine.Term(loop: $0, step: strides[$0])
        }))
    return piece
  }

  /// The same elements with every loop running forward through the result, the one with the longest step first, and none of
  /// one turn.
  package consuming func inResultOrder() -> Piece {
    var piece = self
    for term in piece.destination.terms where term.step < 0 { piece = piece.reversed(loop: term.loop) }
    var order = piece.destination.terms
    order.sort { $0.step > $1.step }
    if order.count == piece.extents.count, zip(order, order.dropFirst()).allSatisfy({ $0.loop < $1.loop }) {
      return piece
    }
    piece.extents = order.map { piece.extents[$0.loop] }
    piece.updateAll { affine in
      // What moves nothing in the result turns once.
      affine.terms.removeAll { term in !order.contains { $0.loop == term.loop } }
      affine.terms = affine.terms.mapped { term in
        Affine.Term(loop: order.firstIndex { $0.loop == term.loop } ?? 0, step: term.step)
      }
      affine.terms.sort { $0.loop < $1.loop }
    }
    return piece
  }
}

// MARK: - Cutting

extension Piece {
  /// A stretch of indices that belong together: a chunk, or a part of a concatenation.
  struct Interval {
    /// Which one it is.
    var index: Int
    /// Its indices.
    var range: Range<Int>
  }

  /// Which of a piece's numbers something is about.
  enum Number {
    case destination
    case axis(source: Int, axis: Int)
  }

  subscript(number: Number) -> Affine {
    get {
      switch number {
      case .destination: destination
      case .axis(let source, let axis): sources[source][axis]
      }
    }
    set {
      switch number {
      case .destination: destination = newValue
      case .axis(let source, let axis): sources[source][axis] = newValue
      }
    }
  }

  /// Cuts the piece into boxes of loops, in each of which a number stays within one interval.
  ///
  /// - Parameters:
  ///   - number: which number decides.
  ///   - interval: the interval that holds an index.
  ///   - body: called with each part, and the interval's own number.
  func cut(
    _ number: Number, at interval: (Int) -> Interval,
    _ body: (Int, consuming Piece) throws(GraftError) -> Void
  ) throws(GraftError) {
    let affine = self[number]
    let bounds = affine.bounds(extents)
    let first = interval(bounds.lowerBound)
    if first.range.contains(bounds.upperBound) { return try body(first.index, self) }
    // The loop with the longest step crosses the most boundaries; within one turn of it the others are cut in the same way.
    guard let longest = affine.terms.max(by: { $0.step.magnitude < $1.step.magnitude }) else { return }
    let (loop, step) = (longest.loop, longest.step)
    var rest = affine
    rest.terms.removeAll { $0.loop == loop }
    let restBounds = rest.bounds(extents)
    var turn = 0
    while turn < extents[loop] {
      let lower = restBounds.lowerBound + step * turn
      let upper = restBounds.upperBound + step * turn
      let here = interval(lower)
      if here.range.contains(upper) {
        let further =
          step > 0 ? (here.range.upperBound - 1 - upper) / step : (lower - here.range.lowerBound) / -step
        let end = Swift.min(extents[loop], turn + 1 + further)
        try body(here.index, restricted(loop: loop, to: turn..<end))
        turn = end
      } else {
        try restricted(loop: loop, to: turn..<(turn + 1)).cut(number, at: interval, body)
        turn += 1
      }
    }
  }

  /// Cuts the piece where an index enters another chunk of a regular grid.
  func cut(
    _ number: Number, every extent: Int, _ body: (Int, consuming Piece) throws(GraftError) -> Void
  ) throws(GraftError) {
    let interval = { (index: Int) -> Interval in
      let chunk = index.quotientRoundedDown(by: extent)
      return Interval(index: chunk, range: (chunk * extent)..<((chunk + 1) * extent))
    }
    try cut(number, at: interval, body)
  }

  /// Beyond every index there is, and half of it can be added without overflow.
  private static let farAway = 1 << 62

  /// The part of the piece whose elements of the result are within this range, in boxes of loops.
  package func clipped(toResult range: Range<Int>, _ body: (Piece) throws(GraftError) -> Void)
    throws(GraftError)
  {
    let interval = { (index: Int) -> Interval in
      if index < range.lowerBound { return Interval(index: -1, range: -Self.farAway..<range.lowerBound) }
      if index >= range.upperBound { return Interval(index: 1, range: range.upperBound..<Self.farAway) }
      return Interval(index: 0, range: range)
    }
    try cut(.destination, at: interval) { (index, part) throws(GraftError) in
      if index == 0 { try body(part) }
    }
  }
}

// MARK: - Reshaping

extension Piece {
  /// Takes a source's coordinates from those of a tensor of one shape to those of the same elements in another shape.
  ///
  /// Both shapes hold the same number of elements, at least one, in row-major order. Axes that merge cost nothing. Where an axis
  /// is split, loops are split with it; only where the shapes have no common factor is the piece cut into many.
  func reshaping(
    source: Int, from shape: Shape, to other: Shape, _ body: (Piece) throws(GraftError) -> Void
  ) throws(GraftError) {
    var piece = self
    let axes = sources[source]
    let strides = shape.rowMajorStrides
    var merged: [Affine] = []
    // The extents that each merged axis is to be split into, from the outermost.
    var factors: [[Int]] = []
    var (from, to) = (0, 0)
    while from < shape.rank || to < other.rank {
      // The fewest axes of both shapes that hold the same number of elements.
      let firstFrom = from
      var (fromCount, toCount) = (1, 1)
      var group: [Int] = []
      repeat {
        if from < shape.rank, fromCount <= toCount || to == other.rank {
          fromCount *= shape[from]
          from += 1
        } else {
          toCount *= other[to]
          group.append(other[to])
          to += 1
        }
      } while fromCount != toCount
      // The innermost axis of the group counts single elements of it.
      let unit = from > firstFrom ? strides[from - 1] : 1
      var sum = Affine(offset: 0)
      for axis in firstFrom..<from { sum = sum + axes[axis].scaled(by: strides[axis] / unit) }
      if group.isEmpty { continue }  // Axes of one element, whose index is always 0.
      merged.append(sum)
      factors.append(group)
    }
    piece.sources[source] = merged
    try piece.splitAxes(source: source, axis: 0, into: factors[...], body)
  }

  private func splitAxes(
    source: Int, axis: Int, into factors: ArraySlice<[Int]>, _ body: (Piece) throws(GraftError) -> Void
  ) throws(GraftError) {
    guard let first = factors.first else { return try body(self) }
    guard first.count > 1 else {
      return try splitAxes(source: source, axis: axis + 1, into: factors.dropFirst(), body)
    }
    let inner = Array(first.dropFirst())
    try splitAxis(source: source, axis: axis, innerExtent: inner.reduce(1, *)) { (part) throws(GraftError) in
      var rest = factors.dropFirst()
      rest = [inner] + rest
      try part.splitAxes(source: source, axis: axis + 1, into: rest[...], body)
    }
  }

  /// Replaces an index by its quotient and remainder.
  private func splitAxis(
    source: Int, axis: Int, innerExtent extent: Int, _ body: (Piece) throws(GraftError) -> Void
  ) throws(GraftError) {
    let number = Number.axis(source: source, axis: axis)
    if let loop = self[number].terms.first(where: { $0.step < 0 })?.loop {
      return try reversed(loop: loop).splitAxis(source: source, axis: axis, innerExtent: extent, body)
    }
    let index = self[number]
    let quotient = index.offset.quotientRoundedDown(by: extent)
    var outer = Affine(offset: quotient)
    var inner = Affine(offset: index.offset - quotient * extent)
    for term in index.terms {
      if term.step % extent == 0 {
        outer.terms.append(Affine.Term(loop: term.loop, step: term.step / extent))
      } else {
        inner.terms.append(term)
      }
    }
    if inner.bounds(extents).upperBound < extent {
      return try body(replacing(source: source, axis: axis, by: [outer, inner]))
    }
    if let term = inner.terms.max(by: { $0.step < $1.step }) {
      // Some loop carries from the remainder to the quotient. If it does so in a regular way, it is made two loops.
      if let parts = periods(of: term, remainder: inner, extent: extent) {
        for part in parts { try part.splitAxis(source: source, axis: axis, innerExtent: extent, body) }
        return
      }
      // A loop that carries in every turn is done turn by turn, for the loops within may well be regular.
      if term.step >= extent, inner.terms.count > 1 {
        for turn in 0..<extents[term.loop] {
          try restricted(loop: term.loop, to: turn..<(turn + 1))
            .splitAxis(source: source, axis: axis, innerExtent: extent, body)
        }
        return
      }
    }
    // Else the piece is cut wherever a carry happens.
    let innerNumber = Number.axis(source: source, axis: axis + 1)
    try replacing(source: source, axis: axis, by: [outer, inner])
      .cut(innerNumber, every: extent) { (carry, part) throws(GraftError) in
        var part = part
        part[number].offset += carry
        part[innerNumber].offset -= carry * extent
        try body(part)
      }
  }

  /// The piece with a loop cut and split such that its steps fill the extent regularly; nil when that changes nothing.
  private func periods(of term: Affine.Term, remainder: Affine, extent: Int) -> [Piece]? {
    let turns = extents[term.loop]
    let period = extent / greatestCommonDivisor(extent, term.step)
    guard period > 1, turns > period else { return nil }
    // Where the steps divide the extent, periods begin where the remainder does.
    var first = 0
    if extent % term.step == 0 {
      let past = remainder.offset % extent
      first = past < term.step ? 0 : (extent - past + term.step - 1) / term.step
    }
    let count = (turns - first) / period
    guard count > 0 else { return nil }
    let end = first + count * period
    var parts: [Piece] = []
    if first > 0 { parts.append(restricted(loop: term.loop, to: 0..<first)) }
    let middle = restricted(loop: term.loop, to: first..<end)
    parts.append(count > 1 ? middle.split(loop: term.loop, innerExtent: period) : middle)
    if end < turns { parts.append(restricted(loop: term.loop, to: end..<turns)) }
    return parts
  }

  private func replacing(source: Int, axis: Int, by affines: [Affine]) -> Piece {
    var piece = self
    piece.sources[source].replaceSubrange(axis...axis, with: affines)
    return piece
  }
}

/// The largest number that divides both; the other one where one is 0.
func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int {
  var (a, b) = (a, b)
  while b != 0 { (a, b) = (b, a % b) }
  return a
}

extension Int {
  /// The greatest whole number not above `self / divisor`.
  fileprivate func quotientRoundedDown(by divisor: Int) -> Int {
    let quotient = self / divisor
    return self % divisor < 0 ? quotient - 1 : quotient
  }
}

// MARK: - As bytes

extension Piece {
  /// The copy from the packed elements of the piece to their places in the result; nil when there are none.
  package func copyToResult(_ dtype: DType) -> StridedCopy? {
    let strides = Shape(extents).rowMajorStrides
    return StridedCopy(
      elementBits: dtype.bitWidth, storedBits: dtype.bitWidth, sourceElement: 0,
      destinationElement: destination.offset,
      dimensions: extents.indices.map { loop in
        StridedCopy.Dimension(
          count: extents[loop], sourceStride: strides[loop], destinationStride: destination.step(of: loop))
      })
  }

  /// How many elements at a time lie side by side both in the result and in a source of this shape; it is in result order.
  package func shortestRun(source: Int, of shape: Shape) -> Int {
    let strides = shape.rowMajorStrides
    var run = 1
    for loop in extents.indices.reversed() where extents[loop] > 1 {
      let axes = sources[source].indices
      let step = axes.reduce(0) { $0 + sources[source][$1].step(of: loop) * strides[$1] }
      guard step == run, destination.step(of: loop) == run else { break }
      run *= extents[loop]
    }
    return run
  }

  /// How many consecutive elements of the result the piece has at a time; it is in result order.
  package var shortestRun: Int {
    var run = 1
    for loop in extents.indices.reversed() {
      guard destination.step(of: loop) == run || extents[loop] == 1 else { break }
      run *= extents[loop]
    }
    return run
  }
}
