public import Graft
internal import GraftCore
internal import GraftIO

/// A surgery that a file says: named checkpoints, then ordered steps over one tree.
///
/// A recipe is YAML, or JSON. `docs/recipes.md` has every step with its parameters. Reading one checks everything that can be known
/// without a checkpoint, and says what is wrong by line, column and step.
/// ```swift
/// let recipe = try await Recipe(at: "merge.yaml")
/// let surgery = try recipe.surgery(on: try await recipe.openSources())
/// try await surgery.save(to: "merged.safetensors")
/// ```
public struct Recipe: Sendable {
  /// A checkpoint that a recipe names.
  public struct Source: Hashable, Sendable {
    /// What the steps call it.
    public var name: String
    /// Where it is; a relative path was taken to be relative to the recipe's folder.
    public var path: String
    /// Which step of a folder of steps; nil for the latest.
    public var step: String?
    /// Which part of an Orbax checkpoint that has several; nil for the usual one.
    public var checkpointable: String?
  }

  /// The name of the checkpoint that the tree starts as, where a recipe is applied to one.
  public static let startingSourceName = "source"

  /// The recipe's file, or what stands for one in errors.
  public let name: String
  /// The checkpoints that the recipe names, in its order.
  public internal(set) var sources: [Source] = []
  private(set) var steps: [RecipeStep] = []
  private(set) var expectation: RecipeExpectation?

  /// A recipe without a step.
  package init() { name = "" }

  /// Reads a recipe from a file.
  ///
  /// - Throws: ``GraftError`` that names the file, and the line, column and step where something is wrong.
  @concurrent
  public init(at path: String) async throws(GraftError) {
    let bytes = try await BlockingThreads.shared.run { () throws(GraftError) in
      let file = try File(opening: path)
      guard file.byteCount <= RecipeNode.byteCountLimit else {
        throw GraftError(
          .limitExceeded, "the file is too long for a recipe", file: path,
          expected: "at most \(RecipeNode.byteCountLimit) bytes", found: "\(file.byteCount)",
          remedy: "is it a checkpoint?")
      }
      return try file.readFully(ByteRange(offset: 0, count: file.byteCount))
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw GraftError(
        .invalidArgument, "the file is no text in UTF-8, as a recipe is", file: path,
        remedy: "is it a checkpoint?")
    }
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
    try self.init(parsing: text, named: path, folder: folder)
  }

  /// Reads a recipe from its text.
  ///
  /// - Parameters:
  ///   - text: YAML, or JSON.
  ///   - name: what errors call the recipe.
  ///   - folder: what relative paths of sources are relative to, ending in a slash; "" for the current folder.
  /// - Throws: ``GraftError`` of code `invalidArgument` that names the line, column and step where something is wrong.
  public init(parsing text: String, named name: String = "recipe", folder: String = "") throws(GraftError) {
    self.name = name
    try read(text, folder: folder)
  }

  /// Adds what a recipe says, or an option of a command.
  mutating func add(_ step: RecipeStep) { steps.append(step) }

  private mutating func read(_ text: String, folder: String) throws(GraftError) {
    let place = RecipePlace(recipe: name)
    guard let root = try RecipeNode(yaml: text, place) else {
      throw place.fault("the recipe is empty", expected: "sources, steps, expect")
    }
    var fields = try RecipeFields(root, place, subject: "the recipe")
    _ = try fields.text("description")
    if let node = fields.node("sources") { sources = try Self.sources(node, place, folder: folder) }
    let stepNodes = try fields.node("steps").map { (node) throws(GraftError) in
      try fields.list(node, "steps", of: "steps")
    }
    if let node = fields.node("expect") { expectation = try RecipeExpectation(node, place) }
    try fields.finish()
    var errors: [GraftError] = []
    for (index, node) in (stepNodes ?? []).enumerated() {
      do throws(GraftError) {
        steps.append(try RecipeStep(node, number: index + 1, recipe: name))
      } catch {
        // Each step has its own mistakes, and nobody wants to find them one by one.
        errors.append(error)
        if errors.count == GraftError.printedOthersLimit + 1 { break }
      }
    }
    nameAdapters(folder: folder)
    errors += unknownSources(place)
    try GraftError.throwAll(errors)
  }

