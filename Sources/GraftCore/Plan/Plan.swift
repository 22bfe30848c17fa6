/// What a load does, as a value: which bytes of which files go where in which result.
///
/// It can be printed, compared and costed without any I/O.
public struct Plan: Hashable, Sendable {
  /// The files that the moves read.
  public var files: [StoredFile]
  /// The leaves that come out, in the order of the moves' indices.
  public var results: [Result]
  /// What is copied, ordered by file and offset.
  public var moves: [Move]

  /// A leaf that comes out.
  public struct Result: Hashable, Sendable {
    /// Where it stands in the result's tree.
    public var path: TreePath
    /// What it is.
    public var spec: TensorSpec
  }

  /// A copy from one chunk into one result.
  public struct Move: Hashable, Sendable {
    /// Where the chunk is.
    public var chunk: StoredChunk
    /// The index of the result in ``Plan/results``.
    public var result: Int
    /// Which of the chunk's bytes (decoded, if it has codecs) go where in the result.
    public var copy: StridedCopy
  }

  /// A plan; moves are brought into the order of files and offsets.
  public init(files: [StoredFile], results: [Result], moves: [Move]) {
    self.files = files
    self.results = results
    self.moves = moves
    let ordered = zip(moves, moves.dropFirst()).allSatisfy { !Self.precedes($1, $0) }
    if !ordered { self.moves.sort(by: Self.precedes) }
  }

  private static func precedes(_ a: Move, _ b: Move) -> Bool {
    (a.chunk.file, a.chunk.range.offset + a.copy.sourceOffset, a.result)
      < (b.chunk.file, b.chunk.range.offset + b.copy.sourceOffset, b.result)
  }
}

extension Plan {
  /// The bytes of all results.
  public var resultByteCount: Int { results.reduce(0) { $0 + $1.spec.byteCount } }

  /// The bytes that go straight from a file into their place.
  public var bytesReadIntoPlace: Int {
    moves.reduce(0) { $0 + ($1.copy.isContiguous ? $1.copy.copiedByteCount : 0) }
  }

  /// The bytes that are copied by the processor after they were read.
  public var bytesCopied: Int {
    moves.reduce(0) { $0 + ($1.copy.isContiguous ? 0 : $1.copy.copiedByteCount) }
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
      lines.append(
        "\(results[move.result].path) ← \(files[move.chunk.file].path), \(move.chunk.range): \(move.copy)")
    }
    if moves.count > limit { lines.append("… and \(moves.count - limit) more") }
    return lines.joined(separator: "\n")
  }
}

extension Plan {
  /// The indices of the results in the order in which their first bytes lie in the files; those without bytes come last.
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
}
