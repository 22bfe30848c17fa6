import Foundation
import Graft
import Testing

/// Two small models with layers out of order, as names sort.
@Suite struct SurgeryTests {
  let folder: TemporaryFolder
  let image: HandMadeFile
  let text: HandMadeFile

  init() throws {
    folder = try TemporaryFolder()
    let layers = [10, 2, 0].map { layer in
      ("params.layer\(layer).kernel", "F32", [2, 3], bytes((0..<6).map { Float(layer * 100 + $0) }))
    }
    image = try HandMadeFile(
      layers + [
        ("step", "I64", [], bytes([Int64(7)])),
        ("opt.mu", "F32", [2, 3], bytes([Float](repeating: 1, count: 6))),
      ],
      in: folder, name: "image.safetensors")
    text = try HandMadeFile(
      [
        ("params.shared", "F32", [2, 3], bytes((0..<6).map { Float($0) })),
        ("params.embedding", "F16", [4, 2], bytes([Float16](repeating: 0.5, count: 8))),
      ], in: folder, name: "text.safetensors")
  }

  @Test func `layers are stacked in numeric order, and everything else stays`() async throws {
    let checkpoint = try await Checkpoint(at: image.path)
    let surgery = try checkpoint.transform { tree in
      var tree = tree
      let layers = tree["params"].children(matching: #/layer(\d+)/#)
      tree["params"]["stacked"] = .stack(layers.map { $0["kernel"] })
      tree["params"].removeChildren(matching: #/layer(\d+)/#)
      tree.removeChild("opt")
      return tree
    }
    #expect(surgery.tree["params"]["stacked"].leaf == .tensor(TensorSpec(.float32, [3, 2, 3])))
    let loaded = try await surgery.load()
    let expected = [0, 2, 10].flatMap { layer in (0..<6).map { Float(layer * 100 + $0) } }
    #expect(try loaded.tree["params"]["stacked"].tensor.array(as: Float.self) == expected)
    let step: Int = try loaded.tree["step"].scalar()
    #expect(step == 7)
    #expect(loaded.report.reading.bytesRead == 3 * 24 + 8)
    #expect(loaded.tree["opt"].kind == .fault)
  }

  @Test func `two models become one with new parameters, which are saved and read again`() async throws {
    let (image, text) = (try await Checkpoint(at: image.path), try await Checkpoint(at: text.path))
    let surgery = try Checkpoint.transform(image, text) { image, text in
      [
        "params": [
          "image": image["params"], "text": text["params"],
          "fusion": [
            "kernel": .initialized([5, 4], .float32, .truncatedNormal(stddev: 0.02, seed: 7)),
            "bias": .zeros([4], .float32),
          ],
          "average": (image["params"]["layer2"]["kernel"] + text["params"]["shared"]) * 0.5,
        ],
        "step": image["step"],
      ]
    }
    let path = folder.path + "/merged.safetensors"
    try await surgery.save(to: path)
    let merged = try await Checkpoint(at: path)
    let (loaded, again) = (try await surgery.load(), try await merged.load())
    #expect(
      loaded.report.leaves(.initialized).map(\.path.description) == [
        "params/fusion/kernel", "params/fusion/bias",
      ])
    for (path, leaf) in loaded.tree.leaves {
      guard case .tensor(let tensor) = leaf else { continue }
      #expect(try again.tree[at: path].tensor.contentEquals(tensor), "\(path)")
    }
    let average = (0..<6).map { (Float(200 + $0) + Float($0)) * 0.5 }
    #expect(try again.tree["params"]["average"].tensor.array(as: Float.self) == average)
    #expect(try again.tree["params"]["fusion"]["bias"].tensor.array(as: Float.self) == [0, 0, 0, 0])
    let kernel = try again.tree["params"]["fusion"]["kernel"].tensor.array(as: Float.self)
    #expect(Set(kernel).count == 20 && kernel.allSatisfy { abs($0) <= 0.04 })
  }

  @Test func `all faults of a transform are thrown together, with path, operation and line`() async throws {
    let checkpoint = try await Checkpoint(at: image.path)
    let line: UInt = #line + 3
    func broken(_ tree: Tree<LazyLeaf>) -> Tree<LazyLeaf> {
      var tree = tree
      tree["joined"] = .stack([tree["params"]["layer0"]["kernel"], tree["opt"]["mu"].sliced(0)])
      tree["lost"] = tree["params"]["layer7"]["kernel"]
      return tree
    }
    let error = #expect(throws: GraftError.self) { try checkpoint.transform(broken) }
    #expect(error?.code == .shapeMismatch)
    #expect(error?.operation == "stack at GraftTests/SurgeryTests.swift:\(line)")
    #expect(error?.leaf == "params/layer0/kernel")
    #expect(error?.others.map(\.code) == [.leafNotFound])
    #expect(error?.others.first?.leaf == "params/layer7/kernel")
  }

  @Test func `a target is held against the result before anything is read`() async throws {
    let checkpoint = try await Checkpoint(at: image.path)
    let target: Tree<Target> = [
      "kernel": .spec(.float32, [3, 2]), "bias": .initialized([2], .float32, .ones), "rest": .placeholder,
    ]
    let surgery = try checkpoint.transform(expecting: target) { tree in
      ["kernel": tree["params"]["layer2"]["kernel"].transposed(), "rest": tree["opt"]["mu"]]
    }
    let loaded = try await surgery.load()
    #expect(try loaded.tree["kernel"].tensor.array(as: Float.self) == [200, 203, 201, 204, 202, 205])
    #expect(try loaded.tree["bias"].tensor.array(as: Float.self) == [1, 1])
    #expect(loaded.report.leaves(.placeholder).map(\.path) == ["rest"])
    #expect(loaded.report.reading.bytesRead == 24)
    let error = #expect(throws: GraftError.self) {
      try checkpoint.transform(expecting: target) { tree in
        ["kernel": tree["params"]["layer2"]["kernel"], "rest": .placeholder]
      }
    }
    #expect(error?.code == .shapeMismatch && error?.leaf == "kernel")
  }

