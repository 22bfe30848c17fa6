import GraftCore
import GraftTestSupport
import Testing

/// Steps that leave every leaf where it is, on random trees of every kind of container, beside what they mean said plainly.
@Suite struct RemainderTests {
  private static func tree(_ random: inout SeededGenerator, depth: Int) -> Tree<LazyLeaf> {
    let kind = Int.random(in: 0..<(depth == 0 ? 4 : 10), using: &random)
    func children() -> [Tree<LazyLeaf>] {
      (0..<Int.random(in: 0...4, using: &random)).map { _ in tree(&random, depth: depth - 1) }
    }
    func fields() -> [(key: Key, value: Tree<LazyLeaf>)] {
      zip(["a", "b", "c", "d"].shuffled(using: &random), children()).map { (key: Key($0), value: $1) }
    }
    switch kind {
    case 0: return .empty
    case 1, 2: return .string("\(Int.random(in: 0..<1000, using: &random))")
    case 3: return numbered([2, 3], from: Int.random(in: 0..<1000, using: &random))
    case 4: return .list(children())
    case 5: return .tuple(children())
    case 6: return .namedTuple(fields(), type: "T")
    default: return .dictionary(fields())
    }
  }

  /// What is left of a tree by the rules of the steps: empty containers and nodes are `isKept` too, or go.
  private static func left(
    of tree: Tree<LazyLeaf>, at path: TreePath = .root, _ isKept: (TreePath, Tree<LazyLeaf>) -> Bool
  ) -> Tree<LazyLeaf>? {
    if tree.childCount == 0 { return isKept(path, tree) ? tree : nil }
    let children = tree.children.map { ($0.key, left(of: $0.value, at: path.appending($0.key), isKept)) }
    if children.allSatisfy({ $0.1 == nil }) { return nil }
    let all = children.map { (key: $0.0, value: $0.1 ?? .empty) }
    return switch tree.kind {
    case .list: .list(all.map(\.value))
    case .tuple: .tuple(all.map(\.value))
    case .namedTuple: .namedTuple(all, type: "T")
    default: .dictionary(children.compactMap { child in child.1.map { (key: child.0, value: $0) } })
    }
  }

  @Test(arguments: 0..<8)
  func `what is dropped or not kept goes, and everything else stays where it was`(batch: UInt64) throws {
    let seed = seedFromEnvironment() ?? batch &* 104_729 &+ 11
    var random = SeededGenerator(seed: seed)
    for _ in 0..<60 {
      // The root is a dictionary that always has a leaf of its own.
      var tree = Tree<LazyLeaf>.dictionary(
        (0..<4).map { (key: Key(index: $0), value: Self.tree(&random, depth: 3)) })
      tree["kept"] = .string("kept")
      let chosen = Set(tree.leaves.map(\.path).filter { _ in Bool.random(using: &random) })
      if chosen.isEmpty { continue }
      let paths = LeafPattern.paths(tree.leaves.map(\.path).filter(chosen.contains))
      let dropped = tree.dropping(paths)
      let rest = Self.left(of: tree) { path, node in node.kind != .leaf || !chosen.contains(path) } ?? [:]
      #expect(skeleton(dropped) == skeleton(rest), "seed \(seed): \(tree)")
      let kept = tree.keeping(paths)
      let same = Self.left(of: tree) { path, node in node.kind == .leaf && chosen.contains(path) } ?? [:]
      #expect(skeleton(kept) == skeleton(same), "seed \(seed): \(tree)")
      var removed = tree
      #expect(removed.removeLeaves { path, _ in chosen.contains(path) } == chosen.count, "seed \(seed)")
      #expect(skeleton(removed) == skeleton(rest), "seed \(seed): \(tree)")
      // Of text alone, a step on tensors concerns nothing.
      let turned = tree.applying(TreeOperation.transform(paths, .transpose()).optional)
      let expected = tree.mapLeaves { path, leaf -> Tree<LazyLeaf> in
        chosen.contains(path) ? Tree.leaf(leaf).transposed() : .leaf(leaf)
      }
      #expect(skeleton(turned) == skeleton(expected), "seed \(seed): \(tree)")
      #expect(try contents(turned) == contents(expected), "seed \(seed): \(tree)")
    }
  }

  @Test func `containers that a step does not concern are not copied`() {
    let tree: Tree<LazyLeaf> = [
      "a": ["x": numbered([2]), "y": numbered([2])], "b": [["x": numbered([2])], numbered([2])],
    ]
    func addresses(_ tree: Tree<LazyLeaf>) -> [UInt?] {
      [tree, tree["a"], tree["b"], tree["b"][0]].map(\.childStorageAddress)
    }
    let before = addresses(tree)
    #expect(!before.contains(nil))
    let dropped = addresses(tree.dropping("a/x"))
    #expect(dropped[0] != before[0] && dropped[1] != before[1] && Array(dropped[2...]) == Array(before[2...]))
    let turned = addresses(tree.transforming("b/1", by: .flip(axis: 0)))
    #expect(turned[2] != before[2] && turned[1] == before[1] && turned[3] == before[3])
    let same = addresses(tree.applying(TreeOperation.drop("nothing").optional))
    #expect(same == before)
  }
}
