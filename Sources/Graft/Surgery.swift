public import GraftCore
internal import GraftFormats

/// A transform of one or several checkpoints: checked, not done; it is then loaded, planned or saved.
///
/// ``Checkpoint/transform(expecting:_:)`` makes one. Nothing was read for it but the checkpoints' metadata. A surgery is a value and
/// may be carried out several times.
/// ```swift
/// let surgery = try checkpoint.transform { tree in
///   var tree = tree
///   let layers = tree["params"].children(matching: #/layer(\d+)/#)
///   tree["params"]["layers"] = .stack(layers)
///   tree["params"].removeChildren(matching: #/layer(\d+)/#)
///   return tree
/// }
/// let model = try await surgery.load()
/// ```
public struct Surgery: Sendable {
  /// What comes out: every leaf's path, dtype and shape; a placeholder's node is empty.
  public var tree: Tree<LeafSpec> { transform.specs }
  /// The settings of loads that give none of their own: those of the first checkpoint.
  public var tuning: Tuning

  let sources: [Checkpoint]
  private let transform: TransformPlan

  /// The tree of what comes out, as expressions over the sources.
  var result: Tree<LazyLeaf> { transform.result }

  /// Calls the function over the checkpoints' trees, and checks what it returns.
  init(
    _ sources: [Checkpoint], expecting target: Tree<Target>?,
    _ body: ([Tree<LazyLeaf>]) throws -> Tree<LazyLeaf>
  ) throws {
    self.sources = sources
    tuning = sources.first?.tuning ?? Tuning()
    let trees = sources.enumerated().map { $1.catalog.lazyTree(source: $0) }
    let transform = try TransformPlan(body(trees), expecting: target)
    self.transform = transform
  }

