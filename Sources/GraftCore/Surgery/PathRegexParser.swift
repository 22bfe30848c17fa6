/// What a regular expression is made of.
indirect enum PathRegexNode {
  case scalar(Unicode.Scalar)
  case anyScalar
  case scalars(ScalarClass)
  case start, end
  case wordBoundary(Bool)
  case sequence([PathRegexNode])
  case alternatives([PathRegexNode])
  case capture(Int, PathRegexNode)
  case repetition(PathRegexNode, least: Int, most: Int?, isLazy: Bool)
}

/// Reads the text of a regular expression.
struct PathRegexParser {
  private let text: String
  private let scalars: [Unicode.Scalar]
  private var position = 0
  private(set) var captureCount = 0

  init(_ text: String) {
    self.text = text
    scalars = Array(text.unicodeScalars)
  }

  mutating func parse() throws(GraftError) -> PathRegexNode {
    guard text.utf8.count <= PathRegex.byteLimit else {
      throw GraftError(
        .limitExceeded, "a regular expression is too long", expected: "at most \(PathRegex.byteLimit) bytes",
        found: "\(text.utf8.count) bytes")
    }
    let node = try alternatives(depth: 0)
    guard position == scalars.count else { throw wrong("`)` closes no group") }
    return node
  }

  private func wrong(_ message: String, remedy: String? = nil) -> GraftError {
    GraftError(
      .invalidArgument,
      "the regular expression '\(TreePath.printable(text))' is malformed at character \(position + 1): \(message)",
      remedy: remedy)
  }

  private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard next == scalar else { return false }
    position += 1
    return true
  }

  private mutating func alternatives(depth: Int) throws(GraftError) -> PathRegexNode {
    guard depth <= PathRegex.nestingLimit else { throw wrong("groups are nested too deeply") }
    var branches: [PathRegexNode] = []
    repeat {
      var items: [PathRegexNode] = []
      while let scalar = next, scalar != "|", scalar != ")" {
        let atom = try atom(depth: depth)
        items.append(try repeated(atom))
      }
      branches.append(items.count == 1 ? items[0] : .sequence(items))
    } while take("|")
    return branches.count == 1 ? branches[0] : .alternatives(branches)
  }

  private mutating func atom(depth: Int) throws(GraftError) -> PathRegexNode {
    let scalar = scalars[position]
    switch scalar {
    case "(":
      position += 1
      var index: Int?
      if take("?") {
        guard take(":") else {
          throw wrong(
            "only groups of the forms (…) and (?:…) are known",
            remedy: "lookaround, flags and names are not supported; captures are counted from 1")
        }
      } else {
        captureCount += 1
        index = captureCount
      }
      let inner = try alternatives(depth: depth + 1)
      guard take(")") else { throw wrong("a group is not closed") }
      return index.map { .capture($0, inner) } ?? inner
    case "[": return .scalars(try scalarClass())
    case ".":
      position += 1
      return .anyScalar
    case "^":
      position += 1
      return .start
    case "$":
      position += 1
      return .end
    case "\\":
      position += 1
      return try escape()
    case "*", "+", "?": throw wrong("there is nothing to repeat before `\(scalar)`")
    default:
      position += 1
      return .scalar(scalar)
    }
  }

  private mutating func repeated(_ atom: PathRegexNode) throws(GraftError) -> PathRegexNode {
    var bounds: (least: Int, most: Int?)
    switch next {
    case "*": bounds = (0, nil)
    case "+": bounds = (1, nil)
    case "?": bounds = (0, 1)
    case "{":
      // A brace that begins no count stands for itself, as in Python.
      guard let counted = counted() else { return atom }
      bounds = counted
      position -= 1
    default: return atom
    }
    position += 1
    if let most = bounds.most, most < bounds.least {
      throw wrong("the bounds of a repetition are the wrong way round")
    }
    let isLazy = take("?")
    if let following = next, following == "*" || following == "+" || following == "?" {
      throw wrong("a repetition cannot be repeated", remedy: "put it into a group (?:…)")
    }
    return .repetition(atom, least: bounds.least, most: bounds.most, isLazy: isLazy)
  }

  /// Takes `{2}`, `{2,}`, `{,3}` or `{2,3}`; nothing if it is none of these.
  private mutating func counted() -> (least: Int, most: Int?)? {
    let before = position
    position += 1
    let least = number()
    var most = least
    if take(",") { most = number() } else if least == nil { position = before; return nil }
    guard take("}"), least != nil || most != nil else {
      position = before
      return nil
    }
    return (least ?? 0, most)
  }

  private mutating func number() -> Int? {
    var value: Int?
    while let scalar = next, ("0"..."9").contains(scalar) {
      value = Swift.min((value ?? 0) * 10 + Int(scalar.value - 48), PathRegex.instructionLimit + 1)
      position += 1
    }
    return value
  }

  private mutating func escape() throws(GraftError) -> PathRegexNode {
    guard let scalar = next else { throw wrong("it ends with a backslash") }
    position += 1
    switch scalar {
    case "b": return .wordBoundary(true)
    case "B": return .wordBoundary(false)
    case "A": return .start
    case "Z", "z": return .end
    case "1"..."9":
      throw wrong("references back to a capture are not supported", remedy: "write the alternatives out")
    default:
      var scalars = ScalarClass()
      if insertShorthand(scalar, into: &scalars) { return .scalars(scalars) }
      return .scalar(try literal(scalar))
    }
  }

  private func literal(_ scalar: Unicode.Scalar) throws(GraftError) -> Unicode.Scalar {
    guard scalar.isASCII, scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) else {
      return scalar
    }
    switch scalar {
    case "n": return "\n"
    case "t": return "\t"
    default: throw wrong("the escape `\\\(scalar)` is unknown")
    }
  }

  /// Inserts what `\d`, `\w` or `\s` stands for; whether it is one of these or their negations.
  private func insertShorthand(_ scalar: Unicode.Scalar, into scalars: inout ScalarClass) -> Bool {
    let ranges: [ClosedRange<UInt32>]
    switch scalar {
    case "d", "D": ranges = [48...57]
    case "w", "W": ranges = [48...57, 65...90, 95...95, 97...122]
    case "s", "S": ranges = [9...13, 32...32]
    default: return false
    }
    guard scalar.properties.isUppercase else {
      ranges.forEach { scalars.insert($0) }
      return true
    }
    var lower: UInt32 = 0
    for range in ranges {
      if lower < range.lowerBound { scalars.insert(lower...(range.lowerBound - 1)) }
      lower = range.upperBound + 1
    }
    scalars.insert(lower...0x10FFFF)
    return true
  }

  private mutating func scalarClass() throws(GraftError) -> ScalarClass {
    position += 1
    var result = ScalarClass()
    result.isNegated = take("^")
    var isFirst = true
    while true {
      guard let scalar = next else { throw wrong("a class is not closed") }
      if scalar == "]", !isFirst {
        position += 1
        return result
      }
      isFirst = false
      position += 1
      var lower = scalar
      if scalar == "\\" {
        guard let escaped = next else { throw wrong("a class is not closed") }
        position += 1
        if insertShorthand(escaped, into: &result) { continue }
        lower = try literal(escaped)
      }
      var upper = lower
      if next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" {
        position += 1
        upper = scalars[position]
        position += 1
        if upper == "\\" {
          guard let escaped = next else { throw wrong("a class is not closed") }
          position += 1
          upper = try literal(escaped)
        }
      }
      guard lower <= upper else { throw wrong("a range of a class is the wrong way round") }
      result.insert(lower.value...upper.value)
    }
  }
}

