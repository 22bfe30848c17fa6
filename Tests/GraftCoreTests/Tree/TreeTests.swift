import GraftCore
import GraftTestSupport
import Testing

@Suite struct TreeLookupTests {
  let tree: Tree<Int> = [
    "params": ["layer0": ["kernel": .value(1), "bias": .value(2)], "norm": .value(3)],
    "opt": [.value(4), .tuple([.value(5), .empty])],
    "point": .namedTuple(["x": .value(6), "y": .value(7)], type: "Point"),
  ]

  @Test func `keys, indices and paths find nodes`() {
    #expect(tree["params"]["layer0"]["kernel"].leaf == 1)
    #expect(tree["opt"][1][0].leaf == 5)
    #expect(tree["opt"]["1"]["0"].leaf == 5)
    #expect(tree[at: "params/layer0/bias"].leaf == 2)
    #expect(tree["point"]["y"].leaf == 7)
    #expect(
      tree.leaves.map(\.path.description) == [
        "params/layer0/kernel", "params/layer0/bias", "params/norm", "opt/0", "opt/1/0", "point/x", "point/y",
      ])
    #expect(tree.leafCount == 7)
  }

  @Test func `an absent key is a fault that names the whole path and near keys`() {
    let fault = tree["params"]["layr0"]["kernel"].fault
    #expect(fault?.code == .leafNotFound)
    #expect(fault?.leaf == "params/layr0/kernel")
    #expect(
      fault?.description
        == "The tree has nothing at params/layr0. In leaf params/layr0/kernel. Did you mean layer0?")
    #expect(tree["opt"][2].kind == .fault)
    #expect(tree["params"]["norm"]["deeper"].fault?.leaf == "params/norm/deeper")
  }

  @Test func `a subtree that was looked up still knows where it was`() {
    let params = tree["params"]
    let layer = params["layer0"]
    #expect(layer["kernl"].fault?.leaf == "params/layer0/kernl")
    // It forgets that when it is put elsewhere.
    let other: Tree<Int> = ["elsewhere": layer]
    #expect(other["elsewhere"]["kernl"].fault?.leaf == "elsewhere/kernl")
  }

  @Test func `all faults of a tree are thrown together, each with its place`() {
    let faulty: Tree<Int> = [
      "a": tree["nothing"], "b": ["c": .fault(GraftError(.invalidArgument, "this makes no sense"))],
      "d": ["x": .value(1), "x": .value(2)],
    ]
    let error = thrown { () throws(GraftError) in try faulty.validate() }
    #expect(error?.leaf == "nothing")
    #expect(error?.others.map(\.leaf) == ["b/c", "d"])
    #expect(error?.others.last?.code == .collision)
    #expect(error?.others.last?.message == "the key x comes twice in one dictionary")
  }

  @Test func `two trees are equal whatever the order of a dictionary's keys`() {
    let a: Tree<Int> = ["x": .value(1), "y": [.value(2)]]
    let b: Tree<Int> = ["y": [.value(2)], "x": .value(1)]
    #expect(a == b)
    #expect(a != ["x": .value(1), "y": .tuple([.value(2)])])
    #expect(
      Tree<Int>.namedTuple(["x": .value(1), "y": .value(2)])
        != .namedTuple(["y": .value(2), "x": .value(1)]))
    #expect(Tree<Int>.empty != [:])
  }

  @Test func `fields keep the order in which they are written`() {
    let fields: Tree<Int> = .namedTuple([
      "f": .value(1), "e": .value(2), "d": .value(3), "c": .value(4), "b": .value(5),
    ])
    #expect(fields.children.map(\.key) == ["f", "e", "d", "c", "b"])
    let children: Tree<Int> = .dictionary(["f": .value(1), "e": .value(2), "d": .value(3), "c": .value(4)])
    #expect(children.children.map(\.key) == ["f", "e", "d", "c"])
  }

  @Test func `mapping keeps the containers and may give subtrees`() {
    let mapped: Tree<String> = tree.mapLeaves { path, leaf in
      path == "params/norm" ? ["a": .leaf("\(leaf)")] : leaf == 7 ? .empty : .leaf("\(path)=\(leaf)")
    }
    #expect(mapped["params"]["norm"]["a"].leaf == "3")
    #expect(mapped["opt"].kind == .list)
    #expect(mapped["opt"][1].kind == .tuple)
    #expect(mapped["point"].kind == .namedTuple)
    #expect(mapped["point"]["y"].kind == .empty)
    #expect(mapped["opt"][1][0].leaf == "opt/1/0=5")
  }
}

