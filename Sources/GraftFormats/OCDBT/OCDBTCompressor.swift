internal import GraftCodec
internal import GraftCore

/// Compresses the bodies of a database's nodes, one after another, for one owner at a time.
final class OCDBTCompressor {
  // What TensorStore writes by default too. The metadata of arrays is most of a node, and is the same text over and over.
  private static let compression = Compression.zstd(level: 3)

  private var encoder: ChunkEncoder
  private var output: [UInt8] = []

  /// - Throws: `outOfMemory`.
  init() throws(CodecFailure) {
    encoder = try ChunkEncoder(
      ChunkEncoding(Self.compression, hasChecksum: false, elementByteCount: 1))
  }

  /// How many more entries the frames so far have than a reader believes that their bytes can have.
  private var unpaidEntryCount = 0
  /// The most of these; a reader believes twice as many in whatever part of a database it comes by first.
  ///
  /// See ``OCDBTReader/entryCountLimit(storedByteCount:)``, which tells what real databases have from what was made to fill memory. What
  /// is linked over and over, as a tiled tensor is, makes thousands of entries that differ in a digit.
  private static let unpaidEntryCountLimit = 1 << 16

  /// A body as a frame of zstd; nil where that would be no smaller, or too small for a reader to believe.
  func compressed(_ body: [UInt8], entryCount: Int) throws(CodecFailure) -> [UInt8]? {
    guard let bound = encoder.encodedByteCountBound(body.count) else { return nil }
    if output.count < bound { output = [UInt8](repeating: 0, count: bound) }
    var span = output.mutableSpan
    // The spans of these bytes are unsafe only in that padding could be read, which bytes have none of.
    var room = unsafe span.mutableBytes
    let count = try encoder.encode(unsafe body.span.bytes, into: &room)
    let unpaid = max(0, entryCount - OCDBTReader.entriesPerByte * count)
    guard count < body.count, unpaidEntryCount + unpaid <= Self.unpaidEntryCountLimit else { return nil }
    unpaidEntryCount += unpaid
    return Array(output[..<count])
  }
}
