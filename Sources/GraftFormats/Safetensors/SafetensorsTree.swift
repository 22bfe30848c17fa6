import GraftCore

/// Builds the tree of a checkpoint's tensors from their names, in time linear in the names.
///
/// Nodes are numbers that refer to each other, each after its parent, so that neither building nor finishing recurses;
/// the keys' bytes lie in one buffer until the tree is made of them.
struct SafetensorsTree {
  /// A node: the root, one that has children, or a tensor.
  private struct Node {
    /// The key's bytes in ``text``.
    let key: Range<Int>
    let parent: Int
    /// The first tensor that made this node: its own, where it is a leaf.
    let tensor: Int
    let isLeaf: Bool
    /// The hash of parent and key, by which the node is found in ``slots``.
    let hash: Int
    var childCount = 0
    var firstChild = -1
    var lastChild = -1
    var nextSibling = -1
  }

  private let naming: SafetensorsNaming
  private let limits: Limits
  private let files: [String]
  private var tensors: [(tensor: SafetensorsHeader.Tensor, file: Int)] = []
  private var text: [UInt8] = []
  private var nodes: [Node]
  /// A hash table with open addressing of all nodes but the root, by parent and key.
  ///
  /// A slot has the node in its lower half, 0 where it is free (as the root is in no slot), and in its upper half that of the
  /// node's hash, so that a slot of another node is nearly always passed without a look at that node. A node takes a byte of
  /// a name, and there are fewer than 2^32 of these within the limits.
  private var slots: [UInt64]
  /// The nodes on the way to the tensor that was added last: neighbours in a file mostly share all but the last of them.
  private var trail: [Int] = []

  /// An empty tree of tensors from these files.
  init(naming: SafetensorsNaming, limits: Limits, files: [String], tensorCount: Int) {
    self.naming = naming
    self.limits = limits
    self.files = files
    nodes = [Node(key: 0..<0, parent: -1, tensor: -1, isLeaf: false, hash: 0)]
    nodes.reserveCapacity(2 * tensorCount)
    tensors.reserveCapacity(tensorCount)
    slots = [UInt64](repeating: 0, count: Self.slotCount(for: 2 * tensorCount))
  }

  /// A power of two that leaves at least half of the slots free.
  private static func slotCount(for nodeCount: Int) -> Int {
    1 << (Int.bitWidth - (2 * nodeCount + 15).leadingZeroBitCount)
  }

  /// Adds a tensor.
  ///
  /// - Throws: `collision` when a tensor of this name is there, or one is a leaf where the other has children;
  ///   `limitExceeded` when the name has more parts than trees may be deep, or there are too many tensors.
  mutating func add(_ tensor: SafetensorsHeader.Tensor, file: Int) throws(GraftError) {
    guard tensors.count < limits.leafCount else { throw tooMany() }
    tensors.append((tensor: tensor, file: file))
    let start = text.count
    text.append(contentsOf: tensor.name.utf8)
    guard naming == .nested else { return try place(start..<text.count, under: 0) }

    var parent = 0
    var depth = 0
    var begin = start
    for index in start..<text.count where text[index] == UInt8(ascii: ".") {
      guard depth + 1 < limits.nestingDepth else { throw tooDeep() }
      parent = try enter(begin..<index, under: parent, depth: depth)
      depth += 1
      begin = index + 1
    }
    trail.removeSubrange(depth...)
    try place(begin..<text.count, under: parent)
  }

  /// The node with this key under `parent`, made if it is not there.
  private mutating func enter(_ key: Range<Int>, under parent: Int, depth: Int) throws(GraftError) -> Int {
    // A name of many short parts makes many nodes of few bytes.
    guard nodes.count <= limits.leafCount else { throw tooMany() }
    if depth < trail.count {
      if isEqual(nodes[trail[depth]].key, key) { return trail[depth] }
      trail.removeSubrange(depth...)
    }
    let slot = slot(of: key, under: parent)
    var index = slot.node
    if index > 0 {
      guard !nodes[index].isLeaf else { throw collision(with: nodes[index].tensor) }
    } else {
      index = nodes.count
      append(
        Node(key: key, parent: parent, tensor: tensors.count - 1, isLeaf: false, hash: slot.hash),
        at: slot.index)
    }
    trail.append(index)
    return index
  }

  private mutating func place(_ key: Range<Int>, under parent: Int) throws(GraftError) {
    let slot = slot(of: key, under: parent)
    let found = slot.node
    guard found == 0 else { throw collision(with: nodes[found].tensor) }
    append(
      Node(key: key, parent: parent, tensor: tensors.count - 1, isLeaf: true, hash: slot.hash), at: slot.index
    )
  }

  /// The node with this key under `parent` and its slot, or 0 and the free slot where it belongs.
  private func slot(of key: Range<Int>, under parent: Int) -> (index: Int, node: Int, hash: Int) {
    // Hasher is seeded at random, so that nobody can write names that all hash alike.
    var hasher = Hasher()
    hasher.combine(parent)
    // The bytes are only read, inside the closure.
    unsafe text.withUnsafeBytes { unsafe hasher.combine(bytes: UnsafeRawBufferPointer(rebasing: $0[key])) }
    let hash = hasher.finalize()
    var index = hash & (slots.count - 1)
    while slots[index] != 0 {
      let found = Int(slots[index] & 0xFFFF_FFFF)
      if slots[index] == Self.slot(node: found, hash: hash), nodes[found].parent == parent,
        isEqual(nodes[found].key, key)
      {
        return (index: index, node: found, hash: hash)
      }
      index = (index + 1) & (slots.count - 1)
    }
    return (index: index, node: 0, hash: hash)
  }

