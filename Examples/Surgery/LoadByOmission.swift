import Graft

/// Loads a tree of another shape: what the program's tree leaves out is not read, and what the checkpoint lacks is made.
///
/// `partial` lets the target leave things out, and lets one leaf of it stand for a whole subtree. Without it each difference would be an error.
func loadByOmission(from path: String) async throws -> Loaded {
  let checkpoint = try await Checkpoint(at: path)
  return try await checkpoint.load(
    [
      "params": [
        "embedding": .stored,
        "layer0": .stored,
        "head": ["kernel": .initialized([16, 4], .float32, .lecunNormal(seed: 3))],
      ],
      "step": .stored,
    ], partial: true)
}

/// What is in memory as a surgery, so that it can be saved as others are.
func inMemory(_ loaded: Loaded) throws -> Surgery {
  try Checkpoint.transform([]) { _ in
    loaded.tree.mapLeaves { _, leaf in
      switch leaf {
      case .tensor(let tensor): .tensor(tensor)
      case .string(let text): .string(text)
      case .placeholder: .placeholder
      }
    }
  }
}
