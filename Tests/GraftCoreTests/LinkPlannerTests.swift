import GraftCore
import GraftTestSupport
import Testing

/// Files of elements of four bytes, and leaves in them.
private struct Store {
  var bytes: [UInt8] = []
  private var next: Int32 = 0

  /// What encodes chunks where they have codecs: something that no run of elements survives.
  static func encode(_ bytes: [UInt8]) -> [UInt8] { [UInt8(bytes.count & 0xFF)] + bytes.reversed() }
  static func decode(_ bytes: [UInt8]) -> [UInt8] { Array(bytes.dropFirst().reversed()) }

  private mutating func append(_ bytes: [UInt8]) -> ChunkLocation {
    defer { self.bytes += bytes }
    return .file(StoredChunk(file: 0, range: ByteRange(offset: self.bytes.count, count: bytes.count)))
  }

  /// A leaf of numbers that no other leaf has, in chunks, or in shards of chunks.
  mutating func leaf(
    _ shape: [Int], chunks chunkShape: [Int]? = nil, shards: [Int]? = nil, codecs: [String] = [],
    absent: Set<Int> = [], fill: Int32 = 0
  ) -> ExpressionPair {
    let chunkShape = chunkShape ?? shape
    let cellShape = shards ?? chunkShape
    var naive = NaiveTensor(shape: shape) { _ in
      next += 1
      return Int64(next)
    }
    let grid = zip(shape, cellShape).map { ($0 + $1 - 1) / $1 }
    var cells: [ChunkLocation] = []
    for (number, cell) in NaiveTensor.indices(of: grid).enumerated() {
      var cellBytes: [UInt8] = []
      let inner = zip(cellShape, chunkShape).map { $0 / $1 }
      for chunk in NaiveTensor.indices(of: inner) {
        var bytes: [UInt8] = []
        for element in NaiveTensor.indices(of: chunkShape) {
          let index = shape.indices.map {
            cell[$0] * cellShape[$0] + chunk[$0] * chunkShape[$0] + element[$0]
          }
          let isInside = zip(index, shape).allSatisfy { $0 < $1 }
          if isInside, absent.contains(number) {
            naive.values[zip(index, shape).reduce(0) { $0 * $1.1 + $1.0 }] = Int64(fill)
          }
          withUnsafeBytes(of: isInside ? Int32(naive[index]) : -1) { bytes += Array($0) }
        }
        cellBytes += codecs.isEmpty ? bytes : Self.encode(bytes)
      }
      cells.append(absent.contains(number) ? .absent : append(cellBytes))
    }
    var layout = Layout(
      chunkShape: Shape(chunkShape), codecs: codecs.map(Codec.init(name:)),
      chunks: shards == nil ? cells : [],
      fillValue: withUnsafeBytes(of: fill) { Array($0) }, storedBitWidth: 32)
    if let shards {
      layout.shards = Shards(shape: Shape(shards), places: cells, indexIsAtEnd: true, indexHasChecksum: true)
    }
    let operand = StoredOperand(source: 0, path: "leaf", layout: layout)
    return ExpressionPair(lazy: LazyTensor(TensorSpec(.int32, Shape(shape)), operand), naive: naive)
  }

  func outcome(_ tensor: LazyTensor) -> LinkPlanner.Outcome {
    var planner = LinkPlanner()
    planner.addFiles(count: 1)
    return planner.outcome(of: tensor)
  }

  func linked(_ tensor: LazyTensor) throws -> Layout {
    let outcome = outcome(tensor)
    guard case .linked(let layout) = outcome else {
      Issue.record("\(outcome)")
      throw CancellationError()
    }
    return layout
  }
}

