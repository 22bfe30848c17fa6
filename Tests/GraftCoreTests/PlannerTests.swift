import GraftCore
import GraftTestSupport
import Testing

/// Carries out moves with loops over single units, the slowest thing that can be right.
private func naiveApply(_ copy: StridedCopy, from source: [UInt8], to destination: inout [UInt8]) {
  func walk(_ depth: Int, _ s: Int, _ d: Int) {
    if depth < copy.dimensions.count {
      let dimension = copy.dimensions[depth]
      for i in 0..<dimension.count {
        walk(depth + 1, s + i * dimension.sourceStride, d + i * dimension.destinationStride)
      }
      return
    }
    for i in 0..<copy.runCount {
      if copy.unit == .byte {
        destination[d + i] = source[s + i]
      } else {
        let bit = source[(s + i) / 8] >> UInt8((s + i) % 8) & 1
        destination[(d + i) / 8] &= ~(1 << UInt8((d + i) % 8))
        destination[(d + i) / 8] |= bit << UInt8((d + i) % 8)
      }
    }
  }
  walk(0, copy.sourceOffset, copy.destinationOffset)
}

/// The bytes of a literal that the metadata holds.
private func bytes(of literal: Plan.Literal) -> [UInt8] {
  guard case .bytes(let bytes) = literal.source else { return [] }
  return bytes
}

/// Element `index` of a packed or plain array, as its bits.
private func element(_ bytes: [UInt8], _ index: Int, bits: Int) -> [UInt8] {
  (index * bits..<(index + 1) * bits).map { bytes[$0 / 8] >> UInt8($0 % 8) & 1 }
}

private struct RandomCase {
  var spec: TensorSpec
  var chunkShape: Shape
  var slice: TensorSlice

  init(using generator: inout SeededGenerator) {
    let dtype = [DType.uint8, .bfloat16, .float32, .complex128, .int4, .float6E2M3FN].randomElement(
      using: &generator)!
    let rank = Int.random(in: 0...4, using: &generator)
    let extents = (0..<rank).map { _ in Int.random(in: 0...7, using: &generator) }
    spec = TensorSpec(dtype, Shape(extents))
    chunkShape = Shape(extents.map { Int.random(in: 1...Swift.max(1, $0 + 1), using: &generator) })
    var axes: [AxisSlice] = []
    for extent in extents {
      switch Int.random(in: 0..<4, using: &generator) {
      case 0 where extent > 0: axes.append(.index(Int.random(in: -extent..<extent, using: &generator)))
      case 1: axes.append(.all)
      default:
        let step = [1, 1, 2, 3, -1, -2].randomElement(using: &generator)!
        func bound() -> Int? {
          Bool.random(using: &generator) ? nil : Int.random(in: -extent - 1...extent + 1, using: &generator)
        }
        axes.append(.strided(lower: bound(), upper: bound(), step: step))
      }
    }
    slice = TensorSlice(axes)
  }
}

