/// A place in the text of a recipe, both counted from 1.
struct RecipePosition: Hashable, Sendable, CustomStringConvertible {
  var line: Int
  var column: Int

  static let start = RecipePosition(line: 1, column: 1)

  var description: String { "line \(line), column \(column)" }
}

/// A value in a recipe as it was written, and where: nothing is made of a scalar before a step says what it wants there.
struct RecipeNode: Sendable {
  enum Value: Sendable {
    /// Text; plain text was not in quotes, so it may also mean a number, a truth value or nothing.
    case scalar(String, isPlain: Bool)
    case list([RecipeNode])
    case mapping([Member])
  }

  /// A key of a mapping with its value.
  struct Member: Sendable {
    var key: String
    var position: RecipePosition
    var value: RecipeNode
  }

  var value: Value
  var position: RecipePosition

  /// Whether nothing stands there: `null`, `~`, or a key without a value.
  var isNull: Bool {
    if case .scalar(let text, isPlain: true) = value {
      ["", "~", "null", "Null", "NULL"].contains(text)
    } else {
      false
    }
  }

  /// What kind of value it is, for an error that expected another: `a list`.
  var kind: String {
    switch value {
    case .list: "a list"
    case .mapping: "a mapping"
    case .scalar where isNull: "nothing"
    case .scalar(let text, isPlain: true): "\(RecipePlace.shown(text))"
    case .scalar(let text, isPlain: false): "the text \(RecipePlace.shown(text))"
    }
  }
}
