import Graft
import GraftRecipes
import GraftTestSupport
import Testing

/// Adapters as PEFT writes them, and what it makes of a model with them.
@Suite struct AdapterTests {
  static let folder = "mergekit/peft-0.21.2"

  @Test(arguments: ["attention", "attention-bfloat16", "patterns", "transposed"])
  func `an adapter's folder is folded in as PEFT merges it, scaled as its configuration says`(
    name: String
  ) async throws {
    let folder = "\(Self.folder)/\(name)"
    let found = try await carryingOut(
      "sources: {base: base.safetensors}\nsteps:\n- take: {from: base}\n- lora: {adapter: adapter}\n",
      in: folder)
    let (base, merged) = (
      try await tensors(of: "\(folder)/base.safetensors"),
      try await tensors(of: "\(folder)/merged.safetensors")
    )
    #expect(found.leafCount == merged.count)
    var foldedCount = 0
    for (before, after) in zip(base, merged) {
      let (path, dtype) = (after.path, after.tensor.dtype)
      let result = try found[at: path].tensor
      #expect(result.spec == after.tensor.spec, "\(path)")
      if try before.tensor.contentEquals(after.tensor) {
        // What the adapter has nothing for keeps its bits.
        #expect(try result.contentEquals(after.tensor), "\(path)")
        continue
      }
      foldedCount += 1
      let (old, mine, theirs) = try (
        before.tensor.array(as: Float.self), result.array(as: Float.self), after.tensor.array(as: Float.self)
      )
      for element in mine.indices {
        // Sums of four products of factors, all of them about 0.1, times 3 at most: 0.5 is above what is summed up. Each side rounds
        // four products, four sums, the scaled one and the last, then once to the dtype.
        let tolerance =
          20 * 0x1p-24 * (Double(old[element].magnitude) + 0.5)
          + (dtype == .float32 ? 0 : spacing(of: dtype) * Double(theirs[element].magnitude))
        guard (Double(mine[element]) - Double(theirs[element])).magnitude <= tolerance else {
          Issue.record("\(path)[\(element)]: \(old[element]) became \(mine[element]), not \(theirs[element])")
          return
        }
      }
    }
    let expected = ["attention": 4, "attention-bfloat16": 4, "patterns": 14, "transposed": 2]
    #expect(foldedCount == expected[name])
  }

  @Test func `the configuration is metadata of the adapter, by its folder or its file, and of no result`()
    async throws
  {
    let path = Fixture.path("\(Self.folder)/attention/adapter")
    for path in [path, path + "/", path + "/adapter_model.safetensors"] {
      let metadata = try await Checkpoint(at: path).metadata
      #expect(metadata.count { $0.key == "adapter_config.json" } == 1, "\(path)")
    }
    let base = try await Checkpoint(at: Fixture.path("\(Self.folder)/attention/base.safetensors"))
    #expect(!base.metadata.contains { $0.key == "adapter_config.json" })
  }

  @Test func `a scale that a recipe gives stands above the configuration`() async throws {
    let steps = "sources: {base: base.safetensors}\nsteps:\n- take: {from: base}\n- lora: "
    let folder = "\(Self.folder)/attention"
    // The configuration has an alpha of 8 and a rank of 4.
    let configured = try await carryingOut(steps + "{adapter: adapter}", in: folder)
    let given = try await carryingOut(steps + "{adapter: adapter, scale: 2}", in: folder)
    let other = try await carryingOut(steps + "{adapter: adapter, alpha: 4}", in: folder)
    let weight: TreePath = "model/layers/0/self_attn/q_proj/weight"
    #expect(try configured[at: weight].tensor.contentEquals(try given[at: weight].tensor))
    #expect(try !configured[at: weight].tensor.contentEquals(try other[at: weight].tensor))
  }

  @Test func `an adapter without a configuration needs a scale`() throws {
    let recipe = try Recipe(parsing: "sources: {a: x}\nsteps:\n- lora: {adapter: a}\n")
    let error = #expect(throws: GraftError.self) {
      try recipe.apply(to: ["w": .zeros([2, 2], .float32)], sources: ["a": ["b": .zeros([1], .float32)]])
    }
    #expect(
      error?.description
        == "The adapter 'a' has no configuration that says its scale. In step 1 (lora) at line 3, column 3, file recipe. Expected adapter_config.json beside its adapter_model.safetensors, found none. Give scale, what products are multiplied with, or alpha, which is divided by their rank."
    )
  }
}
