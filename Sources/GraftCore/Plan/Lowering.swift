/// Takes pieces of one operand to moves out of its chunks, and to literals for what is in memory already.
package struct Lowering {
  /// What the elements come from.
  let operand: Plan.Operand
  /// The index of the result, or of the scratch tile, that they go to.
  let result: Int
  /// The index of the program that computes on them on the way.
  var program: Int?
  /// What came out so far.
  package internal(set) var moves: [Plan.Move] = []
  package internal(set) var literals: [Plan.Literal] = []

  package init(operand: Plan.Operand, result: Int, program: Int? = nil) {
    self.operand = operand
    self.result = result
    self.program = program
  }

  /// Adds what fills a piece, whose loops run forward through the result and which has this operand as a source.
  package mutating func lower(_ piece: Piece, source: Int = 0) throws(GraftError) {
    var piece = piece
    piece.sources = [piece.sources[source]]
    switch operand.source {
    case .stored(let stored):
      try piece.cut(source: 0, cellShape: stored.layout.chunkShape, grid: stored.grid) {
        (chunk, part) throws(GraftError) in add(part, stored, stored.layout.chunks[chunk])
      }
    case .host(let host):
      addLiteral(.tensor(host), copy(piece, strides: operand.spec.shape.rowMajorStrides))
    case .product(let product):
      addLiteral(
        .product(product, operand.spec), copy(piece, strides: operand.spec.shape.rowMajorStrides))
    case .generated(.uninitialized): break
    case .generated(.constant(let value)):
      // One element, from which every step along every axis goes nowhere.
      let strides = [Int](repeating: 0, count: operand.spec.rank)
      addLiteral(.constant(value, operand.spec.dtype), copy(piece, strides: strides))
    case .generated(let generator):
      addLiteral(
        .generated(generator, operand.spec), copy(piece, strides: operand.spec.shape.rowMajorStrides))
    }
  }

  /// Adds what comes from one chunk, whose indices the piece has.
  private mutating func add(_ piece: Piece, _ stored: StoredTensor, _ chunk: ChunkLocation) {
    let layout = stored.layout
    let strides = layout.chunkShape.rowMajorStrides
    switch chunk {
    case .file(let chunk):
      guard let copy = copy(piece, strides: strides, storedBits: layout.storedBitWidth) else { return }
      moves.append(
        Plan.Move(
          chunk: StoredChunk(file: chunk.file + stored.fileOffset, range: chunk.range),
          encoding: stored.encoding, result: result, copy: copy, program: program))
    case .inline(let bytes):
      addLiteral(
        .bytes(bytes), encoding: stored.encoding,
        copy(piece, strides: strides, storedBits: layout.storedBitWidth))
    case .absent:
      let element = layout.fillValue ?? [UInt8](repeating: 0, count: (layout.storedBitWidth + 7) / 8)
      var still = piece
      still.sources[0] = strides.map { _ in Affine(offset: 0) }
      addLiteral(.bytes(element), copy(still, strides: strides, storedBits: layout.storedBitWidth))
    }
  }

  private mutating func addLiteral(
    _ source: Plan.Literal.Source, encoding: Int? = nil, _ copy: StridedCopy?
  ) {
    guard let copy else { return }
    literals.append(
      Plan.Literal(source: source, encoding: encoding, result: result, copy: copy, program: program))
  }

  /// The copy that a piece of one source is, whose axes have these strides in elements; nil when there is nothing to copy.
  private func copy(_ piece: Piece, strides: [Int], storedBits: Int? = nil) -> StridedCopy? {
    let bits = operand.spec.dtype.bitWidth
    var first = 0
    var steps = [Int](repeating: 0, count: piece.extents.count)
    for (affine, stride) in zip(piece.sources[0], strides) where stride != 0 {
      first += affine.offset * stride
      for term in affine.terms { steps[term.loop] += term.step * stride }
    }
    return StridedCopy(
      elementBits: bits, storedBits: storedBits ?? bits, sourceElement: first,
      destinationElement: piece.destination.offset,
      dimensions: piece.extents.indices.map { loop in
        StridedCopy.Dimension(
          count: piece.extents[loop], sourceStride: steps[loop],
          destinationStride: piece.destination.step(of: loop))
      })
  }
}

/// A stored tensor as pieces are lowered from it: what it is, where its chunks are, and how the plan calls its codecs and files.
package struct StoredTensor: Hashable, Sendable {
  let layout: Layout
  /// The number of chunks along each axis.
  let grid: Shape
  /// The index of the layout's codecs among the plan's encodings.
  package let encoding: Int?
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
    grid = layout.gridShape(of: spec.shape)
    let chunkCount = grid.checkedElementCount
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
}

/// A tensor in memory as an operand; the same as another one when it is the same memory.
public struct HostOperand: Hashable, Sendable {
  /// The tensor.
  public let tensor: Tensor

  package init(_ tensor: Tensor) { self.tensor = tensor }

  /// Whether both are the same tensor in the same memory.
  public static func == (a: HostOperand, b: HostOperand) -> Bool {
    a.tensor.storage === b.tensor.storage && a.tensor.byteOffset == b.tensor.byteOffset
      && a.tensor.spec == b.tensor.spec
  }

  /// Hashes the memory's identity.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(ObjectIdentifier(tensor.storage))
    hasher.combine(tensor.byteOffset)
  }
}
