import GraftCore
import Testing

@Suite struct TreeMatchingTests {
  let tree: Tree<Int> = [
    "layer10": ["kernel": .value(10), "bias": .value(-10)],
    "layer2": ["kernel": .value(2), "bias": .value(-2)],
    "layer1": ["kernel": .value(1), "bias": .value(-1)], "norm": .value(0), "my_layer3": .value(33),
    "layer": .value(44),
  ]

  @Test func `children come in the numeric order of the first capture`() {
    #expect(tree.children(matching: #/layer(\d+)/#).map { $0["kernel"].leaf } == [1, 2, 10])
    #expect(tree.childKeys(matching: #/layer(\d*)/#) == ["layer", "layer1", "layer2", "layer10"])
    #expect(tree.childKeys(matching: #/.*layer\d+/#) == ["layer1", "layer2", "layer10", "my_layer3"])
    #expect(tree.childKeys(matching: #/(?:my_)?layer(\d+)/#) == ["layer1", "layer2", "my_layer3", "layer10"])
    #expect(tree.childKeys(matching: #/LAYER1/#.ignoresCase()) == ["layer1"])
    let list: Tree<Int> = .list((0..<12).map { .value($0) })
    #expect(list.children(matching: #/1\d?/#).map(\.leaf) == [1, 10, 11])
  }

  @Test func `a regular expression tells two spellings apart`() {
    let spellings: Tree<Int> = ["\u{e9}": .value(1), "e\u{301}": .value(2)]
    #expect(spellings.childKeys(matching: #/\u{e9}/#) == ["\u{e9}"])
    #expect(spellings.childKeys(matching: #/e./#) == ["e\u{301}"])
  }

