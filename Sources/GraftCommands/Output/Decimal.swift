/// Decimal text of numbers, without Foundation and its locales.
package enum Decimal {
  /// The number with this many digits after the point.
  package static func text(_ value: Double, digits: Int) -> String {
    guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (value * scale).rounded()
    guard scaled.magnitude < 1e15 else { return "\(value)" }
    let whole = Int(scaled.magnitude)
    let sign = scaled < 0 ? "-" : ""
    if digits == 0 { return sign + String(whole) }
    let fraction = String(whole % Int(scale))
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return "\(sign)\(whole / Int(scale)).\(zeros)\(fraction)"
  }

  /// The number with about this many significant digits, as short as it can be.
  package static func significant(_ value: Double, digits: Int = 6) -> String {
    guard value.isFinite else { return text(value, digits: 0) }
    if value == 0 { return "0" }
    let magnitude = value.magnitude
    guard magnitude >= 1e-4, magnitude < 1e15 else { return rounded(value, digits) }
    var before = 1
    var limit = 10.0
    while magnitude >= limit {
      before += 1
      limit *= 10
    }
    var leadingZeros = 0
    limit = 1
    while magnitude < limit {
      leadingZeros += 1
      limit /= 10
    }
    var result = text(value, digits: max(0, digits - (magnitude < 1 ? 0 : before) + max(0, leadingZeros - 1)))
    if result.contains(".") {
      while result.last == "0" { result.removeLast() }
      if result.last == "." { result.removeLast() }
    }
    return result
  }

  /// A very small or large number in its shortest form, cut to the digits that are shown.
  private static func rounded(_ value: Double, _ digits: Int) -> String {
    let text = "\(value)"
    guard let exponent = text.firstIndex(of: "e") else { return text }
    return String(text[..<exponent].prefix(digits + 2) + text[exponent...])
  }

  /// Digits in groups of three: `1,234,567`.
  package static func grouped(_ value: Int) -> String {
    let digits = String(value.magnitude)
    var result = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index).isMultiple(of: 3) { result.append(",") }
      result.append(digit)
    }
    return value < 0 ? "-" + result : result
  }
}

/// A number of things: `1 leaf`, `12,345 leaves`.
package struct Count: CustomStringConvertible {
  private let count: Int
  private let noun: String

  package init(_ count: Int, _ noun: String) {
    self.count = count
    self.noun = noun
  }

  package var description: String {
    if count == 1 { return "1 \(noun)" }
    return "\(Decimal.grouped(count)) \(noun == "leaf" ? "leaves" : noun + "s")"
  }
}
