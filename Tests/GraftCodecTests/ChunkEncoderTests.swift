import GraftCodec
import GraftCore
import GraftTestSupport
import Testing

/// A way to encode, as tests list them.
struct EncodingCase: CustomTestStringConvertible, Sendable {
  let encoding: ChunkEncoding
  var testDescription: String {
    "\(encoding.compression)\(encoding.hasChecksum ? " and crc32c" : ""), elements of \(encoding.elementByteCount)"
  }

  static let compressions: [Compression] = [
    .none, .zstd(), .zstd(level: 1), .zstd(level: 9), .zstdEntropyOnly, .blosc(), .blosc(level: 5),
    .bloscEntropyOnly,
  ]

  static let all: [EncodingCase] = compressions.flatMap { compression in
    (compression.isSplit ? [1, 2, 3, 4, 8, 16] : [2]).map { elementByteCount in
      EncodingCase(encoding: made(compression, elementByteCount != 4, elementByteCount))
    }
  }

  private static func made(_ compression: Compression, _ hasChecksum: Bool, _ count: Int) -> ChunkEncoding {
    guard let encoding = try? ChunkEncoding(compression, hasChecksum: hasChecksum, elementByteCount: count)
    else { preconditionFailure("the table has a level that does not exist") }
    return encoding
  }
}

extension Compression {
  /// Whether the bytes of an element go apart.
  fileprivate var isSplit: Bool { description.hasPrefix("blosc") }
}

/// Content of chunks.
enum ChunkContent: String, CaseIterable, Sendable {
  case zeros, equal, random, bfloat16Normals, float32Normals, counting, halves, steep

  func bytes(_ count: Int, _ random: inout SeededGenerator) -> [UInt8] {
    switch self {
    case .zeros: return [UInt8](repeating: 0, count: count)
    case .equal: return [UInt8](repeating: 0xA7, count: count)
    case .random: return (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    case .bfloat16Normals: return normals(count, keeping: 2, &random)
    case .float32Normals: return normals(count, keeping: 4, &random)
    case .counting: return (0..<count).map { UInt8(truncatingIfNeeded: ($0 / 4) >> (8 * ($0 % 4))) }
    case .halves:
      // Something that a sample of the beginning says nothing about.
      let half = (0..<count / 2).map { _ in UInt8.random(in: 0...255, using: &random) }
      return half + [UInt8](repeating: 3, count: count - count / 2)
    case .steep:
      // Each byte value half as often as the one before, down to values that come once: the longest codes there are.
      return (0..<count).map { _ in
        UInt8(truncatingIfNeeded: UInt64.random(in: 0...(.max), using: &random).leadingZeroBitCount)
      }
    }
  }

  private func normals(_ count: Int, keeping: Int, _ random: inout SeededGenerator) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + keeping)
    while bytes.count < count {
      // A sum of uniform numbers is normal enough.
      var sum: Float = -6
      for _ in 0..<12 { sum += Float(random.next() >> 40) * 0x1p-24 }
      let bits = (sum * 0.02).bitPattern
      for byte in (4 - keeping)..<4 { bytes.append(UInt8(truncatingIfNeeded: bits >> (8 * UInt32(byte)))) }
    }
    return Array(bytes.prefix(count))
  }
}

extension ChunkEncoding {
  var chain: CodecChain {
    get throws { try CodecChain(layoutCodecs) }
  }
}

/// The chunk encoded by an encoder that has what it needs already.
func encoded(_ bytes: [UInt8], by encoder: inout ChunkEncoder) throws -> [UInt8] {
  let possibleBound = encoder.encodedByteCountBound(bytes.count)
  let bound = try #require(possibleBound)
  // What stands behind the bound must stay.
  var result = [UInt8](repeating: 0xEE, count: bound + 16)
  var span = result.mutableSpan
  var destination = span.mutableBytes
  var room = destination._mutatingExtracting(first: bound)
  let count = try encoder.encode(bytes.span.bytes, into: &room)
  #expect(count <= bound)
  #expect(Array(result[bound...]) == [UInt8](repeating: 0xEE, count: 16))
  return Array(result[..<count])
}

