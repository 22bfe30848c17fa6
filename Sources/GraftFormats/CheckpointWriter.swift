package import GraftCore

/// Writes a checkpoint: every leaf's spec is declared when the writer is made, then chunks come in any order, then `finish`.
///
/// Nothing appears under the destination's name before ``finish()`` has returned; then all of it does. A writer that is
/// dropped or told to ``abandon()`` removes what it wrote.
package protocol CheckpointWriter: Sendable {
  /// How many bytes of each leaf make a good chunk: a writer that compresses or checksums by chunk wants whole ones.
  var preferredChunkByteCount: Int { get }

  /// Writes bytes of a leaf; blocks, and may be called from many threads at once for different bytes.
  ///
  /// - Parameters:
  ///   - bytes: what to write, in the leaf's row-major order. They are used up when the call returns.
  ///   - leaf: the leaf's index in the order of declaration.
  ///   - byteOffset: where in the leaf the first byte goes.
  /// - Throws: ``GraftError`` of code `noSpace`, `ioFailed`, or `invalidArgument` for bytes past the leaf's end.
  func write(_ bytes: UnsafeRawBufferPointer, leaf: Int, byteOffset: Int) throws(GraftError)

  /// Makes the checkpoint appear under its name, with everything on stable storage; an error where bytes are missing.
  func finish() async throws(GraftError)

  /// Gives up and removes what was written; does nothing after ``finish()``.
  func abandon()
}
