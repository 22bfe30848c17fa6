// All wording for what a codec refuses stands in this file, and CodecFailureTests pins it.

package import GraftCore

/// Why bytes could not be decoded or encoded, by which codec; it becomes a `GraftError` where leaf and file are known.
package struct CodecFailure: Error, Hashable, Sendable {
  /// The codec's name as Zarr spells it, for example `zstd`.
  package var codec: String
  /// What is wrong.
  package var reason: Reason

  /// A failure of this codec.
  package init(_ codec: String, _ reason: Reason) {
    self.codec = codec
    self.reason = reason
  }

  /// What can be wrong.
  package enum Reason: Hashable, Sendable {
    /// The bytes contradict the codec's format; the library's own word for it, where it has one.
    case corrupt(String?)
    /// The bytes end too early.
    case truncated
    /// They decode to more than `expected` bytes.
    case tooLong(expected: Int)
    /// They decode to `found` bytes, fewer than `expected`.
    case tooShort(expected: Int, found: Int)
    /// Decoding them as a stream takes a window of `window` bytes, more than `limit`.
    case windowTooLarge(window: UInt64, limit: Int)
    /// The bytes have another checksum than they say.
    case checksum(expected: UInt32, found: UInt32)
    /// A codec or a feature of one that is not decoded.
    case unsupported(String)
    /// The chain of codecs is longer than `limit`.
    case chainTooLong(limit: Int)
    /// The system has no memory for the decoder or encoder.
    case outOfMemory
    /// A level that the compressor does not have, of these.
    case unknownLevel(ClosedRange<Int>)
    /// A chunk of more bytes than the codec's format has room for.
    case chunkTooLong
  }
}

extension CodecFailure {
  /// The error as users see it, for a chunk in this place.
  package func graftError(
    leaf: TreePath? = nil, file: String? = nil, range: ByteRange? = nil
  ) -> GraftError {
    var error = GraftError(.corrupt, "the \(codec) data is damaged", leaf: leaf, file: file, range: range)
    error.remedy = "the file was damaged after it was written: copy or download it again"
    switch reason {
    case .corrupt(let reason): error.found = reason
    case .truncated:
      error.message = "the \(codec) data ends too early"
    case .tooLong(let expected):
      error.message = "the \(codec) data decodes to more bytes than the chunk has"
      error.expected = "\(expected) bytes"
    case .tooShort(let expected, let found):
      error.message = "the \(codec) data decodes to fewer bytes than the chunk has"
      error.expected = "\(expected) bytes"
      error.found = "\(found)"
    case .windowTooLarge(let window, let limit):
      error.code = .limitExceeded
      error.message = "decoding the \(codec) frame as a stream takes a window larger than the memory budget"
      error.expected = "at most \(limit) bytes"
      error.found = "\(window) bytes"
      error.remedy = "raise the budget above the window"
    case .checksum(let expected, let found):
      error.message = "the bytes do not have the \(codec) checksum that stands beside them"
      error.expected = Self.hexadecimal(expected)
      error.found = Self.hexadecimal(found)
    case .unsupported(let what):
      error.code = .unsupported
      error.message = what
      error.remedy = "write the checkpoint again with the codecs bytes, zstd, blosc or crc32c"
    case .chainTooLong(let limit):
      error.code = .limitExceeded
      error.message = "the chunk went through more codecs than Graft undoes"
      error.expected = "at most \(limit)"
      error.remedy = nil
    case .outOfMemory:
      error.code = .insufficientMemory
      error.message = "the system has no memory for the \(codec) codec"
      error.remedy = "free some memory"
    case .unknownLevel(let levels):
      error.code = .invalidArgument
      error.message = "\(codec) has no such level"
      error.expected = "a level from \(levels.lowerBound) to \(levels.upperBound)"
      error.remedy = nil
    case .chunkTooLong:
      error.code = .unsupported
      error.message = "the chunk has more bytes than the \(codec) codec encodes"
      error.remedy = "choose smaller chunks"
    }
    return error
  }

  private static func hexadecimal(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: 8 - digits.utf8.count) + digits
  }
}

extension CodecFailure: CustomStringConvertible {
  /// The sentence without a place.
  package var description: String { graftError().description }
}
