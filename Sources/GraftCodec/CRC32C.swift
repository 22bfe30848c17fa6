internal import CGraftCodec

/// The CRC-32C (Castagnoli) checksum, by the processor's instructions where it has them.
package enum CRC32C {
  /// The checksum of `bytes` that follow bytes whose checksum is `start`.
  package static func checksum(_ bytes: RawSpan, from start: UInt32 = 0) -> UInt32 {
    // The pointer is only read from, inside the closure.
    unsafe bytes.withUnsafeBytes { unsafe graft_crc32c(start, $0.baseAddress, $0.count) }
  }

  /// A way to compute it; each is faster than those before it.
  package enum Method: CaseIterable, Hashable, Sendable {
    /// Eight bytes at a time, by look-up.
    case tables
    /// By the processor's instruction for this checksum.
    case instruction
    /// By carry-less multiplications of 64 bytes at a time.
    case folding

    /// Those of which the processor is capable.
    package static var supported: [Method] {
      allCases.filter { $0.inC.rawValue <= graft_crc32c_best().rawValue }
    }

    fileprivate var inC: graft_crc32c_method {
      switch self {
      case .tables: GRAFT_CRC32C_BY_TABLES
      case .instruction: GRAFT_CRC32C_BY_INSTRUCTION
      case .folding: GRAFT_CRC32C_BY_FOLDING
      }
    }
  }

  /// The same checksum in one of the ways, for comparison.
  package static func checksum(_ bytes: RawSpan, from start: UInt32 = 0, by method: Method) -> UInt32 {
    unsafe bytes.withUnsafeBytes { unsafe graft_crc32c_by(method.inC, start, $0.baseAddress, $0.count) }
  }
}

extension CRC32C {
  /// The checksum of bytes followed by others, from the checksums of both and the number of the others.
  ///
  /// A checksum is a remainder of polynomials over bits, and zeros behind the first bytes multiply theirs by a power of x, which
  /// is found by squaring: some hundred operations, whatever the number.
  package static func combine(_ first: UInt32, _ second: UInt32, byteCount: Int) -> UInt32 {
    precondition(byteCount >= 0)
    var result = first
    var power = eighthPower
    var count = byteCount
    while count > 0 {
      if count & 1 != 0 { result = product(result, power) }
      power = product(power, power)
      count >>= 1
    }
    return result ^ second
  }

  /// The polynomial, and x to the eighth, the coefficient of 1 in the highest bit.
  private static let polynomial: UInt32 = 0x82F6_3B78
  private static let eighthPower: UInt32 = 1 << (31 - 8)

  /// The product of two polynomials, modulo the checksum's own.
  private static func product(_ a: UInt32, _ b: UInt32) -> UInt32 {
    var (sum, factor): (UInt32, UInt32) = (0, b)
    for bit in stride(from: UInt32(31), through: 0, by: -1) {
      if a & (1 << bit) != 0 { sum ^= factor }
      factor = factor & 1 != 0 ? (factor >> 1) ^ polynomial : factor >> 1
    }
    return sum
  }
}