struct ChunkEncoderTests {
  static let smallSizes = [
    0, 1, 2, 3, 5, 15, 16, 17, 31, 127, 128, 129, 255, 256, 1_000, 2_047, 2_048, 4_095, 16_383, 16_384,
    16_385,
    65_537,
  ]
  /// A zstd block is 128 KiB, and a block of blosc that for each byte of an element.
  static let largeSizes = [131_071, 131_073, 131_074, 131_077, 131_328, 262_144, 524_287, 1_048_583]

  /// Contents are made once: in a debug build that takes longer than encoding them.
  private static let contents: [ChunkContent: [UInt8]] = {
    var random = SeededGenerator(seed: seed)
    return Dictionary(
      uniqueKeysWithValues: ChunkContent.allCases.map { ($0, $0.bytes(1_048_583, &random)) })
  }()
  private static let seed = seedFromEnvironment() ?? 31

  @Test(arguments: EncodingCase.all, ChunkContent.allCases)
  func `what is encoded decodes to the same bytes`(
    _ encoding: EncodingCase, _ content: ChunkContent
  ) throws {
    let source = try #require(Self.contents[content])
    var encoder = try ChunkEncoder(encoding.encoding)
    for count in Self.smallSizes {
      let bytes = Array(source[..<count])
      let chunk = try encoded(bytes, by: &encoder)
      #expect(
        try decoded(chunk, encoding.encoding.chain, count: count) == bytes,
        "\(count) bytes, seed \(Self.seed)")
    }
  }

  @Test(arguments: EncodingCase.compressions, ChunkContent.allCases)
  func `large chunks decode to the same bytes`(_ compression: Compression, _ content: ChunkContent) throws {
    let source = try #require(Self.contents[content])
    let elementByteCount = content == .bfloat16Normals ? 2 : 4
    let encoding = try ChunkEncoding(compression, hasChecksum: true, elementByteCount: elementByteCount)
    var encoder = try ChunkEncoder(encoding)
    for count in Self.largeSizes {
      let bytes = Array(source[..<count])
      let chunk = try encoded(bytes, by: &encoder)
      #expect(
        try decoded(chunk, encoding.chain, count: count) == bytes, "\(count) bytes, seed \(Self.seed)")
    }
    // The largest that chunks are by default.
    let bytes = Array((source + source + source + source).prefix(4 << 20))
    #expect(try decoded(encoded(bytes, by: &encoder), encoding.chain, count: bytes.count) == bytes)
  }

  @Test func `an encoder's memory does not grow from chunk to chunk`() throws {
    var random = SeededGenerator(seed: 33)
    let bytes = ChunkContent.float32Normals.bytes(1 << 20, &random)
    for compression in EncodingCase.compressions {
      var encoder = try ChunkEncoder(
        ChunkEncoding(compression, hasChecksum: true, elementByteCount: 4))
      // Short chunks and long ones go different ways, each of which has memory to get once.
      for count in [1 << 20, 1_000] { _ = try encoded(Array(bytes[..<count]), by: &encoder) }
      let held = encoder.memoryByteCount
      for count in [1 << 20, 1_000, 0, 1 << 20] { _ = try encoded(Array(bytes[..<count]), by: &encoder) }
      let heldAfterwards = encoder.memoryByteCount
      #expect(heldAfterwards == held, "\(compression)")
      #expect(held < 32 << 20)
    }
  }

  @Test func `frames without a search are no larger than those of level 3 for weights`() throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 34)
    for (content, elementByteCount) in [(ChunkContent.bfloat16Normals, 2), (.float32Normals, 4)] {
      let bytes = content.bytes(1 << 20, &random)
      func byteCount(_ compression: Compression) throws -> Int {
        var encoder = try ChunkEncoder(
          ChunkEncoding(compression, hasChecksum: false, elementByteCount: elementByteCount))
        return try encoded(bytes, by: &encoder).count
      }
      let level3 = try byteCount(.zstd(level: 3))
      #expect(try Double(byteCount(.zstdEntropyOnly)) < Double(level3) * 1.005)
      #expect(try byteCount(.bloscEntropyOnly) < level3 * 95 / 100)
      #expect(try byteCount(.blosc()) < level3 * 95 / 100)
    }
  }

  @Test func `every flipped bit of a chunk with a checksum is refused`() throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 35)
    let bytes = ChunkContent.bfloat16Normals.bytes(700, &random)
    for compression in EncodingCase.compressions {
      let encoding = try ChunkEncoding(compression, hasChecksum: true, elementByteCount: 2)
      var encoder = try ChunkEncoder(encoding)
      let chunk = try encoded(bytes, by: &encoder)
      for index in chunk.indices {
        var hostile = chunk
        hostile[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        #expect(throws: CodecFailure.self, "\(compression), byte \(index)") {
          try decoded(hostile, encoding.chain, count: bytes.count)
        }
      }
    }
  }

  @Test func `a part of a blosc chunk costs its blocks alone`() throws {
    let bytes = try #require(Self.contents[.bfloat16Normals])
    let encoding = try ChunkEncoding(.bloscEntropyOnly, hasChecksum: false, elementByteCount: 2)
    var encoder = try ChunkEncoder(encoding)
    let chunk = try encoded(bytes, by: &encoder)
    let header = try Blosc.Header(chunk.span.bytes)
    #expect(header.elementByteCount == 2)
    #expect(header.blockByteCount <= 1 << 20)
    var part = [UInt8](repeating: 0, count: 2_000)
    var span = part.mutableSpan
    var destination = span.mutableBytes
    try Blosc.decodeElements(from: 434_567, of: chunk.span.bytes, into: &destination)
    #expect(part == Array(bytes[869_134..<871_134]))
  }

  @Test func `levels that do not exist are refused before anything is encoded`() {
    for level in [-1, 0, 23] {
      #expect(throws: CodecFailure("zstd", .unknownLevel(1...22))) {
        try ChunkEncoding(.zstd(level: level), hasChecksum: true, elementByteCount: 2)
      }
    }
    #expect(throws: CodecFailure("blosc", .unknownLevel(1...9))) {
      try ChunkEncoding(.blosc(level: 10), hasChecksum: true, elementByteCount: 2)
    }
  }

  @Test func `a bound says nothing where the codec has no room`() throws {
    let blosc = try ChunkEncoding(.blosc(), hasChecksum: true, elementByteCount: 2)
    #expect(blosc.encodedByteCountBound(1 << 31) == nil)
    #expect(blosc.encodedByteCountBound(100) == 120)
    #expect(
      try ChunkEncoding(.zstd(), hasChecksum: true, elementByteCount: 2).encodedByteCountBound(.max) == nil)
    #expect(
      try ChunkEncoding(.none, hasChecksum: true, elementByteCount: 2).encodedByteCountBound(.max) == nil)
  }

  @Test func `the codecs of an encoding are what metadata says`() throws {
    let zstd = try ChunkEncoding(.zstd(level: 7), hasChecksum: true, elementByteCount: 4)
    #expect(zstd.codecs.map(\.name) == ["bytes", "zstd", "crc32c"])
    #expect(zstd.codecs.map(\.settings) == [.littleEndian, .zstd(level: 7), .none])
    #expect(zstd.layoutCodecs.map(\.name) == ["crc32c", "zstd"])
    let plain = try ChunkEncoding(.none, hasChecksum: false, elementByteCount: 1)
    #expect(plain.codecs.map(\.settings) == [.none])
    #expect(plain.layoutCodecs.isEmpty)
    let blosc = try ChunkEncoding(.bloscEntropyOnly, hasChecksum: false, elementByteCount: 2)
    #expect(
      blosc.compressor?.settings
        == .blosc(BloscSettings(compressor: "zstd", level: 1, shuffle: .bytes, elementByteCount: 2)))
  }
}