/// Reads what a layout says, element by element, from shards that are their chunks one after the other.
private func naiveRead(
  _ layout: Layout, _ spec: TensorSpec, file: [UInt8], decode: ([UInt8]) -> [UInt8]
) throws -> NaiveTensor {
  let cellShape = layout.shards?.shape ?? layout.chunkShape
  let cells = layout.shards?.places ?? layout.chunks
  let grid = zip(spec.shape, cellShape).map { ($0 + $1 - 1) / $1 }
  #expect(cells.count == grid.reduce(1, *))
  func number(_ index: [Int], in shape: [Int]) -> Int { zip(index, shape).reduce(0) { $0 * $1.1 + $1.0 } }
  let perCell = zip(cellShape, layout.chunkShape).map { $0 / $1 }
  let byteCount = layout.storedBitWidth / 8
  let chunkCount = perCell.reduce(1, *)
  // Nil for cells that were never written.
  let decoded = cells.map { cell -> [[UInt8]]? in
    let bytes: [UInt8]
    switch cell {
    case .file(let chunk): bytes = Array(file[chunk.range.offset..<chunk.range.end])
    case .inline(let inline): bytes = inline
    case .absent: return nil
    }
    let encoded = bytes.count / chunkCount
    return (0..<chunkCount).map { chunk in
      let bytes = Array(bytes[chunk * encoded..<(chunk + 1) * encoded])
      let elements = layout.codecs.isEmpty ? bytes : decode(bytes)
      #expect(
        elements.count == layout.chunkShape.elementCount * byteCount, "a chunk has the bytes of its elements")
      return elements
    }
  }
  let values = try NaiveTensor.indices(of: spec.shape.extents).map { index in
    guard let cell = decoded[number(zip(index, cellShape).map { $0 / $1 }, in: grid)] else {
      return value(try #require(layout.fillValue), at: 0, byteCount)
    }
    let inCell = zip(index, cellShape).map { $0 % $1 }
    let chunk = cell[number(zip(inCell, layout.chunkShape).map { $0 / $1 }, in: perCell)]
    let inChunk = zip(inCell, layout.chunkShape).map { $0 % $1 }
    return value(chunk, at: number(inChunk, in: layout.chunkShape.extents), byteCount)
  }
  return NaiveTensor(shape: spec.shape.extents, values: values)
}

private func value(_ bytes: [UInt8], at index: Int, _ byteCount: Int) -> Int64 {
  let bits = bytes[index * byteCount..<(index + 1) * byteCount].reversed().reduce(UInt64(0)) {
    $0 << 8 | UInt64($1)
  }
  return byteCount == 4 ? Int64(Int32(truncatingIfNeeded: bits)) : Int64(bitPattern: bits)
}

/// A surgery by its name, what it is made of, and the grid that it must be linked with.
private struct Linkable: CustomTestStringConvertible {
  let testDescription: String
  let chunks: Shape
  var shards: Shape?
  let make: @Sendable (inout Store) throws -> ExpressionPair

  init(
    _ name: String, chunks: Shape, shards: Shape? = nil,
    _ make: @escaping @Sendable (inout Store) throws -> ExpressionPair
  ) {
    testDescription = name
    self.chunks = chunks
    self.shards = shards
    self.make = make
  }

