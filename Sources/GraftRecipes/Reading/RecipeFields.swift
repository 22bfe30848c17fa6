internal import GraftCore

/// The parameters of a step, or of any mapping with known keys: each is asked for by name and type, and what nobody asked for is
/// an error at the end.
struct RecipeFields {
  let place: RecipePlace
  /// Where the mapping is.
  let position: RecipePosition
  /// What the mapping is, for errors: `the step`.
  private let subject: String
  private var members: [String: RecipeNode.Member] = [:]
  /// The keys in the order in which they were written.
  private var order: [String] = []
  private var asked: [String] = []

  /// - Parameter shorthand: the key that is meant where there is a scalar in place of a mapping; nil where there must be one.
  init(
    _ node: RecipeNode, _ place: RecipePlace, subject: String, shorthand: String? = nil
  ) throws(GraftError) {
    self.place = place
    self.subject = subject
    position = node.position
    switch node.value {
    case .mapping(let members):
      for member in members {
        order.append(member.key)
        self.members[member.key] = member
      }
    case .scalar where node.isNull: break
    case .scalar where shorthand != nil:
      let key = shorthand ?? ""
      order = [key]
      members = [key: RecipeNode.Member(key: key, position: node.position, value: node)]
    default:
      throw place.fault(
        "\(subject) takes parameters", at: node.position,
        expected: "a mapping\(shorthand.map { " or the value of \($0)" } ?? "")", found: node.kind)
    }
  }

  /// The value of a key; nil where the key is missing or has nothing.
  mutating func node(_ key: String) -> RecipeNode? {
    asked.append(key)
    guard let value = members[key]?.value, !value.isNull else { return nil }
    return value
  }

  /// The value of a key that must be there.
  mutating func required(_ key: String) throws(GraftError) -> RecipeNode {
    if let node = node(key) { return node }
    throw missing(key)
  }

  /// The error that a key is missing; parameters that were not asked for yet may be what was meant.
  func missing(_ key: String) -> GraftError {
    let near = NearName.nearest(to: key, among: order.filter { !asked.contains($0) }).first
    let found = order.prefix(8).map(RecipePlace.shown)
    return place.fault(
      "\(subject) needs \(key)", at: position,
      found: found.isEmpty ? nil : "only \(found.joined(separator: ", "))",
      remedy: near.map { "is \(RecipePlace.shown($0)) meant to be \(key)?" })
  }

  /// Whether the key is there.
  func has(_ key: String) -> Bool { members[key].map { !$0.value.isNull } ?? false }

  /// Throws where the mapping has a key that nobody asked for.
  func finish() throws(GraftError) {
    var errors: [GraftError] = []
    for key in order where !asked.contains(key) {
      let known = Array(Set(asked)).sorted()
      errors.append(
        place.fault(
          "\(subject) has no parameter \(RecipePlace.shown(key))", at: members[key]?.position,
          expected: known.isEmpty ? nil : "one of \(known.joined(separator: ", "))",
          remedy: NearName.suggestion(for: key, among: known)))
    }
    try GraftError.throwAll(errors)
  }
}

extension GraftError {
  /// Throws the first error with the others attached; does nothing when there are none.
  static func throwAll(_ errors: [GraftError]) throws(GraftError) {
    guard var first = errors.first else { return }
    first.others += errors.dropFirst()
    throw first
  }
}

// MARK: - Types

extension RecipeFields {
  func wrong(_ key: String, _ node: RecipeNode, expected: String) -> GraftError {
    place.fault(
      "the value of \(key) is wrong", at: node.position, expected: expected, found: node.kind)
  }

  /// A value that its type's own parser takes, whose error is put to its place.
  private func parsing<T>(
    _ node: RecipeNode, _ body: () throws(GraftError) -> T
  ) throws(GraftError) -> T {
    do throws(GraftError) {
      return try body()
    } catch {
      throw place.naming(error, at: node.position)
    }
  }

  func text(_ node: RecipeNode, _ key: String) throws(GraftError) -> String {
    guard case .scalar(let text, _) = node.value, !node.isNull else {
      throw wrong(key, node, expected: "text")
    }
    return text
  }

