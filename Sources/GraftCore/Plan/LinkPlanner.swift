// A leaf of a result can be linked when a regular grid exists over it, each of whose chunks is some chunk of a source: the same
// bytes behind the same codecs, in the same row-major order. Then a new checkpoint only has to say where the bytes are.
//
//     layer0.w  [4, 8] in chunks of [4, 8]  ─┐
//     layer1.w  [4, 8] in chunks of [4, 8]  ─┴─ stack ─►  w  [2, 4, 8] in chunks of [1, 4, 8]
//
// The planner takes the result to pieces, as a load's planner does, guesses chunk shapes from how the pieces walk through the
// chunks of their sources, and tries them: every piece is cut at both grids, and each part must take the same steps in the one
// chunk as in the other. So a guess can be bad, but never wrong.
//
// Chunks without codecs are runs of elements, so parts of them serve as well: rows of a safetensors tensor are chunks, too.

/// Finds the leaves of transforms that need no new bytes, and the layouts that say so.
package struct LinkPlanner {
  /// What becomes of a leaf.
  package enum Outcome: Hashable, Sendable {
    /// Its chunks, or shards, are those of the sources; files are numbered through all checkpoints.
    case linked(Layout)
    /// Its bytes are written anew, for this reason.
    case rewritten(because: String)
    /// The shards of its sources fit nowhere as a whole; their chunks may, once it is known where they are.
    case hiddenInShards
  }

  /// The most chunks that a leaf is tried with.
  private static let chunkLimit = 1 << 21
  /// The most pieces that a leaf may be made of.
  private static let pieceLimit = 1 << 16
  /// How many pieces chunk shapes are guessed from, and how many chunks of each are looked at.
  private static let guessLimit = (pieces: 4, chunks: 64)
  /// A leaf is not cut into more chunks than this when they get smaller than ``smallestRunByteCount``: writing those bytes anew takes
  /// as long as the requests that whoever reads the leaf would wait for.
  private static let smallRunLimit = 16
  private static let smallestRunByteCount = 64 << 10
  /// How many times as many elements the chunks of a leaf may hold, beyond its edges too, as those of its sources do for theirs.
  ///
  /// The first columns of a matrix are a part of its chunks that begins where they do; readers would take all of them.
  private static let marginLimit = 2
  /// Chunks without codecs that are larger are cut, so that readers of a part do not have to take all of it, and readers of
  /// all can read in parallel.
  package static let largestRunByteCount = 32 << 20

  /// Where each checkpoint's files begin when all are counted through.
  private var fileOffsets: [Int] = []
  private var fileCount = 0
  /// Trees of checkpoints whose shards have been looked into, by the checkpoint's number.
  private var resolvedTrees: [Int: Tree<StoredLeaf>] = [:]

  /// A planner of leaves of no checkpoint yet.
  package init() {}

  /// Adds an opened checkpoint; the operands of the expressions name it by its number in the order of these calls.
  package mutating func addCheckpoint(_ catalog: Catalog) {
    if catalog.hasShards { resolvedTrees[fileOffsets.count] = catalog.tree }
    addFiles(count: catalog.files.count)
  }

  /// Adds a checkpoint of so many files, whose layouts are those of the expressions.
  package mutating func addFiles(count: Int) {
    fileOffsets.append(fileCount)
    fileCount += count
  }

  /// What becomes of a leaf that an expression describes.
  package func outcome(of tensor: LazyTensor) -> Outcome {
    do throws(GraftError) {
      let spec = tensor.spec
      if spec.elementCount == 0 {
        let cells = Shape(spec.shape.map { Swift.max($0, 1) })
        return .linked(
          Layout(chunkShape: cells, chunks: [], storedBitWidth: Swift.max(8, spec.dtype.bitWidth)))
      }
      if case .stored(let operand) = tensor.expression.operation {
        if let layout = wholeRun(of: operand, spec) { return .linked(layout) }
        let source = try LinkSource(spec, layout(of: operand), fileOffset: fileOffset(of: operand))
        if !source.isPlain { return .linked(source.unchangedLayout) }
      }
      var pieces = LinkPieces(planner: self, limit: Self.pieceLimit)
      try pieces.add(tensor.expression)
      return try outcome(spec, pieces)
    } catch {
      return .rewritten(because: error.message)
    }
  }

  /// The layout of a tensor that stays as it is and lies in one piece: the case of nearly every leaf of a safetensors file, which
  /// need not go the long way to the same layout.
  private func wholeRun(of operand: StoredOperand, _ spec: TensorSpec) -> Layout? {
    let layout = operand.layout
    guard layout.codecs.isEmpty, layout.shards == nil, layout.chunks.count == 1,
      case .file(var chunk) = layout.chunks[0], layout.chunkShape == spec.shape,
      layout.storedBitWidth == Swift.max(8, spec.dtype.bitWidth),
      chunk.range.count == layout.decodedChunkByteCount
    else { return nil }
    chunk.file += fileOffset(of: operand)
    guard let smaller = cutLargeRuns(LinkGrid(cellShape: spec.shape), spec) else {
      return Layout(
        chunkShape: layout.chunkShape, chunks: [.file(chunk)], storedBitWidth: layout.storedBitWidth)
    }
    // Leading axes are cut into equal parts, so that the chunks follow one another in the file.
    let elementCount = smaller.cellShape.elementCount
    let byteCount = elementCount * layout.storedBitWidth / 8
    let chunks = (0..<spec.elementCount / elementCount).map { number in
      ChunkLocation.file(
        StoredChunk(
          file: chunk.file,
          range: ByteRange(offset: chunk.range.offset + number * byteCount, count: byteCount)))
    }
    return Layout(chunkShape: smaller.cellShape, chunks: chunks, storedBitWidth: layout.storedBitWidth)
  }

  /// A reason why a leaf is not linked, which becomes part of a sentence.
  static func reason(_ text: String) -> GraftError { GraftError(.unsupported, text) }

  private static func notWhole(_ cellShape: Shape) -> GraftError {
    reason("the chunks of its sources, of shape \(cellShape), are cut or come in another order")
  }

  fileprivate func layout(of operand: StoredOperand) -> Layout {
    guard operand.layout.shards != nil, let tree = resolvedTrees[operand.source],
      case .tensor(_, let layout, _)? = tree[at: operand.path].leaf
    else { return operand.layout }
    return layout
  }

  fileprivate func fileOffset(of operand: StoredOperand) -> Int { fileOffsets[operand.source] }
}