  private static func slot(node: Int, hash: Int) -> UInt64 {
    UInt64(bitPattern: Int64(hash)) & 0xFFFF_FFFF_0000_0000 | UInt64(node)
  }

  private mutating func append(_ node: Node, at slot: Int) {
    let index = nodes.count
    let parent = node.parent
    nodes.append(node)
    if nodes[parent].lastChild >= 0 {
      nodes[nodes[parent].lastChild].nextSibling = index
    } else {
      nodes[parent].firstChild = index
    }
    nodes[parent].lastChild = index
    nodes[parent].childCount += 1
    slots[slot] = Self.slot(node: index, hash: node.hash)
    if 2 * nodes.count > slots.count { growSlots() }
  }

  private mutating func growSlots() {
    slots = [UInt64](repeating: 0, count: 2 * slots.count)
    for index in nodes.indices.dropFirst() {
      var slot = nodes[index].hash & (slots.count - 1)
      while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
      slots[slot] = Self.slot(node: index, hash: nodes[index].hash)
    }
  }

  private func isEqual(_ a: Range<Int>, _ b: Range<Int>) -> Bool {
    guard a.count == b.count else { return false }
    for offset in 0..<a.count where text[a.lowerBound + offset] != text[b.lowerBound + offset] {
      return false
    }
    return true
  }

  /// A key from its bytes, which are UTF-8 since the name is and a dot is a character of its own.
  private func key(_ range: Range<Int>) -> Key { Key(String(decoding: text[range], as: UTF8.self)) }

  /// The finished tree.
  consuming func finish() -> Tree<StoredLeaf> {
    var trees = [Tree<StoredLeaf>?](repeating: nil, count: nodes.count)
    // From the last to the first, so that every node's children are finished before it.
    for index in nodes.indices.reversed() {
      let node = nodes[index]
      if node.isLeaf {
        let (tensor, file) = tensors[node.tensor]
        let layout = Layout(contiguous: tensor.spec, file: file, range: tensor.range)
        trees[index] = .stored(.tensor(tensor.spec, layout, name: tensor.name))
      } else {
        trees[index] = .dictionary(uniqueKeys: keys(of: node), values: take(childrenOf: node, from: &trees))
      }
    }
    return trees[0] ?? .empty
  }

  private func keys(of node: Node) -> [Key] {
    var keys: [Key] = []
    keys.reserveCapacity(node.childCount)
    var child = node.firstChild
    while child >= 0 {
      keys.append(key(nodes[child].key))
      child = nodes[child].nextSibling
    }
    return keys
  }

  private func take(childrenOf node: Node, from trees: inout [Tree<StoredLeaf>?]) -> [Tree<StoredLeaf>] {
    var values: [Tree<StoredLeaf>] = []
    values.reserveCapacity(node.childCount)
    var child = node.firstChild
    while child >= 0 {
      if let value = trees[child].take() { values.append(value) }
      child = nodes[child].nextSibling
    }
    return values
  }

  // MARK: - What can go wrong

  /// The tensor that was added last cannot stand beside another.
  private func collision(with other: Int) -> GraftError {
    let (one, other) = (tensors[tensors.count - 1], tensors[other])
    let names = (SafetensorsFaults.quoted(other.tensor.name), SafetensorsFaults.quoted(one.tensor.name))
    let path = naming.path(of: one.tensor.name)
    if one.tensor.name.utf8.elementsEqual(other.tensor.name.utf8) {
      return GraftError(
        .collision,
        "the tensor \(names.1) is in two files: \(TreePath.printable(files[other.file])) and this one",
        leaf: path, file: files[one.file],
        remedy: "remove one of the files, or open the one that is meant by itself")
    }
    return GraftError(
      .collision,
      "the tensors \(names.0) and \(names.1) cannot be in one tree: one is where the other has children",
      leaf: path, file: files[one.file], remedy: "keep the names whole instead of splitting them at dots")
  }

  private func tooDeep() -> GraftError {
    let last = tensors[tensors.count - 1]
    return GraftError(
      .limitExceeded,
      "the name of the tensor \(SafetensorsFaults.quoted(last.tensor.name)) has too many parts",
      file: files[last.file], expected: "at most \(limits.nestingDepth) parts",
      remedy: "keep the names whole instead of splitting them at dots, or raise Limits.nestingDepth")
  }

  private func tooMany() -> GraftError { Self.tooMany(limit: limits.leafCount) }

  static func tooMany(limit: Int) -> GraftError {
    GraftError(
      .limitExceeded, "the checkpoint has too many tensors, or names with too many parts",
      expected: "at most \(limit) nodes", remedy: "raise Limits.leafCount if the checkpoint is trusted")
  }
}
