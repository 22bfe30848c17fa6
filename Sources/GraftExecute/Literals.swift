internal import GraftCodec
internal import GraftCore
internal import GraftIO

// What a plan places without reading a file: small chunks that the metadata holds, tensors in memory, constants, and values
// that are made from their position.

extension Decoding {
  /// Literals are cut into parts of this many bytes, which the threads share.
  private static let partByteCount = 1 << 20

  /// Places what is not in a file, on all threads; blocks until it is done, or until it is cancelled and every thread is done with
  /// its part.
  func placeLiterals(_ cancellation: Cancellation) throws(GraftError) {
    var parts: [Plan.Literal] = []
    for literal in plan.literals {
      if literal.encoding != nil || literal.copy.unit == .bit {
        try cancellation.check()
        try place(literal)
      } else {
        // Elements stay whole: every width divides the part.
        try Placing.forEachPart(of: literal.copy, unitCount: Self.partByteCount) {
          (copy) throws(GraftError) in
          var part = literal
          part.copy = copy
          parts.append(part)
        }
      }
      if parts.count >= Self.partLimit { try placeTogether(&parts, cancellation) }
    }
    try placeTogether(&parts, cancellation)
  }

  /// How many parts are listed before they are placed.
  private static let partLimit = 1 << 14

  private func placeTogether(
    _ parts: inout [Plan.Literal], _ cancellation: Cancellation
  ) throws(GraftError) {
    let all = parts
    parts = []
    try ParallelPieces.run(count: all.count, threadCount: all.count > 1 ? threadCount : 1) {
      (index) throws(GraftError) in
      try cancellation.check()
      try self.place(all[index])
    }
  }

  private func place(_ literal: Plan.Literal) throws(GraftError) {
    do throws(GraftError) {
      switch literal.source {
      case .bytes(let bytes):
        if let encoding = literal.encoding {
          try decode(bytes, encoding, literal)
        } else {
          try place(bytes, literal)
        }
      case .tensor(let host):
        // The plan keeps the tensor, and with it its memory.
        unsafe try placing.put(literal.copy, from: host.tensor.memory, into: places[literal])
      case .constant(let value, let dtype): try place(Self.element(value, dtype), literal)
      case .generated(let generator, let spec):
        unsafe try make(spec, literal) { unsafe generator.write($0, of: spec, to: $1) }
      case .product(let product, let spec):
        let elements = try ProductElements(product)
        unsafe try make(spec, literal) { unsafe elements.write($0, to: $1) }
      }
    } catch {
      var error = error
      error.leaf = error.leaf ?? plan.results[literal.result].path
      throw error
    }
  }

  private func place(_ bytes: [UInt8], _ literal: Plan.Literal) throws(GraftError) {
    var failure: GraftError?
    unsafe bytes.withUnsafeBytes { bytes in
      do throws(GraftError) {
        unsafe try placing.put(literal.copy, from: bytes, into: places[literal])
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
  }

  private func decode(_ bytes: [UInt8], _ encoding: Int, _ literal: Plan.Literal) throws(GraftError) {
    let chain: CodecChain
    do throws(CodecFailure) {
      chain = try CodecChain(plan.encodings[encoding].codecs)
    } catch {
      throw error.graftError(leaf: plan.results[literal.result].path)
    }
    // A chunk that fits the metadata may still decode to more than fits the scratch memory, so it is streamed.
    let job = ChunkJob(
      file: 0, range: ByteRange(offset: 0, count: bytes.count), chain: chain,
      decodedByteCount: plan.encodings[encoding].decodedByteCount,
      copies: [ChunkJob.Copy(copy: literal.copy, place: places[literal])],
      leaf: plan.results[literal.result].path)
    try stream(job, from: .memory(bytes))
  }

  /// One element of this value.
  private static func element(_ value: Double, _ dtype: DType) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: (dtype.bitWidth + 7) / 8)
    unsafe withUnsafeBytes(of: value) { source in
      unsafe bytes.withUnsafeMutableBytes {
        unsafe Kernels.best.cast(source, ElementFormat(.float64), to: $0, ElementFormat(dtype), count: 1)
      }
    }
    return bytes
  }

