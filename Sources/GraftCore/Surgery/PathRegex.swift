// Regular expressions over paths. They are text in recipes and values in steps, so they must compare, hash and be sent; text from
// outside must not make matching take for ever; and 100,000 paths are matched against several of them while someone waits. Swift's
// Regex is neither Sendable nor bounded, and took 2.3 µs for a path of 50 bytes that matches `^(.*)/weight$` and 6.9 µs for one that
// does not (Swift 6.3.1, release, 100,000 paths, the same run); this one takes 0.4 and 0.7 µs.

/// A regular expression over a printed path, in the syntax that Python's `re` and most others share, matched in linear time.
///
/// Literals, `.`, classes `[a-z]` `\d` `\w` `\s` (of ASCII), groups `(…)` and `(?:…)`, alternation, `*` `+` `?` `{2,3}` and their
/// lazy forms, `^` `$` `\b`. There are no references back and no lookaround, which cannot be matched in bounded time. It sees
/// Unicode scalars.
public struct PathRegex: Sendable {
  /// The expression as it was written.
  public let text: String
  /// How many groups capture.
  public let captureCount: Int

  let instructions: [Instruction]
  let classes: [ScalarClass]
  /// What a match begins with, whatever it captures.
  let firstInstruction: Instruction
  /// What every text begins with that matches as a whole, and what it ends with: most others are told apart by that alone.
  let ends: (first: [UInt8], last: [UInt8])
  /// How many of the instructions are splits, which alone have to be remembered to keep the time linear.
  let splitCount: Int

  enum Instruction: Sendable {
    case byte(UInt8)
    case anyScalar
    case scalars(Int)
    /// Goes on at the first place, and at the second if that fails; the number counts splits.
    case split(Int, Int, number: Int)
    case jump(Int)
    case save(Int)
    case start, end
    case wordBoundary(Bool)
    case accept
  }

  /// The longest expression, in UTF-8 bytes.
  public static let byteLimit = 4096
  /// How deep groups may be nested.
  public static let nestingLimit = 64
  /// The most instructions that an expression may come to; counted repetition multiplies them.
  static let instructionLimit = 8192

  /// An expression from its text.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` that says which character is at fault and why.
  public init(_ text: String) throws(GraftError) {
    var parser = PathRegexParser(text)
    let root = try parser.parse()
    var compiler = PathRegexCompiler(text)
    try compiler.compile(root)
    self.text = text
    captureCount = parser.captureCount
    let instructions = compiler.instructions + [.accept]
    self.instructions = instructions
    firstInstruction =
      instructions.first {
        if case .save = $0 { false } else { true }
      } ?? .accept
    ends = Self.ends(of: instructions)
    classes = compiler.classes
    splitCount = compiler.splitCount
  }
}

extension PathRegex {
  /// The bytes that come first and last whatever way is taken through the instructions.
  private static func ends(of instructions: [Instruction]) -> (first: [UInt8], last: [UInt8]) {
    /// The bytes that instructions ask for one after the other, up to the first that does something else.
    func bytes(_ instructions: some Sequence<Instruction>) -> [UInt8] {
      var bytes: [UInt8] = []
      loop: for instruction in instructions {
        switch instruction {
        case .byte(let byte): bytes.append(byte)
        case .save, .start, .end: break
        case .anyScalar, .scalars, .split, .jump, .wordBoundary, .accept: break loop
        }
      }
      return bytes
    }
    // What is jumped to may be come to without what stands before it.
    let lastTarget = instructions.reduce(0) { last, instruction in
      switch instruction {
      case .split(let first, let second, _): Swift.max(last, first, second)
      case .jump(let target): Swift.max(last, target)
      default: last
      }
    }
    return (bytes(instructions), bytes(instructions[lastTarget...].dropLast().reversed()).reversed())
  }
}

extension PathRegex: Hashable {
  /// Whether both were written alike.
  public static func == (a: PathRegex, b: PathRegex) -> Bool { a.text == b.text }
  /// Hashes the text.
  public func hash(into hasher: inout Hasher) { hasher.combine(text) }
}

extension PathRegex: CustomStringConvertible, ExpressibleByStringLiteral {
  /// The expression as it was written.
  public var description: String { text }

  /// An expression that the program itself wrote; traps when it is malformed, so use ``init(_:)`` for text from outside.
  public init(stringLiteral value: String) {
    do throws(GraftError) { self = try PathRegex(value) } catch { preconditionFailure("\(error)") }
  }
}

extension PathRegex {
  /// The captures of a match of the whole text, each nil where its group had no part in it; nil where there is no match.
  public func wholeMatch(in text: String) -> [String?]? {
    var matcher = PathRegexMatcher(self)
    let bytes = Array(text.utf8)
    guard matcher.matchesWhole(bytes.span) else { return nil }
    return (1..<(captureCount + 1)).map { index in
      matcher.capture(index).map { String(decoding: bytes[$0], as: UTF8.self) }
    }
  }
}

/// A set of Unicode scalars.
struct ScalarClass: Sendable {
  /// Whether each ASCII scalar is in it.
  private var low: UInt64 = 0
  private var high: UInt64 = 0
  private var ranges: [ClosedRange<UInt32>] = []
  var isNegated = false

  mutating func insert(_ range: ClosedRange<UInt32>) {
    for value in range {
      if value >= 128 { break }
      if value < 64 { low |= 1 << UInt64(value) } else { high |= 1 << UInt64(value - 64) }
    }
    if range.upperBound >= 128 { ranges.append(Swift.max(range.lowerBound, 128)...range.upperBound) }
  }

