/// Rows of text in columns that line up.
struct Table {
  enum Alignment: Sendable { case left, right }

  /// A cell that is wider than this gets no company, so that one long path does not push every line apart.
  static let widestColumn = 100

  private let alignments: [Alignment]
  private let heads: [String]
  private var rows: [[String]] = []

  /// A table with these columns.
  init(_ columns: [(head: String, alignment: Alignment)]) {
    heads = columns.map(\.head)
    alignments = columns.map(\.alignment)
  }

  /// Adds a row with a cell for each column.
  mutating func add(_ row: [String]) {
    precondition(row.count == alignments.count)
    rows.append(row)
  }

  /// Writes the heads, where there are any, and the rows.
  func write(to text: inout TextStream) throws(OutputFailure) {
    let all = heads.contains { !$0.isEmpty } ? [heads] + rows : rows
    var widths = [Int](repeating: 0, count: alignments.count)
    for row in all {
      for (column, cell) in row.enumerated() {
        let width = Self.width(cell)
        if width <= Self.widestColumn { widths[column] = max(widths[column], width) }
      }
    }
    for row in all {
      var line = ""
      for (column, cell) in row.enumerated() {
        if column > 0 { line += "  " }
        let padding = String(repeating: " ", count: max(0, widths[column] - Self.width(cell)))
        line += alignments[column] == .right ? padding + cell : cell + padding
      }
      while line.last == " " { line.removeLast() }
      try text.line(line)
    }
  }

  private static func width(_ text: String) -> Int { text.count }
}
