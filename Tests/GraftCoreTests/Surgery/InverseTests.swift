import GraftCore
import GraftTestSupport
import Testing

@Suite struct InverseTests {
  /// A tree with dictionaries, lists and tuples, whose names and shapes suit every step.
  static func tree(_ random: inout SeededGenerator) -> Tree<LazyLeaf> {
    var next = 0
    func leaf(_ shape: [Int]) -> Tree<LazyLeaf> {
      defer { next += shape.reduce(1, *) }
      return numbered(shape, from: next)
    }
    let width = Int.random(in: 1...3, using: &random) * 4
    func block() -> Tree<LazyLeaf> {
      ["q": leaf([width, 4]), "k": leaf([4, 4]), "v": leaf([4, 4]), "norm.scale": leaf([width])]
    }
    let count = Int.random(in: 1...12, using: &random)
    var tree: Tree<LazyLeaf> = ["embed": leaf([5, width]), "opt": .tuple([.empty, leaf([width]), [:]])]
    if Bool.random(using: &random) {
      tree["blocks"] = .list((0..<count).map { _ in block() })
    } else {
      for index in (0..<count).shuffled(using: &random) { tree["blocks"][Key("\(index)")] = block() }
    }
    return tree
  }

  static func step(_ random: inout SeededGenerator) -> TreeOperation {
    let all: [TreeOperation] = [
      .rename([RenameRule(#"^blocks/(\d+)/"#, to: #"layer\1/"#), RenameRule("q$", to: "query")]),
      .rename([RenameRule("/q$", to: "/k"), RenameRule("/k$", to: "/q")], simultaneously: true),
      .rename([RenameRule("embed", to: "opt_embed/table")]),
      .move([TreeMove(from: "blocks", to: "model/blocks"), TreeMove(from: "opt", to: "state/opt")]),
      .nest(under: "params/model"), .flatten(), .flatten(separator: "/"), .unflatten(),
      .unflatten(makingLists: true),
      .stack(#"blocks/(\d+)/(.*)"#, to: #"blocks/\2"#),
      .stack(#"blocks/(\d+)/(.*)"#, to: #"stacked/\2"#, axis: -1),
      .stack(#"blocks/(\d+)/(.*)"#, to: #"x/\2"#, count: 14, fillers: [StackFiller(3)]),
      .fuse(#"blocks/(\d+)/(q|k|v)"#, order: ["q", "k", "v"], to: #"blocks/\1/qkv"#),
      .fuse(["blocks/0/k", "blocks/0/v"], to: "blocks/0/k", axis: 1),
      .split(#"(.*)/(q|k)"#, into: [#"\1/\2/left"#, #"\1/\2/right"#], axis: -1),
      .unstack(#"blocks/(\d+)/(k|v)"#, to: #"blocks/\1/\2{index}"#, axis: 1),
      .transform("**/q", .transpose([1, 0])), .transform("**/{q,k}", .transpose()),
      .transform("**/k", .cast(.int64)), .transform("embed", .resize(9, axis: 0, value: 1)),
      .transform("**/v", .pad([.init(before: 1), .init(after: 2)], value: 8)),
      .transform("**/v", .reshape([2, -1])),
      .transform("blocks", .expand(axis: -1)), .transform("**/k", .take([3, 1, 0, -2], axis: 0)),
      .transform("**/q", .flip(axis: 0)), .transform("**/k", .repeat(3, axis: -1)),
      .transform("**/k", .tile([2, 3])),
      .transform("**/k", .interleave(sizes: [2, 2], groups: 2, axis: 0)),
      .transform("**/q", .rotary(to: .halfSplit, heads: 1, dimensions: 4)),
      .transform("**/q", .deinterleave(sizes: [2, 2], groups: 2, axis: -1)),
    ]
    return all.randomElement(using: &random)!
  }

  @Test(arguments: 0..<6)
  func `a step and its inverse leave the tree as it was, values and containers`(batch: UInt64) throws {
    let seed = seedFromEnvironment() ?? batch &* 6151 &+ 11
    var random = SeededGenerator(seed: seed)
    for round in 0..<25 {
      let tree = Self.tree(&random)
      var steps: [TreeOperation] = []
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let step = Self.step(&random)
        // What a step before has renamed or reshaped may not suit this one any more.
        if (try? (steps + [step]).apply(to: tree)) != nil { steps.append(step) }
      }
      let context: Comment = "seed \(seed), round \(round): \(steps.map(\.description)) on \(skeleton(tree))"
      let after = try steps.apply(to: tree)
      let back = try steps.inverse(on: tree).apply(to: after)
      #expect(skeleton(back) == skeleton(tree), context)
      #expect(try contents(back) == contents(tree), context)
    }
  }

  @Test(
    arguments: [
      (.drop("embed"), "the leaves that were dropped are not there any more"),
      (.keep("embed"), "the leaves that were dropped are not there any more"),
      (.transform("embed", .cast(.int8, lossy: true)), "a cast from int32 to int8 may have lost values"),
      (.transform("embed", .resize(1, axis: 0)), "what was cut off is not there any more"),
      (.transform("embed", .slice(TensorSlice([.index(0)]))), "what was cut off is not there any more"),
      (.transform("embed", .take([0, 0], axis: 0)), "not every index was taken once"),
      (.transform("embed", .broadcast([2, 2, 3])), "how a leaf was broadcast is not known any more"),
      (.transform("embed", .repeat(0, axis: 0)), "nothing is left of the leaf"),
    ] as [(TreeOperation, String)])
  func `what cannot be undone says why`(step: TreeOperation, why: String) throws {
    let tree: Tree<LazyLeaf> = ["embed": numbered([2, 3]), "x": numbered([1])]
    let error = #expect(throws: GraftError.self) { try step.inverse(on: tree) }
    #expect(error?.code == .unsupported)
    #expect(error?.message == "the step cannot be undone: \(why)")
    #expect(error?.operation == step.name)
  }
}