// MARK: - Pieces

/// The pieces of a leaf that is nothing but elements of stored tensors, moved.
///
/// Each piece has two sources: the stored tensor's coordinates, and those of the result.
private struct LinkPieces {
  let planner: LinkPlanner
  let limit: Int
  private(set) var pieces: [(piece: Piece, source: Int)] = []
  private(set) var sources: [LinkSource] = []
  private var indices: [ObjectIdentifier: Int] = [:]

  init(planner: LinkPlanner, limit: Int) {
    self.planner = planner
    self.limit = limit
  }

  mutating func add(_ expression: Expression) throws(GraftError) {
    try add(Piece(whole: expression.spec.shape, sourceCount: 2), expression)
  }

  /// As deep as the expression is, which ``Expression/depthLimit`` bounds.
  private mutating func add(_ piece: Piece, _ node: Expression) throws(GraftError) {
    var (piece, node) = (piece, node)
    while true {
      switch node.operation {
      case .view(let operand, let map):
        piece.enter(map, source: 0)
        node = operand
      case .reshaped(let operand):
        try piece.reshaping(source: 0, from: node.spec.shape, to: operand.spec.shape) {
          (part) throws(GraftError) in try add(part, operand)
        }
        return
      case .concatenated(let operands, let axis):
        try piece.cut(source: 0, axis: axis, betweenPartsOf: operands.map { $0.spec.shape[axis] }) {
          (index, part) throws(GraftError) in try add(part, operands[index])
        }
        return
      case .stored(let operand):
        guard pieces.count < limit else {
          throw LinkPlanner.reason("its elements come in more than \(limit) pieces")
        }
        pieces.append((piece, try source(node, operand)))
        return
      case .elementwise(let operation, _): throw LinkPlanner.reason("its values are computed: \(operation)")
      case .product: throw LinkPlanner.reason("its values are computed: a product of matrices")
      case .host: throw LinkPlanner.reason("values of it are in memory alone")
      case .generated: throw LinkPlanner.reason("values of it are new")
      }
    }
  }

