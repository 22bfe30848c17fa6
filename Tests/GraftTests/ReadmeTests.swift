import Graft
import Testing

/// Runs the Swift of README.md as it stands there; scripts/check holds the two to each other.
@Suite struct ReadmeTests {
  @Test func `the README's first screen loads the parameters and nothing else`() async throws {
    let folder = try TemporaryFolder()
    let query = (0..<32).map { Float($0) }
    let path = try HandMadeFile(
      [
        ("params.layers.0.query", "F32", [4, 8], bytes(query)),
        ("opt_state.mu.layers.0.query", "F32", [4, 8], bytes(query)),
      ], in: folder, name: "training.safetensors"
    ).path
    let expected = query
    do {
      let checkpoint = try await Checkpoint(at: path)
      print(checkpoint.tree)

      let loaded = try await checkpoint.load(matching: "params/**")
      let query = try loaded.tree["params"]["layers"]["0"]["query"].tensor
      print(query.shape, loaded.report.reading.bytesRead)

      #expect(try query.array(as: Float.self) == expected)
      #expect(loaded.report.reading.bytesRead == 128)
    }
  }
}
