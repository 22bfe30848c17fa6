package import GraftCore
package import GraftMeasure

/// What a benchmark found: tables of figures, and how they stand to what Graft promises.
package struct BenchmarkReport: Sendable {
  /// One entry of a table.
  package enum Cell: Hashable, Sendable {
    case text(String)
    case count(Int)
    case figure(Double)
    case spread(Spread)
  }

  /// Figures of one kind, a row for each contestant.
  package struct Table: Hashable, Sendable {
    package var title: String
    package var columns: [String]
    package var rows: [[Cell]] = []
    /// The same figures to be looked at.
    package var charts: [Chart] = []
    /// Which of the charts stands below the table in a terminal; nil for none.
    package var shownChart: Int?

    package init(_ title: String, _ columns: [String]) {
      self.title = title
      self.columns = columns
    }
  }

  /// A promise, and what was measured.
  package struct Claim: Hashable, Sendable {
    /// What the figure is to keep to.
    package enum Bound: Hashable, Sendable {
      case atLeast(Double)
      case atMost(Double)
    }
    package var text: String
    package var measured: Double
    package var bound: Bound

    package init(_ text: String, _ measured: Double, _ bound: Bound) {
      self.text = text
      self.measured = measured
      self.bound = bound
    }

    /// Whether the figure keeps to the bound.
    package var isMet: Bool {
      switch bound {
      case .atLeast(let least): measured >= least
      case .atMost(let most): measured <= most
      }
    }
  }

  /// Which benchmark it was.
  package var name = ""
  /// What a reader has to know about how the figures came about.
  package var conditions: [String] = []
  package var tables: [Table] = []
  package var claims: [Claim] = []
  /// Lines that stand at the end, where they are seen.
  package var closing: [String] = []
  /// What else is in the JSON object.
  package var members: [(key: String, value: JSONValue)] = []

  package init() {}
}

extension BenchmarkReport {
  /// The report as one JSON object; a spread is an object with `median`, `minimum` and `maximum`.
  package var json: String {
    var writer = JSONWriter()
    writer.beginObject()
    writer.key("benchmark")
    writer.string(name)
    writer.key("conditions")
    writer.beginArray()
    for condition in conditions { writer.string(condition) }
    writer.endArray()
    writer.key("tables")
    writer.beginArray()
    for table in tables { table.write(to: &writer) }
    writer.endArray()
    writer.key("claims")
    writer.beginArray()
    for claim in claims {
      writer.beginObject()
      writer.key("claim")
      writer.string(claim.text)
      writer.key("measured")
      writer.double(claim.measured)
      switch claim.bound {
      case .atLeast(let bound):
        writer.key("at_least")
        writer.double(bound)
      case .atMost(let bound):
        writer.key("at_most")
        writer.double(bound)
      }
      writer.key("met")
      writer.bool(claim.isMet)
      writer.endObject()
    }
    writer.endArray()
    for member in members {
      writer.key(member.key)
      writer.value(member.value)
    }
    writer.endObject()
    return writer.string
  }
}

extension BenchmarkReport.Table {
  fileprivate func write(to writer: inout JSONWriter) {
    writer.beginObject()
    writer.key("title")
    writer.string(title)
    writer.key("rows")
    writer.beginArray()
    for row in rows {
      writer.beginObject()
      for (column, cell) in zip(columns, row) {
        writer.key(column)
        switch cell {
        case .text(let text): writer.string(text)
        case .count(let count): writer.integer(count)
        case .figure(let figure): writer.double(figure)
        case .spread(let spread):
          writer.beginObject()
          writer.key("median")
          writer.double(spread.median)
          writer.key("minimum")
          writer.double(spread.minimum)
          writer.key("maximum")
          writer.double(spread.maximum)
          writer.endObject()
        }
      }
      writer.endObject()
    }
    writer.endArray()
    writer.endObject()
  }
}

extension BenchmarkReport: CustomStringConvertible {
  /// The tables, in columns, and the claims below them.
  package var description: String { text(.plain) }

  /// The same, with charts as this terminal shows them.
  package func text(_ style: TerminalStyle) -> String {
    var lines = ["graft-benchmark \(name)"]
    lines += conditions.map { "  \($0)" }
    for table in tables {
      let rows = [table.columns] + table.rows.map { $0.map(\.description) }
      let widths = table.columns.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
      lines += ["", table.title]
      for row in rows {
        // The first column is text and stands left; figures stand right, so that they can be compared.
        let cells = zip(row, widths).enumerated().map { index, cell in
          let space = String(repeating: " ", count: cell.1 - cell.0.count)
          return index == 0 ? cell.0 + space : space + cell.0
        }
        lines.append("  " + cells.joined(separator: "  "))
      }
      if let shown = table.shownChart { lines += [""] + table.charts[shown].lines(style) }
    }
    if !claims.isEmpty { lines.append("") }
    for claim in claims {
      let bound =
        switch claim.bound {
        case .atLeast(let bound): "at least \(Spread([bound]).medianText)"
        case .atMost(let bound): "at most \(Spread([bound]).medianText)"
        }
      lines.append(
        "\(claim.isMet ? "met:   " : "MISSED:") \(claim.text): \(Spread([claim.measured]).medianText), \(bound)"
      )
    }
    if !closing.isEmpty { lines += [""] + closing }
    return lines.joined(separator: "\n")
  }
}

extension BenchmarkReport.Cell: CustomStringConvertible {
  package var description: String {
    switch self {
    case .text(let text): text
    case .count(let count): "\(count)"
    case .figure(let figure): Spread([figure]).medianText
    case .spread(let spread): spread.description
    }
  }
}

extension Spread {
  /// The median alone, to three digits: `0.973`.
  var medianText: String {
    let thousandths = (median * 1000).rounded()
    guard thousandths.magnitude < 1e15 else { return "\(median)" }
    let whole = Int(thousandths)
    let fraction = "\(abs(whole) % 1000)"
    return
      "\(whole < 0 ? "-" : "")\(abs(whole) / 1000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction)"
  }
}
