/// Puts the fields of a manifest or node one after the other; ``OCDBTByteReader`` reads them.
struct OCDBTByteWriter {
  private(set) var bytes: [UInt8] = []

  mutating func reserveCapacity(_ byteCount: Int) { bytes.reserveCapacity(byteCount) }

  mutating func byte(_ value: UInt8) { bytes.append(value) }

  /// Bytes as they are.
  mutating func raw(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

  mutating func fixed<Value: FixedWidthInteger>(littleEndian value: Value) {
    for shift in stride(from: 0, to: Value.bitWidth, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: value >> Value(shift)))
    }
  }

  /// A number in base 128, least significant digits first.
  mutating func varint(_ value: Int) {
    precondition(value >= 0, "sizes and places are not negative")
    varint(UInt64(value))
  }

  /// A number in base 128, least significant digits first.
  mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  /// The files that a manifest or node refers to; their paths are given whole, and so have no base.
  mutating func fileTable(_ paths: [[UInt8]]) {
    varint(paths.count)
    var prefixes = [0]
    for (path, previous) in zip(paths.dropFirst(), paths) {
      prefixes.append(path.commonPrefixCount(previous))
    }
    for prefix in prefixes.dropFirst() { varint(prefix) }
    for (path, prefix) in zip(paths, prefixes) { varint(path.count - prefix) }
    for _ in paths { varint(0) }
    for (path, prefix) in zip(paths, prefixes) { raw(path[prefix...]) }
  }
}
