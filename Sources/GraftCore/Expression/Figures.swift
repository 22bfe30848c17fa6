import Glibc

// Some operations need to know something about whole tensors before the first element of their result can be computed: the norms
// of what is interpolated on a sphere, the factors of a product. These are *figures*. The planner plans what they need as a pass
// of its own (``Plan/pass``), whose results they are; the executor runs that pass first, puts its figures into the plan, and then has
// an ordinary one. A figure is either a tensor that is kept whole, or exact sums of products, which are the same in whatever order
// the tiles come.

/// A product of two matrices, whose factors are figures.
public struct LowRankProduct: Hashable, Sendable {
  /// A factor, which is float32 and has two axes.
  public enum Factor: Hashable, Sendable {
    /// The figure of this index in the pass.
    case figure(Int)
    /// The factor in memory.
    case loaded(HostOperand)
  }

  /// The left factor: rows × depth.
  public var left: Factor
  /// The right factor: depth × columns.
  public var right: Factor
  /// What the product is multiplied with.
  public var scale: Double
}

extension LowRankProduct: CustomStringConvertible {
  /// For example `2.0 times the product of figures 0 and 1`.
  public var description: String {
    func text(_ factor: Factor) -> String {
      switch factor {
      case .figure(let index): "figure \(index)"
      case .loaded(let host): "\(host.tensor.spec)"
      }
    }
    return "\(scale) times the product of \(text(left)) and \(text(right))"
  }
}

/// An interpolation between two tensors along the great circle through their directions.
public struct SphericalInterpolation: Hashable, Sendable {
  /// How far to go: 0 is the first tensor, 1 the second.
  public var position: Double
  /// Tensors whose directions have a cosine of a magnitude above this are interpolated linearly, as the sphere gives no way
  /// between them.
  public var parallelCosine: Double
  /// A tensor whose norm is not above this counts as if its norm were 1.
  public var smallestNorm: Double
  /// The index of the tensors' sums of products in the pass; nil as long as that is not planned.
  package var figure: Int?

  /// An interpolation as mergekit's `slerp` defines it.
  ///
  /// - Parameters:
  ///   - position: how far to go.
  ///   - parallelCosine: from when on to interpolate linearly.
  ///   - smallestNorm: which norms count as none.
  public init(at position: Double, parallelCosine: Double = 0.9995, smallestNorm: Double = 1e-8) {
    self.position = position
    self.parallelCosine = parallelCosine
    self.smallestNorm = smallestNorm
  }

  /// What each tensor is multiplied with, given the sums of the products of their elements.
  package func weights(_ first: Double, _ product: Double, _ second: Double) -> (Double, Double) {
    func norm(_ squares: Double) -> Double {
      let norm = squares.squareRoot()
      return norm > smallestNorm ? norm : 1
    }
    let cosine = product / norm(first) / norm(second)
    if cosine.magnitude > parallelCosine { return (1 - position, position) }
    let angle = acos(cosine)
    let part = angle * position
    return (sin(angle - part) / sin(angle), sin(part) / sin(angle))
  }
}

// MARK: - As operations

extension LazyTensor {
  /// The tensor between this one and another along the great circle through their directions, mergekit's `slerp`; floats alone.
  ///
  /// Norms and cosine are those of the whole tensors, summed exactly in a pass of its own, which reads both: the result costs two
  /// readings of each. Tensors of nearly one direction, or of opposite ones, are interpolated linearly. The sum is rounded once.
  ///
  /// - Throws: ``GraftError`` when dtypes or shapes differ.
  public func slerped(
    to other: LazyTensor, _ interpolation: SphericalInterpolation
  ) throws(GraftError) -> LazyTensor {
    guard shape == other.shape else {
      throw GraftError(
        .shapeMismatch, "tensors of different shapes have no angle", expected: "\(spec)",
        found: "\(other.spec)")
    }
    guard dtype.isRealFloat else {
      throw GraftError(
        .invalidArgument, "the operation slerp is not defined for \(dtype)", found: "\(spec)",
        remedy: "cast to a float first")
    }
    guard dtype == other.dtype else {
      throw GraftError(
        .dtypeMismatch, "the tensors have different dtypes", expected: "\(spec)", found: "\(other.spec)",
        remedy: "cast one of them with cast(to:)")
    }
    return try .make(spec, .elementwise(.slerp(interpolation), [expression, other.expression]))
  }

  /// `self + scale * (up @ down)`, as a low-rank adapter is folded into its weight.
  ///
  /// For floats of up to 32 bits. The product's sums are kept in float32 in the order of the rank, then scaled, then added to the
  /// weight, each rounded to float32; the result is rounded once more to the weight's dtype. The factors are read first and held
  /// in memory while the weight is computed.
  ///
  /// - Parameters:
  ///   - down: rank × columns, `lora_A`.
  ///   - up: rows × rank, `lora_B`.
  ///   - scale: what the product is multiplied with.
  /// - Throws: ``GraftError`` of code `shapeMismatch` when the factors do not make up the weight's shape, `limitExceeded` for a
  ///   rank above ``productRankLimit``.
  public func folding(down: LazyTensor, up: LazyTensor, scale: Double) throws(GraftError) -> LazyTensor {
    guard dtype.isRealFloat, dtype != .float64 else {
      throw GraftError(
        .invalidArgument, "an adapter can be folded into floats of up to 32 bits", found: "\(spec)",
        remedy: "cast the weight to float32 first")
    }
    for factor in [down, up] where !(factor.dtype.isRealFloat && factor.dtype.convertsExactly(to: .float32)) {
      throw GraftError(
        .invalidArgument, "the factors of an adapter are floats of up to 32 bits", found: "\(factor.spec)",
        remedy: "cast the factor to float32 first")
    }
    guard rank == 2, down.rank == 2, up.rank == 2, up.shape[0] == shape[0], down.shape[1] == shape[1],
      up.shape[1] == down.shape[0]
    else {
      throw GraftError(
        .shapeMismatch, "the factors do not make up the weight",
        expected: "rows × rank and rank × columns for a weight of shape \(shape)",
        found: "\(up.shape) and \(down.shape)")
    }
    guard down.shape[0] <= Self.productRankLimit else {
      throw GraftError(
        .limitExceeded, "the rank of the factors is too large", expected: "at most \(Self.productRankLimit)",
        found: "\(down.shape[0])")
    }
    guard Float(scale).isFinite else {
      throw GraftError(
        .invalidArgument, "the scale of an adapter must be a finite float32", found: "\(scale)")
    }
    let delta = try Self.make(
      Self.spec(.float32, shape),
      .product(up.cast(to: .float32).expression, down.cast(to: .float32).expression, scale: scale))
    return try cast(to: .float32).adding(delta).cast(to: dtype, lossy: true)
  }

  /// The largest rank of a product: factors of a higher one are no small ones.
  public static let productRankLimit = 8192
}

extension Tree where Leaf == LazyLeaf {
  /// Each tensor interpolated on the sphere with the other tree's; see ``LazyTensor/slerped(to:_:)``.
  public func slerped(
    to other: Tree, at position: Double, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    slerped(to: other, SphericalInterpolation(at: position), file: file, line: line)
  }

  /// Each tensor interpolated on the sphere with the other tree's; see ``LazyTensor/slerped(to:_:)``.
  public func slerped(
    to other: Tree, _ interpolation: SphericalInterpolation, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    Self.combining("slerp", [self, other], file, line) { (tensors) throws(GraftError) in
      try tensors[0].slerped(to: tensors[1], interpolation)
    }
  }
}