  static let all: [Linkable] = [
    Linkable("a leaf as it is", chunks: [4, 3]) { $0.leaf([8, 6], chunks: [4, 3], codecs: ["zstd"]) },
    Linkable("a leaf with chunks beyond its edges", chunks: [4, 4]) {
      $0.leaf([7, 6], chunks: [4, 4], codecs: ["zstd"])
    },
    Linkable("a scalar", chunks: []) { $0.leaf([], codecs: ["zstd"]) },
    Linkable("scalars stacked", chunks: [1]) { store in
      try stack((0..<3).map { _ in store.leaf([], codecs: ["zstd"]) }, axis: 0)
    },
    Linkable("layers stacked in front", chunks: [1, 4, 6]) { store in
      try stack(
        (0..<3).map { _ in store.leaf([8, 6], chunks: [4, 6], codecs: ["zstd", "crc32c"]) }, axis: 0)
    },
    Linkable("layers of several chunks stacked", chunks: [1, 3, 2]) { store in
      try stack((0..<2).map { _ in store.leaf([7, 5], chunks: [3, 2], codecs: ["zstd"]) }, axis: 0)
    },
    Linkable("rows of one in the chunks, stacked behind them", chunks: [1, 1, 6]) { store in
      try stack((0..<2).map { _ in store.leaf([8, 6], chunks: [1, 6], codecs: ["zstd"]) }, axis: 1)
    },
    Linkable("whole chunks stacked behind an axis", chunks: [4, 1, 6]) { store in
      try stack((0..<2).map { _ in store.leaf([4, 6], codecs: ["zstd"]) }, axis: 1)
    },
    Linkable("whole chunks stacked behind all axes", chunks: [4, 6, 1]) { store in
      try stack((0..<2).map { _ in store.leaf([4, 6], codecs: ["zstd"]) }, axis: 2)
    },
    Linkable("parts of whole chunks joined", chunks: [4, 6]) { store in
      try concatenate([8, 4, 12].map { store.leaf([$0, 6], chunks: [4, 6], codecs: ["zstd"]) }, axis: 0)
    },
    Linkable("the last part may end within a chunk", chunks: [4, 6]) { store in
      try concatenate([8, 4, 3].map { store.leaf([$0, 6], chunks: [4, 6], codecs: ["zstd"]) }, axis: 0)
    },
    Linkable("parts joined along the inner axis, where chunks end", chunks: [4, 3]) { store in
      try concatenate([3, 6].map { store.leaf([8, $0], chunks: [4, 3], codecs: ["zstd"]) }, axis: 1)
    },
    Linkable("a split where chunks end", chunks: [4, 6]) { store in
      try sliced(store.leaf([16, 6], chunks: [4, 6], codecs: ["zstd"]), rows: 4..<12)
    },
    Linkable("a split in the middle of the last chunk", chunks: [4, 6]) { store in
      try sliced(store.leaf([16, 6], chunks: [4, 6], codecs: ["zstd"]), rows: 8..<15)
    },
    Linkable("one layer of a stack", chunks: [4, 6]) { store in
      let leaf = store.leaf([3, 8, 6], chunks: [1, 4, 6], codecs: ["zstd"])
      return ExpressionPair(
        lazy: try leaf.lazy.sliced(2),
        naive: leaf.naive.sliced([(2, nil, 1), (0, 8, 1), (0, 6, 1)]))
    },
    Linkable("layers of a stack in another order", chunks: [1, 8, 6]) { store in
      let leaf = store.leaf([4, 8, 6], chunks: [1, 8, 6], codecs: ["zstd"])
      return ExpressionPair(
        lazy: try leaf.lazy.taking([3, 0, 0, 2]), naive: leaf.naive.taking([3, 0, 0, 2], axis: 0))
    },
    Linkable("a leaf repeated", chunks: [1, 8, 6]) { store in
      let leaf = store.leaf([8, 6], codecs: ["zstd"])
      return ExpressionPair(
        lazy: try leaf.lazy.broadcast(to: [3, 8, 6]), naive: leaf.naive.broadcast(to: [3, 8, 6]))
    },
    Linkable("an axis more", chunks: [1, 4, 1, 6]) { store in
      let leaf = store.leaf([8, 6], chunks: [4, 6], codecs: ["zstd"])
      return ExpressionPair(
        lazy: try leaf.lazy.expanded(axis: 0).expanded(axis: 2), naive: leaf.naive.reshaped([1, 8, 1, 6]))
    },
    Linkable("an axis less", chunks: [4, 6]) { store in
      let leaf = store.leaf([8, 1, 6], chunks: [4, 1, 6], codecs: ["zstd"])
      return ExpressionPair(lazy: try leaf.lazy.squeezed(), naive: leaf.naive.reshaped([8, 6]))
    },
    Linkable("heads made an axis, in chunks of whole heads", chunks: [2, 3, 6]) { store in
      let leaf = store.leaf([12, 6], chunks: [6, 6], codecs: ["zstd"])
      return ExpressionPair(lazy: try leaf.lazy.reshaped([4, 3, 6]), naive: leaf.naive.reshaped([4, 3, 6]))
    },
    Linkable("axes merged, whose chunks are whole rows", chunks: [12]) { store in
      let leaf = store.leaf([4, 6], chunks: [2, 6], codecs: ["zstd"])
      return ExpressionPair(lazy: try leaf.lazy.reshaped([24]), naive: leaf.naive.reshaped([24]))
    },
    Linkable("axes exchanged of which chunks have one index", chunks: [2, 1, 6]) { store in
      let leaf = store.leaf([3, 4, 6], chunks: [1, 2, 6], codecs: ["zstd"])
      return ExpressionPair(
        lazy: try leaf.lazy.transposed([1, 0, 2]), naive: leaf.naive.transposed([1, 0, 2]))
    },
    Linkable("chunks that were never written", chunks: [1, 4, 6]) { store in
      try stack(
        (0..<2).map { store.leaf([8, 6], chunks: [4, 6], codecs: ["zstd"], absent: [$0], fill: 7) }, axis: 0)
    },
    Linkable("nothing but chunks that were never written", chunks: [1, 4, 6]) { store in
      try stack(
        [
          store.leaf([8, 6], chunks: [4, 6], codecs: ["zstd"]),
          store.leaf([8, 6], chunks: [4, 6], codecs: [], absent: [0, 1], fill: 7),
        ], axis: 0)
    },
    // Runs of elements without codecs.
    Linkable("rows of a plain tensor", chunks: [3, 6]) { try sliced($0.leaf([8, 6]), rows: 2..<5) },
    Linkable("a part of one row", chunks: [3]) { store in
      let leaf = store.leaf([8, 6])
      return ExpressionPair(
        lazy: try leaf.lazy.sliced(3, 1..<4), naive: leaf.naive.sliced([(3, nil, 1), (1, 3, 1)]))
    },
    Linkable("every other row of a plain tensor", chunks: [1, 6]) { store in
      let leaf = store.leaf([8, 6])
      return ExpressionPair(
        lazy: try leaf.lazy.sliced(AxisSlice.strided(lower: 1, upper: nil, step: 2)),
        naive: leaf.naive.sliced([(1, 4, 2), (0, 6, 1)]))
    },
    Linkable("columns of a plain tensor", chunks: [1, 2]) { store in
      let leaf = store.leaf([8, 6])
      return ExpressionPair(
        lazy: try leaf.lazy.sliced(AxisSlice.all, 2..<4), naive: leaf.naive.sliced([(0, 8, 1), (2, 2, 1)]))
    },
    Linkable("plain tensors of different sizes joined", chunks: [4, 6]) { store in
      try concatenate([store.leaf([8, 6]), store.leaf([12, 6])], axis: 0)
    },
    Linkable("plain rows joined with plain chunks", chunks: [2, 6]) { store in
      try concatenate([store.leaf([8, 6], chunks: [2, 6]), store.leaf([4, 6])], axis: 0)
    },
    Linkable("plain tensors joined along the inner axis", chunks: [1, 3]) { store in
      try concatenate([store.leaf([2, 6]), store.leaf([2, 3])], axis: 1)
    },
    Linkable("plain rows reshaped", chunks: [2, 3, 6]) { store in
      let rows = try sliced(store.leaf([12, 6]), rows: 3..<9)
      return ExpressionPair(lazy: try rows.lazy.reshaped([2, 3, 6]), naive: rows.naive.reshaped([2, 3, 6]))
    },
    // Shards stay whole, and the chunks in them keep their order.
    Linkable("a leaf in shards", chunks: [2, 3], shards: [4, 6]) {
      $0.leaf([8, 6], chunks: [2, 3], shards: [4, 6], codecs: ["zstd"])
    },
    Linkable("leaves in shards stacked", chunks: [1, 2, 3], shards: [1, 4, 6]) { store in
      try stack(
        (0..<2).map { _ in store.leaf([8, 6], chunks: [2, 3], shards: [4, 6], codecs: ["zstd"]) }, axis: 0)
    },
    Linkable("shards joined", chunks: [2, 3], shards: [4, 6]) { store in
      try concatenate(
        [4, 8].map { store.leaf([$0, 6], chunks: [2, 3], shards: [4, 6], codecs: ["zstd"]) }, axis: 0)
    },
    Linkable("whole shards cut out", chunks: [2, 3], shards: [4, 6]) { store in
      try sliced(store.leaf([12, 6], chunks: [2, 3], shards: [4, 6]), rows: 4..<8)
    },
  ]
}

