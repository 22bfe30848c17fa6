internal import OrderedCollections

/// A tree of leaves, as checkpoints keep them: one type for specs, targets, lazy tensors and loaded values.
///
/// A node is a leaf, a dictionary, a list, a tuple, a named tuple, or empty (Python's `None`). Dictionaries keep the order
/// in which their keys came, and compare without regard to it, as Python's do. Literals make dictionaries and lists:
/// `["params": ["kernel": .stored], "step": .stored]`.
///
/// Lookups do not throw: an absent child is a *fault*, a node that remembers what was wrong and where. Faults are
/// thrown all together by ``validate()``, which everything that takes a tree calls first.
///
/// Methods recurse as deep as the tree is. Trees from files are no deeper than ``Limits/nestingDepth``, which
/// `init(leaves:limits:)` and the parsers hold.
public struct Tree<Leaf: Sendable>: Sendable {
  typealias Fields = OrderedDictionary<Key, Tree>

  // Not indirect as a whole: a box around the containers would be a second owner of them while they change, so that every
  // assignment copied them.
  enum Node: Sendable {
    case leaf(Leaf)
    case dictionary(OrderedDictionary<Key, Tree>)
    case list([Tree])
    case tuple([Tree])
    case namedTuple(type: String?, OrderedDictionary<Key, Tree>)
    case empty
    indirect case fault(GraftError)
    /// What stands at a path that has nothing while it is being modified: assigning replaces it, leaving it alone adds
    /// nothing, and anything else done to it makes it a fault. It never stays in a finished tree.
    case absent(TreePath)
  }

  var node: Node

  /// Where this node was looked up, so that a fault further down can say its whole path; nil when it was not looked up.
  package var origin: TreePath?

  init(_ node: Node, origin: TreePath? = nil) {
    self.node = node
    self.origin = origin
  }
}

// MARK: - Making trees

extension Tree: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral {
  /// A node that is a leaf.
  public static func leaf(_ leaf: Leaf) -> Tree { Tree(.leaf(leaf)) }

  /// The empty node, Python's `None`.
  public static var empty: Tree { Tree(.empty) }

  /// A node that remembers what is wrong with it, thrown by ``validate()``.
  public static func fault(_ error: GraftError) -> Tree { Tree(.fault(error)) }

  /// A dictionary of children in this order, `["x": a, "y": b]`; a key that comes twice is a fault.
  public static func dictionary(_ children: KeyValuePairs<Key, Tree>) -> Tree {
    Tree(.dictionary([:])).addingFields(children) { .dictionary($0) }
  }

  /// A dictionary of children in this order; a key that comes twice is a fault.
  @_disfavoredOverload  // Else a literal would be a Swift dictionary, and lose its order.
  public static func dictionary(_ children: some Sequence<(key: Key, value: Tree)>) -> Tree {
    Tree(.dictionary([:])).addingFields(children) { .dictionary($0) }
  }

  /// A list of children.
  public static func list(_ children: some Sequence<Tree>) -> Tree { Tree(.list(Array(children))) }

  /// A tuple of children.
  public static func tuple(_ children: some Sequence<Tree>) -> Tree { Tree(.tuple(Array(children))) }

  /// A named tuple of fields in this order, `["x": a, "y": b]`; a field that comes twice is a fault.
  public static func namedTuple(_ fields: KeyValuePairs<Key, Tree>, type: String? = nil) -> Tree {
    Tree(.empty).addingFields(fields) { .namedTuple(type: type, $0) }
  }

  /// A named tuple: its fields in order, and the name of its type where that is known; a field that comes twice is a fault.
  @_disfavoredOverload
  public static func namedTuple(
    _ fields: some Sequence<(key: Key, value: Tree)>, type: String? = nil
  ) -> Tree {
    Tree(.empty).addingFields(fields) { .namedTuple(type: type, $0) }
  }

  /// A dictionary; a key that comes twice is a fault.
  public init(dictionaryLiteral elements: (Key, Tree)...) {
    self = .dictionary(elements.map { (key: $0.0, value: $0.1) })
  }

  /// A list.
  public init(arrayLiteral elements: Tree...) { self = .list(elements) }

  private func addingFields(
    _ fields: some Sequence<(key: Key, value: Tree)>, node: (OrderedDictionary<Key, Tree>) -> Node
  ) -> Tree {
    var children: OrderedDictionary<Key, Tree> = [:]
    children.reserveCapacity(fields.underestimatedCount)
    for (key, value) in fields {
      if children.updateValue(value, forKey: key) != nil {
        return .fault(GraftError(.collision, "the key \(key) comes twice in one dictionary"))
      }
    }
    return Tree(node(children))
  }
}

