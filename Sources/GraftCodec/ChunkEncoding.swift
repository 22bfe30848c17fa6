// The inverse of CodecChain: what a chunk's elements go through on their way to the file.
//
//   elements ──►  zstd / blosc / nothing ──►  crc32c  ──►  file

package import GraftCore

/// How the chunks of one leaf are encoded; a value, which a writer puts into metadata and a ``ChunkEncoder`` carries out.
package struct ChunkEncoding: Hashable, Sendable {
  /// How they are compressed.
  package let compression: Compression
  /// Whether a CRC-32C stands behind each encoded chunk.
  package let hasChecksum: Bool
  /// The bytes of one element as chunks hold it.
  package let elementByteCount: Int

  /// The most bytes that an element has.
  package static let elementByteCountLimit = 16

  /// Chunks of elements of 1 to 16 bytes.
  ///
  /// - Throws: `unsupported` for a level that the compressor does not have.
  package init(_ compression: Compression, hasChecksum: Bool, elementByteCount: Int) throws(CodecFailure) {
    precondition((1...Self.elementByteCountLimit).contains(elementByteCount), "no dtype has such elements")
    guard compression.hasKnownLevel else {
      throw CodecFailure(
        compression.container.rawValue,
        .unknownLevel(
          compression.container == .blosc ? Compression.bloscLevels : Compression.zstdLevels))
    }
    self.compression = compression
    self.hasChecksum = hasChecksum
    self.elementByteCount = elementByteCount
  }

  /// The codecs in the order of Zarr 3's metadata, the first to apply first: `bytes`, a compressor or none, a checksum or none.
  package var codecs: [Codec] {
    var codecs = [Codec(name: "bytes", settings: elementByteCount > 1 ? .littleEndian : .none)]
    if let compressor { codecs.append(compressor) }
    if hasChecksum { codecs.append(Codec(name: "crc32c")) }
    return codecs
  }

  /// The codec that makes chunks smaller, which in Zarr 2's metadata is the compressor.
  package var compressor: Codec? {
    switch (compression.container, compression.effort) {
    case (.none, _): nil
    // No level does without searching and still codes; the one that is nearest is named, for whoever writes more chunks.
    case (.zstd, .entropyOnly): Codec(name: "zstd", settings: .zstd(level: 1))
    case (.zstd, .level(let level)): Codec(name: "zstd", settings: .zstd(level: level))
    case (.blosc, .entropyOnly): Codec(name: "blosc", settings: .blosc(bloscSettings(level: 1)))
    case (.blosc, .level(let level)): Codec(name: "blosc", settings: .blosc(bloscSettings(level: level)))
    }
  }

  private func bloscSettings(level: Int) -> BloscSettings {
    BloscSettings(
      compressor: "zstd", level: level, shuffle: elementByteCount > 1 ? .bytes : .none,
      elementByteCount: elementByteCount)
  }

  /// The codecs as a ``Layout`` has them: those that change bytes, the first to undo first.
  package var layoutCodecs: [Codec] { codecs.dropFirst().reversed() }
}
