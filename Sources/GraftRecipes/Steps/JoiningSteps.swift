internal import GraftCore

// Steps that make one leaf of several, or several of one.

extension RecipeStep {
  static let joiningKinds: [String: Kind] = [
    "stack": Kind { (fields) throws(GraftError) in
      let axis = try fields.integer("axis", default: 0)
      if let parts = try fields.paths("of") {
        let group = PathGroup(whole: try fields.requiredPath("to"), parts: parts)
        return GroupAction(groups: [group]) { TreeOperation(.stackPaths($0, axis: axis)) }
      }
      let pattern = try fields.regex("pattern")
      let target = try fields.template("to")
      let count = try fields.integer("count")
      let fillers = try fields.number("fill").map { [StackFiller($0)] } ?? []
      return OperationAction(.stack(pattern, to: target, axis: axis, count: count, fillers: fillers))
    },
    "unstack": Kind { (fields) throws(GraftError) in
      let axis = try fields.integer("axis", default: 0)
      let count = try fields.integer("count")
      if fields.has("pattern") {
        return OperationAction(
          .unstack(try fields.regex("pattern"), to: try fields.template("to"), axis: axis, count: count))
      }
      let mapping = try fields.mapping(allowsIndex: true)
      guard mapping.hasIndex else {
        throw fields.fault("to has no {index}, the place of each part's number", in: "to")
      }
      return PlannedAction { (work) throws(GraftError) in
        var groups: [PathGroup] = []
        for (path, tensor, suffix) in try mapping.tensors(in: work.tree) {
          let extent = try tensor.extent(along: axis, at: TreePath(path.keys + suffix))
          if let count, count != extent {
            throw GraftError(
              .shapeMismatch, "the leaf comes apart in another number of parts",
              leaf: TreePath(path.keys + suffix), expected: "\(count)", found: "\(tensor.spec)")
          }
          groups.append(
            PathGroup(
              whole: TreePath(path.keys + suffix),
              parts: (0..<extent).map { TreePath(mapping.target(of: path, index: $0).keys + suffix) }))
          try checkPartCount(groups)
        }
        return groups.isEmpty ? nil : TreeOperation(.unstackPaths(groups, axis: axis))
      }
    },
    "fuse": Kind { (fields) throws(GraftError) in try fusing(&fields) },
    "concatenate": Kind { (fields) throws(GraftError) in
      let axis = try fields.integer("axis", default: 0)
      guard let parts = try fields.paths("of") else { throw fields.missing("of") }
      let group = PathGroup(whole: try fields.requiredPath("to"), parts: parts)
      return GroupAction(groups: [group]) {
        TreeOperation(.fusePaths($0, axis: axis, allowsIncomplete: false))
      }
    },
    "split": Kind { (fields) throws(GraftError) in
      let axis = try fields.integer("axis", default: 0)
      let sizes = try fields.integers("sizes")
      let into = try fields.required("into")
      let names = try fields.list(into, "into", of: "names")
      guard names.count > 1 else { throw fields.fault("into names at least two parts", in: "into") }
      if let sizes, sizes.count != names.count {
        throw fields.fault(
          "sizes has another number of entries than into", in: "sizes", expected: "\(names.count)",
          found: "\(sizes.count)")
      }
      if fields.has("pattern") {
        var targets: [PathTemplate] = []
        for name in names { targets.append(try fields.template(name, "into")) }
        return OperationAction(.split(try fields.regex("pattern"), into: targets, sizes: sizes, axis: axis))
      }
      let mapping = try GlobMapping(try fields.requiredGlob("select"))
      var paths: [TreePath] = []
      for name in names { paths.append(try fields.path(name, "into")) }
      let parts = paths
      return PlannedAction { (work) throws(GraftError) in
        var groups: [PathGroup] = []
        for (path, tensor, suffix) in try mapping.tensors(in: work.tree) {
          let whole = TreePath(path.keys + suffix)
          guard !path.keys.isEmpty else {
            throw GraftError(.invalidArgument, "the root has no name that the parts' could replace")
          }
          var extents = sizes ?? []
          if sizes == nil { extents = try tensor.equalParts(parts.count, axis: axis, at: whole) }
          groups.append(
            PathGroup(
              whole: whole, parts: parts.map { TreePath(path.keys.dropLast() + $0.keys + suffix) },
              sizes: extents))
        }
        return groups.isEmpty ? nil : TreeOperation(.splitPaths(groups, axis: axis))
      }
    },
  ]

