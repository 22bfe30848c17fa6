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
  /// its parts go to the result's own memory.
  var range: Range<Int>?
  /// Where in the result, as a writer counts its bytes, the tile begins.
  var byteOffset = 0
  /// The index of the plan's move that the whole result is, of which the tile is a part; nil for a tile of parts.
  var move: Int?
  /// Whether nothing is computed of the parts: their elements take turns in the result, at this distance.
  var interleaving: Int?
}

/// The tiles of a plan, one after the other.
struct Tiles {
  /// A result that is to be cut into tiles, and how.
  enum Cut: Equatable {
    /// The computed parts alone, in any boxes; all else is done by moves.
    case computedParts
    /// Everything, in runs of consecutive elements.
    case runs
    /// Everything, in runs of whole chunks of so many elements, each of which begins at a whole byte.
    case chunks(elementCount: Int)
    /// Everything, in boxes of all parts, whose elements are this far apart in the result.
    case interleaved(Int)

    /// Whether tiles are put together in memory, and then written.
    var isWritten: Bool {
      switch self {
      case .runs, .chunks: true
      case .computedParts, .interleaved: false
      }
    }
  }

  private let plan: Plan
  private let partsOfResult: [[Int]]
  /// For a result that is a single move and has no parts, that move.
  private let moveOfResult: [Int: Int]
  private let cuts: [(result: Int, cut: Cut)]
  private let byteCount: Int
  private let familyByteCount: Int
  private let scatteredByteCount: Int
  private let families: [Int: [[Tile.Part]]]

  private var nextCut = 0
  /// Pieces of the current result that are still to be cut, the next one last.
  private var pieces: [Tile.Part] = []
  /// Boxes of all parts of the current result that are still to be cut, the next one last.
  private var uncutFamilies: [[Tile.Part]] = []
  /// The first element of the current result that no tile has yet.
  private var position = 0
  /// The bits that an element of the current result takes, with what it is computed of.
  private var bitsPerElement = 0
  /// Whether elements of the current result are read in another order than they have in it.
  private var isScattered = false

  /// Tiles that take at most so many bytes of memory each, unless a few elements take more.
  ///
  /// - Parameters:
  ///   - familyByteCount: the same for boxes of all parts of a result. Each part of such a box is read for itself, and the larger
  ///     the box is the fewer and longer those reads are.
  ///   - scatteredByteCount: the same for tiles whose elements are read in another order than they have in the result.
  ///   - families: for results that are cut into boxes of all parts, and of which some is done, what is left.
  init(
    _ plan: Plan, _ cuts: [(result: Int, cut: Cut)], byteCount: Int, familyByteCount: Int,
    scatteredByteCount: Int, families: [Int: [[Tile.Part]]]
  ) {
    self.families = families
    self.plan = plan
    self.cuts = cuts
    self.byteCount = byteCount
    self.familyByteCount = familyByteCount
    self.scatteredByteCount = scatteredByteCount
    var partsOfResult = [[Int]](repeating: [], count: plan.results.count)
    for (index, part) in plan.parts.enumerated() { partsOfResult[part.result].append(index) }
    self.partsOfResult = partsOfResult
    let chunked = Set(
      cuts.lazy.filter { if case .chunks = $0.cut { partsOfResult[$0.result].isEmpty } else { false } }
        .map(\.result))
    var moveOfResult: [Int: Int] = [:]
    if !chunked.isEmpty {
      for (index, move) in plan.moves.enumerated() where chunked.contains(move.result) {
        moveOfResult[move.result] = index
      }
    }
    self.moveOfResult = moveOfResult
  }

  /// The next tile, nil when there is none any more.
  mutating func next() throws(GraftError) -> Tile? {
    while nextCut < cuts.count {
      let (result, cut) = cuts[nextCut]
      let tile =
        switch cut {
        case .computedParts: nextBox(of: result)
        case .runs: try nextRun(of: result)
        case .chunks(let elementCount): try nextChunks(of: result, elementCount: elementCount)
        case .interleaved(let distance): nextFamily(of: result, distance: distance)
        }
      if let tile { return tile }
      nextCut += 1
      pieces = []
      uncutFamilies = []
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
      let tight = tightLoops(of: part)
      let limit = tight.count > 1 ? scatteredByteCount : byteCount
      guard part.piece.elementCount * bits / 8 > limit,
        let loop = Self.loopToCut(part.piece.extents, sparing: tight)
      else { return Tile(result: result, parts: [part]) }
      // As many turns of an outer loop as fit, or, when one does not, the loops within.
      let turns = part.piece.extents[loop]
      let turnBytes = Swift.max(1, part.piece.elementCount / turns * bits / 8)
      let isTight = tight.count > 1 && tight.contains(loop)
      let fitting = isTight ? turns / 2 : Swift.max(1, Swift.min(turns - 1, limit / turnBytes))
      for range in [fitting..<turns, 0..<fitting] {
        pieces.append(
          Tile.Part(index: part.index, piece: part.piece.restricted(loop: loop, to: range)))
      }
    }
    return nil
  }

