package import GraftCore
internal import GraftExecute
internal import GraftFormats
internal import GraftIO

// Whatever is saved, a checkpoint, the result of a surgery or tensors in memory, is a tree of lazy tensors by the time it gets
// here. It is planned as any transform is, and its results have places in a checkpoint that is being written.

/// One save that is to be made.
struct Saving {
  /// What is saved.
  let tree: Tree<LazyLeaf>
  /// The checkpoints that it reads, in the order of their numbers in the tree.
  let catalogs: [Catalog]
  let format: SaveFormat
  let isOverwriting: Bool
  /// Whether names of a format without trees are written whole, as they were read.
  let isFlat: Bool
  let metadata: [JSONValue.Member]
  let tuning: Tuning
  let progress: (@Sendable (Progress) -> Void)?

  /// Writes everything, or nothing.
  ///
  /// - Parameter started: when the caller's call began, for the report.
  func run(to path: String, started: ContinuousClock.Instant) async throws(GraftError) -> SaveReport {
    try await begin(at: path, started: started).run()
  }

  /// Plans everything and takes a temporary name for the checkpoint, which goes with the result unless that is run.
  func begin(
    at path: String, started: ContinuousClock.Instant
  ) async throws(GraftError) -> BegunSave {
    let claim = try SavesUnderWay.shared.claim(path)
    let planned = try planned(for: path)
    let (writer, places) = try await begin(planned, at: path)
    return BegunSave(
      plan: planned.plan, places: places, writer: writer, leafCount: planned.leafCount,
      byteCount: planned.byteCount, tuning: tuning, progress: progress, started: started, claim: claim)
  }

  /// What is to be read, and how the checkpoint is laid out.
  struct Planned {
    /// How the checkpoint is laid out.
    enum Layout {
      case safetensors(shardByteCount: Int?)
      case orbax(OrbaxPlan)
    }

    var plan: Plan
    /// What the plan's results are before they are put into the order of chunks.
    var specs: [TensorSpec]
    var layout: Layout
    var leafCount: Int
    /// The bytes of the tensors, which are fewer than the plan's where chunks are padded.
    var byteCount: Int { specs.reduce(0) { $0 + $1.byteCount } }

    /// For each result of the plan, how many elements make a chunk; nil where there are none.
    var chunkElementCounts: [Int?] {
      switch layout {
      case .safetensors: [Int?](repeating: nil, count: plan.results.count)
      case .orbax(let orbax): orbax.arrays.map(\.chunkShape.elementCount)
      }
    }
  }

  /// Plans everything, and makes nothing.
  func planned(for path: String) throws(GraftError) -> Planned {
    let tree = tree.withoutPlaceholders
    let (tensors, otherCount) = tree.tensors()
    let leafCount = tensors.count + otherCount
    guard leafCount > 0 else {
      throw GraftError(
        .leafNotFound, "there is no leaf to save", file: path, remedy: "select or return at least one")
    }
    var planner = Planner()
    for catalog in catalogs { planner.addCheckpoint(catalog) }
    let layout: Planned.Layout
    switch format.kind(for: path) {
    case .safetensors(let shardByteCount):
      try checkNothingButTensors(tree)
      for (path, tensor) in tensors { _ = try planner.add(path, tensor) }
      layout = .safetensors(shardByteCount: shardByteCount)
    case .orbax(let options):
      let orbax = try OrbaxPlan(tree, options: orbaxOptions(options), leaf: orbaxLeaf)
      for ((path, tensor), array) in zip(tensors, orbax.arrays) {
        do throws(GraftError) {
          _ = try planner.add(path, tensor.chunkMajor(array.chunkShape))
        } catch {
          var error = error
          error.leaf = path
          throw error
        }
      }
      layout = .orbax(orbax)
    case .byName: preconditionFailure("a path has a name")
    }
    return Planned(
      plan: planner.plan(), specs: tensors.map(\.tensor.spec), layout: layout, leafCount: leafCount)
  }