  func contains(_ value: UInt32) -> Bool {
    let isIn =
      if value < 64 {
        low >> UInt64(value) & 1 == 1
      } else if value < 128 {
        high >> UInt64(value - 64) & 1 == 1
      } else {
        ranges.contains { $0.contains(value) }
      }
    return isIn != isNegated
  }
}

// MARK: - Matching

/// A regular expression with the memory that matching takes, for matching many texts one after the other.
package struct PathRegexMatcher {
  private let regex: PathRegex
  /// Which splits were reached where, a bit each: what failed once is not tried again.
  private var visited: [UInt64] = []
  private var stack: [Frame] = []
  /// Where each capture begins and ends, that of the whole match first; -1 where it has no part.
  private var captures: [Int]

  private enum Frame {
    case resume(Int, Int)
    case restore(slot: Int, Int)
  }

  package init(_ regex: PathRegex) {
    self.regex = regex
    captures = [Int](repeating: -1, count: 2 * (regex.captureCount + 1))
  }

  /// Where a group of the last match is; nil where it had no part in it.
  package func capture(_ index: Int) -> Range<Int>? {
    let (lower, upper) = (captures[2 * index], captures[2 * index + 1])
    return lower >= 0 && upper >= lower ? lower..<upper : nil
  }

  /// Whether the expression matches the whole text, which is UTF-8.
  package mutating func matchesWhole(_ text: Span<UInt8>) -> Bool {
    let (first, last) = regex.ends
    guard text.count >= Swift.max(first.count, last.count),
      last.indices.allSatisfy({ last[$0] == text[text.count - last.count + $0] }),
      first.indices.allSatisfy({ first[$0] == text[$0] })
    else { return false }
    begin(text)
    return run(text, from: 0, isWhole: true)
  }

  /// Whether the expression matches somewhere from a position on: the leftmost match.
  package mutating func search(_ text: Span<UInt8>, from first: Int) -> Bool {
    begin(text)
    var position = first
    while position <= text.count {
      // Where a match can begin at all is mostly seen from the first instruction, without running the others.
      switch regex.firstInstruction {
      case .byte(let byte):
        while position < text.count, text[position] != byte { position += 1 }
        if position == text.count { return false }
      case .start: if position > 0 { return false }
      default: break
      }
      // What failed from an earlier beginning fails from this one too, so it stays marked.
      if run(text, from: position, isWhole: false) { return true }
      position += position < text.count ? Self.width(text[position]) : 1
    }
    return false
  }

  private mutating func begin(_ text: Span<UInt8>) {
    let wordCount = (regex.splitCount * (text.count + 1) + 63) / 64
    if visited.count < wordCount {
      visited = [UInt64](repeating: 0, count: wordCount)
    } else {
      for index in 0..<wordCount { visited[index] = 0 }
    }
  }

  private mutating func run(_ text: Span<UInt8>, from first: Int, isWhole: Bool) -> Bool {
    for index in captures.indices { captures[index] = -1 }
    stack.removeAll(keepingCapacity: true)
    stack.append(.resume(0, first))
    while let frame = stack.popLast() {
      guard case .resume(var counter, var position) = frame else {
        if case .restore(let slot, let value) = frame { captures[slot] = value }
        continue
      }
      step: while true {
        switch regex.instructions[counter] {
        case .byte(let byte):
          guard position < text.count, text[position] == byte else { break step }
          position += 1
          counter += 1
        case .anyScalar:
          guard position < text.count else { break step }
          position += Self.width(text[position])
          counter += 1
        case .scalars(let index):
          guard position < text.count else { break step }
          let (scalar, width) = Self.scalar(text, at: position)
          guard regex.classes[index].contains(scalar) else { break step }
          position += width
          counter += 1
        case .split(let next, let other, let number):
          let bit = number * (text.count + 1) + position
          guard visited[bit / 64] >> UInt64(bit % 64) & 1 == 0 else { break step }
          visited[bit / 64] |= 1 << UInt64(bit % 64)
          stack.append(.resume(other, position))
          counter = next
        case .jump(let target): counter = target
        case .save(let slot):
          stack.append(.restore(slot: slot, captures[slot]))
          captures[slot] = position
          counter += 1
        case .start:
          guard position == 0 else { break step }
          counter += 1
        case .end:
          guard position == text.count else { break step }
          counter += 1
        case .wordBoundary(let isWanted):
          let before = position > 0 && Self.isWord(text[position - 1])
          let after = position < text.count && Self.isWord(text[position])
          guard (before != after) == isWanted else { break step }
          counter += 1
        case .accept:
          guard !isWhole || position == text.count else { break step }
          captures[0] = first
          captures[1] = position
          return true
        }
      }
    }
    return false
  }

  /// The bytes of the scalar that begins with this one; texts are valid UTF-8.
  static func width(_ byte: UInt8) -> Int {
    byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4
  }

  private static func scalar(_ text: Span<UInt8>, at position: Int) -> (UInt32, Int) {
    let first = text[position]
    if first < 0x80 { return (UInt32(first), 1) }
    let width = Swift.min(width(first), text.count - position)
    var value = UInt32(first) & (0xFF >> UInt32(width + 1))
    for index in 1..<Swift.max(width, 1) { value = value << 6 | UInt32(text[position + index] & 0x3F) }
    return (value, Swift.max(width, 1))
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "_"):
      true
    default: false
    }
  }
}
