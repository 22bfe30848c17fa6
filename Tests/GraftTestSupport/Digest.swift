/// The bytes that hexadecimal digits stand for; traps when they are none.
public func bytes(hexadecimal text: String) -> [UInt8] {
  let digits = Array(text.utf8)
  precondition(digits.count % 2 == 0)
  return stride(from: 0, to: digits.count, by: 2).map { index in
    guard let value = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
      preconditionFailure("\(text) is not hexadecimal")
    }
    return value
  }
}

/// The SHA-256 of some bytes in hexadecimal digits, to compare with what other software wrote; slow.
public func sha256(_ bytes: [UInt8]) -> String {
  var state: [UInt32] = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
  ]
  var padded = bytes + [0x80]
  padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
  withUnsafeBytes(of: UInt64(bytes.count * 8).bigEndian) { padded += $0 }
  var words = [UInt32](repeating: 0, count: 64)
  func rotated(_ value: UInt32, _ count: UInt32) -> UInt32 { value >> count | value << (32 - count) }
  padded.withUnsafeBytes { buffer in
    for block in stride(from: 0, to: buffer.count, by: 64) {
      for i in 0..<16 {
        words[i] = UInt32(bigEndian: buffer.loadUnaligned(fromByteOffset: block + 4 * i, as: UInt32.self))
      }
      for i in 16..<64 {
        let low = rotated(words[i - 15], 7) ^ rotated(words[i - 15], 18) ^ words[i - 15] >> 3
        let high = rotated(words[i - 2], 17) ^ rotated(words[i - 2], 19) ^ words[i - 2] >> 10
        words[i] = words[i - 16] &+ low &+ words[i - 7] &+ high
      }
      var (a, b, c, d, e, f, g, h) = (
        state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7]
      )
      for i in 0..<64 {
        let sum1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
        let first = h &+ sum1 &+ (e & f ^ ~e & g) &+ sha256Constants[i] &+ words[i]
        let sum0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
        let second = sum0 &+ (a & b ^ a & c ^ b & c)
        (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
      }
      for (index, value) in [a, b, c, d, e, f, g, h].enumerated() { state[index] &+= value }
    }
  }
  return state.map { word in
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }.joined()
}

/// The fractional parts of the cube roots of the first 64 primes, as the standard defines them.
private let sha256Constants: [UInt32] = {
  var constants: [UInt32] = []
  var candidate: UInt64 = 2
  while constants.count < 64 {
    if !(2..<candidate).contains(where: { candidate % $0 == 0 }) {
      // The integer cube root of the prime times 2^96, of which the low 32 bits are wanted: found bit by bit.
      var root: UInt64 = 0
      for bit in (0..<36).reversed() {
        let trial = root | 1 << UInt64(bit)
        let square = trial.multipliedFullWidth(by: trial)
        let low = square.low.multipliedFullWidth(by: trial)
        let (high, overflow) = (square.high &* trial).addingReportingOverflow(low.high)
        if !overflow && (high, low.low) <= (candidate << 32, 0) { root = trial }
      }
      constants.append(UInt32(truncatingIfNeeded: root))
    }
    candidate += 1
  }
  return constants
}()
