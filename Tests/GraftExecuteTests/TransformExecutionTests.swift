import Foundation
import GraftCore
import GraftExecute
import GraftFormats
import GraftIO
import GraftTestSupport
import Testing

/// The elements as naive values are: numbers for int32, otherwise bits.
private func bits(_ bytes: some Sequence<UInt8>, count: Int, _ dtype: DType) -> [Int64] {
  let bytes = Array(bytes)
  return (0..<count).map { index in
    var value: UInt64 = 0
    for bit in 0..<dtype.bitWidth {
      let position = index * dtype.bitWidth + bit
      value |= UInt64(bytes[position / 8] >> (position % 8) & 1) << bit
    }
    return dtype == .int32 ? Int64(Int32(truncatingIfNeeded: value)) : Int64(bitPattern: value)
  }
}

@Suite struct TransformExecutionTests {
  /// Budgets from one that has room for hardly anything to the usual one.
  static let tunings: [Tuning] = [(160 << 10, 1), (1 << 20, 2), (64 << 20, 3)].map { budget, threads in
    var tuning = Tuning()
    tuning.budgetByteCount = budget
    tuning.threadCount = threads
    tuning.queueDepth = 2
    if budget < 1 << 20 { tuning.blockByteCount = 16 << 10 }
    return tuning
  }

