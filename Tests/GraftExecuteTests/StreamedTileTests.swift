import Foundation
import GraftCore
import GraftExecute
import GraftFormats
import GraftIO
import GraftTestSupport
import Synchronization
import Testing

/// Tensors in a file, each in one chunk.
private final class ChunkFile: Sendable {
  let path = NSTemporaryDirectory() + "/graft-chunks-\(UUID().uuidString)"
  let spec: TensorSpec
  let values: [[UInt8]]
  let ranges: [ByteRange]
  let byteCount: Int
  private let codecs: [String]

  init(_ spec: TensorSpec, count: Int, codecs: [String], seed: UInt64) throws {
    self.spec = spec
    self.codecs = codecs
    var state = seed | 1
    var file: [UInt8] = [1, 2, 3]
    var values: [[UInt8]] = []
    var ranges: [ByteRange] = []
    for _ in 0..<count {
      // Noise in two of three words, so that frames are shorter than what they hold, and have matches to look back for.
      let words = (0..<(spec.byteCount / 8 + 1)).map { index -> UInt64 in
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        // Exponents of usual numbers, whatever the float.
        return index % 3 == 0 ? 0x3F80_3F80_3F80_3F80 : state & 0x3FFF_3FFF_3FFF_3FFF
      }
      let bytes = words.withUnsafeBytes { Array($0.prefix(spec.byteCount)) }
      let encoded = codecs.isEmpty ? bytes : encode(bytes, codecs, hasContentSize: true)
      values.append(bytes)
      ranges.append(ByteRange(offset: file.count, count: encoded.count))
      file += encoded
    }
    self.values = values
    self.ranges = ranges
    byteCount = file.count
    try Data(file).write(to: URL(filePath: path))
  }

  deinit { unlink(path) }

  var tensors: [LazyTensor] {
    ranges.map { range in
      let layout = Layout(
        chunkShape: spec.shape, codecs: codecs.map(Codec.init(name:)),
        chunks: [.file(StoredChunk(file: 0, range: range))], storedBitWidth: spec.dtype.bitWidth)
      return LazyTensor(spec, StoredOperand(source: 0, path: "leaf", layout: layout))
    }
  }

  func plan(_ tensor: LazyTensor) throws -> Plan {
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: byteCount)])
    _ = try planner.add("result", tensor)
    return planner.plan()
  }
}

private func loaded(_ plan: Plan, _ tuning: Tuning) async throws -> (bytes: [UInt8], report: ReadReport) {
  let memory = UnsafeMutableRawBufferPointer.allocate(
    byteCount: plan.results[0].spec.byteCount, alignment: 64)
  memory.initializeMemory(as: UInt8.self, repeating: 0xA5)
  defer { memory.deallocate() }
  let report = try await Executor(plan, tuning: tuning).run(into: [.memory(memory)])
  return (Array(memory), report)
}

/// Counts elements that are computed, and does something when the first ones are.
private final class Probe: Sendable {
  private let state = Mutex((elementCount: 0, action: nil as (@Sendable () -> Void)?))

  var elementCount: Int { state.withLock { $0.elementCount } }

  func whenComputed(_ action: @escaping @Sendable () -> Void) { state.withLock { $0.action = action } }

  func computed(_ count: Int) {
    state.withLock { $0.elementCount += count }
    while true {
      if let action = state.withLock({ $0.action }) { return action() }
      usleep(100)
    }
  }
}

@Suite struct StreamedTileTests {
  /// The frame is several times as large as a batch of tiles.
  @Test func `a chunk that many batches of tiles want is read and decoded once, as forecast`() async throws {
    let file = try ChunkFile(
      TensorSpec(.float32, [2_000, 1_500]), count: 1, codecs: ["zstd", "crc32c"], seed: 17)
    let plan = try file.plan(try file.tensors[0].cast(to: .float64))
    var tuning = Tuning()
    tuning.budgetByteCount = 16 << 20
    tuning.threadCount = 1
    tuning.queueDepth = 2

    let target = file.path + ".safetensors"
    defer { unlink(target) }
    let writer = try await SafetensorsWriter.begin(
      at: target, leaves: plan.results.map { (path: $0.path, spec: .tensor($0.spec)) },
      options: SafetensorsWriter.Options())
    let executor = Executor(plan, tuning: tuning)
    let report = try await executor.run(into: [.writer(writer, leaf: 0)])
    try await writer.finish()
    #expect(report.bytesRead == file.ranges[0].count)
    #expect(report.peakStagingByteCount <= tuning.budgetByteCount)
    #expect(try executor.forecast(isWriting: true).bytesRead == report.bytesRead)

    let written = try Data(contentsOf: URL(filePath: target)).suffix(plan.results[0].spec.byteCount)
    let inMemory = try await loaded(plan, Tuning())
    #expect(Array(written) == inMemory.bytes)
  }