  /// The loops along which elements lie side by side: in the result, and in what is read for it.
  ///
  /// More than one where a part is transposed on the way: cut to single turns of one of them, it would be read element by element.
  private func tightLoops(of part: Tile.Part) -> Set<Int> {
    let extents = part.piece.extents
    guard let inner = extents.lastIndex(where: { $0 > 1 }) else { return [] }
    var loops: Set = [inner]
    for (source, operand) in plan.parts[part.index].operands.enumerated() {
      let operand = plan.operands[operand]
      guard case .stored = operand.source else { continue }
      let strides = operand.spec.shape.rowMajorStrides
      let steps = extents.indices.map { loop in
        zip(part.piece.sources[source], strides).reduce(0) { $0 + $1.0.step(of: loop) * $1.1 }.magnitude
      }
      // A broadcast goes nowhere in what is read.
      let moving = extents.indices.filter { extents[$0] > 1 && steps[$0] > 0 }
      if let tightest = moving.min(by: { steps[$0] < steps[$1] }) { loops.insert(tightest) }
    }
    return loops
  }

  /// The outermost loop that is not to be spared, or the longest of those that are.
  private static func loopToCut(_ extents: [Int], sparing tight: Set<Int>) -> Int? {
    if tight.count > 1 {
      return extents.indices.first { extents[$0] > 1 && !tight.contains($0) }
        ?? tight.filter { extents[$0] > 1 }.max { (extents[$0], $1) < (extents[$1], $0) }
    }
    return extents.firstIndex { $0 > 1 }
  }

  /// What an element of a part takes while it is computed: its operands, and itself.
  static func bitsPerElement(of part: Plan.Part, in plan: Plan) -> Int {
    part.operands.reduce(plan.results[part.result].spec.dtype.bitWidth) {
      $0 + plan.operands[$1].spec.dtype.bitWidth
    }
  }

  // MARK: families of parts

  /// How far apart in the result the elements of its parts are that take turns; nil where it is not made so.
  ///
  /// A stack along an inner axis is. Done part by part, each goes over all of the result for a few bytes of every cache line;
  /// side by side, all of a box's lines are filled while they are at hand.
  ///
  /// - Parameter arenaByteCount: the memory for tiles. Encoded parts are decoded whole, and are put side by side as many at a time as
  ///   it has room for, at least two.
  static func interleaving(of parts: [Plan.Part], in plan: Plan, arenaByteCount: Int) -> Int? {
    guard parts.count > 1, let first = parts.first else { return nil }
    let distance = parts[1].piece.destination.offset - first.piece.destination.offset
    let bits = plan.results[first.result].spec.dtype.bitWidth
    guard distance > 0, bits.isMultiple(of: 8),
      first.piece.shortestRun * bits / 8 <= longestInterleavedByteCount
    else { return nil }
    // Parts of one leaf share its chunks, which moves decode once for all of them.
    let isEncoded = parts.contains { !plan.operands[$0.operands[0]].isPlain }
    if isEncoded, Set(parts.map { $0.operands[0] }).count < parts.count { return nil }
    for (index, part) in parts.enumerated() {
      let operand = plan.operands[part.operands[0]]
      guard !part.isComputed, part.program == nil, part.piece.extents == first.piece.extents,
        part.piece.destination.terms == first.piece.destination.terms,
        part.piece.destination.offset == first.piece.destination.offset + index * distance,
        operand.isPlain
          || operand.isStored
            && boxPitch(partByteCount: part.piece.elementCount * bits / 8) <= arenaByteCount / 2
      else { return nil }
    }
    return distance
  }

  /// Longer runs than a cache line are as well placed one by one.
  private static let longestInterleavedByteCount = 32

  /// How many bytes apart the parts of a box begin in memory, so many bytes long each.
  ///
  /// For all but short parts an odd multiple of 512. One line of each part is in use at the same time, and at distances of a power of
  /// two, which most models' parts would have, all of those lines have to share one set of the cache: 32 parts of 128 KiB took
  /// 0.057 s of a processor for 512 MiB that way, and 0.015 with 64, 192, 512, 576 or 4160 bytes more between them (Zen 4,
  /// huge pages; with small pages, which lie anywhere, it is a matter of luck). Direct reads want multiples of 512.
  static func boxPitch(partByteCount: Int) -> Int {
    if partByteCount < shortPartByteCount { return partByteCount }
    return ((partByteCount + boxUnitByteCount - 1) / boxUnitByteCount | 1) * boxUnitByteCount
  }

  /// The longest part that takes no more than `byteCount` with what is between it and the next one.
  static func longestPart(within byteCount: Int) -> Int {
    if byteCount < shortPartByteCount { return byteCount }
    return Swift.max(shortPartByteCount - 1, ((byteCount / boxUnitByteCount - 1) | 1) * boxUnitByteCount)
  }

  private static let boxUnitByteCount = 512
  /// Of very many short parts, what is between them would take more than they do.
  private static let shortPartByteCount = 4096

