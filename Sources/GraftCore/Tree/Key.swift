internal import Glibc

/// The name of a child in a tree: text that compares, hashes and sorts by its UTF-8 bytes.
///
/// Swift's `String` equality merges canonically equivalent spellings (é as one scalar and as two), which checkpoint
/// formats keep apart; two leaves whose names differ only so must stay two leaves.
public struct Key: Sendable {
  /// The text; compare keys, not their strings.
  public let string: String

  /// A key with this text.
  public init(_ string: String) {
    var contiguous = string
    contiguous.makeContiguousUTF8()
    self.string = contiguous
  }

  /// The key of a list's element: its index in decimal.
  public init(index: Int) { self.init(String(index)) }

  /// The index that the key is, when it is a list's element: digits without leading zeros.
  public var index: Int? {
    let utf8 = string.utf8
    guard let first = utf8.first, utf8.count == 1 || first != UInt8(ascii: "0"),
      utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") })
    else { return nil }
    return Int(string)
  }
}

extension Key: Hashable, Comparable {
  /// Whether both have the same UTF-8 bytes.
  public static func == (a: Key, b: Key) -> Bool {
    let byteCount = a.string.utf8.count
    guard byteCount == b.string.utf8.count else { return false }
    // Keys are contiguous, so that their bytes can be compared at once.
    let isEqual: Bool?? = unsafe a.string.utf8.withContiguousStorageIfAvailable { a in
      unsafe b.string.utf8.withContiguousStorageIfAvailable { b in
        // The counts are equal; a text without bytes may have no address.
        guard let a = a.baseAddress, let b = b.baseAddress else { return true }
        return unsafe memcmp(a, b, byteCount) == 0
      }
    }
    return (isEqual ?? nil) ?? a.string.utf8.elementsEqual(b.string.utf8)
  }
  /// Whether the UTF-8 bytes of `a` come before those of `b`.
  public static func < (a: Key, b: Key) -> Bool {
    a.string.utf8.lexicographicallyPrecedes(b.string.utf8)
  }
  /// Hashes the UTF-8 bytes.
  public func hash(into hasher: inout Hasher) {
    // The buffer is only read, and only inside the closure. 0xFF ends the text, as no UTF-8 byte has that value.
    let hashed: Void? = unsafe string.utf8.withContiguousStorageIfAvailable {
      unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0))
    }
    if hashed == nil { for byte in string.utf8 { hasher.combine(byte) } }
    hasher.combine(0xFF as UInt8)
  }
}

extension Key: ExpressibleByStringLiteral, CustomStringConvertible {
  /// A key from a literal, so that `path.first == "opt_state"` reads well.
  public init(stringLiteral value: String) { self.init(value) }
  /// The key as a path prints it, with what is special in a path escaped.
  public var description: String { TreePath([self]).description }
}
