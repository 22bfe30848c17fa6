/// The extent of a tensor along each axis, outermost first; `[]` is a scalar.
///
/// Extents are never negative. The number of elements may overflow in a hostile header, so it is asked for, not stored.
public struct Shape: Hashable, Sendable {
  /// The extents, outermost axis first.
  public let extents: [Int]

  /// A shape whose extents the program itself chose; traps when one is negative.
  public init(_ extents: [Int]) {
    precondition(extents.allSatisfy { $0 >= 0 }, "a shape has no negative extent")
    self.extents = extents
  }

  /// A shape from extents that a file claimed; nil when one is negative.
  public init?(checked extents: [Int]) {
    guard extents.allSatisfy({ $0 >= 0 }) else { return nil }
    self.extents = extents
  }

  /// The number of axes.
  public var rank: Int { extents.count }

  /// The number of elements (1 for a scalar); nil when it overflows `Int`.
  public var checkedElementCount: Int? {
    if extents.contains(0) { return 0 }
    var product = 1
    for extent in extents {
      let (next, overflow) = product.multipliedReportingOverflow(by: extent)
      if overflow { return nil }
      product = next
    }
    return product
  }

  /// The number of elements (1 for a scalar); traps on overflow, which no shape in a ``TensorSpec`` has.
  public var elementCount: Int {
    guard let count = checkedElementCount else { preconditionFailure("element count of \(self) overflows") }
    return count
  }

  /// How many elements one step along each axis skips in row-major order.
  public var rowMajorStrides: [Int] {
    var strides = [Int](repeating: 1, count: rank)
    var stride = 1
    for axis in extents.indices.reversed() {
      strides[axis] = stride
      stride = stride &* Swift.max(extents[axis], 1)
    }
    return strides
  }
}

extension Shape: RandomAccessCollection {
  /// The first axis.
  public var startIndex: Int { 0 }
  /// The number of axes.
  public var endIndex: Int { extents.count }
  /// The extent along `axis`.
  public subscript(axis: Int) -> Int { extents[axis] }
}

extension Shape: ExpressibleByArrayLiteral {
  /// A shape from its extents, for example `[512, 256]`.
  public init(arrayLiteral elements: Int...) { self.init(elements) }
}

extension Shape: CustomStringConvertible {
  /// `[512, 256]`, and `[]` for a scalar.
  public var description: String { "[" + extents.map(String.init).joined(separator: ", ") + "]" }
}