  /// Makes the result.
  ///
  /// - Parameters:
  ///   - destination: where the tensors go.
  ///   - tuning: how to read; nil for the surgery's own settings.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Throws: ``GraftError`` that names the leaf, file and bytes that could not be read; nothing is returned then.
  ///   Cancelling the task throws code `cancelled`.
  @concurrent
  public func load(
    to destination: Destination = .host, tuning: Tuning? = nil,
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> Loaded {
    let started = ContinuousClock.now
    try await verifyFirst(tuning ?? self.tuning)
    return try await Loading(load: planned(), tuning: tuning ?? self.tuning, progress: progress)
      .run(to: destination, started: started)
  }

  /// What loading the result would read and compute, without doing any of it: at most the indices of shards are read.
  @concurrent
  public func plan() async throws(GraftError) -> Plan { try await planned().plan }

  /// Streams the result into another checkpoint, which appears under its name complete or not at all.
  ///
  /// Nothing is held but what the budget of ``Tuning/budgetByteCount`` allows, so that the result may be larger than memory.
  /// The new checkpoint may replace one of the sources. Places that the transform keeps free are left out.
  ///
  /// - Parameters:
  ///   - path: the name of the new checkpoint, or of the folder of steps that it goes to.
  ///   - step: the number of a step, which makes `path` a folder of steps; nil for a checkpoint of that name.
  ///   - format: its format.
  ///   - overwriting: whether what is at `path` is replaced; a folder only when it is a checkpoint of the same format.
  ///   - metadata: what the checkpoint says about itself, as text by key; nil for what users put into the first source.
  ///   - tuning: how to read; nil for the surgery's own settings.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Throws: ``GraftError`` of code `destinationExists`, `noSpace`, `collision` for names that the format cannot keep apart,
  ///   `unsupported` for a leaf that it cannot hold, or what reading throws. Nothing is left behind then. Cancelling the task
  ///   throws code `cancelled`.
  @concurrent
  @discardableResult
  public func save(
    to path: String, step: Int? = nil, as format: SaveFormat = .byName, overwriting: Bool = false,
    metadata: [(key: String, value: String)]? = nil, tuning: Tuning? = nil,
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> SaveReport {
    let started = ContinuousClock.now
    try await verifyFirst(tuning ?? self.tuning)
    return try await saving(
      as: format, overwriting: overwriting, metadata: metadata, tuning: tuning, progress: progress
    ).run(to: Saving.path(path, step: step, format), started: started)
  }

  /// What a save of the result would read and compute, without doing any of it: at most the indices of shards are read.
  @concurrent
  package func savePlan(
    to path: String, as format: SaveFormat
  ) async throws(GraftError) -> SavePlan {
    let saving = try await saving(as: format, overwriting: true, metadata: nil, tuning: nil, progress: nil)
    return SavePlan(try saving.planned(for: path))
  }

  private func saving(
    as format: SaveFormat, overwriting: Bool, metadata: [(key: String, value: String)]?, tuning: Tuning?,
    progress: (@Sendable (Progress) -> Void)?
  ) async throws(GraftError) -> Saving {
    Saving(
      tree: transform.result, catalogs: try await catalogs(), format: format, isOverwriting: overwriting,
      isFlat: sources.first?.isFlat ?? false,
      metadata: Saving.members(metadata) ?? sources.first?.catalog.userMembers ?? [],
      tuning: tuning ?? self.tuning, progress: progress)
  }

  /// Verifies the sources' leaves that are used, where every byte is to be verified.
  private func verifyFirst(_ tuning: Tuning) async throws(GraftError) {
    guard tuning.verification == .always else { return }
    for (source, paths) in transform.usedLeaves().sorted(by: { $0.key < $1.key }) {
      try await sources[source].verifyFirst(paths.map { ($0, nil) }, tuning)
    }
  }

  private func planned() async throws(GraftError) -> LoadPlan { try transform.plan(try await catalogs()) }

  /// The sources' catalogs, with the shards of all leaves looked into that are used.
  private func catalogs() async throws(GraftError) -> [Catalog] {
    // Finding out which leaves are used is half of planning many of them, and only shards ask for it.
    guard sources.contains(where: { $0.catalog.hasShards }) else { return sources.map(\.catalog) }
    var catalogs: [Catalog] = []
    let used = transform.usedLeaves()
    for (index, source) in sources.enumerated() {
      let paths = used[index] ?? []
      let target = source.tree.mapLeaves { path, _ -> Tree<Target> in
        paths.contains(path) ? .stored : .placeholder
      }
      catalogs.append(try await source.catalog.resolvingShards(for: target, limits: source.limits))
    }
    return catalogs
  }
}

// MARK: - Making surgeries

extension Checkpoint {
  /// A surgery on this checkpoint, as a function over its tree describes it.
  ///
  /// The function runs now and reads nothing: leaves are lazy tensors, of which only what the result uses is read later.
  ///
  /// - Parameters:
  ///   - target: what must come out, leaf by leaf; a leaf may be sliced, left out with ``Target/placeholder``, or have values for
  ///     when the function's result lacks it. nil for whatever the function returns.
  ///   - body: gives the new tree.
  /// - Throws: ``GraftError`` with every fault in the new tree (absent keys, shapes and dtypes that do not fit, each with its
  ///   path and the line of the program) or everything on which tree and target disagree; and whatever `body` throws.
  public func transform(
    expecting target: Tree<Target>? = nil, _ body: (Tree<LazyLeaf>) throws -> Tree<LazyLeaf>
  ) throws -> Surgery {
    try Surgery([self], expecting: target) { try body($0[0]) }
  }

  /// A surgery on two checkpoints of any formats; see ``transform(expecting:_:)``.
  public static func transform(
    _ first: Checkpoint, _ second: Checkpoint, expecting target: Tree<Target>? = nil,
    _ body: (Tree<LazyLeaf>, Tree<LazyLeaf>) throws -> Tree<LazyLeaf>
  ) throws -> Surgery {
    try Surgery([first, second], expecting: target) { try body($0[0], $0[1]) }
  }

  /// A surgery on any number of checkpoints, whose trees come in their order; see ``transform(expecting:_:)``.
  public static func transform(
    _ checkpoints: [Checkpoint], expecting target: Tree<Target>? = nil,
    _ body: ([Tree<LazyLeaf>]) throws -> Tree<LazyLeaf>
  ) throws -> Surgery {
    try Surgery(checkpoints, expecting: target, body)
  }

  /// A surgery on checkpoints with names, whose trees come under those; see ``transform(expecting:_:)``.
  public static func transform(
    _ checkpoints: [String: Checkpoint], expecting target: Tree<Target>? = nil,
    _ body: ([String: Tree<LazyLeaf>]) throws -> Tree<LazyLeaf>
  ) throws -> Surgery {
    let names = checkpoints.keys.sorted()
    return try Surgery(names.compactMap { checkpoints[$0] }, expecting: target) { trees in
      try body(Dictionary(uniqueKeysWithValues: zip(names, trees)))
    }
  }
}
