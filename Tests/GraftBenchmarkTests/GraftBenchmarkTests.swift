import Foundation
import GraftBenchmark
import GraftCore
import GraftMeasure
import Testing

/// Every benchmark on tiny inputs, so that none rots; how fast anything was is nobody's claim here.
@Suite struct GraftBenchmarkTests {
  @Test(arguments: BenchmarkKind.allCases)
  func `a benchmark runs on tiny input, and its report is a table and a JSON object`(_ kind: BenchmarkKind)
    async throws
  {
    let folder = try TemporaryBenchmarkFolder()
    var (named, options) = try #require(
      try BenchmarkTool.parse([kind.rawValue, "--tiny"]), "a benchmark's name runs it")
    #expect(named == kind)
    options.folder = folder.path
    try folder.linkOrbaxCheckpoints()
    let report = try await kind.run(options)
    #expect(report.name == kind.rawValue)
    #expect(!report.tables.isEmpty)
    for table in report.tables {
      #expect(!table.rows.isEmpty, "\(table.title)")
      for row in table.rows { #expect(row.count == table.columns.count) }
      #expect(report.description.contains(table.title))
    }
    let members = try #require(
      try JSONValue(parsing: Array(report.json.utf8)).members, "the report is an object")
    #expect(members.map(\.key).prefix(4) == ["benchmark", "conditions", "tables", "claims"])
  }

  @Test func `what is counted rather than timed keeps its promise on tiny input too`() async throws {
    let folder = try TemporaryBenchmarkFolder()
    var options = BenchmarkOptions()
    (options.size, options.rounds, options.folder, options.warm) = (.tiny, 1, folder.path, true)
    let partial = try await BenchmarkKind.partial.run(options)
    for claim in partial.claims where claim.text.contains("bytes read") {
      #expect(claim.isMet, "\(claim.text): \(claim.measured)")
    }
  }

  /// How much each takes is not asserted: other tests of this process take memory meanwhile.
  @Test func `memory is watched for every layout of Orbax that is there`() async throws {
    let folder = try TemporaryBenchmarkFolder()
    try folder.linkOrbaxCheckpoints()
    var options = BenchmarkOptions()
    (options.size, options.rounds, options.folder) = (.tiny, 1, folder.path)
    let memory = try await BenchmarkKind.memory.run(options)
    let table = try #require(memory.tables.first { $0.title.contains("Orbax") })
    #expect(table.rows.count == TemporaryBenchmarkFolder.layouts.count)
    #expect(memory.claims.contains { $0.text.contains("any layout of Orbax") })
  }

  @Test func `a checkpoint that was not made is an error that says how to make it`() async throws {
    let folder = try TemporaryBenchmarkFolder()
    var options = BenchmarkOptions()
    (options.size, options.rounds, options.folder) = (.tiny, 1, folder.path)
    await #expect {
      try await BenchmarkKind.orbax.run(options)
    } throws: { error in
      guard let error = error as? GraftError else { return false }
      return error.code == .notFound && error.remedy?.contains("scripts/orbax-checkpoints") == true
        && error.file?.hasPrefix(folder.path) == true
    }
  }

  @Test(arguments: [
    ["fast"], ["load", "open"], ["load", "--rounds"], ["load", "--rounds", "0"], ["load", "--many"],
    ["tune", "--rounds", "3"], ["save", "--mebibytes", "0"], ["open", "--leaves", "-1"],
    ["memory", "--quick"],
  ])
  func `a command line that makes no sense is an error`(_ arguments: [String]) {
    #expect(throws: (any Error).self) { try BenchmarkTool.parse(arguments) }
  }

  @Test func `a command line gives its options`() throws {
    var expected = BenchmarkOptions()
    (expected.rounds, expected.folder, expected.cold, expected.json) = (3, "there", true, true)
    let load = try #require(
      try BenchmarkTool.parse(["load", "--rounds", "3", "--cold", "--folder", "there", "--json"]))
    #expect(load.kind == .load && load.options == expected)

    expected = BenchmarkOptions()
    (expected.path, expected.mebibytes, expected.isQuick, expected.output) = ("disk", 64, true, "out")
    let tune = try #require(
      try BenchmarkTool.parse(["tune", "disk", "--quick", "--mebibytes", "64", "--output", "out"]))
    #expect(tune.kind == .tune && tune.options == expected)

    expected = BenchmarkOptions()
    (expected.leafCount, expected.rounds, expected.size) = (500, 2, .tiny)
    let plan = try #require(try BenchmarkTool.parse(["plan", "--tiny", "--leaves", "500"]))
    #expect(plan.kind == .plan && plan.options == expected)
  }

  @Test func `help names every benchmark, and a benchmark's help its options`() throws {
    #expect(try BenchmarkTool.parse([]) == nil)
    for kind in BenchmarkKind.allCases {
      #expect(BenchmarkTool.help().contains("  \(kind.rawValue) "), "\(kind)")
      #expect(BenchmarkTool.help(for: kind).contains("graft-benchmark \(kind.rawValue)"), "\(kind)")
    }
    #expect(BenchmarkTool.help(for: .tune).contains("--force"))
    #expect(!BenchmarkTool.help(for: .load).contains("--force"))
  }

  @Test func `a model's file is made once and holds what its header says`() async throws {
    let folder = try TemporaryBenchmarkFolder()
    let leaves = [ModelFile.Leaf("a.weight", [3, 5]), ModelFile.Leaf("a.bias", [7])]
    let first = try ModelFile.make("model", in: folder.path + "/deep/er", leaves)
    var before = stat()
    #expect(stat(first.path, &before) == 0)
    _ = try ModelFile.make("model", in: folder.path + "/deep/er", leaves)
    var after = stat()
    #expect(stat(first.path, &after) == 0)
    #expect(before.st_ino == after.st_ino)
    // Another model under the same name is another file.
    _ = try ModelFile.make("model", in: folder.path + "/deep/er", [ModelFile.Leaf("b", [1])])
    #expect(stat(first.path, &after) == 0)
    #expect(before.st_size != after.st_size)
  }

  @Test func `a claim says whether it is met, at its bound too`() {
    #expect(BenchmarkReport.Claim("", 0.9, .atLeast(0.9)).isMet)
    #expect(!BenchmarkReport.Claim("", 0.89, .atLeast(0.9)).isMet)
    #expect(BenchmarkReport.Claim("", 5, .atMost(5)).isMet)
    #expect(!BenchmarkReport.Claim("", 5.1, .atMost(5)).isMet)
  }
}

