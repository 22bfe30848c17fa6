import CGraftTestCodec
import Foundation
import GraftCodec
import GraftCore
import GraftExecute
import GraftIO
import GraftTestSupport
import Testing

/// What codecs make of bytes, for one chunk.
func encode(_ bytes: [UInt8], _ codecs: [String], hasContentSize: Bool) -> [UInt8] {
  // Codecs are named in the order in which they are undone, so the last of them was the first to be applied.
  codecs.reversed().reduce(bytes) { bytes, codec in
    switch codec {
    case "zstd":
      var frame = [UInt8](repeating: 0, count: bytes.count + bytes.count / 128 + 1024)
      let count = graft_test_zstd(bytes, bytes.count, &frame, frame.count, 3, hasContentSize)
      return Array(frame[..<count])
    case "crc32c":
      return bytes + withUnsafeBytes(of: CRC32C.checksum(bytes.span.bytes).littleEndian) { Array($0) }
    default: return bytes
    }
  }
}

/// A tensor in a file of encoded chunks, and its bytes in row-major order.
private struct EncodedTensor {
  let spec: TensorSpec
  let layout: Layout
  let path: String
  let elements: [UInt8]
  let fileByteCount: Int

  init(_ spec: TensorSpec, chunkShape: Shape, codecs: [String], using random: inout SeededGenerator) throws {
    let width = spec.dtype.bitWidth / 8
    // Half of the bytes have entropy, as a model's have.
    elements = (0..<spec.byteCount).map {
      $0 % 2 == 0 ? UInt8.random(in: 0...255, using: &random) : UInt8($0 / 4096 & 0xFF)
    }
    let grid = zip(spec.shape, chunkShape).map { ($0 + $1 - 1) / $1 }
    var file: [UInt8] = [1, 2, 3]
    var chunks: [ChunkLocation] = []
    for chunk in 0..<grid.reduce(1, *) {
      var decoded = [UInt8](repeating: 0xEE, count: chunkShape.elementCount * width)
      let chunkIndex = unravel(chunk, grid)
      for inner in 0..<chunkShape.elementCount {
        let index = zip(zip(chunkIndex, chunkShape), unravel(inner, chunkShape.extents)).map {
          $0.0 * $0.1 + $1
        }
        guard zip(index, spec.shape).allSatisfy({ $0 < $1 }) else { continue }
        let flat = zip(index, spec.shape.rowMajorStrides).reduce(0) { $0 + $1.0 * $1.1 }
        for byte in 0..<width { decoded[inner * width + byte] = elements[flat * width + byte] }
      }
      let encoded = encode(decoded, codecs, hasContentSize: Bool.random(using: &random))
      if chunk % 7 == 5 {
        chunks.append(.inline(encoded))
      } else {
        chunks.append(.file(StoredChunk(file: 0, range: ByteRange(offset: file.count, count: encoded.count))))
        file += encoded
      }
    }
    self.spec = spec
    layout = Layout(
      chunkShape: chunkShape, codecs: codecs.map(Codec.init(name:)), chunks: chunks,
      storedBitWidth: spec.dtype.bitWidth)
    path = NSTemporaryDirectory() + "/graft-decoding-\(UUID().uuidString)"
    fileByteCount = file.count
    try Data(file).write(to: URL(filePath: path))
  }