  @Test func `a leaf that is used several times is read once`() async throws {
    let checkpoint = try await Checkpoint(at: image.path)
    let surgery = try checkpoint.transform { tree in
      let kernel = tree["params"]["layer2"]["kernel"]
      return ["student": kernel, "teacher": kernel, "turned": kernel.transposed(), "half": kernel * 0.5]
    }
    let loaded = try await surgery.load()
    #expect(loaded.report.reading.bytesRead == 24)
    let values = (0..<6).map { Float(200 + $0) }
    #expect(try loaded.tree["student"].tensor.array(as: Float.self) == values)
    #expect(try loaded.tree["teacher"].tensor.array(as: Float.self) == values)
    #expect(try loaded.tree["turned"].tensor.array(as: Float.self) == [200, 203, 201, 204, 202, 205])
    #expect(try loaded.tree["half"].tensor.array(as: Float.self) == values.map { $0 * 0.5 })
  }

  @Test func `casts are refused where values could be lost, unless that is asked for`() async throws {
    let checkpoint = try await Checkpoint(at: image.path)
    let error = #expect(throws: GraftError.self) {
      try checkpoint.transform { ["mu": $0["opt"]["mu"].cast(to: .float16)] }
    }
    #expect(error?.code == .lossy && error?.leaf == "opt/mu")
    let loaded = try await checkpoint.transform { ["mu": $0["opt"]["mu"].cast(to: .bfloat16, lossy: true)] }
      .load()
    #expect(try loaded.tree["mu"].tensor.array(as: Float.self) == [1, 1, 1, 1, 1, 1])
    #expect(try loaded.tree["mu"].tensor.dtype == .bfloat16)
  }

  @Test func `what needs figures of whole tensors is loaded and saved alike`() async throws {
    let checkpoint = try await Checkpoint(at: image.path)
    let surgery = try checkpoint.transform { tree in
      let params = tree["params"]
      let adapter: Tree<LazyLeaf> = [
        "base_model.model.layer2.kernel.lora_A.weight": .tensor(
          Tensor([1, 2, 3] as [Float], shape: [1, 3])),
        "base_model.model.layer2.kernel.lora_B.weight": .tensor(Tensor([10, 20] as [Float], shape: [2, 1])),
      ]
      return [
        "sphere": params["layer2"].slerped(to: params["layer10"], at: 0.5),
        "folded": params.foldingLoRA(adapter, scale: 0.5).keeping("layer2/**"),
      ]
    }
    let loaded = try await surgery.load()
    let folded = try loaded.tree["folded"]["layer2"]["kernel"].tensor.array(as: Float.self)
    #expect(folded == [205, 211, 217, 213, 224, 235])
    let path = folder.path + "/figures.safetensors"
    try await surgery.save(to: path)
    let again = try await Checkpoint(at: path).load()
    for (path, leaf) in loaded.tree.leaves {
      guard case .tensor(let tensor) = leaf else { continue }
      #expect(try again.tree[at: path].tensor.contentEquals(tensor), "\(path)")
    }
  }
}
