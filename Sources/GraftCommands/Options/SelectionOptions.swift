import ArgumentParser
import Graft
import Synchronization

/// Which leaves are wanted: `--select` and `--drop`, which repeat, and of which later ones win.
struct SelectionOptions: ParsableArguments {
  /// A rule, and where among all the rules it was given.
  struct NumberedRule: Sendable {
    var number: Int
    var rule: Selection.Rule
  }

  @Option(
    help: ArgumentHelp(
      "Take the leaves that match. A select that comes first starts from nothing.", valueName: "glob"),
    transform: { try NumberedRule(.select, $0) })
  var select: [NumberedRule] = []

  @Option(
    help: ArgumentHelp(
      "Leave out the leaves that match. A drop that comes first starts from everything.", valueName: "glob"),
    transform: { try NumberedRule(.drop, $0) })
  var drop: [NumberedRule] = []

  /// The rules in the order in which they were given.
  var selection: Selection {
    Selection((select + drop).sorted { $0.number < $1.number }.map(\.rule))
  }
}

extension SelectionOptions.NumberedRule {
  // The parser keeps the two options apart, but it transforms their values in the order in which they stand.
  private static let count = Atomic(0)

  init(_ effect: Selection.Rule.Effect, _ pattern: String) throws {
    number = Self.count.add(1, ordering: .relaxed).newValue
    do throws(GraftError) {
      rule = Selection.Rule(effect, try PathPattern(pattern))
    } catch {
      throw ValidationError(error.description)
    }
  }
}
