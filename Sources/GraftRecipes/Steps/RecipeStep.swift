internal import GraftCore

/// What a recipe works on: the tree, which each step changes, and the trees of its sources, which none does.
struct RecipeWork {
  var tree: Tree<LazyLeaf>
  let sources: [String: Tree<LazyLeaf>]
  /// Whether casts may lose values that do not say it themselves.
  let allowsLossyCasts: Bool
  /// What the configurations of adapters say, as text by their sources' names.
  let adapterConfigurations: [String: String]
}

/// What a step of a recipe does.
protocol RecipeAction: Sendable {
  /// Changes the tree; whether there was anything to do.
  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool
}

/// One step of a recipe: what it does, and where it stands.
struct RecipeStep: Sendable {
  let place: RecipePlace
  /// Whether it is no error when there is nothing to do.
  let isOptional: Bool
  let action: any RecipeAction

  /// Does the step.
  ///
  /// - Throws: ``GraftError`` that names the step and the leaves.
  func apply(to work: inout RecipeWork) throws(GraftError) {
    let isDone: Bool
    do throws(GraftError) {
      isDone = try action.apply(to: &work, self)
      try work.tree.validate()
    } catch {
      throw place.naming(error)
    }
    guard isDone || isOptional else {
      throw place.fault(
        "the step matches nothing", code: .leafNotFound,
        remedy: "look at the paths with graft inspect, or add optional: true")
    }
  }
}

/// A step that is a tree operation.
struct OperationAction: RecipeAction {
  let operation: TreeOperation

  init(_ operation: TreeOperation) { self.operation = operation }

  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool {
    work.tree = try (step.isOptional ? operation.optional : operation).apply(to: work.tree)
    // The operation says itself that it matched nothing, and offers near names.
    return true
  }
}

/// A step that becomes a tree operation once the tree is known; nil where there is nothing to do.
struct PlannedAction: RecipeAction {
  let plan: @Sendable (RecipeWork) throws(GraftError) -> TreeOperation?

  init(_ plan: @escaping @Sendable (RecipeWork) throws(GraftError) -> TreeOperation?) { self.plan = plan }

  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool {
    guard let operation = try plan(work) else { return false }
    work.tree = try operation.apply(to: work.tree)
    return true
  }
}

extension RecipeStep {
  /// Makes what a step of one kind does from its parameters.
  typealias Reader = @Sendable (inout RecipeFields) throws(GraftError) -> any RecipeAction

  /// A kind of step.
  struct Kind: Sendable {
    /// The parameter that is meant where there is a value in place of parameters.
    var shorthand: String?
    var read: Reader

    init(shorthand: String? = nil, _ read: @escaping Reader) {
      self.shorthand = shorthand
      self.read = read
    }
  }

  /// All kinds of steps, by the names that recipes give them.
  static let kinds: [String: Kind] = movingKinds.merging(joiningKinds) { $1 }.merging(tensorKinds) { $1 }
    .merging(sourceKinds) { $1 }
}
