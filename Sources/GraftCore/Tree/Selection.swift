/// Which leaves of a tree are wanted: rules that select or drop what a pattern selects, of which later ones win.
///
/// Without rules everything is wanted. A selection that begins by selecting starts from nothing, one that begins by
/// dropping starts from everything.
public struct Selection: Hashable, Sendable {
  /// One rule.
  public struct Rule: Hashable, Sendable {
    /// What a rule does to what its pattern selects.
    public enum Effect: String, Hashable, Sendable {
      /// It becomes wanted.
      case select
      /// It is no longer wanted.
      case drop
    }

    /// What the rule does.
    public var effect: Effect
    /// To which paths, and everything below them.
    public var pattern: PathPattern

    /// A rule.
    public init(_ effect: Effect, _ pattern: PathPattern) {
      self.effect = effect
      self.pattern = pattern
    }

    /// A rule by which what the pattern selects becomes wanted.
    public static func select(_ pattern: PathPattern) -> Rule { Rule(.select, pattern) }
    /// A rule by which what the pattern selects is no longer wanted.
    public static func drop(_ pattern: PathPattern) -> Rule { Rule(.drop, pattern) }
  }

  /// The rules, in the order in which they apply.
  public var rules: [Rule]

  /// A selection by these rules.
  public init(_ rules: [Rule] = []) { self.rules = rules }

  /// Whether a leaf at this path is wanted.
  public func selects(_ path: TreePath) -> Bool {
    verdict { $0.pattern.selects(path) }
  }

  private func verdict(matches: (Rule) -> Bool) -> Bool {
    if let last = rules.last(where: matches) { return last.effect == .select }
    return rules.first?.effect != .select
  }
}

extension Selection.Rule: CustomStringConvertible {
  /// `select params/**`, as an error names it.
  public var description: String { "\(effect.rawValue) \(pattern)" }
}

// MARK: - Applying

extension Tree {
  /// The part of the tree that is wanted, in the same containers.
  ///
  /// Dictionaries lose what is not wanted. In lists, tuples and named tuples it becomes ``empty`` instead, so that paths stay
  /// what they were. A container of which nothing is left goes too; faults stay, to be reported.
  ///
  /// - Throws: ``GraftError`` of code `leafNotFound` that names every rule which concerns nothing in the tree, and what it
  ///   may have meant: such a rule is nearly always a typing error.
  public func selecting(_ selection: Selection) throws(GraftError) -> Tree {
    if selection.rules.isEmpty { return self }
    var walk = SelectionWalk(selection)
    let rest = walk.filter(self, walk.start)
    try walk.check(against: self)
    return switch rest {
    case .same: self
    case .changed(let tree): tree
    case .nothing: [:]
    }
  }
}

/// Several patterns on their common way down a tree.
private struct SelectionWalk {
  enum Progress {
    case going(PathPattern.Progress)
    /// The pattern matched this node or one above it.
    case matched
  }

  let selection: Selection
  var ruleMatched: [Bool]

  init(_ selection: Selection) {
    self.selection = selection
    ruleMatched = [Bool](repeating: false, count: selection.rules.count)
  }

  var start: [Progress] { selection.rules.map { .going($0.pattern.start) } }

  /// What is wanted of a node.
  mutating func filter<Leaf>(_ tree: Tree<Leaf>, _ progress: [Progress]) -> Tree<Leaf>.Remainder {
    var progress = progress
    var isDecided = true
    for index in progress.indices {
      guard case .going(let going) = progress[index] else { continue }
      if going.isMatch {
        progress[index] = .matched
        ruleMatched[index] = true
      } else if going.isAlive {
        isDecided = false
      }
    }
    // Where no rule has anything more to say, the subtree is taken or left as a whole.
    if isDecided || tree.childCount == 0 {
      return isWanted(progress) ? .same : tree.faultsOnly
    }
    return tree.filteringChildren { key, child in
      filter(
        child,
        zip(progress, selection.rules).map { progress, rule in
          switch progress {
          case .matched: .matched
          case .going(let going): .going(rule.pattern.advance(going, over: key))
          }
        })
    }
  }

  private func isWanted(_ progress: [Progress]) -> Bool {
    for (progress, rule) in zip(progress, selection.rules).reversed() {
      if case .matched = progress { return rule.effect == .select }
    }
    return selection.rules.first?.effect != .select
  }

  func check<Leaf>(against tree: Tree<Leaf>) throws(GraftError) {
    var errors: [GraftError] = []
    for (rule, matched) in zip(selection.rules, ruleMatched) where !matched {
      errors.append(
        GraftError(
          .leafNotFound,
          "no leaf matches the pattern \(TreePath.printable(rule.pattern.text)) to \(rule.effect.rawValue)",
          remedy: Self.suggestion(for: rule.pattern, in: tree)))
    }
    guard var first = errors.first else { return }
    first.others = Array(errors.dropFirst())
    throw first
  }

  /// Names of nodes, with and without the path to them, that look like the pattern without its outer stars.
  private static func suggestion<Leaf>(for pattern: PathPattern, in tree: Tree<Leaf>) -> String? {
    var text = Substring(pattern.text)
    while text.hasPrefix("**/") { text = text.dropFirst(3) }
    while text.hasSuffix("/**") { text = text.dropLast(3) }
    while text.hasSuffix("/*") { text = text.dropLast(2) }
    var names: Set<String> = []
    tree.forEachNode { path, _ in
      guard names.count < 100_000 else { return }
      names.insert(path.description)
      if let last = path.last { names.insert(last.description) }
    }
    return NearName.suggestion(for: String(text), among: names)
  }
}
