import Foundation
import GraftCore
import GraftParts
import Testing

/// Every part of Graft that is measured alone, on small input: that it runs, and that it counts what it did before.
@Suite struct PartTests {
  @Test func `no two parts have one name`() {
    #expect(Set(Part.all.map(\.name)).count == Part.all.count)
    #expect(Set(Part.all.map(\.name)) == Set(Self.thresholds.keys))
  }

  /// Requests, bytes and moves are the same on every machine, so that one more than before is a change that somebody made.
  @Test(arguments: Part.all.map(\.name))
  func `a part counts what Benchmarks/Thresholds/parts.json says`(name: String) async throws {
    let part = try #require(Part.all.first { $0.name == name })
    let folder = try TemporaryBenchmarkFolder()
    let prepared = try await part.prepared(.small, folder: folder.path)
    #expect(prepared.workCount > 0)
    let counts = try await prepared.run()
    #expect(try await prepared.run() == counts, "every run counts the same")
    #expect(
      counts == Self.thresholds[name],
      """
      \(name) counts \(counts.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ", ")). \
      If that is what the change is for, write it into Benchmarks/Thresholds/parts.json; fewer is a new bound.
      """)
  }

  private static let thresholds: [String: [String: Int]] = {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let url = root.appendingPathComponent("Benchmarks/Thresholds/parts.json")
    guard let data = try? Data(contentsOf: url) else { return [:] }
    return (try? JSONDecoder().decode([String: [String: Int]].self, from: data)) ?? [:]
  }()
}