/// Owns a folder that is removed with all that is in it.
final class TemporaryBenchmarkFolder {
  let path: String
  init() throws {
    var template = Array("/tmp/graft-benchmark-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The layouts that ``linkOrbaxCheckpoints()`` gives, by the names of their fixtures.
  static let layouts = ["v0", "v0-folders", "v1", "v1-folders-zarr2", "v1-ocdbt-zarr2", "v1-uncompressed"]

  /// Puts golden checkpoints where the benchmarks look for the large ones that scripts/orbax-checkpoints makes.
  func linkOrbaxCheckpoints() throws {
    let fixtures = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../Fixtures/orbax/0.12.8").standardized.path
    let manager = FileManager.default
    try manager.createDirectory(atPath: "\(path)/orbax/layouts", withIntermediateDirectories: true)
    let links = [
      "compressed": "v1", "plain": "v1-uncompressed", "single-frame": "v1-mesh",
      "sub-chunked": "v1-subchunked",
      "row-chunked": "v1-shard-axes", "many-leaves": "v1-many",
    ]
    for (name, fixture) in links {
      try manager.createSymbolicLink(
        atPath: "\(path)/orbax/\(name)", withDestinationPath: "\(fixtures)/\(fixture)")
    }
    for layout in Self.layouts {
      try manager.createSymbolicLink(
        atPath: "\(path)/orbax/layouts/\(layout)", withDestinationPath: "\(fixtures)/\(layout)")
    }
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }
}
