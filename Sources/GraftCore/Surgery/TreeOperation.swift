/// One step of a surgery as a value: what is to be done to the leaves of a tree, which is known before there is a tree.
///
/// A recipe is a list of these. Each has a method of ``Tree`` of the same meaning, with the documentation of its parameters:
/// ``rename(_:simultaneously:)`` is `renaming`, ``stack(_:to:axis:count:fillers:)`` is `stacking`, and so on. Which leaves a step
/// concerns is said by a ``PathRegex``, which matches whole printed paths and has captures that new paths are made of, or by a
/// ``LeafPattern``, a glob unless it says otherwise. A step that concerns no leaf is a fault unless it is ``optional``.
public struct TreeOperation: Hashable, Sendable {
  package enum Action: Hashable, Sendable {
    case rename([RenameRule], simultaneously: Bool)
    case move([TreeMove], ContainerKinds)
    case nest(TreePath)
    case unnest(TreePath)
    case unflatten(separator: String, makesLists: Bool)
    case flatten(separator: String)
    case drop(LeafPattern)
    case keep(LeafPattern)
    case fuse(PathRegex, order: [String], PathTemplate, axis: Int, allowsIncomplete: Bool)
    case fusePaths([PathGroup], axis: Int, allowsIncomplete: Bool)
    case split(PathRegex, [PathTemplate], sizes: [Int]?, axis: Int)
    case splitPaths([PathGroup], axis: Int)
    case stack(PathRegex, PathTemplate, axis: Int, count: Int?, [StackFiller])
    case stackPaths([PathGroup], axis: Int)
    case unstack(PathRegex, PathTemplate, axis: Int, count: Int?)
    case unstackPaths([PathGroup], axis: Int)
    case transform(LeafPattern, LeafTransform)
    case reshapeEach([TreePath: [Int]])
  }

  package var action: Action
  /// Whether it is no fault when the step concerns no leaf.
  public var isOptional = false

  package init(_ action: Action) { self.action = action }

  /// The same step, which does nothing where it concerns no leaf.
  public var optional: TreeOperation {
    var operation = self
    operation.isOptional = true
    return operation
  }
}

// MARK: - What there is

extension TreeOperation {
  /// See ``Tree/renaming(_:simultaneously:file:line:)``.
  public static func rename(_ rules: [RenameRule], simultaneously: Bool = false) -> TreeOperation {
    TreeOperation(.rename(rules, simultaneously: simultaneously))
  }

  /// See ``Tree/moving(_:file:line:)``.
  public static func move(_ moves: [TreeMove]) -> TreeOperation {
    TreeOperation(.move(moves, ContainerKinds()))
  }

  /// See ``Tree/nesting(under:file:line:)``.
  public static func nest(under prefix: TreePath) -> TreeOperation { TreeOperation(.nest(prefix)) }

  /// See ``Tree/unnesting(from:file:line:)``.
  public static func unnest(from prefix: TreePath) -> TreeOperation { TreeOperation(.unnest(prefix)) }

  /// See ``Tree/unflattening(separator:makingLists:file:line:)``.
  public static func unflatten(separator: String = ".", makingLists: Bool = false) -> TreeOperation {
    TreeOperation(.unflatten(separator: separator, makesLists: makingLists))
  }

  /// See ``Tree/flattening(separator:file:line:)``.
  public static func flatten(separator: String = ".") -> TreeOperation {
    TreeOperation(.flatten(separator: separator))
  }

  /// See ``Tree/dropping(_:file:line:)``.
  public static func drop(_ leaves: LeafPattern) -> TreeOperation { TreeOperation(.drop(leaves)) }

  /// See ``Tree/keeping(_:file:line:)``.
  public static func keep(_ leaves: LeafPattern) -> TreeOperation { TreeOperation(.keep(leaves)) }

  /// See ``Tree/fusing(_:order:to:axis:allowingIncomplete:file:line:)``.
  public static func fuse(
    _ pattern: PathRegex, order: [String], to target: PathTemplate, axis: Int = 0,
    allowingIncomplete: Bool = false
  ) -> TreeOperation {
    TreeOperation(.fuse(pattern, order: order, target, axis: axis, allowsIncomplete: allowingIncomplete))
  }

  /// See ``Tree/fusing(_:to:axis:allowingIncomplete:file:line:)``.
  public static func fuse(
    _ paths: [TreePath], to target: TreePath, axis: Int = 0, allowingIncomplete: Bool = false
  ) -> TreeOperation {
    TreeOperation(
      .fusePaths([PathGroup(whole: target, parts: paths)], axis: axis, allowsIncomplete: allowingIncomplete))
  }

  /// See ``Tree/splitting(_:into:sizes:axis:file:line:)``.
  public static func split(
    _ pattern: PathRegex, into targets: [PathTemplate], sizes: [Int]? = nil, axis: Int = 0
  ) -> TreeOperation {
    TreeOperation(.split(pattern, targets, sizes: sizes, axis: axis))
  }

  /// See ``Tree/stacking(_:to:axis:count:fillers:file:line:)``.
  public static func stack(
    _ pattern: PathRegex, to target: PathTemplate, axis: Int = 0, count: Int? = nil,
    fillers: [StackFiller] = []
  ) -> TreeOperation {
    TreeOperation(.stack(pattern, target, axis: axis, count: count, fillers))
  }

  /// See ``Tree/unstacking(_:to:axis:count:file:line:)``.
  public static func unstack(
    _ pattern: PathRegex, to target: PathTemplate, axis: Int = 0, count: Int? = nil
  ) -> TreeOperation {
    TreeOperation(.unstack(pattern, target, axis: axis, count: count))
  }

  /// What is done to each of some tensors alone; see ``LeafTransform`` for what there is.
  public static func transform(_ leaves: LeafPattern, _ transform: LeafTransform) -> TreeOperation {
    TreeOperation(.transform(leaves, transform))
  }
}
