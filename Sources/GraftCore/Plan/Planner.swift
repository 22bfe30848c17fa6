/// Turns wanted leaves into a plan: gathers the files, gives each result its index, and lowers pieces to moves.
package struct Planner {
  private var files: [StoredFile] = []
  private var results: [Plan.Result] = []
  private var moves: [Plan.Move] = []

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
  /// - Throws: ``GraftError`` when the slice does not fit the tensor.
  package mutating func add(
    _ path: TreePath, _ source: TensorSpec, _ layout: Layout, slice: TensorSlice? = nil, fileOffset: Int = 0
  ) throws(GraftError) -> Int {
    let index = results.count
    var shape = source.shape
    var map = IndexMap.identity(rank: source.rank)
    if let slice {
      do throws(GraftError) {
        (shape, map) = try slice.resolved(for: source.shape)
      } catch {
        var error = error
        error.leaf = path
        throw error
      }
    }
    results.append(Plan.Result(path: path, spec: TensorSpec(source.dtype, shape)))
    Piece(box: Box(whole: shape), map: map).appendMoves(
      to: &moves, source: source, layout: layout, result: index, resultShape: shape, fileOffset: fileOffset)
    return index
  }

  /// The plan of everything that was added.
  package consuming func plan() -> Plan {
    Plan(files: files, results: results, moves: moves)
  }
}
