/// An array of numbers with NumPy's operations, each done element by element in the most obvious way.
///
/// What Graft's lazy tensors are compared with; it shares no code with them.
package struct NaiveTensor: Equatable, Sendable {
  package var shape: [Int]
  package var values: [Int64]

  package init(shape: [Int], values: [Int64]) {
    precondition(values.count == shape.reduce(1, *))
    self.shape = shape
    self.values = values
  }

  /// A tensor whose element at each index is what `element` says.
  package init(shape: [Int], _ element: ([Int]) -> Int64) {
    self.init(shape: shape, values: Self.indices(of: shape).map(element))
  }

  /// Every index, in row-major order.
  package static func indices(of shape: [Int]) -> [[Int]] {
    var result: [[Int]] = [[]]
    for extent in shape { result = result.flatMap { prefix in (0..<extent).map { prefix + [$0] } } }
    return result
  }

  package subscript(index: [Int]) -> Int64 {
    var position = 0
    for (extent, i) in zip(shape, index) { position = position * extent + i }
    return values[position]
  }

  /// Python's `range(first, first + count * step, step)` along each axis; nil drops an axis at that index.
  package func sliced(_ axes: [(first: Int, count: Int?, step: Int)]) -> NaiveTensor {
    NaiveTensor(shape: axes.compactMap(\.count)) { index in
      var rest = index[...]
      return self[axes.map { $0.first + ($0.count == nil ? 0 : rest.removeFirst() * $0.step) }]
    }
  }

  package func transposed(_ axes: [Int]) -> NaiveTensor {
    NaiveTensor(shape: axes.map { shape[$0] }) { index in
      var source = index
      for (position, axis) in axes.enumerated() { source[axis] = index[position] }
      return self[source]
    }
  }

  package func reshaped(_ shape: [Int]) -> NaiveTensor { NaiveTensor(shape: shape, values: values) }

  package func broadcast(to shape: [Int]) -> NaiveTensor {
    let extra = shape.count - self.shape.count
    return NaiveTensor(shape: shape) { index in
      self[self.shape.indices.map { self.shape[$0] == 1 ? 0 : index[$0 + extra] }]
    }
  }

  package func repeated(_ count: Int, axis: Int) -> NaiveTensor {
    var extents = shape
    extents[axis] *= count
    return NaiveTensor(shape: extents) { index in
      var source = index
      source[axis] /= count
      return self[source]
    }
  }

  package func tiled(_ counts: [Int]) -> NaiveTensor {
    NaiveTensor(shape: zip(shape, counts).map(*)) { index in self[zip(index, shape).map { $0 % $1 }] }
  }

  package func padded(_ widths: [(before: Int, after: Int)], with value: Int64) -> NaiveTensor {
    NaiveTensor(shape: zip(shape, widths).map { $0 + $1.before + $1.after }) { index in
      let source = zip(index, widths).map { $0 - $1.before }
      return zip(source, shape).allSatisfy { $0 >= 0 && $0 < $1 } ? self[source] : value
    }
  }

  package func taking(_ indices: [Int], axis: Int) -> NaiveTensor {
    var extents = shape
    extents[axis] = indices.count
    return NaiveTensor(shape: extents) { index in
      var source = index
      source[axis] = indices[index[axis]] < 0 ? indices[index[axis]] + shape[axis] : indices[index[axis]]
      return self[source]
    }
  }

  package static func concatenate(_ tensors: [NaiveTensor], axis: Int) -> NaiveTensor {
    var extents = tensors[0].shape
    extents[axis] = tensors.reduce(0) { $0 + $1.shape[axis] }
    return NaiveTensor(shape: extents) { index in
      var source = index
      for tensor in tensors {
        if source[axis] < tensor.shape[axis] { return tensor[source] }
        source[axis] -= tensor.shape[axis]
      }
      fatalError("the index is within the sum of the extents")
    }
  }

  package static func stack(_ tensors: [NaiveTensor], axis: Int) -> NaiveTensor {
    concatenate(
      tensors.map {
        var shape = $0.shape
        shape.insert(1, at: axis)
        return $0.reshaped(shape)
      }, axis: axis)
  }

  package func combined(with other: NaiveTensor, _ operation: (Int64, Int64) -> Int64) -> NaiveTensor {
    NaiveTensor(shape: shape, values: zip(values, other.values).map(operation))
  }
}
