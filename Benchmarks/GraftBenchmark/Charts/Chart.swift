package import GraftMeasure

/// Figures to be looked at rather than read: drawn in a terminal and as SVG from the same value.
package struct Chart: Hashable, Sendable {
  /// What a bar stands for, which decides how it is drawn.
  package enum Role: Hashable, Sendable {
    /// What the machine can do.
    case ceiling
    /// What Graft does by default, or did before this setting was changed.
    case reference
    /// What Graft does otherwise.
    case candidate
    /// What a sweep goes on with.
    case chosen
  }

  /// A figure with its name.
  package struct Bar: Hashable, Sendable {
    package var name: String
    package var value: Spread
    package var role: Role

    package init(_ name: String, _ value: Spread, _ role: Role) {
      self.name = name
      self.value = value
      self.role = role
    }
  }

  /// A figure that depends on something.
  package struct Point: Hashable, Sendable {
    package var x: Double
    package var y: Spread

    package init(_ x: Double, _ y: Spread) {
      self.x = x
      self.y = y
    }
  }

  /// A line through points, in the order of `x`.
  package struct Series: Hashable, Sendable {
    package var name: String
    package var points: [Point]

    package init(_ name: String, _ points: [Point]) {
      self.name = name
      self.points = points
    }
  }

  /// What is drawn.
  package enum Form: Hashable, Sendable {
    /// A bar for each, from zero, with a whisker from the least to the greatest figure.
    case bars([Bar])
    /// Lines over two logarithmic axes, where a power is a straight line; figures that are not positive are left out.
    case lines([Series], x: String)
  }

  package var title: String
  /// What the figures are, for example `GiB/s`.
  package var unit: String
  package var form: Form

  package init(_ title: String, unit: String, _ form: Form) {
    self.title = title
    self.unit = unit
    self.form = form
  }
}

/// Numbers as tables and charts show them.
package enum Figure {
  /// With so many digits after the point: `3.14`.
  package static func text(_ value: Double, digits: Int) -> String {
    guard value.isFinite, value.magnitude < 1e15 else { return "\(value)" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int((value.magnitude * scale).rounded())
    let fraction = "\(scaled % Int(scale))"
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return "\(sign)\(scaled)" }
    return sign + "\(scaled / Int(scale))." + String(repeating: "0", count: digits - fraction.count)
      + fraction
  }

  /// With three digits that say something: `0.0123`, `1.23`, `123`, `12300`.
  package static func short(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : "\(value)" }
    var digits = 2
    var magnitude = value.magnitude
    while magnitude >= 10, digits > 0 {
      magnitude /= 10
      digits -= 1
    }
    while magnitude < 1, digits < 9 {
      magnitude *= 10
      digits += 1
    }
    var text = text(value, digits: digits)
    if text.contains(".") {
      while text.hasSuffix("0") { text.removeLast() }
      if text.hasSuffix(".") { text.removeLast() }
    }
    return text
  }

  /// A number of bytes: `512 B`, `4 KiB`, `1.5 MiB`.
  package static func bytes(_ byteCount: Int) -> String {
    var value = Double(byteCount)
    var unit = 0
    let names = ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024, unit < names.count - 1 {
      value /= 1024
      unit += 1
    }
    return "\(short(value)) \(names[unit])"
  }
}
