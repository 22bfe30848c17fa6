public import GraftCore
internal import GraftFormats

extension Checkpoint {
  /// Streams leaves of this checkpoint into another one, which appears under its name complete or not at all.
  ///
  /// Bytes go through the budget of ``Tuning/budgetByteCount``, so a checkpoint may be larger than memory. The new one may
  /// replace the one that is read. It keeps the metadata that users added to this one; what the format itself noted, such as
  /// the time or the step of a save, stays behind.
  ///
  /// - Parameters:
  ///   - path: the name of the new checkpoint, or of the folder of steps that it goes to.
  ///   - step: the number of a step, which makes `path` a folder of steps; nil for a checkpoint of that name.
  ///   - format: its format.
  ///   - selection: which leaves; all unless given.
  ///   - overwriting: whether what is at `path` is replaced; a folder only when it is a checkpoint of the same format.
  ///   - metadata: what the new checkpoint says about itself, as text by key; nil for what users put into this one.
  ///   - tuning: how to read; nil for the checkpoint's own settings.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Throws: ``GraftError`` of code `destinationExists`, `noSpace`, `collision` for names that the format cannot keep apart,
  ///   `unsupported` for a leaf that it cannot hold, or what reading throws. Nothing is left behind then. Cancelling the task
  ///   throws code `cancelled`.
  @concurrent
  @discardableResult
  public func save(
    to path: String, step: Int? = nil, as format: SaveFormat = .byName,
    selecting selection: Selection = Selection(), overwriting: Bool = false,
    metadata: [(key: String, value: String)]? = nil, tuning: Tuning? = nil,
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> SaveReport {
    let started = ContinuousClock.now
    if (tuning ?? self.tuning).verification == .always {
      let leaves = catalog.tree.leaves.filter { selection.selects($0.path) }
      try await verifyFirst(leaves.map { ($0.path, $0.leaf.spec.tensor) }, tuning ?? self.tuning)
    }
    return try await saving(
      selection, as: format, overwriting: overwriting, metadata: metadata, tuning: tuning,
      progress: progress
    ).run(to: Saving.path(path, step: step, format), started: started)
  }

  /// What a save would read, without doing any of it: at most the indices of shards are read.
  @concurrent
  package func savePlan(
    to path: String, as format: SaveFormat, selecting selection: Selection
  ) async throws(GraftError) -> SavePlan {
    let saving = try await saving(
      selection, as: format, overwriting: true, metadata: nil, tuning: nil, progress: nil)
    return SavePlan(try saving.planned(for: path))
  }

  private func saving(
    _ selection: Selection, as format: SaveFormat, overwriting: Bool,
    metadata: [(key: String, value: String)]?, tuning: Tuning?, progress: (@Sendable (Progress) -> Void)?
  ) async throws(GraftError) -> Saving {
    let target = try target(selecting: selection)
    let catalog = try await catalog.resolvingShards(for: target, limits: limits)
    let transform = try TransformPlan(target, from: catalog, partial: true)
    return Saving(
      tree: transform.result, catalogs: [catalog], format: format, isOverwriting: overwriting,
      isFlat: isFlat, metadata: Saving.members(metadata) ?? catalog.userMembers,
      tuning: tuning ?? self.tuning, progress: progress)
  }
}

// MARK: - What is in memory

extension Checkpoint {
  /// Saves a tree of values, as a load gives it or a program makes it, as a checkpoint that appears complete or not at all.
  ///
  /// Placeholders are left out; an empty node stays where one stands in a list, a tuple or a named tuple. Tensors are written from
  /// where they are, with no copy of them where the format has their bytes as they are.
  ///
  /// - Parameters:
  ///   - tree: the values.
  ///   - path: the name of the checkpoint, or of the folder of steps that it goes to.
  ///   - step: the number of a step, which makes `path` a folder of steps; nil for a checkpoint of that name.
  ///   - format: its format.
  ///   - overwriting: whether what is at `path` is replaced; a folder only when it is a checkpoint of the same format.
  ///   - metadata: what the checkpoint says about itself, as text by key.
  ///   - tuning: how much memory and how many threads to use.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Throws: ``GraftError`` with every fault of the tree; of code `destinationExists`, `noSpace`, `collision` for names that the
  ///   format cannot keep apart, `unsupported` for a leaf that it cannot hold. Nothing is left behind then. Cancelling the
  ///   task throws code `cancelled`.
  @concurrent
  @discardableResult
  public static func save(
    _ tree: Tree<LeafValue>, to path: String, step: Int? = nil, as format: SaveFormat = .byName,
    overwriting: Bool = false, metadata: [(key: String, value: String)] = [], tuning: Tuning = Tuning(),
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> SaveReport {
    let started = ContinuousClock.now
    return try await Saving(
      tree, as: format, overwriting: overwriting, metadata: metadata, tuning: tuning, progress: progress
    ).run(to: Saving.path(path, step: step, format), started: started)
  }

  /// Saves a tree of tensors, as the method of this name for values does.
  @concurrent
  @discardableResult
  public static func save(
    _ tree: Tree<Tensor>, to path: String, step: Int? = nil, as format: SaveFormat = .byName,
    overwriting: Bool = false, metadata: [(key: String, value: String)] = [], tuning: Tuning = Tuning(),
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> SaveReport {
    try await save(
      tree.mapLeaves { .leaf(.tensor($1)) }, to: path, step: step, as: format, overwriting: overwriting,
      metadata: metadata, tuning: tuning, progress: progress)
  }
}

extension Saving {
  /// A save of values.
  init(
    _ tree: Tree<LeafValue>, as format: SaveFormat, overwriting: Bool,
    metadata: [(key: String, value: String)], tuning: Tuning, progress: (@Sendable (Progress) -> Void)?
  ) throws(GraftError) {
    try tree.validate()
    self.init(
      tree: tree.mapLeaves { _, leaf in
        switch leaf {
        case .tensor(let tensor): .leaf(.tensor(LazyTensor(tensor)))
        case .string(let text): .leaf(.string(text))
        case .placeholder: .leaf(.placeholder)
        }
      }, catalogs: [], format: format, isOverwriting: overwriting, isFlat: false,
      metadata: Self.members(metadata) ?? [], tuning: tuning, progress: progress)
  }
}
