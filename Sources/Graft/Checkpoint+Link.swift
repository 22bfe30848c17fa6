public import GraftCore

extension Surgery {
  /// Makes an Orbax checkpoint of the result out of bytes that exist: the sources' files become a part of it, and only metadata is
  /// written.
  ///
  /// Renaming, merging, stacking, splitting and whatever else leaves chunks whole costs milliseconds, however large the
  /// leaves are. What does not is written as a save writes it, and the report says which leaves those are and why. The
  /// checkpoint stands alone when its sources are deleted; one that is *changed in place* afterwards would change it too,
  /// and opening it is an error then.
  /// - Parameters:
  ///   - path: the name of the new checkpoint, or of the folder of steps that it goes to.
  ///   - step: the number of a step, which makes `path` a folder of steps; nil for a checkpoint of that name.
  ///   - rewriting: how leaves are written that are not linked.
  ///   - overwriting: whether what is at `path` is replaced, only when it is an Orbax checkpoint.
  ///   - metadata: what the checkpoint says about itself, as text by key; nil for what users put into the first source.
  ///   - tuning: how to read what is rewritten; nil for the surgery's own settings.
  ///   - progress: called while files are copied and leaves rewritten, as for a save.
  /// - Throws: ``GraftError`` as ``save(to:step:as:overwriting:metadata:tuning:progress:)``; of code `fileChanged` for a source
  ///   that is not what it was when it was opened. Nothing is left behind then.
  @concurrent
  @discardableResult
  public func link(
    to path: String, step: Int? = nil, rewriting: OrbaxOptions = OrbaxOptions(), overwriting: Bool = false,
    metadata: [(key: String, value: String)]? = nil, tuning: Tuning? = nil,
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> LinkReport {
    let started = ContinuousClock.now
    return try await Linking(
      tree: result, sources: sources, rewriting: rewriting, isOverwriting: overwriting,
      metadata: Saving.members(metadata) ?? sources.first?.catalog.userMembers ?? [],
      tuning: tuning ?? self.tuning, progress: progress
    ).run(to: Saving.path(path, step: step, .orbax), started: started)
  }
}

extension Checkpoint {
  /// Makes an Orbax checkpoint of this one, or of some of its leaves, out of the bytes that exist; see
  /// ``Surgery/link(to:step:rewriting:overwriting:metadata:tuning:progress:)``.
  ///
  /// A safetensors model becomes a checkpoint that Orbax loads, in milliseconds.
  ///
  /// - Parameters:
  ///   - path: the name of the new checkpoint, or of the folder of steps that it goes to.
  ///   - step: the number of a step, which makes `path` a folder of steps; nil for a checkpoint of that name.
  ///   - selection: which leaves; all unless given.
  ///   - rewriting: how leaves are written that are not linked.
  ///   - overwriting: whether what is at `path` is replaced, only when it is an Orbax checkpoint.
  ///   - metadata: what the checkpoint says about itself, as text by key; nil for what users put into this one.
  ///   - tuning: how to read what is rewritten; nil for the checkpoint's own settings.
  ///   - progress: called while files are copied and leaves rewritten, as for a save.
  /// - Throws: as ``Surgery/link(to:step:rewriting:overwriting:metadata:tuning:progress:)``.
  @concurrent
  @discardableResult
  public func link(
    to path: String, step: Int? = nil, selecting selection: Selection = Selection(),
    rewriting: OrbaxOptions = OrbaxOptions(), overwriting: Bool = false,
    metadata: [(key: String, value: String)]? = nil, tuning: Tuning? = nil,
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> LinkReport {
    let started = ContinuousClock.now
    let transform = try TransformPlan(target(selecting: selection), from: catalog, partial: true)
    return try await Linking(
      tree: transform.result, sources: [self], rewriting: rewriting, isOverwriting: overwriting,
      metadata: Saving.members(metadata) ?? catalog.userMembers, tuning: tuning ?? self.tuning,
      progress: progress
    ).run(to: Saving.path(path, step: step, .orbax), started: started)
  }
}
