extension Tree where Leaf == LazyLeaf {
  /// The tree after one step; what goes wrong is a fault in it, with the step and the line of the program.
  ///
  /// A fault of one leaf stands at that leaf; one that leaves no tree, such as a collision, is all that comes back.
  public func applying(
    _ operation: TreeOperation, file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    carryingOut(operation) { $0.during(operation.name, file, line) }
  }

  fileprivate func carryingOut(
    _ operation: TreeOperation, _ mark: @escaping (GraftError) -> GraftError
  ) -> Tree {
    if kind == .fault { return self }
    do throws(GraftError) {
      var table = LeafTable(self)
      let step = SurgeryStep(operation: operation, mark: mark)
      guard try step.change(&table) > 0 || operation.isOptional else { throw step.nothing(in: table) }
      return try table.tree()
    } catch {
      return .fault(mark(error))
    }
  }
}

extension TreeOperation {
  /// The tree after this step.
  ///
  /// - Throws: ``GraftError`` with every fault that the step made or the tree had. A leaf that cannot be read is none as long as
  ///   nothing is done to it, for it may still be dropped.
  public func apply(to tree: Tree<LazyLeaf>) throws(GraftError) -> Tree<LazyLeaf> {
    let result = tree.carryingOut(self) { error in
      var error = error
      error.operation = error.operation ?? name
      return error
    }
    do throws(GraftError) {
      try result.validate()
    } catch {
      try SurgeryStep.throwAll(([error] + error.others).filter { !$0.isUnreadLeaf })
    }
    return result
  }
}

extension GraftError {
  /// Whether this is the fault that stands in a checkpoint's tree for a leaf that is not read.
  var isUnreadLeaf: Bool { code == .unsupported && operation == nil }
}

extension Sequence<TreeOperation> {
  /// The tree after these steps, one after the other.
  ///
  /// - Throws: ``GraftError`` of the first step that made faults, with all of them.
  public func apply(to tree: Tree<LazyLeaf>) throws(GraftError) -> Tree<LazyLeaf> {
    var tree = tree
    for operation in self { tree = try operation.apply(to: tree) }
    return tree
  }
}

/// A step while it is carried out.
struct SurgeryStep {
  let operation: TreeOperation
  /// Adds to an error what was being done where.
  let mark: (GraftError) -> GraftError
  /// Where to note what was joined or taken apart, for the inverse.
  var record: JoinRecord?

  init(operation: TreeOperation, mark: @escaping (GraftError) -> GraftError) {
    self.operation = operation
    self.mark = mark
  }

  /// Does the step; how many leaves it concerned.
  func change(_ table: inout LeafTable) throws(GraftError) -> Int {
    switch operation.action {
    case .rename(let rules, let simultaneously): try rename(&table, rules, simultaneously: simultaneously)
    case .move(let moves, let containers): try move(&table, moves, containers)
    case .nest(let prefix): try nest(&table, under: prefix)
    case .unnest(let prefix): try unnest(&table, from: prefix)
    case .unflatten(let separator, let makesLists): try unflatten(&table, separator, makesLists: makesLists)
    case .flatten(let separator): try flatten(&table, separator)
    case .drop(let pattern): try drop(&table, pattern)
    case .keep(let pattern): try keep(&table, pattern)
    case .fuse(let pattern, let order, let target, let axis, let allowsIncomplete):
      try fuse(&table, pattern, order, target, axis: axis, allowsIncomplete: allowsIncomplete)
    case .fusePaths(let groups, let axis, let allowsIncomplete):
      try fuse(&table, groups, axis: axis, allowsIncomplete: allowsIncomplete)
    case .split(let pattern, let targets, let sizes, let axis):
      try split(&table, pattern, targets, sizes: sizes, axis: axis)
    case .splitPaths(let groups, let axis):
      try takeApart(&table, groups) { (tensor, group) throws(GraftError) in
        try tensor.split(sizes: group.sizes, axis: axis)
      }
    case .stack(let pattern, let target, let axis, let count, let fillers):
      try stack(&table, pattern, target, axis: axis, count: count, fillers)
    case .stackPaths(let groups, let axis): try stack(&table, groups, axis: axis)
    case .unstack(let pattern, let target, let axis, let count):
      try unstack(&table, pattern, target, axis: axis, count: count)
    case .unstackPaths(let groups, let axis):
      try takeApart(&table, groups) { (tensor, _) throws(GraftError) in
        try tensor.unstacked(axis: axis)
      }
    case .transform(let pattern, let transform):
      try change(&table, pattern) { (tensor, _) throws(GraftError) in
        try transform.apply(to: tensor)
      }
    case .reshapeEach(let shapes):
      try change(&table, .paths(Array(shapes.keys))) { (tensor, path) throws(GraftError) in
        try tensor.reshaped(shapes[path] ?? tensor.shape.extents)
      }
    }
  }

