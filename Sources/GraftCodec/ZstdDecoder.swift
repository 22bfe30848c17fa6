internal import CGraftCodec

/// Owns a zstd decoder: whole chunks straight into memory, or a stream within a bounded window.
///
/// One thread uses it at a time, and may keep it for as many chunks as it likes; making one costs about 160 KiB.
@safe package struct ZstdDecoder: ~Copyable {
  /// Why the unchecked conformance is sound: the decoder has no state outside what the pointer owns, and being noncopyable it
  /// is used by one thread at a time.
  @unsafe private struct Handle: @unchecked Sendable {
    let pointer: OpaquePointer
  }
  private let handle: Handle

  /// The largest window that a stream may need, in bytes.
  package let windowByteCountLimit: Int

  /// A decoder whose streams keep at most this many bytes for looking back.
  ///
  /// - Throws: `outOfMemory`.
  package init(windowByteCountLimit: Int) throws(CodecFailure) {
    guard let pointer = unsafe graft_zstd_open(Swift.max(0, windowByteCountLimit)) else {
      throw CodecFailure("zstd", .outOfMemory)
    }
    unsafe handle = Handle(pointer: pointer)
    self.windowByteCountLimit = windowByteCountLimit
  }

  deinit { unsafe graft_zstd_close(handle.pointer) }

  /// The bytes that the decoder holds.
  package var memoryByteCount: Int { unsafe graft_zstd_memory(handle.pointer) }

  /// Decodes all frames of `source` straight into `destination`, of which the first bytes are then filled; needs no window.
  ///
  /// - Returns: the number of decoded bytes.
  package mutating func decode(
    _ source: RawSpan, into destination: inout MutableRawSpan
  ) throws(CodecFailure) -> Int {
    let capacity = destination.byteCount
    var produced = 0
    var reason: UnsafePointer<CChar>?
    // Both pointers are used only inside the closures; the C function writes within the count that it is given.
    let status = unsafe source.withUnsafeBytes { source in
      unsafe destination.withUnsafeMutableBytes { destination in
        unsafe graft_zstd_decode(
          handle.pointer, source.baseAddress, source.count, destination.baseAddress, destination.count,
          &produced,
          &reason)
      }
    }
    guard status == GRAFT_CODEC_OK.rawValue else {
      throw unsafe failure(status, capacity: capacity, reason: reason, window: 0)
    }
    return produced
  }

  // MARK: Streams

  /// Begins a stream of frames.
  ///
  /// - Parameter intoPlace: whether every call of ``decodeOn(_:into:at:)`` will pass the same destination, with room for the whole
  ///   content, so that no window is kept and no byte is copied; a caller that stops early, or has no such destination, says false.
  package mutating func begin(intoPlace: Bool) throws(CodecFailure) {
    let status = unsafe graft_zstd_begin(handle.pointer, intoPlace)
    guard status == GRAFT_CODEC_OK.rawValue else {
      throw CodecFailure("zstd", .unsupported("the zstd library cannot decode a stream into place"))
    }
  }

  /// How far a call of ``decodeOn(_:into:at:)`` came.
  package struct Progress: Hashable, Sendable {
    /// The bytes of the source that were taken.
    package var consumed: Int
    /// The bytes that were written behind the position.
    package var produced: Int
    /// Whether no frame is unfinished.
    package var isBetweenFrames: Bool
  }

  /// Decodes on until the source is used up or the destination is full, writing from `position` on.
  ///
  /// The decoder may hold decoded bytes for which there was no room: with a full destination, call again with another one, and
  /// an empty source if need be.
  package mutating func decodeOn(
    _ source: RawSpan, into destination: inout MutableRawSpan, at position: Int = 0
  ) throws(CodecFailure) -> Progress {
    let capacity = destination.byteCount
    precondition(position >= 0 && position <= capacity, "the position lies outside of the destination")
    var progress = unsafe graft_zstd_progress()
    let status = unsafe source.withUnsafeBytes { source in
      unsafe destination.withUnsafeMutableBytes { destination in
        unsafe graft_zstd_continue(
          handle.pointer, source.baseAddress, source.count, destination.baseAddress, destination.count,
          position,
          &progress)
      }
    }
    guard status == GRAFT_CODEC_OK.rawValue else {
      throw unsafe failure(status, capacity: capacity, reason: progress.reason, window: progress.window_size)
    }
    return unsafe Progress(
      consumed: progress.consumed, produced: progress.produced - position,
      isBetweenFrames: progress.is_between_frames)
  }

  private func failure(
    _ status: CInt, capacity: Int, reason: UnsafePointer<CChar>?, window: UInt64
  ) -> CodecFailure {
    switch status {
    case GRAFT_CODEC_NO_MEMORY.rawValue: CodecFailure("zstd", .outOfMemory)
    case GRAFT_CODEC_TRUNCATED.rawValue: CodecFailure("zstd", .truncated)
    case GRAFT_CODEC_TOO_LONG.rawValue: CodecFailure("zstd", .tooLong(expected: capacity))
    case GRAFT_CODEC_WINDOW.rawValue:
      CodecFailure("zstd", .windowTooLarge(window: window, limit: windowByteCountLimit))
    case GRAFT_CODEC_UNSUPPORTED.rawValue:
      CodecFailure("zstd", .unsupported("the zstd data needs a dictionary or an older zstd"))
    // A static text of the library, or nil.
    default: unsafe CodecFailure("zstd", .corrupt(reason.map { unsafe String(cString: $0) }))
    }
  }
}

