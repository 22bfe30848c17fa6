internal import GraftCodec
internal import GraftCore
internal import GraftExecute
internal import GraftIO

extension Part {
  /// Between the bytes of a chunk in a file and its elements: one thread.
  static let codecs: [Part] =
    [
      Part("crc32c") { (size, _) throws(GraftError) in
        let bytes = try noise(byteCount: size == .full ? 4 << 20 : 4 << 10)
        return Prepared(workCount: bytes.byteCount) { () throws(GraftError) in
          [
            "checksum": Int(
              unsafe CRC32C.checksum(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(bytes.bytes))))
          ]
        }
      }
    ] + [Compression.zstd(), .zstdEntropyOnly, .bloscEntropyOnly].flatMap { [encoding($0), decoding($0)] }

  private static func encoding(_ compression: Compression) -> Part {
    Part("encode weights, \(compression)") { (size, _) throws(GraftError) in
      let chunk = try Chunk(compression, size)
      return Prepared(workCount: chunk.elements.byteCount) { () throws(GraftError) in
        try chunk.encode()
        return chunk.counts
      }
    }
  }

  private static func decoding(_ compression: Compression) -> Part {
    Part("decode weights, \(compression)") { (size, _) throws(GraftError) in
      let chunk = try Chunk(compression, size)
      try chunk.encode()
      try chunk.decode()
      guard chunk.isDecodedRight else {
        throw GraftError(.invalidArgument, "\(compression) does not give back what it encoded")
      }
      return Prepared(workCount: chunk.elements.byteCount) { () throws(GraftError) in
        try chunk.decode()
        return chunk.counts
      }
    }
  }

  /// A chunk of bfloat16 weights with its checksum.
  ///
  /// Sendable, because one run comes after the other.
  @safe private final class Chunk: @unchecked Sendable {
    let elements: PoolExtent
    private let encoded, decoded: PoolExtent
    private var encoder: ChunkEncoder
    private var decoder: ChunkDecoder
    private let chain: CodecChain
    private let isOurs: Bool
    private var encodedByteCount = 0

    init(_ compression: Compression, _ size: Size) throws(GraftError) {
      let elementCount = size == .full ? 2 << 20 : 64 << 10
      elements = try MemoryPool.shared.allocate(byteCount: elementCount * 2, alignment: 4096)
      decoded = try MemoryPool.shared.allocate(byteCount: elementCount * 2, alignment: 4096)
      let weights = RandomElements(.normal(mean: 0, standardDeviation: 0.02), seed: 7, stream: 0)
      unsafe weights.write(0..<elementCount, of: .bfloat16, to: elements.bytes)
      // Frames of zstd's own depend on its version, and are no gate.
      isOurs = compression != .zstd()
      do throws(CodecFailure) {
        let encoding = try ChunkEncoding(compression, hasChecksum: true, elementByteCount: 2)
        encoder = try ChunkEncoder(encoding)
        decoder = try ChunkDecoder(windowByteCountLimit: 8 << 20)
        chain = try CodecChain(encoding.layoutCodecs)
        encoded = try Self.room(encoding.encodedByteCountBound(elementCount * 2) ?? 0)
      } catch {
        throw error.graftError()
      }
    }

    private static func room(_ byteCount: Int) throws(CodecFailure) -> PoolExtent {
      do throws(GraftError) {
        return try MemoryPool.shared.allocate(byteCount: byteCount, alignment: 4096)
      } catch {
        throw CodecFailure("memory", .outOfMemory)
      }
    }

    var counts: [String: Int] { isOurs ? ["encoded bytes": encodedByteCount] : [:] }

    var isDecodedRight: Bool { unsafe elements.bytes.elementsEqual(decoded.bytes) }

    func encode() throws(GraftError) {
      do throws(CodecFailure) {
        encodedByteCount = unsafe try encoder.encode(
          UnsafeRawBufferPointer(elements.bytes), into: encoded.bytes)
      } catch {
        throw error.graftError()
      }
    }

    func decode() throws(GraftError) {
      do throws(CodecFailure) {
        let source = unsafe UnsafeRawBufferPointer(rebasing: encoded.bytes[..<encodedByteCount])
        // A name of its own: Swift 6.3's optimiser aborts when the span is made of the property.
        let room = unsafe decoded.bytes
        var destination = unsafe MutableRawSpan(_unsafeBytes: room)
        unsafe try decoder.decode(RawSpan(_unsafeBytes: source), through: chain, into: &destination)
      } catch {
        throw error.graftError()
      }
    }
  }
}
