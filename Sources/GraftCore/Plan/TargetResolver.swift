internal import OrderedCollections

/// A leaf of a tree that a target is held against.
protocol TargetedLeaf: Sendable {
  var targeted: Targeted { get }
  /// The bytes that the leaf takes in memory.
  var byteCount: Int { get }
}

/// What a target sees of a leaf.
enum Targeted {
  case tensor(TensorSpec)
  case string(String)
  /// Something that is not read.
  case unsupported(UnsupportedLeaf)
  /// Nothing: a place that was kept free already.
  case placeholder
}

/// Takes what a target wants of a tree.
protocol TargetCollector {
  associatedtype Leaf: TargetedLeaf

  /// Adds a tensor or a slice of it; the index that it has among the results.
  mutating func add(_ path: TreePath, _ leaf: Leaf, slice: TensorSlice?) throws(GraftError) -> Int
  /// Adds a tensor that is made; the index that it has among the results.
  mutating func add(_ path: TreePath, _ tensor: LazyTensor) throws(GraftError) -> Int
}

/// Walks a target and a tree side by side, and collects what is wanted.
///
/// docs/partial-loading.md has the table of what agrees with what; each of its rows is one branch here.
struct TargetResolver<Collector: TargetCollector> {
  typealias Outcome = LoadPlan.Outcome
  typealias Leaf = Collector.Leaf

  /// Holds the target against the tree.
  ///
  /// - Throws: ``GraftError`` whose `others` hold all further disagreements, at most 1,000.
  static func resolving(
    _ target: Tree<Target>, in tree: Tree<Leaf>, partial: Bool, collector: Collector
  ) throws(GraftError) -> (
    tree: Tree<Outcome>, collector: Collector, omitted: [(path: TreePath, byteCount: Int)],
    placeholders: [(path: TreePath, byteCount: Int)]
  ) {
    try target.validate()
    var resolver = TargetResolver(partial: partial, tree: tree, collector: collector)
    let resolved = resolver.resolve(target, tree, at: .root)
    if var first = resolver.errors.first {
      first.others = Array(resolver.errors.dropFirst())
      throw first
    }
    return (resolved, resolver.collector, resolver.omitted, resolver.placeholders)
  }

  /// How many disagreements are kept; nobody reads more, and a wrong target may have a million.
  private static var errorLimit: Int { 1_000 }

  private var partial: Bool
  /// The whole tree, for finding near names.
  private var tree: Tree<Leaf>
  private var collector: Collector
  private var errors: [GraftError] = []
  private var omitted: [(path: TreePath, byteCount: Int)] = []
  private var placeholders: [(path: TreePath, byteCount: Int)] = []

  private init(partial: Bool, tree: Tree<Leaf>, collector: Collector) {
    self.partial = partial
    self.tree = tree
    self.collector = collector
  }

  private mutating func resolve(_ target: Tree<Target>, _ stored: Tree<Leaf>, at path: TreePath) -> Tree<
    Outcome
  > {
    switch (target.node, stored.node) {
    case (.leaf(let wanted), .leaf(let leaf)):
      return resolveLeaf(wanted, leaf, at: path)
    case (.leaf(let wanted), _):
      return resolveLeaf(wanted, overSubtree: stored, at: path)
    case (.dictionary(let targets), .dictionary(let children)),
      (.dictionary(let targets), .namedTuple(_, let children)):
      return Tree(.dictionary(resolveFields(targets, children, at: path)))
    case (.namedTuple(let type, let targets), .dictionary(let children)),
      (.namedTuple(let type, let targets), .namedTuple(_, let children)):
      return Tree(.namedTuple(type: type, resolveFields(targets, children, at: path)))
    case (.list(let targets), .list(let children)), (.list(let targets), .tuple(let children)):
      return .list(resolveElements(targets, children, at: path, kind: target.kind))
    case (.tuple(let targets), .list(let children)), (.tuple(let targets), .tuple(let children)):
      return .tuple(resolveElements(targets, children, at: path, kind: target.kind))
    case (.empty, .empty): return .empty
    default:
      fail(
        GraftError(
          .structureMismatch, "the target has \(target.nodeName) where the checkpoint has \(stored.nodeName)",
          leaf: path,
          remedy: target.kind == .empty
            ? "ask for .placeholder to leave it out"
            : "print the checkpoint's tree, and give the target the same structure there"))
      return .empty
    }
  }