  func plan(_ slice: TensorSlice? = nil) throws -> Plan {
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: fileByteCount)])
    _ = try planner.add("leaf", spec, layout, slice: slice)
    return planner.plan()
  }

  func load(_ slice: TensorSlice? = nil, tuning: Tuning) async throws -> (bytes: [UInt8], report: ReadReport)
  {
    let plan = try plan(slice)
    let memory = UnsafeMutableRawBufferPointer.allocate(
      byteCount: plan.results[0].spec.byteCount, alignment: 64)
    defer { memory.deallocate() }
    let report = try await Executor(plan, tuning: tuning).run(into: [.memory(memory)])
    return (Array(memory), report)
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

@Suite struct DecodingTests {
  @Test(arguments: [["zstd"], ["zstd", "crc32c"], ["crc32c", "zstd"], ["crc32c"]])
  func `encoded chunks of any grid give the elements, whole and in slices, in any budget`(codecs: [String])
    async throws
  {
    let seed = seedFromEnvironment() ?? 4242
    var random = SeededGenerator(seed: seed)
    for round in 0..<4 {
      let rows = Int.random(in: 1...300, using: &random)
      let columns = Int.random(in: 1...500, using: &random)
      let spec = TensorSpec([DType.bfloat16, .float32].randomElement(using: &random)!, [rows, columns])
      let whole = round % 3 == 0
      let chunkShape: Shape =
        whole
        ? spec.shape
        : [
          Int.random(in: 1...rows, using: &random) / 2 + 1,
          Int.random(in: 1...columns, using: &random) / 2 + 1,
        ]
      let tensor = try EncodedTensor(spec, chunkShape: chunkShape, codecs: codecs, using: &random)
      defer { unlink(tensor.path) }
      for budget in [1 << 20, 64 << 20] {
        var tuning = Tuning()
        tuning.budgetByteCount = budget
        tuning.threadCount = Int.random(in: 1...3, using: &random)
        tuning.engine = [.automatic, .threads].randomElement(using: &random)!
        // Small blocks send most chunks the way of large ones.
        tuning.blockByteCount = 16 << 10
        tuning.directBlockByteCount = 16 << 10
        let context: Comment = "seed \(seed), round \(round), \(spec) in \(chunkShape), budget \(budget)"
        let loaded = try await tensor.load(tuning: tuning)
        #expect(loaded.bytes == tensor.elements, context)
        #expect(loaded.report.peakStagingByteCount <= budget, context)
        let (row, column) = (rows / 3, columns / 2)
        let step = Int.random(in: 1...4, using: &random)
        let slice = TensorSlice([
          .strided(lower: row, upper: nil, step: 1), .strided(lower: nil, upper: column + 1, step: step),
        ])
        let part = try await tensor.load(slice, tuning: tuning)
        let width = spec.dtype.bitWidth / 8
        var expected: [UInt8] = []
        for r in row..<rows {
          for c in stride(from: 0, through: column, by: step) {
            let first = (r * columns + c) * width
            expected += tensor.elements[first..<(first + width)]
          }
        }
        #expect(part.bytes == expected, context)
      }
    }
  }

  @Test func `a row of a large chunk is read as far as the row, and no further`() async throws {
    var random = SeededGenerator(seed: 5)
    let spec = TensorSpec(.float32, [1_000, 1_000])
    let tensor = try EncodedTensor(spec, chunkShape: spec.shape, codecs: ["zstd"], using: &random)
    defer { unlink(tensor.path) }
    var tuning = Tuning()
    tuning.budgetByteCount = 16 << 20
    let first = try await tensor.load(TensorSlice([.range(0..<10)]), tuning: tuning)
    #expect(first.bytes == Array(tensor.elements[..<40_000]))
    #expect(first.report.bytesRead < tensor.fileByteCount / 8)
    let middle = try await tensor.load(TensorSlice([.index(500)]), tuning: tuning)
    #expect(middle.bytes == Array(tensor.elements[2_000_000..<2_004_000]))
    #expect(middle.report.bytesRead < tensor.fileByteCount * 6 / 10)
  }

  @Test func `damaged chunks name leaf, file and range, wherever the damage is`() async throws {
    var random = SeededGenerator(seed: 6)
    let spec = TensorSpec(.float32, [64, 500])
    for codecs in [["crc32c", "zstd"], ["zstd", "crc32c"]] {
      let tensor = try EncodedTensor(spec, chunkShape: [16, 500], codecs: codecs, using: &random)
      defer { unlink(tensor.path) }
      let intact = try Data(contentsOf: URL(filePath: tensor.path))
      var silent = 0
      for _ in 0..<40 {
        var damaged = intact
        damaged[Int.random(in: 3..<intact.count, using: &random)] ^=
          1 << UInt8.random(in: 0..<8, using: &random)
        try damaged.write(to: URL(filePath: tensor.path))
        for block in [16 << 10, 4 << 20] {
          var tuning = Tuning()
          tuning.blockByteCount = block
          tuning.directBlockByteCount = block
          do {
            let loaded = try await tensor.load(tuning: tuning)
            if loaded.bytes != tensor.elements { silent += 1 }
          } catch let error as GraftError {
            #expect(error.leaf == "leaf" && error.file == tensor.path && error.range != nil, "\(error)")
            #expect(
              error.code == .corrupt || error.code == .limitExceeded || error.code == .unsupported, "\(error)"
            )
          }
        }
      }
      #expect(silent == 0)
    }
  }

  @Test func `a codec that is not known names itself and the leaf`() async throws {
    var random = SeededGenerator(seed: 7)
    let spec = TensorSpec(.uint8, [16])
    let tensor = try EncodedTensor(spec, chunkShape: [16], codecs: ["gzip"], using: &random)
    defer { unlink(tensor.path) }
    let error = await #expect(throws: GraftError.self) { try await tensor.load(tuning: Tuning()) }
    #expect(error?.code == .unsupported)
    #expect(error?.leaf == "leaf")
    #expect("\(error.map(String.init(describing:)) ?? "")".contains("gzip"))
  }

  @Test func `a cancelled load of large chunks stops`() async throws {
    var random = SeededGenerator(seed: 8)
    let spec = TensorSpec(.float32, [100, 1_000])
    let tensor = try EncodedTensor(spec, chunkShape: spec.shape, codecs: ["zstd"], using: &random)
    defer { unlink(tensor.path) }
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await tensor.load(tuning: Tuning()).bytes
    }
    let error = await #expect(throws: GraftError.self) { try await task.value }
    #expect(error?.code == .cancelled)
  }
}
