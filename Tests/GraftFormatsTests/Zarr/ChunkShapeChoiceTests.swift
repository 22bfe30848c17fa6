import GraftCore
import GraftFormats
import GraftTestSupport
import Testing

struct ChunkShapeChoiceTests {
  struct Choice: CustomTestStringConvertible {
    var shape: Shape
    var limit: Int
    var cuts: [ChunkShapeChoice.Cut] = []
    var expected: Shape
    var dtype = DType.float32
    var testDescription: String { "\(dtype)\(shape) in \(limit)" }
  }

  @Test(arguments: [
    Choice(shape: [], limit: 4, expected: []),
    Choice(shape: [0, 3], limit: 4, expected: [1, 1]),
    Choice(shape: [8, 4], limit: 128, expected: [8, 4]),
    // Half of the rows, then rows that do not divide, then one row, then parts of a row.
    Choice(shape: [8, 4], limit: 127, expected: [4, 4]),
    Choice(shape: [7, 4], limit: 111, expected: [4, 4]),
    Choice(shape: [9, 4], limit: 100, expected: [5, 4]),
    Choice(shape: [8, 4], limit: 16, expected: [1, 4]),
    Choice(shape: [8, 4], limit: 15, expected: [1, 2]),
    Choice(shape: [8, 4], limit: 3, expected: [1, 1]),
    Choice(shape: [2, 3, 1024, 1024], limit: 4 << 20, expected: [1, 1, 1024, 1024]),
    // Vocabularies. 1,365 rows fit, and 50,257 is 29 times 1,733: 37 chunks, the last padded by 26 rows.
    Choice(shape: [50_257, 768], limit: 4 << 20, expected: [1_359, 768]),
    // 2,340 rows fit, and 151,936 is 128 times 1,187, just over half.
    Choice(shape: [151_936, 896], limit: 4 << 20, expected: [1_187, 896], dtype: .bfloat16),
    // Elements of four bits have a byte each.
    Choice(shape: [8, 4], limit: 31, expected: [4, 4], dtype: .int4),
    Choice(shape: [64, 8], limit: 1 << 20, cuts: [.init(axis: 0, partCount: 4)], expected: [16, 8]),
    Choice(shape: [64, 8], limit: 1 << 20, cuts: [.init(axis: -1, partCount: 3)], expected: [64, 3]),
    Choice(
      shape: [64, 8], limit: 1 << 20, cuts: [.init(axis: 1, partCount: 99), .init(axis: 5, partCount: 2)],
      expected: [64, 1]),
    Choice(shape: [64, 8], limit: 64, cuts: [.init(axis: 1, partCount: 2)], expected: [4, 4]),
  ])
  func `leading axes are cut first, into rows that divide them where that is not too small`(choice: Choice) {
    let found = ChunkShapeChoice(byteCountLimit: choice.limit, cuts: choice.cuts)
      .chunkShape(of: TensorSpec(choice.dtype, choice.shape))
    #expect(found == choice.expected)
  }

  @Test(arguments: seedBatches(20))
  func `chunks keep within the limit, are not needlessly small, and pad little`(batch: UInt64) {
    let seed = seedFromEnvironment() ?? (0xC4 + batch)
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<200 {
      let rank = Int.random(in: 0...5, using: &generator)
      let shape = Shape((0..<rank).map { _ in Int.random(in: 1...60, using: &generator) })
      let dtype = DType.allCases.randomElement(using: &generator)!
      let size = max(1, dtype.bitWidth / 8)
      let limit = Int.random(in: 1...20_000, using: &generator)
      let chunk = ChunkShapeChoice(byteCountLimit: limit).chunkShape(of: TensorSpec(dtype, shape))
      let note: Comment = "seed \(seed): \(dtype)\(shape) in \(limit) gave \(chunk)"
      #expect(chunk.rank == rank && zip(chunk, shape).allSatisfy { 1...$1 ~= $0 }, note)
      let byteCount = chunk.elementCount * size
      #expect(byteCount <= max(limit, size), note)
      let whole = shape.elementCount * size
      #expect(byteCount == whole || 4 * byteCount > min(limit, whole) || byteCount == size, note)
      let padded = zip(shape, chunk).reduce(size) { $0 * (($1.0 + $1.1 - 1) / $1.1 * $1.1) }
      #expect(padded <= whole + whole / 2, note)
      // One run of the row-major order: ones, then any extent, then whole axes.
      let cut = chunk.extents.firstIndex { $0 > 1 } ?? rank
      #expect((cut..<rank).dropFirst().allSatisfy { chunk[$0] == shape[$0] }, note)
    }
  }

  @Test func `huge extents are decided at once, also where nothing divides them`() {
    // A prime, and the largest that there is.
    for extent in [(1 << 61) - 1, Int.max] {
      let chunk = ChunkShapeChoice().chunkShape(of: TensorSpec(.uint8, [extent]))
      #expect(chunk[0] <= 4 << 20 && chunk[0] >= 1 << 20)
    }
    #expect(
      ChunkShapeChoice(byteCountLimit: .max).chunkShape(of: TensorSpec(.uint8, [Int.max])) == [Int.max])
  }
}
