import GraftCore
import GraftIO
import Synchronization

/// Bytes in memory as a source, which remembers what was read of it.
final class MemoryByteSource: ByteSource {
  let name: String
  let bytes: [UInt8]
  private let log = Mutex<[ByteRange]>([])

  init(_ bytes: [UInt8], name: String = "model.safetensors") {
    self.bytes = bytes
    self.name = name
  }

  var byteCount: Int { bytes.count }

  /// The ranges that were read, in order.
  var reads: [ByteRange] { log.withLock { $0 } }

  func read(_ range: ByteRange) async throws(GraftError) -> [UInt8] {
    log.withLock { $0.append(range) }
    guard range.end <= bytes.count else {
      throw GraftError.truncated(file: name, range: range, byteCount: bytes.count)
    }
    return Array(bytes[range.offset..<range.end])
  }
}

/// A safetensors file: the length of the header, the header, and as many bytes of data as asked for.
func safetensors(_ header: String, dataByteCount: Int = 0) -> [UInt8] {
  safetensors(Array(header.utf8), dataByteCount: dataByteCount)
}

/// A safetensors file whose header may be anything.
func safetensors(_ header: [UInt8], dataByteCount: Int = 0) -> [UInt8] {
  lengthField(UInt64(header.count)) + header + (0..<dataByteCount).map { UInt8(truncatingIfNeeded: $0) }
}

/// The eight bytes that say how long a header is.
func lengthField(_ count: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) } }
