/// A node of the graph that says how a tensor comes to be: what it is, and from which others it is made in which way.
///
/// Nodes are immutable and shared; the same node used twice is the same tensor. Whoever makes one has checked that its
/// operands fit: see ``LazyTensor``, whose methods are the only makers.
package final class Expression: Sendable {
  /// The dtype and shape.
  package let spec: TensorSpec
  /// How the tensor comes to be.
  package let operation: Operation
  /// How many nodes the longest path to a source has; bounded, because the planner recurses as deep.
  package let depth: Int

  /// How a tensor comes to be.
  package enum Operation: Sendable {
    /// A leaf of a checkpoint.
    case stored(StoredOperand)
    /// A tensor that is in memory.
    case host(Tensor)
    /// Values that follow from their position.
    case generated(Generator)
    /// An operand's elements, each at the index that the map says: one entry for each axis of the operand.
    case view(Expression, IndexMap)
    /// Operands one after the other along an axis.
    case concatenated([Expression], axis: Int)
    /// An operand's elements in row-major order.
    case reshaped(Expression)
    /// Two matrices of float32 multiplied, and then scaled.
    case product(Expression, Expression, scale: Double)
    /// A value for each element, from the elements of the operands at the same index.
    case elementwise(Elementwise, [Expression])
  }

  package init(_ spec: TensorSpec, _ operation: Operation) {
    self.spec = spec
    self.operation = operation
    depth =
      switch operation {
      case .stored, .host, .generated: 1
      case .product(let left, let right, _): Swift.max(left.depth, right.depth) + 1
      case .view(let operand, _), .reshaped(let operand): operand.depth + 1
      case .concatenated(let operands, _), .elementwise(_, let operands):
        (operands.lazy.map(\.depth).max() ?? 0) + 1
      }
  }

  /// How deep expressions may be.
  package static let depthLimit = 256
}

/// A tensor of an opened checkpoint, as an operand of a transform.
///
/// An object, for trees of very many of them are copied node by node.
package final class StoredOperand: Sendable {
  /// The index of the checkpoint among those of the transform.
  package let source: Int
  /// The leaf's path there.
  package let path: TreePath
  /// Where its bytes are.
  package let layout: Layout

  package init(source: Int, path: TreePath, layout: Layout) {
    self.source = source
    self.path = path
    self.layout = layout
  }
}

/// What is computed element by element.
///
/// Each operation rounds its result to the result's dtype. Within an operation floats of up to 32 bits are computed in float32,
/// each multiplication and addition rounded to that; float64 and complex numbers are computed in themselves; integers
/// wrap around, as NumPy's do.
public enum Elementwise: Hashable, Sendable {
  /// The value in another dtype.
  case cast(to: DType)
  /// The sum of two operands.
  case add
  /// The first operand less the second.
  case subtract
  /// The product of two operands.
  case multiply
  /// The first operand divided by the second; floats and complex numbers alone.
  case divide
  /// The operand times a number.
  case scale(Double)
  /// The sum of the operands, each times its weight.
  case weightedSum([Double])
  /// The sum of the operands, each times its weight, divided by the divisor before it is rounded to the result's dtype.
  case weightedMean([Double], divisor: Double)
  /// `a * (1 - t) + b * t` of two operands.
  case interpolate(Double)
  /// The operands, each times a weight that follows from their norms and their angle.
  case slerp(SphericalInterpolation)
  /// No value, but the sums of the products of all pairs of operands, for a figure.
  case products
  /// A function of the user's.
  case custom(ElementFunction)
}

/// A function of the user's from the elements of one or two tensors to one element, given over tiles of them.
///
/// It is the same as another one when it is the same object.
public final class ElementFunction: Sendable {
  /// Computes as many elements of `output` as `input` has.
  public typealias Unary = @Sendable (_ input: Span<Float>, _ output: inout MutableSpan<Float>) throws -> Void
  /// Computes as many elements of `output` as each input has.
  public typealias Binary =
    @Sendable (
      _ first: Span<Float>, _ second: Span<Float>, _ output: inout MutableSpan<Float>
    ) throws -> Void

  package enum Body: Sendable {
    case unary(Unary)
    case binary(Binary)
  }

  /// What plans and errors call the function.
  public let name: String
  package let body: Body

  init(name: String, body: Body) {
    self.name = name
    self.body = body
  }
}

extension ElementFunction: Hashable {
  /// Whether both are the same object.
  public static func == (a: ElementFunction, b: ElementFunction) -> Bool { a === b }
  /// Hashes the object's identity.
  public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

extension Elementwise: CustomStringConvertible {
  /// For example `cast to float32`.
  public var description: String {
    switch self {
    case .cast(let dtype): "cast to \(dtype)"
    case .add: "add"
    case .subtract: "subtract"
    case .multiply: "multiply"
    case .divide: "divide"
    case .scale(let factor): "scale by \(factor)"
    case .weightedSum(let weights): "sum weighted by \(weights.map { "\($0)" }.joined(separator: ", "))"
    case .weightedMean(let weights, _): "mean weighted by \(weights.map { "\($0)" }.joined(separator: ", "))"
    case .interpolate(let position): "interpolate at \(position)"
    case .slerp(let interpolation): "slerp at \(interpolation.position)"
    case .products: "sums of products"
    case .custom(let function): function.name
    }
  }
}
