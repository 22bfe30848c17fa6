import Foundation
import GraftCore
import GraftExecute
import GraftFormats
import GraftIO
import GraftTestSupport
import Testing

/// Two folders' worth of float32 matrices in one file, as stored leaves.
private final class StoredMatrices {
  let path = NSTemporaryDirectory() + "/graft-figures-\(UUID().uuidString)"
  private(set) var bytes: [UInt8] = []

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func add(_ values: [Float], _ shape: Shape, as dtype: DType = .float32) throws -> LazyTensor {
    let spec = TensorSpec(dtype, shape)
    var stored = values.withUnsafeBytes(Array.init)
    if dtype == .bfloat16 {
      stored = values.flatMap { withUnsafeBytes(of: UInt16($0.bitPattern >> 16), Array.init) }
    }
    let range = ByteRange(offset: bytes.count, count: spec.byteCount)
    bytes += stored
    let layout = Layout(contiguous: spec, file: 0, range: range)
    return LazyTensor(spec, StoredOperand(source: 0, path: "leaf", layout: layout))
  }

  func plan(_ tensors: [LazyTensor]) throws -> Plan {
    try Data(bytes).write(to: URL(filePath: path))
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: bytes.count)])
    for (index, tensor) in tensors.enumerated() { _ = try planner.add(TreePath([Key("r\(index)")]), tensor) }
    return planner.plan()
  }

  /// Carries the plan out into memory; the raw bytes of each result.
  func run(_ plan: Plan, budget: Int = 64 << 20) async throws -> (results: [[UInt8]], report: ReadReport) {
    var tuning = Tuning()
    tuning.budgetByteCount = budget
    tuning.threadCount = 2
    let host = try await HostDestination(plan, tuning: tuning)
    let report = try await Executor(plan, tuning: tuning).run(into: host.places)
    let results = host.tensors.map { tensor in (try? tensor.memory).map { Array($0) } ?? [] }
    #expect(report.peakStagingByteCount <= budget)
    return (results, report)
  }
}

private func floats(_ bytes: [UInt8]) -> [Float] {
  bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
}

@Suite struct FigureTests {
  static func values(_ count: Int, _ random: inout SeededGenerator) -> [Float] {
    (0..<count).map { _ in Float.random(in: -1...1, using: &random) }
  }

  /// `weight + scale * (up @ down)`, each operation rounded to float32, in the order of the rank.
  static func folded(
    _ weight: [Float], _ up: [Float], _ down: [Float], _ rows: Int, _ columns: Int, _ rank: Int,
    _ scale: Float
  ) -> [Float] {
    var result = weight
    for row in 0..<rows {
      for column in 0..<columns {
        var sum: Float = 0
        for k in 0..<rank {
          let product = up[row * rank + k] * down[k * columns + column]
          sum += product
        }
        let scaled = scale * sum
        result[row * columns + column] += scaled
      }
    }
    return result
  }

  @Test(arguments: [(7, 5, 1), (64, 33, 3), (190, 90, 16)])
  func `a low-rank product is folded as the loops say, bit for bit`(rows: Int, columns: Int, rank: Int)
    async throws
  {
    var random = SeededGenerator(seed: UInt64(rows))
    let stored = StoredMatrices()
    let (weight, up, down) = (
      Self.values(rows * columns, &random), Self.values(rows * rank, &random),
      Self.values(rank * columns, &random)
    )
    let lazyWeight = try stored.add(weight, [rows, columns])
    let (lazyUp, lazyDown) = (try stored.add(up, [rows, rank]), try stored.add(down, [rank, columns]))
    let folding = try lazyWeight.folding(down: lazyDown, up: lazyUp, scale: 0.3)
    let plan = try stored.plan([
      folding, try folding.transposed(), try folding.sliced(1..<rows, .strided(by: 2)),
      try folding.cast(to: .float64),
    ])
    let expected = Self.folded(weight, up, down, rows, columns, rank, 0.3)
    let (results, report) = try await stored.run(plan)
    #expect(floats(results[0]) == expected)
    #expect(floats(results[1]) == (0..<(rows * columns)).map { expected[$0 % rows * columns + $0 / rows] })
    let part = (1..<rows).flatMap { row in
      stride(from: 0, to: columns, by: 2).map { expected[row * columns + $0] }
    }
    #expect(floats(results[2]) == part)
    // Each factor is read once, whatever the number of results.
    #expect(plan.pass.count == 1 && plan.pass[0].results.count == 2)
    let alone = try await stored.run(try stored.plan([folding])).report
    #expect(alone.bytesRead == 4 * (rows * columns + rank * (rows + columns)))
    #expect(report.bytesRead >= alone.bytesRead)
    // The same as far as the tiles go.
    #expect(floats(try await stored.run(plan, budget: 1 << 20).results[0]) == expected)
  }

