/// What is computed for each element of a tile: a short list of operations, each over whole tiles.
///
/// The last step's value is the result. A step sees inputs, and steps before it.
public struct TileProgram: Hashable, Sendable {
  /// Where a step finds an operand.
  public enum Value: Hashable, Sendable {
    /// The program's input of this index.
    case input(Int)
    /// What the step of this index gave.
    case step(Int)
  }

  /// One operation.
  public struct Step: Hashable, Sendable {
    /// What is computed.
    public var operation: Elementwise
    /// Of what.
    public var operands: [Value]
    /// The dtype of what comes out.
    public var dtype: DType
  }

  /// The dtypes of the inputs.
  public var inputs: [DType]
  /// The operations, in order; at least one.
  public var steps: [Step]

  /// A program without steps yet.
  init(inputs: [DType]) {
    self.inputs = inputs
    steps = []
  }

  /// The dtype of the result.
  public var dtype: DType { steps.last?.dtype ?? inputs[0] }
}

extension TileProgram: CustomStringConvertible {
  /// The operations in order, for example `cast to float32, scale by 0.5`.
  public var description: String { steps.map { "\($0.operation)" }.joined(separator: ", ") }
}
