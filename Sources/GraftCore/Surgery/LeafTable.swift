internal import OrderedCollections

// Most steps of a surgery are about paths, not about containers. So a tree is taken apart into a table of its leaves, the step works
// on that, and the tree is put together again: in the order of the table, with lists and tuples where they were.

/// The leaves of a tree with their paths, and what the tree had besides.
struct LeafTable {
  /// A leaf, an empty node or container, or a fault.
  struct Entry {
    private(set) var path: TreePath
    fileprivate(set) var node: Tree<LazyLeaf> {
      didSet {
        isLeaf = Self.isLeaf(node)
        isReplaced = true
      }
    }
    /// Whether the node is another one than the table began with.
    fileprivate private(set) var isReplaced = false
    /// Which entry of the tree it was that the table was made of.
    fileprivate var position = 0
    /// Whether a step may concern it: a leaf, or one that is not read and can only go elsewhere.
    ///
    /// Asked of every entry by every step, so it is worked out once.
    private(set) var isLeaf: Bool
    /// Where it stood in the tree that the table was made of.
    private(set) var source: Source

    enum Source {
      /// Where it still stands.
      case path
      /// Elsewhere.
      case other(TreePath)
      /// Nowhere: it is new.
      case none
    }

    init(path: TreePath, node: Tree<LazyLeaf>, source: Source = .path) {
      self.path = path
      self.node = node
      self.source = source
      isLeaf = Self.isLeaf(node)
    }

    /// Gives the entry another path.
    mutating func move(to path: TreePath) {
      if case .path = source { source = .other(self.path) }
      self.path = path
    }

    private static func isLeaf(_ node: Tree<LazyLeaf>) -> Bool {
      switch node.node {
      case .leaf: true
      case .fault(let error): error.isUnreadLeaf
      case .dictionary, .list, .tuple, .namedTuple, .empty, .absent: false
      }
    }

    var tensor: LazyTensor? {
      if case .tensor(let tensor)? = node.leaf { tensor } else { nil }
    }
  }

  private(set) var entries: [Entry] = []
  /// The containers that are no dictionaries.
  private(set) var containers = ContainerKinds()
  /// The printed paths of the entries, made for the first pattern.
  private var printed: PrintedPaths?
  /// The tree that the table was made of; nil as soon as an entry stands where it did not stand in it.
  private var original: Tree<LazyLeaf>?

  init(_ tree: Tree<LazyLeaf>) {
    var keys: [Key] = []
    collect(tree, &keys)
    original = tree
  }

  /// `keys` are those down to the node.
  private mutating func collect(_ tree: Tree<LazyLeaf>, _ keys: inout [Key]) {
    switch tree.node {
    case _ where tree.childCount == 0:
      var entry = Entry(path: TreePath(copying: keys), node: tree)
      entry.position = entries.count
      entries.append(entry)
      return
    case .list(let elements): containers.kinds[TreePath(copying: keys)] = .list(elements.count)
    case .tuple(let elements): containers.kinds[TreePath(copying: keys)] = .tuple(elements.count)
    case .namedTuple(let type, let fields):
      containers.kinds[TreePath(copying: keys)] = .namedTuple(type: type, Array(fields.keys))
    case .dictionary, .leaf, .empty, .fault, .absent: break
    }
    tree.forEachChild { key, child in
      keys.append(key)
      defer { keys.removeLast() }
      collect(child, &keys)
    }
  }
}

// MARK: - Finding leaves

extension LeafTable {
  /// The printed path of each entry, as UTF-8.
  mutating func printedPaths() -> PrintedPaths {
    if let printed { return printed }
    var made = PrintedPaths()
    for index in entries.indices { made.append(entries[index].path) }
    printed = made
    return made
  }

  /// Calls `body` with every leaf whose whole printed path the expression matches.
  mutating func forEachMatch(
    of regex: PathRegex,
    _ body: (_ index: Int, _ text: Span<UInt8>, borrowing PathRegexMatcher) throws(GraftError) -> Void
  ) throws(GraftError) {
    let printed = printedPaths()
    try regex.checkLength(printed.longest)
    var matcher = PathRegexMatcher(regex)
    for index in entries.indices where entries[index].isLeaf {
      let text = printed.bytes.span.extracting(printed[index])
      if matcher.matchesWhole(text) { try body(index, text, matcher) }
    }
  }

  /// The indices of the leaves that a pattern names.
  ///
  /// - Throws: ``GraftError`` of code `leafNotFound` for a path at which there is no leaf.
  mutating func indices(_ pattern: LeafPattern) throws(GraftError) -> [Int] {
    switch pattern {
    case .glob(let glob):
      return entries.indices.filter { entries[$0].isLeaf && glob.selects(entries[$0].path) }
    case .regex(let regex):
      var found: [Int] = []
      try forEachMatch(of: regex) { (index, _, _) in found.append(index) }
      return found
    case .paths(let paths):
      let positions = leafPositions()
      var found: [Int] = []
      found.reserveCapacity(paths.count)
      for path in paths {
        guard let index = positions[path] else { throw absence(of: path) }
        found.append(index)
      }
      return found
    }
  }

