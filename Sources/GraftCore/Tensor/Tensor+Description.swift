extension Tensor: CustomStringConvertible {
  /// The spec and the values, nested as the axes are; where they are many, the first and last along each axis.
  public var description: String {
    guard let bytes = try? unsafe memory else { return "\(spec) on \(location.rawValue)" }
    return withExtendedLifetime(self) {
      var printer = unsafe ValuePrinter(bytes: bytes, spec: spec)
      printer.print(axis: 0, offset: 0)
      return "\(spec) \(printer.text)"
    }
  }
}

/// Prints values as NumPy does, whatever the shape in bounded space: 3 at either end of an axis, and no more than 64.
@safe private struct ValuePrinter {
  let bytes: UnsafeRawBufferPointer
  let dtype: DType
  let shape: Shape
  let strides: [Int]
  /// How many values at either end of an axis are printed; all are when the tensor has few.
  let edge: Int
  var remaining = Self.valueLimit
  var text = ""

  static let valueLimit = 64

  init(bytes: UnsafeRawBufferPointer, spec: TensorSpec) {
    unsafe self.bytes = bytes
    dtype = spec.dtype
    shape = spec.shape
    strides = spec.shape.rowMajorStrides
    edge = spec.elementCount <= Self.valueLimit ? Self.valueLimit : 3
  }

  mutating func print(axis: Int, offset: Int) {
    guard axis < shape.rank else {
      // The offset is that of an index within the shape.
      text += unsafe ElementReader.number(bytes, dtype, at: offset).description
      remaining -= 1
      return
    }
    text += "["
    let extent = shape[axis]
    // An axis inside an empty tensor can have any extent; there is nothing to print along it.
    var index = shape.elementIsAbsent(from: axis) ? extent : 0
    var isFirst = true
    while index < extent {
      if !isFirst { text += ", " }
      isFirst = false
      if remaining <= 0 || index == edge && extent > 2 * edge {
        text += "…"
        index = remaining <= 0 ? extent : extent - edge
        continue
      }
      print(axis: axis + 1, offset: offset + index * strides[axis])
      index += 1
    }
    text += "]"
  }
}

extension Shape {
  fileprivate func elementIsAbsent(from axis: Int) -> Bool { extents[axis...].contains(0) }
}