// MARK: - Looking

/// What kind of node of a tree something is.
public enum NodeKind: String, Sendable {
  /// A leaf.
  case leaf
  /// A dictionary, whose order does not matter.
  case dictionary
  /// A list.
  case list
  /// A tuple.
  case tuple
  /// A tuple whose elements have names.
  case namedTuple = "named tuple"
  /// The empty node, Python's `None`.
  case empty
  /// The result of a lookup or operation that went wrong.
  case fault
}

extension Tree {
  /// What kind of node this is.
  public var kind: NodeKind {
    switch node {
    case .leaf: .leaf
    case .dictionary: .dictionary
    case .list: .list
    case .tuple: .tuple
    case .namedTuple: .namedTuple
    case .empty: .empty
    case .fault, .absent: .fault
    }
  }

  /// What is wrong with this node, nil when it is no fault.
  public var fault: GraftError? {
    switch node {
    case .fault(let error): error
    case .absent(let path): Self.absence(of: path)
    default: nil
    }
  }

  /// The leaf, nil when this node is none.
  public var leaf: Leaf? {
    if case .leaf(let leaf) = node { leaf } else { nil }
  }

  /// The children with their keys, in order: a list's have their index as key, a leaf has none.
  public var children: [(key: Key, value: Tree)] {
    switch node {
    case .dictionary(let children), .namedTuple(_, let children):
      children.map { (key: $0.key, value: $0.value) }
    case .list(let children), .tuple(let children):
      children.enumerated().map { (key: Key(index: $0.offset), value: $0.element) }
    case .leaf, .empty, .fault, .absent: []
    }
  }

  /// The number of children.
  public var childCount: Int {
    switch node {
    case .dictionary(let children), .namedTuple(_, let children): children.count
    case .list(let children), .tuple(let children): children.count
    case .leaf, .empty, .fault, .absent: 0
    }
  }

  /// The number of leaves; placeholders count, empty nodes and faults do not.
  public var leafCount: Int {
    switch node {
    case .leaf: 1
    case .dictionary(let children), .namedTuple(_, let children):
      children.values.reduce(0) { $0 + $1.leafCount }
    case .list(let children), .tuple(let children): children.reduce(0) { $0 + $1.leafCount }
    case .empty, .fault, .absent: 0
    }
  }

  /// Where the children lie in memory, so that a test can see when they were copied; nil where there are none.
  package var childStorageAddress: UInt? {
    func address(_ storage: some Sequence<Tree>) -> UInt? {
      // The address is only compared, never followed.
      storage.withContiguousStorageIfAvailable { UInt(bitPattern: $0.baseAddress) }
    }
    return switch node {
    case .dictionary(let children), .namedTuple(_, let children): address(children.values)
    case .list(let children), .tuple(let children): address(children)
    case .leaf, .empty, .fault, .absent: nil
    }
  }

  /// Whether there is a child with this key.
  public func hasChild(_ key: Key) -> Bool { child(key) != nil }

  /// The child with this key, which does not know where it was looked up; nil when there is none.
  func child(_ key: Key) -> Tree? {
    switch node {
    case .dictionary(let children), .namedTuple(_, let children): return children[key]
    case .list(let children), .tuple(let children):
      guard let index = key.index, index < children.count else { return nil }
      return children[index]
    case .leaf, .empty, .fault, .absent: return nil
    }
  }

  /// The child with this key; a fault when there is none.
  ///
  /// A list's element is also found by its index in decimal. Assigning adds or replaces a child of a dictionary, makes an
  /// empty or absent node a dictionary first, and replaces an element of a list or a field of a tuple; anything else
  /// makes a fault. Assigning costs the same however many children there are.
  public subscript(key: Key) -> Tree {
    get {
      let path = (origin ?? .root).appending(key)
      if var error = fault {
        // What is absent is named whole: `tree["a"]["b"]` without an `a` lacks `a/b`.
        if error.code == .leafNotFound, error.leaf == origin { error.leaf = path }
        return Tree(.fault(error), origin: path)
      }
      guard var child = child(key) else {
        return Tree(.fault(Self.absence(of: path, among: self)), origin: path)
      }
      child.origin = path
      return child
    }
    _modify {
      // The child is taken out while it is modified, so that deep assignments copy nothing. A modification that throws
      // ends this accessor at the yield, hence the defer: the child must come back in any case.
      let path = (origin ?? .root).appending(key)
      var child = Tree(.absent(path))
      let isNew = !take(key, into: &child)
      child.origin = path
      defer { put(child, at: key, path: path, isNew: isNew) }
      yield &child
    }
  }

