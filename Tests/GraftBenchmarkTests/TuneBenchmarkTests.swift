import Foundation
import GraftBenchmark
import GraftCore
import Testing

/// The whole of a sweep on tiny data; how fast anything was is nobody's claim here.
@Suite struct TuneBenchmarkTests {
  private func options(_ arguments: String...) throws -> BenchmarkOptions {
    try #require(try BenchmarkTool.parse(["tune", "--tiny"] + arguments)).options
  }

  private func lines(_ path: String) throws -> [Substring] {
    try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
  }

  @Test func `a folder is swept: a report, a tuning file, charts and a journal to go on from`() async throws {
    let folder = try TemporaryBenchmarkFolder()
    // As a user has it: the folder has other things in it.
    try Data().write(to: URL(filePath: folder.path + "/notes.txt"))
    let options = try options(folder.path)
    let report = try await BenchmarkKind.tune.run(options)
    let output = folder.path + "/graft-tune"
    // Two rounds show nothing, so the defaults are what is recommended.
    let file = try TuningFile(
      parsing: Array(Data(contentsOf: URL(filePath: output + "/tuning.json"))), file: "tuning.json")
    #expect(file.tuning == Tuning())
    #expect(file.origin.processorCount != nil && file.origin.measured != nil && file.origin.kernel != nil)
    #expect(try String(contentsOfFile: output + "/tuning.svg", encoding: .utf8).hasPrefix("<svg"))
    #expect(report.closing.contains { $0.contains("--tuning \(output)/tuning.json") })
    for axis in ["access", "threads", "block", "coalescing gap", "huge pages", "budget"] {
      #expect(report.tables.contains { $0.title.hasPrefix("\(axis): ") }, "\(axis)")
    }
    let json = try JSONValue(parsing: Array(report.json.utf8))
    #expect(json["recommended"]?.members?.isEmpty == true)
    #expect(!FileManager.default.fileExists(atPath: output + "/frames"))

    // Again: nothing is measured anew, and the same is said.
    let journal = try Data(contentsOf: URL(filePath: output + "/journal.jsonl"))
    let again = try await BenchmarkKind.tune.run(options)
    #expect(try Data(contentsOf: URL(filePath: output + "/journal.jsonl")) == journal)
    #expect(again.tables == report.tables)
    #expect(again.conditions.contains { $0.contains("taken from the journal") })

    // Interrupted half way: what was finished is not measured again.
    let whole = try lines(output + "/journal.jsonl")
    let half = whole.prefix(whole.count / 2)
    try Data((half.joined(separator: "\n") + "\n{\"block\":\"to").utf8)
      .write(to: URL(filePath: output + "/journal.jsonl"))
    _ = try await BenchmarkKind.tune.run(options)
    let resumed = try lines(output + "/journal.jsonl")
    #expect(resumed.prefix(half.count) == half)
    #expect(resumed.count == whole.count)

    // Afresh: all of it is.
    var fresh = options
    fresh.isFresh = true
    _ = try await BenchmarkKind.tune.run(fresh)
    #expect(try lines(output + "/journal.jsonl").count == whole.count)
    #expect(try lines(output + "/journal.jsonl")[1] != whole[1])
  }

  @Test func `a checkpoint is swept, and results go where they are to go`() async throws {
    let folder = try TemporaryBenchmarkFolder()
    try folder.linkOrbaxCheckpoints()
    var options = try options(folder.path + "/orbax/compressed")
    options.output = folder.path + "/out/deep"
    let report = try await BenchmarkKind.tune.run(options)
    #expect(FileManager.default.fileExists(atPath: folder.path + "/out/deep/tuning.json"))
    #expect(report.conditions.contains { $0.contains("orbax") })
    #expect(report.conditions.contains { $0.contains("no small leaves") })
    #expect(!report.tables.contains { $0.title.hasPrefix("coalescing gap") })
  }

  @Test func `an interrupted sweep says how to go on`() async throws {
    let folder = try TemporaryBenchmarkFolder()
    let options = try options(folder.path)
    let task = Task { try await BenchmarkKind.tune.run(options) }
    task.cancel()
    await #expect {
      try await task.value
    } throws: { error in
      guard let error = error as? GraftError else { return false }
      return error.code == .cancelled
    }
    // What there is of a journal can be gone on from.
    let report = try await BenchmarkKind.tune.run(options)
    #expect(!report.tables.isEmpty)
  }

  @Test func `a second run in the same folder is an error, and disturbs nothing`() async throws {
    let folder = try TemporaryBenchmarkFolder()
    let output = folder.path + "/graft-tune"
    try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
    let descriptor = open(output, O_RDONLY)
    defer { close(descriptor) }
    try #require(flock(descriptor, LOCK_EX) == 0)
    let options = try options(folder.path)
    await #expect {
      try await BenchmarkKind.tune.run(options)
    } throws: { ($0 as? GraftError)?.message.contains("another run") == true }
    #expect(!FileManager.default.fileExists(atPath: output + "/journal.jsonl"))
    try #require(flock(descriptor, LOCK_UN) == 0)
    #expect(try await !BenchmarkKind.tune.run(options).tables.isEmpty)
  }

  @Test func `a path that leads nowhere is an error, and nothing is made`() async throws {
    let folder = try TemporaryBenchmarkFolder()
    let options = try options(folder.path + "/none")
    await #expect {
      try await BenchmarkKind.tune.run(options)
    } throws: { ($0 as? GraftError)?.code == .notFound }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
  }

  @Test func `options of a sweep are understood, and are not for other benchmarks`() throws {
    let options = try #require(
      try BenchmarkTool.parse([
        "tune", "there", "--quick", "--fresh", "--force", "--output", "o", "--mebibytes", "64",
      ])
    ).options
    #expect(options.path == "there" && options.output == "o" && options.mebibytes == 64)
    #expect(options.isQuick && options.isFresh && options.isForced)
    for arguments in [
      ["load", "--quick"], ["load", "--output", "o"], ["load", "there"], ["tune", "a", "b"],
      ["tune", "--what"],
      ["scaling", "--force"],
    ] {
      #expect(throws: (any Error).self) { try BenchmarkTool.parse(arguments) }
    }
    #expect(try BenchmarkTool.parse(["scaling", "--output", "o"])?.options.output == "o")
  }

  static let powers: [(x: [Double], y: [Double], exponent: Double)] = [
    ([1, 10, 100], [2, 20, 200], 1), ([1, 10], [5, 5], 0), ([1, 2, 4], [8, 4, 2], -1),
    ([1, 2, 3], [1, 4, 9], 2),
  ]

  @Test(arguments: powers)
  func `the exponent of a power is found`(_ power: (x: [Double], y: [Double], exponent: Double)) throws {
    let found = try #require(ScalingFit.exponent(zip(power.x, power.y).map { (x: $0, y: $1) }))
    #expect(abs(found - power.exponent) < 1e-9)
  }

  @Test func `one size, or figures without a logarithm, have no exponent`() {
    #expect(ScalingFit.exponent([(1, 2)]) == nil)
    #expect(ScalingFit.exponent([(1, 2), (1, 3)]) == nil)
    #expect(ScalingFit.exponent([(1, 2), (0, 3), (4, 0)]) == nil)
  }
}
