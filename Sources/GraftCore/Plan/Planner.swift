/// Turns wanted leaves into a plan: gathers the files, gives each result its index, and lowers pieces to moves.
package struct Planner {
  private var files: [StoredFile] = []
  private var results: [Plan.Result] = []
  private var encodings: [Plan.Encoding] = []
  private var encodingIndices: [Plan.Encoding: Int] = [:]
  var moves: [Plan.Move] = []
  var literals: [Plan.Literal] = []

  /// An empty planner.
  package init() {}

  /// Adds a catalog's files, and says where its file indices begin in the plan's table.
  package mutating func addFiles(_ catalogFiles: [StoredFile]) -> Int {
    files += catalogFiles
    return files.count - catalogFiles.count
  }

  /// Adds a result leaf that is a stored tensor or a slice of it.
  ///
  /// - Returns: the index of the result in the plan.
  /// - Throws: ``GraftError`` when the slice does not fit the tensor, or the layout is none for it.
  package mutating func add(
    _ path: TreePath, _ source: TensorSpec, _ layout: Layout, slice: TensorSlice? = nil, fileOffset: Int = 0
  ) throws(GraftError) -> Int {
    let index = results.count
    if slice == nil, let chunk = layout.wholeRun(of: source) {
      results.append(Plan.Result(path: path, spec: source))
      moves.append(
        Plan.Move(
          chunk: StoredChunk(file: chunk.file + fileOffset, range: chunk.range), result: index,
          copy: StridedCopy(
            unit: .byte, runCount: source.byteCount, sourceOffset: 0, destinationOffset: 0, dimensions: [])))
      return index
    }
    var shape = source.shape
    var map = IndexMap.identity(rank: source.rank)
    do throws(GraftError) {
      if let slice { (shape, map) = try slice.resolved(for: source.shape) }
      let stored = try StoredTensor(
        spec: source, layout: layout, encoding: encodingIndex(of: layout), fileOffset: fileOffset)
      results.append(Plan.Result(path: path, spec: TensorSpec(source.dtype, shape)))
      Piece(box: Box(whole: shape), map: map).lower(
        into: &self, from: stored, result: index, resultShape: shape)
    } catch {
      var error = error
      error.leaf = path
      throw error
    }
    return index
  }

  private mutating func encodingIndex(of layout: Layout) throws(GraftError) -> Int? {
    if layout.codecs.isEmpty { return nil }
    guard let byteCount = layout.decodedChunkByteCount else {
      throw GraftError(
        .corrupt, "the size of a chunk overflows", found: "chunks of shape \(layout.chunkShape)")
    }
    let encoding = Plan.Encoding(codecs: layout.codecs, decodedByteCount: byteCount)
    if let index = encodingIndices[encoding] { return index }
    encodings.append(encoding)
    encodingIndices[encoding] = encodings.count - 1
    return encodings.count - 1
  }

  /// The plan of everything that was added.
  package consuming func plan() -> Plan {
    Plan(files: files, results: results, moves: moves, literals: literals, encodings: encodings)
  }
}

extension Layout {
  /// The one chunk of a tensor that lies in a file exactly as it lies in memory; nil for others, and for broken layouts.
  ///
  /// Nearly every leaf of nearly every load is one, and needs none of the arrays that pieces are lowered with.
  fileprivate func wholeRun(of spec: TensorSpec) -> StoredChunk? {
    guard chunks.count == 1, case .file(let chunk) = chunks[0], codecs.isEmpty, fillValue == nil,
      storedBitWidth == spec.dtype.bitWidth, storedBitWidth % 8 == 0, chunkShape == spec.shape,
      spec.byteCount > 0, chunk.range.count == spec.byteCount
    else { return nil }
    return chunk
  }
}

/// A stored tensor as pieces are lowered from it: what it is, where its chunks are, and how the plan calls its codecs and files.
struct StoredTensor {
  let spec: TensorSpec
  let layout: Layout
  /// The index of the layout's codecs among the plan's encodings.
  let encoding: Int?
  /// What is added to the layout's file indices.
  let fileOffset: Int

  /// - Throws: ``GraftError`` of code `corrupt` when the layout's grid does not have the number of chunks that there are.
  init(spec: TensorSpec, layout: Layout, encoding: Int?, fileOffset: Int) throws(GraftError) {
    guard layout.chunkShape.rank == spec.rank else {
      throw GraftError(
        .corrupt, "the chunks have another rank than the tensor", expected: "rank \(spec.rank)",
        found: "chunks of shape \(layout.chunkShape)")
    }
    // An empty tensor has no chunk, but formats that keep a tensor in one piece give it an empty range all the same.
    let chunkCount = layout.gridShape(of: spec.shape).checkedElementCount
    guard chunkCount == layout.chunks.count || spec.elementCount == 0 else {
      throw GraftError(
        .corrupt, "the tensor has another number of chunks than its grid",
        expected: chunkCount.map(String.init) ?? "fewer than 2^63", found: "\(layout.chunks.count)")
    }
    if encoding == nil { try Self.checkPlainChunks(layout) }
    guard layout.fillValue == nil || layout.fillValue?.count == (layout.storedBitWidth + 7) / 8 else {
      throw GraftError(
        .corrupt, "the fill value is not one element", expected: "\((layout.storedBitWidth + 7) / 8) bytes",
        found: "\(layout.fillValue?.count ?? 0)")
    }
    self.spec = spec
    self.layout = layout
    self.encoding = encoding
    self.fileOffset = fileOffset
  }

  /// Chunks without codecs have exactly the bytes of their elements, or copies out of them would go astray.
  private static func checkPlainChunks(_ layout: Layout) throws(GraftError) {
    let expected = layout.decodedChunkByteCount
    for chunk in layout.chunks where chunk != .absent && chunk.byteCount != expected {
      var range: ByteRange?
      if case .file(let stored) = chunk { range = stored.range }
      throw GraftError(
        .corrupt, "a chunk has another size than its elements", range: range,
        expected: expected.map { "\($0) bytes" } ?? "fewer than 2^63 bytes", found: "\(chunk.byteCount)")
    }
  }

  /// Whether the tensor lies in a file exactly as it lies in memory.
  var isContiguous: Bool {
    layout.chunks.count == 1 && encoding == nil && layout.chunkShape == spec.shape
      && spec.dtype.bitWidth % 8 == 0
      && layout.storedBitWidth == spec.dtype.bitWidth
  }
}