@Suite struct TreeAssignmentTests {
  @Test func `assigning makes the dictionaries on the way`() {
    var tree: Tree<Int> = .empty
    tree["a"]["b"]["c"] = .value(1)
    tree[at: "x/y"] = .value(2)
    tree["a"]["b"]["d"] = .value(3)
    #expect(tree == ["a": ["b": ["c": .value(1), "d": .value(3)]], "x": ["y": .value(2)]])
    #expect(thrown { () throws(GraftError) in try tree.validate() } == nil)
    tree[at: "a/b/c"] = [.value(4)]
    tree["a"]["b"]["c"][0] = .value(5)
    #expect(tree["a"]["b"]["c"][0].leaf == 5)
    tree[at: "(root)"] = .value(9)
    #expect(tree.leaf == 9)
  }

  @Test(arguments: [
    (Tree<Int>.leaf(1), "a leaf has no place for node/new"),
    (.list([.leaf(1)]), "a list has no place for node/new"),
    (.tuple([.leaf(1)]), "a tuple has no place for node/new"),
    (.namedTuple(["x": .leaf(1)]), "a named tuple has no place for node/new"),
  ])
  func `a child where none has a place is a fault`(node: Tree<Int>, message: String) {
    var tree: Tree<Int> = ["node": node]
    tree["node"]["new"] = .value(2)
    #expect(thrown { () throws(GraftError) in try tree.validate() }?.message == message)
  }

  @Test func `a fault that is assigned is kept, and a fault is not mended by assigning below it`() {
    var tree: Tree<Int> = ["a": .value(1)]
    tree["b"] = tree["nothing"]
    tree["b"]["c"] = .value(2)
    #expect(thrown { () throws(GraftError) in try tree.validate() }?.leaf == "nothing")
  }

  @Test func `passing an absent child along without assigning it adds nothing`() {
    func touch(_ tree: inout Tree<Int>) {}
    var tree: Tree<Int> = ["a": .value(1)]
    touch(&tree["absent"]["deeper"])
    touch(&tree["a"]["deeper"])
    #expect(tree == ["a": .value(1)])
  }

  @Test func `an absent child that is copied elsewhere is a fault there`() {
    var other: Tree<Int> = ["x": .value(1)]
    func copy(_ tree: inout Tree<Int>) {
      other["x"] = tree
      other["y"] = tree
    }
    var tree: Tree<Int> = [:]
    copy(&tree["absent"])
    #expect(tree == [:])
    #expect(other["x"].fault?.leaf == "absent")
    #expect(other["y"].fault?.leaf == "absent")
  }

  @Test func `a modification that throws loses nothing`() {
    struct Failure: Error {}
    func fail(_ tree: inout Tree<Int>) throws { throw Failure() }
    var tree: Tree<Int> = ["a": ["b": .value(1)], "l": [.value(2)]]
    let before = tree
    #expect(throws: Failure.self) { try fail(&tree["a"]["b"]) }
    #expect(throws: Failure.self) { try fail(&tree["l"][0]) }
    #expect(throws: Failure.self) { try fail(&tree["absent"]) }
    #expect(tree == before)
  }

  @Test func `a path longer than any tree may be deep is a fault`() {
    var tree: Tree<Int> = [:]
    tree[at: TreePath([Key](repeating: "a", count: 100_000))] = .value(1)
    #expect(thrown { () throws(GraftError) in try tree.validate() }?.code == .limitExceeded)
  }

  @Test func `assigning 30,000 leaves at depth 3 copies no more than growing does`() {
    var tree: Tree<Int> = [:]
    var addresses = 0
    var last: UInt?
    for index in 0..<30_000 {
      tree["a"]["b"][Key(index: index)] = .value(index)
      // Copies that take turns in two places are seen too, as seven is odd.
      guard index % 7 == 0 else { continue }
      let address = tree["a"]["b"].childStorageAddress
      if address != last { addresses += 1 }
      last = address
    }
    #expect(tree.leafCount == 30_000)
    // Storage that doubles moves some twenty times; a copy at each assignment would be seen 4,000 times.
    #expect(addresses < 60)
    last = tree["a"]["b"].childStorageAddress
    for index in 0..<100 {
      tree["a"]["b"][Key(index: index)] = .value(-index)
      #expect(tree["a"]["b"].childStorageAddress == last)
    }
    #expect(tree["a"]["b"]["99"].leaf == -99)
  }

  @Test func `assigning to a list's and a named tuple's elements copies nothing`() {
    var tree: Tree<Int> = [
      "l": .list((0..<1000).map { .value($0) }), "n": .namedTuple(["x": .value(1), "y": .value(2)]),
    ]
    tree["l"][0] = .value(-1)
    tree["n"]["x"] = .value(-1)
    let list = tree["l"].childStorageAddress
    let named = tree["n"].childStorageAddress
    // After each, as copies may take turns in two places.
    for index in 0..<100 {
      tree["l"][index] = .value(-index)
      #expect(tree["l"].childStorageAddress == list)
      tree["n"]["y"] = .value(-index)
      #expect(tree["n"].childStorageAddress == named)
    }
  }

