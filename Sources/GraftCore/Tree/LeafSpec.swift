/// What a tensor is: the type of its elements and its shape.
public struct TensorSpec: Hashable, Sendable {
  /// The type of the elements.
  public let dtype: DType
  /// The extent along each axis; `[]` for a scalar.
  public let shape: Shape
  /// The bytes that the elements take in row-major order, packed where an element is less than a byte.
  public let byteCount: Int

  /// A spec that the program itself made; traps when the number of bytes overflows.
  public init(_ dtype: DType, _ shape: Shape) {
    guard let spec = TensorSpec(checked: dtype, shape) else {
      preconditionFailure("the byte count of \(dtype)\(shape) overflows")
    }
    self = spec
  }

  /// A spec that a file claims; nil when the number of bytes overflows `Int`.
  public init?(checked dtype: DType, _ shape: Shape) {
    guard let elements = shape.checkedElementCount, let bytes = dtype.byteCount(elementCount: elements) else {
      return nil
    }
    self.dtype = dtype
    self.shape = shape
    self.byteCount = bytes
  }

  /// The number of axes.
  public var rank: Int { shape.rank }
  /// The number of elements.
  public var elementCount: Int { shape.elementCount }
}

extension TensorSpec: CustomStringConvertible {
  /// `float32[512, 256]`, as recipes write it.
  public var description: String { "\(dtype)\(shape)" }
}

/// What a leaf of a checkpoint is, before any of its bytes are read.
public enum LeafSpec: Hashable, Sendable {
  /// A tensor; a scalar is a tensor of rank 0.
  case tensor(TensorSpec)
  /// Text.
  case string
  /// Something that Graft lists and does not read.
  case unsupported(UnsupportedLeaf)

  /// The tensor's spec, nil for what is none.
  public var tensor: TensorSpec? {
    if case .tensor(let spec) = self { spec } else { nil }
  }
  /// The tensor's element type, nil for what is none.
  public var dtype: DType? { tensor?.dtype }
  /// The tensor's shape; `[]` for what is none.
  public var shape: Shape { tensor?.shape ?? [] }
  /// The number of axes; 0 for what is no tensor.
  public var rank: Int { shape.rank }
}

extension LeafSpec: CustomStringConvertible {
  /// `float32[512, 256]`, `string`, or what is known of a leaf that is not read.
  public var description: String {
    switch self {
    case .tensor(let spec): spec.description
    case .string: "string"
    case .unsupported(let leaf): leaf.description
    }
  }
}