  private static func sources(
    _ node: RecipeNode, _ place: RecipePlace, folder: String
  ) throws(GraftError) -> [Source] {
    guard case .mapping(let members) = node.value else {
      throw place.fault(
        "the value of sources is wrong", at: node.position, expected: "a mapping of names to paths",
        found: node.kind)
    }
    var sources: [Source] = []
    for member in members {
      var fields = try RecipeFields(
        member.value, place, subject: "the source \(RecipePlace.shown(member.key))", shorthand: "path")
      guard member.key != startingSourceName else {
        throw place.fault(
          "the name \(startingSourceName) is that of the checkpoint which the recipe is applied to",
          at: member.position, remedy: "give the source another name")
      }
      let path = try fields.requiredText("path")
      sources.append(
        Source(
          name: member.key, path: path.hasPrefix("/") ? path : folder + path, step: try fields.text("step"),
          checkpointable: try fields.text("checkpointable")))
      try fields.finish()
    }
    return sources
  }

  /// Makes the adapters that steps name by their paths sources of those names.
  private mutating func nameAdapters(folder: String) {
    for step in steps {
      guard let adapter = (step.action as? LoRAAction)?.adapter, adapter != Self.startingSourceName,
        !sources.contains(where: { $0.name == adapter })
      else { continue }
      sources.append(Source(name: adapter, path: adapter.hasPrefix("/") ? adapter : folder + adapter))
    }
  }

  /// Errors for the steps that read sources which the recipe does not name.
  private func unknownSources(_ place: RecipePlace) -> [GraftError] {
    let known = sources.map(\.name) + [Self.startingSourceName]
    return steps.flatMap { step -> [GraftError] in
      guard let action = step.action as? any SourceReading else { return [] }
      return action.sourceNames.filter { !known.contains($0) }.map { name in
        step.place.fault(
          "there is no source \(RecipePlace.shown(name))",
          expected: "one of \(known.joined(separator: ", "))",
          remedy: NearName.suggestion(for: name, among: known) ?? "name it under sources")
      }
    }
  }
}

extension RecipeStep {
  /// A step from what a recipe says: a mapping of the kind to its parameters.
  init(_ node: RecipeNode, number: Int, recipe: String) throws(GraftError) {
    let place = RecipePlace(recipe: recipe, step: "step \(number)", position: node.position)
    guard case .mapping(let members) = node.value, let member = members.first else {
      throw place.fault(
        "a step is one key with its parameters", expected: "for example take: {from: base}", found: node.kind)
    }
    guard members.count == 1 else {
      throw place.fault(
        "a step is one key with its parameters", at: members[1].position,
        found:
          "\(members.count) keys, \(members.prefix(8).map { RecipePlace.shown($0.key) }.joined(separator: ", "))",
        remedy: "indent the parameters below the step, or begin the next step with a dash")
    }
    guard let kind = Self.kinds[member.key] else {
      throw place.fault(
        "there is no step \(RecipePlace.shown(member.key))", at: member.position,
        expected: "one of \(Self.kinds.keys.sorted().joined(separator: ", "))",
        remedy: NearName.suggestion(for: member.key, among: Self.kinds.keys))
    }
    let named = RecipePlace(
      recipe: recipe, step: "step \(number) (\(member.key))", position: member.position)
    var fields = try RecipeFields(member.value, named, subject: "the step", shorthand: kind.shorthand)
    let isOptional = try fields.flag("optional") ?? false
    let action = try kind.read(&fields)
    try fields.finish()
    self.init(place: named, isOptional: isOptional, action: action)
  }
}
