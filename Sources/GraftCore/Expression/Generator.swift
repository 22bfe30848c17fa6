/// Values that follow from an element's position in its tensor, so that any part of them can be made alone.
public enum Generator: Hashable, Sendable {
  /// The same number everywhere.
  case constant(Double)
  /// 1 where both of the last two indices are the same, else 0.
  case identity
  /// Numbers in a pseudo-random sequence: element `i` in row-major order depends on the seed and on `i` alone.
  case random(Distribution, seed: UInt64)
  /// Whatever is in the memory; the plan writes nothing.
  case uninitialized

  /// How random numbers are distributed.
  public enum Distribution: Hashable, Sendable {
    /// Uniformly from `lower` to below `upper`.
    case uniform(lower: Double, upper: Double)
    /// Normally with this mean and standard deviation.
    case normal(mean: Double, standardDeviation: Double)
    /// Normally with mean 0 and this standard deviation before it is cut off at two of them on both sides.
    case truncatedNormal(standardDeviation: Double)
  }
}

/// How the elements of a new parameter are chosen.
///
/// The definitions are those of `jax.nn.initializers`, with their default axes: the last but one axis is the fan-in, the last
/// one the fan-out, all others count to both. The numbers differ from JAX's. The same seed gives the same
/// numbers on every machine and with any number of threads, so give two parameters two seeds.
public struct Initializer: Hashable, Sendable {
  enum Kind: Hashable, Sendable {
    case generator(Generator)
    case varianceScaling(scale: Double, FanMode, ScaledDistribution, seed: UInt64)
  }
  let kind: Kind

  /// Which of a parameter's fans its variance is divided by.
  public enum FanMode: Hashable, Sendable {
    /// The number of inputs of a unit.
    case fanIn
    /// The number of outputs of a unit.
    case fanOut
    /// The mean of both.
    case fanAverage
  }

  /// The shape of the distribution that is scaled.
  public enum ScaledDistribution: Hashable, Sendable {
    /// Normal.
    case normal
    /// Normal within two standard deviations.
    case truncatedNormal
    /// Uniform around 0.
    case uniform
  }

  /// Every element 0.
  public static let zeros = constant(0)
  /// Every element 1.
  public static let ones = constant(1)
  /// Every element this number.
  public static func constant(_ value: Double) -> Initializer {
    Initializer(kind: .generator(.constant(value)))
  }
  /// 1 on the diagonal of the last two axes, else 0.
  public static let identity = Initializer(kind: .generator(.identity))
  /// Uniformly from `lower` to below `upper`.
  public static func uniform(lower: Double = 0, upper: Double = 0.01, seed: UInt64) -> Initializer {
    Initializer(kind: .generator(.random(.uniform(lower: lower, upper: upper), seed: seed)))
  }
  /// Normally with this mean and standard deviation.
  public static func normal(mean: Double = 0, stddev: Double = 0.01, seed: UInt64) -> Initializer {
    Initializer(kind: .generator(.random(.normal(mean: mean, standardDeviation: stddev), seed: seed)))
  }
  /// Normally with mean 0 and this standard deviation before cutting, within two of them.
  public static func truncatedNormal(stddev: Double = 0.01, seed: UInt64) -> Initializer {
    Initializer(kind: .generator(.random(.truncatedNormal(standardDeviation: stddev), seed: seed)))
  }
  /// With the variance `scale / fan`.
  public static func varianceScaling(
    scale: Double, mode: FanMode, distribution: ScaledDistribution, seed: UInt64
  ) -> Initializer {
    Initializer(kind: .varianceScaling(scale: scale, mode, distribution, seed: seed))
  }
  /// Glorot's uniform one: variance 2 / (fan-in + fan-out).
  public static func glorotUniform(seed: UInt64) -> Initializer {
    varianceScaling(scale: 1, mode: .fanAverage, distribution: .uniform, seed: seed)
  }
  /// Glorot's normal one: variance 2 / (fan-in + fan-out).
  public static func glorotNormal(seed: UInt64) -> Initializer {
    varianceScaling(scale: 1, mode: .fanAverage, distribution: .truncatedNormal, seed: seed)
  }
  /// He's uniform one: variance 2 / fan-in.
  public static func heUniform(seed: UInt64) -> Initializer {
    varianceScaling(scale: 2, mode: .fanIn, distribution: .uniform, seed: seed)
  }
  /// He's normal one: variance 2 / fan-in.
  public static func heNormal(seed: UInt64) -> Initializer {
    varianceScaling(scale: 2, mode: .fanIn, distribution: .truncatedNormal, seed: seed)
  }
  /// LeCun's uniform one: variance 1 / fan-in.
  public static func lecunUniform(seed: UInt64) -> Initializer {
    varianceScaling(scale: 1, mode: .fanIn, distribution: .uniform, seed: seed)
  }
  /// LeCun's normal one: variance 1 / fan-in.
  public static func lecunNormal(seed: UInt64) -> Initializer {
    varianceScaling(scale: 1, mode: .fanIn, distribution: .truncatedNormal, seed: seed)
  }
}

