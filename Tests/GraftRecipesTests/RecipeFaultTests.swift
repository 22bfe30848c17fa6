import Graft
import GraftRecipes
import Testing

/// A recipe that cannot be read, and the one paragraph that says so.
private struct FaultyRecipe: CustomTestStringConvertible, Sendable {
  var name: String
  var text: String
  var sentence: String

  init(_ name: String, _ text: String, _ sentence: String) {
    self.name = name
    self.text = text
    self.sentence = sentence
  }

  var testDescription: String { name }
}

private let faultyRecipes: [FaultyRecipe] = [
  FaultyRecipe(
    "nothing", "", "The recipe is empty. In file recipe. Expected sources, steps, expect."),
  FaultyRecipe(
    "an unknown section", "step: []",
    "The recipe has no parameter 'step'. In line 1, column 1, file recipe. Expected one of description, expect, sources, steps. Did you mean steps?"
  ),
  FaultyRecipe(
    "a list of nothing but keys", "- steps",
    "The recipe takes parameters. In line 1, column 1, file recipe. Expected a mapping, found a list."),
  FaultyRecipe(
    "steps that are no list", "steps: {drop: a}",
    "The value of steps is wrong. In line 1, column 8, file recipe. Expected a list of steps, found a mapping."
  ),
  FaultyRecipe(
    "a step that is a word", "steps: [drop]",
    "A step is one key with its parameters. In step 1 at line 1, column 9, file recipe. Expected for example take: {from: base}, found 'drop'."
  ),
  FaultyRecipe(
    "an unknown step", "steps:\n  - squeese: {select: a}",
    "There is no step 'squeese'. In step 1 at line 2, column 5, file recipe. Expected one of average, broadcast, cast, concatenate, deinterleave, drop, expand, flatten, flip, fuse, init, interleave, interpolate, keep, lora, move, nest, pad, rename, repeat, reshape, resize, rotary, scale, slerp, slice, split, squeeze, stack, sum, take, take_rows, task_arithmetic, tile, transpose, unflatten, unnest, unstack. Did you mean squeeze?"
  ),
  FaultyRecipe(
    "two steps in one", "steps:\n- drop: a\n  keep: b",
    "A step is one key with its parameters. In step 1 at line 3, column 3, file recipe. Found 2 keys, 'drop', 'keep'. Indent the parameters below the step, or begin the next step with a dash."
  ),
  FaultyRecipe(
    "an unknown parameter", "steps:\n- flip:\n    select: a\n    axs: 1\n    axis: 0",
    "The step has no parameter 'axs'. In step 1 (flip) at line 4, column 5, file recipe. Expected one of axis, optional, pattern, select. Did you mean axis?"
  ),
  FaultyRecipe(
    "a missing parameter", "steps: [{flip: {select: a, axs: 1}}]",
    "The step needs axis. In step 1 (flip) at line 1, column 16, file recipe. Found only 'select', 'axs'. Is 'axs' meant to be axis?"
  ),
  FaultyRecipe(
    "a number that is text", "steps: [{flip: {select: a, axis: last}}]",
    "The value of axis is wrong. In step 1 (flip) at line 1, column 34, file recipe. Expected an integer, found 'last'."
  ),
  FaultyRecipe(
    "a number in quotes", "steps: [{flip: {select: a, axis: '1'}}]",
    "The value of axis is wrong. In step 1 (flip) at line 1, column 34, file recipe. Expected an integer, found the text '1'."
  ),
  FaultyRecipe(
    "an integer that overflows", "steps: [{flip: {select: a, axis: 99999999999999999999}}]",
    "The value of axis is wrong. In step 1 (flip) at line 1, column 34, file recipe. Expected an integer, found '99999999999999999999'."
  ),
  FaultyRecipe(
    "a truth value that is none", "steps: [{cast: {select: a, dtype: float16, lossy: yes}}]",
    "The value of lossy is wrong. In step 1 (cast) at line 1, column 51, file recipe. Expected true or false, found 'yes'."
  ),
  FaultyRecipe(
    "an unknown dtype", "steps: [{cast: {select: a, dtype: flaot16}}]",
    "'flaot16' is no dtype. In step 1 (cast) at line 1, column 35, file recipe. Expected a dtype as NumPy spells it. Did you mean float16?"
  ),
  FaultyRecipe(
    "a glob without quotes", "steps:\n- drop: **/kernel",
    "The recipe is no YAML: while scanning an alias, did not find expected alphabetic or numeric character. In line 2, column 10, file recipe. Put a glob that begins with * in quotes."
  ),
  FaultyRecipe(
    "a malformed glob", "steps:\n- drop: 'a/{b'",
    "The pattern a/{b is malformed at character 3, `{b`: this { is never closed; a { that stands for itself is written \\{. In step 1 (drop) at line 2, column 9, file recipe."
  ),
  FaultyRecipe(
    "a malformed slice", "steps: [{slice: {select: a, slice: '1:x'}}]",
    "The part '1:x' of the slice '1:x' is no index or range. In step 1 (slice) at line 1, column 36, file recipe. Write a slice as Python does, for example 0:4,:,7."
  ),
  FaultyRecipe(
    "wildcards that do not fit", "steps: [{rename: {select: 'a/*', to: 'b/**'}}]",
    "The wildcards of 'b/**' are not those of the glob. In step 1 (rename) at line 1, column 38, file recipe. Expected *, as in 'a/*', found **. Give both the same * and ** in the same order, or use pattern, a regular expression."
  ),
  FaultyRecipe(
    "parts without a number", "steps: [{unstack: {select: a, to: b}}]",
    "To has no {index}, the place of each part's number. In step 1 (unstack) at line 1, column 35, file recipe."
  ),
  FaultyRecipe(
    "a source that nobody named", "sources: {base: x}\nsteps:\n- take: {from: bse}",
    "There is no source 'bse'. In step 1 (take) at line 3, column 3, file recipe. Expected one of base, source. Did you mean base?"
  ),
  FaultyRecipe(
    "a source of a name that is taken", "sources: {source: x}",
    "The name source is that of the checkpoint which the recipe is applied to. In line 1, column 11, file recipe. Give the source another name."
  ),
  FaultyRecipe(
    "a source twice", "sources: {a: x, a: y}",
    "A mapping has the key 'a' twice. In line 1, column 11, file recipe. Write a step for each, in a list."),
  FaultyRecipe(
    "weights for other sources", "steps: [{average: {of: [source], weights: [1, 2]}}]",
    "Weights has another number of entries than of. In step 1 (average) at line 1, column 43, file recipe. Expected 1, found 2."
  ),
  FaultyRecipe(
    "a negative extent", "steps: [{init: {path: a, shape: [2, -1], dtype: float32, with: zeros}}]",
    "The value of shape is wrong. In step 1 (init) at line 1, column 33, file recipe. Expected a list of extents, none negative, found a list."
  ),
  FaultyRecipe(
    "a new leaf that is too large",
    "steps: [{init: {path: a, shape: [4000000000000, 4000000000000], dtype: float32, with: zeros}}]",
    "The number of bytes of float32[4000000000000, 4000000000000] overflows. In leaf a, step 1 (init) at line 1, column 16, file recipe."
  ),
  FaultyRecipe(
    "an unknown initializer", "steps: [{init: {path: a, shape: [2], dtype: float32, with: zeroes}}]",
    "There is no initializer 'zeroes'. In step 1 (init) at line 1, column 60, file recipe. Expected one of constant, glorot_normal, glorot_uniform, he_normal, he_uniform, identity, lecun_normal, lecun_uniform, normal, ones, truncated_normal, uniform, variance_scaling, zeros. Did you mean zeros?"
  ),
  FaultyRecipe(
    "an initializer without a seed",
    "steps: [{init: {path: a, shape: [2], dtype: float32, with: {normal: {stddev: 1}}}}]",
    "The initializer normal needs seed. In step 1 (init) at line 1, column 69, file recipe. Found only 'stddev'."
  ),
  FaultyRecipe(
    "an expectation that is no spec", "expect:\n  a: float32[1",
    "This is no spec of a leaf. In line 2, column 6, file recipe. Expected a dtype and a shape, float32[512, 256], found 'float32[1'."
  ),
  FaultyRecipe(
    "several documents", "steps: []\n---\nsteps: []",
    "The recipe is no YAML: there is more than one document. In line 2, column 1, file recipe."),
  FaultyRecipe(
    "a tag", "steps: !!python/object []",
    "The tag 'tag:yaml.org,2002:python/object' means nothing in a recipe. In line 1, column 8, file recipe. Leave the tag out."
  ),
  FaultyRecipe(
    "a control character", "steps: \u{1}",
    "The recipe is no YAML: control characters are not allowed, at character 8. In file recipe."),
  FaultyRecipe(
    "an unclosed list", "steps: [",
    "The recipe is no YAML: while parsing a flow node, did not find expected node content. In line 2, column 1, file recipe."
  ),
]