private func stack(_ pairs: [ExpressionPair], axis: Int) throws -> ExpressionPair {
  ExpressionPair(
    lazy: try .stack(pairs.map(\.lazy), axis: axis), naive: .stack(pairs.map(\.naive), axis: axis))
}

private func concatenate(_ pairs: [ExpressionPair], axis: Int) throws -> ExpressionPair {
  ExpressionPair(
    lazy: try .concatenate(pairs.map(\.lazy), axis: axis), naive: .concatenate(pairs.map(\.naive), axis: axis)
  )
}

private func sliced(_ pair: ExpressionPair, rows: Range<Int>) throws -> ExpressionPair {
  let rest = pair.naive.shape.dropFirst().map { (first: 0, count: Optional($0), step: 1) }
  return ExpressionPair(
    lazy: try pair.lazy.sliced(rows), naive: pair.naive.sliced([(rows.lowerBound, rows.count, 1)] + rest))
}

@Suite struct LinkPlannerTests {
  @Test(arguments: Linkable.all)
  fileprivate func `what is whole chunks in their order is linked`(_ linkable: Linkable) throws {
    var store = Store()
    let pair = try linkable.make(&store)
    let layout = try store.linked(pair.lazy)
    #expect(layout.chunkShape == linkable.chunks)
    #expect(layout.shards?.shape == linkable.shards)
    #expect(try naiveRead(layout, pair.lazy.spec, file: store.bytes, decode: Store.decode) == pair.naive)
  }

