import Foundation
import Graft
import Testing

@Suite struct TuningFileReadingTests {
  @Test func `a checkpoint is opened with the settings of a file, and gives the same values`() async throws {
    let folder = try TemporaryFolder()
    let values = (0..<200_000).map { Float($0) }
    let model = try HandMadeFile([("w", "F32", [200_000], bytes(values))], in: folder)
    var tuning = Tuning()
    (tuning.engine, tuning.queueDepth, tuning.blockByteCount) = (.threads, 2, 65_536)
    let path = folder.path + "/fast.json"
    try Data(TuningFile(tuning).encoded()).write(to: URL(filePath: path))
    #expect(try Tuning(contentsOf: path) == tuning)
    let checkpoint = try await Checkpoint(at: model.path, tuning: Tuning(contentsOf: path))
    let loaded = try await checkpoint.load()
    #expect(loaded.report.reading.engine == "threads")
    // Of 800,000 bytes that begin within a block, in blocks of 64 KiB.
    #expect(loaded.report.reading.requestCount == 13)
    #expect(try loaded.tree["w"].tensor.array(as: Float.self) == values)
  }

  @Test func `a file that is not there, and one of another size, are errors`() throws {
    let folder = try TemporaryFolder()
    #expect { try Tuning(contentsOf: folder.path + "/none.json") } throws: {
      ($0 as? GraftError)?.code == .notFound
    }
    // A model by mistake: not read into memory to find that out.
    let path = folder.path + "/model.safetensors"
    try Data().write(to: URL(filePath: path))
    try #require(truncate(path, 1 << 40) == 0)
    #expect { try Tuning(contentsOf: path) } throws: { ($0 as? GraftError)?.code == .limitExceeded }
  }

  @Test func `settings of another machine are told`() throws {
    var origin = TuningFile.Origin()
    (origin.processorCount, origin.fileSystem) = (100_000, "tape")
    let differences = TuningFile(Tuning(), origin: origin).differencesFromHere(for: "/tmp")
    #expect(differences.count == 2)
    #expect(TuningFile(Tuning(), origin: origin).differencesFromHere(for: nil).count == 1)
    #expect(TuningFile(Tuning()).differencesFromHere(for: "/tmp") == [])
  }
}
