/// Which part of a tensor is wanted, axis by axis, with NumPy's meaning of basic indexing.
///
/// `tensor[0:4, :, 7]` is `TensorSlice([.range(0..<4), .all, .index(7)])`. Axes that are not named are wanted whole. Negative
/// indices count from the end, bounds of a range are clamped, an index out of bounds is an error, a step may be negative.
public struct TensorSlice: Hashable, Sendable {
  /// What is wanted of the leading axes, or of the axes around one ``AxisSlice/rest``.
  public var axes: [AxisSlice]

  /// A slice of the leading axes.
  public init(_ axes: [AxisSlice]) { self.axes = axes }
}

/// What is wanted along one axis.
public enum AxisSlice: Hashable, Sendable {
  /// One index; the axis is not in the result.
  case index(Int)
  /// From `lower` to before `upper` by `step`, as Python's `lower:upper:step`; nil bounds are the ends.
  case strided(lower: Int?, upper: Int?, step: Int)
  /// As many whole axes as the tensor has beyond those that are named, Python's `...`; at most once in a slice.
  case rest

  /// The whole axis.
  public static var all: AxisSlice { .strided(lower: nil, upper: nil, step: 1) }

  /// The indices of `range`.
  public static func range(_ range: Range<Int>) -> AxisSlice {
    .strided(lower: range.lowerBound, upper: range.upperBound, step: 1)
  }
}

/// Something that says what is wanted along one axis: an index, a range, or an ``AxisSlice``.
public protocol AxisSliceConvertible {
  /// What is wanted along the axis.
  var axisSlice: AxisSlice { get }
}

extension AxisSlice: AxisSliceConvertible {
  /// The slice itself.
  public var axisSlice: AxisSlice { self }
}
extension AxisSliceConvertible where Self == AxisSlice {
  /// The whole axis.
  public static var all: AxisSlice { .strided(lower: nil, upper: nil, step: 1) }
  /// From `lower` to before `upper` by `step`, as Python's `lower:upper:step`.
  public static func strided(from lower: Int? = nil, to upper: Int? = nil, by step: Int) -> AxisSlice {
    .strided(lower: lower, upper: upper, step: step)
  }
}
extension Int: AxisSliceConvertible {
  /// This index; the axis is not in the result.
  public var axisSlice: AxisSlice { .index(self) }
}
extension Range: AxisSliceConvertible where Bound == Int {
  /// The indices of the range.
  public var axisSlice: AxisSlice { .range(self) }
}
extension ClosedRange: AxisSliceConvertible where Bound == Int {
  /// The indices of the range.
  public var axisSlice: AxisSlice {
    // Python has no closed range: one that ends at -1, the last index, is open.
    .strided(lower: lowerBound, upper: upperBound == -1 || upperBound == .max ? nil : upperBound + 1, step: 1)
  }
}
extension PartialRangeFrom: AxisSliceConvertible where Bound == Int {
  /// The indices from the bound on.
  public var axisSlice: AxisSlice { .strided(lower: lowerBound, upper: nil, step: 1) }
}
extension PartialRangeUpTo: AxisSliceConvertible where Bound == Int {
  /// The indices before the bound.
  public var axisSlice: AxisSlice { .strided(lower: nil, upper: upperBound, step: 1) }
}

extension TensorSlice: CustomStringConvertible {
  /// The slice as ``init(parsing:)`` reads it, for example `0:4,:,7`.
  public var description: String {
    axes.map { axis -> String in
      switch axis {
      case .index(let index): return "\(index)"
      case .rest: return "..."
      case .strided(let lower, let upper, let step):
        let bounds = (lower.map(String.init) ?? "") + ":" + (upper.map(String.init) ?? "")
        return step == 1 ? bounds : bounds + ":\(step)"
      }
    }.joined(separator: ",")
  }

  /// A slice as Python writes it between brackets, for example `0:4,:,7` or `..., ::2`.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` that says which part is wrong.
  public init(parsing text: String) throws(GraftError) {
    var inner = Substring(text).trimmed
    if inner.first == "[", inner.last == "]" { inner = inner.dropFirst().dropLast() }
    axes = []
    if inner.trimmed.isEmpty { return }
    for part in inner.split(separator: ",", omittingEmptySubsequences: false) {
      axes.append(try Self.axis(part.trimmed, in: text))
    }
  }