  @Test(arguments: seedBatches(8), [true, false])
  func `what is linked has the values that the same loops give`(batch: UInt64, isEncoded: Bool) throws {
    let seed = seedFromEnvironment() ?? batch &* 7331 &+ 5
    var random = SeededGenerator(seed: seed)
    var linkedCount = 0
    for round in 0..<250 {
      var maker =
        isEncoded
        ? RandomExpression(random: random, codecs: [Codec(name: "zstd")], encode: Store.encode)
        : RandomExpression(random: random)
      let pair = try maker.expression(depth: Int.random(in: 0...4, using: &maker.random))
      random = maker.random
      let context: Comment = "seed \(seed), round \(round): \(maker.log.joined(separator: ", "))"
      var planner = LinkPlanner()
      planner.addFiles(count: 1)
      guard case .linked(let layout) = planner.outcome(of: pair.lazy) else { continue }
      linkedCount += 1
      let read = try naiveRead(layout, pair.lazy.spec, file: maker.file, decode: Store.decode)
      #expect(read == pair.naive, context)
    }
    #expect(linkedCount > (isEncoded ? 40 : 80), "seed \(seed)")
  }

  @Test(
    arguments: [
      ([], .float32), ([1], .uint8), ([5, 7], .bfloat16), ([8 << 20], .float32), ([8 << 20 | 1], .float32),
      ([64, 1 << 20], .float32), ([1, 48 << 20], .uint8), ([7, 11 << 20], .int16), ([3, 5, 40 << 20], .bool),
      ([1 << 20 | 7, 61], .float64), ([2, 0], .float32),
    ] as [([Int], DType)])
  func `a tensor as it is is linked like one that the planner takes to pieces`(shape: [Int], dtype: DType) {
    let spec = TensorSpec(dtype, Shape(shape))
    let layout = Layout(
      contiguous: spec, file: 1, range: ByteRange(offset: 1000, count: spec.byteCount))
    let stored = LazyTensor(spec, StoredOperand(source: 1, path: "x", layout: layout))
    let pieces = LazyTensor(Expression(spec, .reshaped(stored.expression)))
    var planner = LinkPlanner()
    planner.addFiles(count: 3)
    planner.addFiles(count: 2)
    #expect(planner.outcome(of: stored) == planner.outcome(of: pieces))
    guard case .linked(let linked) = planner.outcome(of: stored) else {
      Issue.record("it is not linked")
      return
    }
    #expect(linked.storedByteCount == spec.byteCount)
    // What cannot be cut into equal parts stays whole.
    let isCut = linked.chunks.count > 1
    #expect(
      linked.chunks.allSatisfy {
        $0.stored?.file == 4 && (!isCut || $0.byteCount <= LinkPlanner.largestRunByteCount)
      })
  }

  @Test func `reasons say why not`() throws {
    var store = Store()
    func reason(_ tensor: LazyTensor) -> String {
      if case .rewritten(let reason) = store.outcome(tensor) { reason } else { "linked" }
    }
    let zstd = store.leaf([8, 6], chunks: [4, 6], codecs: ["zstd"]).lazy
    let blosc = store.leaf([8, 6], chunks: [4, 6], codecs: ["blosc"]).lazy
    let other = store.leaf([8, 6], chunks: [2, 6], codecs: ["zstd"]).lazy
    #expect(try reason(zstd.cast(to: .float32, lossy: true)) == "its values are computed: cast to float32")
    #expect(
      reason(try .initialized([2], .float32, .constant(0))) == "values of it are new")
    #expect(try reason(.stack([zstd, blosc])) == "its parts are stored with different codecs")
    let order = "the chunks of its sources, of shape [4, 6], are cut or come in another order"
    #expect(try reason(zstd.transposed()) == order)
    #expect(try reason(zstd.sliced(2..<6)) == order)
    #expect(try reason(.stack([zstd, other])) != "linked")
    let wide = store.leaf([2000, 6]).lazy
    #expect(try reason(wide.sliced(AxisSlice.all, 2..<4)) == "it would have 2000 chunks of 8 bytes each")
    let margin = "most of its chunks, of shape [4, 6], would be beyond its edges"
    #expect(try reason(zstd.sliced(AxisSlice.all, 0..<2)) == margin)
    let filled = store.leaf([4, 6], codecs: ["zstd"], absent: [0], fill: 1).lazy
    let otherwise = store.leaf([4, 6], codecs: ["zstd"], absent: [0], fill: 2).lazy
    #expect(try reason(.stack([filled, otherwise])) == "its parts have different fill values")
  }

  @Test func `shards that do not fit as a whole are to be looked into`() throws {
    var store = Store()
    let sharded = store.leaf([8, 6], chunks: [2, 6], shards: [4, 6], codecs: ["zstd"]).lazy
    let plain = store.leaf([8, 6], chunks: [2, 6], codecs: ["zstd"]).lazy
    #expect(store.outcome(try sharded.sliced(2..<4)) == .hiddenInShards)
    #expect(store.outcome(try .stack([sharded, plain])) == .hiddenInShards)
  }

  @Test func `large plain tensors are linked in parts of equal size`() throws {
    // Nothing is read, so that there need not be any bytes.
    func layout(_ shape: Shape) throws -> Layout {
      let spec = TensorSpec(.float32, shape)
      let layout = Layout(contiguous: spec, file: 0, range: ByteRange(offset: 8, count: spec.byteCount))
      return try Store().linked(LazyTensor(spec, StoredOperand(source: 0, path: "leaf", layout: layout)))
    }
    #expect(try layout([32000, 4096]).chunkShape == [2000, 4096])
    #expect(try layout([3, 20 << 20]).chunkShape == [1, 5 << 20])
    #expect(try layout([16_777_259]).chunkShape == [16_777_259], "a prime has no equal parts")
    let chunks = try layout([32000, 4096]).chunks.compactMap(\.stored?.range)
    #expect(chunks.count == 16)
    #expect(chunks.first == ByteRange(offset: 8, count: 2000 * 4096 * 4))
    #expect(zip(chunks, chunks.dropFirst()).allSatisfy { $0.end == $1.offset })
  }
}