  private mutating func source(_ node: Expression, _ operand: StoredOperand) throws(GraftError) -> Int {
    if let index = indices[ObjectIdentifier(node)] { return index }
    let source = try LinkSource(
      node.spec, planner.layout(of: operand), fileOffset: planner.fileOffset(of: operand))
    indices[ObjectIdentifier(node)] = sources.count
    sources.append(source)
    return sources.count - 1
  }
}

/// A stored tensor as a grid of cells, each of which is linked whole or not at all: its shards where it has them, else its chunks.
private struct LinkSource {
  let cellShape: Shape
  let grid: Shape
  let cells: [ChunkLocation]
  /// The chunks within a shard; nil where the cells are chunks.
  let innerShape: Shape?
  let innerGrid: Shape
  let layout: Layout
  let fileOffset: Int

  /// What must be the same for all cells of an array.
  struct Encoding: Hashable {
    var codecs: [String]
    var isSharded: Bool
    var indexIsAtEnd: Bool
    var indexHasChecksum: Bool
  }

  init(_ spec: TensorSpec, _ layout: Layout, fileOffset: Int) throws(GraftError) {
    guard layout.storedBitWidth == Swift.max(8, spec.dtype.bitWidth) else {
      throw LinkPlanner.reason(
        "its elements of \(spec.dtype.bitWidth) bits are packed, and an array of Zarr has a byte for each")
    }
    self.layout = layout
    self.fileOffset = fileOffset
    let shards = layout.shards
    cellShape = shards?.shape ?? layout.chunkShape
    cells = shards?.places ?? layout.chunks
    innerShape = shards == nil ? nil : layout.chunkShape
    let isGrid = cellShape.rank == spec.rank && layout.chunkShape.rank == spec.rank
    guard isGrid, !cellShape.contains(0), !layout.chunkShape.contains(0) else {
      throw LinkPlanner.reason("its chunks are no grid over it")
    }
    grid = Self.grid(of: spec.shape, cellShape)
    innerGrid = innerShape.map { Self.grid(of: shards?.shape ?? [], $0) } ?? []
    guard grid.checkedElementCount == cells.count else {
      throw LinkPlanner.reason("its chunks are no grid over it")
    }
    margin = Double(cells.count) * Double(cellShape.checkedElementCount ?? .max) / Double(spec.elementCount)
    // A chunk without codecs is as large as its elements; what is not is found out by whoever reads it.
    guard
      shards != nil || !layout.codecs.isEmpty
        || cells.allSatisfy({ $0 == .absent || $0.byteCount == layout.decodedChunkByteCount })
    else { throw LinkPlanner.reason("its chunks have another size than their elements") }
  }

  static func grid(of shape: Shape, _ cellShape: Shape) -> Shape {
    Shape(zip(shape, cellShape).map { $0 / $1 + ($0 % $1 == 0 ? 0 : 1) })
  }

  var encoding: Encoding {
    Encoding(
      codecs: layout.codecs.map(\.name), isSharded: layout.shards != nil,
      indexIsAtEnd: layout.shards?.indexIsAtEnd ?? false,
      indexHasChecksum: layout.shards?.indexHasChecksum ?? false)
  }

  /// How many times as many elements as the tensor its cells hold.
  let margin: Double

  /// Whether a part of a cell is a run of bytes.
  var isPlain: Bool { layout.codecs.isEmpty && layout.shards == nil }

  /// The layout as it is, with files numbered through all checkpoints.
  var unchangedLayout: Layout {
    var layout = layout
    let places = cells.indices.map { location(of: $0, from: 0, count: 0) }
    if layout.shards == nil { layout.chunks = places } else { layout.shards?.places = places }
    return layout
  }

