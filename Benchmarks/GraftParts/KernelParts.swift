internal import CGraftKernels
internal import GraftCore
internal import GraftExecute
internal import GraftIO

extension Part {
  /// What goes over the bytes of tensors: one thread, in the cache where the input is small.
  static let kernels: [Part] =
    [2, 4].map { element in
      Part("transpose a matrix of elements of \(element) bytes") { (size, _) throws(GraftError) in
        let extent = size == .full ? 4096 : 64
        return try placement(
          run: element, byteCount: extent * extent * element,
          [
            graft_copy_axis(count: extent, source_stride: extent * element, destination_stride: element),
            graft_copy_axis(count: extent, source_stride: element, destination_stride: extent * element),
          ])
      }
    }
    + [
      Part("stack 32 layers whose elements of 2 bytes take turns") { (size, _) throws(GraftError) in
        let (layers, element, length) = (32, 2, size == .full ? 512 << 10 : 512)
        return try placement(
          run: element, byteCount: layers * length * element,
          [
            graft_copy_axis(count: layers, source_stride: length * element, destination_stride: element),
            graft_copy_axis(count: length, source_stride: element, destination_stride: layers * element),
          ])
      },
      Part("every other run of 256 bytes") { (size, _) throws(GraftError) in
        let count = size == .full ? 64 << 10 : 64
        return try placement(
          run: 256, byteCount: count * 512,
          [graft_copy_axis(count: count, source_stride: 512, destination_stride: 256)])
      },
    ]
    + [
      (DType.bfloat16, DType.float32), (.float32, .bfloat16), (.float16, .bfloat16),
      (.float8E4M3FN, .bfloat16),
    ].map { (from, to) in
      Part("cast \(from) to \(to)") { (size, _) throws(GraftError) in
        let elementCount = size == .full ? 4 << 20 : 4 << 10
        let (source, destination) = (ElementFormat(from), ElementFormat(to))
        let (input, output) = (
          try noise(byteCount: source.byteCount(elementCount: elementCount)),
          try noise(byteCount: destination.byteCount(elementCount: elementCount))
        )
        return Prepared(workCount: max(input.byteCount, output.byteCount)) { () throws(GraftError) in
          unsafe Kernels.best.cast(
            UnsafeRawBufferPointer(input.bytes), source, to: output.bytes, destination, count: elementCount)
          return ["elements": elementCount]
        }
      }
    }

  /// A strided copy between two memories of one size.
  private static func placement(
    run: Int, byteCount: Int, _ axes: [graft_copy_axis]
  ) throws(GraftError) -> Prepared {
    let (input, output) = (try noise(byteCount: byteCount), try noise(byteCount: byteCount))
    let copied = axes.reduce(run) { $0 * $1.count }
    return Prepared(workCount: copied) { () throws(GraftError) in
      let result = unsafe axes.withUnsafeBufferPointer { axes in
        var copy = unsafe graft_copy(
          run: run, source_offset: 0, destination_offset: 0, rank: axes.count, axes: axes.baseAddress)
        return unsafe graft_place(
          &copy, output.bytes.baseAddress, byteCount, input.bytes.baseAddress, byteCount)
      }
      guard result == 0 else {
        throw GraftError(.invalidArgument, "the copy does not fit its memory: error \(result)")
      }
      return ["bytes copied": copied]
    }
  }

  /// Memory of noise, which is there before it is timed.
  static func noise(byteCount: Int) throws(GraftError) -> PoolExtent {
    let extent = try MemoryPool.shared.allocate(byteCount: byteCount, alignment: 4096)
    try extent.populate()
    var noise = Noise(seed: UInt64(byteCount))
    for offset in stride(from: 0, to: byteCount & ~7, by: 8) {
      unsafe extent.bytes.storeBytes(of: noise.next(), toByteOffset: offset, as: UInt64.self)
    }
    return extent
  }
}
