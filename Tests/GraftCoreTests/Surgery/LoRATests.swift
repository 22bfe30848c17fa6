import GraftCore
import Testing

@Suite struct LoRATests {
  static func zeros(_ shape: Shape, _ dtype: DType = .float32) -> Tree<LazyLeaf> { .zeros(shape, dtype) }

  let model: Tree<LazyLeaf> = [
    "model": [
      "q": ["weight": zeros([6, 4], .bfloat16)], "k": zeros([2, 4]), "norm": ["weight": zeros([4])],
    ]
  ]

  func adapter(_ name: String, _ down: Shape = [2, 4], _ up: Shape = [6, 2]) -> Tree<LazyLeaf> {
    .dictionary([
      (key: Key("base_model.model.\(name).lora_A.weight"), value: Self.zeros(down)),
      (key: Key("base_model.model.\(name).lora_B.weight"), value: Self.zeros(up)),
    ])
  }

  @Test func `factors find their weights in trees and under names with dots`() throws {
    let folded = model.foldingLoRA(adapter("model.q"), scale: 2)
    try folded.validate()
    #expect(folded["model"]["q"]["weight"].leaf?.spec == .tensor(TensorSpec(.bfloat16, [6, 4])))
    try model.flattening().foldingLoRA(adapter("model.q").unflattening(), scale: .alpha(16)).validate()
    try model.foldingLoRA(adapter("model.k", [1, 4], [2, 1]), scale: .alphaByRootOfRank(16)).validate()
    try model.foldingLoRA(
      adapter("layers.q"), scale: 1, renaming: [RenameRule("^layers/", to: "model/")]
    ).validate()
    // Two tensors were left as they are, one is computed of three.
    var planner = Planner()
    planner.addFiles([])
    try folded.forEachLeaf { path, leaf throws(GraftError) in
      if case .tensor(let tensor) = leaf { _ = try planner.add(path, tensor) }
    }
    let plan = planner.plan()
    #expect(plan.pass.first?.results.map(\.spec.shape) == [[6, 2], [2, 4]])
  }

  @Test func `weights that are stored the other way round take transposed factors`() throws {
    let model: Tree<LazyLeaf> = ["q": ["weight": Self.zeros([4, 6])]]
    #expect(model.foldingLoRA(adapter("q"), scale: 1)["q"]["weight"].fault?.code == .shapeMismatch)
    try model.foldingLoRA(adapter("q"), scale: 1, transposed: true).validate()
  }

  @Test func `every leaf of the adapter must be used`() throws {
    func fault(_ adapter: Tree<LazyLeaf>) -> GraftError? { model.foldingLoRA(adapter, scale: 1).fault }
    let elsewhere = fault(adapter("model.v"))
    #expect(
      elsewhere?.message
        == "the adapter has factors for a weight that the tree does not have: model/v/weight")
    var half = adapter("model.q")
    half.removeChild("base_model.model.model.q.lora_B.weight")
    #expect(fault(half)?.message == "the adapter has one factor of a weight alone")
    var more = adapter("model.q")
    more["base_model.model.model.norm.weight"] = Self.zeros([4])
    #expect(fault(more)?.message == "a leaf of the adapter is no factor")
    more = adapter("model.q")
    more["base_model.model.model.q.lora_magnitude_vector"] = Self.zeros([6])
    #expect(fault(more)?.message == "the adapter is of DoRA, which is not folded")
    #expect(fault([:])?.message == "the adapter has no factors")
    more = adapter("model.q")
    more["model.q.lora_A.default.weight"] = Self.zeros([2, 4])
    #expect(fault(more)?.message == "the adapter has two factors for one weight")
    #expect(fault(more)?.operation?.hasPrefix("foldingLoRA at ") == true)
  }

  @Test(arguments: [
    (
      LazyTensorPair([2, 4], [6, 2], .float64), GraftError.Code.invalidArgument,
      "an adapter can be folded into floats of up to 32 bits"
    ),
    (LazyTensorPair([2, 4], [6, 3], .float32), .shapeMismatch, "the factors do not make up the weight"),
    (
      LazyTensorPair([9000, 4], [6, 9000], .float32), .limitExceeded, "the rank of the factors is too large"
    ),
  ])
  func `factors that do not fit are an error`(pair: LazyTensorPair, code: GraftError.Code, message: String)
    throws
  {
    let weight = try LazyTensor.initialized([6, 4], pair.dtype, .zeros)
    let (down, up) = (
      try LazyTensor.initialized(pair.down, .float32, .zeros),
      try LazyTensor.initialized(pair.up, .float32, .zeros)
    )
    let error = #expect(throws: GraftError.self) { try weight.folding(down: down, up: up, scale: 1) }
    #expect(error?.code == code && error?.message == message)
    #expect(throws: GraftError.self) { try weight.folding(down: down, up: up, scale: .infinity) }
  }
}

/// The shapes of two factors, and the dtype of their weight.
struct LazyTensorPair: Sendable {
  let down, up: Shape
  let dtype: DType

  init(_ down: Shape, _ up: Shape, _ dtype: DType) {
    self.down = down
    self.up = up
    self.dtype = dtype
  }
}
