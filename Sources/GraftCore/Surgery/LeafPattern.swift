/// Which leaves a step concerns: a glob, a regular expression over the whole printed path, or the paths themselves.
public enum LeafPattern: Hashable, Sendable {
  /// What the glob selects: what it matches and everything below.
  case glob(PathPattern)
  /// The leaves whose whole printed path matches.
  case regex(PathRegex)
  /// The leaves at these paths, each of which must be there.
  case paths([TreePath])
}

extension LeafPattern: ExpressibleByStringLiteral, CustomStringConvertible {
  /// A glob that the program itself wrote; traps when it is malformed.
  public init(stringLiteral value: String) { self = .glob(PathPattern(stringLiteral: value)) }

  /// The pattern as it was written, or how many paths there are.
  public var description: String {
    switch self {
    case .glob(let pattern): "\(pattern)"
    case .regex(let regex): "\(regex)"
    case .paths(let paths): paths.count == 1 ? "\(paths[0])" : "\(paths.count) paths"
    }
  }
}
