/// What is done to a single tensor, as a value; every tensor that a step concerns is treated alike.
public enum LeafTransform: Hashable, Sendable {
  /// See ``LazyTensor/transposed(_:)``.
  case transpose([Int]? = nil)
  /// See ``LazyTensor/cast(to:lossy:)``.
  case cast(DType, lossy: Bool = false)
  /// See ``LazyTensor/sliced(_:)-(TensorSlice)``.
  case slice(TensorSlice)
  /// The elements at these indices along an axis; see ``LazyTensor/taking(_:axis:)``.
  case take([Int], axis: Int)
  /// Reversed along an axis; see ``LazyTensor/flipped(axis:)``.
  case flip(axis: Int)
  /// A margin of one value: how many elements come before and after along each axis; see ``LazyTensor/padded(_:with:)``.
  case pad([Margin], value: Double = 0)
  /// Cut or padded at the end of an axis, as a vocabulary is; see ``LazyTensor/resized(_:axis:padding:)``.
  case resize(Int, axis: Int, value: Double = 0)
  /// In another shape, of which one extent may be -1; see ``LazyTensor/reshaped(_:)``.
  case reshape([Int])
  /// Without an axis of extent 1, or without all of them; see ``LazyTensor/squeezed(axis:)``.
  case squeeze(axis: Int? = nil)
  /// With a new axis of extent 1; see ``LazyTensor/expanded(axis:)``.
  case expand(axis: Int)
  /// Broadcast to a shape; see ``LazyTensor/broadcast(to:)``.
  case broadcast(Shape)
  /// Each index along an axis so many times in a row; see ``LazyTensor/repeated(_:axis:)``.
  case `repeat`(Int, axis: Int)
  /// The whole tensor so many times along each axis; see ``LazyTensor/tiled(_:)``.
  case tile([Int])
  /// Each element times a number; see ``LazyTensor/scaled(by:)``.
  case scale(Double)
  /// Blocks of parts that follow each other brought together group by group; see ``LazyTensor/interleaved(sizes:groups:axis:)``.
  case interleave(sizes: [Int], groups: Int, axis: Int)
  /// What `interleave` does, undone; see ``LazyTensor/deinterleaved(sizes:groups:axis:)``.
  case deinterleave(sizes: [Int], groups: Int, axis: Int)
  /// The dimensions of a rotary embedding in another order; see ``LazyTensor/permutingRotary(to:heads:dimensions:axis:)``.
  case rotary(to: RotaryOrder, heads: Int, dimensions: Int? = nil, axis: Int = 0)

  /// How many elements are added before and after along an axis.
  public struct Margin: Hashable, Sendable {
    /// How many come before.
    public var before: Int
    /// How many come after.
    public var after: Int

    /// A margin along one axis.
    public init(before: Int = 0, after: Int = 0) {
      self.before = before
      self.after = after
    }
  }
}

/// How the pairs of dimensions that a rotary embedding turns together lie in a head.
public enum RotaryOrder: String, Hashable, Sendable {
  /// All first ones, then all second ones: `x0 x1 … y0 y1 …`, as Hugging Face's transformers have them.
  case halfSplit
  /// Pair by pair: `x0 y0 x1 y1 …`, as Meta's and GPT-J's code has them.
  case interleaved
}