  @Test func `a folded weight of bfloat16 is rounded once`() async throws {
    var random = SeededGenerator(seed: 5)
    let stored = StoredMatrices()
    let weight = Self.values(40 * 24, &random).map { Float(bitPattern: $0.bitPattern & 0xFFFF_0000) }
    let (up, down) = (Self.values(40 * 2, &random), Self.values(2 * 24, &random))
    let folding = try stored.add(weight, [40, 24], as: .bfloat16).folding(
      down: stored.add(down, [2, 24]), up: stored.add(up, [40, 2]), scale: 2)
    let expected = Self.folded(weight, up, down, 40, 24, 2, 2).map { value -> UInt16 in
      let bits = value.bitPattern
      return UInt16(truncatingIfNeeded: (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
    }
    let bytes = try await stored.run(try stored.plan([folding])).results[0]
    #expect(bytes.withUnsafeBytes { Array($0.bindMemory(to: UInt16.self)) } == expected)
  }

  @Test func `factors that do not fit their part of the budget are an error that names the leaf`()
    async throws
  {
    let stored = StoredMatrices()
    let (rows, rank) = (1024, 256)
    let weight = try stored.add([Float](repeating: 1, count: rows * 4), [rows, 4])
    let up = try stored.add([Float](repeating: 1, count: rows * rank), [rows, rank])
    let down = try stored.add([Float](repeating: 1, count: rank * 4), [rank, 4])
    let plan = try stored.plan([try weight.folding(down: down, up: up, scale: 1)])
    let error = await #expect(throws: GraftError.self) { try await stored.run(plan, budget: 2 << 20) }
    #expect(error?.code == .insufficientMemory && error?.leaf == "r0")
    #expect(floats(try await stored.run(plan).results[0]).allSatisfy { $0 == 257 })
  }

  @Test func `many adapters are folded in groups that the budget has room for`() async throws {
    let stored = StoredMatrices()
    var tensors: [LazyTensor] = []
    for index in 0..<8 {
      let weight = try stored.add([Float](repeating: Float(index), count: 4096), [1024, 4])
      let up = try stored.add([Float](repeating: 1, count: 1024 * 32), [1024, 32])
      let down = try stored.add([Float](repeating: 1, count: 32 * 4), [32, 4])
      tensors.append(try weight.folding(down: down, up: up, scale: 1))
    }
    let plan = try stored.plan(tensors + [tensors[0], try .weightedSum([tensors[1]], weights: [2])])
    let results = try await stored.run(plan, budget: 2 << 20).results
    for index in 0..<8 {
      #expect(floats(results[index]) == [Float](repeating: Float(index + 32), count: 4096))
    }
    #expect(floats(results[9]).allSatisfy { $0 == 66 })
  }

  static func slerp(_ a: [Float], _ b: [Float], _ t: Double) -> [Float] {
    func dot(_ x: [Float], _ y: [Float]) -> Double {
      zip(x, y).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    }
    let cosine = dot(a, b) / (dot(a, a).squareRoot() * dot(b, b).squareRoot())
    var (s, u) = (1 - t, t)
    if abs(cosine) <= 0.9995 {
      let angle = acos(cosine)
      (s, u) = (sin(angle * (1 - t)) / sin(angle), sin(angle * t) / sin(angle))
    }
    return zip(a, b).map { Float(s) * $0 + Float(u) * $1 }
  }

  @Test(arguments: [0, 0.25, 0.7, 1])
  func `interpolation on the sphere has the weights of the whole tensors' norms and angle`(t: Double)
    async throws
  {
    var random = SeededGenerator(seed: 9)
    let stored = StoredMatrices()
    let (a, b) = (Self.values(300 * 200, &random), Self.values(300 * 200, &random).map { $0 * 3 })
    let (first, second) = (try stored.add(a, [300, 200]), try stored.add(b, [300, 200]))
    let slerp = try first.slerped(to: second, SphericalInterpolation(at: t))
    let plan = try stored.plan([slerp, try slerp.sliced(7), try slerp.scaled(by: 2)])
    let expected = Self.slerp(a, b, t)
    let (results, report) = try await stored.run(plan)
    let close = zip(floats(results[0]), expected).allSatisfy { abs($0 - $1) <= 4e-7 * max(1, abs($1)) }
    #expect(close)
    #expect(floats(results[1]) == Array(floats(results[0])[1400..<1600]))
    #expect(floats(results[2]) == floats(results[0]).map { $0 * 2 })
    // The pass reads both tensors once, and the result once more.
    #expect(plan.pass.first?.results.count == 1)
    let alone = try await stored.run(try stored.plan([slerp])).report
    #expect(alone.bytesRead == 2 * 480_000 && report.bytesRead >= alone.bytesRead)
    // The sums are exact, so that neither the tiles nor the threads show.
    let small = try await stored.run(plan, budget: 1 << 20).results
    #expect(small == results)
  }

  @Test func `tensors of one direction, of opposite ones or without one are interpolated linearly`()
    async throws
  {
    let stored = StoredMatrices()
    let a: [Float] = [1, 2, 3, 4]
    let parallel = try stored.add(a, [4]).slerped(
      to: stored.add(a.map { $0 * 2 }, [4]), SphericalInterpolation(at: 0.25))
    let opposite = try stored.add(a, [4]).slerped(
      to: stored.add(a.map { -$0 }, [4]), SphericalInterpolation(at: 0.25))
    let itself = try stored.add(a, [4])
    // A tensor of zeros has no angle with another: mergekit takes it for a right one.
    let zero = try stored.add([0, 0, 0, 0], [4]).slerped(to: itself, SphericalInterpolation(at: 1))
    let plan = try stored.plan([parallel, opposite, try itself.slerped(to: itself, .init(at: 0.5)), zero])
    let results = try await stored.run(plan).results.map(floats)
    #expect(results[0] == a.map { $0 * 0.75 + $0 * 2 * 0.25 })
    #expect(results[1] == a.map { $0 * 0.75 - $0 * 0.25 })
    #expect(results[2] == a)
    #expect(results[3] == a)
  }

  @Test func `a figure may be of what needs figures itself`() async throws {
    let stored = StoredMatrices()
    let a = try stored.add([1, 0, 0, 0], [4])
    let b = try stored.add([0, 1, 0, 0], [4])
    let middle = try a.slerped(to: b, .init(at: 0.5))
    let plan = try stored.plan([try middle.slerped(to: a, .init(at: 0.5))])
    #expect(plan.pass.first?.pass.count == 1)
    let values = floats(try await stored.run(plan).results[0])
    #expect(
      abs(values[0] - Float(cos(Double.pi / 8))) < 1e-6 && abs(values[1] - Float(sin(Double.pi / 8))) < 1e-6)
    #expect(plan.description.contains("before that:"))
  }

  @Test func `a forecast counts what the pass reads`() async throws {
    let stored = StoredMatrices()
    let weight = try stored.add([Float](repeating: 1, count: 600), [20, 30])
    let folding = try weight.folding(
      down: stored.add([Float](repeating: 1, count: 60), [2, 30]),
      up: stored.add([Float](repeating: 1, count: 40), [20, 2]), scale: 1)
    let plan = try stored.plan([folding])
    #expect(try Executor(plan.pass[0], tuning: Tuning()).forecast().bytesRead == 400)
    #expect(try Executor(plan, tuning: Tuning()).forecast().bytesRead >= 400)
  }
}
