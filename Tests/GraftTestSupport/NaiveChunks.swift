package import GraftCore

/// The chunks of a tensor as a writer of chunks is given them: in the order of the grid, padded with zeros, packed where the dtype is.
///
/// Done in the most obvious way; it shares no code with Graft's planner.
///
/// - Parameter elements: the elements in row-major order, those of less than a byte in a byte each.
package func naiveChunks(
  of elements: [UInt8], _ spec: TensorSpec, chunkShape: Shape
) -> [[UInt8]] {
  let size = max(1, spec.dtype.bitWidth / 8)
  precondition(elements.count == spec.elementCount * size)
  let grid = zip(spec.shape, chunkShape).map { ($0 + $1 - 1) / $1 }
  return NaiveTensor.indices(of: grid).map { place in
    var chunk = [UInt8](repeating: 0, count: chunkShape.elementCount * size)
    for (number, index) in NaiveTensor.indices(of: Array(chunkShape.dropLast())).enumerated() {
      // A run along the last axis at a time.
      let outer = zip(zip(place, index), chunkShape).map { $0.0 * $1 + $0.1 }
      guard zip(outer, spec.shape).allSatisfy({ $0 < $1 }) else { continue }
      let length = chunkShape.last ?? 1
      let first = (place.last ?? 0) * length
      let end = min(spec.shape.last ?? 1, first + length)
      let row = zip(outer, spec.shape).reduce(0) { $0 * $1.1 + $1.0 }
      let source = (row * (spec.shape.last ?? 1) + first) * size
      let count = (end - first) * size
      chunk.replaceSubrange(
        number * length * size..<number * length * size + count, with: elements[source..<source + count])
    }
    return packed(chunk, spec.dtype)
  }
}

/// Elements of a byte each as the bits of a little-endian stream; others as they are.
private func packed(_ elements: [UInt8], _ dtype: DType) -> [UInt8] {
  guard dtype.isPacked else { return elements }
  var result = [UInt8](repeating: 0, count: (elements.count * dtype.bitWidth + 7) / 8)
  for (index, element) in elements.enumerated() {
    for bit in 0..<dtype.bitWidth where element >> UInt8(bit) & 1 == 1 {
      let place = index * dtype.bitWidth + bit
      result[place / 8] |= 1 << UInt8(place % 8)
    }
  }
  return result
}
