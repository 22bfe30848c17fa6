internal import Glibc
internal import GraftMeasure

extension Chart {
  /// The chart in lines of text, none longer than the style has columns, as long as those are 40 or more.
  package func lines(_ style: TerminalStyle) -> [String] {
    let style = TerminalStyle(isUnicode: style.isUnicode, columnCount: max(40, style.columnCount))
    let body =
      switch form {
      case .bars(let bars): Self.lines(bars, style)
      case .lines(let series, let x): Self.lines(series, x, unit, style)
      }
    return [String("\(title), \(unit)".prefix(style.columnCount))] + body
  }

  // MARK: bars

  private static func lines(_ bars: [Bar], _ style: TerminalStyle) -> [String] {
    let shown = bars.map { bar in
      (name: bar.name.prefix(style.columnCount * 2 / 5), value: Figure.short(bar.value.median))
    }
    let nameWidth = shown.map(\.name.count).max() ?? 0
    let valueWidth = shown.map(\.value.count).max() ?? 0
    // A mark, two spaces in front, and one on each side of the bar.
    let width = max(8, style.columnCount - nameWidth - valueWidth - 6)
    let most = bars.map(\.value.median).max() ?? 0
    return zip(bars, shown).map { bar, shown in
      let name = shown.name + String(repeating: " ", count: nameWidth - shown.name.count)
      let value = String(repeating: " ", count: valueWidth - shown.value.count) + shown.value
      let share = most > 0 ? max(0, bar.value.median / most) : 0
      return "  \(name) \(Self.bar(share, width, bar.role, style)) \(value)\(bar.role == .chosen ? " *" : "")"
    }
  }

  /// A bar of this share of the width, padded to all of it.
  private static func bar(_ share: Double, _ width: Int, _ role: Role, _ style: TerminalStyle) -> String {
    guard style.isUnicode else {
      let count = Int((share * Double(width)).rounded())
      return String(repeating: role == .ceiling ? "=" : "#", count: count)
        + String(repeating: " ", count: width - count)
    }
    // A ceiling is drawn lighter; the others to an eighth of a column.
    if role == .ceiling {
      let count = Int((share * Double(width)).rounded())
      return String(repeating: "░", count: count) + String(repeating: " ", count: width - count)
    }
    let eighths = Int((share * Double(width) * 8).rounded())
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    let part = parts[eighths % 8]
    return String(repeating: "█", count: eighths / 8) + part
      + String(repeating: " ", count: width - eighths / 8 - (part.isEmpty ? 0 : 1))
  }

  // MARK: lines

  private static func lines(
    _ series: [Series], _ x: String, _ unit: String, _ style: TerminalStyle
  ) -> [String] {
    guard let frame = LogarithmicFrame(series) else { return ["  no figures"] }
    let (height, labelWidth) = (12, 9)
    let width = min(64, style.columnCount - labelWidth - 4)
    let marks = Array(style.isUnicode ? "●○■□▲△◆◇" : "*+ox#@%&")
    var cells = [[Character]](repeating: [Character](repeating: " ", count: width), count: height)
    for (index, series) in series.enumerated() {
      for point in series.points {
        guard let place = frame.place(point.x, point.y.median) else { continue }
        let column = Int((place.x * Double(width - 1)).rounded())
        let row = height - 1 - Int((place.y * Double(height - 1)).rounded())
        cells[row][column] = marks[index % marks.count]
      }
    }
    var lines: [String] = []
    for (row, cells) in cells.enumerated() {
      let label =
        row == 0
        ? Figure.short(frame.y.upperBound) : row == height - 1 ? Figure.short(frame.y.lowerBound) : ""
      let padding = String(repeating: " ", count: max(0, labelWidth - label.count))
      var text = "  \(padding)\(label) \(style.isUnicode ? "│" : "|")\(String(cells))"
      while text.last == " " { text.removeLast() }
      lines.append(text)
    }
    let indent = String(repeating: " ", count: labelWidth + 3)
    lines.append(
      indent + (style.isUnicode ? "└" : "+") + String(repeating: style.isUnicode ? "─" : "-", count: width))
    let ends = (Figure.short(frame.x.lowerBound), "\(Figure.short(frame.x.upperBound)) \(x)")
    let gap = max(1, width + 1 - ends.0.count - ends.1.count)
    lines.append(indent + ends.0 + String(repeating: " ", count: gap) + ends.1)
    for (index, series) in series.enumerated() {
      lines.append("\(indent)\(marks[index % marks.count]) \(series.name)")
    }
    return lines.map { String($0.prefix(style.columnCount)) }
  }
}

/// Two logarithmic axes that hold all points of some series.
struct LogarithmicFrame {
  let x: ClosedRange<Double>
  let y: ClosedRange<Double>

  /// Nil where nothing is positive, so that nothing can be shown.
  init?(_ series: [Chart.Series]) {
    let points = series.flatMap(\.points).filter { $0.x > 0 && $0.y.median > 0 }
    let low = points.map { $0.y.minimum > 0 ? $0.y.minimum : $0.y.median }.min()
    guard let left = points.map(\.x).min(), let right = points.map(\.x).max(), let low,
      let high = points.map(\.y.maximum).max(), right.isFinite, high.isFinite
    else { return nil }
    // A single value is in the middle of an axis.
    x = left < right ? left...right : (left / 2)...(right * 2)
    y = low < high ? low...high : (low / 2)...(high * 2)
  }

  /// Where a point is, as a share of both axes; nil where it is not positive.
  func place(_ pointX: Double, _ pointY: Double) -> (x: Double, y: Double)? {
    guard pointX > 0, pointY > 0 else { return nil }
    func share(_ value: Double, _ axis: ClosedRange<Double>) -> Double {
      min(1, max(0, log(value / axis.lowerBound) / log(axis.upperBound / axis.lowerBound)))
    }
    return (share(pointX, x), share(pointY, y))
  }

  /// The powers of ten on an axis, of two where those are few, and else its ends.
  static func ticks(_ axis: ClosedRange<Double>) -> [Double] {
    func powers(of base: Double) -> [Double] {
      let first = Int((log(axis.lowerBound) / log(base)).rounded(.up))
      let last = Int((log(axis.upperBound) / log(base)).rounded(.down))
      guard first <= last, last - first < 64 else { return [] }
      return (first...last).map { pow(base, Double($0)) }
    }
    let (tens, twos) = (powers(of: 10), powers(of: 2))
    if tens.count >= 3 { return tens }
    return twos.count >= 2 ? twos : [axis.lowerBound, axis.upperBound]
  }
}
