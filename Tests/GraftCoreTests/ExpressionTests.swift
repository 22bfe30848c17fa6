import GraftCore
import GraftTestSupport
import Testing

/// A lazy tensor, and the same made with loops.
private struct Pair {
  var lazy: LazyTensor
  var naive: NaiveTensor
}

/// Random expressions over leaves that are stored in random chunks.
private struct RandomExpression {
  var random: SeededGenerator
  /// The only file; chunks lie in it one after the other.
  var file: [UInt8] = []
  var log: [String] = []

  static let elementLimit = 2_000

  /// A stored leaf of int32, some of whose chunks are in the metadata or were never written.
  mutating func leaf() throws -> Pair {
    let rank = Int.random(in: 0...3, using: &random)
    let shape = (0..<rank).map { _ in [1, 2, 3, 4, 6, 8, 12].randomElement(using: &random)! }
    var naive = NaiveTensor(shape: shape) { _ in Int64(Int32.random(in: .min ... .max, using: &random)) }
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
          naive.values[position] = 7
        }
        let value = isInside ? Int32(naive[index]) : 0x5A5A_5A5A
        bytes += withUnsafeBytes(of: value.littleEndian, Array.init)
      }
      if isAbsent {
        chunks.append(.absent)
      } else if Int.random(in: 0..<6, using: &random) == 0 {
        chunks.append(.inline(bytes))
      } else {
        chunks.append(.file(StoredChunk(file: 0, range: ByteRange(offset: file.count, count: bytes.count))))
        file += bytes
      }
    }
    let layout = Layout(
      chunkShape: Shape(chunkShape), chunks: chunks, fillValue: [7, 0, 0, 0], storedBitWidth: 32)
    log.append("leaf \(shape) chunks \(chunkShape)")
    let operand = StoredOperand(source: 0, path: "leaf", layout: layout)
    return Pair(lazy: LazyTensor(TensorSpec(.int32, Shape(shape)), operand), naive: naive)
  }

  mutating func source() throws -> Pair {
    switch Int.random(in: 0..<6, using: &random) {
    case 0:
      let shape = (0..<Int.random(in: 0...3, using: &random)).map { _ in Int.random(in: 1...5, using: &random) }
      let naive = NaiveTensor(shape: shape) { _ in Int64(Int32.random(in: .min ... .max, using: &random)) }
      log.append("host \(shape)")
      return Pair(lazy: LazyTensor(Tensor(naive.values.map { Int32($0) }, shape: Shape(shape))), naive: naive)
    case 1:
      let shape = (0..<Int.random(in: 0...3, using: &random)).map { _ in Int.random(in: 1...5, using: &random) }
      log.append("full \(shape)")
      return Pair(
        lazy: try .initialized(Shape(shape), .int32, .constant(42)), naive: NaiveTensor(shape: shape) { _ in 42 })
    default: return try leaf()
    }
  }

  mutating func expression(depth: Int) throws -> Pair {
    if depth == 0 { return try source() }
    let pair = try expression(depth: depth - 1)
    let rank = pair.naive.shape.count
    let axis = rank == 0 ? 0 : Int.random(in: 0..<rank, using: &random)
    switch Int.random(in: 0..<15, using: &random) {
    case 0: return try slice(pair)
    case 1:
      let axes = Array(0..<rank).shuffled(using: &random)
      log.append("transpose \(axes)")
      return Pair(lazy: try pair.lazy.transposed(axes), naive: pair.naive.transposed(axes))
    case 2, 3, 4: return try reshape(pair)
    case 5:
      let axis = Int.random(in: 0...rank, using: &random)
      log.append("expand \(axis)")
      var shape = pair.naive.shape
      shape.insert(1, at: axis)
      return Pair(lazy: try pair.lazy.expanded(axis: axis), naive: pair.naive.reshaped(shape))
    case 6:
      var shape = pair.naive.shape.map { $0 == 1 ? Int.random(in: 1...3, using: &random) : $0 }
      if Bool.random(using: &random) { shape.insert(Int.random(in: 1...3, using: &random), at: 0) }
      log.append("broadcast \(shape)")
      return try small(pair) { pair in
        Pair(lazy: try pair.lazy.broadcast(to: Shape(shape)), naive: pair.naive.broadcast(to: shape))
      }
    case 7 where rank > 0:
      let count = Int.random(in: 1...3, using: &random)
      log.append("repeat \(count) \(axis)")
      return try small(pair) { pair in
        Pair(lazy: try pair.lazy.repeated(count, axis: axis), naive: pair.naive.repeated(count, axis: axis))
      }
    case 8:
      let counts = (0..<rank).map { _ in Int.random(in: 1...2, using: &random) }
      log.append("tile \(counts)")
      return try small(pair) { pair in
        Pair(lazy: try pair.lazy.tiled(counts), naive: pair.naive.tiled(counts))
      }
    case 9:
      let widths = (0..<rank).map { _ in
        (before: Int.random(in: 0...2, using: &random), after: Int.random(in: 0...2, using: &random))
      }
      log.append("pad \(widths)")
      return try small(pair) { pair in
        Pair(lazy: try pair.lazy.padded(widths, with: -3), naive: pair.naive.padded(widths, with: -3))
      }
    case 10 where rank > 0 && pair.naive.shape[axis] > 0:
      let extent = pair.naive.shape[axis]
      let indices = (0..<Int.random(in: 0...6, using: &random)).map { _ in
        Int.random(in: -extent..<extent, using: &random)
      }
      log.append("take \(indices) \(axis)")
      return Pair(lazy: try pair.lazy.taking(indices, axis: axis), naive: pair.naive.taking(indices, axis: axis))
    case 11, 12: return try join(pair, axis: axis)
    case 13 where rank > 0:
      log.append("flip \(axis)")
      let axes = pair.naive.shape.enumerated().map { position, extent in
        position == axis && extent > 0 ? (first: extent - 1, count: extent, step: -1) : (first: 0, count: extent, step: 1)
      }
      return Pair(lazy: try pair.lazy.flipped(axis: axis), naive: pair.naive.sliced(axes))
    default: return try compute(pair)
    }
  }

  private func small(_ pair: Pair, _ body: (Pair) throws -> Pair) throws -> Pair {
    pair.naive.values.count * 8 > Self.elementLimit ? pair : try body(pair)
  }

  private mutating func slice(_ pair: Pair) throws -> Pair {
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
    return Pair(lazy: try pair.lazy.sliced(TensorSlice(slices)), naive: pair.naive.sliced(axes))
  }

  private mutating func reshape(_ pair: Pair) throws -> Pair {
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
    return Pair(lazy: try pair.lazy.reshaped(shape), naive: pair.naive.reshaped(shape))
  }

  private mutating func join(_ pair: Pair, axis: Int) throws -> Pair {
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
          other = Pair(
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
      return Pair(
        lazy: try .stack(others.map(\.lazy), axis: axis), naive: .stack(others.map(\.naive), axis: axis))
    }
    log.append("concatenate \(others.count) \(axis)")
    return Pair(
      lazy: try .concatenate(others.map(\.lazy), axis: axis),
      naive: .concatenate(others.map(\.naive), axis: axis))
  }

  private mutating func compute(_ pair: Pair) throws -> Pair {
    let wrapped = { (value: Int64) in Int64(Int32(truncatingIfNeeded: value)) }
    switch Int.random(in: 0..<4, using: &random) {
    case 0:
      log.append("add itself")
      return Pair(
        lazy: try pair.lazy.adding(pair.lazy),
        naive: pair.naive.combined(with: pair.naive) { a, b in wrapped(a &+ b) })
    case 1:
      log.append("cast and back")
      return Pair(
        lazy: try pair.lazy.cast(to: .int64, lossy: true).cast(to: .int32, lossy: true), naive: pair.naive)
    default:
      let other = try source()
      guard other.naive.values.count > 0 else { return pair }
      log.append("multiply by an element of it")
      let index = other.naive.shape.map { Int.random(in: 0..<$0, using: &random) }
      let factor = other.naive[index]
      return Pair(
        lazy: try pair.lazy.multiplied(by: other.lazy.sliced(TensorSlice(index.map { .index($0) }))),
        naive: pair.naive.combined(with: pair.naive) { a, _ in wrapped(a &* factor) })
    }
  }
}

