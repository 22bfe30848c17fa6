import GraftCore
import GraftTestSupport
import Testing

/// Carries out plans over int32 and int64 in memory, element by element.
struct NaivePlanRun {
  let plan: Plan
  let file: [UInt8]

  func values() throws -> [NaiveTensor] {
    var results = plan.results.map { [Int64?](repeating: nil, count: $0.spec.elementCount) }
    for move in plan.moves {
      run(move.copy, program: move.program, from: bytes(move), into: &results[move.result])
    }
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
        for literal in lowering.literals {
          run(literal.copy, program: nil, from: bytes(literal), into: &tile)
        }
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
      (try? host.tensor.array(as: Int32.self))?.flatMap { withUnsafeBytes(of: $0.littleEndian, Array.init) }
        ?? []
    case .constant(let value, _): withUnsafeBytes(of: Int32(value).littleEndian, Array.init)
    case .generated, .product: []
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
  @Test(arguments: seedBatches(16))
  func `random expressions over random chunks are what the same loops give`(batch: UInt64) throws {
    let seed = seedFromEnvironment() ?? batch &* 6151 &+ 1
    var random = SeededGenerator(seed: seed)
    for round in 0..<150 {
      var maker = RandomExpression(random: random)
      let pair = try maker.expression(depth: Int.random(in: 0...6, using: &maker.random))
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
      return Layout(
        chunkShape: spec.shape, chunks: [.file(StoredChunk(file: 0, range: range))], storedBitWidth: 16)
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
      chunks: [.file(StoredChunk(file: 0, range: ByteRange(offset: 0, count: spec.byteCount)))],
      storedBitWidth: 32)
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
