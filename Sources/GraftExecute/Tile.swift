internal import GraftCore

/// A piece of work that is done in memory of the execution's own: operands are read side by side, something is computed of
/// them, and the result goes to its place.
struct Tile: Sendable {
  /// A part of a plan, cut down to what the tile has of it.
  struct Part: Sendable {
    /// The index of the part in the plan.
    var index: Int
    /// Its elements, in result order.
    var piece: Piece
  }

  /// The index of the result.
  var result: Int
  /// What fills the tile.
  var parts: [Part]
  /// The elements of the result that the tile is, if it is put together in memory and then written; nil where
  /// its one part goes to the result's own memory.
  var range: Range<Int>?
}

/// The tiles of a plan, one after the other.
struct Tiles {
  /// A result that is to be cut into tiles, and how.
  enum Cut {
    /// The computed parts alone, in any boxes; all else is done by moves.
    case computedParts
    /// Everything, in runs of consecutive elements.
    case runs
  }

  private let plan: Plan
  private let partsOfResult: [[Int]]
  private let cuts: [(result: Int, cut: Cut)]
  private let byteCount: Int

  private var nextCut = 0
  /// Pieces of the current result that are still to be cut, the next one last.
  private var pieces: [Tile.Part] = []
  /// The first element of the current result that no tile has yet.
  private var position = 0

  /// Tiles that take at most so many bytes of memory each, unless a few elements take more.
  init(_ plan: Plan, _ cuts: [(result: Int, cut: Cut)], byteCount: Int) {
    self.plan = plan
    self.cuts = cuts
    self.byteCount = byteCount
    var partsOfResult = [[Int]](repeating: [], count: plan.results.count)
    for (index, part) in plan.parts.enumerated() { partsOfResult[part.result].append(index) }
    self.partsOfResult = partsOfResult
  }

  /// The next tile, nil when there is none any more.
  mutating func next() throws(GraftError) -> Tile? {
    while nextCut < cuts.count {
      let (result, cut) = cuts[nextCut]
      let tile =
        switch cut {
        case .computedParts: nextBox(of: result)
        case .runs: try nextRun(of: result)
        }
      if let tile { return tile }
      nextCut += 1
      pieces = []
      position = 0
    }
    return nil
  }

  // MARK: boxes

  private mutating func nextBox(of result: Int) -> Tile? {
    if position == 0 {
      position = 1
      pieces = partsOfResult[result].filter { plan.parts[$0].isComputed }.reversed().map {
        Tile.Part(index: $0, piece: plan.parts[$0].piece)
      }
    }
    while let part = pieces.popLast() {
      let bits = Self.bitsPerElement(of: plan.parts[part.index], in: plan)
      if part.piece.elementCount * bits / 8 <= byteCount { return Tile(result: result, parts: [part]) }
      guard let outermost = part.piece.extents.firstIndex(where: { $0 > 1 }) else {
        return Tile(result: result, parts: [part])
      }
      // As many turns of the outermost loop as fit, or, when one does not, the loops within.
      let turns = part.piece.extents[outermost]
      let turnBytes = Swift.max(1, part.piece.elementCount / turns * bits / 8)
      let fitting = Swift.max(1, byteCount / turnBytes)
      var first = Tile.Part(index: part.index, piece: part.piece)
      if fitting < turns {
        var rest = part
        rest.piece = part.piece.restricted(loop: outermost, to: fitting..<turns)
        pieces.append(rest)
        first.piece = part.piece.restricted(loop: outermost, to: 0..<fitting)
      }
      pieces.append(first)
    }
    return nil
  }

  /// What an element of a part takes while it is computed: its operands, and itself.
  static func bitsPerElement(of part: Plan.Part, in plan: Plan) -> Int {
    part.operands.reduce(plan.results[part.result].spec.dtype.bitWidth) {
      $0 + plan.operands[$1].spec.dtype.bitWidth
    }
  }

  // MARK: runs

  private mutating func nextRun(of result: Int) throws(GraftError) -> Tile? {
    let spec = plan.results[result].spec
    guard position < spec.elementCount else { return nil }
    let indices = partsOfResult[result]
    let bits = indices.reduce(spec.dtype.bitWidth) {
      Swift.max($0, Self.bitsPerElement(of: plan.parts[$1], in: plan))
    }
    // A whole number of bytes, whatever the width.
    let count = Swift.max(64, byteCount * 8 / bits / 64 * 64)
    let range = position..<Swift.min(position + count, spec.elementCount)
    position = range.upperBound
    var tile = Tile(result: result, parts: [], range: range)
    for index in indices {
      try plan.parts[index].piece.clipped(toResult: range) { (piece) throws(GraftError) in
        var piece = piece
        piece.destination.offset -= range.lowerBound
        tile.parts.append(Tile.Part(index: index, piece: piece))
      }
    }
    return tile
  }
}