/// What the first bytes of a zstd frame say about it.
package struct ZstdFrameHeader: Hashable, Sendable {
  /// Whether the frame holds no content.
  package var isSkippable: Bool
  /// The decoded bytes that it claims, nil when it does not say.
  package var contentByteCount: UInt64?
  /// The memory that decoding it as a stream takes, as it claims.
  package var windowByteCount: UInt64

  /// Reads the header of the frame that begins here; eighteen bytes are enough for any.
  package init(_ bytes: RawSpan) throws(CodecFailure) {
    var frame = graft_zstd_frame()
    let status = unsafe bytes.withUnsafeBytes {
      unsafe graft_zstd_frame_header($0.baseAddress, $0.count, &frame)
    }
    switch status {
    case GRAFT_CODEC_OK.rawValue: break
    case GRAFT_CODEC_TRUNCATED.rawValue: throw CodecFailure("zstd", .truncated)
    default: throw CodecFailure("zstd", .corrupt("no frame begins here"))
    }
    isSkippable = frame.is_skippable
    contentByteCount = frame.has_content_size ? frame.content_size : nil
    windowByteCount = frame.window_size
  }
}

extension ZstdDecoder {
  /// The content of all frames of `source`, whose size nobody knows: memory grows with what is decoded, up to the limit.
  ///
  /// For metadata; chunks know their size and decode straight into place.
  package static func decodeAll(_ source: RawSpan, byteCountLimit: Int) throws(CodecFailure) -> [UInt8] {
    var decoder = try ZstdDecoder(windowByteCountLimit: Swift.max(byteCountLimit, 1 << 20))
    try decoder.begin(intoPlace: false)
    // A frame's claim is a good first guess where it is small, and decides nothing otherwise.
    let claim = (try? ZstdFrameHeader(source))?.contentByteCount ?? 0
    var result = [UInt8](repeating: 0, count: Int(clamping: Swift.min(claim, 1 << 20)))
    var produced = 0
    var offset = 0
    while true {
      var span = result.mutableSpan
      var destination = unsafe span.mutableBytes
      var rest = destination._mutatingExtracting(droppingFirst: produced)
      let room = rest.byteCount
      let step = try decoder.decodeOn(source.extracting(droppingFirst: offset), into: &rest)
      offset += step.consumed
      produced += step.produced
      if offset == source.byteCount && (step.isBetweenFrames || step.produced < room) {
        guard step.isBetweenFrames else { throw CodecFailure("zstd", .truncated) }
        result.removeLast(result.count - produced)
        return result
      }
      if step.produced < room { continue }
      guard produced <= byteCountLimit else { throw CodecFailure("zstd", .tooLong(expected: byteCountLimit)) }
      // One byte above the limit is room enough to see that there is more.
      let more = Swift.min(Swift.max(result.count, 4096), byteCountLimit + 1 - result.count)
      result.append(contentsOf: repeatElement(0, count: Swift.max(1, more)))
    }
  }
}
