package import GraftCore

/// How the names of tensors become paths in a tree, and back.
package enum SafetensorsNaming: Sendable {
  /// Split at dots: `layers.0.bias` is `layers/0/bias`. Every part is a key, also an empty one, so that joining the keys
  /// with dots gives the name again.
  case nested
  /// Kept whole: the name is one key.
  case whole

  /// The path of the tensor with this name.
  package func path(of name: String) -> TreePath {
    switch self {
    case .nested:
      TreePath(
        name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
          Key(String(Substring($0)))
        })
    case .whole: TreePath([Key(name)])
    }
  }

  /// The name of the tensor at this path, the keys joined by dots.
  package static func name(of path: TreePath) -> String {
    path.keys.map(\.string).joined(separator: ".")
  }
}