@Suite struct PlannerTests {
  @Test(arguments: 0..<8)
  func `moves over random chunk grids and slices give what indexing gives`(batch: UInt64) throws {
    let seed = seedFromEnvironment() ?? batch &* 7919 &+ 1
    var generator = SeededGenerator(seed: seed)
    for round in 0..<250 {
      let random = RandomCase(using: &generator)
      let context: Comment =
        "seed \(seed), round \(round): \(random.spec), chunks \(random.chunkShape), slice [\(random.slice)]"
      let bits = random.spec.dtype.bitWidth
      var whole = (0..<random.spec.byteCount + 1).map { _ in UInt8.random(in: 0...255, using: &generator) }

      // Every chunk is a full one, stored one after another in one file; the parts beyond the tensor hold rubbish.
      // Zarr gives elements of less than a byte a byte of their own.
      let storedBits = bits == 4 && Bool.random(using: &generator) ? 8 : bits
      let chunkByteCount = (random.chunkShape.elementCount * storedBits + 7) / 8
      let grid = zip(random.spec.shape, random.chunkShape).map { ($0 + $1 - 1) / $1 }
      let chunkCount = grid.reduce(1, *)
      var file = [UInt8](repeating: 0xA5, count: chunkCount * chunkByteCount)
      let strides = random.spec.shape.rowMajorStrides
      let fillValue = (0..<(storedBits + 7) / 8).map { _ in UInt8.random(in: 0...255, using: &generator) }
      let absent = Set((0..<chunkCount).filter { _ in Int.random(in: 0..<6, using: &generator) == 0 })
      for chunk in 0..<chunkCount {
        let chunkIndex = unravel(chunk, grid)
        for inner in 0..<random.chunkShape.elementCount {
          let index = zip(zip(chunkIndex, random.chunkShape), unravel(inner, random.chunkShape.extents)).map {
            $0.0 * $0.1 + $1
          }
          guard zip(index, random.spec.shape).allSatisfy({ $0 < $1 }) else { continue }
          if absent.contains(chunk) {
            // What an absent chunk stands for is the fill value, in every element.
            let first = zip(index, strides).reduce(0) { $0 + $1.0 * $1.1 } * bits
            for (offset, bit) in element(fillValue, 0, bits: bits).enumerated() {
              whole[(first + offset) / 8] &= ~(1 << UInt8((first + offset) % 8))
              whole[(first + offset) / 8] |= bit << UInt8((first + offset) % 8)
            }
            continue
          }
          let value = element(whole, zip(index, strides).reduce(0) { $0 + $1.0 * $1.1 }, bits: bits)
          for (offset, bit) in value.enumerated() {
            let position = chunk * chunkByteCount * 8 + inner * storedBits + offset
            file[position / 8] &= ~(1 << UInt8(position % 8))
            file[position / 8] |= bit << UInt8(position % 8)
          }
        }
      }
      let layout = Layout(
        chunkShape: random.chunkShape,
        chunks: (0..<chunkCount).map { chunk in
          let range = ByteRange(offset: chunk * chunkByteCount, count: chunkByteCount)
          if absent.contains(chunk) { return .absent }
          if chunk % 5 == 3 { return .inline(Array(file[range.offset..<range.end])) }
          return .file(StoredChunk(file: 0, range: range))
        }, fillValue: fillValue, storedBitWidth: storedBits)

      var planner = Planner()
      planner.addFiles([StoredFile(path: "file", byteCount: file.count)])
      let result = try planner.add("leaf", random.spec, layout, slice: random.slice)
      let plan = planner.plan()
      let resultSpec = plan.results[result].spec
      var loaded = [UInt8](repeating: 0, count: resultSpec.byteCount)
      var throughWindows = loaded
      let cost = CostModel(requestByteCount: Int.random(in: 0...8, using: &generator))
      let limit = Int.random(in: 16...64, using: &generator)
      for move in plan.moves {
        let chunk = Array(file[move.chunk.range.offset..<move.chunk.range.end])
        let touched = move.copy.sourceByteRange
        #expect(touched.offset >= 0 && touched.end <= chunk.count, context)
        naiveApply(move.copy, from: chunk, to: &loaded)
        move.copy.forEachWindow(limit: limit, cost: cost) { window in
          let range = window.sourceByteRange
          #expect(range.count <= limit, context)
          naiveApply(
            window.rebasedToWindow, from: Array(chunk[range.offset..<range.end]), to: &throughWindows)
        }
      }
      for literal in plan.literals {
        naiveApply(literal.copy, from: bytes(of: literal), to: &loaded)
        naiveApply(literal.copy, from: bytes(of: literal), to: &throughWindows)
      }
      #expect(throughWindows == loaded, context)
      let copies = plan.moves.map(\.copy) + plan.literals.map(\.copy)
      let copiedBits = copies.reduce(0) { $0 + $1.copiedCount * ($1.unit == .byte ? 8 : 1) }
      #expect(copiedBits == resultSpec.elementCount * bits, context)

      // The oracle: resolve the slice index by index as Python does.
      let picked = pythonIndices(random.slice, random.spec.shape)
      #expect(resultSpec.shape.extents == picked.filter { !$0.dropped }.map(\.indices.count), context)
      let counts = picked.map(\.indices.count)
      for flat in 0..<counts.reduce(1, *) {
        let index = zip(picked, unravel(flat, counts)).map { $0.indices[$1] }
        let expected = element(whole, zip(index, strides).reduce(0) { $0 + $1.0 * $1.1 }, bits: bits)
        #expect(element(loaded, flat, bits: bits) == expected, context)
      }
    }
  }

