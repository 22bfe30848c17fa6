/// What a load does, as a value: which bytes of which files go where in which result.
///
/// It can be printed, compared and costed without any I/O.
public struct Plan: Hashable, Sendable {
  /// The files that the moves read.
  public var files: [StoredFile]
  /// The leaves that come out, in the order of the moves' indices.
  public var results: [Result]
  /// What is copied out of files, ordered by file and offset, so that the moves of one chunk stand together.
  public var moves: [Move]
  /// What is copied out of bytes that the metadata holds.
  public var literals: [Literal]
  /// The codec chains that moves and literals refer to by index.
  public var encodings: [Encoding]
  /// The programs that moves, literals and parts refer to by index.
  public var programs: [TileProgram]
  /// What parts are made of.
  package var operands: [Operand]
  /// How results come to be that are not a leaf as it is stored; a part of one operand is done by moves or literals too.
  package var parts: [Part]
  /// What has to be done before, none or one: its results are the figures that operands and programs refer to by index.
  package var pass: [Plan] = []

  /// A leaf that comes out.
  public struct Result: Hashable, Sendable {
    /// Where it stands in the result's tree.
    public var path: TreePath
    /// What it is.
    public var spec: TensorSpec

    package init(path: TreePath, spec: TensorSpec) {
      self.path = path
      self.spec = spec
    }
  }

  /// What has to be undone before the bytes of a chunk can be copied.
  public struct Encoding: Hashable, Sendable {
    /// The codecs, the first to undo first.
    public var codecs: [Codec]
    /// The bytes of the chunk afterwards.
    public var decodedByteCount: Int
  }

  /// A copy from one chunk into one result.
  public struct Move: Hashable, Sendable {
    /// Where the chunk is.
    public var chunk: StoredChunk
    /// The index of the chunk's codecs in ``Plan/encodings``; nil for plain bytes.
    public var encoding: Int?
    /// The index of the result in ``Plan/results``.
    public var result: Int
    /// Which of the chunk's bytes, decoded if it has codecs, go where in the result.
    ///
    /// With a program, positions in the result are those that it would have in the program's input dtype.
    public var copy: StridedCopy
    /// The index in ``Plan/programs`` of what is computed of each element on the way; nil for nothing.
    public var program: Int?

    /// Whether the bytes can be read straight into their place.
    public var isReadIntoPlace: Bool { encoding == nil && copy.isContiguous && program == nil }
  }

  /// A copy of what is not in a file into one result.
  public struct Literal: Hashable, Sendable {
    /// Where elements come from that are not in a file.
    public enum Source: Hashable, Sendable {
      /// Bytes that the metadata holds: a small chunk, or one element that fills an absent one.
      case bytes([UInt8])
      /// A tensor in memory.
      case tensor(HostOperand)
      /// One element that is this number in this dtype.
      case constant(Double, DType)
      /// The elements of a tensor in row-major order, made as they are needed.
      case generated(Generator, TensorSpec)
      /// The elements of a matrix in row-major order, computed from its factors as they are needed.
      case product(LowRankProduct, TensorSpec)
    }

    /// Where the elements come from.
    public var source: Source
    /// The index of their codecs in ``Plan/encodings``; nil for plain bytes.
    public var encoding: Int?
    /// The index of the result in ``Plan/results``.
    public var result: Int
    /// Which of the bytes, decoded if they have codecs, go where in the result; with a program, as in ``Move/copy``.
    public var copy: StridedCopy
    /// The index in ``Plan/programs`` of what is computed of each element on the way; nil for nothing.
    public var program: Int?
  }

  /// Something that results are made of.
  package struct Operand: Hashable, Sendable {
    /// Where its elements are.
    package enum Source: Hashable, Sendable {
      // In a box, for operands are looked at once for each part that they are in.
      indirect case stored(StoredTensor)
      case host(HostOperand)
      case product(LowRankProduct)
      case generated(Generator)
    }

    package var spec: TensorSpec
    package var source: Source

    /// Whether its elements are in a file.
    package var isStored: Bool {
      if case .stored = source { true } else { false }
    }

    /// Whether its elements are as they are in a file or in memory, in no code.
    package var isPlain: Bool {
      switch source {
      case .stored(let tensor): tensor.encoding == nil
      case .host: true
      case .product, .generated: false
      }
    }
  }

  /// A part of a result and what it is made of: its piece has a source for each operand.
  package struct Part: Hashable, Sendable {
    /// The index of the result in ``Plan/results``.
    package var result: Int
    /// Which elements of the result, and where they are in the operands.
    package var piece: Piece
    /// Indices in ``Plan/operands``.
    package var operands: [Int]
    /// The index in ``Plan/programs`` of what is computed of the operands; nil where the one operand's elements are the result's.
    package var program: Int?

    /// Whether nothing is kept of the elements but the sums of their products.
    package var isSummed = false

    /// Whether moves and literals do not do it, because it takes several operands or gives no elements.
    package var isComputed: Bool { operands.count > 1 || isSummed }
  }

  /// A plan; moves are brought into the order of files and offsets.
  public init(
    files: [StoredFile], results: [Result], moves: [Move], literals: [Literal] = [],
    encodings: [Encoding] = []
  ) {
    self.init(
      files: files, results: results, moves: moves, literals: literals, encodings: encodings, programs: [],
      operands: [], parts: [])
  }