  /// The leaves' positions by their paths.
  func leafPositions() -> [TreePath: Int] {
    var positions: [TreePath: Int] = [:]
    positions.reserveCapacity(entries.count)
    for index in entries.indices where entries[index].isLeaf { positions[entries[index].path] = index }
    return positions
  }

  /// The error for a path at which there is no leaf.
  func absence(of path: TreePath) -> GraftError {
    let names = entries.prefix(4096).map(\.path.description)
    return GraftError(
      .leafNotFound, "the tree has no leaf at \(path)", leaf: path,
      remedy: NearName.suggestion(for: path.description, among: names))
  }
}

extension PathRegex {
  /// Matching remembers a bit for each split and position, which must not become very many.
  fileprivate static let visitedBitLimit = 1 << 28

  /// Checks that a text of so many bytes can be matched.
  func checkLength(_ longest: Int) throws(GraftError) {
    guard (longest + 1) * splitCount <= Self.visitedBitLimit else {
      throw GraftError(
        .limitExceeded,
        "the regular expression '\(TreePath.printable(text))' is too large for a path of \(longest) bytes")
    }
  }
}

// MARK: - Paths as bytes

// A hundred thousand paths are printed and parsed by one step, and nearly all are plain.

/// What paths print as, one after the other in the same memory.
struct PrintedPaths {
  /// The UTF-8 of all of them.
  private(set) var bytes: [UInt8] = []
  /// The bytes of the longest.
  private(set) var longest = 0
  private var ends: [Int] = []

  /// Where in ``bytes`` a path is.
  subscript(index: Int) -> Range<Int> { (index == 0 ? 0 : ends[index - 1])..<ends[index] }

  mutating func append(_ path: TreePath) {
    let first = bytes.count
    if !appendPlainly(path) {
      bytes.removeSubrange(first...)
      bytes.append(contentsOf: path.description.utf8)
    }
    ends.append(bytes.count)
    longest = Swift.max(longest, bytes.count - first)
  }

  /// Appends the keys of a path as they are; whether nothing of them had to be escaped.
  private mutating func appendPlainly(_ path: TreePath) -> Bool {
    for (position, key) in path.keys.enumerated() {
      if position > 0 { bytes.append(UInt8(ascii: "/")) }
      let before = bytes.count
      bytes.append(contentsOf: key.string.utf8)
      if before == bytes.count || !bytes[before...].allSatisfy(TreePath.isPlain)
        || (bytes[before] == UInt8(ascii: "(") && key.string == TreePath.rootText)
      {
        return false
      }
    }
    return !path.keys.isEmpty
  }
}

extension Span<UInt8> {
  /// Some of the bytes.
  func array(_ range: Range<Int>) -> [UInt8] {
    var result: [UInt8] = []
    append(range, to: &result)
    return result
  }

  /// Appends some of the bytes to an array.
  func append(_ range: Range<Int>, to result: inout [UInt8]) {
    let part = extracting(range)
    result.reserveCapacity(result.count + part.count)
    for index in part.indices { result.append(part[index]) }
  }

  /// The number that some of the bytes are in decimal, digits alone; nil for anything else.
  func number(_ range: Range<Int>) -> Int? {
    var value = 0
    for index in range {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self[index]) else { return nil }
      let (tens, isTooLarge) = value.multipliedReportingOverflow(by: 10)
      let (sum, isAbove) = tens.addingReportingOverflow(Int(self[index] - UInt8(ascii: "0")))
      if isTooLarge || isAbove { return nil }
      value = sum
    }
    return range.isEmpty ? nil : value
  }
}

extension TreePath {
  /// The path that prints as these bytes, if nothing in it is escaped; nil where that takes a closer look.
  init?(plainlyPrinted bytes: [UInt8]) {
    // The root prints as a text in parentheses.
    guard let first = bytes.first, first != UInt8(ascii: "("), first != UInt8(ascii: "/"),
      bytes.allSatisfy({ Self.isPlain($0) || $0 == UInt8(ascii: "/") })
    else { return nil }
    var keys: [Key] = []
    var start = 0
    for position in bytes.indices where bytes[position] == UInt8(ascii: "/") {
      keys.append(Key(String(decoding: bytes[start..<position], as: UTF8.self)))
      start = position + 1
    }
    keys.append(Key(String(decoding: bytes[start...], as: UTF8.self)))
    self.init(keys)
  }

