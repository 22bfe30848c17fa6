/// Turns wanted leaves into a plan: gathers the files, gives each result its index, and lowers expressions to moves and parts.
package struct Planner {
  /// A plan with more parts is not made: nobody waits for it, and its lists would fill the memory.
  private static let partLimit = 1 << 21
  /// The most steps of one tile program.
  private static let programStepLimit = 256

  private var files: [StoredFile] = []
  private var results: [Plan.Result] = []
  private var encodings = Table<Plan.Encoding>()
  private var programs = Table<TileProgram>()
  private var operands: [Plan.Operand] = []
  /// The operands' indices by the identity of their nodes.
  private var operandIndices: [ObjectIdentifier: Int] = [:]
  /// The nodes, kept so that no two share an identity.
  private var nodes: [Expression] = []
  /// Where each checkpoint's files begin in the plan's table.
  private var fileOffsets: [Int] = []
  /// Trees of checkpoints with shards, by the checkpoint's number.
  private var resolvedTrees: [Int: Tree<StoredLeaf>] = [:]
  private var parts: [Plan.Part] = []
  private var moves: [Plan.Move] = []
  private var literals: [Plan.Literal] = []
  /// The planner of the figures, none or one: a planner cannot hold itself.
  private var pass: [Planner] = []
  /// The figures by the identity of their nodes.
  private var figures: [ObjectIdentifier: Int] = [:]
  /// How many passes come after this planner's.
  private var passNumber = 0

  /// An empty planner.
  package init() {}

  /// Adds a checkpoint's files; the operands of the expressions name the checkpoint by its number in the order of these calls.
  package mutating func addFiles(_ catalogFiles: [StoredFile]) {
    fileOffsets.append(files.count)
    files += catalogFiles
  }

  /// Adds an opened checkpoint: its files, and, where some of its leaves had shards that were looked into since the expressions
  /// were made, their layouts.
  package mutating func addCheckpoint(_ catalog: Catalog) {
    if catalog.hasShards { resolvedTrees[fileOffsets.count] = catalog.tree }
    addFiles(catalog.files)
  }

  /// The layout of an operand, as it is known now.
  private func layout(of operand: StoredOperand) -> Layout {
    guard operand.layout.shards != nil, let tree = resolvedTrees[operand.source],
      case .tensor(_, let layout, _)? = tree[at: operand.path].leaf
    else { return operand.layout }
    return layout
  }

  /// Adds a result leaf that is a stored tensor of the first checkpoint, or a slice of it.
  ///
  /// - Returns: the index of the result in the plan.
  /// - Throws: ``GraftError`` when the slice does not fit the tensor, or the layout is none for it.
  package mutating func add(
    _ path: TreePath, _ source: TensorSpec, _ layout: Layout, slice: TensorSlice? = nil
  ) throws(GraftError) -> Int {
    if slice == nil, let index = addWholeRun(path, source, layout, source: 0) { return index }
    do throws(GraftError) {
      let tensor = LazyTensor(source, StoredOperand(source: 0, path: path, layout: layout))
      return try add(path, slice.map { (slice) throws(GraftError) in try tensor.sliced(slice) } ?? tensor)
    } catch {
      throw error.at(path)
    }
  }

  /// Adds a result leaf that an expression describes.
  ///
  /// - Returns: the index of the result in the plan.
  /// - Throws: ``GraftError`` naming the leaf when a layout is none for its tensor, or the plan has too many parts.
  package mutating func add(_ path: TreePath, _ tensor: LazyTensor) throws(GraftError) -> Int {
    if case .stored(let operand) = tensor.expression.operation,
      let index = addWholeRun(path, tensor.spec, layout(of: operand), source: operand.source)
    {
      return index
    }
    let index = results.count
    results.append(Plan.Result(path: path, spec: tensor.spec))
    if tensor.spec.elementCount == 0 { return index }
    do throws(GraftError) {
      try lower(Draft(tensor.expression), result: index)
    } catch {
      throw error.at(path)
    }
    return index
  }

  /// Adds two tensors of one dtype and shape that are read side by side, and of which nothing is kept.
  ///
  /// - Returns: the index of the result in the plan, which stands for both.
  /// - Throws: as ``add(_:_:)``.
  package mutating func addPair(
    _ path: TreePath, _ first: LazyTensor, _ second: LazyTensor
  ) throws(GraftError) -> Int {
    precondition(first.spec == second.spec, "tensors of one dtype and shape are read side by side")
    // As a sum of products, of which the place makes something else.
    let pair = Expression(first.spec, .elementwise(.products, [first.expression, second.expression]))
    return try add(path, LazyTensor(pair))
  }

  /// Adds a leaf that lies in one piece and is wanted whole: the case of nearly every leaf of nearly every load.
  private mutating func addWholeRun(
    _ path: TreePath, _ spec: TensorSpec, _ layout: Layout, source: Int
  ) -> Int? {
    guard let chunk = layout.wholeRun(of: spec) else { return nil }
    results.append(Plan.Result(path: path, spec: spec))
    moves.append(
      Plan.Move(
        chunk: StoredChunk(file: chunk.file + fileOffsets[source], range: chunk.range),
        result: results.count - 1,
        copy: StridedCopy(
          unit: .byte, runCount: spec.byteCount, sourceOffset: 0, destinationOffset: 0, dimensions: [])))
    return results.count - 1
  }

  /// The plan of everything that was added.
  package consuming func plan() -> Plan {
    var plan = Plan(
      files: files, results: results, moves: moves, literals: literals, encodings: encodings.values,
      programs: programs.values, operands: operands, parts: parts)
    plan.pass = pass.map { $0.plan() }
    return plan
  }
}