  private func begin(
    _ planned: Planned, at path: String
  ) async throws(GraftError) -> (any CheckpointWriter, [Place]) {
    switch planned.layout {
    case .safetensors(let shardByteCount):
      return try await safetensors(planned.plan, shardByteCount: shardByteCount, at: path)
    case .orbax(let orbax):
      let writer = try await OrbaxWriter.begin(at: path, orbax)
      return (writer, planned.plan.results.indices.map { .writer(writer, leaf: $0) })
    }
  }

  /// Texts by key as a format that keeps JSON has them.
  static func members(_ texts: [(key: String, value: String)]?) -> [JSONValue.Member]? {
    texts?.map { JSONValue.Member($0.key, .string($0.value)) }
  }

  /// Where a checkpoint goes: to the path itself, or to a step of the folder there, which is made if it is not there.
  static func path(_ path: String, step: Int?, _ format: SaveFormat) async throws(GraftError) -> String {
    guard let step else { return path }
    guard step >= 0 else {
      throw GraftError(.invalidArgument, "a step has a number from 0 up", file: path, found: "\(step)")
    }
    let result = Directory.path(of: String(step), in: path)
    guard case .orbax = format.kind(for: result) else {
      throw GraftError(
        .invalidArgument, "only checkpoints of Orbax are steps of a folder", file: path,
        remedy: "save as Orbax, or leave the step out and give the whole name")
    }
    try await BlockingThreads.shared.run { () throws(GraftError) in
      try Directory.makeIfAbsent(at: path)
      // Readers tell steps by their numbers, however their folders spell them.
      let other = try Directory.entries(at: path).first { entry in
        OrbaxStep(entry.name)?.number == step && Key(entry.name) != Key(String(step))
      }
      if let other {
        throw GraftError(
          .destinationExists, "the folder has that step under another name", file: path,
          found: TreePath.printable(other.name),
          remedy: "choose another step, or give the whole path and no step")
      }
    }
    return result
  }

  // MARK: safetensors

  private func safetensors(
    _ plan: Plan, shardByteCount: Int?, at path: String
  ) async throws(GraftError) -> (any CheckpointWriter, [Place]) {
    var options = SafetensorsWriter.Options()
    if let shardByteCount { options.division = .shards(byteCount: shardByteCount) }
    options.metadata = metadata.map { (key: $0.key, value: $0.value.plainText) }
    options.isOverwriting = isOverwriting
    options.naming = isFlat ? .whole : .nested
    // Leaves are declared in the order in which they lie in the source, so that both sides are gone through from front to back.
    let order = plan.resultsInFileOrder
    let writer = try await SafetensorsWriter.begin(
      at: path, leaves: order.map { (path: plan.results[$0].path, spec: .tensor(plan.results[$0].spec)) },
      options: options)
    var leafOfResult = [Int](repeating: 0, count: order.count)
    for (leaf, result) in order.enumerated() { leafOfResult[result] = leaf }
    return (writer, leafOfResult.map { .writer(writer, leaf: $0) })
  }

  /// Throws where the tree has a string, which a format of tensors alone cannot hold.
  private func checkNothingButTensors(_ tree: Tree<LazyLeaf>) throws(GraftError) {
    try tree.forEachLeaf { (path, leaf) throws(GraftError) in
      guard case .string = leaf else { return }
      throw GraftError(
        .unsupported, "safetensors holds tensors alone, and this leaf is a string", leaf: path,
        remedy: "drop it from the selection, or save as Orbax")
    }
  }

  // MARK: Orbax

