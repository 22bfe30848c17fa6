extension Tree: CustomStringConvertible {
  /// One line for each leaf, its path and what it is, in natural order; at most 100 lines, then how many more there are.
  public var description: String { description(lineLimit: 100) }

  /// One line for each leaf, its path and what it is, in natural order; at most `lineLimit` lines, then how many more.
  ///
  /// Empty nodes and containers, and faults, have lines too.
  public func description(lineLimit: Int) -> String {
    var lines: [(path: String, text: String)] = []
    var total = 0
    collectLines(at: .root, limit: lineLimit, into: &lines, total: &total)
    // Very long paths get no company in their column, or every line would be as long.
    let width = lines.map { $0.path.unicodeScalars.count }.filter { $0 <= 80 }.max() ?? 0
    var text = lines.map { line in
      let padding = Swift.max(0, width - line.path.unicodeScalars.count)
      return line.path + String(repeating: " ", count: padding + 2) + line.text
    }
    if total > lines.count { text.append("… and \(total - lines.count) more") }
    return text.joined(separator: "\n")
  }

  private func collectLines(
    at path: TreePath, limit: Int, into lines: inout [(path: String, text: String)], total: inout Int
  ) {
    if childCount == 0 {
      total += 1
      if lines.count < limit { lines.append((path.description, endText)) }
      return
    }
    guard lines.count < limit else {
      forEachChild { key, child in child.collectLines(at: path, limit: limit, into: &lines, total: &total) }
      return
    }
    var ordered = children
    if kind == .dictionary { ordered.sort { NaturalOrder.precedes($0.key, $1.key) } }
    for (key, child) in ordered {
      child.collectLines(at: path.appending(key), limit: limit, into: &lines, total: &total)
    }
  }

  /// What a node without children is.
  private var endText: String {
    switch node {
    case .leaf(let leaf): Self.text(of: leaf)
    case .dictionary: "{}"
    case .list: "[]"
    case .tuple, .namedTuple: "()"
    case .empty: "empty"
    case .fault, .absent: "fault: \(fault?.message ?? "")"
    }
  }
}
