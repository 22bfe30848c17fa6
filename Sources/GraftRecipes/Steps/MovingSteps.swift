internal import GraftCore

// Steps that change where leaves stand, and nothing about them.

extension RecipeStep {
  static let movingKinds: [String: Kind] = [
    "rename": Kind { (fields) throws(GraftError) in
      if fields.has("select") {
        let mapping = try fields.mapping(allowsIndex: false)
        return PlannedAction { (work) throws(GraftError) in
          let moves = mapping.nodes(in: work.tree).map {
            TreeMove(from: $0.path, to: mapping.target(of: $0.path))
          }
          return moves.isEmpty ? nil : .move(moves)
        }
      }
      let simultaneously = try fields.flag("simultaneously") ?? false
      if let rules = try fields.renameRules("rules") {
        return OperationAction(.rename(rules, simultaneously: simultaneously))
      }
      let rule = RenameRule(try fields.regex("pattern"), to: try fields.template("replacement"))
      return OperationAction(.rename([rule], simultaneously: simultaneously))
    },
    "move": Kind { (fields) throws(GraftError) in
      let move = TreeMove(from: try fields.requiredPath("from"), to: try fields.requiredPath("to"))
      return PlannedAction { (work) throws(GraftError) in
        work.tree.node(at: move.source) == nil ? nil : .move([move])
      }
    },
    "drop": Kind(shorthand: "select") { (fields) throws(GraftError) in
      OperationAction(.drop(try fields.leaves()))
    },
    "keep": Kind(shorthand: "select") { (fields) throws(GraftError) in
      OperationAction(.keep(try fields.leaves()))
    },
    "nest": Kind(shorthand: "under") { (fields) throws(GraftError) in
      OperationAction(.nest(under: try fields.requiredPath("under")))
    },
    "unnest": Kind(shorthand: "from") { (fields) throws(GraftError) in
      OperationAction(.unnest(from: try fields.requiredPath("from")))
    },
    "flatten": Kind(shorthand: "separator") { (fields) throws(GraftError) in
      OperationAction(.flatten(separator: try fields.text("separator") ?? "."))
    },
    "unflatten": Kind(shorthand: "separator") { (fields) throws(GraftError) in
      OperationAction(
        .unflatten(
          separator: try fields.text("separator") ?? ".", makingLists: try fields.flag("lists") ?? false))
    },
  ]
}

extension RecipeFields {
  /// A list of rules, each with a pattern and a replacement.
  mutating func renameRules(_ key: String) throws(GraftError) -> [RenameRule]? {
    guard let node = node(key) else { return nil }
    var rules: [RenameRule] = []
    for element in try list(node, key, of: "rules") {
      var rule = try RecipeFields(element, place, subject: "the rule")
      rules.append(RenameRule(try rule.regex("pattern"), to: try rule.template("replacement")))
      try rule.finish()
    }
    return rules
  }

  /// A glob in `select` and where what it selects goes in `to`.
  mutating func mapping(allowsIndex: Bool, requiresTarget: Bool = true) throws(GraftError) -> GlobMapping {
    let pattern = try requiredGlob("select")
    guard let node = node("to") else {
      if requiresTarget { throw missing("to") }
      return try identity(pattern)
    }
    let text = try text(node, "to")
    do throws(GraftError) {
      return try GlobMapping(pattern, to: text, allowsIndex: allowsIndex)
    } catch {
      throw place.naming(error, at: node.position)
    }
  }

  private func identity(_ pattern: PathPattern) throws(GraftError) -> GlobMapping { try GlobMapping(pattern) }
}

extension Tree where Leaf == LazyLeaf {
  /// The node at a path, nil where there is none; a lookup of what is absent would look for near names each time.
  func node(at path: TreePath) -> Tree? {
    var node = self
    for key in path.keys {
      guard node.hasChild(key) else { return nil }
      node = node[key]
    }
    return node
  }

  /// Puts a subtree at a path that is free, or into the dictionary that is there.
  ///
  /// - Throws: ``GraftError`` of code `collision` where there is a leaf already, unless that is to be replaced.
  mutating func insert(_ subtree: Tree, at path: TreePath, replacing: Bool) throws(GraftError) {
    var subtree = subtree
    if let existing = node(at: path), !existing.holdsNoValue || existing.childCount > 0 {
      // Merging checks paths below the node; its errors must say the whole.
      do throws(GraftError) {
        subtree = try existing.merging(subtree, overwrite: replacing)
      } catch {
        throw error.below(path, remedy: "drop what is there first, or add replace: true")
      }
    }
    self[at: path] = subtree
  }
}

extension GraftError {
  fileprivate func below(_ path: TreePath, remedy: String) -> GraftError {
    var error = self
    error.leaf = TreePath(path.keys + (leaf?.keys ?? []))
    if error.code == .collision { error.message = "the tree has a value at \(error.leaf ?? path) already" }
    error.remedy = remedy
    error.others = others.map { $0.below(path, remedy: remedy) }
    return error
  }
}
