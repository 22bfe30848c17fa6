package import GraftCore

/// A lazy tensor, and the same made with loops.
package struct ExpressionPair {
  package var lazy: LazyTensor
  package var naive: NaiveTensor

  package init(lazy: LazyTensor, naive: NaiveTensor) {
    self.lazy = lazy
    self.naive = naive
  }
}

/// Random expressions over leaves that are stored in random chunks.
package struct RandomExpression {
  package var random: SeededGenerator
  /// The only file; chunks lie in it one after the other.
  package private(set) var file: [UInt8] = []
  /// How each chunk is stored; given its bytes, the bytes in the file.
  private let encode: (([UInt8]) -> [UInt8])?
  private let codecs: [Codec]
  /// The dtype of every tensor; of others than int32 the naive values are the bits, and nothing is computed.
  package let dtype: DType
  /// What was done, for the message of a failure.
  package private(set) var log: [String] = []

  /// Expressions whose stored chunks are encoded, if that is given.
  package init(
    random: SeededGenerator, dtype: DType = .int32, codecs: [Codec] = [],
    encode: (([UInt8]) -> [UInt8])? = nil
  ) {
    precondition(dtype.bitWidth <= 64, "a naive value holds the bits of an element")
    self.random = random
    self.dtype = dtype
    self.codecs = codecs
    self.encode = encode
  }

  static let elementLimit = 2_000

  /// Dtypes of every width whose zero is all zero bits.
  package static let movedDTypes: [DType] = [
    .bool, .int4, .uint4, .float4E2M1FN, .float6E2M3FN, .float6E3M2FN, .int8, .float8E4M3FN, .bfloat16,
    .float16, .float32, .float64, .complex64,
  ]

  private mutating func element() -> Int64 {
    switch dtype {
    case .int32: Int64(Int32.random(in: .min ... .max, using: &random))
    case .bool: Int64.random(in: 0...1, using: &random)
    default: Int64(bitPattern: random.next() & (dtype.bitWidth == 64 ? .max : 1 << dtype.bitWidth - 1))
    }
  }

  /// The bytes of an element where each has bytes of its own.
  private func stored(_ value: Int64) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0.prefix((dtype.bitWidth + 7) / 8)) }
  }

  /// Elements side by side, as tensors in memory have them.
  package static func packed(_ values: [Int64], _ dtype: DType) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: (values.count * dtype.bitWidth + 7) / 8)
    for (index, value) in values.enumerated() {
      for bit in 0..<dtype.bitWidth where value >> bit & 1 == 1 {
        bytes[(index * dtype.bitWidth + bit) / 8] |= 1 << ((index * dtype.bitWidth + bit) % 8)
      }
    }
    return bytes
  }

  /// A stored leaf, some of whose chunks are in the metadata or were never written.
  mutating func leaf() throws -> ExpressionPair {
    let rank = Int.random(in: 0...3, using: &random)
    let shape = (0..<rank).map { _ in [1, 2, 3, 4, 6, 8, 12].randomElement(using: &random)! }
    var naive = NaiveTensor(shape: shape) { _ in element() }
    let (fill, margin): (Int64, Int64) = dtype == .int32 ? (7, 0x5A5A_5A5A) : (1, 0)
    let chunkShape = shape.map { Bool.random(using: &random) ? $0 : Int.random(in: 1...$0, using: &random) }
    let grid = zip(shape, chunkShape).map { ($0 + $1 - 1) / $1 }
    var chunks: [ChunkLocation] = []
    for chunk in NaiveTensor.indices(of: grid) {
      var bytes: [UInt8] = []
      let isAbsent = Int.random(in: 0..<8, using: &random) == 0
      for inner in NaiveTensor.indices(of: chunkShape) {
        let index = zip(zip(chunk, chunkShape), inner).map { $0.0 * $0.1 + $1 }
        let isInside = zip(index, shape).allSatisfy { $0 < $1 }
        if isInside, isAbsent {
          var position = 0
          for (extent, i) in zip(shape, index) { position = position * extent + i }
          naive.values[position] = fill
        }
        bytes += stored(isInside ? naive[index] : margin)
      }
      if isAbsent {
        chunks.append(.absent)
      } else if Int.random(in: 0..<6, using: &random) == 0 {
        chunks.append(.inline(encode?(bytes) ?? bytes))
      } else {
        if let encode { bytes = encode(bytes) }
        chunks.append(.file(StoredChunk(file: 0, range: ByteRange(offset: file.count, count: bytes.count))))
        file += bytes
      }
    }
    let layout = Layout(
      chunkShape: Shape(chunkShape), codecs: codecs, chunks: chunks, fillValue: stored(fill),
      storedBitWidth: 8 * stored(0).count)
    log.append("leaf \(shape) chunks \(chunkShape)")
    let operand = StoredOperand(source: 0, path: "leaf", layout: layout)
    return ExpressionPair(lazy: LazyTensor(TensorSpec(dtype, Shape(shape)), operand), naive: naive)
  }

  mutating func source() throws -> ExpressionPair {
    switch Int.random(in: 0..<6, using: &random) {
    case 0:
      let shape = (0..<Int.random(in: 0...3, using: &random)).map { _ in Int.random(in: 1...5, using: &random)
      }
      let naive = NaiveTensor(shape: shape) { _ in element() }
      log.append("host \(shape)")
      let tensor = try Tensor(
        bytes: Self.packed(naive.values, dtype), spec: TensorSpec(dtype, Shape(shape)))
      return ExpressionPair(lazy: LazyTensor(tensor), naive: naive)
    case 1:
      let shape = (0..<Int.random(in: 0...3, using: &random)).map { _ in Int.random(in: 1...5, using: &random)
      }
      log.append("full \(shape)")
      return ExpressionPair(
        lazy: try .initialized(Shape(shape), dtype, .constant(dtype == .int32 ? 42 : 0)),
        naive: NaiveTensor(shape: shape) { _ in dtype == .int32 ? 42 : 0 })
    default: return try leaf()
    }
  }

  /// An expression of so many operations, or fewer.
  package mutating func expression(depth: Int) throws -> ExpressionPair {
    if depth == 0 { return try source() }
    let pair = try expression(depth: depth - 1)
    let rank = pair.naive.shape.count
    let axis = rank == 0 ? 0 : Int.random(in: 0..<rank, using: &random)
    switch Int.random(in: 0..<15, using: &random) {
    case 0: return try slice(pair)
    case 1:
      let axes = Array(0..<rank).shuffled(using: &random)
      log.append("transpose \(axes)")
      return ExpressionPair(lazy: try pair.lazy.transposed(axes), naive: pair.naive.transposed(axes))
    case 2, 3, 4: return try reshape(pair)
    case 5:
      let axis = Int.random(in: 0...rank, using: &random)
      log.append("expand \(axis)")
      var shape = pair.naive.shape
      shape.insert(1, at: axis)
      return ExpressionPair(lazy: try pair.lazy.expanded(axis: axis), naive: pair.naive.reshaped(shape))
    case 6:
      var shape = pair.naive.shape.map { $0 == 1 ? Int.random(in: 1...3, using: &random) : $0 }
      if Bool.random(using: &random) { shape.insert(Int.random(in: 1...3, using: &random), at: 0) }
      log.append("broadcast \(shape)")
      return try small(pair) { pair in
        ExpressionPair(
          lazy: try pair.lazy.broadcast(to: Shape(shape)), naive: pair.naive.broadcast(to: shape))
      }
    case 7 where rank > 0:
      let count = Int.random(in: 1...3, using: &random)
      log.append("repeat \(count) \(axis)")
      return try small(pair) { pair in
        ExpressionPair(
          lazy: try pair.lazy.repeated(count, axis: axis), naive: pair.naive.repeated(count, axis: axis))
      }
    case 8:
      let counts = (0..<rank).map { _ in Int.random(in: 1...2, using: &random) }
      log.append("tile \(counts)")
      return try small(pair) { pair in
        ExpressionPair(lazy: try pair.lazy.tiled(counts), naive: pair.naive.tiled(counts))
      }
    case 9:
      let widths = (0..<rank).map { _ in
        (before: Int.random(in: 0...2, using: &random), after: Int.random(in: 0...2, using: &random))
      }
      let padding: Int64 = dtype == .int32 ? -3 : 0
      log.append("pad \(widths)")
      return try small(pair) { pair in
        ExpressionPair(
          lazy: try pair.lazy.padded(widths, with: Double(padding)),
          naive: pair.naive.padded(widths, with: padding))
      }
    case 10 where rank > 0 && pair.naive.shape[axis] > 0:
      let extent = pair.naive.shape[axis]
      let indices = (0..<Int.random(in: 0...6, using: &random)).map { _ in
        Int.random(in: -extent..<extent, using: &random)
      }
      log.append("take \(indices) \(axis)")
      return ExpressionPair(
        lazy: try pair.lazy.taking(indices, axis: axis), naive: pair.naive.taking(indices, axis: axis))
    case 11, 12: return try join(pair, axis: axis)
    case 13 where rank > 0:
      log.append("flip \(axis)")
      let axes = pair.naive.shape.enumerated().map { position, extent in
        position == axis && extent > 0
          ? (first: extent - 1, count: extent, step: -1) : (first: 0, count: extent, step: 1)
      }
      return ExpressionPair(lazy: try pair.lazy.flipped(axis: axis), naive: pair.naive.sliced(axes))
    default: return try compute(pair)
    }
  }

  private func small(_ pair: ExpressionPair, _ body: (ExpressionPair) throws -> ExpressionPair) throws
    -> ExpressionPair
  {
    pair.naive.values.count * 8 > Self.elementLimit ? pair : try body(pair)
  }

  private mutating func slice(_ pair: ExpressionPair) throws -> ExpressionPair {
    var slices: [AxisSlice] = []
    var axes: [(first: Int, count: Int?, step: Int)] = []
    for extent in pair.naive.shape {
      let step = [1, 1, 2, 3, -1, -2].randomElement(using: &random)!
      if extent > 0, Int.random(in: 0..<4, using: &random) == 0 {
        let index = Int.random(in: 0..<extent, using: &random)
        slices.append(.index(index))
        axes.append((first: index, count: nil, step: 1))
      } else if extent == 0 || Bool.random(using: &random) {
        slices.append(.all)
        axes.append((first: 0, count: extent, step: 1))
      } else {
        let indices = Array(stride(from: step > 0 ? 0 : extent - 1, to: step > 0 ? extent : -1, by: step))
        let lower = Int.random(in: 0..<indices.count, using: &random)
        let upper = Int.random(in: lower..<indices.count, using: &random)
        let after = indices[upper] + step
        slices.append(.strided(lower: indices[lower], upper: after < 0 ? nil : after, step: step))
        axes.append((first: indices[lower], count: upper - lower + 1, step: step))
      }
    }
    log.append("slice \(TensorSlice(slices))")
    return ExpressionPair(lazy: try pair.lazy.sliced(TensorSlice(slices)), naive: pair.naive.sliced(axes))
  }

  private mutating func reshape(_ pair: ExpressionPair) throws -> ExpressionPair {
    // Random factors of the number of elements, so that axes are merged and split in every way.
    var left = pair.naive.values.count
    if left == 0 { return pair }
    var shape: [Int] = []
    while left > 1, shape.count < 4 {
      let factors = (1...left).filter { left % $0 == 0 }
      let factor = factors.randomElement(using: &random)!
      shape.append(factor)
      left /= factor
    }
    shape.append(left)
    shape.shuffle(using: &random)
    log.append("reshape \(shape)")
    return ExpressionPair(lazy: try pair.lazy.reshaped(shape), naive: pair.naive.reshaped(shape))
  }

  private mutating func join(_ pair: ExpressionPair, axis: Int) throws -> ExpressionPair {
    guard pair.naive.values.count <= Self.elementLimit / 4 else { return pair }
    // Others of the same shape: the tensor's own values again, or computed from them.
    var others = [pair]
    for _ in 0..<Int.random(in: 1...2, using: &random) {
      var other = pair
      if Bool.random(using: &random) {
        let source = try source()
        let count = pair.naive.values.count
        if source.naive.values.count >= count, count > 0 {
          let flat = source.naive.reshaped([source.naive.values.count])
          other = ExpressionPair(
            lazy: try source.lazy.reshaped([-1]).sliced(0..<count).reshaped(pair.naive.shape),
            naive: flat.sliced([(first: 0, count: count, step: 1)]).reshaped(pair.naive.shape))
        }
      }
      others.append(other)
    }
    others.shuffle(using: &random)
    if pair.naive.shape.isEmpty || Bool.random(using: &random) {
      let axis = Int.random(in: 0...pair.naive.shape.count, using: &random)
      log.append("stack \(others.count) \(axis)")
      return ExpressionPair(
        lazy: try .stack(others.map(\.lazy), axis: axis), naive: .stack(others.map(\.naive), axis: axis))
    }
    log.append("concatenate \(others.count) \(axis)")
    return ExpressionPair(
      lazy: try .concatenate(others.map(\.lazy), axis: axis),
      naive: .concatenate(others.map(\.naive), axis: axis))
  }

  private mutating func compute(_ pair: ExpressionPair) throws -> ExpressionPair {
    guard dtype == .int32 else { return pair }
    let wrapped = { (value: Int64) in Int64(Int32(truncatingIfNeeded: value)) }
    switch Int.random(in: 0..<4, using: &random) {
    case 0:
      log.append("add itself")
      return ExpressionPair(
        lazy: try pair.lazy.adding(pair.lazy),
        naive: pair.naive.combined(with: pair.naive) { a, b in wrapped(a &+ b) })
    case 1:
      log.append("cast and back")
      return ExpressionPair(
        lazy: try pair.lazy.cast(to: .int64, lossy: true).cast(to: .int32, lossy: true), naive: pair.naive)
    default:
      let other = try source()
      guard other.naive.values.count > 0 else { return pair }
      log.append("multiply by an element of it")
      let index = other.naive.shape.map { Int.random(in: 0..<$0, using: &random) }
      let factor = other.naive[index]
      return ExpressionPair(
        lazy: try pair.lazy.multiplied(by: other.lazy.sliced(TensorSlice(index.map { .index($0) }))),
        naive: pair.naive.combined(with: pair.naive) { a, _ in wrapped(a &* factor) })
    }
  }
}