extension GraftError {
  fileprivate func at(_ path: TreePath) -> GraftError {
    var error = self
    error.leaf = path
    return error
  }
}

extension Optional {
  /// `map` for a closure with a typed error.
  fileprivate func map<T>(_ body: (Wrapped) throws(GraftError) -> T) throws(GraftError) -> T? {
    guard let self else { return nil }
    return try body(self)
  }
}

/// Values without duplicates, each with an index.
private struct Table<Value: Hashable> {
  private(set) var values: [Value] = []
  private var indices: [Value: Int] = [:]

  mutating func index(of value: Value) -> Int {
    if let index = indices[value] { return index }
    values.append(value)
    indices[value] = values.count - 1
    return values.count - 1
  }
}

// MARK: - Expressions

/// A part of a result on its way down: a piece whose sources are nodes that are taken apart one after the other, and what is
/// computed of them.
private struct Draft {
  var piece: Piece
  /// One for each source of the piece.
  var nodes: [Expression]
  var formula: Formula

  /// What is computed for each element.
  indirect enum Formula {
    case node(Int)
    case apply(Elementwise, [Formula], DType)

    /// The formula with one node replaced by an operation on several, which come in its place.
    func replacing(_ index: Int, by operation: Elementwise, count: Int, _ dtype: DType) -> Formula {
      switch self {
      case .node(index): .apply(operation, (index..<(index + count)).map { .node($0) }, dtype)
      case .node(let other): .node(other > index ? other + count - 1 : other)
      case .apply(let own, let operands, let ownDType):
        .apply(own, operands.map { $0.replacing(index, by: operation, count: count, dtype) }, ownDType)
      }
    }
  }

  init(_ expression: Expression) {
    self.init(Piece(whole: expression.spec.shape), [expression], .node(0))
  }

  init(_ piece: consuming Piece, _ nodes: [Expression], _ formula: Formula) {
    self.piece = piece
    self.nodes = nodes
    self.formula = formula
  }
}

