/// A half-open range of bytes in a file or buffer: `offset ..< offset + count`.
///
/// The two invariants, `offset >= 0`, `count >= 0` and no overflow of their sum, hold for every value, so that code
/// that adds them up later cannot trap on what a hostile file claimed.
public struct ByteRange: Hashable, Sendable {
  /// The position of the first byte.
  public let offset: Int
  /// The number of bytes.
  public let count: Int

  /// A range whose numbers the program itself computed; traps when they are negative or overflow.
  public init(offset: Int, count: Int) {
    precondition(offset >= 0 && count >= 0 && !offset.addingReportingOverflow(count).overflow)
    self.offset = offset
    self.count = count
  }

  /// A range from numbers that a file claimed; nil when they are negative or their sum overflows.
  public init?(checkedOffset offset: Int, count: Int) {
    guard offset >= 0, count >= 0, !offset.addingReportingOverflow(count).overflow else { return nil }
    self.offset = offset
    self.count = count
  }

  /// The position after the last byte.
  public var end: Int { offset + count }

  /// Whether the range holds no byte.
  public var isEmpty: Bool { count == 0 }

  /// Whether every byte of `other` lies in this range; an empty range lies in any range that holds its position.
  public func contains(_ other: ByteRange) -> Bool {
    other.offset >= offset && other.end <= end
  }

  /// The bytes that both ranges have, nil when there are none.
  public func intersection(_ other: ByteRange) -> ByteRange? {
    let lower = Swift.max(offset, other.offset)
    let upper = Swift.min(end, other.end)
    return lower < upper ? ByteRange(offset: lower, count: upper - lower) : nil
  }
}

extension ByteRange: CustomStringConvertible {
  /// `bytes 10..<20`, as error messages print it.
  public var description: String { "bytes \(offset)..<\(end)" }
}
