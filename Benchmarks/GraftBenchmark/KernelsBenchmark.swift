internal import CGraftKernels
internal import GraftCore
internal import GraftExecute
internal import GraftIO
internal import GraftMeasure

/// Runs each of the computing kernels over memory, beside a copy of as many bytes as the larger side of it has.
///
/// All on one thread, tile by tile as an executor does it: a tile of the second-level cache's size at a time, so that each
/// figure is of memory on both sides, unless it says otherwise.
struct KernelsBenchmark {
  let options: BenchmarkOptions

  init(_ options: BenchmarkOptions) { self.options = options }

  /// The bytes of the larger side: more than any cache holds.
  private var byteCount: Int { options.size == .full ? 256 << 20 : 1 << 20 }
  /// The elements of a tile; in float32 half of a second-level cache of 1 MiB with two operands.
  private static let tileElementCount = 64 << 10

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    report.conditions.append("one thread, \(byteCount) bytes on the larger side, \(Kernels.best.variant)")
    let memory = try Memory(byteCount: byteCount)
    try memory.fill()
    try await measureCasts(memory, &report)
    try await measureArithmetic(memory, &report)
    try await measureRandom(memory, &report)
    try await measureTransposes(memory, &report)
    try await measureProduct(memory, &report)
    return report
  }

  /// Two operands and a result.
  private struct Memory: Sendable {
    let first, second, result: PoolExtent

    init(byteCount: Int) throws(GraftError) {
      first = try MemoryPool.shared.allocate(byteCount: byteCount, alignment: 4096)
      second = try MemoryPool.shared.allocate(byteCount: byteCount, alignment: 4096)
      result = try MemoryPool.shared.allocate(byteCount: byteCount, alignment: 4096)
    }

    /// Numbers of moderate size, whatever float they are read as; the pattern is in the upper half of each float32.
    func fill() throws(GraftError) {
      for extent in [first, second, result] {
        try extent.populate()
        unsafe extent.bytes.withMemoryRebound(to: UInt32.self) { words in
          for index in words.indices {
            let bits = UInt32(truncatingIfNeeded: ModelFile.mixed(UInt64(index)))
            unsafe words[index] = 0x3C00_3C00 ^ (bits & 0x83FF_83FF)
          }
        }
      }
    }
  }

  /// A copy of the result's size, which is what the others are compared with.
  private func copy(_ memory: Memory, byteCount: Int? = nil) -> Contestant {
    let count = byteCount ?? self.byteCount
    return Contestant(blocking: "memcpy", byteCount: count) { () throws(GraftError) in
      for start in stride(from: 0, to: count, by: 4 << 20) {
        let range = start..<min(count, start + 4 << 20)
        unsafe UnsafeMutableRawBufferPointer(rebasing: memory.result.bytes[range])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: memory.first.bytes[range]))
      }
    }
  }

  /// A kernel that is called for one tile of elements after the other.
  private func tiles(
    _ name: String, elementCount: Int, byteCount: Int,
    _ body: @escaping @Sendable (_ range: Range<Int>) -> Void
  ) -> Contestant {
    Contestant(blocking: name, byteCount: byteCount) { () throws(GraftError) in
      for start in stride(from: 0, to: elementCount, by: Self.tileElementCount) {
        body(start..<min(elementCount, start + Self.tileElementCount))
      }
    }
  }

  private func measure(
    _ title: String, _ contestants: [Contestant], _ report: inout BenchmarkReport
  ) async throws(GraftError) -> [Measurement] {
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    var table = BenchmarkReport.Table(title, ["kernel", "GiB/s of the larger side", "to the first"])
    for result in results {
      table.rows.append([
        .text(result.name), .spread(result.gibPerSecond), .spread(result.speed(relativeTo: results[0])),
      ])
    }
    report.tables.append(table)
    return results
  }

  // MARK: casts

  private static let casts: [(DType, DType)] = [
    (.bfloat16, .float32), (.float32, .bfloat16), (.float16, .float32), (.float32, .float16),
    (.float16, .bfloat16), (.float32, .float64), (.float64, .float32), (.float64, .bfloat16),
    (.float8E4M3FN, .float32), (.float8E4M3FN, .bfloat16), (.float32, .float8E4M3FN), (.int8, .float32),
    (.float32, .int8), (.int4, .bfloat16), (.int32, .int64), (.int64, .int32),
  ]

  private func measureCasts(_ memory: Memory, _ report: inout BenchmarkReport) async throws(GraftError) {
    var contestants = [copy(memory)]
    for (from, to) in Self.casts {
      let elementCount = byteCount * 8 / max(from.bitWidth, to.bitWidth)
      contestants.append(
        tiles("\(from) to \(to)", elementCount: elementCount, byteCount: byteCount) { range in
          let (source, destination) = (ElementFormat(from), ElementFormat(to))
          unsafe Kernels.best.cast(
            memory.first.elements(range, source), source, to: memory.result.room(range, destination),
            destination,
            count: range.count)
        })
    }
    let results = try await measure("casts", contestants, &report)
    for index in 1...2 {
      report.claims.append(
        .init(
          "\(results[index].name) / memcpy", results[index].speed(relativeTo: results[0]).median,
          .atLeast(0.8)))
    }
  }

  // MARK: arithmetic

  private func measureArithmetic(_ memory: Memory, _ report: inout BenchmarkReport) async throws(GraftError) {
    let operations: [(String, ElementOperation)] = [
      ("a + b", .add), ("a * b", .multiply), ("a / b", .divide), ("a + s b", .accumulate(0.3)),
      ("s a + t b", .combine(0.3, 0.7)), ("s a", .scale(0.3)),
    ]
    var contestants = [copy(memory)]
    for dtype in [DType.float32, .bfloat16] {
      let format = ElementFormat(dtype)
      for (name, operation) in operations {
        contestants.append(
          tiles("\(name), \(dtype)", elementCount: byteCount * 8 / dtype.bitWidth, byteCount: byteCount) {
            range in
            unsafe Kernels.best.compute(
              operation, in: .float32, KernelOperand(memory.first.elements(range, format), format),
              operation.isBinary ? KernelOperand(memory.second.elements(range, format), format) : nil,
              to: memory.result.room(range, format), format, count: range.count)
          })
      }
      contestants.append(
        tiles(
          "sum of a b, \(dtype)", elementCount: byteCount * 8 / dtype.bitWidth, byteCount: byteCount
        ) { range in
          var sum = ExactSum()
          unsafe sum.addProducts(
            of: KernelOperand(memory.first.elements(range, format), format),
            and: KernelOperand(memory.second.elements(range, format), format), count: range.count)
        })
    }
    _ = try await measure("arithmetic", contestants, &report)
  }

  // MARK: random numbers

  private func measureRandom(_ memory: Memory, _ report: inout BenchmarkReport) async throws(GraftError) {
    // A quarter, as these take longer.
    let count = byteCount / 4
    var contestants = [copy(memory, byteCount: count)]
    let distributions: [(String, RandomDistribution)] = [
      ("uniform", .uniform(-1..<1)), ("normal", .normal(mean: 0, standardDeviation: 1)),
      ("truncated normal", .truncatedNormal(mean: 0, standardDeviation: 1)),
    ]
    for dtype in [DType.float32, .bfloat16] {
      for (name, distribution) in distributions {
        let elements = RandomElements(distribution, seed: 1, stream: 2)
        contestants.append(
          tiles("\(name), \(dtype)", elementCount: count * 8 / dtype.bitWidth, byteCount: count) { range in
            unsafe elements.write(
              range, of: dtype, to: memory.result.room(range, ElementFormat(dtype)))
          })
      }
    }
    _ = try await measure("random numbers", contestants, &report)
  }

  // MARK: placement

  /// A plain transpose of square blocks, each element loaded and stored by itself.
  private static func transposeBlocks<Element: BitwiseCopyable>(
    _: Element.Type, _ memory: Memory, rows: Int, columns: Int
  ) {
    unsafe memory.first.bytes.withMemoryRebound(to: Element.self) { source in
      unsafe memory.result.bytes.withMemoryRebound(to: Element.self) { destination in
        guard let from = source.baseAddress, let to = destination.baseAddress else { return }
        let block = 32
        for rowStart in stride(from: 0, to: rows, by: block) {
          for columnStart in stride(from: 0, to: columns, by: block) {
            for column in columnStart..<min(columns, columnStart + block) {
              for row in rowStart..<min(rows, rowStart + block) {
                unsafe to[column &* rows &+ row] = from[row &* columns &+ column]
              }
            }
          }
        }
      }
    }
  }

  private func measureTransposes(_ memory: Memory, _ report: inout BenchmarkReport) async throws(GraftError) {
    var contestants = [copy(memory)]
    func place(_ name: String, run: Int, _ axes: [graft_copy_axis]) {
      let count = byteCount
      contestants.append(
        Contestant(blocking: name, byteCount: count) { () throws(GraftError) in
          let result = unsafe axes.withUnsafeBufferPointer { axes in
            var copy = unsafe graft_copy(
              run: run, source_offset: 0, destination_offset: 0, rank: axes.count, axes: axes.baseAddress)
            return unsafe graft_place(
              &copy, memory.result.bytes.baseAddress, count, memory.first.bytes.baseAddress, count)
          }
          precondition(result == 0)
        })
    }
    for element in [1, 2, 4, 8, 16] {
      let rows = options.size == .full ? 8192 : 64
      let columns = byteCount / element / rows
      place(
        "transpose of elements of \(element)", run: element,
        [
          graft_copy_axis(count: rows, source_stride: columns * element, destination_stride: element),
          graft_copy_axis(count: columns, source_stride: element, destination_stride: rows * element),
        ])
      let bare = "bare blocked transpose of elements of \(element)"
      let memory = memory
      contestants.append(
        Contestant(blocking: bare, byteCount: byteCount) { () throws(GraftError) in
          switch element {
          case 1: Self.transposeBlocks(UInt8.self, memory, rows: rows, columns: columns)
          case 2: Self.transposeBlocks(UInt16.self, memory, rows: rows, columns: columns)
          case 4: Self.transposeBlocks(UInt32.self, memory, rows: rows, columns: columns)
          case 8: Self.transposeBlocks(UInt64.self, memory, rows: rows, columns: columns)
          default: Self.transposeBlocks(SIMD2<UInt64>.self, memory, rows: rows, columns: columns)
          }
        })
    }
    // Leaves one after the other become the inner axis: their elements take turns.
    for (leafCount, element) in [(32, 2), (32, 4), (3, 4), (2, 2)] {
      let length = byteCount / leafCount / element
      place(
        "stack of \(leafCount) on the inner axis, elements of \(element)", run: element,
        [
          graft_copy_axis(count: leafCount, source_stride: length * element, destination_stride: element),
          graft_copy_axis(count: length, source_stride: element, destination_stride: leafCount * element),
        ])
    }
    let results = try await measure("placement", contestants, &report)
    for index in stride(from: 1, to: 11, by: 2) {
      report.claims.append(
        .init(
          "\(results[index].name) / a bare blocked one",
          results[index].speed(relativeTo: results[index + 1]).median, .atLeast(0.8)))
    }
    for result in results[11...] {
      report.claims.append(
        .init("\(result.name) / memcpy", result.speed(relativeTo: results[0]).median, .atLeast(0.5)))
    }
  }

  // MARK: products

  private func measureProduct(_ memory: Memory, _ report: inout BenchmarkReport) async throws(GraftError) {
    var table = BenchmarkReport.Table(
      "products added to a tile of 64 rows and 1024 columns", ["depth", "GFLOP/s"])
    for depth in [4, 16, 64] {
      let repetitions = options.size == .full ? 200 : 1
      let contestant = Contestant(blocking: "depth \(depth)", byteCount: 1) { () throws(GraftError) in
        unsafe memory.first.bytes.withMemoryRebound(to: Float.self) { left in
          unsafe memory.second.bytes.withMemoryRebound(to: Float.self) { right in
            unsafe memory.result.bytes.withMemoryRebound(to: Float.self) { sum in
              for _ in 0..<repetitions {
                unsafe Kernels.best.addProduct(
                  of: UnsafeBufferPointer(left), and: UnsafeBufferPointer(right), scale: 0.5, to: sum,
                  rows: 64,
                  columns: 1024, depth: depth)
              }
            }
          }
        }
      }
      let results = try await InterleavedRounds.run([contestant], rounds: options.rounds)
      let operations = Double(2 * 64 * 1024 * depth * repetitions)
      table.rows.append([
        .count(depth), .spread(Spread(results[0].seconds.map { operations / max($0, 1e-9) * 1e-9 })),
      ])
    }
    report.tables.append(table)
  }
}

extension PoolExtent {
  /// The bytes of some elements, of which the first of a tile begins with a byte.
  fileprivate func elements(_ range: Range<Int>, _ format: ElementFormat) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(room(range, format))
  }

  fileprivate func room(_ range: Range<Int>, _ format: ElementFormat) -> UnsafeMutableRawBufferPointer {
    let start = format.byteCount(elementCount: range.lowerBound)
    return unsafe UnsafeMutableRawBufferPointer(
      rebasing: bytes[start..<(start + format.byteCount(elementCount: range.count))])
  }
}