  /// Makes the elements that a copy takes, run by run, and places them.
  ///
  /// - Parameter write: writes the elements of these positions, in row-major order of a tensor of this spec.
  private func make(
    _ spec: TensorSpec, _ literal: Plan.Literal, _ write: (Range<Int>, UnsafeMutableRawBufferPointer) -> Void
  ) throws(GraftError) {
    let copy = literal.copy
    let place = places[literal]
    let (unitBits, bits) = (copy.unit == .byte ? 8 : 1, spec.dtype.bitWidth)
    // Where a run is long enough, and goes to memory as it is, it is made there.
    if copy.unit == .byte, case .memory(let memory) = place {
      try Placing.forEachRun(of: copy) { (from, to) throws(GraftError) in
        let first = from * 8 / bits
        unsafe write(
          first..<(first + copy.runCount * 8 / bits),
          UnsafeMutableRawBufferPointer(rebasing: memory[to..<(to + copy.runCount)]))
      }
      return
    }
    let limit = 1 << 16
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: limit + 64, alignment: 64)
    defer { unsafe scratch.deallocate() }
    // Packed elements come in blocks of whole bytes, whatever their width.
    try Placing.forEachPart(of: copy, unitCount: limit * 8 / unitBits / 48 * 48) {
      (part) throws(GraftError) in
      try Placing.forEachRun(of: part) { (from, to) throws(GraftError) in
        let first = from * unitBits / bits
        let count = part.runCount * unitBits / bits
        unsafe write(first..<(first + count), scratch)
        let run = StridedCopy(
          unit: part.unit, runCount: part.runCount, sourceOffset: 0, destinationOffset: to, dimensions: [])
        unsafe try placing.put(run, from: UnsafeRawBufferPointer(scratch), into: place)
      }
    }
  }
}

extension Generator {
  /// Writes the elements of these positions, in row-major order of a tensor of this spec.
  fileprivate func write(_ range: Range<Int>, of spec: TensorSpec, to memory: UnsafeMutableRawBufferPointer) {
    switch self {
    case .uninitialized: break
    case .constant(let value): unsafe Self.fill(range.count, spec.dtype, memory) { _ in value }
    case .identity:
      let (rows, columns) = (spec.shape[spec.rank - 2], spec.shape[spec.rank - 1])
      unsafe Self.fill(range.count, spec.dtype, memory) { index in
        let position = (range.lowerBound + index) % (rows * columns)
        return position / columns == position % columns ? 1 : 0
      }
    case .random(let distribution, let seed):
      let elements = RandomElements(distribution.kernelDistribution, seed: seed, stream: 0)
      if RandomElements.serves(spec.dtype) {
        unsafe elements.write(range, of: spec.dtype, to: memory)
        return
      }
      unsafe Self.inBlocks(range.count, spec.dtype, memory) { first, count, target in
        unsafe withUnsafeTemporaryAllocation(byteCount: count * 4, alignment: 16) { floats in
          let lower = range.lowerBound + first
          unsafe elements.write(lower..<(lower + count), of: .float32, to: floats)
          unsafe Kernels.best.cast(
            UnsafeRawBufferPointer(floats), ElementFormat(.float32), to: target, ElementFormat(spec.dtype),
            count: count)
        }
      }
    }
  }

  private static func fill(
    _ count: Int, _ dtype: DType, _ memory: UnsafeMutableRawBufferPointer, _ value: (Int) -> Double
  ) {
    unsafe inBlocks(count, dtype, memory) { first, count, target in
      unsafe withUnsafeTemporaryAllocation(of: Double.self, capacity: count) { doubles in
        for index in 0..<count { unsafe doubles.initializeElement(at: index, to: value(first + index)) }
        unsafe Kernels.best.cast(
          UnsafeRawBufferPointer(doubles), ElementFormat(.float64), to: target, ElementFormat(dtype),
          count: count)
      }
    }
  }

  /// Calls `body` with blocks of elements that begin at whole bytes, few enough for the stack.
  private static func inBlocks(
    _ count: Int, _ dtype: DType, _ memory: UnsafeMutableRawBufferPointer,
    _ body: (_ first: Int, _ count: Int, UnsafeMutableRawBufferPointer) -> Void
  ) {
    var first = 0
    while first < count {
      let blockCount = Swift.min(96, count - first)
      unsafe body(
        first, blockCount, UnsafeMutableRawBufferPointer(rebasing: memory[(first * dtype.bitWidth / 8)...]))
      first += blockCount
    }
  }
}

extension Generator.Distribution {
  fileprivate var kernelDistribution: RandomDistribution {
    switch self {
    case .uniform(let lower, let upper): .uniform(lower..<upper)
    case .normal(let mean, let deviation): .normal(mean: mean, standardDeviation: deviation)
    case .truncatedNormal(let deviation): .truncatedNormal(mean: 0, standardDeviation: deviation)
    }
  }
}