  @Test func `a leaf wanted whole is one run into place`() throws {
    let spec = TensorSpec(.float32, [4, 8])
    var planner = Planner()
    planner.addFiles([])
    _ = try planner.add(
      "a", spec, Layout(contiguous: spec, file: 0, range: ByteRange(offset: 100, count: spec.byteCount))
    )
    let plan = planner.plan()
    #expect(plan.moves.count == 1)
    #expect(plan.moves[0].copy.isContiguous)
    #expect(plan.bytesReadIntoPlace == 128)
    #expect(plan.bytesCopied == 0)
  }

  @Test func `rows of a tensor are one run, columns are one dimension of runs`() throws {
    let spec = TensorSpec(.float32, [100, 8])
    let layout = Layout(contiguous: spec, file: 0, range: ByteRange(offset: 0, count: spec.byteCount))
    var planner = Planner()
    planner.addFiles([])
    _ = try planner.add("rows", spec, layout, slice: TensorSlice([.range(10..<20)]))
    _ = try planner.add("columns", spec, layout, slice: TensorSlice([.all, .range(2..<4)]))
    let plan = planner.plan()
    let rows = try #require(plan.moves.first { $0.result == 0 })
    #expect(rows.copy.isContiguous)
    #expect(rows.copy.sourceByteRange == ByteRange(offset: 320, count: 320))
    let columns = try #require(plan.moves.first { $0.result == 1 })
    #expect(columns.copy.description == "8 bytes at 8 to 0, 100 times every 32 to every 8")
  }

  @Test func `far runs are read alone and near runs together`() {
    let copy = StridedCopy(
      unit: .byte, runCount: 100, sourceOffset: 0, destinationOffset: 0,
      dimensions: [StridedCopy.Dimension(count: 10, sourceStride: 1_000, destinationStride: 100)])
    var windows: [ByteRange] = []
    copy.forEachWindow(limit: 1 << 20, cost: CostModel(requestByteCount: 899)) {
      windows.append($0.sourceByteRange)
    }
    #expect(windows.count == 10)
    windows = []
    copy.forEachWindow(limit: 1 << 20, cost: CostModel(requestByteCount: 900)) {
      windows.append($0.sourceByteRange)
    }
    #expect(windows == [ByteRange(offset: 0, count: 9_100)])
    windows = []
    copy.forEachWindow(limit: 3_500, cost: CostModel(requestByteCount: 900)) {
      windows.append($0.sourceByteRange)
    }
    #expect(windows.map(\.count) == [3_100, 3_100, 1_100])
  }
}

private func unravel(_ flat: Int, _ extents: [Int]) -> [Int] {
  var rest = flat
  var index = [Int](repeating: 0, count: extents.count)
  for axis in extents.indices.reversed() {
    index[axis] = rest % extents[axis]
    rest /= extents[axis]
  }
  return index
}

/// The indices that Python's `range(extent)[slice]` gives along each axis, by stepping.
private func pythonIndices(_ slice: TensorSlice, _ shape: Shape) -> [(indices: [Int], dropped: Bool)] {
  zip(slice.axes, shape).map { axis, extent in
    switch axis {
    case .index(let index): return ([index < 0 ? index + extent : index], true)
    case .rest: return (Array(0..<extent), false)
    case .strided(let lower, let upper, let step):
      func absolute(_ i: Int) -> Int { i < 0 ? i + extent : i }
      var indices: [Int] = []
      if step > 0 {
        var i = Swift.min(Swift.max(absolute(lower ?? 0), 0), extent)
        let end = Swift.min(Swift.max(absolute(upper ?? extent), 0), extent)
        while i < end {
          indices.append(i)
          i += step
        }
      } else {
        var i = lower.map { Swift.min(Swift.max(absolute($0), -1), extent - 1) } ?? extent - 1
        let end = upper.map { Swift.min(Swift.max(absolute($0), -1), extent - 1) } ?? -1
        while i > end {
          indices.append(i)
          i += step
        }
      }
      return (indices, false)
    }
  }
}
