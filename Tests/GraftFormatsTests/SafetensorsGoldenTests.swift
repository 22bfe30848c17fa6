import Foundation
import GraftCore
import GraftFormats
import Testing

/// Files that the reference implementation wrote, against its own reading of them.
@Suite struct SafetensorsGoldenTests {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/safetensors/0.8.0")

  static let names = [
    "all-dtypes", "empty", "misaligned", "names", "numpy", "unordered", "zero-sized",
  ]

  @Test(arguments: names) func `a file of the reference implementation reads as it reads it`(_ name: String)
    async throws
  {
    let file = Self.folder.appendingPathComponent("\(name).safetensors")
    let bytes = Array(try Data(contentsOf: file))
    let text = Array(try Data(contentsOf: Self.folder.appendingPathComponent("expected.json")))
    let expected = try #require(try JSONValue(parsing: text)["\(name).safetensors"])
    let tensors = try #require(expected["tensors"]?.members)

    let catalog = try await FormatRegistry.standard.open(file.path)
    let leaves = catalog.tree.leaves
    #expect(leaves.count == tensors.count)
    for (path, leaf) in leaves {
      guard case .tensor(let spec, let layout, let stored) = leaf else {
        Issue.record("\(path) is no tensor")
        continue
      }
      let tensor = try #require(expected["tensors"]?[stored])
      #expect(SafetensorsDType.name(of: spec.dtype) == tensor["dtype"]?.text)
      #expect(spec.shape.extents == tensor["shape"]?.elements?.compactMap { $0.integer })
      let range = try #require(layout.chunks[0].stored).range
      let hex = bytes[range.offset..<range.end].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      #expect(hex == tensor["data"]?.text)
    }
    let metadata = JSONValue.object(
      catalog.metadata.map { JSONValue.Member($0.key, .string($0.value)) }.sorted { $0.key < $1.key })
    #expect(metadata == expected["metadata"])
  }

  @Test func `every golden file is tested`() throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
    #expect(files.filter { $0.hasSuffix(".safetensors") }.sorted() == Self.names.map { "\($0).safetensors" })
  }
}
