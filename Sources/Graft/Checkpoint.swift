public import GraftCore
internal import GraftFormats

/// A checkpoint on disk: its tree of leaves, known after opening it, and the means to load them.
///
/// Opening reads the metadata and no tensor byte. A checkpoint is a value; it keeps no file open.
/// ```swift
/// let checkpoint = try await Checkpoint(at: "model.safetensors")
/// let loaded = try await checkpoint.load(matching: "model/layers/*/self_attn/**")
/// ```
public struct Checkpoint: Sendable {
  /// The path that was opened.
  public let path: String
  /// Every leaf: its path, dtype and shape.
  public let tree: Tree<LeafSpec>
  /// The settings of loads that give none of their own.
  public var tuning: Tuning

  package let catalog: Catalog
  /// What metadata that is read later may claim.
  let limits: Limits
  /// Whether names were kept whole, so that they are written whole again.
  let isFlat: Bool

  /// Opens the checkpoint at `path`, whatever its format.
  ///
  /// - Parameters:
  ///   - path: a `.safetensors` file, or a folder of shards with or without `model.safetensors.index.json`; an Orbax checkpoint,
  ///     one of its parts, or a folder of steps.
  ///   - step: which step of a folder of steps, by its number or its folder's name; nil for the latest that is finished.
  ///   - checkpointable: which part of an Orbax checkpoint that has several; nil for `state`, or what older versions called it.
  ///   - flat: whether names of a format without trees are kept whole, rather than split at dots into a tree.
  ///   - limits: what the metadata may claim.
  ///   - tuning: how loads read.
  /// - Throws: ``GraftError`` that names what was looked for, or the file and bytes that contradict the format.
  @concurrent
  public init(
    at path: String, step: String? = nil, checkpointable: String? = nil, flat: Bool = false,
    limits: Limits = Limits(), tuning: Tuning = Tuning()
  ) async throws(GraftError) {
    var options = OpenOptions(limits: limits, keepsNamesWhole: flat)
    options.step = step
    options.checkpointable = checkpointable
    let catalog = try await FormatRegistry.standard.open(path, options: options)
    self.limits = limits
    self.path = path
    self.catalog = catalog
    self.tuning = tuning
    isFlat = flat
    tree = catalog.tree.specs
  }

  /// The name of the format, for example `safetensors`.
  public var format: String { catalog.format }

  /// What the checkpoint says about itself beside its tree, as text by key.
  ///
  /// Of an Orbax checkpoint its times, its step, its custom metadata and those of its parts that are JSON, under their names.
  public var metadata: [(key: String, value: String)] { catalog.metadata }

  /// The bytes that all leaves take in memory.
  public var logicalByteCount: Int {
    var sum = 0
    catalog.tree.forEachLeaf { sum += $1.byteCount }
    return sum
  }
}

extension Checkpoint {
  /// The stored tree as a target, leaf by leaf.
  ///
  /// `body` says for each leaf what is wanted of it: `.stored`, `.placeholder`, a spec, a slice.
  public func target<Failure: Error>(
    _ body: (TreePath, LeafSpec) throws(Failure) -> Tree<Target>
  ) throws(Failure) -> Tree<Target> {
    try tree.targets(body)
  }

  /// Loads what `target` asks for.
  ///
  /// By default the target must have the checkpoint's structure, with ``Target/placeholder`` for what is not wanted. With
  /// `partial`, what it does not mention is left out, and one leaf of it may stand for a whole subtree. Only the bytes that the
  /// target wants are read.
  ///
  /// - Parameters:
  ///   - target: what is wanted, leaf by leaf.
  ///   - partial: whether the target may leave things out.
  ///   - destination: where the tensors go.
  ///   - tuning: how to read; nil for the checkpoint's own settings.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Returns: a tree of the target's structure, and a report.
  /// - Throws: ``GraftError`` that names every leaf on which target and checkpoint disagree, or the leaf, file and bytes that
  ///   could not be read; nothing is returned then. Cancelling the task throws code `cancelled`.
  @concurrent
  public func load(
    _ target: Tree<Target>, partial: Bool = false, to destination: Destination = .host, tuning: Tuning? = nil,
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> Loaded {
    let started = ContinuousClock.now
    let catalog = try await catalog.resolvingShards(for: target, limits: limits)
    let load = try LoadPlan(target, from: catalog, partial: partial)
    try await verifyFirst(load.plan.results.map { ($0.path, $0.spec) }, tuning ?? self.tuning)
    return try await Loading(load: load, tuning: tuning ?? self.tuning, progress: progress)
      .run(to: destination, started: started)
  }

  /// Loads every leaf as it is stored.
  @concurrent
  public func load(
    to destination: Destination = .host, tuning: Tuning? = nil,
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> Loaded {
    try await load(target { _, _ in .stored }, to: destination, tuning: tuning, progress: progress)
  }

  /// Loads the leaves whose paths match a glob: `*` within one key, `**` across keys, `{a,b}` for alternatives.
  ///
  /// - Throws: ``GraftError`` of code `leafNotFound` when nothing matches, with near names.
  @concurrent
  public func load(
    matching pattern: String, to destination: Destination = .host, tuning: Tuning? = nil,
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> Loaded {
    try await load(
      target(selecting: Selection([.select(PathPattern(pattern))])), partial: true, to: destination,
      tuning: tuning,
      progress: progress)
  }

  /// The target that asks for the leaves that the selection selects, for a partial load.
  ///
  /// A list keeps its length, with placeholders for what is not selected.
  ///
  /// - Throws: ``GraftError`` of code `leafNotFound` that names every rule which concerns no leaf, with near names.
  public func target(selecting selection: Selection) throws(GraftError) -> Tree<Target> {
    try catalog.tree.target(selecting: selection)
  }

  /// What a load of this target would read and copy, without doing any of it: at most the indices of shards are read.
  ///
  /// - Throws: as ``load(_:partial:to:tuning:progress:)`` for a target that does not agree with the checkpoint.
  @concurrent
  public func plan(_ target: Tree<Target>, partial: Bool = false) async throws(GraftError) -> Plan {
    let catalog = try await catalog.resolvingShards(for: target, limits: limits)
    return try LoadPlan(target, from: catalog, partial: partial).plan
  }
}

/// What a load gives: the tree of loaded values, and a report of how it went.
public struct Loaded: Sendable {
  /// The values, in the target's structure; a placeholder stands where nothing was asked for.
  public var tree: Tree<LeafValue>
  /// What became of every leaf, what was read, and how fast.
  public var report: LoadReport
}