  func integer(_ node: RecipeNode, _ key: String) throws(GraftError) -> Int {
    guard case .scalar(let text, isPlain: true) = node.value, let number = Int(text),
      number.magnitude <= Self.integerLimit
    else { throw wrong(key, node, expected: "an integer") }
    return number
  }

  /// The largest extent, count or index that a recipe names: sums of a few of them are far from overflowing.
  private static let integerLimit = 1 << 52

  func number(_ node: RecipeNode, _ key: String) throws(GraftError) -> Double {
    guard case .scalar(let text, isPlain: true) = node.value, let number = Self.number(text) else {
      throw wrong(key, node, expected: "a number")
    }
    return number
  }

  /// YAML's numbers: `2`, `0.5`, `-1e-3`, `.inf`, `.nan`.
  private static func number(_ text: String) -> Double? {
    switch text.lowercased() {
    case ".inf", "+.inf": return .infinity
    case "-.inf": return -.infinity
    case ".nan": return .nan
    default:
      // Swift would read `nan(0x1)` and hexadecimal floats too.
      guard text.utf8.allSatisfy({ "+-.eE0123456789".utf8.contains($0) }), let number = Double(text),
        number.isFinite
      else { return nil }
      return number
    }
  }

  func list(_ node: RecipeNode, _ key: String, of what: String) throws(GraftError) -> [RecipeNode] {
    guard case .list(let elements) = node.value else { throw wrong(key, node, expected: "a list of \(what)") }
    return elements
  }

  mutating func text(_ key: String) throws(GraftError) -> String? {
    guard let node = node(key) else { return nil }
    return try text(node, key)
  }

  mutating func requiredText(_ key: String) throws(GraftError) -> String { try text(required(key), key) }

  mutating func integer(_ key: String) throws(GraftError) -> Int? {
    guard let node = node(key) else { return nil }
    return try integer(node, key)
  }

  mutating func integer(_ key: String, default fallback: Int) throws(GraftError) -> Int {
    try integer(key) ?? fallback
  }

  mutating func requiredInteger(_ key: String) throws(GraftError) -> Int { try integer(required(key), key) }

  mutating func number(_ key: String) throws(GraftError) -> Double? {
    guard let node = node(key) else { return nil }
    return try number(node, key)
  }

  mutating func number(_ key: String, default fallback: Double) throws(GraftError) -> Double {
    try number(key) ?? fallback
  }

  mutating func requiredNumber(_ key: String) throws(GraftError) -> Double { try number(required(key), key) }

  mutating func flag(_ key: String) throws(GraftError) -> Bool? {
    guard let node = node(key) else { return nil }
    switch node.value {
    case .scalar("true", isPlain: true), .scalar("True", isPlain: true), .scalar("TRUE", isPlain: true):
      return true
    case .scalar("false", isPlain: true), .scalar("False", isPlain: true), .scalar("FALSE", isPlain: true):
      return false
    default: throw wrong(key, node, expected: "true or false")
    }
  }

  mutating func texts(_ key: String) throws(GraftError) -> [String]? {
    guard let node = node(key) else { return nil }
    var texts: [String] = []
    for element in try list(node, key, of: "texts") { texts.append(try text(element, key)) }
    return texts
  }

  mutating func integers(_ key: String) throws(GraftError) -> [Int]? {
    guard let node = node(key) else { return nil }
    var integers: [Int] = []
    for element in try list(node, key, of: "integers") { integers.append(try integer(element, key)) }
    return integers
  }

  mutating func requiredIntegers(_ key: String) throws(GraftError) -> [Int] {
    guard let integers = try integers(key) else { throw missing(key) }
    return integers
  }

  mutating func numbers(_ key: String) throws(GraftError) -> [Double]? {
    guard let node = node(key) else { return nil }
    var numbers: [Double] = []
    for element in try list(node, key, of: "numbers") { numbers.append(try number(element, key)) }
    return numbers
  }

