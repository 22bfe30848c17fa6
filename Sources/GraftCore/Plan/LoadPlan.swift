internal import OrderedCollections

/// A target held against a checkpoint: the plan that fills it, and what becomes of every leaf.
package struct LoadPlan: Sendable {
  /// What stands at a leaf of the result's tree.
  package enum Outcome: Sendable {
    /// The plan's result of this index.
    case read(Int)
    /// A string, which was in the metadata.
    case string(String)
    /// Nothing was asked for.
    case placeholder
    /// The checkpoint lacks the leaf and the target gave this tensor to keep.
    case kept(Tensor)
  }

  /// The result's tree, with the target's kinds of nodes.
  package var tree: Tree<Outcome>
  /// The reads.
  package var plan: Plan
  /// Leaves of the checkpoint that the target did not mention, each with its logical bytes.
  package var omitted: [(path: TreePath, byteCount: Int)] = []
  /// Leaves of the checkpoint whose target was a placeholder, each with its logical bytes.
  package var placeholders: [(path: TreePath, byteCount: Int)] = []
}

extension LoadPlan {
  /// Holds a target against a checkpoint's tree and plans the reads.
  ///
  /// Structure, shapes and dtypes must agree; every disagreement is found and all are thrown together. With `partial`, leaves
  /// that the target does not mention are omitted, and a leaf of the target may stand for a whole subtree.
  ///
  /// - Throws: ``GraftError`` whose `others` hold all further disagreements, at most 1,000.
  package init(_ target: Tree<Target>, from catalog: Catalog, partial: Bool) throws(GraftError) {
    try target.validate()
    var resolver = Resolver(partial: partial, tree: catalog.tree)
    resolver.planner.addFiles(catalog.files)
    let tree = resolver.resolve(target, catalog.tree, at: .root)
    if var first = resolver.errors.first {
      first.others = Array(resolver.errors.dropFirst())
      throw first
    }
    self.init(
      tree: tree, plan: resolver.planner.plan(), omitted: resolver.omitted,
      placeholders: resolver.placeholders)
  }
}

/// Walks a target and a checkpoint's tree side by side.
///
/// docs/partial-loading.md has the table of what agrees with what; each of its rows is one branch here.
private struct Resolver {
  typealias Outcome = LoadPlan.Outcome

  /// How many disagreements are kept; nobody reads more, and a wrong target may have a million.
  static let errorLimit = 1_000

  var partial: Bool
  /// The whole checkpoint, for finding near names.
  var tree: Tree<StoredLeaf>
  var planner = Planner()
  var errors: [GraftError] = []
  var omitted: [(path: TreePath, byteCount: Int)] = []
  var placeholders: [(path: TreePath, byteCount: Int)] = []

  mutating func resolve(_ target: Tree<Target>, _ stored: Tree<StoredLeaf>, at path: TreePath) -> Tree<
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

  private mutating func resolveLeaf(_ target: Target, _ stored: StoredLeaf, at path: TreePath) -> Tree<
    Outcome
  > {
    if target.isPlaceholder {
      placeholders.append((path, stored.byteCount))
      return .leaf(.placeholder)
    }
    switch stored {
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
    case .tensor(let spec, let layout, _):
      do throws(GraftError) {
        if target.expected != nil {
          let shape = try target.slice?.resolved(for: spec.shape).shape ?? spec.shape
          try check(TensorSpec(spec.dtype, shape), against: target.expected, at: path)
        }
        return .leaf(.read(try planner.add(path, spec, layout, slice: target.slice)))
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
        .dtypeMismatch, "the leaf is a tensor, not a string", leaf: path, expected: "a string",
        found: "\(found)",
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
    _ target: Target, overSubtree stored: Tree<StoredLeaf>, at path: TreePath
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
    _ targets: Tree<Target>.Fields, _ children: Tree<StoredLeaf>.Fields, at path: TreePath
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
    _ targets: [Tree<Target>], _ children: [Tree<StoredLeaf>], at path: TreePath, kind: NodeKind
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

  private mutating func omit(_ stored: Tree<StoredLeaf>, at path: TreePath) {
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
      if let tensor = wanted.fallback { return .leaf(.kept(tensor)) }
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
            ?? "drop it from the target, or give it a value to keep with .keep(tensor)"))
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

extension StoredLeaf {
  /// The bytes that the leaf takes in memory.
  package var byteCount: Int {
    switch self {
    case .tensor(let spec, _, _): spec.byteCount
    case .string(let text): text.utf8.count
    }
  }
}

extension Tree {
  /// How a message calls this node: `a leaf`, `an empty node`, `a dictionary of 3 children`.
  var nodeName: String {
    switch kind {
    case .leaf: "a leaf"
    case .empty: "an empty node"
    case .fault: "a fault"
    default:
      childCount == 1 ? "a \(kind.rawValue) of 1 child" : "a \(kind.rawValue) of \(childCount) children"
    }
  }
}