  /// A leaf as Orbax's metadata has it.
  ///
  /// One that is as it was in a checkpoint of Orbax stays a Python number, a random key or a sharded array if it was one.
  func orbaxLeaf(_ leaf: LazyLeaf) -> OrbaxPlan.Leaf {
    switch leaf {
    case .tensor(let tensor):
      guard case .stored(let operand) = tensor.expression.operation,
        let about = catalogs[operand.source].leafMetadata[operand.path]
      else { return .tensor(tensor.spec) }
      return .tensor(tensor.spec, OrbaxPlan.ArrayKind(leafMetadata: about))
    case .string(let text): return .string(text)
    case .placeholder: preconditionFailure("placeholders were taken out")
    }
  }

  func orbaxOptions(_ options: OrbaxOptions) throws(GraftError) -> OrbaxPlan.Options {
    func atLeastOne(_ count: Int, _ what: String) throws(GraftError) -> Int {
      guard count > 0 else { throw GraftError(.invalidArgument, "\(what) is at least 1", found: "\(count)") }
      return count
    }
    var made = OrbaxPlan.Options()
    made.version = options.version == .version0 ? .version0 : .version1
    made.zarrVersion = options.zarrVersion.map { $0 == .version2 ? .version2 : .version3 }
    made.usesDatabase = options.usesDatabase
    made.compression = options.compression
    made.hasChecksums = options.hasChecksums
    made.chunks = ChunkShapeChoice(
      byteCountLimit: try atLeastOne(options.chunkByteCount, "the number of bytes of a chunk"))
    for cut in options.cuts {
      let count = try atLeastOne(cut.partCount, "the number of parts that an axis is cut into")
      made.cuts.append((cut.pattern, ChunkShapeChoice.Cut(axis: cut.axis, partCount: count)))
    }
    made.dataFileByteCount = try atLeastOne(
      options.dataFileByteCount, "the number of bytes of a data file")
    made.customMetadata = metadata
    made.isOverwriting = isOverwriting
    return made
  }
}

/// A save of which everything is decided and nothing is written.
///
/// The writer removes what it made when it goes.
struct BegunSave: Sendable {
  let plan: Plan
  let places: [Place]
  let writer: any CheckpointWriter
  let leafCount: Int
  let byteCount: Int
  let tuning: Tuning
  let progress: (@Sendable (Progress) -> Void)?
  let started: ContinuousClock.Instant
  let claim: SavesUnderWay.Claim

  /// Writes everything, or nothing.
  func run() async throws(GraftError) -> SaveReport {
    defer { withExtendedLifetime(claim) {} }
    do throws(GraftError) {
      let reading = try await Executor(plan, tuning: writingTuning).run(into: places, progress: progress)
      let written = ContinuousClock.now
      if Task.isCancelled { throw GraftError(.cancelled, "the task was cancelled") }
      try await writer.finish()
      let finished = ContinuousClock.now
      return SaveReport(
        leafCount: leafCount, byteCount: byteCount, storedByteCount: writer.storedByteCount,
        reading: reading, finishing: written.duration(to: finished), elapsed: started.duration(to: finished))
    } catch {
      writer.abandon()
      throw error
    }
  }

  /// The settings, less the memory that the writer takes, but no less than half.
  private var writingTuning: Tuning {
    var tuning = tuning
    // Both lanes of tiles may have all their threads in the writer.
    let threadCount = 2 * (tuning.threadCount ?? UsableProcessors.count)
    tuning.budgetByteCount -= Swift.min(
      writer.workingByteCount(threadCount: threadCount), tuning.budgetByteCount / 2)
    return tuning
  }
}

/// What a save would read and compute.
package struct SavePlan: Sendable {
  /// The plan, in which a leaf that goes into chunks is in their order.
  package let plan: Plan
  /// What the plan's results are as leaves.
  package let specs: [TensorSpec]
  /// For each result, how many elements make a chunk; nil where there are none.
  package let chunkElementCounts: [Int?]

  init(_ planned: Saving.Planned) {
    plan = planned.plan
    specs = planned.specs
    chunkElementCounts = planned.chunkElementCounts
  }
}
