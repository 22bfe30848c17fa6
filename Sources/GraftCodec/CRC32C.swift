internal import CGraftCodec

/// The CRC-32C (Castagnoli) checksum, by the processor's instructions where it has them.
package enum CRC32C {
  /// The checksum of `bytes` that follow bytes whose checksum is `start`.
  package static func checksum(_ bytes: RawSpan, from start: UInt32 = 0) -> UInt32 {
    // The pointer is only read from, inside the closure.
    unsafe bytes.withUnsafeBytes { unsafe graft_crc32c(start, $0.baseAddress, $0.count) }
  }

  /// The same checksum by tables alone, for comparison.
  package static func portableChecksum(_ bytes: RawSpan, from start: UInt32 = 0) -> UInt32 {
    unsafe bytes.withUnsafeBytes { unsafe graft_crc32c_portable(start, $0.baseAddress, $0.count) }
  }

  /// Whether the processor's instructions are used.
  package static var isAccelerated: Bool { graft_crc32c_is_accelerated() }
}