  @Test func `a copy of a tree is not changed with it`() {
    var tree: Tree<Int> = ["a": ["b": .value(1)]]
    let copy = tree
    tree["a"]["b"] = .value(2)
    #expect(copy["a"]["b"].leaf == 1)
  }
}

@Suite struct TreeUnflattenTests {
  @Test func `leaves and their paths make the tree again`() throws {
    var random = SeededGenerator.forTest()
    for _ in 0..<200 {
      var tree: Tree<Int> = [:]
      for index in 0..<20 {
        let path = random.nastyPath()
        // Only leaves that collide with none.
        if path != .root, tree[at: path].kind == .fault, tree[at: path].fault?.code == .leafNotFound {
          var trial = tree
          trial[at: path] = .value(index)
          if thrown({ () throws(GraftError) in try trial.validate() }) == nil { tree = trial }
        }
      }
      #expect(try Tree(leaves: tree.leaves) == tree, "seed \(random.seed)")
    }
    #expect(try Tree(leaves: [(path: .root, leaf: 1)]) == .leaf(1))
    #expect(try Tree<Int>(leaves: [(path: TreePath, leaf: Int)]()) == [:])
    let unlabelled: [(TreePath, Int)] = [("a/b", 1)]
    #expect(try Tree(leaves: unlabelled) == ["a": ["b": .leaf(1)]])
  }

  @Test(arguments: [
    (["a/b", "a/b"], "Two leaves are named a/b. In leaf a/b. Rename one of them."),
    (["a", "a/b"], "A/b lies below a, which is itself a leaf. In leaf a. Rename one of them."),
    (["a/b/c", "a"], "A/b/c lies below a, which is itself a leaf. In leaf a. Rename one of them."),
    (
      ["a/b/c/d", "x", "a/b"],
      "A/b/c/d lies below a/b, which is itself a leaf. In leaf a/b. Rename one of them."
    ),
    (["(root)", "a"], "A lies below (root), which is itself a leaf. In leaf (root). Rename one of them."),
    (["a", "(root)"], "A lies below (root), which is itself a leaf. In leaf (root). Rename one of them."),
    (["(root)", "(root)"], "Two leaves are named (root). In leaf (root). Rename one of them."),
  ])
  func `leaves that collide are an error that names both`(paths: [String], description: String) {
    let error = thrown { () throws(GraftError) in
      _ = try Tree(leaves: paths.map { (path: TreePath(stringLiteral: $0), leaf: 0) })
    }
    #expect(error?.code == .collision)
    #expect(error?.description == description)
  }

  @Test func `depth, key length and number of leaves have limits`() {
    var limits = Limits()
    limits.leafCount = 3
    limits.keyByteCount = 5
    limits.nestingDepth = 2
    func code(_ paths: [TreePath]) -> GraftError.Code? {
      thrown { () throws(GraftError) in
        _ = try Tree(leaves: paths.map { (path: $0, leaf: 0) }, limits: limits)
      }?.code
    }
    #expect(code(["a", "b/x", "abcde"]) == nil)
    #expect(code(["a", "b", "c", "d"]) == .limitExceeded)
    #expect(code(["abcdef"]) == .limitExceeded)
    #expect(code(["a/b/c"]) == .limitExceeded)
    #expect(code([TreePath([Key](repeating: "a", count: 1_000_000))]) == .limitExceeded)
  }
}

@Suite struct TreeDescriptionTests {
  @Test func `a tree prints a line for each leaf in natural order`() {
    let tree: Tree<LeafSpec> = [
      "layer10": .leaf(.tensor(TensorSpec(.float32, [2, 4]))),
      "layer9": ["kernel": .leaf(.tensor(TensorSpec(.bfloat16, [])))],
      "list": [.empty, .leaf(.string)], "none": [:], "nothing": [], "point": .tuple([]),
      "wrong": .fault(GraftError(.invalidArgument, "no")),
    ]
    #expect(
      tree.description == """
        layer9/kernel  bfloat16[]
        layer10        float32[2, 4]
        list/0         empty
        list/1         string
        none           {}
        nothing        []
        point          ()
        wrong          fault: no
        """)
    #expect(
      tree.description(lineLimit: 2) == """
        layer9/kernel  bfloat16[]
        layer10        float32[2, 4]
        … and 6 more
        """)
    #expect(Tree<Int>.leaf(3).description == "(root)  3")
  }
}
