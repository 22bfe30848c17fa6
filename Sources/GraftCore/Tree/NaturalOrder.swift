/// The order in which people expect numbered names: `layer2` before `layer10`.
public enum NaturalOrder {
  /// Whether `a` comes before `b`: runs of digits compare as numbers of any length, everything else by UTF-8 bytes.
  ///
  /// Names that differ only in leading zeros come in the order of their bytes, so that no two names are equal.
  public static func precedes(_ a: String, _ b: String) -> Bool { compare(a, b) < 0 }

  /// Whether key `a` comes before key `b`.
  public static func precedes(_ a: Key, _ b: Key) -> Bool { compare(a.string, b.string) < 0 }

  /// Whether path `a` comes before path `b`: key by key, a node before its children.
  public static func precedes(_ a: TreePath, _ b: TreePath) -> Bool {
    let (a, b) = (a.keys, b.keys)
    for index in 0..<min(a.count, b.count) {
      let order = compare(a[index].string, b[index].string)
      if order != 0 { return order < 0 }
    }
    return a.count < b.count
  }

  /// Negative, zero or positive as `a` comes before, is equal to or comes after `b`.
  private static func compare(_ a: String, _ b: String) -> Int {
    // Spans, because a comparison is most of what sorting the leaves of a large checkpoint takes, and slices of strings are slow.
    let (a, b) = (a.utf8.span, b.utf8.span)
    let order = compareNumbers(a, b)
    return order != 0 ? order : compareBytes(a, b)
  }

  /// As ``compare(_:_:)``, but zero for names that differ in leading zeros alone.
  private static func compareNumbers(_ a: Span<UInt8>, _ b: Span<UInt8>) -> Int {
    var (i, j) = (0, 0)
    while i < a.count, j < b.count {
      guard isDigit(a[i]), isDigit(b[j]) else {
        if a[i] != b[j] { return Int(a[i]) - Int(b[j]) }
        i += 1
        j += 1
        continue
      }
      while i < a.count, a[i] == UInt8(ascii: "0") { i += 1 }
      while j < b.count, b[j] == UInt8(ascii: "0") { j += 1 }
      // The first digit that differs decides between numbers of one length; otherwise the longer number is the greater.
      var order = 0
      while i < a.count, j < b.count, isDigit(a[i]), isDigit(b[j]) {
        if order == 0 { order = Int(a[i]) - Int(b[j]) }
        i += 1
        j += 1
      }
      if i < a.count, isDigit(a[i]) { return 1 }
      if j < b.count, isDigit(b[j]) { return -1 }
      if order != 0 { return order }
    }
    return (a.count - i) - (b.count - j)
  }

  private static func compareBytes(_ a: Span<UInt8>, _ b: Span<UInt8>) -> Int {
    for index in 0..<min(a.count, b.count) where a[index] != b[index] {
      return Int(a[index]) - Int(b[index])
    }
    return a.count - b.count
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
  }
}
