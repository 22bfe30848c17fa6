import Foundation
import GraftCore
import GraftExecute
import GraftIO
import GraftTestSupport
import Testing

@Suite struct ExecutorTests {
  let path = NSTemporaryDirectory() + "/graft-executor-\(UUID().uuidString)"
  let contents: [UInt8]

  init() throws {
    var generator = SeededGenerator(seed: 11)
    contents = (0..<1_000_000).map { _ in UInt8.random(in: 0...255, using: &generator) }
    try Data(contents).write(to: URL(filePath: path))
  }

  private func run(_ plan: Plan, tuning: Tuning = Tuning()) async throws -> (
    results: [[UInt8]], report: ReadReport
  ) {
    let memory = plan.results.map {
      UnsafeMutableRawBufferPointer.allocate(byteCount: $0.spec.byteCount, alignment: 64)
    }
    defer { for part in memory { part.deallocate() } }
    let report = try await Executor(plan, tuning: tuning).run(into: memory.map { .memory($0) })
    return (memory.map { Array($0) }, report)
  }

  @Test func `a read that fails names the leaf, the file and the bytes`() async throws {
    defer { unlink(path) }
    let good = TensorSpec(.uint8, [100])
    let bad = TensorSpec(.uint8, [2000])
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: contents.count)])
    _ = try planner.add(
      "good", good, Layout(contiguous: good, file: 0, range: ByteRange(offset: 0, count: 100)))
    _ = try planner.add(
      "bad", bad, Layout(contiguous: bad, file: 0, range: ByteRange(offset: 999_000, count: 2000)))
    let plan = planner.plan()
    let error = await #expect(throws: GraftError.self) { try await run(plan) }
    #expect(error?.leaf == "bad")
    #expect(error?.file == path)
    #expect(error?.range?.offset ?? 0 >= 999_000)
    #expect(error?.code == .truncated || error?.code == .fileChanged)
  }

  @Test func `a move of more pieces than are read at once is cut, and comes whole`() async throws {
    defer { unlink(path) }
    // Every fourth byte of the file: 250,000 runs of one byte, four times what one portion holds.
    let spec = TensorSpec(.uint8, [250_000, 4])
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: contents.count)])
    _ = try planner.add(
      "column", spec,
      Layout(contiguous: spec, file: 0, range: ByteRange(offset: 0, count: contents.count)),
      slice: TensorSlice([.all, .index(1)]))
    let plan = planner.plan()
    for gap in [0, 32 << 10] {
      var tuning = Tuning()
      tuning.coalescingGapByteCount = gap
      tuning.budgetByteCount = 4 << 20
      let (results, report) = try await run(plan, tuning: tuning)
      #expect(results[0] == stride(from: 1, to: contents.count, by: 4).map { contents[$0] })
      #expect(report.bytesWanted == 250_000)
      // Without a gap that is worth reading through, nothing but the wanted bytes is read.
      if gap == 0 { #expect(report.bytesRead == 250_000) } else { #expect(report.bytesRead < 1_000_000) }
    }
  }

  @Test(arguments: 0..<4) func `packed elements that share bytes come out right from many threads`(
    offset: Int
  ) async throws {
    defer { unlink(path) }
    let spec = TensorSpec(.float6E2M3FN, [400_000])
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: contents.count)])
    _ = try planner.add(
      "packed", spec,
      Layout(contiguous: spec, file: 0, range: ByteRange(offset: 1_000, count: spec.byteCount)),
      slice: TensorSlice([.strided(lower: offset, upper: nil, step: 1)]))
    var tuning = Tuning()
    tuning.threadCount = 4
    tuning.budgetByteCount = 1 << 20
    let (results, _) = try await run(planner.plan(), tuning: tuning)
    func element(_ bytes: [UInt8], _ index: Int, from start: Int) -> Int {
      (0..<6).reduce(0) {
        $0 | Int(bytes[start + (index * 6 + $1) / 8] >> UInt8((index * 6 + $1) % 8) & 1) << $1
      }
    }
    for index in stride(from: 0, to: 400_000 - offset, by: 101) {
      #expect(element(results[0], index, from: 0) == element(contents, index + offset, from: 1_000))
    }
  }
}
