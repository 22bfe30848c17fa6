import Foundation
import FoundationXML
import GraftBenchmark
import GraftMeasure
import Testing

@Suite struct ChartTests {
  static let bars = Chart(
    "Threads & \"reads\" <cold>", unit: "GiB/s",
    .bars([
      Chart.Bar("direct pread", Spread([2, 2.1, 2.2]), .ceiling),
      Chart.Bar("2 (before)", Spread([1, 1.05, 1.1]), .reference),
      Chart.Bar("8\u{1}", Spread([1.9, 2, 2.4]), .chosen), Chart.Bar("1", Spread([0]), .candidate),
    ]))
  static let lines = Chart(
    "Opening", unit: "ms",
    .lines(
      [
        Chart.Series("open", [100, 1_000, 10_000].map { Chart.Point($0, Spread([$0 / 10, $0 / 8])) }),
        Chart.Series("nothing", [Chart.Point(100, Spread([0])), Chart.Point(-1, Spread([5]))]),
      ], x: "leaves"))
  static let odd: [Chart] = [
    Chart("none", unit: "s", .bars([])), Chart("none", unit: "s", .lines([], x: "n")),
    Chart("zero", unit: "s", .bars([Chart.Bar("a", Spread([0]), .candidate)])),
    Chart("one", unit: "s", .lines([Chart.Series("a", [Chart.Point(3, Spread([7]))])], x: "n")),
    Chart("huge", unit: "s", .bars([Chart.Bar("a", Spread([1e300]), .candidate)])),
    Chart("tiny", unit: "s", .bars([Chart.Bar("a", Spread([1e-300]), .candidate)])),
  ]

  /// What an XML parser says of a document: its elements in order, and its text.
  private final class Document: NSObject, XMLParserDelegate {
    var elements: [(name: String, attributes: [String: String])] = []
    var text: [String] = []
    var failure: String?

    init(_ source: String) {
      super.init()
      let parser = XMLParser(data: Data(source.utf8))
      parser.delegate = self
      if !parser.parse() {
        failure = "\(String(describing: parser.parserError)) in line \(parser.lineNumber)"
      }
    }

    func parser(
      _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
      attributes: [String: String]
    ) { elements.append((name, attributes)) }
    func parser(_ parser: XMLParser, foundCharacters characters: String) { text.append(characters) }
  }