/// Carries out plans over int32 and int64 in memory, element by element.
struct NaivePlanRun {
  let plan: Plan
  let file: [UInt8]

  func values() throws -> [NaiveTensor] {
    var results = plan.results.map { [Int64?](repeating: nil, count: $0.spec.elementCount) }
    for move in plan.moves { run(move.copy, program: move.program, from: bytes(move), into: &results[move.result]) }
    for literal in plan.literals {
      run(literal.copy, program: literal.program, from: bytes(literal), into: &results[literal.result])
    }
    for part in plan.parts where part.isComputed {
      // Each operand goes to a tile of its own, in the order of the piece's loops.
      let count = part.piece.elementCount
      var inputs: [[Int64]] = []
      for (source, operand) in part.operands.enumerated() {
        var lowering = Lowering(operand: plan.operands[operand], result: 0)
        try lowering.lower(part.piece.packed, source: source)
        var tile = [Int64?](repeating: nil, count: count)
        for move in lowering.moves { run(move.copy, program: nil, from: bytes(move), into: &tile) }
        for literal in lowering.literals { run(literal.copy, program: nil, from: bytes(literal), into: &tile) }
        inputs.append(try tile.map { try #require($0) })
      }
      let output = compute(plan.programs[try #require(part.program)], inputs)
      for (position, index) in NaiveTensor.indices(of: part.piece.extents).enumerated() {
        let element = part.piece.destination.terms.reduce(part.piece.destination.offset) {
          $0 + $1.step * index[$1.loop]
        }
        #expect(results[part.result][element] == nil, "an element is written once")
        results[part.result][element] = output[position]
      }
    }
    return try zip(plan.results, results).map { result, values in
      NaiveTensor(shape: result.spec.shape.extents, values: try values.map { try #require($0) })
    }
  }

  private func bytes(_ move: Plan.Move) -> [UInt8] {
    Array(file[move.chunk.range.offset..<move.chunk.range.end])
  }

  private func bytes(_ literal: Plan.Literal) -> [UInt8] {
    switch literal.source {
    case .bytes(let bytes): bytes
    case .tensor(let host):
      (try? host.tensor.array(as: Int32.self))?.flatMap { withUnsafeBytes(of: $0.littleEndian, Array.init) } ?? []
    case .constant(let value, _): withUnsafeBytes(of: Int32(value).littleEndian, Array.init)
    case .generated: []
    }
  }

  /// Elements are of four bytes wherever they are copied.
  private func run(_ copy: StridedCopy, program: Int?, from source: [UInt8], into result: inout [Int64?]) {
    func walk(_ depth: Int, _ from: Int, _ to: Int) {
      if depth < copy.dimensions.count {
        let dimension = copy.dimensions[depth]
        for i in 0..<dimension.count {
          walk(depth + 1, from + i * dimension.sourceStride, to + i * dimension.destinationStride)
        }
        return
      }
      for i in stride(from: 0, to: copy.runCount, by: 4) {
        let value = source[(from + i)..<(from + i + 4)].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let number = Int64(Int32(bitPattern: value))
        #expect(result[(to + i) / 4] == nil, "an element is written once")
        result[(to + i) / 4] = program.map { compute(plan.programs[$0], [[number]])[0] } ?? number
      }
    }
    walk(0, copy.sourceOffset, copy.destinationOffset)
  }

  private func compute(_ program: TileProgram, _ inputs: [[Int64]]) -> [Int64] {
    var steps: [[Int64]] = []
    for step in program.steps {
      let operands = step.operands.map { operand -> [Int64] in
        switch operand {
        case .input(let index): inputs[index]
        case .step(let index): steps[index]
        }
      }
      let exact: [Int64] =
        switch step.operation {
        case .add: zip(operands[0], operands[1]).map { $0 &+ $1 }
        case .multiply: zip(operands[0], operands[1]).map { $0 &* $1 }
        default: operands[0]
        }
      steps.append(step.dtype == .int32 ? exact.map { Int64(Int32(truncatingIfNeeded: $0)) } : exact)
    }
    return steps[steps.count - 1]
  }
}

@Suite struct ExpressionTests {
  @Test(arguments: 0..<16)
  func `random expressions over random chunks are what the same loops give`(batch: UInt64) throws {
    let seed = seedFromEnvironment() ?? batch &* 6151 &+ 1
    var random = SeededGenerator(seed: seed)
    for round in 0..<150 {
      var maker = RandomExpression(random: random)
      let pair = try maker.expression(depth: Int.random(in: 0...6, using: &random))
      random = maker.random
      let context: Comment = "seed \(seed), round \(round): \(maker.log.joined(separator: ", "))"
      #expect(pair.lazy.shape.extents == pair.naive.shape, context)
      var planner = Planner()
      planner.addFiles([StoredFile(path: "file", byteCount: maker.file.count)])
      _ = try planner.add("result", pair.lazy)
      let values = try NaivePlanRun(plan: planner.plan(), file: maker.file).values()
      #expect(values == [pair.naive], context)
    }
  }

  @Test func `stacking moves the same bytes in the same reads as loading apart`() throws {
    let spec = TensorSpec(.bfloat16, [64, 48])
    func layer(_ index: Int) -> Layout {
      let range = ByteRange(offset: index * spec.byteCount, count: spec.byteCount)
      return Layout(chunkShape: spec.shape, chunks: [.file(StoredChunk(file: 0, range: range))], storedBitWidth: 16)
    }
    let layers = (0..<32).map { LazyTensor(spec, StoredOperand(source: 0, path: "layer", layout: layer($0))) }
    var planner = Planner()
    planner.addFiles([StoredFile(path: "file", byteCount: 32 * spec.byteCount)])
    _ = try planner.add("stacked", LazyTensor.stack(layers))
    let plan = planner.plan()
    #expect(plan.moves.count == 32)
    #expect(plan.bytesReadIntoPlace == 32 * spec.byteCount)
    #expect(plan.bytesCopied == 0)
    for (index, move) in plan.moves.enumerated() {
      #expect(move.copy.destinationOffset == index * spec.byteCount)
      #expect(move.chunk.range.offset == index * spec.byteCount)
    }
  }

  @Test func `splitting and merging axes cuts nothing where they have common factors`() throws {
    // A rotary permutation: heads of pairs to heads of halves.
    let spec = TensorSpec(.float32, [4096, 512])
    let layout = Layout(
      chunkShape: spec.shape,
      chunks: [.file(StoredChunk(file: 0, range: ByteRange(offset: 0, count: spec.byteCount)))], storedBitWidth: 32)
    let tensor = LazyTensor(spec, StoredOperand(source: 0, path: "query", layout: layout))
    var planner = Planner()
    planner.addFiles([StoredFile(path: "file", byteCount: spec.byteCount)])
    let rotated = try tensor.reshaped([32, 64, 2, 512]).transposed([0, 2, 1, 3]).reshaped([4096, 512])
    _ = try planner.add("query", rotated)
    let plan = planner.plan()
    #expect(plan.moves.count == 1)
    #expect(plan.bytesCopied == spec.byteCount)
  }

  @Test func `shapes without common factors are cut into few pieces`() throws {
    let spec = TensorSpec(.uint8, [1000, 7])
    let layout = Layout(
      chunkShape: [100, 7],
      chunks: (0..<10).map { .file(StoredChunk(file: 0, range: ByteRange(offset: $0 * 700, count: 700))) },
      storedBitWidth: 8)
    let tensor = LazyTensor(spec, StoredOperand(source: 0, path: "odd", layout: layout))
    var planner = Planner()
    planner.addFiles([StoredFile(path: "file", byteCount: 7000)])
    _ = try planner.add("odd", tensor.reshaped([7, 1000]))
    let plan = planner.plan()
    // Each of seven rows has a head, a middle and a tail, and there are ten chunks.
    #expect(plan.moves.count <= 48, "\(plan)")
    #expect(plan.bytesReadIntoPlace == 7000)
  }
}
