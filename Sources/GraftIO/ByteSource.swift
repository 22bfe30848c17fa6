package import GraftCore

/// Bytes that can be read by range: a file today, a remote object later.
///
/// What parses metadata reads through it.
package protocol ByteSource: Sendable {
  /// What error messages call it: a path.
  var name: String { get }
  /// The number of bytes.
  var byteCount: Int { get }
  /// The bytes of `range`, all of them.
  ///
  /// - Throws: ``GraftError`` of code `truncated` when the source ends inside the range, `ioFailed` when the system fails.
  func read(_ range: ByteRange) async throws(GraftError) -> [UInt8]
}