/// Turns a regular expression into instructions.
struct PathRegexCompiler {
  private let text: String
  private(set) var instructions: [PathRegex.Instruction] = []
  private(set) var classes: [ScalarClass] = []
  private(set) var splitCount = 0
  /// How many nodes were compiled: what is repeated may be nothing, so counting instructions alone would not end.
  private var compiledCount = 0

  init(_ text: String) { self.text = text }

  mutating func compile(_ node: PathRegexNode) throws(GraftError) {
    compiledCount += 1
    guard compiledCount <= 8 * PathRegex.instructionLimit else { throw tooLarge }
    switch node {
    case .scalar(let scalar):
      for byte in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter { try add(.byte(byte)) }
    case .anyScalar: try add(.anyScalar)
    case .scalars(let scalars):
      classes.append(scalars)
      try add(.scalars(classes.count - 1))
    case .start: try add(.start)
    case .end: try add(.end)
    case .wordBoundary(let isWanted): try add(.wordBoundary(isWanted))
    case .sequence(let items): for item in items { try compile(item) }
    case .capture(let index, let inner):
      try add(.save(2 * index))
      try compile(inner)
      try add(.save(2 * index + 1))
    case .alternatives(let branches):
      var jumps: [Int] = []
      for (index, branch) in branches.enumerated() {
        guard index < branches.count - 1 else {
          try compile(branch)
          break
        }
        let split = try addSplit()
        try compile(branch)
        jumps.append(instructions.count)
        try add(.jump(0))
        resolve(split, first: split + 1, second: instructions.count)
      }
      for jump in jumps { instructions[jump] = .jump(instructions.count) }
    case .repetition(let inner, let least, let most, let isLazy):
      for _ in 0..<least { try compile(inner) }
      if let most {
        var splits: [Int] = []
        for _ in least..<most {
          splits.append(try addSplit())
          try compile(inner)
        }
        for split in splits { resolve(split, body: split + 1, after: instructions.count, isLazy: isLazy) }
      } else {
        let split = try addSplit()
        try compile(inner)
        try add(.jump(split))
        resolve(split, body: split + 1, after: instructions.count, isLazy: isLazy)
      }
    }
  }

  private mutating func add(_ instruction: PathRegex.Instruction) throws(GraftError) {
    guard instructions.count < PathRegex.instructionLimit else { throw tooLarge }
    instructions.append(instruction)
  }

  private var tooLarge: GraftError {
    GraftError(
      .limitExceeded, "the regular expression '\(TreePath.printable(text))' is too large",
      remedy: "repeat fewer times, or less")
  }

  private mutating func addSplit() throws(GraftError) -> Int {
    try add(.split(0, 0, number: splitCount))
    splitCount += 1
    return instructions.count - 1
  }

  private mutating func resolve(_ split: Int, body: Int, after: Int, isLazy: Bool) {
    resolve(split, first: isLazy ? after : body, second: isLazy ? body : after)
  }

  private mutating func resolve(_ split: Int, first: Int, second: Int) {
    guard case .split(_, _, let number) = instructions[split] else { return }
    instructions[split] = .split(first, second, number: number)
  }
}
