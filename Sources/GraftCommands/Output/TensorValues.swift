import GraftCore

/// A tensor's values in JSON: arrays nested as the axes are, `null` where there are more than anybody wants in a text.
struct TensorValues {
  private let tensor: Tensor
  private let limit: Int

  init(_ tensor: Tensor, limit: Int) {
    self.tensor = tensor
    self.limit = limit
  }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    guard tensor.elementCount <= limit, let values = try? scalars() else { return try json.element(nil) }
    var rest = values[...]
    try write(axis: 0, &rest, to: &json)
  }

  private func write(
    axis: Int, _ rest: inout ArraySlice<JSONValue>, to json: inout JSONStream
  ) throws(OutputFailure) {
    guard axis < tensor.shape.rank else { return try json.element(rest.popFirst() ?? nil) }
    try json.array { (json) throws(OutputFailure) in
      // An empty tensor may claim any extent before the axis that is empty.
      guard tensor.elementCount > 0 else { return }
      for _ in 0..<tensor.shape[axis] { try write(axis: axis + 1, &rest, to: &json) }
    }
  }

  /// Every element as JSON has it: integers exact, other numbers in the fewest digits that give the element back.
  private func scalars() throws(GraftError) -> [JSONValue] {
    switch tensor.dtype {
    case .bool: return try tensor.array(as: Bool.self).map { .bool($0) }
    case .uint64:
      return try tensor.array(as: UInt64.self).map {
        .number(Int(exactly: $0).map(JSONNumber.integer) ?? .unsigned($0))
      }
    case .int4, .uint4, .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64:
      return try tensor.array(as: Int.self).map { .integer($0) }
    case .float64: return try tensor.array(as: Double.self).map { .double($0) }
    case .complex64:
      return try tensor.array(as: Complex64.self).map {
        ["re": Self.shortest($0.real), "im": Self.shortest($0.imaginary)]
      }
    case .complex128:
      return try tensor.array(as: Complex128.self).map {
        ["re": .double($0.real), "im": .double($0.imaginary)]
      }
    default: return try tensor.array(as: Float.self).map(Self.shortest)
    }
  }

  /// The double that prints as the float does.
  private static func shortest(_ value: Float) -> JSONValue {
    .double(value.isFinite ? Double(value.description) ?? Double(value) : Double(value))
  }
}
