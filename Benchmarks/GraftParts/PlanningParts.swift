internal import Graft
internal import GraftIO

extension Part {
  /// From leaves to moves; no byte of a tensor is read.
  static let planning: [Part] = [
    Part("plan a load") { (size, folder) async throws(GraftError) in
      let checkpoint = try await layers(size == .full ? 2_000 : 20, width: 1, folder)
      let target = checkpoint.target { _, _ in .stored }
      return Prepared(workCount: checkpoint.tree.leafCount) { () async throws(GraftError) in
        counts(try await checkpoint.plan(target))
      }
    },
    Part("plan a slice of every leaf") { (size, folder) async throws(GraftError) in
      let checkpoint = try await layers(size == .full ? 2_000 : 20, width: 16, folder)
      let target = checkpoint.target { _, spec in
        guard case .tensor(let spec) = spec, spec.shape.rank == 2 else { return .placeholder }
        return .slice(0..<8)
      }
      return Prepared(workCount: checkpoint.tree.leafCount) { () async throws(GraftError) in
        counts(try await checkpoint.plan(target))
      }
    },
    Part("transform and plan a stack") { (size, folder) async throws(GraftError) in
      let checkpoint = try await layers(size == .full ? 2_000 : 20, width: 1, folder)
      return Prepared(workCount: checkpoint.tree.leafCount) { () async throws(GraftError) in
        counts(try await stacking(checkpoint, axis: 0).plan())
      }
    },
    Part("transform and plan a rename, a transpose and a cast") { (size, folder) async throws(GraftError) in
      let checkpoint = try await layers(size == .full ? 2_000 : 20, width: 1, folder)
      return Prepared(workCount: checkpoint.tree.leafCount) { () async throws(GraftError) in
        let surgery = try transforming(checkpoint) { tree in
          tree.renaming(#"/kernel$"#, to: "/weight")
            .transforming("**/weight", by: .transpose())
            .transforming("**/norm", by: .cast(.float32))
        }
        return counts(try await surgery.plan())
      }
    },
  ]

  private static func counts(_ plan: Plan) -> [String: Int] {
    [
      "results": plan.results.count, "moves": plan.moves.count, "bytes copied": plan.bytesCopied,
      "bytes read into place": plan.bytesReadIntoPlace,
    ]
  }

  // MARK: What parts of several subjects read

  /// A checkpoint of layers, each a square matrix `kernel` and a vector `norm`, both in bfloat16.
  ///
  /// - Parameter width: the extent of each axis, in units of 16 elements.
  static func layers(_ count: Int, width: Int, _ folder: String) async throws(GraftError) -> Checkpoint {
    let path = "\(folder)/parts-\(count)-\(width).safetensors"
    if try FileStatus.ifPresent(at: path) == nil {
      let extent = width * 16
      let surgery = try transforming(nil) { _ in
        [
          "params": .dictionary(
            (0..<count).map { layer in
              let matrix = Tree<LazyLeaf>.initialized(
                [extent, extent], .float32, .normal(stddev: 0.02, seed: UInt64(layer)))
              let vector = Tree<LazyLeaf>.ones([extent], .bfloat16)
              return (
                key: Key("layer\(layer)"),
                value: ["kernel": matrix.cast(to: .bfloat16, lossy: true), "norm": vector]
              )
            })
        ]
      }
      try await surgery.save(to: path, as: .safetensors)
    }
    return try await Checkpoint(at: path, tuning: buffered)
  }

  /// Reads through the page cache, so that what is counted is the same where the kernel has evicted the file meanwhile.
  static var buffered: Tuning {
    var tuning = Tuning()
    tuning.access = .buffered
    return tuning
  }

  /// A surgery on a checkpoint, or on none.
  static func transforming(
    _ checkpoint: Checkpoint?, _ body: (Tree<LazyLeaf>) -> Tree<LazyLeaf>
  ) throws(GraftError) -> Surgery {
    do {
      guard let checkpoint else { return try Checkpoint.transform([]) { _ in body(.dictionary([])) } }
      return try checkpoint.transform { body($0) }
    } catch let error as GraftError {
      throw error
    } catch {
      throw GraftError(.invalidArgument, "the transform failed: \(error)")
    }
  }

  /// All layers of a checkpoint of ``layers(_:width:_:)`` stacked.
  static func stacking(_ checkpoint: Checkpoint, axis: Int) throws(GraftError) -> Surgery {
    try transforming(checkpoint) { tree in
      ["layers": .stack(tree["params"].children(matching: #/layer(\d+)/#), axis: axis)]
    }
  }
}
