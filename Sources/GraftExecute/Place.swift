internal import GraftCore
package import GraftFormats

/// Where the bytes of one result go.
@safe package enum Place: @unchecked Sendable {
  // Sendable, because moves of different threads never write the same byte (packed bits are serialised by `Placing`).

  /// Memory of the result's size. Whoever starts the execution keeps it alive until that ends.
  case memory(UnsafeMutableRawBufferPointer)
  /// A leaf of a checkpoint that is being written.
  case writer(any CheckpointWriter, leaf: Int)
  /// Memory of the result's size, to which elements come through a program of one input.
  case computed(ElementProgram, UnsafeMutableRawBufferPointer)
  /// Sums of products, which are all that is kept of the elements.
  case sums(SumPlace)
  /// How two tensors' elements differ, which is all that is kept of them.
  case comparison(ElementComparison)
}

/// The places of a plan's results, as its moves and literals see them.
struct Places: Sendable {
  let results: [Place]
  private let programs: [ElementProgram]

  init(_ results: [Place], of plan: Plan) {
    self.results = results
    programs = plan.programs.map { ElementProgram($0) }
  }

  /// Where a move or literal of a result goes.
  ///
  /// Whatever computes something on the way goes to memory: see ``TileRun``, which gives it some.
  func place(of result: Int, program: Int?) -> Place {
    guard let program else { return results[result] }
    guard case .memory(let memory) = results[result] else {
      preconditionFailure("what is computed goes to memory first")
    }
    return unsafe .computed(programs[program], memory)
  }

  subscript(move: Plan.Move) -> Place { place(of: move.result, program: move.program) }
  subscript(literal: Plan.Literal) -> Place { place(of: literal.result, program: literal.program) }
}
