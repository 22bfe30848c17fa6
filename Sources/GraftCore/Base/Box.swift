/// An axis-aligned box of elements: along axis `a`, the indices `origin[a] ..< origin[a] + shape[a]`.
public struct Box: Hashable, Sendable {
  /// The lowest index along each axis.
  public var origin: [Int]
  /// The extent along each axis.
  public var shape: [Int]

  /// A box; `origin` and `shape` have one number for each axis.
  public init(origin: [Int], shape: [Int]) {
    precondition(origin.count == shape.count)
    self.origin = origin
    self.shape = shape
  }

  /// The box that holds every element of a tensor of this shape.
  public init(whole shape: Shape) {
    self.init(origin: [Int](repeating: 0, count: shape.rank), shape: shape.extents)
  }

  /// The number of axes.
  public var rank: Int { origin.count }

  /// Whether the box holds no element.
  public var isEmpty: Bool { shape.contains(0) }

  /// The number of elements in the box.
  public var elementCount: Int { shape.reduce(1, *) }

  /// The elements that both boxes have, nil when there are none.
  public func intersection(_ other: Box) -> Box? {
    precondition(rank == other.rank)
    var origin = self.origin
    var shape = self.shape
    for axis in origin.indices {
      let lower = Swift.max(self.origin[axis], other.origin[axis])
      let upper = Swift.min(self.origin[axis] + self.shape[axis], other.origin[axis] + other.shape[axis])
      guard lower < upper else { return nil }
      origin[axis] = lower
      shape[axis] = upper - lower
    }
    return Box(origin: origin, shape: shape)
  }
}

extension Box: CustomStringConvertible {
  /// `[0:4, 8:16]`, as a slice of the tensor would be written.
  public var description: String {
    "[" + zip(origin, shape).map { "\($0):\($0 + $1)" }.joined(separator: ", ") + "]"
  }
}
