/// What a load is asked for at one leaf: as stored, a part of it, nothing, or something particular.
///
/// Targets stand in a `Tree<Target>`, which literals make:
/// ```swift
/// ["params": ["kernel": .stored, "embedding": .slice(0..<100)], "opt_state": .placeholder]
/// ```
public struct Target: Sendable {
  enum Wanted: Sendable {
    case stored
    case placeholder
  }

  var wanted: Wanted
  /// The part that is wanted; nil for all of it.
  package internal(set) var slice: TensorSlice?
  /// What the leaf must be, after slicing; nil to take what comes.
  var expected: LeafSpec?
  /// What to return where the checkpoint has no such leaf; nil when that is an error.
  var fallback: Fallback?

  enum Fallback: Sendable {
    case tensor(Tensor)
    case initializer(TensorSpec, Initializer)
  }

  /// The leaf as it is stored.
  public static let stored = Target(wanted: .stored)

  /// Nothing: the leaf's place is kept and its bytes are not read.
  public static let placeholder = Target(wanted: .placeholder)

  /// The leaf, which must have this dtype and shape.
  public static func spec(_ dtype: DType, _ shape: Shape) -> Target {
    Target(wanted: .stored, expected: .tensor(TensorSpec(dtype, shape)))
  }

  /// The leaf, which must be what `spec` says.
  public static func spec(_ spec: LeafSpec) -> Target { Target(wanted: .stored, expected: spec) }

  /// A part of the leaf; only the bytes that the part needs are read.
  public static func slice(_ slice: TensorSlice) -> Target { Target(wanted: .stored, slice: slice) }

  /// The stored leaf, or this tensor where the checkpoint has none; a stored leaf must have the tensor's dtype and shape.
  public static func keep(_ tensor: Tensor) -> Target {
    Target(wanted: .stored, expected: .tensor(tensor.spec), fallback: .tensor(tensor))
  }

  /// The stored leaf, or new values where the checkpoint has none; a stored leaf must have this dtype and shape.
  public static func initialized(_ shape: Shape, _ dtype: DType, _ initializer: Initializer) -> Target {
    let spec = TensorSpec(dtype, shape)
    return Target(
      wanted: .stored, expected: .tensor(spec), fallback: .initializer(spec, initializer))
  }

  /// Whether this asks for nothing.
  public var isPlaceholder: Bool { wanted == .placeholder }
}

extension Tree where Leaf == Target {
  /// The leaf as it is stored.
  ///
  /// Over a whole subtree it needs `partial: true`.
  public static var stored: Tree { .leaf(.stored) }

  /// Nothing: the leaf's place is kept and its bytes are not read.
  ///
  /// Over a whole subtree it needs `partial: true`.
  public static var placeholder: Tree { .leaf(.placeholder) }

  /// The leaf, which must have this dtype and shape.
  public static func spec(_ dtype: DType, _ shape: Shape) -> Tree { .leaf(.spec(dtype, shape)) }

  /// The leaf, which must be what `spec` says.
  public static func spec(_ spec: LeafSpec) -> Tree { .leaf(.spec(spec)) }

  /// A part of the leaf, axis by axis, with NumPy's meaning: `.slice(0..<4, .all, 7)`.
  public static func slice(_ axes: any AxisSliceConvertible...) -> Tree {
    .leaf(.slice(TensorSlice(axes.map(\.axisSlice))))
  }

  /// A part of the leaf; only the bytes that the part needs are read.
  public static func slice(_ slice: TensorSlice) -> Tree { .leaf(.slice(slice)) }

  /// The stored leaf, or this tensor where the checkpoint has none; a stored leaf must have the tensor's dtype and shape.
  public static func keep(_ tensor: Tensor) -> Tree { .leaf(.keep(tensor)) }

  /// The stored leaf, or new values where the checkpoint has none; a stored leaf must have this dtype and shape.
  public static func initialized(_ shape: Shape, _ dtype: DType, _ initializer: Initializer) -> Tree {
    .leaf(.initialized(shape, dtype, initializer))
  }
}
