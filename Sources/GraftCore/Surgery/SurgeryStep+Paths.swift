// Steps that give leaves other paths, or take them out, and do nothing to their elements. Empty nodes are renamed with the leaves
// beside them, so that a structure stays whole.

extension SurgeryStep {
  func rename(
    _ table: inout LeafTable, _ rules: [RenameRule], simultaneously: Bool
  ) throws(GraftError) -> Int {
    let printed = table.printedPaths()
    /// What paths have become that are not as they were.
    var texts = [[UInt8]?](repeating: nil, count: table.entries.count)
    var longest = printed.longest
    var unused: [GraftError] = []
    for rule in rules {
      try rule.replacement.check(against: rule.pattern, allowsIndex: false)
      try rule.pattern.checkLength(longest)
      var matcher = PathRegexMatcher(rule.pattern)
      var isUsed = false
      for index in texts.indices where !(simultaneously && texts[index] != nil) {
        let renamed =
          if let text = texts[index] {
            matcher.replacing(text.span, by: rule.replacement)
          } else {
            matcher.replacing(printed.bytes.span.extracting(printed[index]), by: rule.replacement)
          }
        guard let text = renamed else { continue }
        guard text.count <= Self.pathByteLimit else {
          throw GraftError(
            .limitExceeded, "the new path would be too long", leaf: table.entries[index].path,
            expected: "at most \(Self.pathByteLimit) bytes")
        }
        longest = Swift.max(longest, text.count)
        texts[index] = text
        isUsed = true
      }
      if !isUsed, !operation.isOptional {
        unused.append(
          GraftError(
            .leafNotFound,
            "the rule '\(TreePath.printable(rule.pattern.text))' concerns no leaf",
            found: table.entries.first.map { "\(table.entries.count) leaves, the first of them \($0.path)" },
            remedy: "correct the rule, or make the step optional"))
      }
    }
    try Self.throwAll(unused)
    let entries = table.entries
    var count = 0
    try table.rename { (index) throws(GraftError) in
      guard let text = texts[index] else { return nil }
      count += 1
      return try path(text, from: entries[index].path)
    }
    return count
  }

  /// The longest path that a rule may make; replacing every occurrence may multiply a text's length with each rule.
  private static var pathByteLimit: Int { 1 << 20 }

  func move(
    _ table: inout LeafTable, _ moves: [TreeMove], _ containers: ContainerKinds
  ) throws(GraftError) -> Int {
    var targets: [TreePath: TreePath] = [:]
    for move in moves {
      guard targets.updateValue(move.target, forKey: move.source) == nil else {
        throw GraftError(.invalidArgument, "\(move.source) is moved twice", leaf: move.source)
      }
    }
    // The longest source that a path begins with counts: a part of what is moved may go elsewhere.
    let lengths = Set(moves.map(\.source.keys.count)).sorted(by: >)
    var used: Set<TreePath> = []
    var count = 0
    let entries = table.entries
    try table.rename { (index) throws(GraftError) in
      let keys = entries[index].path.keys
      for length in lengths where length <= keys.count {
        let source = TreePath(Array(keys[..<length]))
        guard let target = targets[source] else { continue }
        used.insert(source)
        count += 1
        return TreePath(target.keys + keys[length...])
      }
      return nil
    }
    table.addContainers(containers)
    if !operation.isOptional {
      try Self.throwAll(moves.filter { !used.contains($0.source) }.map { table.absence(of: $0.source) })
    }
    return count
  }

  func nest(_ table: inout LeafTable, under prefix: TreePath) throws(GraftError) -> Int {
    let entries = table.entries
    try table.rename { TreePath(prefix.keys + entries[$0].path.keys) }
    return table.entries.count
  }

  func unnest(_ table: inout LeafTable, from prefix: TreePath) throws(GraftError) -> Int {
    let isPrefixed = table.entries.map { $0.path.keys.starts(with: prefix.keys) }
    if !isPrefixed.contains(true) { return 0 }
    guard let outside = isPrefixed.firstIndex(of: false) else {
      let entries = table.entries
      try table.rename { TreePath(Array(entries[$0].path.keys.dropFirst(prefix.keys.count))) }
      return table.entries.count
    }
    throw GraftError(
      .structureMismatch, "a leaf does not lie below \(prefix)", leaf: table.entries[outside].path,
      remedy: "drop it first, or move \(prefix) to the root with a move")
  }