  /// What of a cell is linked.
  func location(of cell: Int, from element: Int, count: Int) -> ChunkLocation {
    let byteCount = layout.storedBitWidth / 8
    switch cells[cell] {
    case .absent: return .absent
    case .inline(let bytes):
      if !isPlain { return .inline(bytes) }
      return .inline(Array(bytes[element * byteCount..<(element + count) * byteCount]))
    case .file(let chunk):
      var range = chunk.range
      if isPlain { range = ByteRange(offset: range.offset + element * byteCount, count: count * byteCount) }
      return .file(StoredChunk(file: chunk.file + fileOffset, range: range))
    }
  }
}

// MARK: - Grids

/// A guess: the shape of the cells, and of the chunks in them where they are shards.
private struct LinkGrid: Hashable {
  var cellShape: Shape
  var innerShape: Shape?
}

/// What a cell of the result is: a cell of a source, or a run of one.
private enum LinkedCell: Hashable {
  case absent
  case stored(source: Int, cell: Int, firstElement: Int)
}

extension LinkPlanner {
  private func outcome(_ spec: TensorSpec, _ parts: LinkPieces) throws(GraftError) -> Outcome {
    let first = parts.sources[0]
    let isSharded = parts.sources.contains { $0.layout.shards != nil }
    // Sources without any bytes go with all.
    let encodings = Set(parts.sources.lazy.filter { !$0.cells.allSatisfy { $0 == .absent } }.map(\.encoding))
    guard encodings.count <= 1 else {
      if isSharded { return .hiddenInShards }
      throw Self.reason("its parts are stored with different codecs")
    }
    let model = parts.sources.first { $0.encoding == encodings.first } ?? first
    let isPlain = parts.sources.allSatisfy(\.isPlain)

    let guesses = exactGuesses(spec, parts)
    var failure = Self.notWhole(parts.sources[0].cellShape)
    func attempt(_ guess: LinkGrid) throws(GraftError) -> Outcome? {
      var grid = guess
      var cells: [LinkedCell]
      do throws(GraftError) { cells = try match(guess, spec, parts) } catch {
        failure = error
        return nil
      }
      if isPlain, let smaller = cutLargeRuns(guess, spec), cells.allSatisfy({ isInFile($0, parts) }) {
        (grid, cells) = (smaller, try match(smaller, spec, parts))
      }
      return .linked(try layout(grid, cells, spec, parts, model: model))
    }
    // Of chunks without codecs, those that reach beyond the tensor would be read in part for nothing, so they come last.
    func fits(_ grid: LinkGrid) -> Bool {
      !isPlain || zip(grid.cellShape, spec.shape).allSatisfy { $0 <= $1 }
    }
    for guess in guesses where fits(guess) {
      if let outcome = try attempt(guess) { return outcome }
    }
    if isPlain {
      var whyNoRuns: GraftError?
      do throws(GraftError) {
        if let outcome = try attempt(runs(spec, parts)) { return outcome }
      } catch {
        whyNoRuns = error
      }
      for guess in guesses where !fits(guess) {
        if let outcome = try attempt(guess) { return outcome }
      }
      failure = whyNoRuns ?? failure
    }
    if isSharded { return .hiddenInShards }
    throw failure
  }

  private func isInFile(_ cell: LinkedCell, _ parts: LinkPieces) -> Bool {
    guard case .stored(let source, let cell, _) = cell else { return false }
    return parts.sources[source].cells[cell].stored != nil
  }