  /// The child at this index of a list or tuple, or of a dictionary whose keys are indices; a fault when there is none.
  public subscript(index: Int) -> Tree {
    get { self[Key(index: index)] }
    _modify { yield &self[Key(index: index)] }
  }

  /// The node at the end of this path; a fault when there is none.
  public subscript(at path: TreePath) -> Tree {
    get { path.keys.reduce(self) { $0[$1] } }
    set {
      if path.keys.count > Self.assignedPathLimit, let first = path.first {
        self[first] = .fault(
          GraftError(
            .limitExceeded, "the path has more keys than a tree may be deep",
            expected: "at most \(Self.assignedPathLimit)",
            found: "\(path.keys.count)"))
      } else {
        set(newValue, at: path.keys[...])
      }
    }
  }

  /// The longest path that can be assigned to at once; each key is a level of recursion.
  static var assignedPathLimit: Int { 1024 }

  @_specialize(where Leaf == LazyLeaf)
  private mutating func set(_ value: Tree, at keys: ArraySlice<Key>) {
    guard let first = keys.first else {
      self = value
      return
    }
    self[first].set(value, at: keys.dropFirst())
  }

  static func absence(of path: TreePath, among parent: Tree? = nil) -> GraftError {
    // A program may look up very many absent keys in a very large dictionary, so that similar ones are only looked for
    // in a dictionary of ordinary size.
    let siblings = parent.map { $0.childCount <= 4096 ? $0.children.map(\.key.string) : [] } ?? []
    return GraftError(
      .leafNotFound, "the tree has nothing at \(path)", leaf: path,
      remedy: NearName.suggestion(for: path.last?.string ?? "", among: siblings))
  }

  /// Makes a node that is absent a fault, because something was asked of it that only a present node can do.
  mutating func requirePresence() {
    if case .absent(let path) = node { node = .fault(Self.absence(of: path)) }
  }

  /// Moves a child out, leaving something for ``put(_:at:path:isNew:)`` to fill; whether there was one.
  private mutating func take(_ key: Key, into child: inout Tree) -> Bool {
    // Each container is moved out of the node and back, so that it has one owner when it changes; and a child is never
    // in two variables, so that it has one owner when it is modified.
    switch node {
    case .dictionary(var children):
      node = .empty
      defer { node = .dictionary(children) }
      return Self.exchange(&children, key, &child)
    case .namedTuple(let type, var children):
      node = .empty
      defer { node = .namedTuple(type: type, children) }
      return Self.exchange(&children, key, &child)
    case .list(var children):
      guard let index = key.index, index < children.count else { return false }
      node = .empty
      defer { node = .list(children) }
      swap(&children[index], &child)
      return true
    case .tuple(var children):
      guard let index = key.index, index < children.count else { return false }
      node = .empty
      defer { node = .tuple(children) }
      swap(&children[index], &child)
      return true
    case .leaf, .empty, .fault, .absent: return false
    }
  }

  private static func exchange(
    _ children: inout OrderedDictionary<Key, Tree>, _ key: Key, _ child: inout Tree
  ) -> Bool {
    guard let index = children.index(forKey: key) else { return false }
    swap(&children.values[index], &child)
    return true
  }

  private mutating func put(_ child: Tree, at key: Key, path: TreePath, isNew: Bool) {
    var child = child
    child.origin = nil
    if case .absent(let absent) = child.node {
      // Modified by nothing: there is still nothing there. An absent node of elsewhere that was assigned here is a fault.
      if isNew, absent == path { return }
      child.requirePresence()
    }
    switch node {
    case .dictionary(var children):
      node = .empty
      children[key] = child
      node = .dictionary(children)
    case .namedTuple(let type, var children):
      node = .empty
      if isNew { child = .fault(Self.noPlace(path, in: .namedTuple)) }
      children[key] = child
      node = .namedTuple(type: type, children)
    case .list(var children):
      node = .empty
      if !isNew, let index = key.index {
        children[index] = child
      } else {
        children.append(.fault(Self.noPlace(path, in: .list)))
      }
      node = .list(children)
    case .tuple(var children):
      node = .empty
      if !isNew, let index = key.index {
        children[index] = child
      } else {
        children.append(.fault(Self.noPlace(path, in: .tuple)))
      }
      node = .tuple(children)
    case .empty, .absent: node = .dictionary([key: child])
    case .fault: break  // The first fault is the one to report.
    case .leaf: node = .fault(Self.noPlace(path, in: .leaf))
    }
  }