  private static func axis(_ part: Substring, in text: String) throws(GraftError) -> AxisSlice {
    let wrong = GraftError(
      .invalidArgument,
      "the part '\(TreePath.printable(String(part)))' of the slice '\(TreePath.printable(text))' is no index or range",
      remedy: "write a slice as Python does, for example 0:4,:,7")
    if part == "..." { return .rest }
    let fields = part.split(separator: ":", omittingEmptySubsequences: false).map(\.trimmed)
    var numbers: [Int?] = []
    for field in fields {
      if field.isEmpty {
        numbers.append(nil)
      } else if let number = Int(field) {
        numbers.append(number)
      } else {
        throw wrong
      }
    }
    switch numbers.count {
    case 1:
      guard let index = numbers[0] else { throw wrong }
      return .index(index)
    case 2: return .strided(lower: numbers[0], upper: numbers[1], step: 1)
    case 3:
      guard numbers[2] != 0 else { throw wrong }
      return .strided(lower: numbers[0], upper: numbers[1], step: numbers[2] ?? 1)
    default: throw wrong
    }
  }
}

extension Substring {
  fileprivate var trimmed: Substring {
    var result = self
    while let first = result.first, first == " " || first == "\t" { result.removeFirst() }
    while let last = result.last, last == " " || last == "\t" { result.removeLast() }
    return result
  }
}

extension TensorSlice {
  /// The result's shape and where each of its elements is in a tensor of `shape`.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for too many axes, a step of 0, or two ``AxisSlice/rest``, and of code
  ///   `shapeMismatch` for an index out of bounds.
  public func resolved(for shape: Shape) throws(GraftError) -> (shape: Shape, map: IndexMap) {
    let named = axes.count { $0 != .rest }
    let rests = axes.count - named
    guard rests <= 1 else {
      throw GraftError(.invalidArgument, "the slice [\(self)] has more than one '...'")
    }
    guard named <= shape.rank else {
      throw GraftError(
        .invalidArgument, "the slice [\(self)] names \(named) axes of a tensor that has \(shape.rank)",
        found: "shape \(shape)")
    }
    var full: [AxisSlice] = []
    for axis in axes {
      if axis == .rest {
        full += [AxisSlice](repeating: .all, count: shape.rank - named)
      } else {
        full.append(axis)
      }
    }
    full += [AxisSlice](repeating: .all, count: shape.rank - full.count)

    var extents: [Int] = []
    var map: [IndexMap.Axis] = []
    for (axis, slice) in full.enumerated() {
      let extent = shape[axis]
      switch slice {
      case .rest: preconditionFailure("'...' was expanded above")
      case .index(let index):
        guard index >= -extent, index < extent else {
          throw GraftError(
            .shapeMismatch, "the slice [\(self)] has index \(index) on axis \(axis), which is out of bounds",
            expected: "an index from \(-extent) to \(extent - 1)", found: "shape \(shape)")
        }
        map.append(.constant(index < 0 ? index + extent : index))
      case .strided(let lower, let upper, let step):
        guard step != 0 else { throw GraftError(.invalidArgument, "the slice [\(self)] has a step of 0") }
        let (first, count) = Self.clamped(lower: lower, upper: upper, step: step, extent: extent)
        map.append(.result(axis: extents.count, step: step, offset: first))
        extents.append(count)
      }
    }
    return (Shape(extents), IndexMap(map))
  }

  /// The first index and the number of indices, as Python's `slice.indices` gives them.
  private static func clamped(lower: Int?, upper: Int?, step: Int, extent: Int) -> (first: Int, count: Int) {
    // The bounds that an index is clamped to: a descending slice may start at the last element and end before the first.
    let (floor, ceiling) = step > 0 ? (0, extent) : (-1, extent - 1)
    func bound(_ index: Int?, default fallback: Int) -> Int {
      guard let index else { return fallback }
      let absolute = index < 0 ? index.addingReportingOverflow(extent).partialValue : index
      return Swift.min(Swift.max(absolute, floor), ceiling)
    }
    let first = bound(lower, default: step > 0 ? floor : ceiling)
    let last = bound(upper, default: step > 0 ? ceiling : floor)
    let distance = step > 0 ? last - first : first - last
    guard distance > 0 else { return (Swift.max(first, 0), 0) }
    return (first, (distance - 1) / Int(clamping: step.magnitude) + 1)
  }
}
