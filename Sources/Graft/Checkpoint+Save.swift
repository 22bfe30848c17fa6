public import GraftCore
internal import GraftFormats

/// The format in which a checkpoint is saved.
public struct SaveFormat: Hashable, Sendable {
  enum Kind: Hashable, Sendable {
    case safetensors(shardByteCount: Int?)
  }

  let kind: Kind

  /// One safetensors file.
  public static let safetensors = SaveFormat(kind: .safetensors(shardByteCount: nil))

  /// A folder of safetensors files, each of at most this many bytes of tensors, with an index.
  ///
  /// A tensor that is larger has a file of its own.
  public static func safetensors(shardByteCount: Int) -> SaveFormat {
    SaveFormat(kind: .safetensors(shardByteCount: shardByteCount))
  }
}

/// What a save did.
public struct SaveReport: Sendable {
  /// The number of leaves that were written.
  public var leafCount: Int
  /// The bytes of those leaves.
  public var byteCount: Int
  /// What was read for them.
  public var reading: ReadReport
  /// From the call until everything was on stable storage.
  public var elapsed: Duration
}

extension Checkpoint {
  /// Streams leaves of this checkpoint into another one, which appears under its name complete or not at all.
  ///
  /// Bytes go through the budget of ``Tuning/budgetByteCount``, so a checkpoint may be larger than memory. The new one may
  /// replace the one that is read. It keeps the metadata that users added to this one; what the format itself noted, such as
  /// the time or the step of a save, stays behind.
  ///
  /// - Parameters:
  ///   - path: the name of the new checkpoint.
  ///   - format: its format.
  ///   - selection: which leaves; all unless given.
  ///   - overwriting: whether what is at `path` is replaced; a folder only when it is a checkpoint of the same format.
  ///   - tuning: how to read; nil for the checkpoint's own settings.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Throws: ``GraftError`` of code `destinationExists`, `noSpace`, `collision` for names that the format cannot keep apart,
  ///   `unsupported` for a leaf that it cannot hold, or what reading throws. Nothing is left behind then. Cancelling the task
  ///   throws code `cancelled`.
  @concurrent
  @discardableResult
  public func save(
    to path: String, as format: SaveFormat = .safetensors, selecting selection: Selection = Selection(),
    overwriting: Bool = false, tuning: Tuning? = nil, progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> SaveReport {
    let started = ContinuousClock.now
    let target = try target(selecting: selection)
    let catalog = try await catalog.resolvingShards(for: target, limits: limits)
    let load = try LoadPlan(target, from: catalog, partial: true)
    // A selection of strings alone is told that these cannot be saved, rather than that there is nothing to save.
    try load.tree.checkNothingButTensors()
    guard !load.plan.results.isEmpty else {
      throw GraftError(.leafNotFound, "the selection leaves nothing to save", file: self.path)
    }
    return try await Saving(
      load: load, format: format, isOverwriting: overwriting, isFlat: isFlat, metadata: catalog.userMetadata,
      tuning: tuning ?? self.tuning, progress: progress
    ).run(to: path, started: started)
  }
}
