import GraftCore
import GraftTestSupport
import Testing

@Suite struct PathRegexTests {
  @Test(arguments: [
    (#"layer(\d+)/(.*)"#, "layer12/attention/q", ["12", "attention/q"]),
    (#"^(.*)/weight$"#, "a/b/weight", ["a/b"]),
    (#"(.*?)/(.*)"#, "a/b/c", ["a", "b/c"]),
    (#"(.*)/(gate|gate_up)_proj"#, "mlp/gate_up_proj", ["mlp", "gate_up"]),
    (#"(?:a|(b))c"#, "ac", [nil]),
    (#"(a|ab)(c|bcd)(d*)"#, "abcd", ["a", "bcd", ""]),
    (#"x{2,3}(x*)"#, "xxxxx", ["xx"]),
    (#"x{2}?(x*)"#, "xxx", ["x"]),
    (#"([^/]+)/[\w.-]+"#, "é日/a.b-c", ["é日"]),
    (#"[é-í]b\b"#, "êb", []),
    (#"a{b}"#, "a{b}", []),
    (#"\D(\S+)\W"#, "ab/", ["b"]),
  ])
  func `a whole path gives its captures`(pattern: String, text: String, captures: [String?]) throws {
    let regex = try PathRegex(pattern)
    #expect(regex.wholeMatch(in: text) == captures)
  }

  @Test(arguments: [
    (#"layer(\d+)"#, "layer"), (#"layer(\d+)"#, "xlayer1"), (#"a"#, "aa"), (#"a$b"#, "a"), (#"[^a]"#, "a"),
    (#"a\b"#, "ab"),
  ])
  func `what matches only in part does not match`(pattern: String, text: String) throws {
    let regex = try PathRegex(pattern)
    #expect(regex.wholeMatch(in: text) == nil)
  }

  @Test(arguments: [
    ("a(b", "at character 4: a group is not closed"), ("a)b", "at character 2: `)` closes no group"),
    ("*a", "at character 1: there is nothing to repeat before `*`"),
    ("a**", "at character 3: a repetition cannot be repeated"),
    ("[a", "at character 3: a class is not closed"),
    ("[b-a]", "at character 5: a range of a class is the wrong way round"),
    (#"(a)\1"#, "at character 6: references back to a capture are not supported"),
    ("(?=a)", "at character 3: only groups of the forms (…) and (?:…) are known"),
    (#"\q"#, #"at character 3: the escape `\q` is unknown"#),
    (#"a\"#, "at character 3: it ends with a backslash"),
    ("a{3,2}", "at character 7: the bounds of a repetition are the wrong way round"),
  ])
  func `a malformed expression says where and why`(pattern: String, sentence: String) {
    let error = #expect(throws: GraftError.self) { try PathRegex(pattern) }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.hasSuffix(sentence) == true, "\(error.debugDescription)")
  }

  @Test(arguments: [
    "((((a{64}){64}){64}){64}){64}", "(?:(?:(?:){8000}){8000}){8000}",
    String(repeating: "(", count: 200) + String(repeating: ")", count: 200),
    String(repeating: "a", count: 5000),
  ])
  func `an expression that would grow too large is refused`(pattern: String) {
    #expect(throws: GraftError.self) { try PathRegex(pattern) }
  }

  @Test func `expressions that take backtracking for ever elsewhere end at once`() {
    let text = String(repeating: "a", count: 4_000)
    let nested = PathRegex("(a*)*(a|a)*(a?){50}b")
    #expect(nested.wholeMatch(in: text) == nil)
    let ambiguous = PathRegex("(?:a|aa)+")
    #expect(ambiguous.wholeMatch(in: text) == [])
  }

  /// Captures of alternatives and repetitions that may match nothing differ between dialects, so they are left out.
  @Test(arguments: 0..<8)
  func `random expressions match as Swift's do`(batch: UInt64) throws {
    let seed = seedFromEnvironment() ?? batch &* 7919 &+ 3
    var random = SeededGenerator(seed: seed)
    func atom(_ depth: Int) -> String {
      switch Int.random(in: 0..<(depth > 0 ? 8 : 5), using: &random) {
      case 0, 1: ["a", "b", "/", "é"].randomElement(using: &random)!
      case 2: "."
      case 3: ["[ab]", "[^a]", #"\w"#].randomElement(using: &random)!
      case 4: #"a"#
      case 5: "(" + expression(depth - 1) + ")"
      case 6: "(?:" + expression(depth - 1) + "|" + expression(depth - 1) + ")"
      default:
        ["a", "[ab]", "."].randomElement(using: &random)! + ["*", "+", "?", "{1,2}", "*?", "+?"]
          .randomElement(using: &random)!
      }
    }
    func expression(_ depth: Int) -> String {
      (0..<Int.random(in: 1...3, using: &random)).map { _ in atom(depth) }.joined()
    }
    for round in 0..<150 {
      let pattern = expression(3)
      let ours = try PathRegex(pattern)
      let theirs = try Regex(pattern).matchingSemantics(.unicodeScalar)
      for _ in 0..<8 {
        let text = (0..<Int.random(in: 0...6, using: &random)).map { _ in
          ["a", "b", "/", "é"].randomElement(using: &random)!
        }.joined()
        // \w is of ASCII alone here.
        if pattern.contains(#"\w"#), text.contains("é") { continue }
        let expected = try theirs.wholeMatch(in: text).map {
          $0.output.dropFirst().map { $0.substring.map(String.init) }
        }
        #expect(ours.wholeMatch(in: text) == expected, "seed \(seed), round \(round): \(pattern) on \(text)")
      }
    }
  }
}
