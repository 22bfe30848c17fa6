public import GraftCore

/// How two checkpoints differ: leaves that one of them lacks, other dtypes and shapes, other values.
///
/// Leaves are matched by their paths, so that checkpoints of different formats can be compared; whether a container is a list or a
/// dictionary, how leaves are chunked and compressed, and metadata make no difference.
public struct CheckpointDifference: Sendable {
  /// A leaf that is not of the same kind, dtype and shape in both.
  public struct OtherSpec: Hashable, Sendable {
    /// Where it stands.
    public var path: TreePath
    /// What it is in the first checkpoint.
    public var first: LeafSpec
    /// What it is in the second.
    public var second: LeafSpec
  }

  /// A leaf whose values are not the same in both.
  public struct OtherValues: Hashable, Sendable {
    /// Where it stands.
    public var path: TreePath
    /// The number of its elements; 1 for a string.
    public var elementCount: Int
    /// How many of them differ.
    public var differingCount: Int
    /// Those of them that no distance can be given for: one is NaN or infinite, and the other is not the same; strings.
    public var incomparableCount: Int
    /// The largest distance of two elements that differ otherwise; 0 where there are none.
    ///
    /// Of integers and floats the magnitude of the exact difference, rounded to a `Double`; of complex numbers the magnitude of the
    /// complex difference; of booleans 1.
    public var largestDistance: Double
  }

  /// Leaves that only the first checkpoint has.
  public var onlyInFirst: [TreePath]
  /// Leaves that only the second checkpoint has.
  public var onlyInSecond: [TreePath]
  /// Leaves that both have, of another kind, dtype or shape.
  public var otherSpecs: [OtherSpec]
  /// Leaves that are the same thing in both, with other values.
  public var otherValues: [OtherValues]
  /// Leaves that are equal.
  public var equalLeafCount: Int
  /// Those of them that were not read, because both checkpoints have them in the same bytes of the same files.
  public var sharedLeafCount: Int
  /// What was read.
  public var reading: ReadReport
  /// From the call to the result.
  public var elapsed: Duration

  /// Whether the checkpoints have the same leaves with the same values.
  public var isEmpty: Bool {
    onlyInFirst.isEmpty && onlyInSecond.isEmpty && otherSpecs.isEmpty && otherValues.isEmpty
  }
}
