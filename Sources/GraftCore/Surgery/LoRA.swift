/// What the product of a low-rank adapter's factors is multiplied with.
public enum LoRAScale: Hashable, Sendable, ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral {
  /// This number.
  case factor(Double)
  /// This `alpha` divided by the rank of the factors, as PEFT does it.
  case alpha(Double)
  /// This `alpha` divided by the square root of the rank, as PEFT does it with `use_rslora`.
  case alphaByRootOfRank(Double)

  /// The number itself.
  public init(floatLiteral value: Double) { self = .factor(value) }
  /// The number itself.
  public init(integerLiteral value: Int) { self = .factor(Double(value)) }

  func factor(rank: Int) -> Double {
    switch self {
    case .factor(let factor): factor
    case .alpha(let alpha): alpha / Double(rank)
    case .alphaByRootOfRank(let alpha): alpha / Double(rank).squareRoot()
    }
  }
}

extension Tree where Leaf == LazyLeaf {
  /// The tree with a low-rank adapter folded into its weights: `weight + scale * (lora_B @ lora_A)`.
  ///
  /// The adapter's leaves are named as PEFT names them, `base_model.model.X.lora_A.weight` and `….lora_B.weight`, with or without
  /// that prefix and an adapter's name after `lora_A`. They are for the weight `X/weight`, or `X` where that is a leaf; names with
  /// dots are found in trees and trees in names with dots. Each leaf of the adapter must find its weight, and the other factor.
  /// What is no factor is a fault, so drop what is known not to matter. See ``LazyTensor/folding(down:up:scale:)`` for
  /// how it is computed.
  ///
  /// - Parameters:
  ///   - adapter: the adapter's tree.
  ///   - scale: what products are multiplied with; an adapter's file does not have it, but its configuration does: see
  ///     ``foldingLoRA(_:configuration:renaming:file:line:)``.
  ///   - rules: how the weights' paths are renamed before they are looked up, where this tree has other names than the model that
  ///     the adapter was trained for; a rule may concern nothing.
  ///   - transposed: whether weights are stored as columns × rows (`fan_in_fan_out`).
  public func foldingLoRA(
    _ adapter: Tree, scale: LoRAScale, renaming rules: [RenameRule] = [], transposed: Bool = false,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    foldingLoRA(
      LoRAFolding(adapter: adapter, rules: rules, isTransposed: transposed) { _ in scale }, file, line)
  }

  /// The tree with a low-rank adapter folded into its weights as the adapter's configuration says it.
  ///
  /// - Parameters:
  ///   - adapter: the adapter's tree, with names as for ``foldingLoRA(_:scale:renaming:transposed:file:line:)``.
  ///   - configuration: what products are multiplied with, and whether weights are transposed.
  ///   - rules: how the weights' paths are renamed before they are looked up. The configuration's expressions are for the
  ///     adapter's own names.
  public func foldingLoRA(
    _ adapter: Tree, configuration: LoRAConfiguration, renaming rules: [RenameRule] = [],
    file: StaticString = #fileID, line: UInt = #line
  ) -> Tree {
    foldingLoRA(
      LoRAFolding(adapter: adapter, rules: rules, isTransposed: configuration.isTransposed) {
        configuration.scale(of: $0.map(\.string).joined(separator: "."))
      }, file, line)
  }

  private func foldingLoRA(_ folding: LoRAFolding, _ file: StaticString, _ line: UInt) -> Tree {
    let adapter = folding.adapter
    if kind == .fault { return self }
    if adapter.kind == .fault { return adapter }
    do throws(GraftError) {
      var table = LeafTable(self)
      try folding.fold(&table) { $0.during("foldingLoRA", file, line) }
      return try table.tree()
    } catch {
      return .fault(error.during("foldingLoRA", file, line))
    }
  }
}

/// An adapter on its way into a tree.
private struct LoRAFolding {
  let adapter: Tree<LazyLeaf>
  let rules: [RenameRule]
  let isTransposed: Bool
  /// What the product for a module is multiplied with.
  let scale: ([Key]) -> LoRAScale

  /// The two factors of a weight.
  private struct Pair {
    var module: [Key]
    var down: (path: TreePath, tensor: LazyTensor)?
    var up: (path: TreePath, tensor: LazyTensor)?
  }

