internal import GraftCodec

/// What manifest, version node and B+tree node have around them.
///
///     magic u32be │ length u64le │ version varint │ compression varint │ body, perhaps zstd │ crc32c u32le
///
/// The length counts everything, and the checksum covers everything but itself.
enum OCDBTEnvelope {
  static let manifestMagic: UInt32 = 0x0CDB_3A2A
  static let versionNodeMagic: UInt32 = 0x0CDB_1234
  static let nodeMagic: UInt32 = 0x0CDB_20DE

  /// Checks an envelope and gives its body, decompressed.
  ///
  /// - Parameter byteCountLimit: the most bytes that the body may decompress to.
  static func open(
    _ bytes: [UInt8], magic: UInt32, byteCountLimit: Int
  ) throws(OCDBTFailure) -> [UInt8] {
    // The spans of these bytes are unsafe only in that padding could be read, which bytes have none of.
    var reader = unsafe OCDBTByteReader(bytes.span.bytes)
    let found = UInt32(bigEndian: try reader.fixed("the magic number", as: UInt32.self))
    guard found == magic else { throw OCDBTFailure(.magic(expected: magic, found: found), at: 0) }
    let length = UInt64(littleEndian: try reader.fixed("the length", as: UInt64.self))
    guard length == UInt64(bytes.count) else {
      throw OCDBTFailure(.length(claimed: length, found: bytes.count), at: 4)
    }
    guard bytes.count >= reader.offset + 4 else {
      throw OCDBTFailure(.ends(inside: "the checksum"), at: bytes.count)
    }

    // The checksum first: what fails it is damaged, whatever else it seems to be.
    let content = unsafe bytes.span.bytes.extracting(droppingLast: 4)
    var trailer = unsafe OCDBTByteReader(bytes.span.bytes.extracting(content.byteCount..<bytes.count))
    let expected = UInt32(littleEndian: try trailer.fixed("the checksum", as: UInt32.self))
    let checksum = CRC32C.checksum(content)
    guard checksum == expected else { throw OCDBTFailure(.checksum(expected: expected, found: checksum)) }

    var header = OCDBTByteReader(content.extracting(droppingFirst: reader.offset))
    let version = try header.varint("the format version")
    guard version == 0 else { throw OCDBTFailure(.version(version), at: 12) }
    let compression = try header.varint("the compression method")
    let body = content.extracting(droppingFirst: reader.offset + header.offset)
    switch compression {
    case 0:
      return unsafe body.withUnsafeBytes { unsafe Array($0) }
    case 1:
      do throws(CodecFailure) {
        return try ZstdDecoder.decodeAll(body, byteCountLimit: byteCountLimit)
      } catch {
        throw OCDBTFailure(.compressed(error.description))
      }
    default: throw OCDBTFailure(.compression(compression), at: 13)
    }
  }

  /// A body with its envelope.
  ///
  /// - Parameter frame: the body as a frame of zstd; nil for a body as it is.
  static func sealed(_ body: [UInt8], magic: UInt32, as frame: [UInt8]? = nil) -> [UInt8] {
    let content = frame ?? body
    var envelope = OCDBTByteWriter()
    envelope.reserveCapacity(content.count + 18)
    envelope.fixed(littleEndian: magic.byteSwapped)
    // Magic, length, version, compression, body and checksum.
    envelope.fixed(littleEndian: UInt64(4 + 8 + 1 + 1 + content.count + 4))
    envelope.varint(0)
    envelope.varint(frame == nil ? 0 : 1)
    envelope.raw(content)
    envelope.fixed(littleEndian: CRC32C.checksum(unsafe envelope.bytes.span.bytes))
    return envelope.bytes
  }
}
