import Graft
import GraftRecipes
import GraftTestSupport
import Testing

/// Carries out a recipe whose sources are files of a folder under Tests/Fixtures.
func carryingOut(_ text: String, in fixture: String) async throws -> Tree<LeafValue> {
  let recipe = try Recipe(parsing: text, folder: Fixture.path(fixture) + "/")
  return try await recipe.surgery(sources: try await recipe.openSources()).load().tree
}

/// The tensors of a fixture by their paths.
func tensors(of fixture: String) async throws -> [(path: TreePath, tensor: Tensor)] {
  try await Checkpoint(at: Fixture.path(fixture)).load().tree.leaves.map {
    guard case .tensor(let tensor) = $0.leaf else { fatalError("fixtures of models have tensors alone") }
    return (path: $0.path, tensor: tensor)
  }
}

/// How far apart two roundings to a dtype of one number may be, relative to the number.
func spacing(of dtype: DType) -> Double {
  switch dtype {
  case .float32: 0x1p-23
  case .bfloat16: 0x1p-7
  default: fatalError("the fixtures have no \(dtype)")
  }
}
