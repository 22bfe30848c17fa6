/// What a tensor's values are like: bounds, mean, spread, and how many are zero, infinite or no number.
///
/// Made in one pass, piece by piece in any order: add the pieces one by one, or make one for each and merge them.
/// Numbers are taken as `Double`, so 64-bit integers beyond 2^53 are rounded; a complex number counts with its
/// magnitude, `true` as 1. Infinities and NaNs are counted, and left out of everything else.
public struct Statistics: Hashable, Sendable {
  /// The number of elements, those of every kind.
  public private(set) var count = 0
  /// How many are zero.
  public private(set) var zeroCount = 0
  /// How many are NaN.
  public private(set) var nanCount = 0
  /// How many are infinite.
  public private(set) var infinityCount = 0

  // Of the finite elements. The sum of squares is of deviations from the mean.
  private var finiteMinimum = Double.infinity
  private var finiteMaximum = -Double.infinity
  private var finiteMean = 0.0
  private var sumOfSquares = 0.0

  /// Of no element yet.
  public init() {}

  /// How many are finite.
  public var finiteCount: Int { count - nanCount - infinityCount }
  /// The least finite element, nil when there is none.
  public var minimum: Double? { finiteCount > 0 ? finiteMinimum : nil }
  /// The greatest finite element, nil when there is none.
  public var maximum: Double? { finiteCount > 0 ? finiteMaximum : nil }
  /// The mean of the finite elements, nil when there is none.
  public var mean: Double? { finiteCount > 0 ? finiteMean : nil }
  /// The standard deviation of the finite elements, as of a whole population; nil when there is none.
  public var standardDeviation: Double? {
    finiteCount > 0 ? (sumOfSquares / Double(finiteCount)).squareRoot() : nil
  }
}

extension Statistics {
  /// Adds what another piece's statistics say (Chan's formula, which loses no precision where pieces differ in size).
  public mutating func merge(_ other: Statistics) {
    mergeFinite(
      count: other.finiteCount, minimum: other.finiteMinimum, maximum: other.finiteMaximum,
      mean: other.finiteMean,
      sumOfSquares: other.sumOfSquares)
    count += other.count
    zeroCount += other.zeroCount
    nanCount += other.nanCount
    infinityCount += other.infinityCount
  }

  private mutating func mergeFinite(
    count added: Int, minimum: Double, maximum: Double, mean: Double, sumOfSquares addedSquares: Double
  ) {
    guard added > 0 else { return }
    let total = Double(finiteCount + added)
    let difference = mean - finiteMean
    let share = Double(added) / total
    // In this form pieces of one and the same value have exactly that mean and no spread.
    finiteMean = finiteCount == 0 ? mean : finiteMean + difference * share
    sumOfSquares +=
      addedSquares + (finiteCount == 0 ? 0 : difference * difference * share * Double(finiteCount))
    finiteMinimum = Swift.min(finiteMinimum, minimum)
    finiteMaximum = Swift.max(finiteMaximum, maximum)
  }

  /// Adds elements, given as bytes in row-major order.
  ///
  /// Throws when there are fewer bytes than the elements take.
  public mutating func add(_ bytes: RawSpan, dtype: DType, elementCount: Int) throws(GraftError) {
    guard let needed = dtype.byteCount(elementCount: elementCount), needed <= bytes.byteCount else {
      throw GraftError(
        .invalidArgument, "the bytes are fewer than the elements take",
        expected: "\(elementCount) × \(dtype)",
        found: "\(bytes.byteCount) bytes")
    }
    // Read only inside the closure, within the count that was just checked.
    unsafe bytes.withUnsafeBytes { unsafe add($0, dtype: dtype, elementCount: elementCount) }
  }

