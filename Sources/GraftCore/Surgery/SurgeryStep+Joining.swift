// Steps that make one leaf of several, or several of one: which leaves belong together is read from their paths. The capture
// that says which part a leaf is, is the one that the path of the result does not use.

extension SurgeryStep {
  /// Leaves that become one, the parts in their order.
  private struct Joined {
    var target: TreePath
    var parts: [Int?]
    /// The first of the parts in the tree, whose place the result takes.
    var first: Int
  }

  /// The most parts that one leaf is made of or comes apart into.
  private static var partLimit: Int { 1 << 16 }

  // MARK: fuse

  func fuse(
    _ table: inout LeafTable, _ pattern: PathRegex, _ order: [String], _ target: PathTemplate, axis: Int,
    allowsIncomplete: Bool
  ) throws(GraftError) -> Int {
    let names = order.map { Array($0.utf8) }
    guard !names.isEmpty, Set(names).count == names.count else {
      throw GraftError(.invalidArgument, "the order of a fuse names each part once", found: "\(order)")
    }
    let capture = try partCapture(of: pattern, unusedIn: target)
    var groups = Groups()
    let entries = table.entries
    try table.forEachMatch(of: pattern) { (index, text, matcher) throws(GraftError) in
      // What captures another text is no part: `(.*)/(\w+)_proj` may match more than is fused.
      guard let range = matcher.capture(capture), let part = names.firstIndex(of: text.array(range)) else {
        return
      }
      var key: [UInt8] = []
      target.append(matcher, of: text, to: &key)
      if let other = groups.add(index, part: part, to: key) {
        throw duplicate("part \(order[part])", of: key, entries[other].path, entries[index].path)
      }
    }
    var joined: [Joined] = []
    var incomplete: [GraftError] = []
    for (key, group) in zip(groups.keys, groups.groups) {
      let path = try path(key, from: table.entries[group.first].path)
      let missing = order.indices.filter { group.parts[$0] == nil }
      if missing.isEmpty {
        joined.append(Joined(target: path, parts: order.indices.map { group.parts[$0] }, first: group.first))
      } else if !allowsIncomplete {
        incomplete.append(
          GraftError(
            .leafNotFound, "\(path) cannot be fused, for parts are missing", leaf: path,
            expected: order.joined(separator: ", "),
            found:
              "no \(missing.map { order[$0] }.joined(separator: ", no ")); \(table.entries[group.first].path) is there",
            remedy: "allow incomplete groups to leave them as they are"))
      }
    }
    try Self.throwAll(incomplete)
    join(&table, joined) { (tensors) throws(GraftError) in try LazyTensor.concatenate(tensors, axis: axis) }
    return groups.groups.reduce(0) { $0 + $1.parts.count }
  }

  func fuse(
    _ table: inout LeafTable, _ groups: [PathGroup], axis: Int, allowsIncomplete: Bool
  ) throws(GraftError) -> Int {
    let positions = table.leafPositions()
    var joined: [Joined] = []
    var missing: [GraftError] = []
    var count = 0
    for group in groups {
      let paths = group.parts.compactMap(\.self)
      guard Set(paths).count == paths.count, !paths.isEmpty else {
        throw GraftError(
          .invalidArgument, paths.isEmpty ? "there is nothing to fuse" : "a fuse names each part once",
          leaf: group.whole)
      }
      let parts = paths.map { positions[$0] }
      guard parts.contains(where: { $0 != nil }) else {
        // As no part is there the step does not concern this tree, unless it must.
        if !operation.isOptional { missing += paths.map { table.absence(of: $0) } }
        continue
      }
      count += 1
      if parts.contains(nil) {
        if !allowsIncomplete {
          missing += paths.filter { positions[$0] == nil }.map { table.absence(of: $0) }
        }
        continue
      }
      joined.append(
        Joined(target: group.whole, parts: parts, first: parts.lazy.compactMap(\.self).min() ?? 0))
    }
    try Self.throwAll(missing)
    join(&table, joined) { (tensors) throws(GraftError) in try LazyTensor.concatenate(tensors, axis: axis) }
    return count
  }

  // MARK: stack

