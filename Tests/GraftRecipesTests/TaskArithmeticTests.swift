import Foundation
import Graft
import GraftRecipes
import GraftTestSupport
import Testing

@Suite struct TaskArithmeticTests {
  static let models = "mergekit/mergekit-0.1.5/float32"

  /// A base of ones and two tuned tensors, 1 more and 2 more.
  private func merged(
    _ count: Int, weights: [Double] = [1, 1], scale: Double = 1, dropping: RandomDropping? = nil,
    budget: Int? = nil
  ) async throws -> [Float] {
    let trees: [Tree<LazyLeaf>] = [1, 2, 3].map { ["w": .full([count], .float32, $0)] }
    let surgery = try Checkpoint.transform([]) { _ in
      .taskArithmetic(
        base: trees[0], Array(trees[1...]), weights: weights, scale: scale, dropping: dropping)
    }
    var tuning = Tuning()
    if let budget { tuning.budgetByteCount = budget }
    return try await surgery.load(tuning: tuning).tree["w"].tensor.array()
  }

  @Test func `differences are weighted, added up, scaled, and added to the base`() async throws {
    #expect(try await merged(3, weights: [0.5, -0.25], scale: 2) == [1, 1, 1])
    #expect(try await merged(3, weights: [0.5, 0.25], scale: 3) == [4, 4, 4])
  }

  @Test func `random dropping keeps its share of each model, independently, and enlarges what it keeps`()
    async throws
  {
    let count = 1 << 18
    let density = 0.25
    // 4 or 0 of the first model, 8 or 0 of the second.
    let values = try await merged(count, dropping: RandomDropping(keeping: density, seed: 11))
    var counts: [Float: Int] = [:]
    for value in values { counts[value - 1, default: 0] += 1 }
    #expect(Set(counts.keys) == [0, 4, 8, 12])
    let expected: [(Float, Double)] = [
      (0, (1 - density) * (1 - density)), (4, density * (1 - density)), (8, (1 - density) * density),
      (12, density * density),
    ]
    for (value, probability) in expected {
      let mean = probability * Double(count)
      // Six standard deviations of a binomial distribution; the seed is fixed, so this is no matter of luck.
      #expect((Double(counts[value] ?? 0) - mean).magnitude < 6 * (mean * (1 - probability)).squareRoot())
    }
  }