  private static func noPlace(_ path: TreePath, in kind: NodeKind) -> GraftError {
    GraftError(
      .structureMismatch, "a \(kind.rawValue) has no place for \(path)", leaf: path,
      remedy: "replace the whole \(kind.rawValue) instead")
  }
}

// MARK: - Walking

extension Tree {
  /// Calls `body` with every leaf and its path, depth first, children in order.
  public func forEachLeaf<Failure: Error>(
    _ body: (TreePath, Leaf) throws(Failure) -> Void
  ) throws(Failure) {
    try visit(at: .root, body)
  }

  /// Calls `body` with every child and its key, in order.
  func forEachChild<Failure: Error>(_ body: (Key, Tree) throws(Failure) -> Void) throws(Failure) {
    switch node {
    case .dictionary(let children), .namedTuple(_, let children):
      for (key, child) in children { try body(key, child) }
    case .list(let children), .tuple(let children):
      for (index, child) in children.enumerated() { try body(Key(index: index), child) }
    case .leaf, .empty, .fault, .absent: break
    }
  }

  /// Calls `body` with every node and its path, this one first, a node before its children.
  package func forEachNode<Failure: Error>(
    _ body: (TreePath, Tree) throws(Failure) -> Void
  ) throws(Failure) {
    try visitNodes(at: .root, body)
  }

  private func visitNodes<Failure: Error>(
    at path: TreePath, _ body: (TreePath, Tree) throws(Failure) -> Void
  ) throws(Failure) {
    try body(path, self)
    try forEachChild { (key, child) throws(Failure) in try child.visitNodes(at: path.appending(key), body) }
  }

  func visit<Failure: Error>(
    at path: TreePath, _ body: (TreePath, Leaf) throws(Failure) -> Void
  ) throws(Failure) {
    var keys = path.keys
    try visit(&keys, body)
  }

  /// `keys` are those down to this node; a path is made for a leaf alone.
  private func visit<Failure: Error>(
    _ keys: inout [Key], _ body: (TreePath, Leaf) throws(Failure) -> Void
  ) throws(Failure) {
    if case .leaf(let leaf) = node { return try body(TreePath(copying: keys), leaf) }
    try forEachChild { (key, child) throws(Failure) in
      keys.append(key)
      defer { keys.removeLast() }
      try child.visit(&keys, body)
    }
  }

  /// Every leaf with its path, depth first, children in order.
  public var leaves: [(path: TreePath, leaf: Leaf)] {
    // Other modules cannot specialise this, and looking up the types of pairs for every node takes longer than the walk.
    @_specialize(where Leaf == LeafSpec)
    @_specialize(where Leaf == LeafValue)
    @_specialize(where Leaf == LazyLeaf)
    get {
      var result: [(path: TreePath, leaf: Leaf)] = []
      forEachLeaf { result.append((path: $0, leaf: $1)) }
      return result
    }
  }

  /// The tree with each leaf replaced by what `body` makes of it, which may be a subtree; faults stay.
  public func mapLeaves<T: Sendable, Failure: Error>(
    _ body: (TreePath, Leaf) throws(Failure) -> Tree<T>
  ) throws(Failure) -> Tree<T> {
    var keys: [Key] = []
    return try map(&keys, body)
  }

  /// The tree with each leaf replaced by what `body` makes of it, which needs no path; faults stay.
  ///
  /// Making the paths is most of what ``mapLeaves(_:)`` costs.
  func mapNodes<T: Sendable>(_ body: (Leaf) -> Tree<T>) -> Tree<T> {
    switch node {
    case .leaf(let leaf): body(leaf)
    case .dictionary(let children): Tree<T>(.dictionary(children.mapValues { $0.mapNodes(body) }))
    case .namedTuple(let type, let children):
      Tree<T>(.namedTuple(type: type, children.mapValues { $0.mapNodes(body) }))
    case .list(let children): Tree<T>(.list(children.map { $0.mapNodes(body) }))
    case .tuple(let children): Tree<T>(.tuple(children.map { $0.mapNodes(body) }))
    case .empty: .empty
    case .fault(let error): .fault(error)
    case .absent(let path): .fault(Tree<T>.absence(of: path))
    }
  }

