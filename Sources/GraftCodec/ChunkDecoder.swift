internal import CGraftCodec

/// Owns what undoing codec chains takes: decodes whole chunks, or one chunk at a time as a stream.
///
/// A worker thread keeps one and uses it for chunk after chunk. Every call writes only into the destination that it is given; the
/// decoder's own memory is a stream's window, at most the limit, and ``CodecChain/scratchByteCount(decodedByteCount:)``.
package struct ChunkDecoder: ~Copyable {
  private var zstd: ZstdDecoder
  private var stream: Stream?
  private let verifiesChecksums: Bool

  /// A decoder whose streams look back at most this many bytes.
  ///
  /// - Parameter verifiesChecksums: whether the codec `crc32c` verifies, rather than only leaves its four bytes out.
  package init(windowByteCountLimit: Int, verifiesChecksums: Bool = true) throws(CodecFailure) {
    zstd = try ZstdDecoder(windowByteCountLimit: windowByteCountLimit)
    self.verifiesChecksums = verifiesChecksums
  }

  // MARK: Whole chunks

  /// Undoes `chain` on the bytes of one chunk, which must give exactly as many bytes as `destination` has.
  package mutating func decode(
    _ source: RawSpan, through chain: CodecChain, into destination: inout MutableRawSpan
  ) throws(CodecFailure) {
    try undo(chain.stages[...], source, into: &destination)
  }

  // Recursion is as deep as the chain is long, at most ``CodecChain/stageCountLimit``.
  private mutating func undo(
    _ stages: ArraySlice<CodecChain.Stage>, _ source: RawSpan, into destination: inout MutableRawSpan
  ) throws(CodecFailure) {
    guard let stage = stages.first else {
      try Self.copy(source, into: &destination)
      return
    }
    let rest = stages.dropFirst()
    if stage == .crc32c {
      try undo(rest, try verified(source), into: &destination)
    } else if rest.isEmpty {
      _ = try decode(source, by: stage, into: &destination, isExact: true)
    } else {
      // The bound comes from the destination, so what the bytes claim decides nothing.
      guard let bound = CodecChain.encodedBound(rest, decodedByteCount: destination.byteCount) else {
        throw CodecFailure(stage.rawValue, .outOfMemory)
      }
      var scratch = [UInt8](repeating: 0, count: bound)
      var space = scratch.mutableSpan
      var bytes = unsafe space.mutableBytes
      let count = try decode(source, by: stage, into: &bytes, isExact: false)
      try undo(rest, bytes.bytes.extracting(first: count), into: &destination)
    }
  }

  private mutating func decode(
    _ source: RawSpan, by stage: CodecChain.Stage, into destination: inout MutableRawSpan, isExact: Bool
  ) throws(CodecFailure) -> Int {
    let expected = destination.byteCount
    switch stage {
    case .zstd:
      let produced = try zstd.decode(source, into: &destination)
      guard produced == expected || !isExact else {
        throw CodecFailure("zstd", .tooShort(expected: expected, found: produced))
      }
      return produced
    case .blosc:
      if isExact {
        try Blosc.decode(source, into: &destination)
        return expected
      }
      let count = try Blosc.Header(source).decodedByteCount
      guard count <= expected else { throw CodecFailure("blosc", .tooLong(expected: expected)) }
      var part = destination._mutatingExtracting(first: count)
      try Blosc.decode(source, into: &part)
      return count
    case .crc32c: preconditionFailure("a checksum is no transformation")
    }
  }

  /// The bytes before the checksum that stands behind them.
  @_lifetime(copy bytes)
  private func verified(_ bytes: RawSpan) throws(CodecFailure) -> RawSpan {
    guard bytes.byteCount >= 4 else { throw CodecFailure("crc32c", .truncated) }
    let content = bytes.extracting(droppingLast: 4)
    if !verifiesChecksums { return content }
    let expected = Self.checksum(in: bytes, at: content.byteCount)
    let found = CRC32C.checksum(content)
    guard found == expected else {
      throw CodecFailure("crc32c", .checksum(expected: expected, found: found))
    }
    return content
  }

  private static func checksum(in bytes: RawSpan, at offset: Int) -> UInt32 {
    // Every four bits are a value, and the offset was checked by the caller and is checked again here.
    UInt32(littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  private static func copy(
    _ source: RawSpan, into destination: inout MutableRawSpan
  ) throws(CodecFailure) {
    guard source.byteCount >= destination.byteCount else {
      throw CodecFailure("bytes", .tooShort(expected: destination.byteCount, found: source.byteCount))
    }
    guard source.byteCount == destination.byteCount else {
      throw CodecFailure("bytes", .tooLong(expected: destination.byteCount))
    }
    put(source, into: &destination, at: 0)
  }

  fileprivate static func put(_ source: RawSpan, into destination: inout MutableRawSpan, at offset: Int) {
    guard !source.isEmpty else { return }
    precondition(source.byteCount <= destination.byteCount - offset)
    unsafe source.withUnsafeBytes { source in
      unsafe destination.withUnsafeMutableBytes {
        unsafe UnsafeMutableRawBufferPointer(rebasing: $0[offset...]).copyMemory(from: source)
      }
    }
  }

  // MARK: Streams

  /// Where a stream is.
  private struct Stream {
    let shape: CodecChain.StreamShape
    let intoPlace: Bool
    /// Bytes of the chunk that are left, its outer checksum among them.
    var encodedLeft: Int
    let decodedByteCount: Int
    var decoded = 0
    var isBetweenFrames = true
    var outerSum: UInt32 = 0
    var outerTrailer = Trailer()
    var innerSum: UInt32 = 0
    var innerTrailer = Trailer()
  }

  /// A checksum that arrives byte by byte.
  private struct Trailer {
    var value: UInt32 = 0
    var count = 0

    mutating func append(_ byte: UInt8) {
      value |= UInt32(byte) << (8 * UInt32(count))
      count += 1
    }
  }

  /// Begins to decode a chunk of `encodedByteCount` bytes that has `decodedByteCount` bytes of elements.
  ///
  /// - Parameter intoPlace: whether every call passes the same destination, of all `decodedByteCount` bytes; see
  ///   ``CodecChain/canStreamIntoPlace``. No window is kept then, so any frame can be decoded.
  package mutating func beginStream(
    through chain: CodecChain, encodedByteCount: Int, decodedByteCount: Int, intoPlace: Bool = false
  ) throws(CodecFailure) {
    guard let shape = chain.streamShape else { preconditionFailure("this chain is decoded as a whole") }
    precondition(!intoPlace || chain.canStreamIntoPlace, "this chain cannot be decoded into place")
    if shape.hasOuterChecksum && encodedByteCount < 4 { throw CodecFailure("crc32c", .truncated) }
    if shape.hasZstd { try zstd.begin(intoPlace: intoPlace) }
    stream = Stream(
      shape: shape, intoPlace: intoPlace, encodedLeft: encodedByteCount, decodedByteCount: decodedByteCount)
  }

  /// How far a call of ``decodeOn(_:into:)`` came.
  package struct Progress: Hashable, Sendable {
    /// The bytes of the source that were taken; the rest is to be passed again.
    package var consumed: Int
    /// The decoded bytes that were written.
    package var produced: Int
  }

  /// Decodes on: takes the chunk's next encoded bytes, and writes the next decoded ones.
  ///
  /// Without decoding into place `destination` is filled from its start, and has at most as many bytes as are left; with it,
  /// from where the last call stopped. Takes all of `source` unless the destination is full. After the last decoded byte pass on
  /// what is left of the chunk with an empty destination (or the same one, into place), then call ``finishStream()``; or
  /// stop anywhere, and begin another stream.
  package mutating func decodeOn(
    _ source: RawSpan, into destination: inout MutableRawSpan
  ) throws(CodecFailure) -> Progress {
    guard var stream else { preconditionFailure("no stream has begun") }
    defer { self.stream = stream }
    let base = stream.intoPlace ? stream.decoded : 0
    precondition(
      stream.intoPlace
        ? destination.byteCount == stream.decodedByteCount
        : destination.byteCount <= stream.decodedByteCount - stream.decoded,
      "the destination is not the one that the stream was begun for")
    guard source.byteCount <= stream.encodedLeft else {
      preconditionFailure("the source reaches past the chunk")
    }
    var progress = Progress(consumed: 0, produced: 0)

    // What the outer checksum covers.
    let outerLeft = stream.shape.hasOuterChecksum ? 4 : 0
    let content = source.extracting(
      first: Swift.max(0, Swift.min(source.byteCount, stream.encodedLeft - outerLeft)))
    if stream.shape.hasZstd {
      let step = try zstd.decodeOn(content, into: &destination, at: base)
      stream.isBetweenFrames = step.isBetweenFrames
      progress = Progress(consumed: step.consumed, produced: step.produced)
    } else {
      let count = Swift.min(content.byteCount, destination.byteCount)
      Self.put(content.extracting(first: count), into: &destination, at: 0)
      progress = Progress(consumed: count, produced: count)
    }
    if verifiesChecksums && stream.shape.hasInnerChecksum && progress.produced > 0 {
      stream.innerSum = CRC32C.checksum(
        destination.bytes.extracting(base..<base + progress.produced), from: stream.innerSum)
    }
    stream.decoded += progress.produced

    // Behind the last decoded byte come an inner checksum, the frame's own, and frames without content.
    while stream.decoded == stream.decodedByteCount, stream.shape.hasZstd, !stream.intoPlace {
      var beyond = [0 as UInt8]
      var space = beyond.mutableSpan
      var bytes = unsafe space.mutableBytes
      let step = try zstd.decodeOn(content.extracting(progress.consumed...), into: &bytes)
      stream.isBetweenFrames = step.isBetweenFrames
      progress.consumed += step.consumed
      if step.produced == 0 { break }
      guard stream.shape.hasInnerChecksum, stream.innerTrailer.count < 4 else {
        throw CodecFailure("zstd", .tooLong(expected: stream.decodedByteCount))
      }
      stream.innerTrailer.append(unsafe bytes.bytes.unsafeLoad(fromByteOffset: 0, as: UInt8.self))
    }
    if stream.shape.hasOuterChecksum {
      if verifiesChecksums {
        stream.outerSum = CRC32C.checksum(
          content.extracting(first: progress.consumed), from: stream.outerSum)
      }
      if progress.consumed == content.byteCount {
        while progress.consumed < source.byteCount {
          stream.outerTrailer.append(
            unsafe source.unsafeLoad(fromByteOffset: progress.consumed, as: UInt8.self))
          progress.consumed += 1
        }
      }
    }
    stream.encodedLeft -= progress.consumed
    return progress
  }

  /// Ends a stream that was decoded to its end, and checks that it is one: all bytes there, all checksums right.
  package mutating func finishStream() throws(CodecFailure) {
    guard let stream else { preconditionFailure("no stream has begun") }
    self.stream = nil
    guard stream.decoded == stream.decodedByteCount else {
      throw CodecFailure(
        stream.shape.hasZstd ? "zstd" : "bytes",
        .tooShort(expected: stream.decodedByteCount, found: stream.decoded))
    }
    guard stream.isBetweenFrames, stream.innerTrailer.count == (stream.shape.hasInnerChecksum ? 4 : 0) else {
      throw CodecFailure("zstd", .truncated)
    }
    guard stream.encodedLeft == 0 else {
      throw CodecFailure(
        stream.shape.hasZstd ? "zstd" : "bytes", .tooLong(expected: stream.decodedByteCount))
    }
    if !verifiesChecksums { return }
    if stream.shape.hasOuterChecksum && stream.outerTrailer.value != stream.outerSum {
      throw CodecFailure("crc32c", .checksum(expected: stream.outerTrailer.value, found: stream.outerSum))
    }
    if stream.shape.hasInnerChecksum && stream.innerTrailer.value != stream.innerSum {
      throw CodecFailure("crc32c", .checksum(expected: stream.innerTrailer.value, found: stream.innerSum))
    }
  }
}