  private mutating func nextFamily(of result: Int, distance: Int) -> Tile? {
    if position == 0 {
      position = 1
      uncutFamilies = families[result].map { $0.reversed() } ?? wholeFamilies(of: result)
    }
    let bytes = plan.results[result].spec.dtype.bitWidth / 8
    while let family = uncutFamilies.popLast() {
      let piece = family[0].piece
      if family.contains(where: { !isPlain($0) }) {
        return Tile(result: result, parts: family, interleaving: distance)
      }
      let total = Self.boxPitch(partByteCount: piece.elementCount * bytes) * family.count
      let outermost = piece.extents.firstIndex { $0 > 1 }
      guard total > familyByteCount, let outermost else {
        return Tile(result: result, parts: family, interleaving: distance)
      }
      let turns = piece.extents[outermost]
      let room = Self.longestPart(within: familyByteCount / family.count)
      let fitting = Swift.max(1, room / Swift.max(1, piece.elementCount / turns * bytes))
      func restricted(_ turns: Range<Int>) -> [Tile.Part] {
        family.map { part in
          Tile.Part(index: part.index, piece: part.piece.restricted(loop: outermost, to: turns))
        }
      }
      if fitting < turns { uncutFamilies.append(restricted(fitting..<turns)) }
      uncutFamilies.append(restricted(0..<Swift.min(fitting, turns)))
      if fitting >= turns {
        // Rounding alone made it too large.
        return uncutFamilies.popLast().map { Tile(result: result, parts: $0, interleaving: distance) }
      }
    }
    return nil
  }

  private func isPlain(_ part: Tile.Part) -> Bool {
    plan.operands[plan.parts[part.index].operands[0]].isPlain
  }

  /// All parts of a result together; or, where chunks have to be decoded, which are then decoded once, as many whole parts as the
  /// memory has room for.
  private func wholeFamilies(of result: Int) -> [[Tile.Part]] {
    let parts = partsOfResult[result].map { Tile.Part(index: $0, piece: plan.parts[$0].piece) }
    if parts.allSatisfy(isPlain) { return [parts] }
    let partByteCount = parts[0].piece.elementCount * plan.results[result].spec.dtype.bitWidth / 8
    let count = Swift.max(1, 2 * scatteredByteCount / Self.boxPitch(partByteCount: partByteCount))
    return stride(from: 0, to: parts.count, by: count).reversed().map {
      Array(parts[$0..<Swift.min($0 + count, parts.count)])
    }
  }

  // MARK: runs

  private mutating func nextRun(of result: Int) throws(GraftError) -> Tile? {
    let bits = bitsOfElement(of: result)
    if position == 0 {
      isScattered = partsOfResult[result].contains {
        tightLoops(of: Tile.Part(index: $0, piece: plan.parts[$0].piece)).count > 1
      }
    }
    let limit = isScattered ? scatteredByteCount : byteCount
    // A whole number of bytes, whatever the width.
    return try nextTile(of: result, elementCount: Swift.max(64, limit * 8 / bits / 64 * 64))
  }

  private mutating func nextChunks(of result: Int, elementCount: Int) throws(GraftError) -> Tile? {
    let chunkBits = elementCount * plan.results[result].spec.dtype.bitWidth
    // A tile is written by one thread, so several large chunks would keep the others waiting.
    let tileByteCount = Swift.min(byteCount, TileRun.tileByteCount)
    let fitting = tileByteCount * 8 / Swift.max(1, elementCount * bitsOfElement(of: result))
    // A chunk that ends within a byte is followed by bits that belong to nothing.
    let count = chunkBits.isMultiple(of: 8) ? Swift.max(1, fitting) : 1
    let chunk = position / elementCount
    guard var tile = try nextTile(of: result, elementCount: count * elementCount) else { return nil }
    tile.byteOffset = chunk * ((chunkBits + 7) / 8)
    return tile
  }

  /// The most bits that an element of a result takes while its tile is made, found out once for each result.
  private mutating func bitsOfElement(of result: Int) -> Int {
    if position == 0 {
      bitsPerElement = Self.bitsPerElement(ofResult: partsOfResult[result], result, in: plan)
    }
    return bitsPerElement
  }

  /// The most bits that an element of a result of these parts takes while its tile is made.
  static func bitsPerElement(ofResult parts: [Int], _ result: Int, in plan: Plan) -> Int {
    parts.reduce(plan.results[result].spec.dtype.bitWidth) {
      Swift.max($0, bitsPerElement(of: plan.parts[$1], in: plan))
    }
  }

  /// The next elements of a result as a tile, at most so many.
  private mutating func nextTile(of result: Int, elementCount: Int) throws(GraftError) -> Tile? {
    let spec = plan.results[result].spec
    guard position < spec.elementCount else { return nil }
    let range = position..<Swift.min(position + elementCount, spec.elementCount)
    position = range.upperBound
    var tile = Tile(
      result: result, parts: [], range: range, byteOffset: range.lowerBound * spec.dtype.bitWidth / 8)
    tile.move = moveOfResult[result]
    for index in partsOfResult[result] {
      try plan.parts[index].piece.clipped(toResult: range) { (piece) throws(GraftError) in
        var piece = piece
        piece.destination.offset -= range.lowerBound
        tile.parts.append(Tile.Part(index: index, piece: piece))
      }
    }
    return tile
  }
}