extension Planner {
  /// Takes a draft's nodes apart until all are sources, cutting the piece where that needs it, and adds what comes out.
  ///
  /// Each node on the way rewrites the coordinates of its source and nothing else, so that movement, however much of it there
  /// is, comes down to where an element is in the end. As deep as the expression is, which ``Expression/depthLimit`` bounds.
  private mutating func lower(_ draft: consuming Draft, result: Int) throws(GraftError) {
    var source = 0
    while source < draft.nodes.count {
      let node = draft.nodes[source]
      switch node.operation {
      case .stored, .host, .generated, .product:
        source += 1
      case .view(let operand, let map):
        draft.piece.enter(map, source: source)
        draft.nodes[source] = operand
      case .elementwise(let operation, let operands):
        guard draft.nodes.count + operands.count <= Self.programStepLimit else {
          throw GraftError(
            .limitExceeded, "too many tensors are computed with at once",
            expected: "at most \(Self.programStepLimit) operands for one leaf")
        }
        let axes = draft.piece.sources[source]
        let operation = try resolvingFigures(of: operation, node, operands, leaf: results[result].path)
        draft.formula = draft.formula.replacing(source, by: operation, count: operands.count, node.spec.dtype)
        draft.nodes.replaceSubrange(source...source, with: operands)
        draft.piece.sources.replaceSubrange(
          source...source, with: [[Affine]](repeating: axes, count: operands.count))
      case .reshaped(let operand):
        draft.nodes[source] = operand
        let (nodes, formula) = (draft.nodes, draft.formula)
        try draft.piece.reshaping(source: source, from: node.spec.shape, to: operand.spec.shape) {
          (piece) throws(GraftError) in try lower(Draft(piece, nodes, formula), result: result)
        }
        return
      case .concatenated(let operands, let axis):
        let extents = operands.map { $0.spec.shape[axis] }
        let (nodes, formula) = (draft.nodes, draft.formula)
        try draft.piece.cut(source: source, axis: axis, betweenPartsOf: extents) {
          (index, piece) throws(GraftError) in
          var part = Draft(piece, nodes, formula)
          part.nodes[source] = operands[index]
          try lower(part, result: result)
        }
        return
      }
    }
    try add(draft, result: result)
  }

  /// Adds a part all of whose nodes are sources.
  private mutating func add(_ draft: consuming Draft, result: Int) throws(GraftError) {
    guard parts.count < Self.partLimit else {
      throw GraftError(
        .limitExceeded, "the plan has too many parts", expected: "at most \(Self.partLimit)",
        remedy: "reshape along axes that have common factors, or take longer runs of rows")
    }
    let (nodes, formula) = (draft.nodes, draft.formula)
    var part = Plan.Part(result: result, piece: draft.piece.inResultOrder(), operands: [])
    // Sources that are the same node at the same place are one operand, which comes where the first of them was.
    var positions: [Int] = []
    for (source, node) in nodes.enumerated() {
      let operand = try self.operand(node, leaf: results[result].path)
      let axes = part.piece.sources[source]
      if let position = part.operands.indices.first(where: {
        part.operands[$0] == operand && part.piece.sources[$0] == axes
      }) {
        positions.append(position)
      } else {
        if part.operands.count < source { part.piece.sources[part.operands.count] = axes }
        positions.append(part.operands.count)
        part.operands.append(operand)
      }
    }
    part.piece.sources.removeLast(nodes.count - part.operands.count)
    if case .apply(let operation, _, _) = formula {
      part.isSummed = operation == .products
      var program = TileProgram(inputs: part.operands.map { operands[$0].spec.dtype })
      try program.add(formula, positions, limit: Self.programStepLimit)
      part.program = programs.index(of: program)
    }
    if !part.isComputed {
      var lowering = Lowering(operand: operands[part.operands[0]], result: result, program: part.program)
      // It appends to the plan's own lists: lists of one move each would be made and thrown away for every part.
      swap(&lowering.moves, &moves)
      swap(&lowering.literals, &literals)
      defer {
        swap(&lowering.moves, &moves)
        swap(&lowering.literals, &literals)
      }
      try lowering.lower(part.piece)
    }
    parts.append(part)
  }

  private mutating func operand(_ node: Expression, leaf: TreePath) throws(GraftError) -> Int {
    if let index = operandIndices[ObjectIdentifier(node)] { return index }
    let source: Plan.Operand.Source
    switch node.operation {
    case .stored(let operand):
      let layout = layout(of: operand)
      var encoding: Int?
      if !layout.codecs.isEmpty {
        guard let byteCount = layout.decodedChunkByteCount else {
          throw GraftError(
            .corrupt, "the size of a chunk overflows", found: "chunks of shape \(layout.chunkShape)")
        }
        encoding = encodings.index(of: Plan.Encoding(codecs: layout.codecs, decodedByteCount: byteCount))
      }
      source = .stored(
        try StoredTensor(
          spec: node.spec, layout: layout, encoding: encoding, fileOffset: fileOffsets[operand.source]))
    case .host(let tensor): source = .host(HostOperand(tensor))
    case .generated(let generator): source = .generated(generator)
    case .product(let left, let right, let scale):
      source = .product(
        LowRankProduct(
          left: .figure(try figure(left, leaf: leaf)), right: .figure(try figure(right, leaf: leaf)),
          scale: scale))
    case .view, .concatenated, .reshaped, .elementwise:
      preconditionFailure("only sources are left when a draft is added")
    }
    operands.append(Plan.Operand(spec: node.spec, source: source))
    nodes.append(node)
    operandIndices[ObjectIdentifier(node)] = operands.count - 1
    return operands.count - 1
  }
}