  func stack(
    _ table: inout LeafTable, _ pattern: PathRegex, _ target: PathTemplate, axis: Int, count: Int?,
    _ fillers: [StackFiller]
  ) throws(GraftError) -> Int {
    let capture = try partCapture(of: pattern, unusedIn: target)
    var groups = Groups()
    let entries = table.entries
    var last = -1
    // One for all, as a hundred thousand leaves are mostly parts of few.
    var key: [UInt8] = []
    try table.forEachMatch(of: pattern) { (index, text, matcher) throws(GraftError) in
      guard let range = matcher.capture(capture), let number = text.number(range) else {
        throw GraftError(
          .invalidArgument, "the index of a part is no number", leaf: entries[index].path,
          found: matcher.capture(capture).map {
            "'\(TreePath.printable(String(decoding: text.array($0), as: UTF8.self)))'"
          },
          remedy: "capture digits alone, as in layer(\\d+)")
      }
      key.removeAll(keepingCapacity: true)
      target.append(matcher, of: text, to: &key)
      if let other = groups.add(index, part: number, to: key) {
        throw duplicate("part \(number)", of: key, entries[other].path, entries[index].path)
      }
      last = Swift.max(last, number)
    }
    if groups.groups.isEmpty { return 0 }
    let partCount = try self.partCount(count, last: last)
    var faults: [GraftError] = []
    var joined: [Joined] = []
    for (key, group) in zip(groups.keys, groups.groups) {
      let path = try path(key, from: table.entries[group.first].path)
      if let extra = group.parts.keys.filter({ $0 >= partCount }).min() {
        faults.append(
          GraftError(
            .structureMismatch, "\(path) has more parts than are expected", leaf: path,
            expected: "\(partCount) parts", found: "part \(extra)"))
        continue
      }
      if group.parts.count < partCount, try value(of: fillers, for: key) == nil {
        let missing = (0..<partCount).lazy.filter { group.parts[$0] == nil }.prefix(5)
        faults.append(
          GraftError(
            .leafNotFound, "\(path) cannot be stacked, for parts are missing", leaf: path,
            expected: "parts 0 to \(partCount - 1)",
            found:
              "\(group.parts.count) of them, without \(missing.map(String.init).joined(separator: ", "))\(partCount - group.parts.count > 5 ? " and more" : "")",
            remedy: "give a filler for what is missing"))
        continue
      }
      joined.append(Joined(target: path, parts: (0..<partCount).map { group.parts[$0] }, first: group.first))
    }
    try Self.throwAll(faults)
    var values: [TreePath: Double] = [:]
    for (key, join) in zip(groups.keys, joined) where join.parts.contains(nil) {
      values[join.target] = try value(of: fillers, for: key)
    }
    join(&table, joined, filler: { values[$0] }) { (tensors) throws(GraftError) in
      try LazyTensor.stack(tensors, axis: axis)
    }
    return groups.groups.reduce(0) { $0 + $1.parts.count }
  }

  func stack(_ table: inout LeafTable, _ groups: [PathGroup], axis: Int) throws(GraftError) -> Int {
    let positions = table.leafPositions()
    var joined: [Joined] = []
    for group in groups {
      var parts: [Int] = []
      for path in group.parts.lazy.compactMap(\.self) {
        guard let index = positions[path] else { throw table.absence(of: path) }
        parts.append(index)
      }
      joined.append(Joined(target: group.whole, parts: parts, first: parts.min() ?? 0))
    }
    join(&table, joined) { (tensors) throws(GraftError) in try LazyTensor.stack(tensors, axis: axis) }
    return joined.count
  }

  private func partCount(_ expected: Int?, last: Int) throws(GraftError) -> Int {
    let count = expected ?? (last == .max ? last : last + 1)
    guard count > 0, count <= Self.partLimit else {
      throw GraftError(
        count > 0 ? .limitExceeded : .invalidArgument,
        expected == nil
          ? "the largest index of a part is \(last)" : "a stack cannot have \(count) parts",
        expected: "1 to \(Self.partLimit) parts", remedy: "look whether the pattern captures what it should")
    }
    return count
  }

  /// What missing parts of a stack are filled with: the first filler for its path, then one for all.
  private func value(of fillers: [StackFiller], for key: [UInt8]) throws(GraftError) -> Double? {
    for filler in fillers {
      guard let pattern = filler.pattern else { return filler.value }
      try pattern.checkLength(key.count)
      var matcher = PathRegexMatcher(pattern)
      if matcher.matchesWhole(key.span) { return filler.value }
    }
    return nil
  }

