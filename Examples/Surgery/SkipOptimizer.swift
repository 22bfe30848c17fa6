import Graft

/// Skips the optimizer state: evaluation wants the parameters and the step, and reads nothing else.
///
/// The placeholders keep the structure, so that what is loaded fits the program's own training state.
func skipOptimizer(of path: String) async throws -> Surgery {
  let checkpoint = try await Checkpoint(at: path)
  let evaluation = checkpoint.target { path, _ in path.first == "opt_state" ? .placeholder : .stored }
  return try checkpoint.transform(expecting: evaluation) { $0 }
}
