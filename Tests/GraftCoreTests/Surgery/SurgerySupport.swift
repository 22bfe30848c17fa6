import GraftCore
import GraftTestSupport
import Testing

/// A tensor in memory of int32 whose values tell it from others.
func numbered(_ shape: [Int], from first: Int = 0) -> Tree<LazyLeaf> {
  let count = shape.reduce(1, *)
  return .tensor(Tensor((0..<count).map { Int32(first + $0) }, shape: Shape(shape)))
}

/// The values of every tensor of a tree, by path; text and free places by their description.
func contents(_ tree: Tree<LazyLeaf>) throws -> [String: NaiveTensor] {
  try tree.validate()
  var planner = Planner()
  planner.addFiles([])
  var paths: [String] = []
  try tree.forEachLeaf { path, leaf in
    guard case .tensor(let tensor) = leaf else { return }
    _ = try planner.add(path, tensor)
    paths.append(path.description)
  }
  return Dictionary(
    uniqueKeysWithValues: zip(paths, try NaivePlanRun(plan: planner.plan(), file: []).values()))
}

/// The paths of a tree's leaves, as they print.
func paths(_ tree: Tree<LazyLeaf>) -> [String] { tree.leaves.map(\.path.description) }

/// The tree of descriptions, to compare kinds and structure by.
func skeleton(_ tree: Tree<LazyLeaf>) -> Tree<String> { tree.mapLeaves { .leaf($1.description) } }
