import GraftCore
import GraftTestSupport
import Testing

@Suite struct PathPatternTests {
  @Test(
    arguments: [
      ("a", ["a"], ["b", "ab", "a/b", "(root)"]),
      ("*", ["a", "\\e", "a\\/b", "\n"], ["a/b", "(root)"]),
      ("**", ["(root)", "a", "a/b/c"], []),
      ("params/**", ["params", "params/a", "params/a/b"], ["param", "x/params", "paramsx/a"]),
      ("**/kernel", ["kernel", "a/kernel", "a/b/kernel"], ["kernel/a", "akernel", "a/kernelx"]),
      (
        "params/**/attention/**", ["params/attention", "params/l/attention/q", "params/a/b/attention/c/d"],
        ["attention/q", "params/attentions/q"]
      ),
      ("layer?", ["layer0", "layer\u{e9}", "layer🧬"], ["layer", "layer10"]),
      ("layer*/b*s", ["layer/bias", "layer10/bs", "layerx/biass"], ["layer0/x/bias", "layer0/bia"]),
      ("{a,b}/c", ["a/c", "b/c"], ["c", "a,b/c", "ab/c"]),
      ("{a/b,c}/d", ["a/b/d", "c/d"], ["a/d", "b/d"]),
      ("x{,s}", ["x", "xs"], ["xss"]),
      ("x{1,{2,3}{4,}}y", ["x1y", "x24y", "x2y", "x34y", "x3y"], ["x14y", "x4y"]),
      ("{**/a,b}/c", ["a/c", "x/y/a/c", "b/c"], ["x/b/c", "c"]),
      ("a,b", ["a,b"], ["a", "b"]),
      ("[ab]", ["[ab]"], ["a"]),
      ("\\*\\?\\{\\}\\\\\\/", ["\\*\\?\\{\\}\\\\\\/"], ["ab"]),
      ("a/\\e/b", ["a/\\e/b"], ["a/b", "a/e/b"]),
      ("\\u{41}\\a", ["Aa"], ["\\u{41}a2"]),
      ("(root)", ["(root)"], ["\\(root)", "a"]),
      ("\\(root)", ["\\(root)"], ["(root)"]),
      ("\u{e9}", ["\u{e9}"], ["e\u{301}", "e"]),
      ("**/**/a", ["a", "x/a", "x/y/z/a"], ["a/x"]),
      ("a/**/**", ["a", "a/b", "a/b/c"], ["b"]),
      ("*/**", ["a", "a/b", "\\e"], ["(root)"]),
    ] as [(String, [String], [String])])
  func `a pattern matches these paths and not those`(text: String, matching: [String], others: [String])
    throws
  {
    let pattern = try PathPattern(text)
    for path in matching { #expect(pattern.matches(TreePath(stringLiteral: path)), "\(path)") }
    for path in others { #expect(!pattern.matches(TreePath(stringLiteral: path)), "\(path)") }
  }

  @Test(arguments: [
    ("params", ["params", "params/a", "params/a/b"], ["par", "x/params"]),
    ("*/b", ["a/b", "a/b/c/d"], ["a", "a/c/b"]),
    ("**/attention", ["attention/q", "x/y/attention/q/w"], ["x/attentions"]),
    ("(root)", ["(root)", "a"], []),
  ])
  func `a pattern selects what lies below what it matches`(text: String, selected: [String], others: [String])
    throws
  {
    let pattern = try PathPattern(text)
    for path in selected { #expect(pattern.selects(TreePath(stringLiteral: path)), "\(path)") }
    for path in others { #expect(!pattern.selects(TreePath(stringLiteral: path)), "\(path)") }
  }

  @Test(arguments: [
    ("", "A pattern is empty. Write ** for everything."),
    ("a**", "character 2, `**`: ** stands for whole keys"),
    ("a/**b", "character 3, `**b`: ** stands for whole keys"),
    ("***", "character 1, `***`: ** stands for whole keys"),
    ("{**,a}", "character 2, `**,a}`: ** stands for whole keys"),
    ("a//b", "character 3, `/b`: there is no key before this /; the empty key is written \\e"),
    ("/a", "character 1, `/a`: there is no key before"),
    ("{/a,b}", "character 2, `/a,b}`: there is no key before"),
    ("a/", "character 2, `/`: there is no key after"), ("**/", "character 3, `/`: there is no key after"),
    ("a{b,c", "character 2, `{b,c`: this { is never closed"), ("a}", "character 2, `}`: this } closes no {"),
    ("a\\", "character 2, `\\\\`: this \\ begins no escape"),
    ("\\u{xyz}", "character 1, `\\\\u{xyz}`: this \\ begins no escape"),
  ])
  func `a malformed pattern is an error that points at the character`(text: String, part: String) {
    let error = thrown { () throws(GraftError) in _ = try PathPattern(text) }
    #expect(error?.code == .invalidArgument)
    #expect(error?.description.contains(part) == true, "\(error?.description ?? "no error")")
  }

  @Test func `length and nesting have limits`() throws {
    #expect(
      thrown { () throws(GraftError) in _ = try PathPattern(String(repeating: "a", count: 5000)) }?.code
        == .limitExceeded)
    let deep = String(repeating: "{", count: 2000) + String(repeating: "}", count: 2000)
    #expect(
      thrown { () throws(GraftError) in _ = try PathPattern(deep) }?.message.contains("character 17") == true)
    _ = try PathPattern(String(repeating: "{", count: 16) + "a" + String(repeating: "}", count: 16))
  }

  /// With backtracking each of these would take longer than the universe has.
  @Test(arguments: [
    String(repeating: "**/", count: 100) + "a", String(repeating: "*a", count: 100) + "b",
    String(repeating: "{*,?*}", count: 60) + "!", String(repeating: "**/*/", count: 60) + "!",
  ])
  func `hostile patterns take no longer than others`(text: String) throws {
    let pattern = try PathPattern(text)
    let path = TreePath([Key](repeating: Key(String(repeating: "a", count: 100)), count: 100))
    #expect(!pattern.matches(path))
  }

  @Test func `a printed path is a pattern for that path alone`() throws {
    var random = SeededGenerator.forTest()
    for _ in 0..<1000 {
      let (path, other) = (random.nastyPath(), random.nastyPath())
      let pattern = try PathPattern(path.description)
      #expect(pattern.matches(path), "seed \(random.seed): \(path)")
      #expect(pattern.matches(other) == (path == other), "seed \(random.seed): \(path) and \(other)")
    }
  }

  /// A second opinion: the plain recursive definition, fast enough for short texts.
  private func matches(_ pattern: ArraySlice<String>, _ keys: ArraySlice<Key>) -> Bool {
    guard let first = pattern.first else { return keys.isEmpty }
    if first == "**" {
      return matches(pattern.dropFirst(), keys) || !keys.isEmpty && matches(pattern, keys.dropFirst())
    }
    guard let key = keys.first else { return false }
    return matchesKey(Array(first)[...], Array(key.string)[...])
      && matches(pattern.dropFirst(), keys.dropFirst())
  }

  private func matchesKey(_ pattern: ArraySlice<Character>, _ text: ArraySlice<Character>) -> Bool {
    guard let first = pattern.first else { return text.isEmpty }
    if first == "*" {
      return matchesKey(pattern.dropFirst(), text) || !text.isEmpty && matchesKey(pattern, text.dropFirst())
    }
    guard let character = text.first, first == "?" || first == character else { return false }
    return matchesKey(pattern.dropFirst(), text.dropFirst())
  }

  @Test func `matching agrees with the definition`() throws {
    var random = SeededGenerator.forTest()
    func text(_ pieces: [String]) -> String {
      (0..<Int.random(in: 1...3, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }
        .joined()
    }
    var matched = 0
    for _ in 0..<5000 {
      let parts = (0..<Int.random(in: 1...4, using: &random)).map { _ in
        // A part of several stars would be read as `**`.
        Bool.random(using: &random) ? "**" : text(["a", "b", "?", "a*"])
      }
      guard !parts.contains(where: { $0 != "**" && $0.contains("**") }) else { continue }
      let path = TreePath((0..<Int.random(in: 0...4, using: &random)).map { _ in Key(text(["a", "b", ""])) })
      let expected = matches(parts[...], path.keys[...])
      if expected { matched += 1 }
      #expect(
        try PathPattern(parts.joined(separator: "/")).matches(path) == expected,
        "seed \(random.seed): \(parts.joined(separator: "/")) and \(path)")
    }
    #expect(matched > 100)
  }
}
