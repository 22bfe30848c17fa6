import GraftCodec
import GraftCore
import GraftTestSupport

/// A file of Tests/Fixtures/codec: what it went through, and how many bytes it decodes to.
struct EncodedFile: CustomStringConvertible, Sendable {
  let name: String
  let codecs: [String]
  let count: Int

  var description: String { name }
  var bytes: [UInt8] { Fixture.bytes("codec/\(name).bin") }
  var chain: CodecChain {
    get throws { try CodecChain(codecs.map { Codec(name: $0) }) }
  }

  static let all: [EncodedFile] = (index["files"]?.members ?? []).map { member in
    EncodedFile(
      name: member.key, codecs: (member.value["codecs"]?.elements ?? []).compactMap(\.text),
      count: member.value["count"]?.integer ?? -1)
  }
  static let zstd = all.filter { $0.codecs == ["zstd"] }
  static let streamable = all.filter { (try? $0.chain.canStream) == true }

  static let index: JSONValue = {
    guard let value = try? JSONValue(parsing: Fixture.bytes("codec/index.json")) else {
      preconditionFailure("Tests/Fixtures/codec/index.json is no JSON")
    }
    return value
  }()

  /// What every file decodes to, cut to its count; the same as `content` in generate.py.
  static func content(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: (UInt64($0 / 5) &* 2_654_435_761 & 0xFFFF_FFFF) >> 27) }
  }
}

/// The chunk decoded as a whole into memory of its size.
func decoded(
  _ bytes: [UInt8], _ chain: CodecChain, count: Int, windowByteCountLimit: Int = 8 << 20
) throws(CodecFailure) -> [UInt8] {
  var decoder = try ChunkDecoder(windowByteCountLimit: windowByteCountLimit)
  var result = [UInt8](repeating: 0xAA, count: count)
  var span = result.mutableSpan
  var destination = span.mutableBytes
  try decoder.decode(bytes.span.bytes, through: chain, into: &destination)
  return result
}

/// The first `wanted` bytes of the chunk decoded as a stream, with pieces in and out of the sizes that `size` gives;
/// all the bytes, with all checks, when `wanted` is the whole.
func streamed(
  _ bytes: [UInt8], _ chain: CodecChain, count: Int, wanted: Int? = nil, windowByteCountLimit: Int = 8 << 20,
  size: (Int) -> Int
) throws(CodecFailure) -> (bytes: [UInt8], consumed: Int) {
  var decoder = try ChunkDecoder(windowByteCountLimit: windowByteCountLimit)
  try decoder.beginStream(through: chain, encodedByteCount: bytes.count, decodedByteCount: count)
  let wanted = wanted ?? count
  var result: [UInt8] = []
  var offset = 0
  var idle = 0
  while result.count < wanted || (wanted == count && offset < bytes.count) {
    let take = min(bytes.count - offset, max(1, size(bytes.count)))
    let room = min(wanted - result.count, max(1, size(count)))
    var piece = [UInt8](repeating: 0xAA, count: room)
    var span = piece.mutableSpan
    var destination = span.mutableBytes
    let progress = try decoder.decodeOn(
      bytes.span.bytes.extracting(offset..<offset + take), into: &destination)
    offset += progress.consumed
    result += piece[..<progress.produced]
    idle = progress.consumed == 0 && progress.produced == 0 ? idle + 1 : 0
    if idle > 2 { break }
  }
  if wanted == count { try decoder.finishStream() }
  return (result, offset)
}

/// The chunk decoded as a stream straight into memory of its size, with pieces in of the sizes that `size` gives.
func streamedIntoPlace(
  _ bytes: [UInt8], _ chain: CodecChain, count: Int, windowByteCountLimit: Int = 1024, size: (Int) -> Int
) throws(CodecFailure) -> [UInt8] {
  var decoder = try ChunkDecoder(windowByteCountLimit: windowByteCountLimit)
  try decoder.beginStream(
    through: chain, encodedByteCount: bytes.count, decodedByteCount: count, intoPlace: true)
  var result = [UInt8](repeating: 0xAA, count: count)
  var span = result.mutableSpan
  var destination = span.mutableBytes
  var offset = 0
  while offset < bytes.count {
    let take = min(bytes.count - offset, max(1, size(bytes.count)))
    let progress = try decoder.decodeOn(
      bytes.span.bytes.extracting(offset..<offset + take), into: &destination)
    if progress.consumed == 0 { break }
    offset += progress.consumed
  }
  try decoder.finishStream()
  return result
}
