internal import GraftCore

/// A glob with captures and the template that new paths are made by: `blocks/**` to `layers/{index}/**`.
///
/// The wildcards `*` and `**` of the template stand for what those of the glob matched, in the same order. What a glob selects by
/// being above it keeps its place below the new path: `blocks` to `layers` takes `blocks/0/kernel` to `layers/0/kernel`.
struct GlobMapping: Sendable {
  let pattern: PathPattern
  /// The pattern without braces, once for each of their alternatives.
  private let alternatives: [[Segment]]
  private let template: [Segment]
  /// Whether the template says where the number of a part goes.
  let hasIndex: Bool

  /// What stands between two slashes.
  private enum Segment: Hashable, Sendable {
    case keys
    case key([Token])
  }

  private enum Token: Hashable, Sendable {
    case scalar(Unicode.Scalar)
    case any
    case star
    case index
  }

  /// What a wildcard matched.
  private enum Capture {
    case keys(ArraySlice<Key>)
    case text(Substring.UnicodeScalarView)
  }

  /// How many alternatives a pattern's braces may make.
  private static let alternativeLimit = 256

  /// The identity: what is selected keeps its path.
  ///
  /// - Throws: ``GraftError`` of code `limitExceeded` when the braces make too many patterns.
  init(_ pattern: PathPattern) throws(GraftError) { try self.init(pattern, to: nil, allowsIndex: false) }

  /// - Throws: ``GraftError`` of code `invalidArgument` when the template is malformed, or its wildcards are not the pattern's.
  init(_ pattern: PathPattern, to text: String?, allowsIndex: Bool) throws(GraftError) {
    self.pattern = pattern
    guard let text else {
      (alternatives, template, hasIndex) = ([], [], false)
      return
    }
    var template = try Self.segments(text, isTemplate: true)
    var alternatives: [[Segment]] = []
    // The root's path is no key.
    for alternative in try Self.expanding(pattern.text) {
      alternatives.append(
        alternative == TreePath.root.description ? [] : try Self.segments(alternative, isTemplate: false))
    }
    // Whoever writes `params/**` to `encoder/**`, or to `encoder`, means the node and all below it, which moves as one.
    if alternatives.allSatisfy({ $0.last == .keys }) {
      if template.last == .keys { template.removeLast() }
      for index in alternatives.indices { alternatives[index].removeLast() }
    }
    let wanted = Self.wildcards(of: template)
    for alternative in alternatives where Self.wildcards(of: alternative) != wanted {
      throw GraftError(
        .invalidArgument, "the wildcards of \(RecipePlace.shown(text)) are not those of the glob",
        expected: "\(Self.shown(Self.wildcards(of: alternative))), as in \(RecipePlace.shown(pattern.text))",
        found: Self.shown(wanted),
        remedy: "give both the same * and ** in the same order, or use pattern, a regular expression")
    }
    hasIndex = template.contains { if case .key(let tokens) = $0 { tokens.contains(.index) } else { false } }
    guard allowsIndex || !hasIndex else {
      throw GraftError(
        .invalidArgument, "{index} means nothing here", remedy: "a { that stands for itself is written \\{")
    }
    self.template = template
    self.alternatives = alternatives
  }

  /// What the pattern selects: the outermost nodes that it matches.
  func nodes(in tree: Tree<LazyLeaf>) -> [(path: TreePath, node: Tree<LazyLeaf>)] {
    var nodes: [(path: TreePath, node: Tree<LazyLeaf>)] = []
    collect(tree, at: .root, pattern.start, into: &nodes)
    return nodes
  }

  private func collect(
    _ tree: Tree<LazyLeaf>, at path: TreePath, _ progress: PathPattern.Progress,
    into nodes: inout [(path: TreePath, node: Tree<LazyLeaf>)]
  ) {
    if progress.isMatch {
      // An empty node has nothing that a step could take.
      if tree.leafCount > 0 { nodes.append((path, tree)) }
      return
    }
    guard progress.isAlive else { return }
    for (key, child) in tree.children {
      collect(child, at: path.appending(key), pattern.advance(progress, over: key), into: &nodes)
    }
  }