  /// Replaces the tensors that a pattern names; text and free places are left alone.
  private func change(
    _ table: inout LeafTable, _ pattern: LeafPattern,
    _ body: (LazyTensor, TreePath) throws(GraftError) -> LazyTensor
  ) throws(GraftError) -> Int {
    var count = 0
    for index in try table.indices(pattern) {
      let entry = table.entries[index]
      guard let tensor = entry.tensor else { continue }
      count += 1
      table.replace(
        index, with: making(at: entry.path) { () throws(GraftError) in try body(tensor, entry.path) })
    }
    return count
  }

  /// A leaf, or the fault that there was in making it.
  func making(at path: TreePath, _ body: () throws(GraftError) -> LazyTensor) -> Tree<LazyLeaf> {
    do throws(GraftError) {
      return .tensor(try body())
    } catch {
      var error = mark(error)
      error.leaf = error.leaf ?? path
      return .fault(error)
    }
  }

  /// The error when the step concerns nothing.
  func nothing(in table: LeafTable) -> GraftError {
    let example = table.entries.first { $0.isLeaf }?.path
    return GraftError(
      .leafNotFound, "the step concerns no leaf: \(operation)",
      found: example.map { "\(table.entries.lazy.filter(\.isLeaf).count) leaves, the first of them \($0)" },
      remedy: "correct the pattern, which must match the whole path, or make the step optional")
  }

  /// One error of several, the first with the others attached; none for none.
  static func throwAll(_ errors: [GraftError]) throws(GraftError) {
    guard var first = errors.first else { return }
    first.others = Array(errors.dropFirst().prefix(999))
    throw first
  }

  /// A path from its printed form.
  func path(_ bytes: [UInt8], from source: TreePath) throws(GraftError) -> TreePath {
    if let plain = TreePath(plainlyPrinted: bytes) { return plain }
    guard let path = TreePath(parsing: String(decoding: bytes, as: UTF8.self)) else {
      throw GraftError(
        .invalidArgument,
        "the new path '\(TreePath.printable(String(decoding: bytes, as: UTF8.self)))' has an unknown escape",
        leaf: source, remedy: "write a backslash of a key as \\\\")
    }
    return path
  }
}

extension TreeOperation: CustomStringConvertible {
  /// What errors call the step: `rename`.
  public var name: String {
    switch action {
    case .rename: "rename"
    case .move: "move"
    case .nest: "nest"
    case .unnest: "unnest"
    case .unflatten: "unflatten"
    case .flatten: "flatten"
    case .drop: "drop"
    case .keep: "keep"
    case .fuse, .fusePaths: "fuse"
    case .split, .splitPaths: "split"
    case .stack, .stackPaths: "stack"
    case .unstack, .unstackPaths: "unstack"
    case .transform(_, let transform): transform.name
    case .reshapeEach: "reshape"
    }
  }

  /// The step and what it concerns, for example `stack 'layer(\d+)/(.*)' to 'layers/\2'`.
  public var description: String {
    func quoted(_ text: some CustomStringConvertible) -> String {
      "'\(TreePath.printable(text.description))'"
    }
    func groups(_ groups: [PathGroup]) -> String {
      groups.count == 1 ? "\(groups[0].whole)" : "\(groups.count) leaves"
    }
    switch action {
    case .rename(let rules, _):
      return "rename "
        + rules.map { "\(quoted($0.pattern)) to \(quoted($0.replacement))" }.joined(separator: ", ")
    case .move(let moves, _):
      return moves.count == 1 ? "move \(moves[0].source) to \(moves[0].target)" : "move \(moves.count) nodes"
    case .nest(let prefix): return "nest under \(prefix)"
    case .unnest(let prefix): return "unnest from \(prefix)"
    case .unflatten(let separator, _): return "unflatten at \(quoted(separator))"
    case .flatten(let separator): return "flatten with \(quoted(separator))"
    case .drop(let pattern): return "drop \(quoted(pattern))"
    case .keep(let pattern): return "keep \(quoted(pattern))"
    case .fuse(let pattern, let order, let target, let axis, _):
      return
        "fuse \(quoted(pattern)) in the order \(order.joined(separator: ", ")) to \(quoted(target)) along axis \(axis)"
    case .split(let pattern, let targets, _, let axis):
      return "split \(quoted(pattern)) into \(targets.map(quoted).joined(separator: ", ")) along axis \(axis)"
    case .stack(let pattern, let target, let axis, _, _):
      return "stack \(quoted(pattern)) to \(quoted(target)) along axis \(axis)"
    case .unstack(let pattern, let target, let axis, _):
      return "unstack \(quoted(pattern)) to \(quoted(target)) along axis \(axis)"
    case .fusePaths(let parts, let axis, _): return "fuse to \(groups(parts)) along axis \(axis)"
    case .splitPaths(let parts, let axis): return "split \(groups(parts)) along axis \(axis)"
    case .stackPaths(let parts, let axis): return "stack to \(groups(parts)) along axis \(axis)"
    case .unstackPaths(let parts, let axis): return "unstack \(groups(parts)) along axis \(axis)"
    case .transform(let pattern, let transform): return "\(transform.name) \(quoted(pattern))"
    case .reshapeEach(let shapes): return "reshape \(shapes.count) leaves"
    }
  }
}
