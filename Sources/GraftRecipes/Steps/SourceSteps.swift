internal import GraftCore

// Steps that bring leaves into the tree: from a source, from several that are computed with, or from nothing.

extension RecipeStep {
  static let sourceKinds: [String: Kind] = [
    "take": Kind { (fields) throws(GraftError) in
      let from = try fields.requiredText("from")
      let hasSelection = fields.has("select")
      let mapping =
        hasSelection
        ? try fields.mapping(allowsIndex: false, requiresTarget: false)
        : try fields.everything()
      return TakeAction(source: from, mapping: mapping, isReplacing: try fields.flag("replace") ?? false)
    },
    "average": combining { (fields, count) throws(GraftError) in
      let weights = try fields.numbers("weights")
      try fields.check(weights, count)
      return { Tree.mean($0, weights: weights) }
    },
    "sum": combining { (fields, count) throws(GraftError) in
      let weights = try fields.numbers("weights") ?? [Double](repeating: 1, count: count)
      try fields.check(weights, count)
      return { Tree.weightedSum($0, weights: weights) }
    },
    "task_arithmetic": Kind { (fields) throws(GraftError) in
      let base = try fields.requiredText("base")
      return try combining(fields: &fields, after: [base]) { (fields, count) throws(GraftError) in
        let weights = try fields.numbers("weights") ?? [Double](repeating: 1, count: count)
        try fields.check(weights, count)
        let scale = try fields.number("scale", default: 1)
        let (density, seed) = (try fields.number("density"), try fields.integer("seed"))
        guard (density == nil) == (seed == nil) else {
          throw fields.missing(density == nil ? "density" : "seed")
        }
        if let density, !(density > 0 && density <= 1) {
          throw fields.fault("a density is above 0 and at most 1", in: "density", found: "\(density)")
        }
        if let seed, seed < 0 { throw fields.fault("a seed is not negative", in: "seed", found: "\(seed)") }
        let dropping = density.map { RandomDropping(keeping: $0, seed: UInt64(seed ?? 0)) }
        return {
          Tree.taskArithmetic(
            base: $0[0], Array($0.dropFirst()), weights: weights, scale: scale, dropping: dropping)
        }
      }
    },
    "interpolate": combining { (fields, count) throws(GraftError) in
      guard count == 2 else {
        throw fields.fault("an interpolation is of two sources", in: "of", found: "\(count)")
      }
      let position = try fields.requiredNumber("at")
      return { $0[0].interpolated(to: $0[1], at: position) }
    },
    "slerp": combining { (fields, count) throws(GraftError) in
      guard count == 2 else {
        throw fields.fault("an interpolation is of two sources", in: "of", found: "\(count)")
      }
      let position = try fields.requiredNumber("at")
      return { $0[0].slerped(to: $0[1], at: position) }
    },
    "lora": Kind { (fields) throws(GraftError) in
      let adapter = try fields.requiredText("adapter")
      let (factor, alpha) = (try fields.number("scale"), try fields.number("alpha"))
      let isRootOfRank = try fields.flag("rslora") ?? false
      guard factor == nil || alpha == nil else {
        throw fields.place.fault(
          "an adapter has a scale or an alpha", at: fields.position,
          expected: "scale, what products are multiplied with, or alpha, which is divided by their rank",
          found: "both")
      }
      guard alpha != nil || !isRootOfRank else { throw fields.fault("rslora is for an alpha", in: "rslora") }
      let rules = try fields.renameRules("rename") ?? []
      return LoRAAction(
        adapter: adapter,
        scale: alpha.map { isRootOfRank ? .alphaByRootOfRank($0) : .alpha($0) } ?? factor.map { .factor($0) },
        rules: rules, isTransposed: try fields.flag("transposed"))
    },
    "init": Kind { (fields) throws(GraftError) in
      let path = try fields.requiredPath("path")
      let shape = try fields.shape("shape")
      guard let dtype = try fields.dtype("dtype") else { throw fields.missing("dtype") }
      let initializer = try fields.initializer("with")
      let tensor: LazyTensor
      do throws(GraftError) {
        tensor = try LazyTensor.initialized(shape, dtype, initializer)
      } catch {
        var error = error
        error.leaf = path
        throw fields.place.naming(error, at: fields.position)
      }
      return InitAction(path: path, tensor: tensor, isReplacing: try fields.flag("replace") ?? false)
    },
  ]

  /// A kind of step that makes leaves of the same leaves of several sources.
  private static func combining(
    _ read:
      @escaping @Sendable (inout RecipeFields, Int) throws(GraftError) ->
      @Sendable ([Tree<LazyLeaf>]) -> Tree<LazyLeaf>
  ) -> Kind {
    Kind { (fields) throws(GraftError) in try combining(fields: &fields, after: [], read) }
  }