@Suite struct RecipeFaultTests {
  @Test(arguments: faultyRecipes)
  fileprivate func `what is wrong is said by line, column and step`(recipe: FaultyRecipe) throws {
    let error = #expect(throws: GraftError.self) { try Recipe(parsing: recipe.text) }
    #expect(error?.description == recipe.sentence)
  }

  @Test func `faults of several steps come together, in their order`() throws {
    let error = #expect(throws: GraftError.self) {
      try Recipe(parsing: "steps:\n- drop: []\n- keep: a\n- flip: {select: a}\n- take: {from: b}\n")
    }
    let all = [error].compactMap { $0 } + (error?.others ?? [])
    #expect(
      all.map(\.operation) == [
        "step 1 (drop) at line 2, column 9", "step 3 (flip) at line 4, column 9",
        "step 4 (take) at line 5, column 3",
      ])
  }

  @Test func `values that repeat each other a billion times over are refused at once`() throws {
    var text = "steps: &a0 [x, x]\n"
    for level in 1...30 { text += "k\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
    let error = #expect(throws: GraftError.self) { try Recipe(parsing: text) }
    #expect(
      error?.description
        == "A recipe has no aliases, and *a0 repeats what &a0 names. In line 2, column 10, file recipe. Write the value out."
    )
  }

  @Test(arguments: ["[", "{a: ", "- ", "? "], [20, 300, 2_000, 200_000])
  func `deep nesting is refused, whoever's limit it meets`(opening: String, depth: Int) throws {
    let text = String(repeating: opening, count: depth)
    let error = #expect(throws: GraftError.self) { try Recipe(parsing: text) }
    #expect(error?.file == "recipe")
  }

  @Test func `a recipe longer than the limit is not parsed`() throws {
    let error = #expect(throws: GraftError.self) {
      try Recipe(parsing: String(repeating: "# nothing\n", count: 200_000))
    }
    #expect(error?.code == .limitExceeded)
  }

  /// Whatever is cut out of a recipe, it is read or refused.
  @Test func `a recipe with any piece missing or doubled is no trap`() throws {
    let text = """
      sources: {a: x, b: {path: y, step: 3}}
      steps:
        - take: {from: a, select: "p/{q,r}/**", to: "s/*"}
        - stack: {pattern: 'l(\\d+)/(.*)', to: 'l/\\2', axis: 0, fill: 1}
        - init: {path: n, shape: [2, 3], dtype: float32, with: {normal: {seed: 1}}}
        - pad: {select: "**", widths: [[0, 1], [2, 3]]}
      expect: {exactly: true, "n": "float32[2, 3]"}
      """
    let scalars = Array(text.unicodeScalars)
    for start in scalars.indices {
      for length in [1, 2, 7, 40] {
        let end = min(start + length, scalars.count)
        for middle in [[], Array(scalars[start..<end]) + Array(scalars[start..<end])] {
          var view = String.UnicodeScalarView()
          view.append(contentsOf: Array(scalars[..<start]) + middle + Array(scalars[end...]))
          do throws(GraftError) {
            _ = try Recipe(parsing: String(view))
          } catch {
            #expect(error.file == "recipe", "\(String(view))")
          }
        }
      }
    }
  }
}
