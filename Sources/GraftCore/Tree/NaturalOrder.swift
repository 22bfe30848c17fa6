/// The order in which people expect numbered names: `layer2` before `layer10`.
public enum NaturalOrder {
  /// Whether `a` comes before `b`: runs of digits compare as numbers of any length, everything else by UTF-8 bytes.
  ///
  /// Names that differ only in leading zeros come in the order of their bytes, so that no two names are equal.
  public static func precedes(_ a: String, _ b: String) -> Bool {
    switch compare(a.utf8, b.utf8) {
    case let order where order < 0: true
    case 0: a.utf8.lexicographicallyPrecedes(b.utf8)
    default: false
    }
  }

  /// Whether key `a` comes before key `b`.
  public static func precedes(_ a: Key, _ b: Key) -> Bool { precedes(a.string, b.string) }

  /// Whether path `a` comes before path `b`: key by key, a node before its children.
  public static func precedes(_ a: TreePath, _ b: TreePath) -> Bool {
    a.keys.lexicographicallyPrecedes(b.keys, by: precedes)
  }

  /// Negative, zero or positive as `a` comes before, with or after `b`.
  private static func compare(_ a: String.UTF8View, _ b: String.UTF8View) -> Int {
    var a = a[...]
    var b = b[...]
    while let x = a.first, let y = b.first {
      if isDigit(x), isDigit(y) {
        let number = digits(&a)
        let other = digits(&b)
        if number.count != other.count { return number.count - other.count }
        for (digit, otherDigit) in zip(number, other) where digit != otherDigit {
          return Int(digit) - Int(otherDigit)
        }
      } else {
        if x != y { return Int(x) - Int(y) }
        a.removeFirst()
        b.removeFirst()
      }
    }
    return a.isEmpty ? (b.isEmpty ? 0 : -1) : 1
  }

  /// Takes a run of digits off the front and gives it without leading zeros.
  private static func digits(_ text: inout Substring.UTF8View) -> Substring.UTF8View {
    let number = text.prefix(while: isDigit)
    text = text[number.endIndex...]
    return number.drop { $0 == UInt8(ascii: "0") }
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
  }
}