  private mutating func resolveLeaf(_ target: Target, _ stored: Leaf, at path: TreePath) -> Tree<
    Outcome
  > {
    if target.isPlaceholder {
      placeholders.append((path, stored.byteCount))
      return .leaf(.placeholder)
    }
    switch stored.targeted {
    case .unsupported(let leaf):
      fail(leaf.error(at: path))
      return .empty
    case .placeholder:
      fail(
        GraftError(
          .leafNotFound, "the transform leaves a free place where the target wants a leaf", leaf: path,
          expected: target.expected.map { "\($0)" },
          remedy: "give the place a tensor in the transform, or ask for .placeholder"))
      return .empty
    case .string(let text):
      if let expected = target.expected, expected != .string {
        fail(
          GraftError(
            .dtypeMismatch, "the leaf is a string, not a tensor", leaf: path, expected: "\(expected)",
            found: "a string",
            remedy: "ask for .stored"))
      } else if let slice = target.slice {
        fail(
          GraftError(
            .invalidArgument, "a string has no slice [\(slice)]", leaf: path, remedy: "ask for .stored"))
      }
      return .leaf(.string(text))
    case .tensor(let spec):
      do throws(GraftError) {
        if target.expected != nil {
          let shape = try target.slice?.resolved(for: spec.shape).shape ?? spec.shape
          try check(TensorSpec(spec.dtype, shape), against: target.expected, at: path)
        }
        return .leaf(.read(try collector.add(path, stored, slice: target.slice)))
      } catch {
        var error = error
        error.leaf = path
        fail(error)
        return .empty
      }
    }
  }

  private func check(_ found: TensorSpec, against expected: LeafSpec?, at path: TreePath) throws(GraftError) {
    guard let expected, expected != .tensor(found) else { return }
    guard let wanted = expected.tensor else {
      throw GraftError(
        .dtypeMismatch, "the leaf is a tensor", leaf: path,
        expected: expected == .string ? "a string" : "\(expected)", found: "\(found)",
        remedy: "ask for .stored")
    }
    if wanted.shape != found.shape {
      throw GraftError(
        .shapeMismatch, "the stored tensor has another shape than the target asks for", leaf: path,
        expected: "\(wanted)", found: "\(found)",
        remedy: "ask for the stored shape, or for a slice of it; tensors are never padded or cut silently")
    }
    throw GraftError(
      .dtypeMismatch, "the stored tensor has another dtype than the target asks for", leaf: path,
      expected: "\(wanted)", found: "\(found)",
      remedy: "ask for \(found.dtype); tensors are never cast silently")
  }

  private mutating func resolveLeaf(
    _ target: Target, overSubtree stored: Tree<Leaf>, at path: TreePath
  ) -> Tree<Outcome> {
    // A node without leaves has nothing to read or skip, so asking for it and leaving it out are the same.
    if stored.kind == .empty || stored.childCount == 0, target.expected == nil, target.slice == nil {
      return target.isPlaceholder ? .leaf(.placeholder) : stored.mapLeaves { _, _ in .empty }
    }
    let plain = target.expected == nil && target.slice == nil
    guard partial, plain else {
      let what = target.isPlaceholder ? "a placeholder" : "a leaf"
      fail(
        GraftError(
          .structureMismatch, "the target has \(what) where the checkpoint has \(stored.nodeName)",
          leaf: path,
          remedy: plain
            ? "pass partial: true to let it stand for the whole subtree, or mention each of its leaves"
            : "mention the leaves of the subtree"))
      return .empty
    }
    if target.isPlaceholder {
      stored.forEachLeaf { placeholders.append((TreePath(path.keys + $0.keys), $1.byteCount)) }
      return .leaf(.placeholder)
    }
    return stored.mapLeaves { resolveLeaf(target, $1, at: TreePath(path.keys + $0.keys)) }
  }