  @Test func `a child that was matched knows its path, and a fault gives itself`() {
    let model: Tree<Int> = ["params": tree]
    #expect(
      model["params"].children(matching: #/layer(\d+)/#)[1]["kernl"].fault?.leaf == "params/layer2/kernl")
    #expect(model["parms"].children(matching: #/layer(\d+)/#).map(\.fault?.leaf) == ["parms"])
    #expect(tree.children(matching: #/nothing/#).isEmpty)
  }

  @Test func `removing children leaves the others as they are`() {
    var model: Tree<Int> = ["params": tree]
    #expect(model["params"].removeChildren(matching: #/layer(\d+)/#) == 3)
    #expect(model["params"].children.map(\.key) == ["norm", "my_layer3", "layer"])
    #expect(model["params"].removeChildren(matching: #/layer(\d+)/#) == 0)
    model["params"].removeChild("norm")
    #expect(model == ["params": ["my_layer3": .value(33), "layer": .value(44)]])
    var list: Tree<Int> = [.value(0), .value(1), .value(2)]
    list.removeChild("1")
    #expect(list == [.value(0), .value(2)])
  }

  @Test func `removing from what is not there is a fault that names it`() {
    var model: Tree<Int> = ["params": tree]
    model["parms"].removeChildren(matching: #/layer(\d+)/#)
    model["a"]["b"].removeLeaves(matching: "**")
    model["params"].removeChild("nrm")
    let error = thrown { () throws(GraftError) in try model.validate() }
    #expect(error?.leaf == "params/nrm")
    #expect(error?.remedy == "did you mean norm?")
    #expect(error?.others.map(\.leaf) == ["parms", "a/b"])
  }

  @Test func `a tuple cannot lose a child`() {
    var model: Tree<Int> = ["t": .tuple([.value(1)]), "n": .namedTuple(["x": .value(1)])]
    model["t"].removeChild("0")
    model["n"].removeChildren(matching: #/x/#)
    let error = thrown { () throws(GraftError) in try model.validate() }
    #expect(error?.message == "a tuple cannot lose t/0")
    #expect(error?.others.first?.message == "a named tuple cannot lose n/x")
  }

  @Test func `leaves are found by glob and by regular expression over the whole path`() {
    #expect(tree.leaves(matching: "*/kernel").map(\.leaf) == [10, 2, 1])
    #expect(tree.leaves(matching: "layer2").map(\.path) == ["layer2/kernel", "layer2/bias"])
    #expect(tree.leaves(matching: #/layer\d+\/kernel/#).map(\.leaf) == [10, 2, 1])
    #expect(tree.leaves(matching: #/layer\d+/#).isEmpty)
    #expect(tree.leaves(matching: #/norm|layer/#).map(\.leaf) == [0, 44])
  }

  @Test func `removed leaves take emptied dictionaries along but keep places in lists`() {
    let model: Tree<Int> = [
      "a": ["x": .value(1), "y": ["z": .value(2)]], "l": [.value(3), .value(4)],
      "t": .tuple([.value(5), .value(6)]),
      "n": .namedTuple(["x": .value(7), "y": .value(8)]), "none": [:], "all": [.value(9)],
    ]
    var removed = model
    #expect(removed.removeLeaves { _, leaf in [2, 3, 6, 8, 9].contains(leaf) } == 5)
    #expect(
      removed == [
        "a": ["x": .value(1)], "l": [.empty, .value(4)], "t": .tuple([.value(5), .empty]),
        "n": .namedTuple(["x": .value(7), "y": .empty]), "none": [:],
      ])
    var byGlob = model
    #expect(byGlob.removeLeaves(matching: "{a/y,l/0,t/1,n/y,all}") == 5)
    #expect(byGlob == removed)
    var byExpression = model
    #expect(byExpression.removeLeaves(matching: #/a/y/z|l/0|t/1|n/y|all/.*/#) == 5)
    #expect(byExpression == removed)
    var everything = model
    #expect(everything.removeLeaves(matching: "**") == 9)
    #expect(everything == [:])
    var nothing = model
    #expect(nothing.removeLeaves(matching: "nothing/**") == 0)
    #expect(nothing == model)
  }
}

@Suite struct SelectionTests {
  let tree: Tree<Int> = [
    "params": [
      "encoder": ["kernel": .value(1), "bias": .value(2)],
      "decoder": ["kernel": .value(3), "bias": .value(4)],
    ],
    "opt": [["mu": .value(5)], ["mu": .value(6)]], "step": .value(7), "rng": .empty,
  ]

  func leaves(_ rules: [Selection.Rule]) throws -> [Int] {
    try tree.selecting(Selection(rules)).leaves.map(\.leaf)
  }

  @Test func `later rules win, and the first says where one starts`() throws {
    #expect(try leaves([]) == [1, 2, 3, 4, 5, 6, 7])
    #expect(try leaves([.select("params")]) == [1, 2, 3, 4])
    #expect(try leaves([.drop("params/**")]) == [5, 6, 7])
    #expect(try leaves([.select("params/**"), .drop("**/bias")]) == [1, 3])
    #expect(try leaves([.select("params/**"), .drop("**/bias"), .select("params/decoder")]) == [1, 3, 4])
    #expect(try leaves([.drop("**"), .select("step")]) == [7])
    #expect(try leaves([.select("opt/1/**"), .select("step")]) == [6, 7])
  }

  @Test func `paths stay what they were, and what is left empty goes`() throws {
    #expect(try tree.selecting(Selection([.select("opt/1")])) == ["opt": [.empty, ["mu": .value(6)]]])
    #expect(try tree.selecting(Selection([.drop("{params,opt}")])) == ["step": .value(7), "rng": .empty])
    #expect(try tree.selecting(Selection([.drop("**")])) == [:])
    #expect(try tree.selecting(Selection([.select("rng")])) == ["rng": .empty])
  }

  @Test func `faults stay whatever is removed around them`() throws {
    let fault = Tree<Int>.fault(GraftError(.invalidArgument, "this makes no sense"))
    let faulty: Tree<Int> = ["a": ["b": fault, "c": .value(1)], "d": .value(2)]
    let left: [Tree<Int>] = [
      try faulty.selecting(Selection([.select("d")])), try faulty.selecting(Selection([.drop("a")])),
      {
        var tree = $0; tree.removeLeaves(matching: "a"); return tree
      }(faulty),
    ]
    for tree in left {
      #expect(tree.leaves.map(\.leaf) == [2])
      #expect(tree["a"]["b"].fault != nil)
    }
  }

  @Test func `one path is judged as the whole tree is`() throws {
    let selection = Selection([.select("params/**"), .drop("**/bias"), .select("params/decoder")])
    let kept = Set(try tree.selecting(selection).leaves.map(\.path))
    for (path, _) in tree.leaves { #expect(selection.selects(path) == kept.contains(path), "\(path)") }
  }

  @Test func `rules that match nothing are an error that offers near names`() {
    let error = thrown { () throws(GraftError) in
      _ = try tree.selecting(Selection([.select("parms/**"), .drop("**/kernal"), .drop("step")]))
    }
    #expect(error?.code == .leafNotFound)
    #expect(
      error?.description == """
        No leaf matches the pattern parms/** to select. Did you mean params? \
        Also: No leaf matches the pattern **/kernal to drop. Did you mean kernel?
        """)
  }
}
