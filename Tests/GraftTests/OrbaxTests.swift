import Foundation
import Graft
import GraftCore
import GraftTestSupport
import Testing

/// A checkpoint of Tests/Fixtures/orbax, and what the real Orbax put into it.
struct OrbaxCheckpoint: CustomStringConvertible, Sendable {
  let description: String
  let leaves: [JSONValue.Member]

  static let version = "0.12.8"

  static let all: [OrbaxCheckpoint] = {
    guard let index = try? JSONValue(parsing: Fixture.bytes("orbax/\(version)/index.json")) else { return [] }
    return (index.members ?? []).map { OrbaxCheckpoint(description: $0.key, leaves: $0.value.members ?? []) }
  }()

  static func named(_ name: String) throws -> OrbaxCheckpoint {
    try #require(all.first { $0.description == name })
  }

  /// Opens `name`, `name@step` or `name:checkpointable`.
  func open() async throws -> Checkpoint {
    let parts = description.split { $0 == "@" || $0 == ":" }.map(String.init)
    return try await Checkpoint(
      at: Fixture.path("orbax/\(Self.version)/\(parts[0])"), step: description.contains("@") ? parts[1] : nil,
      checkpointable: description.contains(":") ? parts[1] : nil)
  }
}

/// The elements in row-major order, those of less than a byte in a byte each, as Zarr and NumPy keep them.
private func unpacked(_ tensor: Tensor) throws -> [UInt8] {
  let bytes = try tensor.bytes.withUnsafeBytes { Array($0) }
  guard tensor.dtype.bitWidth == 4 else { return bytes }
  return (0..<tensor.elementCount).map { bytes[$0 / 2] >> ($0 % 2 * 4) & 0x0F }
}

struct OrbaxTests {
  @Test(arguments: OrbaxCheckpoint.all)
  func `every leaf that the real Orbax saved loads bit for bit`(fixture: OrbaxCheckpoint) async throws {
    let checkpoint = try await fixture.open()
    try check(try await checkpoint.load(), against: fixture)
    // Compressed leaves cannot be mapped, plain ones that lie in one piece can.
    try check(try await checkpoint.load(to: .mapped), against: fixture)
  }

  private func check(_ loaded: Loaded, against fixture: OrbaxCheckpoint) throws {
    var count = 0
    for (path, value) in loaded.tree.leaves {
      let expected = try #require(fixture.leaves.first { Key($0.key) == Key(path.description) }?.value)
      count += 1
      switch value {
      case .string(let text): #expect(text == expected.text)
      case .tensor(let tensor):
        #expect(tensor.dtype.rawValue == expected["dtype"]?.text, "\(path)")
        #expect(tensor.shape.extents == expected["shape"]?.elements?.compactMap(\.integer), "\(path)")
        #expect(sha256(try unpacked(tensor)) == expected["sha256"]?.text, "\(path)")
      default: Issue.record("\(path) has no value")
      }
    }
    #expect(count == fixture.leaves.count)
  }

  @Test(arguments: ["v1-mesh", "v1-subchunked", "v1-shard-axes"])
  func `random slices agree with the whole`(name: String) async throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 61)
    let checkpoint = try await OrbaxCheckpoint.named(name).open()
    let whole = try await checkpoint.load().tree["square"].tensor.array(as: Float.self)
    for _ in 0..<10 {
      let rows = Int.random(in: 0..<8, using: &random)
      let columns = Int.random(in: 0..<12, using: &random)
      let (rowEnd, columnEnd) = (
        Int.random(in: rows + 1...8, using: &random), Int.random(in: columns + 1...12, using: &random)
      )
      let part = try await checkpoint.load(
        ["square": .slice(rows..<rowEnd, columns..<columnEnd)], partial: true
      ).tree["square"].tensor.array(as: Float.self)
      let expected = (rows..<rowEnd).flatMap { row in whole[row * 12 + columns..<row * 12 + columnEnd] }
      #expect(part == expected, "seed \(random.seed)")
    }
  }

  @Test func `placeholders are not read`() async throws {
    let checkpoint = try await OrbaxCheckpoint.named("v1").open()
    let bias = try await checkpoint.load(["params": ["layer0": ["bias": .stored]]], partial: true)
    // One frame of 2,400 bytes of noise, which zstd cannot make much smaller.
    #expect((2_000...2_600).contains(bias.report.reading.bytesRead))
    let none = try await checkpoint.load(checkpoint.target { _, _ in .placeholder })
    #expect(none.report.reading.bytesRead == 0)
  }

  @Test func `a damaged shard index is an error that names the leaf, and other leaves load`() async throws {
    let folder = try TemporaryFolder()
    let source = Fixture.path("orbax/\(OrbaxCheckpoint.version)/v1")
    let copy = folder.path + "/copy"
    try copyFolder(source, to: copy)
    let checkpoint = try await Checkpoint(at: copy)
    // The bias is the one chunk that is too large for the database itself; its shard's index is at the end.
    let plan = try await checkpoint.plan(["params": ["layer0": ["bias": .stored]]], partial: true)
    let chunk = try #require(plan.moves.first?.chunk)
    try damage(plan.files[chunk.file].path, at: chunk.range.end + 3)
    await #expect {
      try await checkpoint.load(["params": ["layer0": ["bias": .stored]]], partial: true)
    } throws: {
      guard let error = $0 as? GraftError else { return false }
      return error.code == .corrupt && error.leaf == "params/layer0/bias"
    }
    _ = try await checkpoint.load(["step": .stored], partial: true)
  }
}

private func copyFolder(_ source: String, to destination: String) throws {
  try FileManager.default.copyItem(atPath: source, toPath: destination)
}

private func damage(_ path: String, at offset: Int) throws {
  var data = try #require(FileManager.default.contents(atPath: path))
  data[offset] ^= 0x40
  try data.write(to: URL(filePath: path))
}
