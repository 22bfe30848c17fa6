import Foundation
import GraftCore
import GraftExecute
import GraftFormats
import GraftTestSupport
import Synchronization
import Testing

/// A checkpoint in memory that takes whole chunks alone, and remembers every call that was none.
private final class RecordingWriter: CheckpointWriter {
  private struct State {
    var leaves: [[UInt8]]
    var written: [Set<Int>]
    var faults: [String] = []
    var callCount = 0
  }

  let chunkElementCounts: [Int?]
  private let specs: [TensorSpec]
  private let state: Mutex<State>

  init(_ specs: [TensorSpec], chunkElementCounts: [Int?]) {
    self.specs = specs
    self.chunkElementCounts = chunkElementCounts
    let counts = zip(specs, chunkElementCounts).map { spec, elements in
      guard let elements, elements > 0 else { return spec.byteCount }
      return spec.elementCount / elements * spec.dtype.byteCount(elementCount: elements)!
    }
    state = Mutex(
      State(
        leaves: counts.map { [UInt8](repeating: 0xA5, count: $0) },
        written: [Set<Int>](repeating: [], count: specs.count)))
  }

  var preferredChunkByteCount: Int { 1 << 16 }
  var storedByteCount: Int { 0 }
  func chunkElementCount(ofLeaf leaf: Int) -> Int? { chunkElementCounts[leaf] }

  private func chunkByteCount(_ leaf: Int) -> Int {
    chunkElementCounts[leaf].map { specs[leaf].dtype.byteCount(elementCount: $0)! } ?? 1
  }

  func write(_ bytes: UnsafeRawBufferPointer, leaf: Int, byteOffset: Int) throws(GraftError) {
    let chunk = chunkByteCount(leaf)
    state.withLock { state in
      state.callCount += 1
      guard byteOffset.isMultiple(of: chunk), bytes.count.isMultiple(of: chunk), !bytes.isEmpty,
        byteOffset + bytes.count <= state.leaves[leaf].count
      else {
        state.faults.append("\(bytes.count) bytes at \(byteOffset) of leaf \(leaf), chunks of \(chunk)")
        return
      }
      state.leaves[leaf].replaceSubrange(byteOffset..<(byteOffset + bytes.count), with: bytes)
      for index in (byteOffset / chunk)..<((byteOffset + bytes.count) / chunk) {
        if !state.written[leaf].insert(index).inserted { state.faults.append("chunk \(index) comes twice") }
      }
    }
  }

  func finish() async throws(GraftError) {}
  func abandon() {}

  /// What was wrong with the calls.
  var faults: [String] {
    state.withLock { state in
      var faults = state.faults
      for leaf in specs.indices
      where state.written[leaf].count * chunkByteCount(leaf) != state.leaves[leaf].count {
        faults.append("leaf \(leaf) lacks chunks")
      }
      return faults
    }
  }

  func bytes(_ leaf: Int) -> [UInt8] { state.withLock { $0.leaves[leaf] } }
  var callCount: Int { state.withLock { $0.callCount } }
}

extension NaiveTensor {
  /// The chunks of the tensor in the order of their grid, padded with zeros.
  fileprivate func chunks(_ chunk: [Int]) -> [[Int64]] {
    let grid = zip(shape, chunk).map { ($0 + $1 - 1) / $1 }
    return Self.indices(of: grid).map { place in
      Self.indices(of: chunk).map { inner in
        let index = zip(zip(place, chunk), inner).map { $0.0 * $0.1 + $1 }
        return zip(index, shape).allSatisfy { $0 < $1 } ? self[index] : 0
      }
    }
  }
}

/// A folder that is removed with its owner.
private final class Folder: Sendable {
  let path = NSTemporaryDirectory() + "/graft-chunks-\(UUID().uuidString)"

  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ bytes: [UInt8]) throws -> StoredFile {
    try Data(bytes).write(to: URL(filePath: path + "/" + name))
    return StoredFile(path: path + "/" + name, byteCount: bytes.count)
  }
}

private func tuning(_ budget: Int, threads: Int = 2) -> Tuning {
  var tuning = Tuning()
  tuning.budgetByteCount = budget
  tuning.threadCount = threads
  tuning.queueDepth = 2
  tuning.blockByteCount = 16 << 10
  return tuning
}

