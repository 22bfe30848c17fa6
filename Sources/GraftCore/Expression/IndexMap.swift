/// How an element of a result finds its element in a source: along each source axis, a constant or a line in one result axis.
///
/// Slicing, stacking, transposing, squeezing and broadcasting are all such maps, and composing two of them gives another,
/// which is why movement costs nothing but the reads. Each result axis drives at most one source axis; one that drives none
/// is a broadcast.
public struct IndexMap: Hashable, Sendable {
  /// The index along one source axis.
  public enum Axis: Hashable, Sendable {
    /// The same index for every element of the result.
    case constant(Int)
    /// `result[axis] * step + offset`; `step` is not 0.
    case result(axis: Int, step: Int, offset: Int)
  }

  /// One entry for each axis of the source.
  public var axes: [Axis]

  /// A map with one entry for each axis of the source.
  public init(_ axes: [Axis]) { self.axes = axes }

  /// The map under which source and result are the same tensor.
  public static func identity(rank: Int) -> IndexMap {
    IndexMap((0..<rank).map { .result(axis: $0, step: 1, offset: 0) })
  }
}

extension IndexMap: CustomStringConvertible {
  /// The source's indices in terms of the result's, for example `[3, i0, 2*i1+5]`.
  public var description: String {
    let terms = axes.map { axis -> String in
      switch axis {
      case .constant(let index): return "\(index)"
      case .result(let axis, let step, let offset):
        let scaled = step == 1 ? "i\(axis)" : "\(step)*i\(axis)"
        return offset == 0 ? scaled : scaled + (offset > 0 ? "+" : "") + "\(offset)"
      }
    }
    return "[" + terms.joined(separator: ", ") + "]"
  }
}