  /// What makes leaves of the same leaves of several sources: some that are named by themselves, and those of a list.
  private static func combining(
    fields: inout RecipeFields, after first: [String],
    _ read: (inout RecipeFields, Int) throws(GraftError) -> @Sendable ([Tree<LazyLeaf>]) -> Tree<LazyLeaf>
  ) throws(GraftError) -> CombineAction {
    guard let sources = try fields.texts("of") else { throw fields.missing("of") }
    guard !sources.isEmpty else { throw fields.fault("of names no source", in: "of") }
    let mapping =
      fields.has("select")
      ? try fields.mapping(allowsIndex: false, requiresTarget: false) : try fields.everything()
    let combine = try read(&fields, sources.count)
    return CombineAction(
      sources: first + sources, mapping: mapping, isReplacing: try fields.flag("replace") ?? false,
      combine: combine)
  }
}

/// A step that reads sources, so that it can be known whether there are any of their names.
protocol SourceReading {
  var sourceNames: [String] { get }
}

extension RecipeWork {
  func source(_ name: String) throws(GraftError) -> Tree<LazyLeaf> {
    if let tree = sources[name] { return tree }
    throw GraftError(
      .invalidArgument, "there is no source \(RecipePlace.shown(name))",
      expected: sources.isEmpty
        ? "a source under sources" : "one of \(sources.keys.sorted().joined(separator: ", "))",
      remedy: NearName.suggestion(for: name, among: sources.keys.sorted()))
  }
}

/// Leaves of a source as they are.
struct TakeAction: RecipeAction, SourceReading {
  let source: String
  let mapping: GlobMapping
  let isReplacing: Bool

  var sourceNames: [String] { [source] }

  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool {
    let nodes = mapping.nodes(in: try work.source(source))
    for (path, node) in nodes {
      try work.tree.insert(node, at: mapping.target(of: path), replacing: isReplacing)
    }
    return !nodes.isEmpty
  }
}

/// Leaves that are computed of the same leaves of several sources.
struct CombineAction: RecipeAction, SourceReading {
  let sources: [String]
  let mapping: GlobMapping
  let isReplacing: Bool
  let combine: @Sendable ([Tree<LazyLeaf>]) -> Tree<LazyLeaf>

  var sourceNames: [String] { sources }

  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool {
    var trees: [Tree<LazyLeaf>] = []
    for source in sources { trees.append(try work.source(source)) }
    let nodes = mapping.nodes(in: trees[0])
    try checkSame(trees, Set(nodes.map(\.path)))
    for (path, _) in nodes {
      let combined = combine(trees.map { $0[at: path] })
      try combined.validate()
      try work.tree.insert(combined, at: mapping.target(of: path), replacing: isReplacing)
    }
    return !nodes.isEmpty
  }

  /// Throws where a source lacks what the others have: a mean of some of them would be another model.
  private func checkSame(_ trees: [Tree<LazyLeaf>], _ first: Set<TreePath>) throws(GraftError) {
    for (name, tree) in zip(sources, trees).dropFirst() {
      let paths = Set(mapping.nodes(in: tree).map(\.path))
      guard let path = first.symmetricDifference(paths).min() else { continue }
      let (has, lacks) = first.contains(path) ? (sources[0], name) : (name, sources[0])
      throw GraftError(
        .structureMismatch, "the source \(lacks) lacks what the source \(has) has", leaf: path,
        remedy: "select what all sources have")
    }
  }
}

/// A low-rank adapter, folded into the tree's weights.
struct LoRAAction: RecipeAction, SourceReading {
  /// The adapter's source, or its path.
  let adapter: String
  /// What the products are multiplied with; nil where the adapter's configuration is to say it.
  let scale: LoRAScale?
  let rules: [RenameRule]
  /// Whether weights are stored the other way round; nil where the adapter's configuration may say it.
  let isTransposed: Bool?

  var sourceNames: [String] { [adapter] }

  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool {
    let tree = try work.source(adapter)
    if step.isOptional, tree.leafCount == 0 { return true }
    if let scale {
      work.tree = work.tree.foldingLoRA(
        tree, scale: scale, renaming: rules, transposed: isTransposed ?? false)
      return true
    }
    guard let text = work.adapterConfigurations[adapter] else {
      throw GraftError(
        .invalidArgument,
        "the adapter \(RecipePlace.shown(adapter)) has no configuration that says its scale",
        expected: "\(LoRAConfiguration.fileName) beside its adapter_model.safetensors", found: "none",
        remedy: "give scale, what products are multiplied with, or alpha, which is divided by their rank")
    }
    var configuration = try LoRAConfiguration(
      parsing: text, file: "\(LoRAConfiguration.fileName) beside \(adapter)")
    if let isTransposed { configuration.isTransposed = isTransposed }
    work.tree = work.tree.foldingLoRA(tree, configuration: configuration, renaming: rules)
    return true
  }
}

