internal import GraftCore
internal import Yams

// A recipe is a file from anywhere, so that nothing in it may cost more than its length: text and nesting are bounded, and there
// are no aliases, of which a few lines can stand for billions of values.

extension RecipeNode {
  /// The longest recipe, in bytes; one with a step for each of ten thousand leaves is shorter.
  static let byteCountLimit = 1 << 20
  /// How deep lists and mappings may be nested; a recipe needs five.
  static let nestingLimit = 16

  /// The one document of a YAML text, which JSON is too; nil when the text is empty.
  init?(yaml text: String, _ place: RecipePlace) throws(GraftError) {
    guard text.utf8.count <= Self.byteCountLimit else {
      throw place.fault(
        "the recipe is too long", code: .limitExceeded, expected: "at most \(Self.byteCountLimit) bytes",
        found: "\(text.utf8.count)")
    }
    try Self.refuseAliases(in: text, place)
    let root: Node?
    do {
      // The basic resolver takes every scalar for text: what it means is for the step to say.
      root = try Parser(yaml: text, resolver: .basic, encoding: .utf8).singleRoot()
    } catch {
      throw Self.malformed(error, place)
    }
    guard let root else { return nil }
    self = try Self.node(root, depth: 0, place)
    if isNull { return nil }
  }

  private static func node(_ node: Node, depth: Int, _ place: RecipePlace) throws(GraftError) -> RecipeNode {
    let position = position(of: node)
    guard depth <= nestingLimit else {
      throw place.fault(
        "the recipe is nested too deeply", at: position, code: .limitExceeded,
        expected: "at most \(nestingLimit) levels")
    }
    let (tag, value): (Tag, Value)
    switch node {
    case .scalar(let scalar):
      (tag, value) = (scalar.tag, .scalar(scalar.string, isPlain: scalar.style == .plain))
    case .sequence(let sequence):
      var elements: [RecipeNode] = []
      for element in sequence { elements.append(try self.node(element, depth: depth + 1, place)) }
      (tag, value) = (sequence.tag, .list(elements))
    case .mapping(let mapping):
      var members: [Member] = []
      for (key, value) in mapping {
        guard case .scalar(let name) = key else {
          throw place.fault("a key of a mapping is text", at: self.position(of: key))
        }
        members.append(
          Member(
            key: name.string, position: self.position(of: key),
            value: try self.node(value, depth: depth + 1, place)))
      }
      (tag, value) = (mapping.tag, .mapping(members))
    case .alias: throw place.fault("a recipe has no aliases", at: position)
    }
    guard knownTags.contains(tag.description) else {
      throw place.fault(
        "the tag \(RecipePlace.shown(tag.description)) means nothing in a recipe", at: position,
        remedy: "leave the tag out")
    }
    return RecipeNode(value: value, position: position)
  }

  /// What the parser makes of a value without a tag, and of the tags that only say what a value is anyway.
  private static let knownTags: Set<String> = [
    "", "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map",
  ]

  private static func position(of node: Node) -> RecipePosition {
    guard let mark = node.mark else { return .start }
    return RecipePosition(line: mark.line, column: mark.column)
  }

  /// Refuses a text that names a value, `&name`, and repeats it, `*name`.
  ///
  /// Comments and quoted text are not told apart: that only a real alias has its name after both signs is near enough.
  private static func refuseAliases(in text: String, _ place: RecipePlace) throws(GraftError) {
    var anchors: Set<String> = []
    var aliases: [(name: String, position: RecipePosition)] = []
    var position = RecipePosition.start
    var sign: UInt8?
    var signPosition = position
    var name: [UInt8] = []
    func finish() {
      if let sign, !name.isEmpty {
        let name = String(decoding: name, as: UTF8.self)
        if sign == UInt8(ascii: "&") {
          anchors.insert(name)
        } else {
          aliases.append((name, signPosition))
        }
      }
      sign = nil
      name.removeAll(keepingCapacity: true)
    }
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "&"), UInt8(ascii: "*"):
        finish()
        (sign, signPosition) = (byte, position)
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
        if sign != nil { name.append(byte) }
      default: finish()
      }
      if byte == UInt8(ascii: "\n") {
        position = RecipePosition(line: position.line + 1, column: 1)
      } else if byte & 0xC0 != 0x80 {
        position.column += 1
      }
    }
    finish()
    if let alias = aliases.first(where: { anchors.contains($0.name) }) {
      throw place.fault(
        "a recipe has no aliases, and *\(alias.name) repeats what &\(alias.name) names", at: alias.position,
        remedy: "write the value out")
    }
  }

  private static func malformed(_ error: any Error, _ place: RecipePlace) -> GraftError {
    func fault(_ problem: String, _ mark: Mark, _ remedy: String? = nil) -> GraftError {
      place.fault(
        "the recipe is no YAML: \(problem)", at: RecipePosition(line: mark.line, column: mark.column),
        remedy: remedy)
    }
    // The parser's text of what it was about to do, then of what is wrong.
    func joined(_ context: YamlError.Context?, _ problem: String) -> String {
      context.map { "\($0.text), \(problem)" } ?? problem
    }
    guard let error = error as? YamlError else { return place.fault("the recipe is no YAML: \(error)") }
    switch error {
    case .scanner(let context, let problem, let mark, _):
      // The commonest mistake of all: a glob without quotes, which begins like an alias.
      let isGlob = context?.text.contains("alias") ?? false
      return fault(joined(context, problem), mark, isGlob ? "put a glob that begins with * in quotes" : nil)
    case .parser(let context, let problem, let mark, _): return fault(joined(context, problem), mark)
    case .composer(_, let problem, let mark, _):
      if problem.contains("alias") {
        return fault("\(problem)", mark, "put a glob that begins with * in quotes")
      }
      return fault("there is more than one document", mark)
    case .reader(let problem, let offset, _, _):
      return place.fault(
        "the recipe is no YAML: \(problem)\(offset.map { ", at character \($0 + 1)" } ?? "")")
    case .duplicatedKeysInMapping(let keys, let context):
      let names = keys.prefix(8).map(RecipePlace.shown).joined(separator: ", ")
      return place.fault(
        "a mapping has the key \(names) twice",
        at: RecipePosition(line: context.mark.line, column: context.mark.column),
        remedy: "write a step for each, in a list")
    default: return place.fault("the recipe is no YAML that can be read")
    }
  }
}
