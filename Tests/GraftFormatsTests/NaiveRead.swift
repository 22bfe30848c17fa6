import GraftCodec
import GraftCore
import GraftIO

/// Reads a whole leaf chunk by chunk and element by element: slow and plain, to compare with what other software reads.
///
/// Elements of less than a byte come out one byte each.
func naiveRead(_ spec: TensorSpec, _ layout: Layout, files: [StoredFile]) throws -> [UInt8] {
  let size = layout.storedBitWidth / 8
  var result = [UInt8](repeating: 0xEE, count: spec.elementCount * size)
  let chain = try CodecChain(layout.codecs)
  let grid = zip(spec.shape.extents, layout.chunkShape.extents).map { ($0 + $1 - 1) / $1 }
  for (number, chunk) in layout.chunks.enumerated() {
    let decoded: [UInt8]
    let count = layout.chunkShape.elementCount
    switch chunk {
    case .absent:
      guard let fill = layout.fillValue else { throw GraftError(.corrupt, "a chunk is missing") }
      decoded = Array((0..<count).map { _ in fill }.joined())
    case .inline(let bytes): decoded = try decode(bytes, through: chain, count: count * size)
    case .file(let chunk):
      let bytes = try File(opening: files[chunk.file].path).readFully(chunk.range)
      decoded = try decode(bytes, through: chain, count: count * size)
    }
    let corner = zip(place(number, in: grid), layout.chunkShape.extents).map { $0 * $1 }
    for element in 0..<count {
      let index = zip(corner, place(element, in: layout.chunkShape.extents)).map { $0 + $1 }
      guard zip(index, spec.shape.extents).allSatisfy({ $0 < $1 }) else { continue }
      let target = zip(index, spec.shape.extents).reduce(0) { $0 * $1.1 + $1.0 }
      for byte in 0..<size { result[target * size + byte] = decoded[element * size + byte] }
    }
  }
  return result
}

private func decode(_ bytes: [UInt8], through chain: CodecChain, count: Int) throws -> [UInt8] {
  var decoder = try ChunkDecoder(windowByteCountLimit: 8 << 20)
  var result = [UInt8](repeating: 0, count: count)
  var span = result.mutableSpan
  var destination = span.mutableBytes
  try decoder.decode(bytes.span.bytes, through: chain, into: &destination)
  return result
}

private func place(_ number: Int, in extents: [Int]) -> [Int] {
  var rest = number
  var index = extents
  for axis in extents.indices.reversed() {
    index[axis] = rest % extents[axis]
    rest /= extents[axis]
  }
  return index
}