/// A new leaf.
struct InitAction: RecipeAction {
  let path: TreePath
  let tensor: LazyTensor
  let isReplacing: Bool

  func apply(to work: inout RecipeWork, _ step: RecipeStep) throws(GraftError) -> Bool {
    try work.tree.insert(.tensor(tensor), at: path, replacing: isReplacing)
    return true
  }
}

// MARK: - Parameters

extension RecipeFields {
  /// What is selected where nobody says it.
  mutating func everything() throws(GraftError) -> GlobMapping {
    _ = node("select")
    guard let node = node("to") else { return try GlobMapping("**") }
    let text = try text(node, "to")
    do throws(GraftError) {
      return try GlobMapping("**", to: text, allowsIndex: false)
    } catch {
      throw place.naming(error, at: node.position)
    }
  }

  func check(_ weights: [Double]?, _ count: Int) throws(GraftError) {
    guard let weights, weights.count != count else { return }
    throw fault(
      "weights has another number of entries than of", in: "weights", expected: "\(count)",
      found: "\(weights.count)")
  }

  /// How a new leaf's elements are chosen: a name, or a name with its parameters.
  mutating func initializer(_ key: String) throws(GraftError) -> Initializer {
    let node = try required(key)
    let (name, parameters): (String, RecipeNode?)
    switch node.value {
    case .scalar: (name, parameters) = (try text(node, key), nil)
    case .mapping(let members) where members.count == 1:
      (name, parameters) = (members[0].key, members[0].value)
    default: throw wrong(key, node, expected: "an initializer, {truncated_normal: {stddev: 0.02, seed: 7}}")
    }
    guard let read = Self.initializers[name] else {
      throw place.fault(
        "there is no initializer \(RecipePlace.shown(name))", at: node.position,
        expected: "one of \(Self.initializers.keys.sorted().joined(separator: ", "))",
        remedy: NearName.suggestion(for: name, among: Self.initializers.keys))
    }
    var fields = try RecipeFields(
      parameters ?? RecipeNode(value: .mapping([]), position: node.position), place,
      subject: "the initializer \(name)", shorthand: name == "constant" ? "value" : nil)
    let initializer = try read(&fields)
    try fields.finish()
    return initializer
  }

  private mutating func seed() throws(GraftError) -> UInt64 {
    let seed = try requiredInteger("seed")
    guard seed >= 0 else { throw fault("a seed is not negative", in: "seed", found: "\(seed)") }
    return UInt64(seed)
  }

  private static func scaling(
    _ make: @escaping @Sendable (UInt64) -> Initializer
  ) -> @Sendable (inout RecipeFields) throws(GraftError) -> Initializer {
    { (fields) throws(GraftError) in make(try fields.seed()) }
  }

  private static let initializers:
    [String: @Sendable (inout RecipeFields) throws(GraftError) -> Initializer] = [
      "zeros": { (_) throws(GraftError) in .zeros },
      "ones": { (_) throws(GraftError) in .ones },
      "identity": { (_) throws(GraftError) in .identity },
      "constant": { (fields) throws(GraftError) in .constant(try fields.requiredNumber("value")) },
      "uniform": { (fields) throws(GraftError) in
        .uniform(
          lower: try fields.number("lower", default: 0), upper: try fields.number("upper", default: 0.01),
          seed: try fields.seed())
      },
      "normal": { (fields) throws(GraftError) in
        .normal(
          mean: try fields.number("mean", default: 0), stddev: try fields.number("stddev", default: 0.01),
          seed: try fields.seed())
      },
      "truncated_normal": { (fields) throws(GraftError) in
        .truncatedNormal(stddev: try fields.number("stddev", default: 0.01), seed: try fields.seed())
      },
      "variance_scaling": { (fields) throws(GraftError) in
        let mode = try fields.choice(
          "mode",
          [
            ("fan_in", Initializer.FanMode.fanIn), ("fan_out", .fanOut), ("fan_avg", .fanAverage),
          ])
        guard let mode else { throw fields.missing("mode") }
        let distribution = try fields.choice(
          "distribution",
          [
            ("normal", Initializer.ScaledDistribution.normal), ("truncated_normal", .truncatedNormal),
            ("uniform", .uniform),
          ])
        guard let distribution else { throw fields.missing("distribution") }
        return .varianceScaling(
          scale: try fields.requiredNumber("scale"), mode: mode, distribution: distribution,
          seed: try fields.seed())
      },
      "glorot_uniform": scaling { .glorotUniform(seed: $0) },
      "glorot_normal": scaling { .glorotNormal(seed: $0) },
      "he_uniform": scaling { .heUniform(seed: $0) },
      "he_normal": scaling { .heNormal(seed: $0) },
      "lecun_uniform": scaling { .lecunUniform(seed: $0) },
      "lecun_normal": scaling { .lecunNormal(seed: $0) },
    ]
}
