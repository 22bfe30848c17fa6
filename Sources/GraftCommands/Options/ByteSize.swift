/// A number of bytes as people write it: `4096`, `256MiB`, `1.5GiB`.
package struct ByteSize: Hashable, Sendable {
  package var byteCount: Int

  package init(_ byteCount: Int) { self.byteCount = byteCount }

  /// What the units stand for: binary ones, and decimal ones where somebody writes them so.
  private static let units: [(name: String, byteCount: Int)] = [
    ("b", 1), ("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30), ("tib", 1 << 40), ("kb", 1_000),
    ("mb", 1_000_000), ("gb", 1_000_000_000), ("tb", 1_000_000_000_000),
  ]

  /// A size from text such as `1.5GiB`, a fraction of a byte dropped; nil when it is none, or more than `Int` holds.
  package init?(parsing text: String) {
    let number = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    let unitName = text.dropFirst(number.count).drop { $0 == " " }.lowercased()
    guard let unit = unitName.isEmpty ? 1 : Self.units.first(where: { $0.name == unitName })?.byteCount else {
      return nil
    }
    let parts = number.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    // More digits than these say nothing about bytes.
    guard let wholeText = parts.first, let whole = Int(wholeText), parts.count < 2 || unit > 1 else {
      return nil
    }
    var (sum, overflow) = whole.multipliedReportingOverflow(by: unit)
    if overflow { return nil }
    if parts.count == 2 {
      guard !parts[1].isEmpty, parts[1].count <= 6, let fraction = Int(parts[1]) else { return nil }
      var scale = 1
      for _ in parts[1] { scale *= 10 }
      // At most 10^6 · 2^40, which fits.
      (sum, overflow) = sum.addingReportingOverflow(fraction * unit / scale)
      if overflow { return nil }
    }
    byteCount = sum
  }
}

extension ByteSize: CustomStringConvertible {
  /// `512 B`, `1.5 KiB`, `4.0 GiB`: one digit after the point from a KiB up.
  package var description: String {
    let names = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    guard byteCount >= 1024 else { return "\(byteCount) B" }
    var unit = 0
    var value = Double(byteCount) / 1024
    // Not 1024.0 KiB, which 1023.95 would be rounded to.
    while value >= 1023.95, unit < names.count - 1 {
      value /= 1024
      unit += 1
    }
    return "\(Decimal.text(value, digits: 1)) \(names[unit])"
  }
}
