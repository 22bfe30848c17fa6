internal import CGraftKernels
package import GraftCore

/// What random elements are drawn from.
package enum RandomDistribution: Hashable, Sendable {
  /// All numbers of the range alike.
  case uniform(Range<Double>)
  /// The normal distribution.
  case normal(mean: Double, standardDeviation: Double)
  /// The normal distribution, cut off at two standard deviations from the mean.
  ///
  /// What is left has 0.8796 of the standard deviation that is given here.
  case truncatedNormal(mean: Double, standardDeviation: Double)

  /// Whether the figures make sense: finite, a range that is not empty, no negative deviation.
  package var isValid: Bool {
    switch self {
    case .uniform(let range):
      range.lowerBound < range.upperBound && (range.upperBound - range.lowerBound).isFinite
    case .normal(let mean, let deviation), .truncatedNormal(let mean, let deviation):
      mean.isFinite && deviation.isFinite && deviation >= 0
    }
  }
}

/// The endless stream of random elements of one leaf: element `i` depends on seed, stream number and `i` alone.
package struct RandomElements: Hashable, Sendable {
  package var seed: UInt64
  /// Tells the leaves apart that are drawn with one seed.
  package var stream: UInt64
  package var distribution: RandomDistribution

  /// The elements of a leaf.
  package init(_ distribution: RandomDistribution, seed: UInt64, stream: UInt64) {
    self.seed = seed
    self.stream = stream
    self.distribution = distribution
  }

  /// Whether elements of this dtype can be drawn.
  package static func serves(_ dtype: DType) -> Bool {
    switch dtype {
    case .float64, .float32, .float16, .bfloat16: true
    default: false
    }
  }

  /// Writes the elements `range` of the stream; traps unless the distribution is valid and the dtype is served.
  package func write(
    _ range: Range<Int>, of dtype: DType, to destination: UnsafeMutableRawBufferPointer,
    with kernels: Kernels = .best
  ) {
    precondition(range.lowerBound >= 0 && Self.serves(dtype) && distribution.isValid)
    precondition(range.count * (dtype.bitWidth / 8) <= destination.count)
    let (kind, a, b) =
      switch distribution {
      case .uniform(let range): (GRAFT_UNIFORM, range.lowerBound, range.upperBound)
      case .normal(let mean, let deviation): (GRAFT_NORMAL, mean, deviation)
      case .truncatedNormal(let mean, let deviation): (GRAFT_TRUNCATED_NORMAL, mean, deviation)
      }
    // The memory holds the range, as was checked.
    let result = unsafe graft_random(
      kernels.kernelVariant, kind, a, b, seed, stream, UInt64(range.lowerBound), destination.baseAddress,
      dtype.kernelDType, range.count)
    kernels.check(result, "\(distribution) for \(range.count) elements of \(dtype)")
  }
}