  @Test func `an SVG is well-formed, and has a bar and a whisker for each figure`() throws {
    let source = Chart.svg([Self.bars, Self.lines], title: "A & B", notes: ["<note>"])
    let document = Document(source)
    #expect(document.failure == nil)
    #expect(document.elements.first?.name == "svg")
    let text = document.text.joined()
    #expect(text.contains("Threads & \"reads\" <cold>") && text.contains("<note>") && text.contains("A & B"))
    func count(_ style: String) -> Int { document.elements.count { $0.attributes["class"] == style } }
    #expect(
      count("ceiling") == 1 && count("reference") == 1 && count("chosen") == 1 && count("candidate") == 1)
    // A line and two ends for each bar.
    #expect(count("whisker") == 12)
    #expect(count("mark s0") == 3)
    #expect(count("mark s1") == 0, "what is not positive has no place on a logarithmic axis")
    // A control character is nothing that XML may have.
    #expect(text.contains("8\u{FFFD}"))
    #expect(source.contains("prefers-color-scheme:dark"))
  }

  @Test func `bars are as long as their figures say`() throws {
    let document = Document(Chart.svg([Self.bars], title: ""))
    func width(_ style: String) -> Double? {
      document.elements.first { $0.attributes["class"] == style }?.attributes["width"].flatMap(Double.init)
    }
    let (ceiling, reference, chosen) = try (
      #require(width("ceiling")), #require(width("reference")), #require(width("chosen"))
    )
    #expect(abs(reference / ceiling - 1.05 / 2.1) < 0.01)
    #expect(abs(chosen / ceiling - 2 / 2.1) < 0.01)
    #expect(width("candidate") == 0)
  }

  @Test func `nothing leaves the page`() throws {
    for charts in [[Self.bars], [Self.lines], Self.odd] {
      let document = Document(Chart.svg(charts, title: "t"))
      #expect(document.failure == nil)
      let page = try #require(document.elements.first?.attributes["width"].flatMap(Double.init))
      for element in document.elements {
        for key in ["x", "x1", "x2", "cx", "width"] {
          guard let text = element.attributes[key] else { continue }
          let value = try #require(Double(text), "\(element)")
          #expect(value >= 0 && value <= page, "\(element)")
        }
      }
    }
  }

  @Test(arguments: [20, 40, 60, 80, 200])
  func `a chart in a terminal is as wide as that, and plain text has ASCII alone`(columns: Int) {
    for chart in [Self.bars, Self.lines] + Self.odd {
      let unicode = chart.lines(TerminalStyle(isUnicode: true, columnCount: columns))
      for line in unicode { #expect(line.count <= max(40, columns), "\(line)") }
      let plain = chart.lines(TerminalStyle(isUnicode: false, columnCount: columns))
      #expect(plain.count == unicode.count)
      // Names are the caller's.
      for line in plain where !line.contains("8\u{1}") {
        #expect(line.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F }, "\(line)")
      }
    }
  }

  @Test func `bars in a terminal are drawn to an eighth of a column`() {
    let chart = Chart(
      "t", unit: "u",
      .bars([
        Chart.Bar("a", Spread([16]), .candidate), Chart.Bar("b", Spread([8.5]), .chosen),
        Chart.Bar("c", Spread([8]), .ceiling),
      ]))
    let unicode = chart.lines(TerminalStyle(isUnicode: true, columnCount: 49))
    #expect(unicode[0] == "t, u")
    #expect(unicode[1] == "  a " + String(repeating: "█", count: 39) + "  16")
    #expect(
      unicode[2] == "  b " + String(repeating: "█", count: 20) + "▊" + String(repeating: " ", count: 18)
        + " 8.5 *")
    #expect(unicode[3].contains("░░") && !unicode[3].contains("█"))
    let plain = chart.lines(TerminalStyle(isUnicode: false, columnCount: 49))
    #expect(plain[1] == "  a " + String(repeating: "#", count: 39) + "  16")
    #expect(plain[3].contains(" " + String(repeating: "=", count: 20) + " "))
  }

  @Test func `lines in a terminal rise where the figures do`() throws {
    let lines = Self.lines.lines(TerminalStyle(isUnicode: false, columnCount: 80))
    let rows = lines.filter { $0.contains("|") }
    let marks = rows.enumerated().compactMap { row, line in
      line.firstIndex(of: "*").map { (row: row, column: line.distance(from: line.startIndex, to: $0)) }
    }
    #expect(marks.count == 3)
    #expect(zip(marks, marks.dropFirst()).allSatisfy { $0.row < $1.row && $0.column > $1.column })
    #expect(lines.last == "            + nothing")
  }

  @Test(arguments: [
    ("en_GB.UTF-8", true), ("C.utf8", true), ("de_DE.ISO-8859-1", false), ("C", false), (nil, false),
  ])
  func `a locale says whether it is one of Unicode`(locale: String?, isUTF8: Bool) {
    #expect(TerminalStyle.isUTF8(locale) == isUTF8)
  }

  @Test(arguments: [
    (0.0, "0"), (0.001234, "0.00123"), (0.5, "0.5"), (1.0, "1"), (1.234, "1.23"), (12.34, "12.3"),
    (123.4, "123"), (12345, "12345"), (-2.5, "-2.5"), (9.999, "10"), (.infinity, "inf"), (1e20, "1e+20"),
  ])
  func `a short figure has three digits that say something`(value: Double, text: String) {
    #expect(Figure.short(value) == text)
  }

  @Test func `ticks are round numbers that reach beyond the figures`() {
    #expect(Chart.ticks(to: 2.2) == [0, 0.5, 1, 1.5, 2, 2.5])
    #expect(Chart.ticks(to: 0) == [0])
    #expect(Chart.ticks(to: 17).last == 20)
    #expect(Chart.ticks(to: .leastNonzeroMagnitude).count <= 7)
  }
}
