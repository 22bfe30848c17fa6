// What fine-tuning changed about a model is a tensor like others, a task vector: it can be added to another model, or less of it, or thinned
// before. All of it is composed of operations on elements, in float32 until the end: differences of 16 bits would be rounded before they
// are added up, and those of bfloat16 have few bits left.

/// How elements of task vectors are dropped at random and the others enlarged, as DARE does it.
///
/// The expected value of each element stays what it was. Which elements are dropped depends on the seed and on the element's index alone,
/// whatever the tiles and threads.
public struct RandomDropping: Hashable, Sendable {
  /// The probability with which an element is kept; what is kept is divided by it.
  public var density: Double
  /// Which elements are chosen.
  public var seed: UInt64

  /// A dropping that keeps elements with a probability.
  public init(keeping density: Double, seed: UInt64) {
    self.density = density
    self.seed = seed
  }

  /// The same with a choice of its own for a model and a leaf: equal choices would drop whole columns of experts together.
  func of(model: Int, leaf path: TreePath) -> RandomDropping {
    // FNV-1a, and the mixing of SplitMix64.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in path.description.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    var mixed = seed
    for word in [hash, UInt64(model)] {
      mixed = (mixed ^ word) &+ 0x9e37_79b9_7f4a_7c15
      mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
      mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
      mixed ^= mixed >> 31
    }
    return RandomDropping(keeping: density, seed: mixed)
  }
}

extension LazyTensor {
  /// Some of the elements at random, divided by the probability of being kept, and 0 for the others; for floats of up to 32 bits.
  ///
  /// An element is kept where the uniform random number of its index (``Initializer/uniform(lower:upper:seed:)`` from 0 to 1) is below
  /// the density. It is divided in float32 and rounded to the dtype.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for a density that is not above 0 and at most 1.
  public func droppingAtRandom(_ dropping: RandomDropping) throws(GraftError) -> LazyTensor {
    guard dropping.density > 0, dropping.density <= 1, Float(dropping.density) > 0 else {
      throw GraftError(
        .invalidArgument, "a density is a probability above 0", expected: "above 0 and at most 1",
        found: "\(dropping.density)")
    }
    guard dtype.isRealFloat, dtype.convertsExactly(to: .float32) else {
      throw GraftError(
        .invalidArgument, "elements are dropped from floats of up to 32 bits", found: "\(spec)",
        remedy: "cast to float32 first")
    }
    if dropping.density == 1 { return self }
    let density = Float(dropping.density)
    let chance = try Self.initialized(shape, .float32, .uniform(lower: 0, upper: 1, seed: dropping.seed))
    return try cast(to: .float32).map(with: chance, "keep \(dropping.density) at random") {
      values, chances, kept in
      for index in values.indices { kept[index] = chances[index] < density ? values[index] / density : 0 }
    }.cast(to: dtype, lossy: true)
  }

  /// A tensor with what tuned ones changed about it, each times its weight: `base + scale * Σ weight * (tuned - base)`; floats alone.
  ///
  /// As mergekit's `task_arithmetic` does it where it computes in float32, bit for bit: differences, products, sums and the scaled sum
  /// are each rounded to float32 (float64 for that dtype), and the result once more to the tensors' dtype.
  ///
  /// - Parameters:
  ///   - base: what the others were tuned from.
  ///   - tuned: tensors of its dtype and shape.
  ///   - weights: one for each tuned tensor.
  ///   - scale: what the sum is multiplied with.
  ///   - droppings: how the differences are thinned before they are multiplied, one for each; none unless given.
  /// - Throws: ``GraftError`` when numbers, dtypes or shapes do not fit.
  public static func taskArithmetic(
    base: LazyTensor, _ tuned: [LazyTensor], weights: [Double], scale: Double = 1,
    dropping droppings: [RandomDropping]? = nil
  ) throws(GraftError) -> LazyTensor {
    guard tuned.count == weights.count, !tuned.isEmpty, (droppings?.count ?? tuned.count) == tuned.count
    else {
      throw GraftError(
        .invalidArgument, "task arithmetic takes one weight for each tuned tensor",
        expected: "\(tuned.count) weights",
        found: "\(weights.count)")
    }
    guard base.dtype.isRealFloat else {
      throw GraftError(
        .invalidArgument, "task arithmetic is not defined for \(base.dtype)", found: "\(base.spec)",
        remedy: "cast to a float first")
    }
    let wide: DType = base.dtype == .float64 ? .float64 : .float32
    let start = try base.cast(to: wide)
    var differences: [LazyTensor] = []
    for (index, tensor) in tuned.enumerated() {
      guard tensor.spec == base.spec else {
        throw GraftError(
          tensor.dtype == base.dtype ? .shapeMismatch : .dtypeMismatch,
          "a tuned tensor is of another kind than its base", expected: "\(base.spec)", found: "\(tensor.spec)"
        )
      }
      let difference = try tensor.cast(to: wide).subtracting(start)
      differences.append(
        try droppings.map { (droppings) throws(GraftError) in
          try difference.droppingAtRandom(droppings[index])
        } ?? difference)
    }
    var sum = try weightedSum(differences, weights: weights)
    if scale != 1 { sum = try sum.scaled(by: scale) }
    return try start.adding(sum).cast(to: base.dtype, lossy: true)
  }
}

extension Tree where Leaf == LazyLeaf {
  /// A tree with what tuned ones of its structure changed about it, leaf by leaf.
  ///
  /// See ``LazyTensor/taskArithmetic(base:_:weights:scale:dropping:)``. With a dropping, each model and each leaf, by its path in its
  /// checkpoint, has a choice of its own that follows from the seed.
  public static func taskArithmetic(
    base: Tree, _ tuned: [Tree], weights: [Double], scale: Double = 1, dropping: RandomDropping? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    combining("taskArithmetic", [base] + tuned, file, line) { (tensors, path) throws(GraftError) in
      let droppings = dropping.map { dropping in
        (0..<(tensors.count - 1)).map { dropping.of(model: $0, leaf: path) }
      }
      return try LazyTensor.taskArithmetic(
        base: tensors[0], Array(tensors.dropFirst()), weights: weights, scale: scale, dropping: droppings)
    }
  }
}
