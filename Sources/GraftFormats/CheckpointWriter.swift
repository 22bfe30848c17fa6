package import GraftCore

/// Writes a checkpoint: every leaf's spec is declared when the writer is made, then bytes come in any order, then `finish`.
///
/// Nothing appears under the destination's name before ``finish()`` has returned; then all of it does. A writer that is
/// dropped or told to ``abandon()`` removes what it wrote.
package protocol CheckpointWriter: Sendable {
  /// How many bytes of each leaf make a good chunk: a writer that compresses or checksums by chunk wants whole ones.
  var preferredChunkByteCount: Int { get }

  /// How many elements of a leaf make a chunk, where the leaf is written in chunks; nil where any bytes may come in any order.
  ///
  /// A leaf with chunks is written *chunk-major*: the leaf is padded to whole chunks, these come in the order of their grid, each in
  /// row-major order of its own, and begins at a whole byte: `DType.byteCount(elementCount:)` of its elements after the one before.
  /// Every call of ``write(_:leaf:byteOffset:)`` gives whole chunks. Packed elements stay packed within a chunk.
  func chunkElementCount(ofLeaf leaf: Int) -> Int?

  /// The bytes that the leaves take as they were written so far, encoded where they are.
  var storedByteCount: Int { get }

  /// The memory that the writer takes while it is called from so many threads at once, about.
  func workingByteCount(threadCount: Int) -> Int

  /// Writes bytes of a leaf; blocks, and may be called from many threads at once for different bytes.
  ///
  /// Bytes may be written again as long as all calls for them give the same. No call may be under way when ``finish()`` is
  /// called.
  ///
  /// - Parameters:
  ///   - bytes: what to write, in the leaf's row-major order, or whole chunks of it. They are used up when the call returns.
  ///   - leaf: the leaf's index in the order of declaration.
  ///   - byteOffset: where in the leaf the first byte goes.
  /// - Throws: ``GraftError`` of code `noSpace`, `ioFailed`, or `invalidArgument` for bytes past the leaf's end.
  func write(_ bytes: UnsafeRawBufferPointer, leaf: Int, byteOffset: Int) throws(GraftError)

  /// Makes the checkpoint appear under its name, with everything on stable storage.
  ///
  /// - Throws: `truncated` where bytes are missing, naming the leaves; one can then write them and finish again.
  func finish() async throws(GraftError)

  /// Gives up and removes what was written; does nothing after ``finish()``.
  func abandon()
}

extension CheckpointWriter {
  /// No leaf has chunks.
  package func chunkElementCount(ofLeaf leaf: Int) -> Int? { nil }

  /// Nothing: bytes are written from where they are.
  package func workingByteCount(threadCount: Int) -> Int { 0 }

  /// Writes bytes of a leaf, as the requirement of this name does.
  package func write(_ bytes: RawSpan, leaf: Int, byteOffset: Int) throws(GraftError) {
    var failure: GraftError?
    // The pointer is used only inside the closure.
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(GraftError) { unsafe try write(buffer, leaf: leaf, byteOffset: byteOffset) } catch {
        failure = error
      }
    }
    if let failure { throw failure }
  }
}
