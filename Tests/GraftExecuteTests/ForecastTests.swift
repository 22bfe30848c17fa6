import Foundation
import GraftCore
import GraftExecute
import GraftFormats
import GraftTestSupport
import Testing

@Suite struct ForecastTests {
  /// A run reads something between the two forecasts.
  ///
  /// Out of the page cache near neighbours are read apart where they are read together from the disk, and the kernel may drop
  /// pages whenever it likes. With no gap that may be read through, there is no difference.
  @Test(arguments: [0, 32 << 10])
  func `a forecast says what a run reads at most, and exactly without gaps`(gap: Int) async throws {
    let path = NSTemporaryDirectory() + "/graft-forecast-\(UUID().uuidString)"
    defer { unlink(path) }
    let byteCount = 3_000_000
    try Data(count: byteCount).write(to: URL(filePath: path))
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    var tuning = Tuning()
    tuning.access = .buffered
    tuning.budgetByteCount = 8 << 20
    tuning.coalescingGapByteCount = gap
    for _ in 0..<40 {
      var planner = Planner()
      planner.addFiles([StoredFile(path: path, byteCount: byteCount)])
      var offset = 0
      for leaf in 0..<Int.random(in: 1...12, using: &random) {
        // Small leaves, which are read together, and now and then one that is not.
        let rows = Int.random(in: 0...(leaf % 5 == 4 ? 4000 : 40), using: &random)
        let spec = TensorSpec(.uint8, [rows, 100])
        offset += Int.random(in: 1...20_000, using: &random)
        let range = ByteRange(offset: offset, count: spec.byteCount)
        offset = range.end
        let slice =
          Bool.random(using: &random)
          ? nil
          : TensorSlice([
            .strided(lower: nil, upper: nil, step: Int.random(in: 1...9, using: &random)), .range(3..<50),
          ])
        _ = try planner.add(
          TreePath([Key(index: leaf)]), spec, Layout(contiguous: spec, file: 0, range: range), slice: slice)
      }
      let plan = planner.plan()
      let resident = try Executor(plan, tuning: tuning).forecast(isResident: true)
      let forecast = try Executor(plan, tuning: tuning).forecast()
      let memory = plan.results.map {
        // With room between them: neighbours in memory may be read in one request.
        UnsafeMutableRawBufferPointer.allocate(byteCount: $0.spec.byteCount + 64, alignment: 64)
      }
      defer { for part in memory { part.deallocate() } }
      let places = zip(memory, plan.results).map {
        Place.memory(UnsafeMutableRawBufferPointer(rebasing: $0[..<$1.spec.byteCount]))
      }
      let report = try await Executor(plan, tuning: tuning).run(into: places)
      #expect(forecast.bytesWanted == report.bytesWanted, "seed \(seed)")
      #expect(forecast.bytesRead >= report.bytesRead, "seed \(seed)")
      #expect(resident.bytesRead <= report.bytesRead, "seed \(seed)")
      if gap == 0 { #expect(forecast.bytesRead == report.bytesRead, "seed \(seed)") }
    }
  }

  /// What is computed of several operands is read tile by tile, in memory and on the way to a file.
  @Test(arguments: 0..<6)
  func `a forecast of computed results says what a run reads`(batch: UInt64) async throws {
    let seed = seedFromEnvironment() ?? batch &* 7919 &+ 3
    var random = SeededGenerator(seed: seed)
    let folder = NSTemporaryDirectory() + "/graft-forecast-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var computed = 0
    for round in 0..<8 {
      var maker = RandomExpression(random: random)
      var tensors: [LazyTensor] = []
      for _ in 0..<3 {
        let pair = try maker.expression(depth: Int.random(in: 1...6, using: &maker.random))
        if !pair.naive.values.isEmpty { tensors.append(pair.lazy) }
      }
      random = maker.random
      var tuning = TransformExecutionTests.tunings.randomElement(using: &random)!
      tuning.coalescingGapByteCount = 0
      tuning.access = .buffered
      let context: Comment = "seed \(seed), round \(round): \(maker.log.joined(separator: ", "))"
      let path = folder + "/source\(round)"
      try Data(maker.file).write(to: URL(filePath: path))
      var planner = Planner()
      planner.addFiles([StoredFile(path: path, byteCount: maker.file.count)])
      for (index, tensor) in tensors.enumerated() {
        _ = try planner.add(TreePath([Key(index: index)]), tensor)
      }
      let plan = planner.plan()
      computed += plan.parts.count { $0.isComputed }
      let executor = Executor(plan, tuning: tuning)

      let memory = plan.results.map {
        UnsafeMutableRawBufferPointer.allocate(byteCount: $0.spec.byteCount + 64, alignment: 64)
      }
      defer { for part in memory { part.deallocate() } }
      let loaded = try await executor.run(
        into: zip(memory, plan.results).map {
          .memory(UnsafeMutableRawBufferPointer(rebasing: $0[..<$1.spec.byteCount]))
        })
      let forecast = try executor.forecast(isResident: true)
      #expect(forecast.bytesRead == loaded.bytesRead, context)
      #expect(forecast.bytesWanted == loaded.bytesWanted, context)

      let writer = try await SafetensorsWriter.begin(
        at: folder + "/written\(round).safetensors",
        leaves: plan.results.map { (path: $0.path, spec: .tensor($0.spec)) },
        options: SafetensorsWriter.Options())
      let written = try await executor.run(into: plan.results.indices.map { .writer(writer, leaf: $0) })
      writer.abandon()
      let writing = try executor.forecast(isResident: true, isWriting: true)
      #expect(writing.bytesRead == written.bytesRead, context)
      #expect(writing.bytesWanted == written.bytesWanted, context)
    }
    #expect(computed > 0, "seed \(seed) computes nothing")
  }
}
