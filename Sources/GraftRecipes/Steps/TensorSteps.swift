internal import GraftCore

// Steps that change tensors one by one, and leave them where they are.

extension RecipeStep {
  static let tensorKinds: [String: Kind] = [
    "transpose": transforming { (fields) throws(GraftError) in .transpose(try fields.integers("axes")) },
    "slice": transforming { (fields) throws(GraftError) in .slice(try fields.slice("slice")) },
    "take_rows": transforming { (fields) throws(GraftError) in
      .take(try fields.requiredIntegers("indices"), axis: try fields.integer("axis", default: 0))
    },
    "flip": transforming { (fields) throws(GraftError) in .flip(axis: try fields.requiredInteger("axis")) },
    "resize": transforming { (fields) throws(GraftError) in
      .resize(
        try fields.requiredInteger("extent"), axis: try fields.integer("axis", default: 0),
        value: try fields.number("value", default: 0))
    },
    "reshape": transforming { (fields) throws(GraftError) in .reshape(try fields.requiredIntegers("shape")) },
    "squeeze": transforming { (fields) throws(GraftError) in .squeeze(axis: try fields.integer("axis")) },
    "expand": transforming { (fields) throws(GraftError) in .expand(axis: try fields.requiredInteger("axis"))
    },
    "broadcast": transforming { (fields) throws(GraftError) in .broadcast(try fields.shape("shape")) },
    "repeat": transforming { (fields) throws(GraftError) in
      .repeat(try fields.requiredInteger("count"), axis: try fields.integer("axis", default: 0))
    },
    "tile": transforming { (fields) throws(GraftError) in .tile(try fields.requiredIntegers("counts")) },
    "scale": transforming { (fields) throws(GraftError) in .scale(try fields.requiredNumber("by")) },
    "interleave": transforming { (fields) throws(GraftError) in
      .interleave(
        sizes: try fields.requiredIntegers("sizes"), groups: try fields.requiredInteger("groups"),
        axis: try fields.integer("axis", default: 0))
    },
    "deinterleave": transforming { (fields) throws(GraftError) in
      .deinterleave(
        sizes: try fields.requiredIntegers("sizes"), groups: try fields.requiredInteger("groups"),
        axis: try fields.integer("axis", default: 0))
    },
    "rotary": transforming { (fields) throws(GraftError) in
      let order = try fields.choice(
        "to", [("half_split", RotaryOrder.halfSplit), ("interleaved", RotaryOrder.interleaved)])
      guard let order else { throw fields.missing("to") }
      return .rotary(
        to: order, heads: try fields.requiredInteger("heads"), dimensions: try fields.integer("dimensions"),
        axis: try fields.integer("axis", default: 0))
    },
    "pad": Kind { (fields) throws(GraftError) in
      let leaves = try fields.leaves()
      let value = try fields.number("value", default: 0)
      if let node = fields.node("widths") {
        var margins: [LeafTransform.Margin] = []
        for element in try fields.list(node, "widths", of: "pairs") {
          let pair = try fields.list(element, "widths", of: "pairs")
          guard pair.count == 2 else {
            throw fields.wrong("widths", element, expected: "a pair [before, after]")
          }
          margins.append(
            LeafTransform.Margin(
              before: try fields.integer(pair[0], "widths"), after: try fields.integer(pair[1], "widths")))
        }
        return OperationAction(.transform(leaves, .pad(margins, value: value)))
      }
      let axis = try fields.integer("axis", default: 0)
      let margin = LeafTransform.Margin(
        before: try fields.integer("before", default: 0), after: try fields.integer("after", default: 0))
      guard margin.before != 0 || margin.after != 0 else { throw fields.missing("before, after or widths") }
      return PadAction(leaves: leaves, axis: axis, margin: margin, value: value)
    },
    "cast": Kind { (fields) throws(GraftError) in
      let leaves = try fields.leaves()
      guard let dtype = try fields.dtype("dtype") else { throw fields.missing("dtype") }
      var sources: Set<DType> = []
      if let node = fields.node("from") {
        let names = if case .list(let names) = node.value { names } else { [node] }
        for name in names { sources.insert(try fields.dtype(name, "from")) }
      }
      return CastAction(leaves: leaves, dtype: dtype, sources: sources, isLossy: try fields.flag("lossy"))
    },
  ]

