internal import GraftCore

/// Where in a recipe something is wrong, and how that is said.
struct RecipePlace: Sendable {
  /// The recipe's file, or what stands for one.
  var recipe: String
  /// The step that is concerned, `step 3 (stack)`; nil outside of steps.
  var step: String?
  /// Where the step is; nil for what no text says, as an option of a command.
  var position: RecipePosition?

  /// `step 3 (stack) at line 7, column 5`.
  func description(at position: RecipePosition? = nil) -> String? {
    switch (step, position ?? self.position) {
    case (let step?, let position?): "\(step) at \(position)"
    case (nil, let position?): "\(position)"
    case (let step, nil): step
    }
  }

  /// What errors name as the file; nil where an option of a command is all that there is.
  private var file: String? { recipe.isEmpty ? nil : recipe }

  /// An error at a position of the text.
  func fault(
    _ message: String, at position: RecipePosition? = nil, code: GraftError.Code = .invalidArgument,
    expected: String? = nil, found: String? = nil, remedy: String? = nil
  ) -> GraftError {
    var error = GraftError(code, message, file: file, expected: expected, found: found, remedy: remedy)
    error.operation = description(at: position)
    return error
  }

  /// The error of an operation that the step asked for, with the step in it.
  func naming(_ error: GraftError, at position: RecipePosition? = nil) -> GraftError {
    var error = error
    error.operation = description(at: position)
    error.file = error.file ?? file
    error.others = error.others.map { naming($0, at: position) }
    return error
  }

  /// Text of a recipe as an error shows it: in quotes, in one line, and not at any length.
  static func shown(_ text: String) -> String {
    let limit = 80
    let start = text.unicodeScalars.prefix(limit)
    return "'\(TreePath.printable(String(start)))\(start.count < text.unicodeScalars.count ? "…" : "")'"
  }
}