@Suite struct ChunkedWritingTests {
  @Test(arguments: seedBatches(12))
  func `random expressions are written chunk by chunk as a naive reference cuts them`(
    batch: UInt64
  ) async throws {
    let seed = seedFromEnvironment() ?? batch &* 7001 &+ 3
    var random = SeededGenerator(seed: seed)
    let folder = try Folder()
    for round in 0..<12 {
      let dtype: DType =
        round % 2 == 0 ? .int32 : RandomExpression.movedDTypes.randomElement(using: &random)!
      let codecs = round % 3 == 0 ? ["zstd"] : []
      var maker =
        codecs.isEmpty
        ? RandomExpression(random: random, dtype: dtype)
        : RandomExpression(random: random, dtype: dtype, codecs: codecs.map(Codec.init(name:))) {
          encode($0, codecs, hasContentSize: true)
        }
      var tensors: [LazyTensor] = []
      var naives: [NaiveTensor] = []
      var chunkShapes: [[Int]] = []
      for _ in 0..<4 {
        let pair = try maker.expression(depth: Int.random(in: 0...5, using: &maker.random))
        let chunk = pair.naive.shape.map { extent in
          [
            1, max(1, extent), max(1, extent / 2),
            Int.random(in: 1...max(1, extent + 1), using: &maker.random),
          ]
          .randomElement(using: &maker.random)!
        }
        naives.append(pair.naive)
        chunkShapes.append(chunk)
        tensors.append(try pair.lazy.chunkMajor(Shape(chunk)))
      }
      random = maker.random
      var planner = Planner()
      planner.addFiles([try folder.write("source\(round)", maker.file)])
      for (index, tensor) in tensors.enumerated() {
        _ = try planner.add(TreePath([Key(index: index)]), tensor)
      }
      let plan = planner.plan()
      let context: Comment =
        "seed \(seed), round \(round), \(dtype): \(maker.log.joined(separator: ", ")), in chunks \(chunkShapes)"
      let writer = RecordingWriter(
        plan.results.map(\.spec), chunkElementCounts: chunkShapes.map { $0.reduce(1, *) })
      let budget = [160 << 10, 1 << 20, 16 << 20].randomElement(using: &random)!
      let report = try await Executor(plan, tuning: tuning(budget))
        .run(into: plan.results.indices.map { .writer(writer, leaf: $0) })
      #expect(writer.faults.isEmpty, context)
      let forecast = try Executor(plan, tuning: tuning(budget)).forecast(
        isWriting: true, chunkElementCounts: chunkShapes.map { $0.reduce(1, *) })
      #expect(report.bytesRead <= forecast.bytesRead, context)
      #expect(report.peakStagingByteCount <= budget, context)
      for (leaf, naive) in naives.enumerated() {
        let expected = naive.chunks(chunkShapes[leaf]).flatMap { RandomExpression.packed($0, dtype) }
        #expect(writer.bytes(leaf) == expected, context)
      }
    }
  }