  private mutating func resolveFields(
    _ targets: Tree<Target>.Fields, _ children: Tree<Leaf>.Fields, at path: TreePath
  ) -> Tree<Outcome>.Fields {
    // Targets are mostly made of the checkpoint's own tree, so that keys come in the same order and none is looked up.
    if targets.count == children.count, zip(targets.keys, children.keys).allSatisfy({ $0 == $1 }) {
      var index = 0
      return targets.mapValues { target in
        defer { index += 1 }
        return resolve(target, children.values[index], at: path.appending(targets.keys[index]))
      }
    }
    var result: Tree<Outcome>.Fields = [:]
    result.reserveCapacity(targets.count)
    for (key, target) in targets {
      let childPath = path.appending(key)
      if let child = children[key] {
        result[key] = resolve(target, child, at: childPath)
      } else {
        result[key] = resolveAbsent(target, at: childPath, siblings: children.keys.lazy.map(\.string))
      }
    }
    // Comparing counts first spares a hundred thousand look-ups where nothing is omitted.
    if children.count != targets.count || !children.keys.allSatisfy({ targets[$0] != nil }) {
      for (key, child) in children where targets[key] == nil { omit(child, at: path.appending(key)) }
    }
    return result
  }

  private mutating func resolveElements(
    _ targets: [Tree<Target>], _ children: [Tree<Leaf>], at path: TreePath, kind: NodeKind
  ) -> [Tree<Outcome>] {
    guard targets.count == children.count else {
      fail(
        GraftError(
          .structureMismatch, "the target's \(kind.rawValue) has another length than the checkpoint's",
          leaf: path,
          expected: "\(targets.count) elements", found: "\(children.count)",
          remedy: "give the target \(children.count) elements, .placeholder for those that are not wanted"))
      return []
    }
    var result: [Tree<Outcome>] = []
    result.reserveCapacity(targets.count)
    for (index, target) in targets.enumerated() {
      result.append(resolve(target, children[index], at: path.appending(Key(index: index))))
    }
    return result
  }

  private mutating func omit(_ stored: Tree<Leaf>, at path: TreePath) {
    if partial {
      stored.forEachLeaf { omitted.append((TreePath(path.keys + $0.keys), $1.byteCount)) }
      return
    }
    fail(
      GraftError(
        .structureMismatch, "the checkpoint has \(stored.nodeName) that the target does not mention",
        leaf: path,
        remedy: "mention it as .placeholder, or pass partial: true to load only what the target mentions"))
  }

  /// A node of the target that the checkpoint lacks: each of its leaves needs a value to keep.
  private mutating func resolveAbsent(
    _ target: Tree<Target>, at path: TreePath, siblings: some Sequence<String>
  ) -> Tree<Outcome> {
    if target.kind != .leaf, target.childCount == 0 {
      if !partial {
        fail(
          GraftError(
            .structureMismatch, "the target has \(target.nodeName) that the checkpoint lacks", leaf: path,
            remedy: "drop it from the target, or pass partial: true"))
      }
      return target.mapLeaves { _, _ in .empty }
    }
    return target.mapLeaves { below, wanted in
      let leafPath = TreePath(path.keys + below.keys)
      switch wanted.fallback {
      case .tensor(let tensor)?: return .leaf(.kept(tensor))
      case .initializer(let spec, let initializer)?:
        do throws(GraftError) {
          let tensor = try LazyTensor.initialized(spec.shape, spec.dtype, initializer)
          return .leaf(.initialized(try collector.add(leafPath, tensor)))
        } catch {
          var error = error
          error.leaf = leafPath
          fail(error)
          return .empty
        }
      case nil: break
      }
      if wanted.isPlaceholder {
        if partial { return .leaf(.placeholder) }
        fail(
          GraftError(
            .leafNotFound, "the target has a placeholder for a leaf that the checkpoint lacks",
            leaf: leafPath,
            remedy: nearName(leafPath, siblings) ?? "drop it from the target, or pass partial: true"))
        return .empty
      }
      fail(
        GraftError(
          .leafNotFound, "the checkpoint has no such leaf", leaf: leafPath,
          remedy: nearName(leafPath, siblings)
            ?? "drop it from the target, or give it a value with .keep(tensor) or .initialized(shape, dtype, initializer)"
        ))
      return .empty
    }
  }

  private func nearName(_ path: TreePath, _ siblings: some Sequence<String>) -> String? {
    // Only the first few errors are ever read, and looking through a large checkpoint takes a while.
    guard errors.count < GraftError.printedOthersLimit else { return nil }
    return NearName.suggestion(for: path.last?.string ?? "", among: siblings)
      ?? NearName.suggestion(for: path.description, among: tree.leaves.lazy.map(\.path.description))
  }

  private mutating func fail(_ error: GraftError) {
    if errors.count < Self.errorLimit { errors.append(error) }
  }
}
