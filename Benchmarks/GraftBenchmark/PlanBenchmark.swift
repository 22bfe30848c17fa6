internal import Graft
internal import GraftMeasure

/// Transforms checkpoints of many leaves and plans the result; no tensor byte is read.
struct PlanBenchmark {
  let options: BenchmarkOptions

  init(_ options: BenchmarkOptions) { self.options = options }

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    let counts =
      options.leafCount.map { [$0] } ?? (options.size == .full ? [10_000, 100_000] : [100, 1_000])
    for count in counts { try await measure(leafCount: count, &report) }
    return report
  }

  private func measure(leafCount: Int, _ report: inout BenchmarkReport) async throws(GraftError) {
    let model = try ModelFile.manyLeaves(leafCount, options)
    let checkpoint = try await Checkpoint(at: model.path)
    let transforms: [(name: String, body: @Sendable (Tree<LazyLeaf>) -> Tree<LazyLeaf>)] = [
      ("everything as it is", { $0 }),
      ("a cast of every leaf", { $0.cast(to: .float32) }),
      (
        "one rule renames every leaf",
        { $0.renaming(#"^model/layers/(\d+)/"#, to: #"params/block_\1/"#) }
      ),
      (
        "three rules rename, drop and stack all layers",
        {
          $0.dropping(.regex(#".*/value/bias"#))
            .transforming(.regex(#"model/layers/\d+/mlp/.*/kernel"#), by: .transpose([1, 0]))
            .stacking(#"model/layers/(\d+)/(.*)"#, to: #"layers/\2"#)
        }
      ),
      (
        "the same with three Swift regular expressions",
        { tree in
          var tree = tree
          tree.removeLeaves(matching: #/.*\/value\/bias/#)
          for (path, leaf) in tree.leaves(matching: #/model\/layers\/\d+\/mlp\/.*\/kernel/#) {
            tree[at: path] = .leaf(leaf).transposed()
          }
          return ["layers": .stack(tree["model"]["layers"].children(matching: #/(\d+)/#))]
        }
      ),
    ]
    let processor = transforms.map { _ in ProcessorTime() }
    let results = try await InterleavedRounds.run(
      zip(transforms, processor).map { transform, processor in
        Contestant(transform.name, byteCount: 1) { () async throws(GraftError) in
          try await processor.measure { () async throws(GraftError) in
            _ = try await Self.surgery(checkpoint, transform.body).plan()
          }
        }
      }, rounds: options.rounds)
    var table = BenchmarkReport.Table(
      "transform and plan \(leafCount) leaves", ["transform", "ms", "processor ms"])
    for (result, processor) in zip(results, processor) {
      table.rows.append(
        [
          .text(result.name), .spread(result.milliseconds),
          .spread(Spread(processor.counted.map { $0 * 1000 })),
        ])
      guard leafCount == 100_000 else { continue }
      report.claims.append(
        .init(
          "milliseconds to transform and plan 100,000 leaves: \(result.name)",
          result.milliseconds.median, .atMost(1000)))
    }
    report.tables.append(table)
  }

  private static func surgery(
    _ checkpoint: Checkpoint, _ body: (Tree<LazyLeaf>) -> Tree<LazyLeaf>
  ) throws(GraftError) -> Surgery {
    do {
      return try checkpoint.transform(body)
    } catch let error as GraftError {
      throw error
    } catch {
      preconditionFailure("a body that throws nothing threw \(error)")
    }
  }
}