  @Test(arguments: DType.allCases)
  func `a leaf of every dtype is cut and padded, and nothing but it is read`(dtype: DType) async throws {
    let shape: Shape = [5, 6, 4]
    let spec = TensorSpec(dtype, shape)
    // Elements side by side, as a plain chunk has them.
    var random = SeededGenerator(seed: 11)
    let bytes = (0..<spec.byteCount).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    let folder = try Folder()
    let file = try folder.write("leaf", bytes)
    let layout = Layout(
      chunkShape: shape, codecs: [],
      chunks: [.file(StoredChunk(file: 0, range: ByteRange(offset: 0, count: bytes.count)))], fillValue: nil,
      storedBitWidth: dtype.bitWidth)
    let leaf = LazyTensor(spec, StoredOperand(source: 0, path: "leaf", layout: layout))
    for (chunk, operandCount): (Shape, Int) in [
      ([5, 6, 4], 1), ([1, 3, 4], 1), ([2, 6, 4], 2), ([5, 4, 3], 2),
    ] {
      var planner = Planner()
      planner.addFiles([file])
      _ = try planner.add("leaf", leaf.chunkMajor(chunk))
      let plan = planner.plan()
      let executor = Executor(plan, tuning: tuning(4 << 20))
      // Runs of packed elements share the bytes at their ends.
      if !dtype.isPacked {
        #expect(try executor.forecast(isWriting: true).bytesWanted == spec.byteCount, "chunks \(chunk)")
      }
      #expect(plan.operands.count <= operandCount + 2)

      let elementCount = chunk.elementCount
      let writer = RecordingWriter(plan.results.map(\.spec), chunkElementCounts: [elementCount])
      let report = try await executor.run(into: [.writer(writer, leaf: 0)])
      #expect(report.bytesRead == spec.byteCount, "chunks \(chunk)")
      #expect(writer.faults.isEmpty, "chunks \(chunk)")

      // Every element that is not padding is the leaf's, bit for bit.
      let written = writer.bytes(0)
      let chunkByteCount = dtype.byteCount(elementCount: elementCount)!
      let grid = zip(shape, chunk).map { ($0 + $1 - 1) / $1 }
      func bits(_ bytes: [UInt8], _ element: Int, from first: Int = 0) -> [Bool] {
        (0..<dtype.bitWidth).map { bit in
          let position = first * 8 + element * dtype.bitWidth + bit
          return bytes[position / 8] >> (position % 8) & 1 == 1
        }
      }
      for index in NaiveTensor.indices(of: Array(shape)) {
        let place = zip(index, chunk).map { $0 / $1 }
        let inner = zip(index, chunk).map { $0 % $1 }
        func position(_ index: [Int], _ extents: [Int]) -> Int {
          zip(index, extents).reduce(0) { $0 * $1.1 + $1.0 }
        }
        let first = position(place, grid) * chunkByteCount
        #expect(
          bits(written, position(inner, Array(chunk)), from: first)
            == bits(bytes, position(index, Array(shape))),
          "element \(index) in chunks \(chunk)")
      }
    }
  }

  @Test func `scalars, empty leaves and leaves of one element have the chunks that they should`() async throws
  {
    var planner = Planner()
    planner.addFiles([])
    let scalar = LazyTensor(Tensor(scalar: Float(3)))
    _ = try planner.add("scalar", scalar.chunkMajor([]))
    _ = try planner.add("empty", LazyTensor.initialized([4, 0], .float32, .zeros).chunkMajor([2, 1]))
    _ = try planner.add("one", LazyTensor(Tensor([Int32(7)], shape: [1, 1])).chunkMajor([1, 1]))
    let plan = planner.plan()
    let writer = RecordingWriter(plan.results.map(\.spec), chunkElementCounts: [1, 2, 1])
    _ = try await Executor(plan, tuning: tuning(1 << 20)).run(
      into: plan.results.indices.map { .writer(writer, leaf: $0) })
    #expect(writer.faults.isEmpty)
    #expect(writer.bytes(0) == [0, 0, 0x40, 0x40])
    #expect(writer.bytes(1) == [])
    #expect(writer.bytes(2) == [7, 0, 0, 0])
  }

  @Test func `chunks of another rank or without elements are refused`() throws {
    let tensor = LazyTensor(Tensor([Int32(1), 2]))
    for chunk: Shape in [[], [1, 1], [0]] {
      let error = try #require(throws: GraftError.self) { try tensor.chunkMajor(chunk) }
      #expect(error.code == .invalidArgument)
    }
  }

  @Test func `a chunk that no part of the budget can hold is an error that says so`() async throws {
    var planner = Planner()
    planner.addFiles([])
    let leaf = try LazyTensor.initialized([1 << 20], .float32, .ones)
    _ = try planner.add("big", leaf.chunkMajor([1 << 20]))
    let plan = planner.plan()
    let writer = RecordingWriter(plan.results.map(\.spec), chunkElementCounts: [1 << 20])
    let error = try await #require(throws: GraftError.self) {
      _ = try await Executor(plan, tuning: tuning(4 << 20)).run(into: [.writer(writer, leaf: 0)])
    }
    #expect(error.code == .insufficientMemory)
    #expect(error.leaf == "big")
    #expect(error.description.contains("4194304 bytes"))
    // Twice the chunk is enough.
    _ = try await Executor(plan, tuning: tuning(9 << 20)).run(into: [.writer(writer, leaf: 0)])
    #expect(writer.faults.isEmpty)
  }

  @Test func `small chunks come several at a time, and what lies in memory is not copied first`() async throws
  {
    var planner = Planner()
    planner.addFiles([])
    let tensor = Tensor((0..<(1 << 16)).map { Int32($0) }, shape: [1 << 12, 1 << 4])
    _ = try planner.add("leaf", LazyTensor(tensor).chunkMajor([1, 1 << 4]))
    let plan = planner.plan()
    let writer = RecordingWriter(plan.results.map(\.spec), chunkElementCounts: [1 << 4])
    let report = try await Executor(plan, tuning: tuning(1 << 20)).run(into: [.writer(writer, leaf: 0)])
    #expect(writer.faults.isEmpty)
    #expect(writer.callCount <= 8)
    let bytes = try tensor.bytes.withUnsafeBytes { Array($0) }
    #expect(writer.bytes(0) == bytes)
    #expect(report.bytesRead == 0)
  }
}