// MARK: - Figures

extension Planner {
  /// How deep figures may be made of others: each level is a pass over files of its own.
  private static let passLimit = 8

  /// The index of the figure that is this tensor, kept whole.
  private mutating func figure(_ node: Expression, leaf: TreePath) throws(GraftError) -> Int {
    if let figure = figures[ObjectIdentifier(node)] { return figure }
    var pass = try takePass()
    let figure = try pass.add(leaf, LazyTensor(node))
    self.pass = [pass]
    figures[ObjectIdentifier(node)] = figure
    nodes.append(node)
    return figure
  }

  /// The operation with the figure that it needs.
  private mutating func resolvingFigures(
    of operation: Elementwise, _ node: Expression, _ operands: [Expression], leaf: TreePath
  ) throws(GraftError) -> Elementwise {
    guard case .slerp(var interpolation) = operation else { return operation }
    if let figure = figures[ObjectIdentifier(node)] {
      interpolation.figure = figure
    } else {
      var pass = try takePass()
      // The figure is of the whole operands, whatever part of the result is wanted.
      let products = Expression(operands[0].spec, .elementwise(.products, operands))
      interpolation.figure = try pass.add(leaf, LazyTensor(products))
      self.pass = [pass]
      figures[ObjectIdentifier(node)] = interpolation.figure
      nodes.append(node)
    }
    return .slerp(interpolation)
  }

  /// The planner of the figures, moved out so that it has one owner while it changes.
  private mutating func takePass() throws(GraftError) -> Planner {
    if let pass = pass.popLast() { return pass }
    guard passNumber < Self.passLimit else {
      throw GraftError(
        .limitExceeded, "figures are made of figures too many times", expected: "at most \(Self.passLimit)")
    }
    var pass = Planner()
    pass.files = files
    pass.fileOffsets = fileOffsets
    pass.resolvedTrees = resolvedTrees
    pass.passNumber = passNumber + 1
    return pass
  }
}

extension TileProgram {
  /// Adds the steps of a formula, whose nodes are the inputs at these positions; where its value is then.
  @discardableResult
  fileprivate mutating func add(
    _ formula: Draft.Formula, _ positions: [Int], limit: Int
  ) throws(GraftError) -> Value {
    switch formula {
    case .node(let index): return .input(positions[index])
    case .apply(let operation, let operands, let dtype):
      var values: [Value] = []
      for operand in operands { values.append(try add(operand, positions, limit: limit)) }
      let step = Step(operation: operation, operands: values, dtype: dtype)
      // A subexpression that comes twice is computed once.
      if let index = steps.firstIndex(of: step) { return .step(index) }
      guard steps.count < limit else {
        throw GraftError(
          .limitExceeded, "too much is computed for one leaf", expected: "at most \(limit) operations")
      }
      steps.append(step)
      return .step(steps.count - 1)
    }
  }
}

extension Layout {
  /// The one chunk of a tensor that lies in a file exactly as it lies in memory; nil for others, and for broken layouts.
  ///
  /// It needs none of the arrays that pieces are lowered with.
  fileprivate func wholeRun(of spec: TensorSpec) -> StoredChunk? {
    guard chunks.count == 1, case .file(let chunk) = chunks[0], codecs.isEmpty, fillValue == nil,
      storedBitWidth == spec.dtype.bitWidth, storedBitWidth % 8 == 0, chunkShape == spec.shape,
      spec.byteCount > 0, chunk.range.count == spec.byteCount
    else { return nil }
    return chunk
  }
}
