internal import CGraftCodec

/// Decodes blosc buffers through c-blosc; stateless, so any thread may.
package enum Blosc {
  /// What stands before a buffer's blocks.
  package struct Header: Hashable, Sendable {
    /// The decoded bytes.
    package var decodedByteCount: Int
    /// The decoded bytes of one block; a part of the buffer costs the blocks that it touches.
    package var blockByteCount: Int
    /// The bytes of one element, by which parts are addressed.
    package var elementByteCount: Int

    /// Reads and checks the header of a whole buffer.
    package init(_ buffer: RawSpan) throws(CodecFailure) {
      var header = graft_blosc_header()
      let status = unsafe buffer.withUnsafeBytes {
        unsafe graft_blosc_read_header($0.baseAddress, $0.count, &header)
      }
      try Blosc.check(status, expected: 0, header: nil)
      decodedByteCount = header.decoded_count
      blockByteCount = header.block_size
      elementByteCount = header.type_size
    }
  }

  /// Decodes a buffer into as many bytes as it has.
  package static func decode(
    _ source: RawSpan, into destination: inout MutableRawSpan
  ) throws(CodecFailure) {
    let header = try Header(source)
    let expected = destination.byteCount
    guard header.decodedByteCount >= expected else {
      throw CodecFailure("blosc", .tooShort(expected: expected, found: header.decodedByteCount))
    }
    // Both pointers are used only inside the closures; the C function writes within the count that it is given.
    let status = unsafe source.withUnsafeBytes { source in
      unsafe destination.withUnsafeMutableBytes { destination in
        unsafe graft_blosc_decode(
          source.baseAddress, source.count, destination.baseAddress, destination.count)
      }
    }
    try check(status, expected: expected, header: header)
  }

  /// Decodes the elements of a buffer that `destination` has room for, from the one at `first` on, and only their blocks.
  ///
  /// An element has ``Header/elementByteCount`` bytes, and `destination` a multiple of that.
  package static func decodeElements(
    from first: Int, of source: RawSpan, into destination: inout MutableRawSpan
  ) throws(CodecFailure) {
    let header = try Header(source)
    let byteCount = destination.byteCount
    precondition(
      first >= 0 && byteCount % header.elementByteCount == 0, "the destination is no number of elements")
    let status = unsafe source.withUnsafeBytes { source in
      unsafe destination.withUnsafeMutableBytes { destination in
        unsafe graft_blosc_decode_elements(
          source.baseAddress, source.count, first, byteCount / header.elementByteCount,
          destination.baseAddress,
          destination.count)
      }
    }
    try check(status, expected: byteCount, header: header)
  }

  private static func check(_ status: CInt, expected: Int, header: Header?) throws(CodecFailure) {
    switch status {
    case GRAFT_CODEC_OK.rawValue: return
    case GRAFT_CODEC_TRUNCATED.rawValue: throw CodecFailure("blosc", .truncated)
    case GRAFT_CODEC_TOO_LONG.rawValue: throw CodecFailure("blosc", .tooLong(expected: expected))
    case GRAFT_CODEC_UNSUPPORTED.rawValue:
      throw CodecFailure(
        "blosc", .unsupported("the blosc data has a format or a compressor that c-blosc lacks here"))
    default: throw CodecFailure("blosc", .corrupt(nil))
    }
  }
}