  mutating func dtype(_ key: String) throws(GraftError) -> DType? {
    guard let node = node(key) else { return nil }
    return try dtype(node, key)
  }

  func dtype(_ node: RecipeNode, _ key: String) throws(GraftError) -> DType {
    let name = try text(node, key)
    if let dtype = DType(rawValue: name) { return dtype }
    throw place.fault(
      "\(RecipePlace.shown(name)) is no dtype", at: node.position, expected: "a dtype as NumPy spells it",
      remedy: NearName.suggestion(for: name, among: DType.allCases.map(\.rawValue)))
  }

  mutating func shape(_ key: String) throws(GraftError) -> Shape {
    let node = try required(key)
    guard let extents = try integers(key), let shape = Shape(checked: extents) else {
      throw wrong(key, node, expected: "a list of extents, none negative")
    }
    return shape
  }

  /// One of some names.
  mutating func choice<T>(_ key: String, _ choices: [(name: String, value: T)]) throws(GraftError) -> T? {
    guard let node = node(key) else { return nil }
    let name = try text(node, key)
    if let choice = choices.first(where: { $0.name == name }) { return choice.value }
    throw place.fault(
      "the value of \(key) is wrong", at: node.position,
      expected: choices.map(\.name).joined(separator: " or "), found: RecipePlace.shown(name),
      remedy: NearName.suggestion(for: name, among: choices.map(\.name)))
  }

  func path(_ node: RecipeNode, _ key: String) throws(GraftError) -> TreePath {
    let text = try text(node, key)
    guard let path = TreePath(parsing: text) else {
      throw place.fault(
        "\(RecipePlace.shown(text)) is no path", at: node.position,
        remedy: "write a \\ that stands for itself as \\\\")
    }
    return path
  }

  mutating func requiredPath(_ key: String) throws(GraftError) -> TreePath { try path(required(key), key) }

  mutating func paths(_ key: String) throws(GraftError) -> [TreePath]? {
    guard let node = node(key) else { return nil }
    var paths: [TreePath] = []
    for element in try list(node, key, of: "paths") { paths.append(try path(element, key)) }
    return paths
  }

  mutating func glob(_ key: String) throws(GraftError) -> PathPattern? {
    guard let node = node(key) else { return nil }
    let text = try text(node, key)
    return try parsing(node) { () throws(GraftError) in try PathPattern(text) }
  }

  mutating func requiredGlob(_ key: String) throws(GraftError) -> PathPattern {
    guard let glob = try glob(key) else { throw missing(key) }
    return glob
  }

  mutating func regex(_ key: String) throws(GraftError) -> PathRegex {
    let node = try required(key)
    let text = try text(node, key)
    return try parsing(node) { () throws(GraftError) in try PathRegex(text) }
  }

  func template(_ node: RecipeNode, _ key: String) throws(GraftError) -> PathTemplate {
    let text = try text(node, key)
    return try parsing(node) { () throws(GraftError) in try PathTemplate(text) }
  }

  mutating func template(_ key: String) throws(GraftError) -> PathTemplate {
    try template(required(key), key)
  }

  mutating func slice(_ key: String) throws(GraftError) -> TensorSlice {
    let node = try required(key)
    let text = try text(node, key)
    return try parsing(node) { () throws(GraftError) in try TensorSlice(parsing: text) }
  }

  /// The leaves that a step concerns: `select` with a glob, or `pattern` with a regular expression; exactly one of them.
  mutating func leaves() throws(GraftError) -> LeafPattern {
    if has("pattern") {
      guard !has("select") else {
        throw place.fault("\(subject) takes select or pattern, not both", at: position)
      }
      return .regex(try regex("pattern"))
    }
    _ = node("pattern")
    return .glob(try requiredGlob("select"))
  }

  /// An error of a value that was read already.
  func fault(
    _ message: String, in key: String, expected: String? = nil, found: String? = nil, remedy: String? = nil
  ) -> GraftError {
    place.fault(
      message, at: members[key]?.value.position ?? position, expected: expected, found: found, remedy: remedy)
  }
}