  private mutating func add(_ bytes: UnsafeRawBufferPointer, dtype: DType, elementCount: Int) {
    guard elementCount > 0 else { return }
    let isComplex = dtype == .complex64 || dtype == .complex128
    // A block of doubles fits the first-level cache beside its source.
    let blockCount = 2048
    unsafe withUnsafeTemporaryAllocation(of: Double.self, capacity: blockCount) { buffer in
      var start = 0
      while start < elementCount {
        let end = start + Swift.min(blockCount, elementCount - start)
        if isComplex {
          for index in start..<end {
            guard
              case .complex(let real, let imaginary, _) = unsafe ElementReader.number(bytes, dtype, at: index)
            else { continue }
            unsafe buffer.initializeElement(at: index - start, to: Self.magnitude(real, imaginary))
          }
        } else {
          unsafe ElementReader.read(bytes, dtype, start..<end, into: buffer)
        }
        unsafe addBlock(UnsafeBufferPointer(rebasing: buffer[..<(end - start)]))
        start = end
      }
    }
  }

  private static func magnitude(_ real: Double, _ imaginary: Double) -> Double {
    if real.isInfinite || imaginary.isInfinite { return .infinity }
    let (larger, smaller) = (
      Swift.max(real.magnitude, imaginary.magnitude), Swift.min(real.magnitude, imaginary.magnitude)
    )
    if larger == 0 || larger.isNaN || smaller.isNaN { return real.magnitude + imaginary.magnitude }
    let ratio = smaller / larger
    return larger * (1 + ratio * ratio).squareRoot()
  }

  /// Adds a block: the sum first, then the squares of the deviations from its mean, eight elements at a time.
  private mutating func addBlock(_ block: UnsafeBufferPointer<Double>) {
    typealias Lanes = SIMD8<Double>
    typealias Counts = SIMD8<Int64>
    let whole = block.count / Lanes.scalarCount
    var sums = Lanes.zero
    var minima = Lanes(repeating: .infinity)
    var maxima = Lanes(repeating: -.infinity)
    var finite = Counts.zero
    var zeros = Counts.zero
    var nans = Counts.zero
    let base = unsafe UnsafeRawPointer(block.baseAddress.unsafelyUnwrapped)

    // Lanes past the end of the block hold NaN, which every figure leaves out; they are taken off the NaNs' count.
    func lanes(_ index: Int) -> Lanes {
      if index < whole {
        return unsafe base.loadUnaligned(fromByteOffset: index * MemoryLayout<Lanes>.size, as: Lanes.self)
      }
      var lanes = Lanes(repeating: .nan)
      for lane in 0..<(block.count - whole * Lanes.scalarCount) {
        lanes[lane] = unsafe block[whole * Lanes.scalarCount + lane]
      }
      return lanes
    }
    let groups = whole + (block.count % Lanes.scalarCount == 0 ? 0 : 1)
    let largest = Lanes(repeating: .greatestFiniteMagnitude)
    let one = Counts(repeating: 1)
    for index in 0..<groups {
      let values = lanes(index)
      let isFinite = (values .<= largest) .& (values .>= -largest)
      finite.replace(with: finite &+ one, where: isFinite)
      zeros.replace(with: zeros &+ one, where: values .== 0)
      nans.replace(with: nans &+ one, where: values .!= values)
      sums.replace(with: sums + values, where: isFinite)
      minima.replace(with: values, where: isFinite .& (values .< minima))
      maxima.replace(with: values, where: isFinite .& (values .> maxima))
    }
    let finiteCount = Int(finite.wrappedSum())
    let nanCount = Int(nans.wrappedSum()) - (groups * Lanes.scalarCount - block.count)
    if finiteCount > 0 {
      let mean = sums.sum() / Double(finiteCount)
      var squares = Lanes.zero
      for index in 0..<groups {
        let values = lanes(index)
        let deviations = values - mean
        let isFinite = (values .<= largest) .& (values .>= -largest)
        squares.replace(with: squares + deviations * deviations, where: isFinite)
      }
      mergeFinite(
        count: finiteCount, minimum: minima.min(), maximum: maxima.max(), mean: mean,
        sumOfSquares: squares.sum())
    }
    count += block.count
    zeroCount += Int(zeros.wrappedSum())
    self.nanCount += nanCount
    infinityCount += block.count - finiteCount - nanCount
  }
}

extension Tensor {
  /// The statistics of all elements.
  ///
  /// Throws when the bytes are where the processor cannot read them.
  public func statistics() throws(GraftError) -> Statistics {
    var statistics = Statistics()
    try statistics.add(bytes, dtype: dtype, elementCount: elementCount)
    return statistics
  }
}
