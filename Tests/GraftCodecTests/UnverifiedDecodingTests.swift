import GraftCodec
import GraftCore
import Testing

struct UnverifiedDecodingTests {
  private static let content = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }

  private func decode(_ bytes: [UInt8], verifies: Bool) throws(CodecFailure) -> [UInt8] {
    let chain = try CodecChain([Codec(name: "crc32c")])
    var decoder = try ChunkDecoder(windowByteCountLimit: 1 << 20, verifiesChecksums: verifies)
    var result = [UInt8](repeating: 0, count: Self.content.count)
    var space = result.mutableSpan
    var destination = space.mutableBytes
    try decoder.decode(bytes.span.bytes, through: chain, into: &destination)
    return result
  }

  private func stream(_ bytes: [UInt8], verifies: Bool) throws(CodecFailure) -> [UInt8] {
    let chain = try CodecChain([Codec(name: "crc32c")])
    var decoder = try ChunkDecoder(windowByteCountLimit: 1 << 20, verifiesChecksums: verifies)
    var result = [UInt8](repeating: 0, count: Self.content.count)
    try decoder.beginStream(
      through: chain, encodedByteCount: bytes.count, decodedByteCount: result.count)
    var space = result.mutableSpan
    var destination = space.mutableBytes
    let progress = try decoder.decodeOn(bytes.span.bytes, into: &destination)
    #expect(progress.consumed == bytes.count && progress.produced == Self.content.count)
    try decoder.finishStream()
    return result
  }

  @Test func `a wrong checksum is an error unless nobody asks`() throws {
    let wrong = Self.content + [1, 2, 3, 4]
    #expect(throws: CodecFailure.self) { try decode(wrong, verifies: true) }
    #expect(throws: CodecFailure.self) { try stream(wrong, verifies: true) }
    #expect(try decode(wrong, verifies: false) == Self.content)
    #expect(try stream(wrong, verifies: false) == Self.content)
    // The checksum's place is there all the same.
    #expect(throws: CodecFailure.self) { try decode([1, 2, 3], verifies: false) }
  }
}
