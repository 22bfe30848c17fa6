/// Writes an SVG document element by element; text and attributes are escaped, and an element that is begun is ended.
struct SVG {
  private(set) var text: String
  private var open: [String] = ["svg"]

  /// Colours of both schemes: a viewer that knows none of them shows the light one.
  private static let style = """
    text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}.muted{fill:#59636e}\
    .paper{fill:#ffffff}.grid{stroke:#d1d9e0;fill:none}.axis{stroke:#59636e;fill:none}.whisker{stroke:#1f2328;fill:none}\
    .ceiling{fill:#afb8c1}.reference{fill:#54aeff}.candidate{fill:#0969da}.chosen{fill:#1a7f37}\
    .s0{stroke:#0969da}.s1{stroke:#bc4c00}.s2{stroke:#1a7f37}.s3{stroke:#8250df}.s4{stroke:#9a6700}.s5{stroke:#bf3989}\
    .line{fill:none;stroke-width:2}.mark{stroke-width:2;fill:#ffffff}\
    @media (prefers-color-scheme:dark){text{fill:#f0f6fc}.muted{fill:#9198a1}.paper{fill:#0d1117}.grid{stroke:#3d444d}\
    .axis{stroke:#9198a1}.whisker{stroke:#f0f6fc}.ceiling{fill:#656c76}.reference{fill:#1f6feb}.candidate{fill:#58a6ff}\
    .chosen{fill:#3fb950}.s0{stroke:#58a6ff}.s1{stroke:#f0883e}.s2{stroke:#3fb950}.s3{stroke:#bc8cff}.s4{stroke:#d29922}\
    .s5{stroke:#f778ba}.mark{fill:#0d1117}}
    """

  init(width: Double, height: Double, title: String) {
    text = ""
    text =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Self.number(width))\" height=\"\(Self.number(height))\""
      + " viewBox=\"0 0 \(Self.number(width)) \(Self.number(height))\" role=\"img\">\n"
    text += "<title>\(Self.escaped(title))</title>\n<style>\(Self.style)</style>\n"
    rectangle(x: 0, y: 0, width: width, height: height, "paper")
  }

  mutating func begin(_ name: String, _ attributes: [(String, String)] = []) {
    text += "<\(name)\(Self.attributes(attributes))>\n"
    open.append(name)
  }

  mutating func end() { text += "</\(open.removeLast())>\n" }

  mutating func rectangle(x: Double, y: Double, width: Double, height: Double, _ style: String) {
    element(
      "rect",
      [
        ("x", Self.number(x)), ("y", Self.number(y)), ("width", Self.number(max(0, width))),
        ("height", Self.number(height)), ("class", style),
      ])
  }

  mutating func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ style: String) {
    element(
      "line",
      [
        ("x1", Self.number(x1)), ("y1", Self.number(y1)), ("x2", Self.number(x2)), ("y2", Self.number(y2)),
        ("class", style),
      ])
  }

  mutating func path(_ points: [(x: Double, y: Double)], _ style: String) {
    let list = points.map { "\(Self.number($0.x)),\(Self.number($0.y))" }.joined(separator: " ")
    element("polyline", [("points", list), ("class", style)])
  }

  mutating func circle(x: Double, y: Double, radius: Double, _ style: String) {
    element(
      "circle",
      [("cx", Self.number(x)), ("cy", Self.number(y)), ("r", Self.number(radius)), ("class", style)])
  }

  enum Anchor: String { case start, middle, end }

  mutating func label(
    _ label: String, x: Double, y: Double, _ anchor: Anchor = .start, _ style: String? = nil
  ) {
    var attributes = [("x", Self.number(x)), ("y", Self.number(y)), ("text-anchor", anchor.rawValue)]
    if let style { attributes.append(("class", style)) }
    text += "<text\(Self.attributes(attributes))>\(Self.escaped(label))</text>\n"
  }

  /// The whole document.
  consuming func finished() -> String {
    while !open.isEmpty { end() }
    return text
  }

  private mutating func element(_ name: String, _ attributes: [(String, String)]) {
    text += "<\(name)\(Self.attributes(attributes))/>\n"
  }

  private static func attributes(_ attributes: [(String, String)]) -> String {
    attributes.map { " \($0.0)=\"\(escaped($0.1))\"" }.joined()
  }

  private static func number(_ value: Double) -> String {
    value == value.rounded() ? Figure.text(value, digits: 0) : Figure.text(value, digits: 1)
  }

  /// Text with what XML reads as marks written otherwise, and without what XML has no place for.
  static func escaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "\t", "\n": escaped += " "
      case _ where scalar.value < 0x20 || scalar.value == 0xFFFE || scalar.value == 0xFFFF:
        escaped += "\u{FFFD}"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}