  fileprivate static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "/"), UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "{"), UInt8(ascii: "}"),
      UInt8(ascii: "\\"):
      false
    default: byte >= 0x20 && byte < 0x7F
    }
  }
}

// MARK: - Changing leaves

extension LeafTable {
  mutating func replace(_ index: Int, with node: Tree<LazyLeaf>) { entries[index].node = node }

  /// Gives entries new paths; those that have none are left as they are.
  mutating func rename(_ newPath: (Int) throws(GraftError) -> TreePath?) throws(GraftError) {
    var moved: [(from: TreePath, to: TreePath)] = []
    for index in entries.indices {
      guard let path = try newPath(index), path != entries[index].path else { continue }
      if !containers.kinds.isEmpty { moved.append((entries[index].path, path)) }
      entries[index].move(to: path)
      original = nil
    }
    printed = nil
    containers.follow(moved)
  }

  /// Takes some entries out and puts others in, each at the place of an old one.
  mutating func exchange(_ isRemoved: [Bool], for added: [(index: Int, Entry)]) {
    if !added.isEmpty { original = nil }
    printed = nil
    var result: [Entry] = []
    result.reserveCapacity(entries.count + added.count)
    var next = 0
    let added = added.sorted { $0.index < $1.index }
    for index in entries.indices {
      while next < added.count, added[next].index == index {
        result.append(added[next].1)
        next += 1
      }
      if !isRemoved[index] { result.append(entries[index]) }
    }
    entries = result
  }

  mutating func addContainers(_ more: ContainerKinds) {
    containers.kinds.merge(more.kinds) { old, _ in old }
    original = nil
  }
}

extension ContainerKinds {
  /// Containers whose leaves have gone elsewhere, with the keys below them unchanged, are there what they were here.
  fileprivate mutating func follow(_ moved: [(from: TreePath, to: TreePath)]) {
    let old = kinds
    for (from, to) in moved {
      var (before, after) = (from.keys[...], to.keys[...])
      while let last = before.last, last == after.last {
        before.removeLast()
        after.removeLast()
        guard let kind = old[TreePath(Array(before))] else { continue }
        let target = TreePath(Array(after))
        if kinds[target] == nil { kinds[target] = kind }
      }
    }
  }
}

// MARK: - Putting the tree together

extension LeafTable {
  /// The tree of the entries.
  ///
  /// - Throws: ``GraftError`` of code `collision` for two entries at one path, or one below another; `structureMismatch` where a
  ///   list or tuple has lost some of its elements to keys that it has no place for.
  func tree(limits: Limits = Limits()) throws(GraftError) -> Tree<LazyLeaf> {
    if let original {
      // Entries may have gone or have other values, but all stand where they stood: the containers around the others stay.
      var cursor = Cursor()
      switch remainder(of: original, &cursor) {
      case .same:
        var tree = original
        tree.origin = nil
        return tree
      case .changed(let tree): return tree
      case .nothing: break
      }
    }
    if entries.count == 1, entries[0].path == .root { return entries[0].node }
    let root = Branch()
    // Neighbours mostly share all but the last key, so the way to the last entry is kept.
    var way: [(key: Key, branch: Branch)] = []
    for position in entries.indices {
      // Entries are looked at where they are, here and elsewhere: copying a hundred thousand took a third of a step's time.
      let path = entries[position].path
      let keys = path.keys
      try Self.check(path, limits)
      guard let last = keys.last else {
        throw collision(entries[position], entries[position == 0 ? 1 : 0])
      }
      var depth = 0
      while depth < Swift.min(way.count, keys.count - 1), way[depth].key == keys[depth] { depth += 1 }
      way.removeSubrange(depth...)
      var branch = way.last?.branch ?? root
      while depth < keys.count - 1 {
        switch branch.children[keys[depth]] {
        case .branch(let next): branch = next
        case .entry(let other): throw collision(entries[position], entries[other])
        case nil:
          let next = Branch()
          branch.children[keys[depth]] = .branch(next)
          branch = next
        }
        way.append((keys[depth], branch))
        depth += 1
      }
      switch branch.children.updateValue(.entry(position), forKey: last) {
      case nil: break
      case .entry(let other): throw collision(entries[other], entries[position])
      case .branch(let below): throw collision(entries[position], entries[below.firstEntry])
      }
    }
    return try tree(root, at: .root)
  }

  /// How far a walk through the original tree has come.
  private struct Cursor {
    /// How many entries it has come by in the tree.
    var position = 0
    /// How many of them the table still has.
    var count = 0
  }