  // MARK: what both need

  /// The one capture of a pattern that the result's path does not use.
  private func partCapture(of pattern: PathRegex, unusedIn target: PathTemplate) throws(GraftError) -> Int {
    try target.check(against: pattern, allowsIndex: false)
    let unused = (0..<pattern.captureCount).map { $0 + 1 }.filter { !target.captures.contains($0) }
    guard unused.count == 1 else {
      throw GraftError(
        .invalidArgument,
        "it is not clear which capture of '\(TreePath.printable(pattern.text))' tells the parts apart",
        expected: "one capture that '\(TreePath.printable(target.text))' does not use",
        found: unused.isEmpty ? "none" : "\(unused.map { "\\\($0)" }.joined(separator: " and "))",
        remedy: "group without capturing by (?:…), or use the other captures in the path of the result")
    }
    return unused[0]
  }

  /// Leaves by the path of the leaf that they become part of, in the order of the tree.
  private struct Groups {
    var keys: [[UInt8]] = []
    var groups: [(first: Int, parts: [Int: Int])] = []
    private var positions: [[UInt8]: Int] = [:]

    /// Adds a leaf; the one that is this part already, where there is one.
    mutating func add(_ index: Int, part: Int, to key: [UInt8]) -> Int? {
      guard let position = positions[key] else {
        positions[key] = groups.count
        keys.append(key)
        groups.append((first: index, parts: [part: index]))
        return nil
      }
      if let other = groups[position].parts[part] { return other }
      groups[position].parts[part] = index
      return nil
    }
  }

  private func duplicate(
    _ part: String, of key: [UInt8], _ a: TreePath, _ b: TreePath
  ) -> GraftError {
    GraftError(
      .collision, "two leaves are \(part) of \(TreePath.printable(String(decoding: key, as: UTF8.self)))",
      leaf: b,
      found: "\(a) and \(b)", remedy: "use what tells them apart in the path of the result")
  }

  private func join(
    _ table: inout LeafTable, _ joined: [Joined], filler: (TreePath) -> Double? = { _ in nil },
    _ body: ([LazyTensor]) throws(GraftError) -> LazyTensor
  ) {
    var isRemoved = [Bool](repeating: false, count: table.entries.count)
    var added: [(index: Int, LeafTable.Entry)] = []
    for join in joined {
      let node = making(at: join.target) { () throws(GraftError) in
        var tensors: [LazyTensor?] = []
        tensors.reserveCapacity(join.parts.count)
        for part in join.parts {
          guard let part else {
            tensors.append(nil)
            continue
          }
          guard let tensor = table.entries[part].tensor else {
            let entry = table.entries[part]
            throw GraftError(
              .structureMismatch, "a part of \(join.target) is no tensor", leaf: entry.path,
              found: entry.node.leaf.map { "\($0)" })
          }
          tensors.append(tensor)
        }
        if let value = filler(join.target), let first = tensors.lazy.compactMap(\.self).first {
          let missing = try LazyTensor.initialized(first.shape, first.dtype, .constant(value))
          return try body(tensors.map { $0 ?? missing })
        }
        return try body(tensors.compactMap(\.self))
      }
      record?.groups.append(
        PathGroup(whole: join.target, parts: join.parts.map { $0.map { table.entries[$0].path } }))
      for part in join.parts.lazy.compactMap(\.self) { isRemoved[part] = true }
      added.append((join.first, LeafTable.Entry(path: join.target, node: node, source: .none)))
    }
    table.exchange(isRemoved, for: added)
  }

  // MARK: split and unstack

  func split(
    _ table: inout LeafTable, _ pattern: PathRegex, _ targets: [PathTemplate], sizes: [Int]?, axis: Int
  ) throws(GraftError) -> Int {
    guard !targets.isEmpty, sizes == nil || sizes?.count == targets.count else {
      throw GraftError(
        .invalidArgument, "a split takes a path for each part",
        expected: sizes.map { "\($0.count) paths" }, found: "\(targets.count)")
    }
    for target in targets { try target.check(against: pattern, allowsIndex: false) }
    var groups: [PathGroup] = []
    let entries = table.entries
    try table.forEachMatch(of: pattern) { (index, text, matcher) throws(GraftError) in
      let source = entries[index].path
      var parts: [TreePath?] = []
      for target in targets {
        var key: [UInt8] = []
        target.append(matcher, of: text, to: &key)
        parts.append(try path(key, from: source))
      }
      groups.append(PathGroup(whole: source, parts: parts))
    }
    return try takeApart(&table, groups) { (tensor, group) throws(GraftError) in
      if let sizes { return try tensor.split(sizes: sizes, axis: axis) }
      return try tensor.split(group.parts.count, axis: axis)
    }
  }