  package init(
    files: [StoredFile], results: [Result], moves: [Move], literals: [Literal], encodings: [Encoding],
    programs: [TileProgram], operands: [Operand], parts: [Part]
  ) {
    self.files = files
    self.results = results
    self.moves = moves
    self.literals = literals
    self.encodings = encodings
    self.programs = programs
    self.operands = operands
    self.parts = parts
    // Places are sorted rather than moves, which are several times as large and own memory.
    var places = moves.indices.map { MovePlace(moves[$0], index: $0) }
    if zip(places, places.dropFirst()).allSatisfy({ !($1 < $0) }) { return }
    places.sort()
    self.moves = places.map { moves[$0.index] }
  }

  /// Where a move comes in the order of a plan's moves.
  private struct MovePlace: Comparable {
    let file: Int
    let offset: Int
    let result: Int
    let sourceOffset: Int
    /// Where it was before.
    let index: Int

    init(_ move: Move, index: Int) {
      file = move.chunk.file
      offset = move.firstOffset
      result = move.result
      sourceOffset = move.copy.sourceOffset
      self.index = index
    }

    static func < (a: MovePlace, b: MovePlace) -> Bool {
      (a.file, a.offset, a.result, a.sourceOffset, a.index)
        < (b.file, b.offset, b.result, b.sourceOffset, b.index)
    }
  }
}

extension Plan.Move {
  /// Where in the file the move begins to read; an encoded chunk is read from its start.
  fileprivate var firstOffset: Int {
    encoding == nil && copy.unit == .byte ? chunk.range.offset + copy.sourceOffset : chunk.range.offset
  }
}

extension Plan {
  /// The bytes of all results; the largest number there is where a checkpoint claims more than that.
  public var resultByteCount: Int {
    results.reduce(0) { sum, result in
      let (next, overflow) = sum.addingReportingOverflow(result.spec.byteCount)
      return overflow ? .max : next
    }
  }

  /// The bytes that go straight from a file into their place.
  public var bytesReadIntoPlace: Int {
    moves.reduce(0) { $0 + ($1.isReadIntoPlace ? $1.copy.copiedByteCount : 0) }
  }

  /// The bytes that are copied or decoded by the processor after they were read.
  public var bytesCopied: Int {
    moves.reduce(0) { $0 + ($1.isReadIntoPlace ? 0 : $1.copy.copiedByteCount) }
      + literals.reduce(0) { $0 + $1.copy.copiedByteCount }
  }

  /// The indices of the results in the order in which their first bytes lie in the files; those without bytes there come last.
  package var resultsInFileOrder: [Int] {
    var order: [Int] = []
    order.reserveCapacity(results.count)
    var seen = [Bool](repeating: false, count: results.count)
    for move in moves where !seen[move.result] {
      seen[move.result] = true
      order.append(move.result)
    }
    return order + results.indices.filter { !seen[$0] }
  }

  /// The plan of some of the results alone, and their indices in this one.
  package func restricted(to isIncluded: (Int) -> Bool) -> (plan: Plan, indices: [Int]) {
    let indices = results.indices.filter(isIncluded)
    var position = [Int](repeating: -1, count: results.count)
    for (new, old) in indices.enumerated() { position[old] = new }
    let moves = moves.compactMap { move -> Move? in
      guard position[move.result] >= 0 else { return nil }
      var move = move
      move.result = position[move.result]
      return move
    }
    let literals = literals.compactMap { literal -> Literal? in
      guard position[literal.result] >= 0 else { return nil }
      var literal = literal
      literal.result = position[literal.result]
      return literal
    }
    let parts = parts.compactMap { part -> Part? in
      guard position[part.result] >= 0 else { return nil }
      var part = part
      part.result = position[part.result]
      return part
    }
    var plan = Plan(
      files: files, results: indices.map { results[$0] }, moves: moves, literals: literals,
      encodings: encodings, programs: programs, operands: operands, parts: parts)
    plan.pass = pass
    return (plan, indices)
  }
}

extension Plan: CustomStringConvertible {
  /// A line for each move, at most 1,000 of them.
  public var description: String {
    let limit = 1_000
    var lines = [
      "\(results.count) leaves, \(resultByteCount) bytes, \(moves.count) moves from \(files.count) files"
    ]
    for move in moves.prefix(limit) {
      let codecs =
        move.encoding.map { " through " + encodings[$0].codecs.map(\.name).joined(separator: ", ") } ?? ""
      lines.append(
        "\(results[move.result].path) ← \(files[move.chunk.file].path), \(move.chunk.range)\(codecs): \(move.copy)"
          + program(move.program))
    }
    for literal in literals.prefix(limit - Swift.min(limit, moves.count)) {
      lines.append(
        "\(results[literal.result].path) ← \(literal.source): \(literal.copy)\(program(literal.program))")
    }
    let computed = parts.filter(\.isComputed)
    for part in computed.prefix(limit - Swift.min(limit, moves.count + literals.count)) {
      let count = part.piece.elementCount
      lines.append(
        "\(results[part.result].path) ← \(count) elements of \(part.operands.count) operands\(program(part.program))"
      )
    }
    for pass in pass {
      lines.append("before that:")
      lines += pass.description.split(separator: "\n").map { "  \($0)" }
    }
    let hidden = moves.count + literals.count + computed.count - limit
    if hidden > 0 { lines.append("… and \(hidden) more") }
    return lines.joined(separator: "\n")
  }

  private func program(_ index: Int?) -> String { index.map { ", then \(programs[$0])" } ?? "" }
}

extension Plan.Literal.Source: CustomStringConvertible {
  /// For example `metadata`, or `0.0`.
  public var description: String {
    switch self {
    case .bytes: "metadata"
    case .tensor(let host): "memory, \(host.tensor.spec)"
    case .constant(let value, _): "\(value)"
    case .generated(let generator, _): "\(generator)"
    case .product(let product, _): "\(product)"
    }
  }
}