  /// The new path of a node that the pattern matches.
  ///
  /// - Parameter index: the number of a part, for a template that has a place for it.
  func target(of path: TreePath, index: Int? = nil) -> TreePath {
    if alternatives.isEmpty { return path }
    for alternative in alternatives {
      var match = Match(segments: alternative, keys: path.keys)
      if match.run() { return target(match.captures, index) }
    }
    return path
  }

  private func target(_ captures: [Capture], _ index: Int?) -> TreePath {
    var remaining = captures[...]
    var keys: [Key] = []
    for segment in template {
      switch segment {
      case .keys: if case .keys(let captured)? = remaining.popFirst() { keys += captured }
      case .key(let tokens):
        var text = String.UnicodeScalarView()
        for token in tokens {
          switch token {
          case .scalar(let scalar): text.append(scalar)
          case .star:
            if case .text(let captured)? = remaining.popFirst() { text.append(contentsOf: captured) }
          case .index: text.append(contentsOf: String(index ?? 0).unicodeScalars)
          case .any: break
          }
        }
        keys.append(Key(String(text)))
      }
    }
    return TreePath(keys)
  }
}

// MARK: - Matching

extension GlobMapping {
  /// One match of a pattern without braces; what failed once is not tried again, so the time is at most that of both lengths.
  private struct Match {
    let segments: [Segment]
    let keys: [Key]
    private(set) var captures: [Capture] = []
    private var failed: Set<Int> = []

    init(segments: [Segment], keys: [Key]) {
      self.segments = segments
      self.keys = keys
    }

    mutating func run() -> Bool { match(0, 0) }

    private mutating func match(_ segment: Int, _ key: Int) -> Bool {
      if segment == segments.count { return key == keys.count }
      let state = segment * (keys.count + 1) + key
      if failed.contains(state) { return false }
      let mark = captures.count
      switch segments[segment] {
      case .keys:
        for end in key...keys.count {
          captures.append(.keys(keys[key..<end]))
          if match(segment + 1, end) { return true }
          captures.removeSubrange(mark...)
        }
      case .key(let tokens):
        if key < keys.count, let texts = GlobMapping.match(tokens, keys[key].string) {
          captures += texts.map { .text($0) }
          if match(segment + 1, key + 1) { return true }
          captures.removeSubrange(mark...)
        }
      }
      failed.insert(state)
      return false
    }
  }

  /// What each star of a key's pattern matched, the first ones as little as possible; nil when the key does not match.
  private static func match(_ tokens: [Token], _ text: String) -> [Substring.UnicodeScalarView]? {
    let scalars = text.unicodeScalars
    var starts: [String.Index] = []
    var ends: [String.Index] = []
    var (token, position) = (0, scalars.startIndex)
    var star: (token: Int, position: String.Index)?
    while true {
      if token < tokens.count, tokens[token] == .star {
        starts.append(position)
        ends.append(position)
        star = (token, position)
        token += 1
        continue
      }
      if token == tokens.count, position == scalars.endIndex { break }
      if token < tokens.count, position < scalars.endIndex,
        tokens[token] == .any || tokens[token] == .scalar(scalars[position])
      {
        token += 1
        position = scalars.index(after: position)
        continue
      }
      // What came after the last star does not fit here: that star takes one more.
      guard let last = star, last.position < scalars.endIndex else { return nil }
      position = scalars.index(after: last.position)
      ends[ends.count - 1] = position
      star = (last.token, position)
      token = last.token + 1
    }
    return zip(starts, ends).map { scalars[$0..<$1] }
  }
}

// MARK: - Reading patterns

extension GlobMapping {
  private static func wildcards(of segments: [Segment]) -> [Bool] {
    segments.flatMap { segment -> [Bool] in
      switch segment {
      case .keys: [true]
      case .key(let tokens): tokens.filter { $0 == .star }.map { _ in false }
      }
    }
  }

  private static func shown(_ wildcards: [Bool]) -> String {
    wildcards.isEmpty ? "none" : wildcards.map { $0 ? "**" : "*" }.joined(separator: " and ")
  }