  @Test func `what is dropped follows from seed, leaf and model, not from tiles`() async throws {
    let dropping = RandomDropping(keeping: 0.5, seed: 3)
    let whole = try await merged(400_003, dropping: dropping)
    #expect(try await merged(400_003, dropping: dropping, budget: 1 << 20) == whole)
    // An element is the same in a longer tensor.
    #expect(try await Array(merged(400_103, dropping: dropping)[..<400_003]) == whole)
    #expect(try await merged(400_003, dropping: RandomDropping(keeping: 0.5, seed: 4)) != whole)
    #expect(
      try await merged(8, dropping: RandomDropping(keeping: 1, seed: 3)) == [Float](repeating: 4, count: 8))
  }

  @Test func `an element is kept where the uniform number of its index is below the density`() async throws {
    let shape: Shape = [300, 7]
    let surgery = try Checkpoint.transform([]) { _ in
      let ones = try LazyTensor.initialized(shape, .bfloat16, .ones)
      return [
        "kept": .tensor(try ones.droppingAtRandom(RandomDropping(keeping: 0.3, seed: 9))),
        "chance": .initialized(shape, .float32, .uniform(lower: 0, upper: 1, seed: 9)),
      ]
    }
    let tree = try await surgery.load().tree
    let (kept, chance) = (
      try tree["kept"].tensor.array(as: Float.self), try tree["chance"].tensor.array(as: Float.self)
    )
    // 1 / 0.3, rounded to float32 and to bfloat16.
    #expect(kept == chance.map { $0 < 0.3 ? 3.328125 : 0 })
  }

  @Test func `the recipe's step gives each leaf a choice of its own, whichever way it was selected`()
    async throws
  {
    func merged(_ parameters: String) async throws -> Tree<LeafValue> {
      try await carryingOut(
        """
        sources: {a: a.safetensors, b: b.safetensors, c: c.safetensors}
        steps:
        - task_arithmetic: {base: a, of: [b, c], weights: [0.6, 0.25], density: 0.5, seed: 1, \(parameters)}
        """, in: Self.models)
    }
    let (whole, one) = (
      try await merged("scale: 1"), try await merged("select: 'model/layers/1/mlp/up_proj/weight', to: up")
    )
    let layers = whole["model"]["layers"]
    #expect(try one["up"].tensor.contentEquals(layers["1"]["mlp"]["up_proj"]["weight"].tensor))
    // Where nothing of either model was kept, the base is left; that is at other places in another layer.
    let base = try await Checkpoint(at: Fixture.path(Self.models + "/a.safetensors")).load().tree
    func untouched(_ layer: String) throws -> [Bool] {
      let path: TreePath = TreePath(["model", "layers", Key(layer), "mlp", "up_proj", "weight"])
      return zip(
        try whole[at: path].tensor.array(as: Float.self), try base[at: path].tensor.array(as: Float.self)
      ).map { $0 == $1 }
    }
    let (first, second) = (try untouched("0"), try untouched("1"))
    #expect(first != second)
    let share = Double(first.count { $0 } + second.count { $0 }) / Double(first.count + second.count)
    #expect((share - 0.25).magnitude < 0.07)
  }

  @Test(arguments: [
    (
      "density: 0.5",
      "The step needs seed. In step 1 (task_arithmetic) at line 2, column 20, file recipe. Found only 'base', 'of', 'density'."
    ),
    (
      "density: 1.5, seed: 1",
      "A density is above 0 and at most 1. In step 1 (task_arithmetic) at line 2, column 51, file recipe. Found 1.5."
    ),
    (
      "weights: [1]",
      "Weights has another number of entries than of. In step 1 (task_arithmetic) at line 2, column 51, file recipe. Expected 2, found 1."
    ),
  ])
  func `what is wrong with a step is said before a source is opened`(parameters: String, sentence: String) {
    let error = #expect(throws: GraftError.self) {
      try Recipe(
        parsing:
          "steps:\n- task_arithmetic: {base: a, of: [b, c], \(parameters)}\nsources: {a: a, b: b, c: c}\n")
    }
    #expect(error.map { "\($0)" } == sentence)
  }

  @Test func `tensors that do not fit are faults`() throws {
    let one: Tree<LazyLeaf> = ["w": .ones([2], .float32)]
    func fault(_ base: Tree<LazyLeaf>, _ tuned: [Tree<LazyLeaf>], _ dropping: RandomDropping? = nil)
      -> GraftError?
    {
      let tree = Tree<LazyLeaf>.taskArithmetic(
        base: base, tuned, weights: [1], dropping: dropping)
      do throws(GraftError) {
        try tree.validate()
        return nil
      } catch {
        return error
      }
    }
    #expect(fault(one, [one]) == nil)
    #expect(fault(one, [["w": .ones([1], .float32)]])?.code == .shapeMismatch)
    #expect(fault(one, [["w": .ones([2], .bfloat16)]])?.code == .dtypeMismatch)
    #expect(fault(one, [one, one])?.message == "task arithmetic takes one weight for each tuned tensor")
    #expect(fault(["w": .ones([2], .int32)], [["w": .ones([2], .int32)]])?.code == .invalidArgument)
    #expect(
      fault(one, [one], RandomDropping(keeping: 0, seed: 1))?.message == "a density is a probability above 0")
    let wide: Tree<LazyLeaf> = ["w": .ones([2], .float64)]
    #expect(fault(wide, [wide]) == nil)
    #expect(
      fault(wide, [wide], RandomDropping(keeping: 0.5, seed: 1))?.message
        == "elements are dropped from floats of up to 32 bits")
  }
}
