internal import Glibc
internal import GraftMeasure

extension Chart {
  /// The charts one below the other in one SVG document, readable on light and dark ground.
  ///
  /// - Parameters:
  ///   - title: what stands above all of them.
  ///   - notes: lines below the title, such as where it was measured.
  package static func svg(_ charts: [Chart], title: String, notes: [String] = []) -> String {
    let head = 34 + 18 * Double(notes.count) + 8
    let height = charts.reduce(head) { $0 + $1.panelHeight } + 12
    var svg = SVG(width: Panel.width, height: height, title: title)
    svg.label(title, x: Panel.margin, y: 26, .start, "title")
    for (index, note) in notes.enumerated() {
      svg.label(note, x: Panel.margin, y: 46 + 18 * Double(index), .start, "muted")
    }
    var top = head
    for chart in charts {
      svg.begin("g", [("transform", "translate(0 \(Figure.text(top, digits: 0)))")])
      svg.label("\(chart.title), \(chart.unit)", x: Panel.margin, y: 22, .start, "title")
      switch chart.form {
      case .bars(let bars): draw(bars, &svg)
      case .lines(let series, let x): draw(series, x, &svg)
      }
      svg.end()
      top += chart.panelHeight
    }
    return svg.finished()
  }

  /// Where things are in a panel.
  private enum Panel {
    static let width = 860.0
    static let margin = 16.0
    /// Where bars begin: names stand to the left.
    static let left = 270.0
    /// Where the longest bar ends: figures stand to the right.
    static let right = 700.0
    static let rowHeight = 22.0
    static let barTop = 34.0
    static let lineLeft = 80.0
    static let lineRight = 620.0
    static let lineTop = 40.0
    static let lineBottom = 300.0
  }

  private var panelHeight: Double {
    switch form {
    case .bars(let bars): Panel.barTop + Panel.rowHeight * Double(bars.count) + 34
    case .lines(let series, _): max(Panel.lineBottom, Panel.lineTop + 20 * Double(series.count)) + 56
    }
  }

  // MARK: bars

  private static func draw(_ bars: [Bar], _ svg: inout SVG) {
    let most = bars.map(\.value.maximum).max() ?? 0
    let ticks = Self.ticks(to: most)
    let end = max(ticks.last ?? 1, most, .leastNormalMagnitude)
    func place(_ value: Double) -> Double {
      Panel.left + (Panel.right - Panel.left) * min(1, max(0, value / end))
    }
    let bottom = Panel.barTop + Panel.rowHeight * Double(bars.count)
    for tick in ticks {
      svg.line(place(tick), Panel.barTop, place(tick), bottom, "grid")
      svg.label(Figure.short(tick), x: place(tick), y: bottom + 16, .middle, "muted")
    }
    for (index, bar) in bars.enumerated() {
      let top = Panel.barTop + Panel.rowHeight * Double(index)
      let middle = top + Panel.rowHeight / 2
      svg.label(bar.name, x: Panel.left - 8, y: middle + 4, .end, bar.role == .ceiling ? "muted" : nil)
      svg.rectangle(
        x: Panel.left, y: top + 3, width: place(bar.value.median) - Panel.left, height: Panel.rowHeight - 6,
        style(of: bar.role))
      let (low, high) = (place(bar.value.minimum), place(bar.value.maximum))
      svg.line(low, middle, high, middle, "whisker")
      for end in [low, high] { svg.line(end, middle - 4, end, middle + 4, "whisker") }
      let mark = bar.role == .chosen ? "  chosen" : ""
      svg.label(
        "\(Figure.short(bar.value.median))\(mark)", x: max(Panel.right, high) + 10, y: middle + 4, .start)
    }
    svg.line(Panel.left, Panel.barTop, Panel.left, bottom, "axis")
  }

  private static func style(of role: Role) -> String {
    switch role {
    case .ceiling: "ceiling"
    case .reference: "reference"
    case .candidate: "candidate"
    case .chosen: "chosen"
    }
  }

  /// Round numbers from 0 to `most` and the next one beyond, about five of them.
  package static func ticks(to most: Double) -> [Double] {
    guard most > 0, most.isFinite else { return [0] }
    let rough = most / 5
    let power = pow(10, log10(rough).rounded(.down))
    guard power > 0, power.isFinite else { return [0] }
    let step = power * ([1, 2, 2.5, 5, 10].first { $0 * power >= rough } ?? 10)
    let count = Int((most / step).rounded(.up))
    return (0...max(1, count)).map { Double($0) * step }
  }

  // MARK: lines

  private static func draw(_ series: [Series], _ x: String, _ svg: inout SVG) {
    guard let frame = LogarithmicFrame(series) else {
      svg.label("no figures", x: Panel.lineLeft, y: Panel.lineTop + 20, .start, "muted")
      return
    }
    let (width, height) = (Panel.lineRight - Panel.lineLeft, Panel.lineBottom - Panel.lineTop)
    func place(_ x: Double, _ y: Double) -> (x: Double, y: Double)? {
      frame.place(x, y).map { (Panel.lineLeft + width * $0.x, Panel.lineBottom - height * $0.y) }
    }
    for tick in LogarithmicFrame.ticks(frame.x) {
      guard let at = place(tick, frame.y.lowerBound) else { continue }
      svg.line(at.x, Panel.lineTop, at.x, Panel.lineBottom, "grid")
      svg.label(Figure.short(tick), x: at.x, y: Panel.lineBottom + 18, .middle, "muted")
    }
    for tick in LogarithmicFrame.ticks(frame.y) {
      guard let at = place(frame.x.lowerBound, tick) else { continue }
      svg.line(Panel.lineLeft, at.y, Panel.lineRight, at.y, "grid")
      svg.label(Figure.short(tick), x: Panel.lineLeft - 8, y: at.y + 4, .end, "muted")
    }
    svg.path(
      [
        (Panel.lineLeft, Panel.lineTop), (Panel.lineLeft, Panel.lineBottom),
        (Panel.lineRight, Panel.lineBottom),
      ], "axis")
    svg.label(x, x: (Panel.lineLeft + Panel.lineRight) / 2, y: Panel.lineBottom + 38, .middle)
    for (index, series) in series.enumerated() {
      let colour = "s\(index % 6)"
      let points = series.points.compactMap { place($0.x, $0.y.median) }
      svg.path(points, "line \(colour)")
      for point in series.points {
        guard let middle = place(point.x, point.y.median) else { continue }
        if let low = place(point.x, point.y.minimum), let high = place(point.x, point.y.maximum) {
          svg.line(low.x, low.y, high.x, high.y, colour)
        }
        svg.circle(x: middle.x, y: middle.y, radius: 3, "mark \(colour)")
      }
      let y = Panel.lineTop + 8 + 20 * Double(index)
      svg.line(Panel.lineRight + 16, y, Panel.lineRight + 36, y, "line \(colour)")
      svg.label(series.name, x: Panel.lineRight + 42, y: y + 4)
    }
  }
}