  /// The pattern with each choice of its alternatives, which the pattern itself was checked to have in order.
  private static func expanding(_ text: String) throws(GraftError) -> [String] {
    var finished: [String] = []
    var pending = [text]
    while let text = pending.popLast() {
      guard let alternatives = expandingFirst(text) else {
        finished.append(text)
        continue
      }
      guard finished.count + pending.count + alternatives.count <= alternativeLimit else {
        throw GraftError(
          .limitExceeded, "the braces of a glob make too many alternatives",
          expected: "at most \(alternativeLimit)")
      }
      pending += alternatives.reversed()
    }
    return finished
  }

  /// The pattern with each alternative of its first braces; nil when it has none.
  private static func expandingFirst(_ text: String) -> [String]? {
    let scalars = Array(text.unicodeScalars)
    func string(_ range: some Sequence<Unicode.Scalar>) -> String {
      var view = String.UnicodeScalarView()
      view.append(contentsOf: range)
      return String(view)
    }
    var (position, depth, opening) = (0, 0, 0)
    var parts: [Range<Int>] = []
    var start = 0
    while position < scalars.count {
      switch scalars[position] {
      case "\\":
        position += 1
        // The braces of `\u{…}` are no alternatives.
        if position < scalars.count, scalars[position] == "u" {
          while position < scalars.count, scalars[position] != "}" { position += 1 }
        }
      case "{":
        depth += 1
        if depth == 1 { (opening, start) = (position, position + 1) }
      case "," where depth == 1:
        parts.append(start..<position)
        start = position + 1
      case "}" where depth > 0:
        depth -= 1
        if depth == 0 {
          parts.append(start..<position)
          let (before, after) = (scalars[..<opening], scalars[(position + 1)...])
          return parts.map { string(before) + string(scalars[$0]) + string(after) }
        }
      default: break
      }
      position += 1
    }
    return nil
  }

  private static func segments(_ text: String, isTemplate: Bool) throws(GraftError) -> [Segment] {
    func malformed(_ why: String) -> GraftError {
      GraftError(.invalidArgument, "the path \(RecipePlace.shown(text)) is malformed: \(why)")
    }
    if text.isEmpty || text == TreePath.root.description { return [] }
    var segments: [Segment] = []
    var tokens: [Token] = []
    var scalars = text.unicodeScalars[...]
    var isEmptyKey = false
    func finish() throws(GraftError) {
      let stars = tokens.filter { $0 == .star }.count
      if tokens == [.star, .star] {
        segments.append(.keys)
      } else {
        if isTemplate, tokens.isEmpty, !isEmptyKey {
          throw malformed("a key is empty; the empty key is written \\e")
        }
        if zip(tokens, tokens.dropFirst()).contains(where: { $0 == .star && $1 == .star }), stars > 1 {
          throw malformed("** stands for whole keys")
        }
        segments.append(.key(tokens))
      }
      tokens = []
      isEmptyKey = false
    }
    while let scalar = scalars.popFirst() {
      switch scalar {
      case "/": try finish()
      case "*": tokens.append(.star)
      case "?" where !isTemplate: tokens.append(.any)
      case "{" where isTemplate:
        guard scalars.starts(with: "index}".unicodeScalars) else {
          throw malformed("braces have only {index} here; a { that stands for itself is written \\{")
        }
        scalars.removeFirst(6)
        tokens.append(.index)
      case "\\":
        guard let escaped = scalars.first else { throw malformed("it ends within an escape") }
        let length =
          escaped == "u"
          ? (scalars.firstIndex(of: "}").map { scalars.distance(from: scalars.startIndex, to: $0) + 1 } ?? 1)
          : 1
        let piece = "\\" + String(scalars.prefix(length))
        scalars.removeFirst(length)
        guard let path = TreePath(parsing: piece), let key = path.last else {
          throw malformed("an escape is unknown")
        }
        if escaped == "e" { isEmptyKey = true }
        tokens += key.string.unicodeScalars.map { .scalar($0) }
      default: tokens.append(.scalar(scalar))
      }
    }
    try finish()
    return segments
  }
}
