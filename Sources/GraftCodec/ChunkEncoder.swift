internal import CGraftCodec
internal import GraftCore

/// Owns what encoding chunks takes: compressors, and the memory in which they work.
///
/// A worker thread keeps one for each ``ChunkEncoding`` and uses it for chunk after chunk; only making one allocates. Beside
/// what zstd holds (1.3 MiB at level 3, more at higher ones), blosc takes 128 KiB for each byte of an element.
@safe package struct ChunkEncoder: ~Copyable {
  /// What the chunks become.
  package let encoding: ChunkEncoding
  private let compressor: Compressor

  /// Why the unchecked conformance is sound: the encoders have no state outside what the pointers own, and their owner, being
  /// noncopyable, is used by one thread at a time.
  @unsafe private enum Compressor: @unchecked Sendable {
    case none
    case zstd(OpaquePointer)
    case blosc(OpaquePointer)
  }

  /// An encoder of such chunks.
  ///
  /// - Throws: `outOfMemory`.
  package init(_ encoding: ChunkEncoding) throws(CodecFailure) {
    self.encoding = encoding
    var level: CInt = 0
    if case .level(let number) = encoding.compression.effort { level = CInt(number) }
    let isEntropyOnly = encoding.compression.effort == .entropyOnly
    switch encoding.compression.container {
    case .none: unsafe compressor = .none
    case .zstd:
      guard let pointer = unsafe graft_zstd_encoder_open(level, isEntropyOnly) else {
        throw CodecFailure("zstd", .outOfMemory)
      }
      unsafe compressor = .zstd(pointer)
    case .blosc:
      let level = CInt(Self.zstdLevel(ofBloscLevel: Int(level)))
      guard
        let pointer = unsafe graft_blosc_encoder_open(encoding.elementByteCount, level, isEntropyOnly)
      else { throw CodecFailure("blosc", .outOfMemory) }
      unsafe compressor = .blosc(pointer)
    }
  }

  deinit {
    switch unsafe compressor {
    case .none: break
    case .zstd(let pointer): unsafe graft_zstd_encoder_close(pointer)
    case .blosc(let pointer): unsafe graft_blosc_encoder_close(pointer)
    }
  }

  /// What c-blosc makes of its levels.
  private static func zstdLevel(ofBloscLevel level: Int) -> Int {
    switch level {
    case 9: 22
    case 8: 20
    default: 2 * level - 1
    }
  }

  /// The bytes that the encoder holds.
  package var memoryByteCount: Int {
    switch unsafe compressor {
    case .none: 0
    case .zstd(let pointer): unsafe graft_zstd_encoder_memory(pointer)
    case .blosc(let pointer): unsafe graft_blosc_encoder_memory(pointer)
    }
  }

  /// The most bytes that a chunk of so many bytes of elements takes; nil where no chunk can be that large.
  package func encodedByteCountBound(_ decodedByteCount: Int) -> Int? {
    encoding.encodedByteCountBound(decodedByteCount)
  }

  /// Writes the encoded chunk to the beginning of `destination`, which has at least as many bytes as the bound says.
  ///
  /// - Returns: the bytes of the encoded chunk.
  /// - Throws: `outOfMemory` when zstd's own memory could not grow, as it does for the first chunk and for a larger one;
  ///   `chunkTooLong` for a chunk that is larger than the codec's format has room for.
  @unsafe package mutating func encode(
    _ source: UnsafeRawBufferPointer, into destination: UnsafeMutableRawBufferPointer
  ) throws(CodecFailure) -> Int {
    guard let bound = encodedByteCountBound(source.count) else {
      throw CodecFailure(encoding.compression.container.rawValue, .chunkTooLong)
    }
    precondition(destination.count >= bound, "the destination has less room than the bound asks for")
    let trailer = encoding.hasChecksum ? 4 : 0
    let room = unsafe UnsafeMutableRawBufferPointer(rebasing: destination.dropLast(trailer))
    var count = 0
    var sum: UInt32 = 0
    switch unsafe compressor {
    case .none:
      // In pieces, so that the checksum finds in the cache what was copied.
      for start in stride(from: 0, to: source.count, by: Self.copiedPieceByteCount) {
        let range = start..<Swift.min(source.count, start + Self.copiedPieceByteCount)
        let piece = unsafe UnsafeRawBufferPointer(rebasing: source[range])
        unsafe UnsafeMutableRawBufferPointer(rebasing: room[range]).copyMemory(from: piece)
        if encoding.hasChecksum { sum = unsafe graft_crc32c(sum, piece.baseAddress, piece.count) }
      }
      count = source.count
    case .zstd(let pointer):
      try check(
        unsafe graft_zstd_encode(
          pointer, source.baseAddress, source.count, room.baseAddress, room.count, &count))
    case .blosc(let pointer):
      try check(
        unsafe graft_blosc_encode(
          pointer, source.baseAddress, source.count, room.baseAddress, room.count, &count))
    }
    guard encoding.hasChecksum else { return count }
    if encoding.compression.container != .none { sum = unsafe graft_crc32c(0, room.baseAddress, count) }
    unsafe destination.storeBytes(of: sum.littleEndian, toByteOffset: count, as: UInt32.self)
    return count + trailer
  }

  /// The same, in memory whose extent is checked.
  package mutating func encode(
    _ source: RawSpan, into destination: inout MutableRawSpan
  ) throws(CodecFailure) -> Int {
    try unsafe source.withUnsafeBytes { source throws(CodecFailure) in
      try unsafe destination.withUnsafeMutableBytes { destination throws(CodecFailure) in
        try unsafe encode(source, into: destination)
      }
    }
  }

  private static let copiedPieceByteCount = 64 << 10

  private func check(_ status: CInt) throws(CodecFailure) {
    switch status {
    case GRAFT_CODEC_OK.rawValue: return
    case GRAFT_CODEC_TOO_LONG.rawValue:
      throw CodecFailure(encoding.compression.container.rawValue, .chunkTooLong)
    default: throw CodecFailure(encoding.compression.container.rawValue, .outOfMemory)
    }
  }
}

extension ChunkEncoding {
  /// The most bytes that a chunk of so many bytes of elements takes; nil where no chunk can be that large.
  package func encodedByteCountBound(_ decodedByteCount: Int) -> Int? {
    precondition(decodedByteCount >= 0, "a chunk has no fewer than no bytes")
    let bound: Int
    switch compression.container {
    case .none: bound = decodedByteCount
    case .zstd: bound = graft_zstd_encoded_bound(decodedByteCount)
    case .blosc: bound = graft_blosc_encoded_bound(decodedByteCount)
    }
    // The C functions say 0 for what is too large.
    guard bound >= decodedByteCount else { return nil }
    let (sum, overflow) = bound.addingReportingOverflow(hasChecksum ? 4 : 0)
    return overflow ? nil : sum
  }
}