  func flatten(_ table: inout LeafTable, _ separator: String) throws(GraftError) -> Int {
    let entries = table.entries
    try table.rename { index in
      let keys = entries[index].path.keys
      return keys.count > 1 ? TreePath([Key(keys.map(\.string).joined(separator: separator))]) : nil
    }
    return table.entries.count
  }

  func unflatten(
    _ table: inout LeafTable, _ separator: String, makesLists: Bool
  ) throws(GraftError) -> Int {
    guard !separator.isEmpty else {
      throw GraftError(.invalidArgument, "the separator of unflatten is empty")
    }
    let old = makesLists ? Set(table.entries.flatMap { $0.path.ancestors }) : []
    let splitter = Array(separator.utf8)
    var count = 0
    let entries = table.entries
    try table.rename { index in
      let keys = entries[index].path.keys
      let parts = keys.flatMap { $0.split(at: splitter) }
      if parts.count == keys.count { return nil }
      count += 1
      return TreePath(parts)
    }
    if makesLists { makeLists(&table, except: old) }
    return count
  }

  /// Makes lists of containers whose keys are 0, 1, 2 and so on, of those that are new.
  private func makeLists(_ table: inout LeafTable, except old: Set<TreePath>) {
    var keys: [TreePath: Set<Key>] = [:]
    for entry in table.entries {
      for ancestor in entry.path.ancestors where !old.contains(ancestor) {
        keys[ancestor, default: []].insert(entry.path.keys[ancestor.keys.count])
      }
    }
    var lists = ContainerKinds()
    for (path, keys) in keys where keys.allSatisfy({ $0.index.map { $0 < keys.count } ?? false }) {
      lists.kinds[path] = .list(keys.count)
    }
    table.addContainers(lists)
  }

  func drop(_ table: inout LeafTable, _ pattern: LeafPattern) throws(GraftError) -> Int {
    let indices = try table.indices(pattern)
    var isRemoved = [Bool](repeating: false, count: table.entries.count)
    for index in indices { isRemoved[index] = true }
    table.exchange(isRemoved, for: [])
    return indices.count
  }

  func keep(_ table: inout LeafTable, _ pattern: LeafPattern) throws(GraftError) -> Int {
    let kept = Set(try table.indices(pattern))
    if kept.isEmpty { return 0 }
    // Empty nodes stay where the pattern names them; faults stay anyway, to be reported.
    let isRemoved = table.entries.indices.map { index in
      let entry = table.entries[index]
      if entry.isLeaf { return !kept.contains(index) }
      if entry.node.kind == .fault { return false }
      guard case .glob(let glob) = pattern else { return true }
      return !glob.selects(entry.path)
    }
    table.exchange(isRemoved, for: [])
    return kept.count
  }
}

extension TreePath {
  /// The paths of the nodes above, the root first.
  fileprivate var ancestors: [TreePath] { keys.indices.map { TreePath(Array(keys[..<$0])) } }
}

extension Key {
  /// The keys that a separator in the text parts; the key itself where there is none.
  fileprivate func split(at separator: [UInt8]) -> [Key] {
    let bytes = Array(string.utf8)
    var parts: [Key] = []
    var (first, position) = (0, 0)
    while position + separator.count <= bytes.count {
      if bytes[position] == separator[0], bytes[position...].starts(with: separator) {
        parts.append(Key(String(decoding: bytes[first..<position], as: UTF8.self)))
        position += separator.count
        first = position
      } else {
        position += 1
      }
    }
    if parts.isEmpty { return [self] }
    return parts + [Key(String(decoding: bytes[first...], as: UTF8.self))]
  }
}

extension PathRegexMatcher {
  /// The text with every occurrence replaced, as Python's `re.sub` does it; nil where there is none.
  mutating func replacing(_ text: Span<UInt8>, by template: PathTemplate) -> [UInt8]? {
    var result: [UInt8] = []
    var position = 0
    var isFound = false
    while position <= text.count, search(text, from: position), let match = capture(0) {
      isFound = true
      text.append(position..<match.lowerBound, to: &result)
      template.append(self, of: text, to: &result)
      position = match.upperBound
      if match.isEmpty {
        // An empty match takes the next scalar along, so that the search goes on.
        let end = position < text.count ? position + Self.width(text[position]) : position + 1
        if position < text.count { text.append(position..<end, to: &result) }
        position = end
      }
    }
    guard isFound else { return nil }
    if position < text.count { text.append(position..<text.count, to: &result) }
    return result
  }
}