  func unstack(
    _ table: inout LeafTable, _ pattern: PathRegex, _ target: PathTemplate, axis: Int, count: Int?
  ) throws(GraftError) -> Int {
    try target.check(against: pattern, allowsIndex: true)
    guard target.hasIndex else {
      throw GraftError(
        .invalidArgument, "the parts of an unstacked leaf need a number in their path",
        expected: "{index} in '\(TreePath.printable(target.text))'")
    }
    var groups: [PathGroup] = []
    let entries = table.entries
    var faults: [GraftError] = []
    try table.forEachMatch(of: pattern) { (index, text, matcher) throws(GraftError) in
      let entry = entries[index]
      do throws(GraftError) {
        let extent = try extent(of: entry, axis: axis)
        guard extent <= Self.partLimit else {
          throw GraftError(
            .limitExceeded, "the leaf would come apart into too many parts", leaf: entry.path,
            expected: "at most \(Self.partLimit)", found: "\(extent)")
        }
        if let count, count != extent {
          throw GraftError(
            .shapeMismatch, "the leaf does not come apart into as many parts as are expected",
            leaf: entry.path,
            expected: "\(count) parts", found: "\(extent) along axis \(axis)")
        }
        var parts: [TreePath?] = []
        for part in 0..<extent {
          var key: [UInt8] = []
          target.append(matcher, of: text, index: part, to: &key)
          parts.append(try path(key, from: entry.path))
        }
        groups.append(PathGroup(whole: entry.path, parts: parts))
      } catch {
        faults.append(error)
      }
    }
    try Self.throwAll(faults)
    return try takeApart(&table, groups) { (tensor, _) throws(GraftError) in try tensor.unstacked(axis: axis)
    }
  }

  private func extent(of entry: LeafTable.Entry, axis: Int) throws(GraftError) -> Int {
    guard let tensor = entry.tensor else { throw noTensor(entry) }
    do throws(GraftError) {
      return tensor.shape[try LazyTensor.axis(axis, of: tensor.rank, shape: tensor.shape)]
    } catch {
      var error = error
      error.leaf = entry.path
      throw error
    }
  }

  private func noTensor(_ entry: LeafTable.Entry) -> GraftError {
    GraftError(
      .structureMismatch, "what is to come apart is no tensor", leaf: entry.path,
      found: entry.node.leaf.map { "\($0)" })
  }

  /// Replaces leaves by their parts; a part without a path is left out.
  func takeApart(
    _ table: inout LeafTable, _ groups: [PathGroup],
    _ body: (LazyTensor, PathGroup) throws(GraftError) -> [LazyTensor]
  ) throws(GraftError) -> Int {
    let positions = table.leafPositions()
    var isRemoved = [Bool](repeating: false, count: table.entries.count)
    var added: [(index: Int, LeafTable.Entry)] = []
    for group in groups {
      guard let index = positions[group.whole] else { throw table.absence(of: group.whole) }
      let entry = table.entries[index]
      isRemoved[index] = true
      record?.groups.append(group)
      do throws(GraftError) {
        guard let tensor = entry.tensor else { throw noTensor(entry) }
        let tensors = try body(tensor, group)
        guard tensors.count == group.parts.count else {
          throw GraftError(
            .shapeMismatch, "the leaf does not come apart into as many parts as are expected",
            expected: "\(group.parts.count) parts", found: "\(tensors.count)")
        }
        for case (let path?, let part) in zip(group.parts, tensors) {
          added.append((index, LeafTable.Entry(path: path, node: .tensor(part), source: .other(entry.path))))
        }
      } catch {
        var error = mark(error)
        error.leaf = error.leaf ?? entry.path
        added.append((index, LeafTable.Entry(path: entry.path, node: .fault(error))))
      }
    }
    table.exchange(isRemoved, for: added)
    return groups.count
  }
}
