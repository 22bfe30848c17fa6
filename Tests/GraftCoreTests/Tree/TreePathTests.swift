import GraftCore
import GraftTestSupport
import Testing

@Suite struct KeyTests {
  @Test func `two spellings of é are two keys`() {
    let composed = Key("\u{e9}")
    let decomposed = Key("e\u{301}")
    #expect(composed.string == decomposed.string)
    #expect(composed != decomposed)
    #expect(Set([composed, decomposed]).count == 2)
    #expect(decomposed < composed)
  }

  @Test(arguments: [
    ("0", 0), ("7", 7), ("10", 10), ("9223372036854775807", Int.max), ("9223372036854775808", nil), ("", nil),
    ("00", nil), ("01", nil), ("-1", nil), ("+1", nil), ("1 ", nil), ("١", nil), ("a", nil),
  ])
  func `only plain decimal is an index`(text: String, index: Int?) {
    #expect(Key(text).index == index)
  }

  @Test func `order, equality and hash agree with the bytes`() {
    var random = SeededGenerator.forTest()
    for _ in 0..<2000 {
      let (a, b) = (random.nastyKey(), random.nastyKey())
      let (x, y) = (Array(a.string.utf8), Array(b.string.utf8))
      #expect((a == b) == (x == y), "seed \(random.seed)")
      #expect((a < b) == x.lexicographicallyPrecedes(y), "seed \(random.seed)")
      if a == b { #expect(a.hashValue == b.hashValue, "seed \(random.seed)") }
    }
  }
}

@Suite struct TreePathTests {
  @Test func `parsing gives back what was printed, and no two paths print alike`() {
    var random = SeededGenerator.forTest()
    var seen: [[UInt8]: TreePath] = [:]
    for _ in 0..<5000 {
      let path = random.nastyPath()
      let printed = path.description
      #expect(TreePath(parsing: printed) == path, "seed \(random.seed): \(printed)")
      if let other = seen.updateValue(path, forKey: Array(printed.utf8)) {
        #expect(other == path, "seed \(random.seed): \(printed)")
      }
    }
  }

  @Test func `nothing that steers a terminal is printed`() {
    var random = SeededGenerator.forTest()
    for _ in 0..<2000 {
      let printed = random.nastyPath().description
      #expect(
        printed.unicodeScalars.allSatisfy {
          $0.value >= 0x20 && !$0.properties.isBidiControl && $0 != "\u{7f}"
        },
        "seed \(random.seed)")
    }
  }

  @Test(arguments: [
    ([], "(root)"), ([""], "\\e"), (["", ""], "\\e/\\e"), (["a", "b"], "a/b"), (["a/b"], "a\\/b"),
    (["(root)"], "\\(root)"),
    (["a\\b"], "a\\\\b"), (["a.b", "c"], "a.b/c"), (["\u{1b}[0m"], "\\u{1b}[0m"),
    (["x\u{202e}y"], "x\\u{202e}y"),
    (["a*"], "a\\*"), (["{a,b}?"], "\\{a,b\\}\\?"), (["größe"], "größe"),
  ])
  func `paths print like this`(keys: [String], printed: String) {
    #expect(TreePath(keys.map { Key($0) }).description == printed)
  }

  @Test(arguments: [
    "a\\", "a\\u", "a\\u{", "a\\u{}", "a\\u{110000}", "a\\u{d800}", "a\\u{+41}", "a\\u{000000041}",
    "\\u{6 1}",
  ])
  func `a broken escape is no path`(text: String) {
    #expect(TreePath(parsing: text) == nil)
  }

  @Test(arguments: [
    ("", [String]()), ("(root)", []), ("a//b", ["a", "", "b"]), ("a/", ["a", ""]), ("\\a", ["a"]),
    ("\\u{41}", ["A"]),
  ])
  func `these also are paths`(text: String, keys: [String]) {
    #expect(TreePath(parsing: text)?.keys == keys.map { Key($0) })
  }
}

@Suite struct NaturalOrderTests {
  @Test func `numbers compare as numbers of any length`() {
    let sorted = [
      "", "a", "layer1", "layer2", "layer02", "layer10", "layer10a", "layer10b",
      "layer99999999999999999999998",
      "layer99999999999999999999999", "layers", "z",
    ]
    #expect(
      [
        "z", "layer02", "layers", "layer10b", "layer99999999999999999999999", "a", "layer10", "", "layer2",
        "layer1",
        "layer99999999999999999999998", "layer10a",
      ].sorted(by: NaturalOrder.precedes) == ["", "a", "layer1", "layer02", "layer2"] + sorted[5...])
  }

  /// The same order told differently: names are cut into numbers and other bytes, and the pieces compared.
  @Test func `it is the order of the pieces`() {
    func pieces(_ text: String) -> [[UInt8]] {
      var pieces: [[UInt8]] = []
      for byte in text.utf8 {
        let isDigit = (0x30...0x39).contains(byte)
        if isDigit, let last = pieces.last, (0x30...0x39).contains(last[0]) {
          pieces[pieces.count - 1].append(byte)
        } else {
          pieces.append([byte])
        }
      }
      return pieces
    }
    func isBefore(_ a: [UInt8], _ b: [UInt8]) -> Bool? {
      guard (0x30...0x39).contains(a[0]), (0x30...0x39).contains(b[0]) else {
        return a == b ? nil : a[0] < b[0]
      }
      let (x, y) = (Array(a.drop { $0 == 0x30 }), Array(b.drop { $0 == 0x30 }))
      if x == y { return nil }
      return x.count != y.count ? x.count < y.count : x.lexicographicallyPrecedes(y)
    }
    func precedes(_ a: String, _ b: String) -> Bool {
      let (x, y) = (pieces(a), pieces(b))
      for (p, q) in zip(x, y) { if let answer = isBefore(p, q) { return answer } }
      return x.count != y.count ? x.count < y.count : Array(a.utf8).lexicographicallyPrecedes(Array(b.utf8))
    }
    var random = SeededGenerator.forTest()
    let parts = ["0", "00", "1", "9", "10", "123", "a", "B", ".", "é", ""]
    func text() -> String { (0..<5).map { _ in parts.randomElement(using: &random) ?? "" }.joined() }
    for _ in 0..<5000 {
      let (a, b) = (text(), text())
      #expect(NaturalOrder.precedes(a, b) == precedes(a, b), "seed \(random.seed): \(a) \(b)")
      let (p, q) = (TreePath([Key(a), "x"]), TreePath([Key(b), "x"]))
      #expect(NaturalOrder.precedes(p, q) == precedes(a, b), "seed \(random.seed): \(p) \(q)")
    }
  }

  @Test func `it is a strict total order`() {
    var random = SeededGenerator.forTest()
    let pieces = ["0", "00", "1", "9", "10", "a", "B", ".", "é", ""]
    func text() -> String { (0..<4).map { _ in pieces.randomElement(using: &random) ?? "" }.joined() }
    for _ in 0..<5000 {
      let (a, b, c) = (text(), text(), text())
      let (ab, ba) = (NaturalOrder.precedes(a, b), NaturalOrder.precedes(b, a))
      #expect(!(ab && ba) && (ab || ba) == (a != b), "seed \(random.seed): \(a) \(b)")
      if ab, NaturalOrder.precedes(b, c) {
        #expect(NaturalOrder.precedes(a, c), "seed \(random.seed): \(a) \(b) \(c)")
      }
    }
  }
}