  func fold(_ table: inout LeafTable, _ mark: @escaping (GraftError) -> GraftError) throws(GraftError) {
    try adapter.validate()
    var faults: [GraftError] = []
    var pairs: [[Key]: Pair] = [:]
    var order: [[Key]] = []
    adapter.forEachLeaf { path, leaf in
      guard case .tensor(let tensor) = leaf, let (module, isDown) = Self.factor(path) else {
        faults.append(Self.noFactor(path))
        return
      }
      if pairs[module] == nil { order.append(module) }
      var pair = pairs[module] ?? Pair(module: module)
      if (isDown ? pair.down : pair.up) != nil {
        faults.append(
          GraftError(
            .collision, "the adapter has two factors for one weight", leaf: path,
            remedy: "keep the factors of one adapter alone"))
      }
      if isDown { pair.down = (path, tensor) } else { pair.up = (path, tensor) }
      pairs[module] = pair
    }
    if order.isEmpty, faults.isEmpty {
      throw GraftError(
        .leafNotFound, "the adapter has no factors", expected: "leaves such as X/lora_A/weight")
    }
    let paths = try self.paths(order)
    let positions = table.leafPositions()
    let step = SurgeryStep(operation: .rename([]), mark: mark)
    for (module, path) in zip(order, paths) {
      guard let pair = pairs[module] else { continue }
      guard let down = pair.down, let up = pair.up else {
        let present = pair.down ?? pair.up
        faults.append(
          GraftError(
            .leafNotFound, "the adapter has one factor of a weight alone", leaf: present?.path,
            expected: "both lora_A and lora_B"))
        continue
      }
      guard let index = Self.candidates(path).lazy.compactMap({ positions[$0] }).first,
        let weight = table.entries[index].tensor
      else {
        var fault = table.absence(of: path)
        fault.message = "the adapter has factors for a weight that the tree does not have: \(path)"
        fault.leaf = down.path
        faults.append(fault)
        continue
      }
      table.replace(
        index,
        with: step.making(at: table.entries[index].path) { () throws(GraftError) in
          let factor = scale(module).factor(rank: down.tensor.shape.extents.first ?? 1)
          guard isTransposed else {
            return try weight.folding(down: down.tensor, up: up.tensor, scale: factor)
          }
          return try weight.folding(
            down: up.tensor.transposed(), up: down.tensor.transposed(), scale: factor)
        })
    }
    try SurgeryStep.throwAll(faults)
  }

  /// The module that a factor is for, and whether it is the one that is applied first; nil for what is no factor.
  private static func factor(_ path: TreePath) -> (module: [Key], isDown: Bool)? {
    var keys = path.keys.flatMap {
      $0.string.split(separator: ".", omittingEmptySubsequences: false).map { Key(String($0)) }
    }
    if keys.last == "weight" { keys.removeLast() }
    guard let position = keys.lastIndex(where: { $0 == "lora_A" || $0 == "lora_B" }),
      // What comes after is the adapter's name, if anything.
      keys.count - position <= 2, position > 0
    else { return nil }
    let isDown = keys[position] == "lora_A"
    var module = Array(keys[..<position])
    if module.starts(with: ["base_model", "model"]) { module.removeFirst(2) }
    return module.isEmpty ? nil : (module, isDown)
  }

  private static func noFactor(_ path: TreePath) -> GraftError {
    let isMagnitude = path.description.contains("lora_magnitude_vector")
    return GraftError(
      isMagnitude ? .unsupported : .structureMismatch,
      isMagnitude ? "the adapter is of DoRA, which is not folded" : "a leaf of the adapter is no factor",
      leaf: path, expected: "a tensor X/lora_A/weight or X/lora_B/weight",
      remedy: isMagnitude
        ? nil : "drop it from the adapter if it does not matter, or merge it into the tree yourself")
  }

  /// The paths of the weights of these modules, after the rules.
  private func paths(_ modules: [[Key]]) throws(GraftError) -> [TreePath] {
    var paths = modules.map { TreePath($0 + ["weight"]) }
    for rule in rules {
      try rule.replacement.check(against: rule.pattern, allowsIndex: false)
      let texts = paths.map { Array($0.description.utf8) }
      try rule.pattern.checkLength(texts.lazy.map(\.count).max() ?? 0)
      var matcher = PathRegexMatcher(rule.pattern)
      let step = SurgeryStep(operation: .rename(rules)) { $0 }
      for (index, text) in texts.enumerated() {
        guard let renamed = matcher.replacing(text.span, by: rule.replacement) else { continue }
        paths[index] = try step.path(renamed, from: paths[index])
      }
    }
    return paths
  }

  /// Where the weight of this path may be: in a tree or under a name with dots, with `weight` at the end or without.
  private static func candidates(_ path: TreePath) -> [TreePath] {
    var candidates = [path]
    if path.last == "weight" { candidates.append(TreePath(Array(path.keys.dropLast()))) }
    return candidates
      + candidates.map { TreePath([Key($0.keys.map(\.string).joined(separator: "."))]) }
  }
}
