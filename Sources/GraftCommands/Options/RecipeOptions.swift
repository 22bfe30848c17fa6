import ArgumentParser
import Graft
import GraftRecipes

/// What is done to the leaves on the way, besides what a recipe says.
struct RecipeOptions: ParsableArguments {
  @Option(
    name: .customLong("source"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Read a source of the recipe from elsewhere.", valueName: "name=path"))
  var sources: [NamedSource] = []

  @Option(
    name: .customLong("cast"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Cast the leaves that match, for example '**/kernel=bfloat16', after the recipe if there is one. Repeats.",
      valueName: "glob=dtype"))
  var casts: [LeafCast] = []

  @Flag(help: "Allow casts that may lose values.")
  var allowLossy = false

  /// The surgery that a recipe and the casts say; nil where there is neither.
  ///
  /// - Parameters:
  ///   - path: the recipe's file.
  ///   - checkpoint: what the tree starts as.
  func surgery(
    recipe path: String?, on checkpoint: Checkpoint?, selecting selection: Selection, opening: OpeningOptions,
    tuning: Tuning
  ) async throws(GraftError) -> Surgery? {
    if path == nil, let unused = sources.first {
      throw GraftError(
        .invalidArgument, "there is no recipe that could have a source \(TreePath.printable(unused.name))",
        remedy: "name one with --recipe")
    }
    if path == nil, casts.isEmpty { return nil }
    var recipe = Recipe()
    if let path { recipe = try await Recipe(at: path) }
    for cast in casts {
      recipe.addCast(of: cast.pattern, to: cast.dtype, option: "--cast \(TreePath.printable(cast.text))")
    }
    let opened = try await open(recipe, opening, tuning)
    var surgery = try recipe.surgery(
      on: checkpoint, selecting: selection, sources: opened, allowingLossyCasts: allowLossy)
    surgery.tuning = tuning
    return surgery
  }

  private func open(
    _ recipe: Recipe, _ opening: OpeningOptions, _ tuning: Tuning
  ) async throws(GraftError) -> [String: Checkpoint] {
    let names = recipe.sources.map(\.name)
    for source in sources where !names.contains(source.name) {
      throw GraftError(
        .invalidArgument, "the recipe has no source \(TreePath.printable(source.name))", file: recipe.name,
        expected: names.isEmpty ? "a recipe with sources" : "one of \(names.joined(separator: ", "))",
        remedy: NearName.suggestion(for: source.name, among: names))
    }
    var opened: [String: Checkpoint] = [:]
    for source in recipe.sources {
      if let elsewhere = sources.last(where: { $0.name == source.name }) {
        opened[source.name] = try await opening.open(elsewhere.path, tuning: tuning)
        continue
      }
      var opening = opening
      opening.checkpointable = source.checkpointable ?? opening.checkpointable
      do throws(GraftError) {
        opened[source.name] = try await opening.open(source.path, step: source.step, tuning: tuning)
      } catch {
        var error = error
        error.operation = "source \(TreePath.printable(source.name)) of \(TreePath.printable(recipe.name))"
        throw error
      }
    }
    return opened
  }
}

/// A source of a recipe by its name, and where it is: `base=ckpts/base`.
struct NamedSource: Sendable, ExpressibleByArgument {
  var name: String
  var path: String

  init?(argument: String) {
    guard let equals = argument.firstIndex(of: "="), equals > argument.startIndex else { return nil }
    name = String(argument[..<equals])
    path = String(argument[argument.index(after: equals)...])
    if path.isEmpty { return nil }
  }
}

/// Leaves and the dtype that they are cast to: `**/kernel=bfloat16`.
struct LeafCast: Sendable, ExpressibleByArgument {
  var text: String
  var pattern: PathPattern
  var dtype: DType

  init?(argument: String) {
    // A dtype has no `=`, but a path may.
    guard let equals = argument.lastIndex(of: "="),
      let dtype = DType(rawValue: String(argument[argument.index(after: equals)...]))
    else { return nil }
    do throws(GraftError) { pattern = try PathPattern(String(argument[..<equals])) } catch { return nil }
    self.dtype = dtype
    text = argument
  }
}
