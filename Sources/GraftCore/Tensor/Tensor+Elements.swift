/// A tensor's elements in row-major order, loaded correctly wherever they lie and checked against the bounds.
///
/// The view keeps the tensor alive. For elements of another type than the tensor's use ``Tensor/array(as:lossy:)``.
@safe public struct TensorElements<Element: TensorScalar>: RandomAccessCollection, Sendable {
  private let tensor: Tensor
  /// The number of elements.
  public let endIndex: Int
  // Within the memory of `tensor`, which this view keeps alive and nothing changes.
  @usableFromInline nonisolated(unsafe) let bytes: UnsafeRawBufferPointer

  fileprivate init(_ tensor: Tensor) throws(GraftError) {
    self.tensor = tensor
    endIndex = tensor.elementCount
    unsafe bytes = try tensor.memory
  }

  /// The first element's index.
  @inlinable public var startIndex: Int { 0 }

  /// The element at this index in row-major order; traps when there is none.
  @inlinable public subscript(position: Int) -> Element {
    precondition(
      position >= 0 && position < endIndex, "index \(position) is not in a tensor of \(endIndex) elements")
    return unsafe loadElement(bytes, at: position)
  }
}

/// Loads one element; the index is in bounds, the type as wide as the elements.
@inlinable @inline(__always)
func loadElement<Element: TensorScalar>(_ bytes: UnsafeRawBufferPointer, at index: Int) -> Element {
  if Element.self == Bool.self {
    // A byte from a file may be neither 0 nor 1, and no such `Bool` may come to be.
    return unsafe unsafeBitCast(bytes[index] != 0, to: Element.self)
  }
  return unsafe bytes.loadUnaligned(fromByteOffset: index * MemoryLayout<Element>.stride, as: Element.self)
}

extension Tensor {
  /// The elements in memory, for as long as the tensor is borrowed.
  ///
  /// Throws when the dtype is not exactly `Element`'s, when the bytes are not aligned for it (``elements(as:)`` reads
  /// them), and when a byte of a `bool` tensor is neither 0 nor 1.
  @_lifetime(borrow self)
  public func span<Element: TensorScalar>(as type: Element.Type = Element.self) throws(GraftError) -> Span<
    Element
  > {
    try checkElements(are: type)
    let bytes = unsafe try memory
    let address = UInt(bitPattern: bytes.baseAddress)
    guard unsafe bytes.isEmpty || address % UInt(MemoryLayout<Element>.alignment) == 0 else {
      throw GraftError(
        .invalidArgument, "the elements are not aligned in memory",
        expected: "an address that is a multiple of \(MemoryLayout<Element>.alignment)",
        found: "one that is \(address % UInt(MemoryLayout<Element>.alignment)) more",
        remedy: "use elements(as: \(Element.self).self), which loads them wherever they lie")
    }
    if Element.self == Bool.self, let position = unsafe bytes.firstIndex(where: { $0 > 1 }) {
      throw GraftError(
        .corrupt, "an element of a bool tensor is neither 0 nor 1", expected: "0 or 1",
        found: unsafe "\(bytes[position]) at index \(position)",
        remedy: "use elements(as: Bool.self), which takes anything but 0 for true")
    }
    // Aligned, as large as the spec says, and every pattern of bits is a valid element.
    let elements =
      unsafe bytes.isEmpty
      ? UnsafeBufferPointer<Element>(start: nil, count: 0) : bytes.assumingMemoryBound(to: type)
    let span = unsafe Span(_unsafeElements: elements)
    return unsafe _overrideLifetime(span, borrowing: self)
  }

  /// The elements as a collection, wherever they lie; throws when the dtype is not exactly `Element`'s.
  public func elements<Element: TensorScalar>(
    as type: Element.Type = Element.self
  ) throws(GraftError) -> TensorElements<Element> {
    try checkElements(are: type)
    return try TensorElements(self)
  }

  /// The element at this index, one number for each axis.
  ///
  /// Throws when the dtype is not exactly `Element`'s, and when the index is not in the tensor.
  public subscript<Element: TensorScalar>(index: [Int], as type: Element.Type) -> Element {
    get throws(GraftError) {
      let elements = try elements(as: type)
      var position = 0
      guard index.count == spec.rank else { throw Self.outside(index, spec) }
      for (number, extent) in zip(index, spec.shape) {
        guard number >= 0, number < extent else { throw Self.outside(index, spec) }
        position = position * extent + number
      }
      return elements[position]
    }
  }

  private static func outside(_ index: [Int], _ spec: TensorSpec) -> GraftError {
    GraftError(
      .invalidArgument, "the index is not in the tensor",
      expected: "\(spec.rank) numbers below \(spec.shape)", found: "\(index)")
  }

  func checkElements<Element: TensorScalar>(are type: Element.Type) throws(GraftError) {
    guard dtype == Element.dtype else {
      throw GraftError(
        .dtypeMismatch, "the tensor's elements are not \(type)", expected: "\(Element.dtype)",
        found: "\(dtype)",
        remedy: "use array(as: \(type).self), which converts")
    }
    precondition(Self.fits(type), "\(type) is not as large as an element of \(Element.dtype)")
  }
}