  @Test(arguments: seedBatches(12))
  func `random expressions come out the same in memory and in a file, plain and encoded`(
    batch: UInt64
  ) async throws {
    let seed = seedFromEnvironment() ?? batch &* 4099 &+ 1
    var random = SeededGenerator(seed: seed)
    let folder = try TestFolder()
    for round in 0..<12 {
      let codecs = [[], ["zstd"], ["zstd", "crc32c"]][round % 3]
      // What is only moved may be of any dtype.
      let dtype: DType =
        round % 2 == 0 ? .int32 : RandomExpression.movedDTypes.randomElement(using: &random)!
      var maker =
        codecs.isEmpty
        ? RandomExpression(random: random, dtype: dtype)
        : RandomExpression(random: random, dtype: dtype, codecs: codecs.map(Codec.init(name:))) {
          encode($0, codecs, hasContentSize: true)
        }
      var pairs: [ExpressionPair] = []
      for _ in 0..<3 {
        let pair = try maker.expression(depth: Int.random(in: 0...6, using: &maker.random))
        if !pair.naive.values.isEmpty { pairs.append(pair) }
      }
      random = maker.random
      let tuning = Self.tunings.randomElement(using: &random)!
      let context: Comment =
        "seed \(seed), round \(round), \(dtype), codecs \(codecs), budget \(tuning.budgetByteCount): \(maker.log.joined(separator: ", "))"
      let path = try folder.write("source\(round)", maker.file)
      var planner = Planner()
      planner.addFiles([StoredFile(path: path, byteCount: maker.file.count)])
      for (index, pair) in pairs.enumerated() {
        _ = try planner.add(TreePath([Key(index: index)]), pair.lazy)
      }
      let plan = planner.plan()
      let executor = Executor(plan, tuning: tuning)

      let memories = plan.results.map { ResultMemory(byteCount: $0.spec.byteCount) }
      let report = try await executor.run(
        into: zip(memories, plan.results).map {
          .memory(UnsafeMutableRawBufferPointer(rebasing: $0.bytes[..<$1.spec.byteCount]))
        })
      for (memory, pair) in zip(memories, pairs) {
        #expect(bits(memory.bytes, count: pair.naive.values.count, dtype) == pair.naive.values, context)
      }
      #expect(report.peakStagingByteCount <= tuning.budgetByteCount, context)

      // safetensors has no 4-bit integers, and takes other packed elements in whole bytes alone.
      if dtype.isPacked { continue }
      let target = folder.path + "/written\(round).safetensors"
      let writer = try await SafetensorsWriter.begin(
        at: target, leaves: plan.results.map { (path: $0.path, spec: .tensor($0.spec)) },
        options: SafetensorsWriter.Options())
      _ = try await executor.run(into: plan.results.indices.map { .writer(writer, leaf: $0) })
      try await writer.finish()
      let written = try await FormatRegistry.standard.open(target, options: OpenOptions())
      let contents = try [UInt8](Data(contentsOf: URL(filePath: target)))
      for (result, pair) in zip(plan.results, pairs) {
        guard case .tensor(_, let layout, _)? = written.tree[at: result.path].leaf,
          case .file(let chunk) = layout.chunks[0]
        else {
          Issue.record("the leaf was not written")
          continue
        }
        #expect(
          bits(contents[chunk.range.offset..<chunk.range.end], count: pair.naive.values.count, dtype)
            == pair.naive.values, context)
      }
    }
  }

  @Test func `large leaves are computed tile by tile within the budget`() async throws {
    let folder = try TestFolder()
    let spec = TensorSpec(.float32, [1024, 1024])
    let values = (0..<(2 * spec.elementCount)).map { Float($0 % 4099) - 2000 }
    let bytes = values.withUnsafeBytes(Array.init)
    let path = try folder.write("pair", bytes)
    let tensors = (0..<2).map { index -> LazyTensor in
      let range = ByteRange(offset: index * spec.byteCount, count: spec.byteCount)
      return LazyTensor(
        spec, StoredOperand(source: 0, path: "leaf", layout: Layout(contiguous: spec, file: 0, range: range)))
    }
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: bytes.count)])
    _ = try planner.add("mean", .mean(tensors))
    _ = try planner.add("turned", tensors[0].subtracting(tensors[1]).transposed())
    _ = try planner.add("rounded", tensors[1].cast(to: .bfloat16, lossy: true))
    let plan = planner.plan()
    var tuning = Tuning()
    tuning.budgetByteCount = 2 << 20
    let memories = plan.results.map { ResultMemory(byteCount: $0.spec.byteCount) }
    let report = try await Executor(plan, tuning: tuning).run(
      into: zip(memories, plan.results).map {
        .memory(UnsafeMutableRawBufferPointer(rebasing: $0.bytes[..<$1.spec.byteCount]))
      })
    #expect(report.peakStagingByteCount <= tuning.budgetByteCount)
    let (first, second) = (values[..<spec.elementCount], Array(values[spec.elementCount...]))
    let mean = memories[0].bytes.bindMemory(to: Float.self)
    let turned = memories[1].bytes.bindMemory(to: Float.self)
    let rounded = memories[2].bytes.bindMemory(to: UInt16.self)
    var faults = 0
    for index in 0..<spec.elementCount {
      if mean[index] != first[index] * 0.5 + second[index] * 0.5 { faults += 1 }
      if turned[index % 1024 * 1024 + index / 1024] != first[index] - second[index] { faults += 1 }
      // Whole numbers this small have no more than the bits that bfloat16 has to round, ties to even.
      let bits = second[index].bitPattern
      let expected = UInt16(truncatingIfNeeded: (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
      if rounded[index] != expected { faults += 1 }
    }
    #expect(faults == 0)
  }

  @Test(arguments: [(-1, 1 << 20), (1, 1 << 20), (-1, 160 << 10)])
  func `leaves that take turns in a result are put side by side, tile by tile`(
    axis: Int, budgetByteCount: Int
  ) async throws {
    let folder = try TestFolder()
    let (rows, columns, count) = (301, 257, 5)
    let values = (0..<(count * rows * columns)).map { UInt16(truncatingIfNeeded: $0 &* 40503) }
    let path = try folder.write("layers", values.withUnsafeBytes(Array.init))
    let spec = TensorSpec(.uint16, [rows, columns])
    let layers = (0..<count).map { index -> LazyTensor in
      let range = ByteRange(offset: index * spec.byteCount, count: spec.byteCount)
      return LazyTensor(
        spec, StoredOperand(source: 0, path: "leaf", layout: Layout(contiguous: spec, file: 0, range: range)))
    }
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: 2 * values.count)])
    _ = try planner.add("stacked", .stack(layers, axis: axis))
    let plan = planner.plan()
    var tuning = Tuning()
    tuning.budgetByteCount = budgetByteCount
    if budgetByteCount < 1 << 20 { (tuning.blockByteCount, tuning.queueDepth) = (16 << 10, 2) }
    let memory = ResultMemory(byteCount: plan.results[0].spec.byteCount)
    let report = try await Executor(plan, tuning: tuning).run(
      into: [
        .memory(UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<plan.results[0].spec.byteCount]))
      ])
    #expect(report.bytesRead == 2 * values.count)
    #expect(report.peakStagingByteCount <= tuning.budgetByteCount)
    let found = Array(memory.bytes.bindMemory(to: UInt16.self)[..<values.count])
    var expected = values
    for layer in 0..<count {
      for row in 0..<rows {
        for column in 0..<columns {
          let place =
            axis == -1
            ? (row * columns + column) * count + layer : (row * count + layer) * columns + column
          expected[place] = values[(layer * rows + row) * columns + column]
        }
      }
    }
    #expect(found == expected)
  }

  @Test func `what a function of the user's throws ends the run and names the leaf`() async throws {
    struct Refusal: Error {}
    let tensor = LazyTensor(Tensor([1, 2, 3] as [Float]))
    var planner = Planner()
    planner.addFiles([])
    _ = try planner.add("bad", tensor.map("refuse") { _, _ in throw Refusal() })
    let plan = planner.plan()
    let memory = ResultMemory(byteCount: 12)
    await #expect {
      _ = try await Executor(plan, tuning: Tuning()).run(
        into: [.memory(UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<12]))])
    } throws: { error in
      let error = error as? GraftError
      return error?.leaf == "bad" && error?.cause is Refusal && error?.message == "the function refuse failed"
    }
  }
}
