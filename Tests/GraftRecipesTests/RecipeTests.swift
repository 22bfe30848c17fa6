import Graft
import GraftRecipes
import GraftTestSupport
import Testing

/// A tree of zeros with these leaves.
private func tree(_ leaves: KeyValuePairs<String, Shape>, _ dtype: DType = .float32) throws -> Tree<LazyLeaf>
{
  try Tree(
    leaves: leaves.map { path, shape in
      (path: TreePath(parsing: path)!, leaf: .tensor(try LazyTensor.initialized(shape, dtype, .zeros)))
    })
}

/// The leaves of a tree, `path: spec`, in the order of their paths.
private func shown(_ tree: Tree<LazyLeaf>) -> [String] {
  tree.leaves.map { "\($0.path): \($0.leaf)" }.sorted()
}

private func applying(
  _ steps: String, to start: Tree<LazyLeaf> = [:], sources: [String: Tree<LazyLeaf>] = [:]
) throws -> [String] {
  let names = sources.keys.sorted().map { "\($0): x" }.joined(separator: ", ")
  return shown(
    try Recipe(parsing: "sources: {\(names)}\nsteps:\n\(steps)").apply(to: start, sources: sources))
}

@Suite struct RecipeTests {
  @Test func `take copies what a glob selects to where its wildcards say`() throws {
    let base = try tree(["params/a/kernel": [1], "params/a/bias": [2], "params/b/kernel": [3], "step": []])
    func take(_ parameters: String) throws -> [String] {
      try applying("- take: {from: base, \(parameters)}", sources: ["base": base])
    }
    #expect(try take("select: step") == ["step: float32[]"])
    #expect(
      try take("select: params/**, to: encoder/**") == [
        "encoder/a/bias: float32[2]", "encoder/a/kernel: float32[1]", "encoder/b/kernel: float32[3]",
      ])
    #expect(try take("select: params, to: encoder") == take("select: params/**, to: encoder/**"))
    #expect(
      try take("select: '**/kernel', to: 'kernels/**'").sorted() == [
        "kernels/params/a: float32[1]", "kernels/params/b: float32[3]",
      ])
    #expect(
      try take("select: 'params/*/k*', to: 'k-*-*'") == ["k-a-ernel: float32[1]", "k-b-ernel: float32[3]"])
    #expect(try take("to: all/of/it").count == 4)
    #expect(try take("select: '{params/b,step}'") == ["params/b/kernel: float32[3]", "step: float32[]"])
  }

  @Test func `taking what is there already is an error that names both, unless it is to be replaced`() throws
  {
    let start = try tree(["a/x": [1], "a/y": [1]])
    let other = try tree(["a/x": [2], "a/z": [2]])
    let error = #expect(throws: GraftError.self) {
      try applying("- take: {from: other}", to: start, sources: ["other": other])
    }
    #expect(
      error?.description
        == "The tree has a value at a/x already. In leaf a/x, step 1 (take) at line 3, column 3, file recipe. Drop what is there first, or add replace: true."
    )
    #expect(
      try applying("- take: {from: other, replace: true}", to: start, sources: ["other": other])
        == ["a/x: float32[2]", "a/y: float32[1]", "a/z: float32[2]"])
  }

  /// A template that repeats its glob leaves every path as it is, whatever stands in keys.
  @Test func `a mapping to the same glob is no change`() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    let keys = ["a", "b", "ab", "a*", "layer10", "x/y", "", "{q}", "é"].map { Key($0) }
    for _ in 0..<300 {
      var start: Tree<LazyLeaf> = [:]
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        let path = TreePath(
          (0..<Int.random(in: 1...4, using: &random)).map { _ in keys.randomElement(using: &random)! })
        if start[at: path].kind == .fault, start[at: path].fault?.code == .leafNotFound,
          (0..<path.keys.count).allSatisfy({ start[at: TreePath(Array(path.keys[..<$0]))].kind != .leaf })
        {
          start[at: path] = try .tensor(LazyTensor.initialized([1], .float32, .zeros))
        }
      }
      let pieces = ["*", "**", "a", "a*", "*b*", "layer*", "x\\\\/y", "\\\\{q\\\\}", "*0"]
      let glob = (0..<Int.random(in: 1...4, using: &random)).map { _ in pieces.randomElement(using: &random)!
      }
      .joined(separator: "/")
      let pattern = try PathPattern(glob.replacing("\\\\", with: "\\"))
      let expected = start.leaves(matching: pattern).map { "\($0.path): \($0.leaf)" }.sorted()
      let taken = try applying(
        "- take: {from: base, select: \"\(glob)\", to: \"\(glob)\", optional: true}", sources: ["base": start]
      )
      #expect(taken == expected, "seed \(seed), glob \(glob), tree \(start.leaves.map(\.path))")
    }
  }

  @Test func `averages and sums are of what all sources have`() throws {
    let (a, b) = (try tree(["w/x": [2], "w/y": [3], "only": [1]]), try tree(["w/x": [2], "w/y": [3]]))
    #expect(
      try applying("- average: {of: [a, b], select: w/**, to: soup/**}", sources: ["a": a, "b": b])
        == ["soup/x: float32[2]", "soup/y: float32[3]"])
    #expect(
      try applying("- sum: {of: [a, b], weights: [1, -0.5], select: w/x}", sources: ["a": a, "b": b])
        == ["w/x: float32[2]"])
    #expect(
      try applying("- interpolate: {of: [a, b], at: 0.25, select: w}", sources: ["a": a, "b": b]).count == 2)
    let error = #expect(throws: GraftError.self) {
      try applying("- average: {of: [a, b], select: '*'}", sources: ["a": a, "b": b])
    }
    #expect(
      error?.description
        == "The source b lacks what the source a has. In leaf only, step 1 (average) at line 3, column 3, file recipe. Select what all sources have."
    )
    let other = try tree(["w/x": [5], "w/y": [3]])
    let mismatch = #expect(throws: GraftError.self) {
      try applying("- average: {of: [a, b], select: 'w/*'}", sources: ["a": a, "b": other])
    }
    #expect(mismatch?.code == .shapeMismatch)
    #expect(mismatch?.leaf == "w/x")
    #expect(mismatch?.operation == "step 1 (average) at line 3, column 3")
  }

  @Test func `new leaves are of the dtype and shape that they are to have`() throws {
    #expect(
      try applying(
        """
        - init: {path: new/kernel, shape: [8, 4], dtype: bfloat16, with: {truncated_normal: {stddev: 0.02, seed: 7}}}
        - init: {path: new/bias, shape: [4], dtype: float32, with: zeros}
        - init: {path: new/scale, shape: [], dtype: float32, with: {constant: 2.5}}
        - init:
            path: new/out
            shape: [4, 4]
            dtype: float32
            with: {variance_scaling: {scale: 2, mode: fan_in, distribution: uniform, seed: 1}}
        """)
        == [
          "new/bias: float32[4]", "new/kernel: bfloat16[8, 4]", "new/out: float32[4, 4]",
          "new/scale: float32[]",
        ])
    let error = #expect(throws: GraftError.self) {
      try applying("- init: {path: a/x, shape: [1], dtype: float32, with: ones}", to: try tree(["a/x": [1]]))
    }
    #expect(error?.code == .collision)
  }

  @Test func `a step that matches nothing is an error unless it is optional`() throws {
    let start = try tree(["a": [1]])
    for step in [
      "take: {from: base, select: none}", "drop: {select: none}", "cast: {select: none, dtype: float64}",
      "rename: {select: none, to: more}", "unstack: {select: none, to: 'x{index}'}",
      "split: {select: none, into: [p, q]}", "pad: {select: none, after: 1}",
      "stack: {pattern: 'none(\\d+)', to: all}", "move: {from: none, to: b}",
      "average: {of: [base], select: none}",
    ] {
      let error = #expect(throws: GraftError.self, "\(step)") {
        try applying("- \(step)", to: start, sources: ["base": start])
      }
      #expect(error?.code == .leafNotFound, "\(step): \(error?.description ?? "")")
      #expect(error?.operation?.hasPrefix("step 1 (") == true)
      let optional = step.dropLast() + ", optional: true}"
      #expect(
        try applying("- \(optional)", to: start, sources: ["base": start]) == ["a: float32[1]"], "\(step)")
    }
  }

  @Test func `a lossy cast says how it is allowed`() throws {
    let start = try tree(["a": [1], "n": []])
    let error = #expect(throws: GraftError.self) {
      try applying("- cast: {select: a, dtype: bfloat16}", to: start)
    }
    #expect(
      error?.description
        == "A cast from float32 to bfloat16 may lose values. In leaf a, step 1 (cast) at line 3, column 3, file recipe. Add lossy: true to the step, or pass --allow-lossy."
    )
    #expect(
      try applying("- cast: {select: a, dtype: bfloat16, lossy: true}", to: start)
        == ["a: bfloat16[1]", "n: float32[]"])
    let mixed = try tree(["i": [1]], .int32).merging(tree(["f": [1]]))
    #expect(
      try applying("- cast: {select: '**', from: float32, dtype: float16, lossy: true}", to: mixed)
        == ["f: float16[1]", "i: int32[1]"])
  }

  @Test func `expectations are held against the result before anything is read`() throws {
    func expecting(_ text: String) throws {
      _ = try Recipe(parsing: "expect:\n\(text)").apply(to: tree(["a/x": [2, 3], "a/y": []]))
    }
    try expecting("  a/x: float32[2, 3]")
    try expecting("  exactly: true\n  a/x: 'float32[2,3]'\n  a/y: float32[]")
    let error = #expect(throws: GraftError.self) {
      try expecting("  exactly: true\n  a/x: float32[3, 2]\n  a/z: float32[]")
    }
    #expect(
      error?.description
        == "A leaf comes out otherwise than expected. In leaf a/x, line 3, column 3, file recipe. Expected float32[3, 2], found float32[2, 3]. Also: An expected leaf does not come out. In leaf a/z, line 4, column 3, file recipe. Expected float32[]. Did you mean a/x or a/y? Also: Leaves come out that are not expected: a/y. In leaf a/y, file recipe. Drop them, expect them, or leave out exactly: true."
    )
  }

  @Test func `a recipe may be JSON`() throws {
    let recipe = try Recipe(
      parsing: """
        {"sources": {"base": {"path": "m.safetensors", "step": "3"}}, "steps": [{"take": {"from": "base", "select": "a/**"}}],
         "expect": {"exactly": true, "a/x": "float32[1]"}}
        """, folder: "models/")
    #expect(recipe.sources.map(\.path) == ["models/m.safetensors"])
    #expect(recipe.sources.map(\.step) == ["3"])
    #expect(
      shown(try recipe.apply(to: [:], sources: ["base": tree(["a/x": [1], "b": [1]])])) == ["a/x: float32[1]"]
    )
  }

  @Test func `a source that is not given is an error`() throws {
    let recipe = try Recipe(parsing: "sources: {base: x}\nsteps: [{take: {from: base}}]")
    let error = #expect(throws: GraftError.self) { try recipe.surgery() }
    #expect(error?.code == .invalidArgument)
    #expect(throws: GraftError.self) { try Recipe(parsing: "steps: [{take: {from: source}}]").surgery() }
  }
}
