internal import GraftCore
internal import GraftExecute
internal import GraftFormats

/// One save, from planned reads to the finished checkpoint.
struct Saving {
  let load: LoadPlan
  let format: SaveFormat
  let isOverwriting: Bool
  /// Whether names are written whole, as they were read.
  let isFlat: Bool
  let metadata: [(key: String, value: String)]
  let tuning: Tuning
  let progress: (@Sendable (Progress) -> Void)?

  /// Writes everything, or nothing.
  ///
  /// - Parameter started: when the caller's call began, for the report.
  func run(to path: String, started: ContinuousClock.Instant) async throws(GraftError) -> SaveReport {
    try load.tree.checkNothingButTensors()
    // Leaves are declared in the order in which they lie in the source, so that both sides are gone through from front to back.
    let order = load.plan.resultsInFileOrder
    let writer = try await SafetensorsWriter.begin(
      at: path,
      leaves: order.map { (path: load.plan.results[$0].path, spec: .tensor(load.plan.results[$0].spec)) },
      options: options)
    var places = [Place?](repeating: nil, count: order.count)
    for (leaf, result) in order.enumerated() { places[result] = .writer(writer, leaf: leaf) }
    do throws(GraftError) {
      let reading = try await Executor(load.plan, tuning: tuning)
        .run(into: places.compactMap { $0 }, progress: progress)
      try await writer.finish()
      return SaveReport(
        leafCount: order.count, byteCount: load.plan.resultByteCount, reading: reading,
        elapsed: started.duration(to: .now))
    } catch {
      writer.abandon()
      throw error
    }
  }

  private var options: SafetensorsWriter.Options {
    var options = SafetensorsWriter.Options()
    switch format.kind {
    case .safetensors(let shardByteCount):
      if let shardByteCount { options.division = .shards(byteCount: shardByteCount) }
    }
    options.metadata = metadata
    options.isOverwriting = isOverwriting
    options.naming = isFlat ? .whole : .nested
    return options
  }
}

extension Tree where Leaf == LoadPlan.Outcome {
  /// Throws where the tree has a string, which a format of tensors alone cannot hold.
  func checkNothingButTensors() throws(GraftError) {
    try forEachLeaf { (path, outcome) throws(GraftError) in
      guard case .string = outcome else { return }
      throw GraftError(
        .unsupported, "safetensors holds tensors alone, and this leaf is a string", leaf: path,
        remedy: "drop it from the selection")
    }
  }
}