extension Initializer {
  /// The standard deviation of a standard normal distribution that is cut at two standard deviations.
  private static let truncatedDeviation = 0.87962566103423978

  /// What makes the elements of a parameter of this shape and dtype.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for a dtype or shape that the initializer is not defined for, and for
  ///   parameters that are no distribution.
  package func generator(for spec: TensorSpec) throws(GraftError) -> Generator {
    switch kind {
    case .generator(let generator):
      try Self.check(generator, spec)
      return generator
    case .varianceScaling(let scale, let mode, let distribution, let seed):
      guard spec.rank >= 2 else {
        throw GraftError(
          .invalidArgument, "an initializer that scales by fan-in or fan-out needs at least two axes",
          found: "\(spec)", remedy: "use one with a standard deviation, or zeros")
      }
      let receptive = spec.shape.dropLast(2).reduce(1.0) { $0 * Double($1) }
      let fanIn = Double(spec.shape[spec.rank - 2]) * receptive
      let fanOut = Double(spec.shape[spec.rank - 1]) * receptive
      let fan =
        switch mode {
        case .fanIn: fanIn
        case .fanOut: fanOut
        case .fanAverage: (fanIn + fanOut) / 2
        }
      let variance = scale / Swift.max(fan, 1)
      let generator: Generator =
        switch distribution {
        case .normal: .random(.normal(mean: 0, standardDeviation: variance.squareRoot()), seed: seed)
        case .truncatedNormal:
          .random(
            .truncatedNormal(standardDeviation: variance.squareRoot() / Self.truncatedDeviation), seed: seed)
        case .uniform:
          .random(
            .uniform(lower: -(3 * variance).squareRoot(), upper: (3 * variance).squareRoot()), seed: seed)
        }
      try Self.check(generator, spec)
      return generator
    }
  }

  private static func check(_ generator: Generator, _ spec: TensorSpec) throws(GraftError) {
    func wrong(_ message: String, remedy: String? = nil) -> GraftError {
      GraftError(.invalidArgument, message, found: "\(spec)", remedy: remedy)
    }
    switch generator {
    case .constant, .uninitialized: break
    case .identity:
      guard spec.rank >= 2 else { throw wrong("an identity needs at least two axes") }
    case .random(let distribution, _):
      guard spec.dtype.isRealFloat else {
        throw wrong("random initial values are floats", remedy: "initialise in float32, and cast")
      }
      switch distribution {
      case .uniform(let lower, let upper):
        guard (upper - lower).isFinite, lower < upper else {
          throw wrong("no uniform distribution goes from \(lower) to \(upper)")
        }
      case .normal(let mean, let deviation):
        guard mean.isFinite, deviation.isFinite, deviation >= 0 else {
          throw wrong("no normal distribution has mean \(mean) and standard deviation \(deviation)")
        }
      case .truncatedNormal(let deviation):
        guard deviation.isFinite, deviation >= 0 else {
          throw wrong("no normal distribution has the standard deviation \(deviation)")
        }
      }
    }
  }
}

extension DType {
  /// Whether this is a float of any width that is no complex number.
  public var isRealFloat: Bool {
    switch self {
    case .bool, .complex64, .complex128: false
    default: rawValue.hasPrefix("float") || self == .bfloat16
    }
  }

  /// Whether this is a complex number.
  public var isComplex: Bool { self == .complex64 || self == .complex128 }
}
