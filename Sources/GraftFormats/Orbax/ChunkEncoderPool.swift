internal import GraftCodec
internal import GraftCore
internal import GraftIO
internal import Synchronization

/// Encoders with the memory that they write to, which threads take and give back.
///
/// There are as many as threads ever encoded at once; of those that are idle no more are kept than there are processors.
final class ChunkEncoderPool: Sendable {
  /// An encoder and its memory, used by one thread at a time.
  ///
  /// Why the unchecked conformance is sound: the pool's lock hands it from one thread to the next.
  @safe final class Station: @unchecked Sendable {
    fileprivate var encoder: ChunkEncoder
    private var output = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var elements = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)

    fileprivate init(_ encoding: ChunkEncoding) throws(CodecFailure) { encoder = try ChunkEncoder(encoding) }

    deinit {
      unsafe output.deallocate()
      unsafe elements.deallocate()
    }

    /// The encoded chunk, which stays as it is until the next call.
    func encode(_ chunk: UnsafeRawBufferPointer) throws(CodecFailure) -> UnsafeRawBufferPointer {
      guard let bound = encoder.encodedByteCountBound(chunk.count) else {
        throw CodecFailure(encoder.encoding.compression.container.rawValue, .chunkTooLong)
      }
      unsafe Self.grow(&output, to: bound)
      let count = try unsafe encoder.encode(chunk, into: output)
      return unsafe UnsafeRawBufferPointer(rebasing: output[..<count])
    }

    /// The elements of a packed chunk in a byte each, which stay as they are until the next call.
    func unpack(_ chunk: UnsafeRawBufferPointer, elementCount: Int, bitWidth: Int) -> UnsafeRawBufferPointer {
      unsafe Self.grow(&elements, to: elementCount)
      let mask = UInt8((1 << bitWidth) - 1)
      for index in 0..<elementCount {
        // Elements of 4 bits, the only ones that Zarr has, do not cross bytes; TensorStore leaves the upper bits zero.
        let bit = index * bitWidth
        unsafe elements[index] = unsafe chunk[bit / 8] >> UInt8(bit % 8) & mask
      }
      return unsafe UnsafeRawBufferPointer(rebasing: elements[..<elementCount])
    }

    private static func grow(_ memory: inout UnsafeMutableRawBufferPointer, to byteCount: Int) {
      guard memory.count < byteCount else { return }
      unsafe memory.deallocate()
      unsafe memory = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 64)
    }
  }

  private let idle = Mutex<[Station]>([])
  private let idleLimit = max(1, UsableProcessors.count)

  /// Lends a station to `body`.
  ///
  /// - Throws: `insufficientMemory`, or what `body` throws.
  func withStation<Value>(
    for encoding: ChunkEncoding, _ body: (Station) throws(GraftError) -> Value
  ) throws(GraftError) -> Value {
    let found = idle.withLock { idle -> Station? in
      idle.lastIndex { $0.encoder.encoding == encoding }.map { idle.remove(at: $0) }
    }
    let station: Station
    if let found {
      station = found
    } else {
      do throws(CodecFailure) { station = try Station(encoding) } catch { throw error.graftError() }
    }
    defer {
      idle.withLock { idle in
        // The one that was used longest ago goes, perhaps one of another encoding.
        if idle.count >= idleLimit { idle.removeFirst() }
        idle.append(station)
      }
    }
    return try body(station)
  }
}