  @Test func `two chunks that are wanted together are each decoded once where the budget has room for both`()
    async throws
  {
    let file = try ChunkFile(TensorSpec(.float32, [2_000, 1_500]), count: 2, codecs: ["zstd"], seed: 19)
    let plan = try file.plan(try LazyTensor.mean(file.tensors, weights: [0.25, 0.75]))
    var tuning = Tuning()
    tuning.threadCount = 2
    tuning.budgetByteCount = 32 << 20
    let memory = try await loaded(plan, tuning)
    #expect(memory.report.bytesRead == file.ranges.reduce(0) { $0 + $1.count })
    #expect(try Executor(plan, tuning: tuning).forecast().bytesRead == memory.report.bytesRead)
    #expect(memory.report.peakStagingByteCount <= tuning.budgetByteCount)
    #expect(memory.bytes == (try await loaded(plan, Tuning())).bytes)
  }

  /// From a budget that has no room for two layers at once to one that has room for all.
  @Test(arguments: [1 << 20, 2 << 20, 64 << 20])
  func `encoded layers that take turns in a result are each decoded once`(budgetByteCount: Int) async throws {
    let (rows, columns, count) = (301, 257, 5)
    let file = try ChunkFile(TensorSpec(.uint16, [rows, columns]), count: count, codecs: ["zstd"], seed: 23)
    let plan = try file.plan(.stack(file.tensors, axis: -1))
    var tuning = Tuning()
    tuning.budgetByteCount = budgetByteCount
    let (bytes, report) = try await loaded(plan, tuning)
    #expect(report.bytesRead == file.ranges.reduce(0) { $0 + $1.count })
    #expect(report.peakStagingByteCount <= tuning.budgetByteCount)
    #expect(try Executor(plan, tuning: tuning).forecast().bytesRead == report.bytesRead)
    var faults = 0
    for element in 0..<(rows * columns) {
      for layer in 0..<count {
        for byte in 0..<2
        where bytes[(element * count + layer) * 2 + byte] != file.values[layer][element * 2 + byte] {
          faults += 1
        }
      }
    }
    #expect(faults == 0)
  }

  /// Cut into single rows of the result, such a sum took a read for every element of one operand.
  @Test func `a sum of a matrix and its transpose is read in blocks`() async throws {
    let extent = 1_024
    let file = try ChunkFile(TensorSpec(.bfloat16, [extent, extent]), count: 1, codecs: [], seed: 29)
    let tensor = file.tensors[0]
    let plan = try file.plan(try tensor.adding(try tensor.transposed()))
    var tuning = Tuning()
    tuning.budgetByteCount = 4 << 20
    tuning.coalescingGapByteCount = 0
    let (bytes, report) = try await loaded(plan, tuning)
    #expect(report.requestCount < extent * extent / 64)
    let values = file.values[0].withUnsafeBytes { Array($0.bindMemory(to: UInt16.self)) }
    let sums = bytes.withUnsafeBytes { Array($0.bindMemory(to: UInt16.self)) }
    func number(_ bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }
    var faults = 0
    for row in 0..<extent {
      for column in 0..<extent {
        let sum = number(values[row * extent + column]) + number(values[column * extent + row])
        let bits = sum.bitPattern
        let rounded = UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
        if sums[row * extent + column] != rounded { faults += 1 }
      }
    }
    #expect(faults == 0)
  }

  /// The first part of a result that is computed cancels the load; no more is computed then than threads had begun.
  @Test(arguments: [false, true])
  func `a cancelled computation stops after the parts that have begun`(isTiled: Bool) async throws {
    let partCount = 32
    let tensor = LazyTensor(
      try Tensor(
        bytes: [UInt8](repeating: 0, count: partCount << 20), spec: TensorSpec(.float32, [partCount << 18])))
    let probe = Probe()
    let function =
      isTiled
      ? try tensor.map(with: tensor, "count") { first, _, output in
        probe.computed(first.count)
        for index in output.indices { output[index] = 0 }
      }
      : try tensor.map("count") { input, output in
        probe.computed(input.count)
        for index in output.indices { output[index] = 0 }
      }
    var planner = Planner()
    planner.addFiles([])
    _ = try planner.add("result", function)
    let plan = planner.plan()
    let task = Task {
      var tuning = Tuning()
      tuning.threadCount = 2
      return try await loaded(plan, tuning).bytes.count
    }
    probe.whenComputed { task.cancel() }
    let error = await #expect(throws: GraftError.self) { try await task.value }
    #expect(error?.code == .cancelled)
    #expect(probe.elementCount < plan.results[0].spec.elementCount / 2)
  }
}
