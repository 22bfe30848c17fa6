/// An N-dimensional array of elements of one dtype, in row-major order, that keeps its memory alive.
///
/// A tensor is an immutable value; copies share their memory. Its bytes may be anywhere in a file, so they need not be
/// aligned: ``elements(as:)`` and ``array(as:lossy:)`` read any tensor, ``span(as:)`` only an aligned one.
public struct Tensor: Sendable {
  /// The dtype and shape.
  public let spec: TensorSpec
  /// What owns the bytes.
  package let storage: any TensorStorage
  /// Where in the storage this tensor's bytes begin.
  let byteOffset: Int

  /// A tensor that looks at `spec.byteCount` bytes of a storage, which traps when the storage has fewer.
  package init(spec: TensorSpec, storage: any TensorStorage, byteOffset: Int = 0) {
    if let bytes = unsafe storage.hostBytes {
      precondition(byteOffset >= 0 && byteOffset <= bytes.count && bytes.count - byteOffset >= spec.byteCount)
    }
    self.spec = spec
    self.storage = storage
    self.byteOffset = byteOffset
  }

  /// A tensor over memory that `owner` keeps valid and unchanging, which traps when there are too few bytes.
  @unsafe package init(
    spec: TensorSpec, owner: any AnyObject & Sendable, bytes: UnsafeRawBufferPointer,
    location: TensorLocation = .host, isCallers: Bool = false
  ) {
    self.init(
      spec: spec,
      storage: unsafe BorrowedStorage(
        owner: owner, bytes: bytes, location: location, isCallers: isCallers))
  }

  /// Whether the memory is a caller's own, who may change it when what was asked for is done.
  package var isCallers: Bool { storage.isCallers }

  /// The tensor in memory of its own where its memory is a caller's, else itself.
  package var owned: Tensor {
    get throws(GraftError) {
      guard storage.isCallers else { return self }
      // The storage, which this tensor holds, keeps the memory valid while it is copied.
      return Tensor(spec: spec, storage: unsafe AllocatedStorage(copying: try memory))
    }
  }

  /// A tensor with a copy of these elements in row-major order; traps when their number is not the shape's.
  public init<Element: TensorScalar>(_ elements: [Element], shape: Shape) {
    let spec = TensorSpec(Element.dtype, shape)
    precondition(
      elements.count == spec.elementCount, "\(elements.count) elements do not fill a tensor of shape \(shape)"
    )
    precondition(Self.fits(Element.self))
    // The elements are only read, and only inside the closure.
    let storage = unsafe elements.withUnsafeBytes { unsafe AllocatedStorage(copying: $0) }
    self.init(spec: spec, storage: storage)
  }

  /// A tensor of one axis with a copy of these elements.
  public init<Element: TensorScalar>(_ elements: [Element]) {
    self.init(elements, shape: [elements.count])
  }

  /// A scalar: a tensor of rank 0.
  public init<Element: TensorScalar>(scalar value: Element) {
    self.init([value], shape: [])
  }

  /// A tensor with a copy of these bytes, in row-major order, little-endian, packed where an element is less than a byte.
  ///
  /// Throws an error of code ``GraftError/Code/shapeMismatch`` when the number of bytes is not the spec's.
  public init(bytes: [UInt8], spec: TensorSpec) throws(GraftError) {
    guard bytes.count == spec.byteCount else {
      throw GraftError(
        .shapeMismatch, "the bytes do not fill the tensor", expected: "\(spec.byteCount) bytes for \(spec)",
        found: "\(bytes.count)")
    }
    // The bytes are only read, and only inside the closure.
    self.init(spec: spec, storage: unsafe bytes.withUnsafeBytes { unsafe AllocatedStorage(copying: $0) })
  }

  /// The type of the elements.
  public var dtype: DType { spec.dtype }
  /// The extent along each axis; `[]` for a scalar.
  public var shape: Shape { spec.shape }
  /// The number of elements.
  public var elementCount: Int { spec.elementCount }
  /// The number of bytes.
  public var byteCount: Int { spec.byteCount }
  /// Where the bytes are.
  public var location: TensorLocation { storage.location }

  static func fits<Element: TensorScalar>(_: Element.Type) -> Bool {
    MemoryLayout<Element>.stride * 8 == Element.dtype.bitWidth
  }
}

// MARK: - Bytes

extension Tensor {
  /// The bytes in row-major order, for as long as the tensor is borrowed.
  ///
  /// Throws an error of code ``GraftError/Code/unsupported`` when they are where the processor cannot read them.
  public var bytes: RawSpan {
    @_lifetime(borrow self)
    get throws(GraftError) {
      let span = unsafe RawSpan(_unsafeBytes: try memory)
      // The storage, which this tensor holds, keeps the memory valid and unchanging.
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  /// The bytes, valid while the tensor's storage lives: the caller keeps the tensor for as long.
  package var memory: UnsafeRawBufferPointer {
    get throws(GraftError) {
      guard let all = unsafe storage.hostBytes else {
        throw GraftError(
          .unsupported, "the tensor's bytes are not in memory", expected: "a tensor on the host",
          found: location.rawValue, remedy: "load it to the host")
      }
      // The initializer checked that the range is within the storage.
      return unsafe UnsafeRawBufferPointer(rebasing: all[byteOffset..<byteOffset + spec.byteCount])
    }
  }

  /// Whether both tensors have the same dtype, shape and bits; so NaN equals itself, and the two zeros differ.
  ///
  /// Bits that pad the last byte of packed elements do not count.
  public func contentEquals(_ other: Tensor) throws(GraftError) -> Bool {
    guard spec == other.spec else { return false }
    let a = unsafe try memory
    let b = unsafe try other.memory
    // Both tensors are alive until the function returns.
    return withExtendedLifetime((self, other)) {
      guard unsafe a.baseAddress != b.baseAddress else { return true }
      let usedBits = spec.dtype.isPacked ? spec.elementCount * spec.dtype.bitWidth % 8 : 0
      guard usedBits > 0 else { return unsafe a.elementsEqualByWord(b) }
      let last = spec.byteCount - 1
      let difference = unsafe (a[last] ^ b[last]) & (1 << UInt8(usedBits) - 1)
      return unsafe difference == 0
        && UnsafeRawBufferPointer(rebasing: a[..<last]).elementsEqualByWord(
          UnsafeRawBufferPointer(rebasing: b[..<last]))
    }
  }
}

extension UnsafeRawBufferPointer {
  /// Whether buffers of the same length have the same bytes, looked at eight at a time.
  fileprivate func elementsEqualByWord(_ other: UnsafeRawBufferPointer) -> Bool {
    var position = 0
    while position + 64 <= count {
      var difference: UInt64 = 0
      for word in 0..<8 {
        difference |=
          unsafe loadUnaligned(fromByteOffset: position + word * 8, as: UInt64.self)
          ^ other.loadUnaligned(fromByteOffset: position + word * 8, as: UInt64.self)
      }
      if difference != 0 { return false }
      position += 64
    }
    while position < count {
      guard unsafe self[position] == other[position] else { return false }
      position += 1
    }
    return true
  }
}