  /// `keys` are those down to this node; a path is made for a leaf alone.
  private func map<T: Sendable, Failure: Error>(
    _ keys: inout [Key], _ body: (TreePath, Leaf) throws(Failure) -> Tree<T>
  ) throws(Failure) -> Tree<T> {
    switch node {
    case .leaf(let leaf): return try body(TreePath(copying: keys), leaf)
    case .dictionary(let children): return Tree<T>(.dictionary(try Self.map(children, &keys, body)))
    case .namedTuple(let type, let children):
      return Tree<T>(.namedTuple(type: type, try Self.map(children, &keys, body)))
    case .list(let children): return Tree<T>(.list(try Self.map(children, &keys, body)))
    case .tuple(let children): return Tree<T>(.tuple(try Self.map(children, &keys, body)))
    case .empty: return .empty
    case .fault(let error): return .fault(error)
    case .absent(let path): return .fault(Tree<T>.absence(of: path))
    }
  }

  private static func map<T: Sendable, Failure: Error>(
    _ children: OrderedDictionary<Key, Tree>, _ keys: inout [Key],
    _ body: (TreePath, Leaf) throws(Failure) -> Tree<T>
  ) throws(Failure) -> OrderedDictionary<Key, Tree<T>> {
    // The keys are taken over with their hashes; mapping the values in order is what OrderedDictionary offers for that.
    var failure: Failure?
    var index = 0
    let result = children.mapValues { child -> Tree<T> in
      keys.append(children.keys[index])
      defer {
        keys.removeLast()
        index += 1
      }
      if failure != nil { return .empty }
      do throws(Failure) {
        return try child.map(&keys, body)
      } catch {
        failure = error
        return .empty
      }
    }
    if let failure { throw failure }
    return result
  }

  private static func map<T: Sendable, Failure: Error>(
    _ children: [Tree], _ keys: inout [Key], _ body: (TreePath, Leaf) throws(Failure) -> Tree<T>
  ) throws(Failure) -> [Tree<T>] {
    var result: [Tree<T>] = []
    result.reserveCapacity(children.count)
    for (index, child) in children.enumerated() {
      keys.append(Key(index: index))
      defer { keys.removeLast() }
      result.append(try child.map(&keys, body))
    }
    return result
  }

  /// Throws every fault in the tree, the first with the others attached.
  public func validate() throws(GraftError) {
    // Nearly every tree has none; looking first spares making every node's path.
    guard hasFault else { return }
    var faults: [GraftError] = []
    collectFaults(at: .root, into: &faults)
    guard var first = faults.first else { return }
    first.others += faults.dropFirst()
    throw first
  }

  private var hasFault: Bool {
    switch node {
    case .fault, .absent: true
    case .dictionary(let children), .namedTuple(_, let children): children.values.contains { $0.hasFault }
    case .list(let children), .tuple(let children): children.contains { $0.hasFault }
    case .leaf, .empty: false
    }
  }

  private func collectFaults(at path: TreePath, into faults: inout [GraftError]) {
    switch node {
    case .fault, .absent:
      guard var error = fault else { return }
      // A fault that did not know where it would stand does now.
      if error.leaf == nil { error.leaf = path }
      faults.append(error)
    case .dictionary(let children), .namedTuple(_, let children):
      for (key, child) in children { child.collectFaults(at: path.appending(key), into: &faults) }
    case .list(let children), .tuple(let children):
      for (index, child) in children.enumerated() {
        child.collectFaults(at: path.appending(Key(index: index)), into: &faults)
      }
    case .leaf, .empty: break
    }
  }
}

// MARK: - Comparing

extension Tree: Equatable where Leaf: Equatable {
  /// Whether both trees have the same nodes; the order of a dictionary's keys does not matter, that of a named tuple does.
  public static func == (a: Tree, b: Tree) -> Bool {
    switch (a.node, b.node) {
    case (.leaf(let a), .leaf(let b)): a == b
    case (.dictionary(let a), .dictionary(let b)):
      a.count == b.count && a.allSatisfy { b[$0.key] == $0.value }
    case (.namedTuple(let typeA, let a), .namedTuple(let typeB, let b)): typeA == typeB && a == b
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)): a == b
    case (.empty, .empty): true
    default: false
    }
  }
}