  /// The layout over these cells.
  private func layout(
    _ grid: LinkGrid, _ cells: [LinkedCell], _ spec: TensorSpec, _ parts: LinkPieces, model: LinkSource
  ) throws(GraftError) -> Layout {
    let count = grid.cellShape.elementCount
    let places = cells.map { cell -> ChunkLocation in
      switch cell {
      case .absent: .absent
      case .stored(let source, let cell, let first):
        parts.sources[source].location(of: cell, from: first, count: count)
      }
    }
    // Chunks in shards may be absent, which nobody knows before looking; so there the fill values have to agree always.
    var fillValue: [UInt8]?
    for source in parts.sources where source.layout.shards != nil || source.cells.contains(.absent) {
      let own = source.layout.fillValue
      guard fillValue == nil || own == nil || own == fillValue else {
        throw Self.reason("its parts have different fill values")
      }
      fillValue = fillValue ?? own
    }
    var layout = Layout(
      chunkShape: grid.innerShape ?? grid.cellShape, codecs: model.layout.codecs,
      chunks: grid.innerShape == nil ? places : [], fillValue: fillValue,
      storedBitWidth: model.layout.storedBitWidth)
    if grid.innerShape != nil, let shards = model.layout.shards {
      layout.shards = Shards(
        shape: grid.cellShape, places: places, indexIsAtEnd: shards.indexIsAtEnd,
        indexHasChecksum: shards.indexHasChecksum)
    }
    return layout
  }

  /// The cells of a grid over the result.
  ///
  /// - Throws: a reason when one of them is no cell of a source, and no run of one.
  private func match(
    _ guess: LinkGrid, _ spec: TensorSpec, _ parts: LinkPieces
  ) throws(GraftError) -> [LinkedCell] {
    let grid = LinkSource.grid(of: spec.shape, guess.cellShape)
    guard let cellCount = grid.checkedElementCount, cellCount <= Self.chunkLimit else {
      throw Self.reason("it would have more than \(Self.chunkLimit) chunks")
    }
    guard let elementCount = guess.cellShape.checkedElementCount else {
      throw Self.notWhole(parts.sources[0].cellShape)
    }
    let (stored, overflow) = cellCount.multipliedReportingOverflow(by: elementCount)
    let margin = parts.sources.lazy.map(\.margin).max() ?? 1
    guard !overflow, Double(stored) <= Double(Self.marginLimit * spec.elementCount) * margin else {
      throw Self.reason("most of its chunks, of shape \(guess.cellShape), would be beyond its edges")
    }
    var cells = [LinkedCell?](repeating: nil, count: cellCount)
    var visitCount = 0
    for (piece, number) in parts.pieces {
      let source = parts.sources[number]
      try piece.cut(source: 1, cellShape: guess.cellShape, grid: grid) { (place, piece) throws(GraftError) in
        try piece.cut(source: 0, cellShape: source.cellShape, grid: source.grid) {
          (cell, piece) throws(GraftError) in
          visitCount += 1
          // A good guess meets few pieces in each cell; one that meets many would take longer than it is worth.
          guard visitCount <= 16 * cellCount + Self.pieceLimit else {
            throw Self.reason("its elements come in too many pieces")
          }
          let linked: LinkedCell
          if source.cells[cell] == .absent {
            linked = .absent
          } else {
            linked = .stored(
              source: number, cell: cell,
              firstElement: try firstElement(piece, guess, source, elementCount: elementCount))
          }
          guard cells[place] == nil || cells[place] == linked else {
            throw Self.reason("a chunk of it, of shape \(guess.cellShape), is made of several")
          }
          cells[place] = linked
        }
      }
    }
    var result: [LinkedCell] = []
    result.reserveCapacity(cellCount)
    for cell in cells {
      guard let cell else { throw Self.reason("a chunk of it comes from nowhere") }
      result.append(cell)
    }
    return result
  }

