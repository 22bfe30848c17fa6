import GraftCore
import GraftTestSupport
import Testing

@Suite struct BuiltInSurgeryTests {
  let layers: Tree<LazyLeaf> = [
    "layer10": ["w": numbered([2], from: 100)], "layer2": ["w": numbered([2], from: 20)],
    "layer0": ["w": numbered([2])], "head": ["w": numbered([3], from: 7)],
  ]

  // MARK: paths

  @Test func `rules apply in order, each to what the one before has made`() throws {
    let tree: Tree<LazyLeaf> = ["a": ["w": numbered([1])], "b": ["w": numbered([1], from: 1)]]
    let renamed = tree.renaming([RenameRule("^a/", to: "c/"), RenameRule("^c/w$", to: "c/kernel")])
    #expect(paths(renamed) == ["c/kernel", "b/w"])
    let exchanged = tree.renaming(
      [RenameRule("^a/", to: "b/"), RenameRule("^b/", to: "a/")], simultaneously: true)
    #expect(try contents(exchanged)["b/w"]?.values == [0])
  }

  @Test(arguments: [
    ("x*", "-", "abxd", "-a-b--d-"), ("(\\d+)", "<\\1>", "a1/b22", "a<1>/b<22>"),
    ("b*?", ".", "abb", ".a.b.b."),
    ("^", "p/", "a/b", "p/a/b"), ("\\.", "/", "a.b.c", "a/b/c"), ("(.)(.)", "\\2\\g<1>", "abcde", "badce"),
  ])
  func `every occurrence is replaced as re.sub does it`(
    pattern: String, template: String, before: String, after: String
  )
    throws
  {
    let tree = Tree<LazyLeaf>(.leaf(.string("")), at: try #require(TreePath(parsing: before)))
    let renamed = tree.renaming(try PathRegex(pattern), to: try PathTemplate(template))
    #expect(paths(renamed) == [after])
  }

  @Test func `lists and tuples stay where their own keys do, and go along with what is moved`() throws {
    let tree: Tree<LazyLeaf> = [
      "blocks": [["w": numbered([1])], ["w": numbered([1], from: 1)]],
      "state": .tuple([.empty, numbered([1], from: 2)]), "other": numbered([1], from: 3),
    ]
    let renamed = tree.renaming("/w$", to: "/kernel")
    #expect(renamed["blocks"].kind == .list && renamed["state"].kind == .tuple)
    #expect(renamed["state"]["0"].kind == .empty)
    let nested = tree.nesting(under: "params/model")
    #expect(nested["params"]["model"]["blocks"].kind == .list)
    #expect(skeleton(nested.unnesting(from: "params/model")) == skeleton(tree))
    let named = tree.renaming(#"^blocks/(\d+)"#, to: #"blocks/block\1"#)
    #expect(named["blocks"].kind == .dictionary)
    let half = tree.renaming("^blocks/0", to: "blocks/first")
    #expect(half.fault?.message == "a list has no place for blocks/first")
  }

  @Test func `keys that print with escapes are renamed and come back`() throws {
    let keys = ["a/b", "", "*", "(root)", "(", "é", "back\\slash", "new\nline", "{x}"]
    let tree = Tree<LazyLeaf>.dictionary(keys.map { (key: Key($0), value: numbered([1])) })
    let nested = tree.renaming("^", to: "p/")
    #expect(Set(nested["p"].children.map(\.key)) == Set(keys.map { Key($0) }))
    #expect(skeleton(nested.renaming("^p/", to: "")) == skeleton(tree))
  }

  @Test func `a leaf that is not read may be dropped or moved, but not be computed with`() throws {
    let unread = GraftError(.unsupported, "the leaf is stored in a way that is not read", leaf: "odd")
    let tree: Tree<LazyLeaf> = ["odd": .fault(unread), "w": numbered([2])]
    #expect(paths(try TreeOperation.drop("odd").apply(to: tree)) == ["w"])
    let steps: [TreeOperation] = [.nest(under: "x"), .drop("x/odd")]
    #expect(paths(try steps.apply(to: tree)) == ["x/w"])
    #expect(throws: GraftError.self) { try TreeOperation.stack(#"(odd)()"#, to: #"\1"#).apply(to: tree) }
  }

  @Test func `names with separators become trees, with lists where they are asked for`() throws {
    let tree: Tree<LazyLeaf> = [
      "layers.0.w": numbered([1]), "layers.1.w": numbered([1], from: 1), "n": numbered([1]),
    ]
    let dictionaries = tree.unflattening()
    #expect(dictionaries["layers"].kind == .dictionary && dictionaries["layers"].childCount == 2)
    let lists = tree.unflattening(makingLists: true)
    #expect(lists["layers"].kind == .list)
    #expect(skeleton(lists.flattening()) == skeleton(tree))
    let clash: Tree<LazyLeaf> = ["a.b": numbered([1]), "a": ["b": numbered([1])]]
    #expect(clash.unflattening().fault?.code == .collision)
    #expect(clash.flattening().fault?.code == .collision)
  }

  @Test func `what is dropped or not kept is gone`() throws {
    #expect(paths(layers.dropping("layer*")) == ["head/w"])
    #expect(paths(layers.keeping(.regex(#"layer\d/w"#))) == ["layer2/w", "layer0/w"])
    #expect(paths(layers.dropping(.paths(["head/w"]))).count == 3)
  }

  // MARK: joining

  @Test func `numbered leaves are stacked in numeric order and taken apart again`() throws {
    let tree = layers.stacking(#"layer(\d+)/(.*)"#, to: #"layers/\2"#, count: 11, fillers: [StackFiller(-1)])
    let values = try contents(tree)
    #expect(values["layers/w"]?.shape == [11, 2])
    #expect(values["layers/w"]?.values.prefix(6) == [0, 1, -1, -1, 20, 21])
    #expect(values["layers/w"]?.values.suffix(2) == [100, 101])
    let apart = tree.unstacking("layers/(.*)", to: #"layer{index}/\1"#, count: 11)
    #expect(try contents(apart)["layer10/w"]?.values == [100, 101])
    #expect(paths(tree).contains("head/w"))
  }

  @Test func `a filler is for the stacks that its pattern names`() throws {
    let tree: Tree<LazyLeaf> = [
      "l0": ["scale": numbered([1]), "bias": numbered([1])], "l1": ["scale": numbered([1], from: 1)],
    ]
    let fillers = [StackFiller(9, for: ".*/bias"), StackFiller(5)]
    let stacked = tree.stacking(#"l(\d)/(.*)"#, to: #"l/\2"#, fillers: fillers)
    #expect(try contents(stacked)["l/bias"]?.values == [0, 9])
  }

  @Test func `parts are fused in the order that was given, also where one's name begins with another's`()
    throws
  {
    let tree: Tree<LazyLeaf> = [
      "mlp": [
        "gate_up_proj": numbered([1, 2], from: 10), "gate_proj": numbered([1, 2]),
        "down_proj": numbered([1, 2], from: 20),
      ]
    ]
    let fused = tree.fusing(#"(.*)/(gate|gate_up)_proj"#, order: ["gate", "gate_up"], to: #"\1/fused"#)
    #expect(try contents(fused)["mlp/fused"]?.values == [0, 1, 10, 11])
    #expect(paths(fused) == ["mlp/fused", "mlp/down_proj"])
    let back = fused.splitting("(.*)/fused", into: [#"\1/gate_proj"#, #"\1/gate_up_proj"#])
    #expect(try contents(back) == contents(tree))
    // The result may stand where a part stood.
    let onto = tree.fusing(["mlp/gate_proj", "mlp/down_proj"], to: "mlp/gate_proj", axis: -1)
    #expect(try contents(onto)["mlp/gate_proj"]?.values == [0, 1, 20, 21])
  }

  @Test func `an incomplete group stays as it is where that is allowed`() throws {
    let tree: Tree<LazyLeaf> = [
      "a": ["gate": numbered([1]), "up": numbered([1])], "b": ["gate": numbered([1], from: 5)],
    ]
    let fused = tree.fusing(
      "(.*)/(gate|up)", order: ["gate", "up"], to: #"\1/both"#, allowingIncomplete: true)
    #expect(paths(fused) == ["a/both", "b/gate"])
  }

  // MARK: single leaves

  @Test func `interleaving brings the blocks of each group together`() throws {
    // Four query heads in two groups, one key and one value head each; heads of two dimensions.
    let (sizes, groups) = ([8, 4, 4], 2)
    let naive = NaiveTensor(shape: [16, 3]) { Int64($0[0] * 10 + $0[1]) }
    let source = Tree<LazyLeaf>.tensor(Tensor(naive.values.map { Int32($0) }, shape: [16, 3]))
    var order: [Int] = []
    for group in 0..<groups {
      var first = 0
      for size in sizes {
        order += (0..<(size / groups)).map { first + group * size / groups + $0 }
        first += size
      }
    }
    let tree: Tree<LazyLeaf> = ["x": source]
    let interleaved = tree.transforming("x", by: .interleave(sizes: sizes, groups: groups, axis: 0))
    #expect(try contents(interleaved)["x"] == naive.taking(order, axis: 0))
    let back = interleaved.transforming("x", by: .deinterleave(sizes: sizes, groups: groups, axis: -2))
    #expect(try contents(back)["x"] == naive)
  }

  @Test(arguments: [(nil, 8), (4, 8), (0, 8)] as [(Int?, Int)])
  func `rotary dimensions are sorted within each head`(dimensions: Int?, headExtent: Int) throws {
    let naive = NaiveTensor(shape: [2, 3 * headExtent]) { Int64($0[0] * 100 + $0[1]) }
    let turned = dimensions ?? headExtent
    // From pairs side by side to halves: dimension 2 i goes to i, 2 i + 1 to half + i.
    let order = (0..<(3 * headExtent)).map { position -> Int in
      let (head, inner) = (position / headExtent, position % headExtent)
      guard inner < turned else { return position }
      return head * headExtent + (inner < turned / 2 ? 2 * inner : 2 * (inner - turned / 2) + 1)
    }
    let tree: Tree<LazyLeaf> = [
      "q": .tensor(Tensor(naive.values.map { Int32($0) }, shape: [2, 3 * headExtent]))
    ]
    let half = tree.transforming("q", by: .rotary(to: .halfSplit, heads: 3, dimensions: dimensions, axis: 1))
    #expect(try contents(half)["q"] == naive.taking(order, axis: 1))
    let back = half.transforming(
      "q", by: .rotary(to: .interleaved, heads: 3, dimensions: dimensions, axis: 1))
    #expect(try contents(back)["q"] == naive)
  }

  // MARK: faults

  static let faults: [(TreeOperation, GraftError.Code, String)] = [
    (
      .rename([RenameRule("w$", to: "v"), RenameRule("nothing", to: "x")]), .leafNotFound,
      "the rule 'nothing' concerns no leaf"
    ),
    (.rename([RenameRule(#"layer\d+"#, to: "layer")]), .collision, "two leaves would stand at layer/w"),
    (.rename([RenameRule("layer10/w", to: "head/w/x")]), .collision, "a leaf would stand below another leaf"),
    (
      .rename([RenameRule("layer10", to: #"\1"#)]), .invalidArgument,
      #"the template '\\1' refers to a capture that there is not"#
    ),
    (
      .rename([RenameRule("layer10", to: #"a\u{zz}"#)]), .invalidArgument,
      #"the new path 'a\\u{zz}/w' has an unknown escape"#
    ),
    (.move([TreeMove(from: "layer3", to: "x")]), .leafNotFound, "the tree has no leaf at layer3"),
    (.unnest(from: "head"), .structureMismatch, "a leaf does not lie below head"),
    (.unnest(from: "nowhere"), .leafNotFound, "the step concerns no leaf: unnest from nowhere"),
    (.drop("encoder/**"), .leafNotFound, "the step concerns no leaf: drop 'encoder/**'"),
    (.drop(.paths(["layer1/w"])), .leafNotFound, "the tree has no leaf at layer1/w"),
    (
      .stack(#"layer(\d+)/w"#, to: "layers/w"), .leafNotFound,
      "layers/w cannot be stacked, for parts are missing"
    ),
    (
      .stack(#"layer(\d)(\d?)/w"#, to: "layers/w"), .invalidArgument,
      #"it is not clear which capture of 'layer(\\d)(\\d?)/w' tells the parts apart"#
    ),
    (
      .stack(#"layer(\w+)/w"#, to: "layers/w", count: 3), .structureMismatch,
      "layers/w has more parts than are expected"
    ),
    (.stack("([a-z]+)[0-9]+/w", to: "w"), .invalidArgument, "the index of a part is no number"),
    (.stack(#"(\d+)?head/w"#, to: "w"), .invalidArgument, "the index of a part is no number"),
    (.stack(#"layer\d*(\d)/w"#, to: "w"), .collision, "two leaves are part 0 of w"),
    (.stack(#"layer(\d+)/w"#, to: "w", count: 0), .invalidArgument, "a stack cannot have 0 parts"),
    (
      .fuse("layer(2|3)/w", order: ["2", "3"], to: "w"), .leafNotFound,
      "w cannot be fused, for parts are missing"
    ),
    (
      .fuse("(layer2|head)/w", order: ["head", "head"], to: "w"), .invalidArgument,
      "the order of a fuse names each part once"
    ),
    (.fuse(["head/w", "head/w"], to: "w"), .invalidArgument, "a fuse names each part once"),
    (.fuse(["head/w", "tail/w"], to: "w"), .leafNotFound, "the tree has no leaf at tail/w"),
    (.split("head/w", into: ["a", "b"]), .shapeMismatch, "axis 0 cannot be split into 2 equal parts"),
    (.split("head/w", into: ["a", "a"], sizes: [1, 2]), .collision, "two leaves would stand at a"),
    (
      .unstack("head/w", to: "head"), .invalidArgument,
      "the parts of an unstacked leaf need a number in their path"
    ),
    (
      .unstack("head/w", to: "h{index}", count: 4), .shapeMismatch,
      "the leaf does not come apart into as many parts as are expected"
    ),
    (.unstack("head/w", to: "h{index}", axis: 2), .invalidArgument, "there is no axis 2"),
    (.transform("head/w", .cast(.int8)), .lossy, "a cast from int32 to int8 may lose values"),
    (
      .transform("head/w", .interleave(sizes: [1, 1], groups: 1, axis: 0)), .shapeMismatch,
      "the extents [1, 1] do not add up to axis 0"
    ),
    (.transform("head/w", .rotary(to: .halfSplit, heads: 2)), .shapeMismatch, "axis 0 does not hold 2 heads"),
    (
      .transform("head/w", .rotary(to: .halfSplit, heads: 1)), .shapeMismatch,
      "3 dimensions of a head cannot be turned in pairs"
    ),
    (.unflatten(separator: ""), .invalidArgument, "the separator of unflatten is empty"),
  ]

  @Test(arguments: faults.indices)
  func `what does not fit is an error that names the step`(index: Int) {
    let (operation, code, message) = Self.faults[index]
    let error = #expect(throws: GraftError.self) { try operation.apply(to: layers) }
    #expect(error?.code == code)
    #expect(error?.message == message)
    #expect(error?.operation == operation.name)
  }

  @Test func `two spellings of one number are two leaves of one part`() {
    let tree: Tree<LazyLeaf> = ["l1": numbered([1]), "l01": numbered([1]), "l0": numbered([1])]
    let fault = tree.stacking(#"l(\d+)"#, to: "l").fault
    #expect(fault?.message == "two leaves are part 1 of l" && fault?.found == "l1 and l01")
  }

  @Test func `a fault has the step and the line of the program`() {
    let tree = layers.stacking(#"layer(\d+)/w"#, to: "layers/w", file: "Model.swift", line: 12)
    #expect(tree.fault?.operation == "stack at Model.swift:12")
    // A tensor that does not fit is a fault at its leaf, beside what is sound.
    let cast = layers.transforming("**", by: .cast(.int8))
    #expect(cast["head"]["w"].fault?.leaf == "head/w" && cast.kind == .dictionary)
  }

  @Test func `an optional step that concerns nothing does nothing`() throws {
    let steps: [TreeOperation] = [
      .drop("encoder/**"), .rename([RenameRule("nothing", to: "x")]), .stack(#"x(\d)"#, to: "x"),
      .fuse(["x", "y"], to: "z"), .move([TreeMove(from: "x", to: "y")]), .transform("x", .flip(axis: 0)),
    ]
    #expect(skeleton(try steps.map(\.optional).apply(to: layers)) == skeleton(layers))
  }

  @Test func `a huge index asks for no memory`() {
    let tree: Tree<LazyLeaf> = ["l0": numbered([1]), "l99999999999999": numbered([1])]
    let fault = tree.stacking(#"l(\d+)"#, to: "l", fillers: [StackFiller(0)]).fault
    #expect(fault?.code == .limitExceeded)
  }
}

extension Tree {
  /// A tree of one leaf, below dictionaries.
  fileprivate init(_ leaf: Tree, at path: TreePath) {
    self = path.keys.reversed().reduce(leaf) { .dictionary([(key: $1, value: $0)]) }
  }
}