  @Sendable private static func fusing(_ fields: inout RecipeFields) throws(GraftError) -> any RecipeAction {
    let axis = try fields.integer("axis", default: 0)
    let allowsIncomplete = try fields.flag("allow_incomplete") ?? false
    if let parts = try fields.paths("of") {
      let group = PathGroup(whole: try fields.requiredPath("to"), parts: parts)
      return GroupAction(groups: [group]) {
        TreeOperation(.fusePaths($0, axis: axis, allowsIncomplete: allowsIncomplete))
      }
    }
    guard let order = try fields.texts("order") else { throw fields.missing("order") }
    return OperationAction(
      .fuse(
        try fields.regex("pattern"), order: order, to: try fields.template("to"), axis: axis,
        allowingIncomplete: allowsIncomplete))
  }

  /// How many parts one step may take leaves apart into.
  private static let partLimit = 1_000_000

  private static func checkPartCount(_ groups: [PathGroup]) throws(GraftError) {
    guard groups.reduce(0, { $0 + $1.parts.count }) <= partLimit else {
      throw GraftError(
        .limitExceeded, "the step takes leaves apart into too many parts", leaf: groups.last?.whole,
        expected: "at most \(partLimit)")
    }
  }
}

/// A step over leaves that it names one by one.
struct GroupAction: RecipeAction {
  let groups: [PathGroup]
  let operation: @Sendable ([PathGroup]) -> TreeOperation

  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool {
    if step.isOptional,
      groups.allSatisfy({ $0.parts.allSatisfy { $0.flatMap { work.tree.node(at: $0) } == nil } })
    {
      return false
    }
    work.tree = try operation(groups).apply(to: work.tree)
    return true
  }
}

extension GlobMapping {
  /// The tensors that the pattern selects, each with the node that the pattern matches and the keys from there to it.
  func tensors(in tree: Tree<LazyLeaf>) throws(GraftError) -> [(
    path: TreePath, tensor: LazyTensor, suffix: [Key]
  )] {
    var tensors: [(path: TreePath, tensor: LazyTensor, suffix: [Key])] = []
    for (path, node) in nodes(in: tree) {
      try node.forEachLeaf { (suffix, leaf) throws(GraftError) in
        guard case .tensor(let tensor) = leaf else {
          throw GraftError(
            .invalidArgument, "only tensors come apart", leaf: TreePath(path.keys + suffix.keys),
            found: "\(leaf)")
        }
        tensors.append((path, tensor, suffix.keys))
      }
    }
    return tensors
  }
}

extension LazyTensor {
  /// The extents of so many equal parts along an axis.
  fileprivate func equalParts(_ count: Int, axis: Int, at path: TreePath) throws(GraftError) -> [Int] {
    let extent = try extent(along: axis, at: path)
    guard extent % count == 0 else {
      throw GraftError(
        .shapeMismatch, "the leaf does not come apart in \(count) equal parts along axis \(axis)", leaf: path,
        found: "\(spec)", remedy: "say the extents of the parts with sizes")
    }
    return [Int](repeating: extent / count, count: count)
  }

  fileprivate func extent(along axis: Int, at path: TreePath) throws(GraftError) -> Int {
    guard axis >= -rank, axis < rank else {
      throw GraftError(
        .invalidArgument, "there is no axis \(axis)", leaf: path, found: "\(spec)")
    }
    return shape[axis < 0 ? axis + rank : axis]
  }
}