  /// Where in its source's cell the first element of the result's cell is, given a piece that lies in one of each.
  ///
  /// - Throws: a reason when the piece goes through the two in different ways.
  private func firstElement(
    _ piece: Piece, _ guess: LinkGrid, _ source: LinkSource, elementCount: Int
  ) throws(GraftError) -> Int {
    let mismatch = Self.notWhole(source.cellShape)
    let inResult = piece.position(source: 1, strides: guess.cellShape.rowMajorStrides)
    let inSource = piece.position(source: 0, strides: source.cellShape.rowMajorStrides)
    let sourceCount = source.cellShape.elementCount
    if source.isPlain {
      let first = inSource.offset - inResult.offset
      guard inSource.terms == inResult.terms, first >= 0, first + elementCount <= sourceCount else {
        throw mismatch
      }
      return first
    }
    guard elementCount == sourceCount else { throw mismatch }
    guard let innerShape = source.innerShape else {
      guard inSource == inResult else { throw mismatch }
      return 0
    }
    // In shards, chunks must have the same numbers and elements the same places in them.
    guard let resultInner = guess.innerShape else { throw mismatch }
    let resultGrid = LinkSource.grid(of: guess.cellShape, resultInner)
    guard resultGrid.elementCount == source.innerGrid.elementCount else { throw mismatch }
    let (strides, resultStrides) = (innerShape.rowMajorStrides, resultInner.rowMajorStrides)
    try piece.cut(source: 1, cellShape: resultInner, grid: resultGrid) {
      (resultNumber, part) throws(GraftError) in
      try part.cut(source: 0, cellShape: innerShape, grid: source.innerGrid) {
        (number, part) throws(GraftError) in
        guard number == resultNumber,
          part.position(source: 0, strides: strides) == part.position(source: 1, strides: resultStrides)
        else { throw mismatch }
      }
    }
    return 0
  }
}

// MARK: - Guesses

extension LinkPlanner {
  /// Shapes under which cells of sources may be cells of the result.
  private func exactGuesses(_ spec: TensorSpec, _ parts: LinkPieces) -> [LinkGrid] {
    var guesses: [LinkGrid] = []
    // The largest pieces, for at the edges of others one does not see how chunks continue.
    let order = parts.pieces.indices.sorted {
      (parts.pieces[$1].piece.elementCount, $0) < (parts.pieces[$0].piece.elementCount, $1)
    }
    for (piece, number) in order.prefix(Self.guessLimit.pieces).map({ parts.pieces[$0] }) {
      let source = parts.sources[number]
      guard let inCell = largestPart(of: piece, cellShape: source.cellShape, grid: source.grid),
        let cellShape = cellShape(inCell, source.cellShape, rank: spec.rank)
      else { continue }
      var guess = LinkGrid(cellShape: cellShape)
      if let innerShape = source.innerShape {
        guard let inner = largestPart(of: inCell, cellShape: innerShape, grid: source.innerGrid),
          let shape = self.cellShape(inner, innerShape, rank: spec.rank),
          zip(cellShape, shape).allSatisfy({ $0 % $1 == 0 })
        else { continue }
        guess.innerShape = shape
      }
      if !guesses.contains(guess) { guesses.append(guess) }
    }
    return guesses
  }

  /// The largest of the first parts of a piece that lie in one cell of its source each.
  private func largestPart(of piece: Piece, cellShape: Shape, grid: Shape) -> Piece? {
    var largest: Piece?
    var count = 0
    do throws(GraftError) {
      try piece.cut(source: 0, cellShape: cellShape, grid: grid) { (_, part) throws(GraftError) in
        if part.elementCount > largest?.elementCount ?? 0 { largest = part }
        count += 1
        if count == Self.guessLimit.chunks { throw Self.reason("enough was seen") }
      }
    } catch {
      // The reason is the one just above: it ends the search.
    }
    return largest
  }

  /// The shape of a result's cells in which a step along an axis goes as far as it goes in the source's cell.
  private func cellShape(_ part: Piece, _ sourceCell: Shape, rank: Int) -> Shape? {
    guard let elementCount = sourceCell.checkedElementCount else { return nil }
    let position = part.position(source: 0, strides: sourceCell.rowMajorStrides)
    var strides = [Int?](repeating: nil, count: rank)
    for axis in 0..<rank {
      for term in part.sources[1][axis].terms {
        let step = position.step(of: term.loop)
        if step == 0 { continue }  // The same element again and again: these are cells of their own.
        guard term.step != 0, step % term.step == 0, step / term.step > 0,
          strides[axis] == nil || strides[axis] == step / term.step
        else { return nil }
        strides[axis] = step / term.step
      }
    }
    // Axes without a stride have one element in a cell. What the last one with a stride skips goes to the axis after it.
    var extents = [Int](repeating: 1, count: rank)
    var outer = elementCount
    for axis in 0..<rank {
      guard let stride = strides[axis] else { continue }
      guard outer % stride == 0 else { return nil }
      extents[axis] = outer / stride
      outer = stride
    }
    if outer != 1 {
      guard rank > 0, strides[rank - 1] == nil else { return nil }
      extents[rank - 1] = outer
    }
    return Shape(extents)
  }