  /// A kind of step that does the same to every tensor that it selects.
  private static func transforming(
    _ read: @escaping @Sendable (inout RecipeFields) throws(GraftError) -> LeafTransform
  ) -> Kind {
    Kind { (fields) throws(GraftError) in
      let leaves = try fields.leaves()
      return OperationAction(.transform(leaves, try read(&fields)))
    }
  }
}

/// A cast, of all leaves that it selects or of those of some dtypes.
struct CastAction: RecipeAction {
  let leaves: LeafPattern
  let dtype: DType
  /// The dtypes that are cast; none for all.
  var sources: Set<DType> = []
  /// Whether values may be lost; nil for what the whole recipe is allowed.
  var isLossy: Bool?

  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool {
    var leaves = leaves
    if !sources.isEmpty {
      let paths = try work.tree.tensorPaths(leaves).filter { sources.contains($0.tensor.dtype) }.map(\.path)
      if paths.isEmpty { return false }
      leaves = .paths(paths)
    }
    let operation = TreeOperation.transform(leaves, .cast(dtype, lossy: isLossy ?? work.allowsLossyCasts))
    do throws(GraftError) {
      work.tree = try (step.isOptional ? operation.optional : operation).apply(to: work.tree)
    } catch {
      throw error.offering(step.lossyRemedy, for: .lossy)
    }
    return true
  }
}

extension RecipeStep {
  /// What to do about a cast that loses values: a step of a file says it itself, an option of a command has another beside it.
  fileprivate var lossyRemedy: String {
    place.position == nil ? "pass --allow-lossy" : "add lossy: true to the step, or pass --allow-lossy"
  }
}

extension GraftError {
  fileprivate func offering(_ remedy: String, for code: Code) -> GraftError {
    var error = self
    if error.code == code { error.remedy = remedy }
    error.others = others.map { $0.offering(remedy, for: code) }
    return error
  }
}

/// A margin along one axis, whatever the number of the others.
struct PadAction: RecipeAction {
  let leaves: LeafPattern
  let axis: Int
  let margin: LeafTransform.Margin
  let value: Double

  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool {
    let tensors = try work.tree.tensorPaths(leaves)
    // Leaves of one rank have the same margins.
    for (rank, group) in Dictionary(grouping: tensors, by: { $0.tensor.rank }).sorted(by: { $0.key < $1.key })
    {
      guard axis >= -rank, axis < rank else {
        throw GraftError(
          .invalidArgument, "there is no axis \(axis)", leaf: group[0].path, found: "\(group[0].tensor.spec)")
      }
      var margins = [LeafTransform.Margin](repeating: LeafTransform.Margin(), count: rank)
      margins[axis < 0 ? axis + rank : axis] = margin
      work.tree = try TreeOperation.transform(.paths(group.map(\.path)), .pad(margins, value: value))
        .apply(to: work.tree)
    }
    return !tensors.isEmpty
  }
}

extension Tree where Leaf == LazyLeaf {
  /// The tensors that a pattern concerns, with their paths.
  func tensorPaths(_ leaves: LeafPattern) throws(GraftError) -> [(path: TreePath, tensor: LazyTensor)] {
    var found: [(path: TreePath, tensor: LazyTensor)] = []
    func add(_ path: TreePath, _ leaf: LazyLeaf) {
      if case .tensor(let tensor) = leaf { found.append((path, tensor)) }
    }
    switch leaves {
    case .glob(let pattern): for (path, leaf) in self.leaves(matching: pattern) { add(path, leaf) }
    case .regex: try TreeOperation.keep(leaves).optional.apply(to: self).forEachLeaf(add)
    case .paths(let paths): for path in paths { if let leaf = node(at: path)?.leaf { add(path, leaf) } }
    }
    return found
  }
}
