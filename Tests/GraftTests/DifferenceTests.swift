import Foundation
import Graft
import GraftCore
import GraftTestSupport
import Testing

@Suite struct DifferenceTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private typealias Contents = [(name: String, dtype: String, shape: [Int], data: [UInt8])]

  private func difference(
    _ first: Contents, _ second: Contents, selecting selection: Selection = Selection(),
    tolerance: Double? = nil, tuning: Tuning = Tuning()
  ) async throws -> CheckpointDifference {
    let a = try HandMadeFile(first, in: folder, name: "a.safetensors")
    let b = try HandMadeFile(second, in: folder, name: "b.safetensors")
    return try await Checkpoint(at: a.path).difference(
      from: Checkpoint(at: b.path), selecting: selection, tolerance: tolerance, tuning: tuning)
  }

  @Test func `leaves that one lacks, of another spec, of other values, and equal ones are told apart`()
    async throws
  {
    let result = try await difference(
      [
        ("only.a", "U8", [1], [1]), ("shape", "U8", [2], [1, 2]), ("dtype", "U8", [2], [1, 2]),
        ("same", "F32", [2], bytes([Float](arrayLiteral: 1, 2))), ("empty", "F32", [0], []),
        ("other", "I8", [3], bytes([Int8](arrayLiteral: -128, 5, 0))),
      ],
      [
        ("shape", "U8", [1, 2], [1, 2]), ("dtype", "I8", [2], [1, 2]),
        ("same", "F32", [2], bytes([Float](arrayLiteral: 1, 2))), ("empty", "F32", [0], []),
        ("other", "I8", [3], bytes([Int8](arrayLiteral: 127, 5, 1))), ("only.b", "U8", [1], [1]),
      ])
    #expect(result.onlyInFirst == ["only/a"] && result.onlyInSecond == ["only/b"])
    #expect(Set(result.otherSpecs.map(\.path)) == ["shape", "dtype"])
    #expect(result.equalLeafCount == 2 && result.sharedLeafCount == 0 && !result.isEmpty)
    let other = try #require(result.otherValues.first)
    #expect(result.otherValues.count == 1 && other.path == "other")
    #expect((other.elementCount, other.differingCount, other.incomparableCount) == (3, 2, 0))
    #expect(other.largestDistance == 255)
    // Only what both have alike is read.
    #expect(result.reading.bytesWanted == 2 * (8 + 3))
  }

  /// Two tensors, and how they differ.
  struct Case: Sendable, CustomTestStringConvertible {
    var dtype: String
    var first: [UInt8]
    var second: [UInt8]
    var tolerance: Double?
    var differing: Int
    var incomparable: Int
    var distance: Double

    init(
      _ dtype: String, _ first: [UInt8], _ second: [UInt8], _ tolerance: Double?, _ differing: Int,
      _ incomparable: Int, _ distance: Double
    ) {
      (self.dtype, self.first, self.second, self.tolerance) = (dtype, first, second, tolerance)
      (self.differing, self.incomparable, self.distance) = (differing, incomparable, distance)
    }

    var testDescription: String {
      "\(dtype), \(first) and \(second), \(tolerance.map { "\($0)" } ?? "exact")"
    }
  }

  private static func floats(_ values: Float...) -> [UInt8] { bytes(values) }

  // Dtype, elements of the first and the second, tolerance, how many differ, how many incomparably, by how much.
  static let cases: [Case] = [
    Case("F32", floats(.nan, 1), floats(.nan, 1), nil, 0, 0, 0),
    Case("F32", floats(.nan, 1), floats(-.nan, 1), nil, 1, 0, 0),
    Case("F32", floats(.nan, 1), floats(-.nan, 1), 0, 0, 0, 0),
    Case("F32", floats(0, 1), floats(-0.0, 1), nil, 1, 0, 0),
    Case("F32", floats(0, 1), floats(-0.0, 1), 0, 0, 0, 0),
    Case("F32", floats(.nan, .infinity, 1), floats(2, 7, 4), nil, 3, 2, 3),
    Case("F32", floats(.infinity, 1), floats(.infinity, 1.5), 0.5, 0, 0, 0),
    Case("F32", floats(.infinity, 1), floats(-.infinity, 1.5), 0.25, 2, 1, 0.5),
    Case("F64", bytes([1.0, 2]), bytes([(1.0).nextUp, 2]), nil, 1, 0, 0x1p-52),
    Case("BF16", [0x80, 0x3F, 0, 0], [0x81, 0x3F, 0, 0], nil, 1, 0, 0x1p-7),
    Case("I64", bytes([Int64.min, 5]), bytes([Int64.max, 5]), nil, 1, 0, 0x1p64),
    Case("U64", bytes([UInt64.max, 5]), bytes([UInt64.max - 1, 5]), nil, 1, 0, 1),
    Case("U64", bytes([UInt64.max, 5]), bytes([UInt64.max - 1, 5]), 1, 0, 0, 0),
    Case("BOOL", [0, 1], [1, 1], nil, 1, 0, 1),
    Case("C64", floats(1, 2, 0, 0), floats(4, -2, 0, 0), nil, 1, 0, 5),
    Case("F4", [0x21], [0x23], nil, 1, 0, 1),
  ]

  @Test(arguments: cases)
  func `how far elements are apart`(
    example: Case
  ) async throws {
    let bits = ["F4": 4, "BOOL": 8, "BF16": 16, "F32": 32][example.dtype] ?? 64
    let shape = [example.first.count * 8 / bits]
    let result = try await difference(
      [("x", example.dtype, shape, example.first)], [("x", example.dtype, shape, example.second)],
      tolerance: example.tolerance)
    let found = result.otherValues.first
    #expect(found?.differingCount ?? 0 == example.differing)
    #expect(found?.incomparableCount ?? 0 == example.incomparable)
    #expect(found?.largestDistance ?? 0 == example.distance)
    #expect(result.isEmpty == (example.differing == 0))
  }

  @Test func `any difference is counted, whatever the budget`() async throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 51)
    let count = 300_001
    let first = (0..<count).map { _ in Int16.random(in: -1000...1000, using: &random) }
    var second = first
    var changed: Set<Int> = []
    var distance = 0
    for _ in 0..<200 {
      let index = Int.random(in: 0..<count, using: &random)
      guard changed.insert(index).inserted else { continue }
      let step = Int16.random(in: 1...3000, using: &random)
      second[index] += step
      distance = max(distance, Int(step))
    }
    for budget in [200 << 10, 4 << 20, 256 << 20] {
      var tuning = Tuning()
      tuning.budgetByteCount = budget
      let result = try await difference(
        [("x", "I16", [count], bytes(first))], [("x", "I16", [count], bytes(second))], tuning: tuning)
      let found = try #require(result.otherValues.first)
      #expect(found.differingCount == changed.count, "seed \(random.seed), budget \(budget)")
      #expect(found.largestDistance == Double(distance), "seed \(random.seed), budget \(budget)")
      #expect(result.reading.peakStagingByteCount <= budget)
    }
  }

  @Test(arguments: OrbaxCheckpoint.all)
  func `a checkpoint is equal to itself, without reading it, and to its copy, with reading`(
    fixture: OrbaxCheckpoint
  ) async throws {
    let checkpoint = try await fixture.open()
    let itself = try await checkpoint.difference(from: checkpoint)
    #expect(itself.isEmpty && itself.reading.bytesRead == 0)
    #expect(itself.equalLeafCount == checkpoint.tree.leaves.count)
  }

  @Test func `two ways to store the same tensors are equal`() async throws {
    // The same arrays in a database and in folders, compressed in different ways.
    let first = try await OrbaxCheckpoint.named("v1-folders-zarr2").open()
    let second = try await OrbaxCheckpoint.named("v1-folders-zarr3").open()
    let common = Set(first.tree.leaves.map(\.path)).intersection(second.tree.leaves.map(\.path))
    let result = try await first.difference(from: second)
    #expect(result.equalLeafCount + result.otherValues.count + result.otherSpecs.count == common.count)
    for leaf in result.otherValues {
      // What the fixtures' own digests say.
      let (a, b) = (
        try OrbaxCheckpoint.named("v1-folders-zarr2"), try OrbaxCheckpoint.named("v1-folders-zarr3")
      )
      func digest(_ fixture: OrbaxCheckpoint) -> String? {
        fixture.leaves.first { Key($0.key) == Key(leaf.path.description) }?.value["sha256"]?.text
      }
      #expect(digest(a) != digest(b))
    }
  }

  @Test func `a selection compares what it selects in either`() async throws {
    let result = try await difference(
      [("a.x", "U8", [1], [1]), ("b", "U8", [1], [1])], [("a.y", "U8", [1], [1]), ("b", "U8", [1], [2])],
      selecting: Selection([.select("a")]))
    #expect(result.onlyInFirst == ["a/x"] && result.onlyInSecond == ["a/y"] && result.otherValues.isEmpty)
    await #expect(throws: GraftError.self) {
      try await difference(
        [("a", "U8", [1], [1])], [("a", "U8", [1], [1])], selecting: Selection([.select("none")]))
    }
  }

  @Test func `a negative tolerance is refused`() async throws {
    let error = await #expect(throws: GraftError.self) {
      try await difference([("a", "U8", [1], [1])], [("a", "U8", [1], [1])], tolerance: -1)
    }
    #expect(error?.code == .invalidArgument)
  }
}