  /// The largest chunks that are runs of elements in every source, where those have no codecs.
  ///
  /// - Throws: a reason when there would be many small ones.
  private func runs(_ spec: TensorSpec, _ parts: LinkPieces) throws(GraftError) -> LinkGrid {
    guard spec.rank > 0 else { return LinkGrid(cellShape: []) }
    let strides = spec.shape.rowMajorStrides
    var pieces: [Piece] = []
    // The first axis behind which every piece goes through all axes from end to end, as the source does.
    var cut = 0
    for (piece, number) in parts.pieces {
      let source = parts.sources[number]
      let sourceStrides = source.cellShape.rowMajorStrides
      try piece.cut(source: 0, cellShape: source.cellShape, grid: source.grid) {
        (_, part) throws(GraftError) in
        guard pieces.count < Self.pieceLimit else {
          throw Self.reason("its elements come in more than \(Self.pieceLimit) pieces")
        }
        var part = part
        part.sources[0] = [part.position(source: 0, strides: sourceStrides)]
        while (cut + 1..<spec.rank).contains(where: {
          part.run(alongResultAxis: $0, stride: strides[$0]) != 0..<spec.shape[$0]
        }) { cut += 1 }
        pieces.append(part)
      }
    }
    // There, chunks end wherever some piece does.
    var extent = spec.shape[cut]
    for piece in pieces {
      guard let run = piece.run(alongResultAxis: cut, stride: strides[cut]) else {
        extent = 1
        break
      }
      extent = greatestCommonDivisor(extent, greatestCommonDivisor(run.lowerBound, run.upperBound))
    }
    let grid = LinkGrid(
      cellShape: Shape(spec.shape.indices.map { $0 < cut ? 1 : $0 == cut ? extent : spec.shape[$0] }))
    let count = spec.elementCount / grid.cellShape.elementCount
    let byteCount = grid.cellShape.elementCount * Swift.max(8, spec.dtype.bitWidth) / 8
    guard count <= Self.smallRunLimit || byteCount >= Self.smallestRunByteCount else {
      throw Self.reason("it would have \(count) chunks of \(byteCount) bytes each")
    }
    return grid
  }

  /// The grid with its chunks cut along their first axes until they are of a size to read at once; nil where they are.
  private func cutLargeRuns(_ guess: LinkGrid, _ spec: TensorSpec) -> LinkGrid? {
    var byteCount = guess.cellShape.elementCount * Swift.max(8, spec.dtype.bitWidth) / 8
    var extents = guess.cellShape.extents
    for axis in extents.indices where byteCount > Self.largestRunByteCount && extents[axis] > 1 {
      let row = byteCount / extents[axis]
      if row > Self.largestRunByteCount {
        // A chunk has one row, which is cut itself.
        (extents[axis], byteCount) = (1, row)
        continue
      }
      // Equal parts, so that no chunk reaches beyond the one that it is cut from; not too many, for lengths may be prime.
      let rows = Self.largestRunByteCount / row
      let fewest = (extents[axis] + rows - 1) / rows
      guard let count = (fewest...16 * fewest).first(where: { extents[axis] % $0 == 0 }) else { break }
      extents[axis] /= count
      break
    }
    if extents == guess.cellShape.extents { return nil }
    return LinkGrid(cellShape: Shape(extents))
  }
}

extension Piece {
  /// The indices along an axis of the result that the piece takes one after another, where each step there is one of `stride`
  /// elements in the source; nil where it goes otherwise.
  ///
  /// The source has one coordinate, its position.
  fileprivate func run(alongResultAxis axis: Int, stride: Int) -> Range<Int>? {
    let index = sources[1][axis]
    var count = 1
    for term in index.terms.sorted(by: { $0.step < $1.step }) {
      guard term.step == count, sources[0][0].step(of: term.loop) == count * stride else { return nil }
      count *= extents[term.loop]
    }
    return index.offset..<(index.offset + count)
  }
}
