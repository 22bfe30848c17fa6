/// A rule by which paths are renamed: every occurrence of the pattern in the printed path is replaced, as `re.sub` does.
public struct RenameRule: Hashable, Sendable {
  /// What is looked for; `^` and `$` bind it to the ends of the path.
  public var pattern: PathRegex
  /// What comes in its place.
  public var replacement: PathTemplate

  /// A rule.
  public init(_ pattern: PathRegex, to replacement: PathTemplate) {
    self.pattern = pattern
    self.replacement = replacement
  }
}

/// A node that goes elsewhere, with everything below it.
public struct TreeMove: Hashable, Sendable {
  /// Where it stands.
  public var source: TreePath
  /// Where it goes.
  public var target: TreePath

  /// A move.
  public init(from source: TreePath, to target: TreePath) {
    self.source = source
    self.target = target
  }
}

/// What missing parts of a stack are filled with, for the stacks whose path the pattern matches.
public struct StackFiller: Hashable, Sendable {
  /// The stacks that the filler is for, by the path of the result; nil for all.
  public var pattern: PathRegex?
  /// The value of every element of a missing part.
  public var value: Double

  /// A filler.
  public init(_ value: Double, for pattern: PathRegex? = nil) {
    self.value = value
    self.pattern = pattern
  }
}

/// One leaf and those that it is made of, or comes apart into.
package struct PathGroup: Hashable, Sendable {
  package var whole: TreePath
  /// The parts in order; nil for one that there is no leaf of, such as a filler of a stack.
  package var parts: [TreePath?]
  /// The extents of the parts along the axis; none where they follow from the parts, or are equal.
  package var sizes: [Int] = []

  package init(whole: TreePath, parts: [TreePath?], sizes: [Int] = []) {
    self.whole = whole
    self.parts = parts
    self.sizes = sizes
  }
}

/// The containers of a tree that are not dictionaries, by their paths.
package struct ContainerKinds: Hashable, Sendable {
  package enum Kind: Hashable, Sendable {
    case list(Int)
    case tuple(Int)
    case namedTuple(type: String?, [Key])
  }
  package var kinds: [TreePath: Kind] = [:]
}
