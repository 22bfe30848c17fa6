// Formats of 100,000 leaves put in order, compare and write as many names. What does that byte by byte, or with an object of the
// heap for each, is most of what they cost; these take eight bytes at a time and lie in one piece of memory.

internal import Glibc
internal import GraftCore

/// Many short texts one after another in memory.
package struct PackedTexts {
  private var bytes: [UInt8] = []
  private var ends: [Int] = []

  /// No texts.
  package init() {}

  /// How many texts there are.
  var count: Int { ends.count }

  mutating func reserveCapacity(_ count: Int, byteCount: Int) {
    ends.reserveCapacity(count)
    bytes.reserveCapacity(byteCount)
  }

  /// Adds a text.
  package mutating func append(_ text: some Sequence<UInt8>) {
    bytes.append(contentsOf: text)
    ends.append(bytes.count)
  }

  /// Adds a text and one more byte.
  package mutating func append(_ text: some Sequence<UInt8>, _ last: UInt8) {
    bytes.append(contentsOf: text)
    bytes.append(last)
    ends.append(bytes.count)
  }

  private func range(_ index: Int) -> Range<Int> { (index == 0 ? 0 : ends[index - 1])..<ends[index] }

  /// Whether a text begins with another one of these.
  package func text(_ index: Int, startsWith other: Int) -> Bool {
    let (own, start) = (range(index), range(other))
    guard own.count >= start.count else { return false }
    return bytes[own.prefix(start.count)] == bytes[start]
  }

  /// The indices of the texts in the order of their bytes; of equal ones, the one that was added first comes first.
  package func order() -> [Int] {
    // What all begin with need not be compared over and over, and most are told apart by the eight bytes behind it.
    var shared = ends.first ?? 0
    for index in ends.indices.dropFirst() {
      shared = bytes.span.commonPrefixCount(
        from: 0, range(index).lowerBound, limit: min(shared, range(index).count))
    }
    let keyed = ends.indices.map { index in
      var key: UInt64 = 0
      let own = range(index).dropFirst(shared)
      for place in own.prefix(8) { key = key << 8 | UInt64(bytes[place]) }
      return (key: own.count < 8 ? key << (8 * UInt64(8 - own.count)) : key, index: index)
    }
    return unsafe bytes.withUnsafeBytes { buffer in
      // Without an address there are no bytes, and all texts are equal.
      guard let base = buffer.baseAddress else { return Array(ends.indices) }
      return keyed.sorted { left, right in
        if left.key != right.key { return left.key < right.key }
        let (a, b) = (range(left.index), range(right.index))
        // Both ranges lie in the buffer.
        let difference = unsafe memcmp(base + a.lowerBound, base + b.lowerBound, min(a.count, b.count))
        if difference != 0 { return difference < 0 }
        return a.count != b.count ? a.count < b.count : left.index < right.index
      }.map(\.index)
    }
  }
}

extension Span<UInt8> {
  /// How many bytes from one offset on are the same as from another one, up to a limit.
  func commonPrefixCount(from first: Int, _ second: Int, limit: Int) -> Int {
    var shared = 0
    while shared < limit, self[first + shared] == self[second + shared] { shared += 1 }
    return shared
  }
}

extension [UInt8] {
  /// Whether its bytes come before those of another.
  package func precedes(_ other: [UInt8]) -> Bool {
    let shared = commonPrefixCount(other)
    return shared < other.count && (shared == count || self[shared] < other[shared])
  }

  /// Whether it begins with another.
  package func hasPrefix(_ other: [UInt8]) -> Bool {
    count >= other.count && commonPrefixCount(other) == other.count
  }

  /// How many of its first bytes are those of another.
  func commonPrefixCount(_ other: [UInt8]) -> Int {
    let limit = Swift.min(count, other.count)
    // Views of the same bytes; they are marked unsafe only because padding could be read, which bytes have none of.
    let (own, others) = unsafe (span.bytes, other.span.bytes)
    var shared = 0
    while limit - shared >= 8 {
      // Eight bytes from here on are inside of both.
      let difference =
        unsafe own.unsafeLoadUnaligned(fromUncheckedByteOffset: shared, as: UInt64.self)
        ^ others.unsafeLoadUnaligned(fromUncheckedByteOffset: shared, as: UInt64.self)
      if difference != 0 { return shared + UInt64(littleEndian: difference).trailingZeroBitCount / 8 }
      shared += 8
    }
    while shared < limit, self[shared] == other[shared] { shared += 1 }
    return shared
  }

  /// Appends a number, which is not negative, in decimal.
  mutating func appendDecimal(_ number: Int) {
    precondition(number >= 0, "extents and indices are not negative")
    if number < 10 { return append(UInt8(ascii: "0") + UInt8(number)) }
    append(contentsOf: String(number).utf8)
  }

  /// Appends a shape as a list of JSON.
  mutating func appendJSON(_ shape: Shape) {
    append(UInt8(ascii: "["))
    for (axis, extent) in shape.enumerated() {
      if axis > 0 { append(UInt8(ascii: ",")) }
      appendDecimal(extent)
    }
    append(UInt8(ascii: "]"))
  }
}