  /// What is left of a node of the original tree.
  private func remainder(of tree: Tree<LazyLeaf>, _ cursor: inout Cursor) -> Tree<LazyLeaf>.Remainder {
    if tree.childCount > 0 { return tree.filteringChildren { _, child in remainder(of: child, &cursor) } }
    defer { cursor.position += 1 }
    guard cursor.count < entries.count, entries[cursor.count].position == cursor.position else {
      return .nothing
    }
    defer { cursor.count += 1 }
    return entries[cursor.count].isReplaced ? .changed(entries[cursor.count].node) : .same
  }

  private static func check(_ path: TreePath, _ limits: Limits) throws(GraftError) {
    guard path.keys.count <= limits.nestingDepth else {
      throw GraftError(
        .limitExceeded, "a leaf would lie too deep", leaf: TreePath(Array(path.keys.prefix(8))),
        expected: "at most \(limits.nestingDepth) keys",
        found: "\(path.keys.count) keys, of which these are the first")
    }
    guard path.keys.allSatisfy({ $0.string.utf8.count <= limits.keyByteCount }) else {
      throw GraftError(
        .limitExceeded, "a key would be too long", expected: "at most \(limits.keyByteCount) bytes")
    }
  }

  private func collision(_ a: Entry, _ b: Entry) -> GraftError {
    func origin(_ entry: Entry) -> String {
      switch entry.source {
      case .other(let source) where source != entry.path: "\(source), which becomes \(entry.path)"
      case .path, .other: "\(entry.path)"
      case .none: "\(entry.path), which is new"
      }
    }
    let message =
      a.path == b.path
      ? "two leaves would stand at \(a.path)"
      : "a leaf would stand below another leaf"
    return GraftError(
      .collision, message, leaf: a.path, found: "\(origin(a)), and \(origin(b))",
      remedy: "rename or drop one of them first")
  }

  /// As deep as the paths are, whose length was checked.
  private func tree(_ branch: Branch, at path: TreePath) throws(GraftError) -> Tree<LazyLeaf> {
    var failure: GraftError?
    var position = 0
    // The keys are taken over with their hashes.
    let children = branch.children.mapValues { child -> Tree<LazyLeaf> in
      defer { position += 1 }
      switch child {
      case .entry(let index):
        var node = entries[index].node
        node.origin = nil
        return node
      case .branch(let below):
        if failure != nil { return .empty }
        do throws(GraftError) {
          // Paths are only needed to look containers up.
          return try tree(
            below,
            at: containers.kinds.isEmpty ? .root : path.appending(branch.children.keys[position]))
        } catch {
          failure = error
          return .empty
        }
      }
    }
    if let failure { throw failure }
    guard !containers.kinds.isEmpty, let kind = containers.kinds[path] else {
      return Tree(.dictionary(children))
    }
    return try kind.container(children, at: path)
  }

  private final class Branch {
    enum Child {
      case entry(Int)
      case branch(Branch)
    }
    var children: OrderedDictionary<Key, Child> = [:]

    /// Some entry below, to name in a collision.
    var firstEntry: Int {
      switch children.values.first {
      case .entry(let index): index
      case .branch(let branch): branch.firstEntry
      case nil: 0
      }
    }
  }
}

extension ContainerKinds.Kind {
  /// A container of this kind with these children, or a dictionary where none of the container's own keys is left.
  fileprivate func container(
    _ children: OrderedDictionary<Key, Tree<LazyLeaf>>, at path: TreePath
  ) throws(GraftError) -> Tree<LazyLeaf> {
    let ownKeys: [Key]
    switch self {
    case .list(let count):
      // A list may have got more elements.
      let indices = children.keys.compactMap(\.index)
      let isList =
        indices.count == children.count && indices.allSatisfy { $0 < Swift.max(count, indices.count) }
      ownKeys = (0..<(isList ? Swift.max(count, indices.count) : count)).map { Key(index: $0) }
    case .tuple(let count): ownKeys = (0..<count).map { Key(index: $0) }
    case .namedTuple(_, let keys): ownKeys = keys
    }
    let own = Set(ownKeys)
    guard let foreign = children.keys.first(where: { !own.contains($0) }) else {
      let elements = ownKeys.map { children[$0] ?? .empty }
      switch self {
      case .list: return .list(elements)
      case .tuple: return .tuple(elements)
      case .namedTuple(let type, _):
        return .namedTuple(zip(ownKeys, elements).map { (key: $0, value: $1) }, type: type)
      }
    }
    guard children.keys.allSatisfy({ !own.contains($0) }) else {
      throw GraftError(
        .structureMismatch, "a \(name) has no place for \(path.appending(foreign))",
        leaf: path.appending(foreign), remedy: "rename all of its elements or none")
    }
    return Tree(.dictionary(children))
  }

  private var name: String {
    switch self {
    case .list: "list"
    case .tuple: "tuple"
    case .namedTuple: "named tuple"
    }
  }
}
