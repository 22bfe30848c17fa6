public import Graft
internal import GraftCore

extension Recipe {
  /// Opens the checkpoints that the recipe names.
  ///
  /// - Throws: ``GraftError`` of the first that cannot be opened.
  @concurrent
  public func openSources(
    flat: Bool = false, limits: Limits = Limits(), tuning: Tuning = Tuning()
  ) async throws(GraftError) -> [String: Checkpoint] {
    var checkpoints: [String: Checkpoint] = [:]
    for source in sources {
      checkpoints[source.name] = try await Checkpoint(
        at: source.path, step: source.step, checkpointable: source.checkpointable, flat: flat, limits: limits,
        tuning: tuning)
    }
    return checkpoints
  }

  /// The surgery that the recipe says, checked against the checkpoints and not done.
  ///
  /// - Parameters:
  ///   - checkpoint: what the tree starts as, which steps call `source`; nil to start with an empty tree.
  ///   - selection: which of that checkpoint's leaves the recipe sees; all unless given.
  ///   - sources: the checkpoints that the recipe names.
  ///   - allowsLossyCasts: whether casts may lose values that do not say so themselves.
  /// - Throws: ``GraftError`` that names the step, its line and the leaves; of code `leafNotFound` for a step that matches nothing.
  public func surgery(
    on checkpoint: Checkpoint? = nil, selecting selection: Selection = Selection(),
    sources: [String: Checkpoint] = [:], allowingLossyCasts allowsLossyCasts: Bool = false
  ) throws(GraftError) -> Surgery {
    // What the result has no metadata of its own for comes from the first checkpoint.
    var names: [String] = []
    var checkpoints: [Checkpoint] = []
    if let checkpoint {
      names.append(Self.startingSourceName)
      checkpoints.append(checkpoint)
    }
    for source in self.sources {
      guard let opened = sources[source.name] else {
        throw GraftError(
          .invalidArgument, "the source \(RecipePlace.shown(source.name)) of the recipe was not given",
          file: name,
          remedy: "open it, or call openSources()")
      }
      names.append(source.name)
      checkpoints.append(opened)
    }
    let configurations = Dictionary(
      uniqueKeysWithValues: zip(names, checkpoints).compactMap { name, checkpoint in
        checkpoint.metadata.first { Key($0.key) == Key(LoRAConfiguration.fileName) }.map { (name, $0.value) }
      })
    do {
      return try Checkpoint.transform(checkpoints) { trees in
        var named = Dictionary(uniqueKeysWithValues: zip(names, trees))
        if let tree = named[Self.startingSourceName] {
          named[Self.startingSourceName] = try tree.selecting(selection)
        }
        return try apply(
          to: named[Self.startingSourceName] ?? [:], sources: named, allowingLossyCasts: allowsLossyCasts,
          adapterConfigurations: configurations)
      }
    } catch {
      guard let error = error as? GraftError else {
        preconditionFailure("transforms of recipes throw GraftError alone")
      }
      throw error
    }
  }

  /// Does the steps on a tree, inside a transform.
  ///
  /// - Parameters:
  ///   - tree: what the tree starts as.
  ///   - sources: the trees of the sources by their names.
  ///   - allowsLossyCasts: whether casts may lose values that do not say so themselves.
  ///   - adapterConfigurations: the texts of `adapter_config.json` by the names of the adapters' sources.
  /// - Throws: ``GraftError`` that names the step, its line and the leaves.
  public func apply(
    to tree: Tree<LazyLeaf>, sources: [String: Tree<LazyLeaf>] = [:],
    allowingLossyCasts allowsLossyCasts: Bool = false, adapterConfigurations: [String: String] = [:]
  ) throws(GraftError) -> Tree<LazyLeaf> {
    var work = RecipeWork(
      tree: tree, sources: sources, allowsLossyCasts: allowsLossyCasts,
      adapterConfigurations: adapterConfigurations)
    for step in steps { try step.apply(to: &work) }
    try expectation?.check(work.tree)
    return work.tree
  }

  /// Adds a cast of the leaves that a glob selects, which comes after the recipe's steps.
  ///
  /// - Parameter option: what asked for it, for errors.
  package mutating func addCast(of pattern: PathPattern, to dtype: DType, option: String) {
    add(
      RecipeStep(
        place: RecipePlace(recipe: name, step: option), isOptional: false,
        action: CastAction(leaves: .glob(pattern), dtype: dtype)))
  }
}
