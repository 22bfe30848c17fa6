public import GraftCore
internal import GraftIO

/// A save that goes on in the background, for the program that trains on in the meantime.
///
/// ``Checkpoint/beginSaving(_:to:step:as:overwriting:metadata:copyLimit:tuning:progress:)-(Tree<LeafValue>,_,_,_,_,_,_,_,_)`` makes one.
/// ```swift
/// let save = try await Checkpoint.beginSaving(state, to: "ckpts", step: 1000)
/// state = train(state)                  // the tensors are the program's again
/// let report = try await save.value()   // now the checkpoint is on stable storage
/// ```
/// The save goes on whether or not anybody keeps this object; whoever lets go of it does not learn how the save ended.
/// When the process ends before the save, no checkpoint appears, and what was written is removed by the next save to its name.
public final class BackgroundSave: Sendable {
  /// Where the checkpoint will be.
  public let path: String
  private let task: Task<Result<SaveReport, GraftError>, Never>

  init(path: String, _ save: BegunSave) {
    self.path = path
    task = Task.detached {
      do throws(GraftError) {
        return .success(try await save.run())
      } catch {
        return .failure(error)
      }
    }
  }

  /// Waits until the checkpoint is complete and on stable storage, and says what was done; may be called several times.
  ///
  /// Cancelling the task that waits does not cancel the save.
  ///
  /// - Throws: ``GraftError`` with what went wrong, after which nothing is left of the checkpoint; of code `cancelled` after
  ///   ``cancel()``.
  public func value() async throws(GraftError) -> SaveReport { try await task.value.get() }

  /// Gives the save up; nothing is left of it once ``value()`` has thrown.
  ///
  /// A save that is just about to give the checkpoint its name does so all the same.
  public func cancel() { task.cancel() }
}

extension Checkpoint {
  /// Begins to save a tree of values, and returns as soon as its tensors may be changed again.
  ///
  /// Tensors are values: what keeps their memory is held until the save has ended. Only those that are views of a caller's memory
  /// (``Destination/memory(_:)``) are copied before this returns, which takes as much memory.
  /// The checkpoint's name is taken by then, too: a second save to it, of either kind, throws until this one has ended.
  ///
  /// - Parameters:
  ///   - tree: the values.
  ///   - path: the name of the checkpoint, or of the folder of steps that it goes to.
  ///   - step: the number of a step, which makes `path` a folder of steps; nil for a checkpoint of that name.
  ///   - format: its format.
  ///   - overwriting: whether what is at `path` is replaced; a folder only when it is a checkpoint of the same format.
  ///   - metadata: what the checkpoint says about itself, as text by key.
  ///   - copyLimit: the most bytes of tensors that are copied.
  ///   - tuning: how much memory and how many threads to use, beside the copies.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Throws: ``GraftError`` of code `insufficientMemory` when more than `copyLimit` bytes would have to be copied, and what
  ///   ``save(_:to:step:as:overwriting:metadata:tuning:progress:)-(Tree<LeafValue>,_,_,_,_,_,_,_)`` throws before it writes
  ///   tensors; what goes wrong later is thrown by ``BackgroundSave/value()``.
  @concurrent
  public static func beginSaving(
    _ tree: Tree<LeafValue>, to path: String, step: Int? = nil, as format: SaveFormat = .byName,
    overwriting: Bool = false, metadata: [(key: String, value: String)] = [],
    copyLimit: Int = 4 << 30, tuning: Tuning = Tuning(),
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> BackgroundSave {
    let started = ContinuousClock.now
    let path = try await Saving.path(path, step: step, format)
    let owned = try await BlockingThreads.shared.run { () throws(GraftError) in
      try tree.validate()
      return try tree.owningTensors(copyLimit: copyLimit)
    }
    let begun = try await Saving(
      owned, as: format, overwriting: overwriting, metadata: metadata, tuning: tuning, progress: progress
    ).begin(at: path, started: started)
    return BackgroundSave(path: path, begun)
  }

  /// Begins to save a tree of tensors, as the method of this name for values does.
  @concurrent
  public static func beginSaving(
    _ tree: Tree<Tensor>, to path: String, step: Int? = nil, as format: SaveFormat = .byName,
    overwriting: Bool = false, metadata: [(key: String, value: String)] = [],
    copyLimit: Int = 4 << 30, tuning: Tuning = Tuning(),
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> BackgroundSave {
    try await beginSaving(
      tree.mapLeaves { .leaf(.tensor($1)) }, to: path, step: step, as: format, overwriting: overwriting,
      metadata: metadata, copyLimit: copyLimit, tuning: tuning, progress: progress)
  }
}

extension Tree where Leaf == LeafValue {
  /// The tree with copies of the tensors that are in a caller's memory.
  fileprivate func owningTensors(copyLimit: Int) throws(GraftError) -> Tree {
    var byteCount = 0
    try forEachLeaf { (path, leaf) throws(GraftError) in
      guard case .tensor(let tensor) = leaf, tensor.isCallers else { return }
      byteCount += tensor.byteCount
      guard byteCount <= copyLimit else {
        throw GraftError(
          .insufficientMemory,
          "tensors in the caller's memory are copied before the save goes on without it, and these are too many",
          leaf: path, expected: "at most \(copyLimit) bytes", found: "\(byteCount) up to this leaf",
          remedy: "raise the limit, or save and wait")
      }
    }
    if byteCount == 0 { return self }
    return try mapLeaves { (path, leaf) throws(GraftError) -> Tree in
      guard case .tensor(let tensor) = leaf else { return .leaf(leaf) }
      return .leaf(.tensor(try tensor.owned))
    }
  }
}
