import GraftCodec
import GraftCore
import GraftTestSupport
import Testing

struct CRC32CTests {
  @Test func `checksums agree with those of other software`() {
    let sums = EncodedFile.index["crc32c"]?.members ?? []
    #expect(sums.count == 11)
    for sum in sums {
      let bytes = EncodedFile.content(Int(sum.key) ?? -1)
      #expect(CRC32C.checksum(bytes.span.bytes) == UInt32(sum.value.integer ?? -1))
      for method in CRC32C.Method.allCases {
        #expect(CRC32C.checksum(bytes.span.bytes, by: method) == UInt32(sum.value.integer ?? -1), "\(method)")
      }
    }
  }

  @Test(arguments: CRC32C.Method.supported)
  func `every short length is right, in every way`(method: CRC32C.Method) {
    let bytes = (0..<1_100).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ $0 / 251) }
    let span = bytes.span.bytes
    // One byte more each time, by the definition, bit by bit.
    var register: UInt32 = ~7
    for count in 0...bytes.count {
      let sum = CRC32C.checksum(span.extracting(first: count), from: 7, by: method)
      #expect(sum == ~register, "\(count) bytes")
      guard count < bytes.count else { break }
      register ^= UInt32(bytes[count])
      for _ in 0..<8 { register = register & 1 != 0 ? (register >> 1) ^ 0x82F6_3B78 : register >> 1 }
    }
  }

  @Test func `the check value of the standard`() {
    let bytes = Array("123456789".utf8)
    #expect(CRC32C.checksum(bytes.span.bytes) == 0xE306_9283)
  }

  @Test func `all ways that the processor has agree for every length, alignment and cut`() {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 21)
    let bytes = (0..<60_000).map { _ in UInt8.random(in: 0...255, using: &random) }
    for _ in 0..<300 {
      let lower = Int.random(in: 0...40, using: &random)
      let upper = Int.random(in: lower...(Bool.random(using: &random) ? 1_000 : bytes.count), using: &random)
      let middle = Int.random(in: lower...upper, using: &random)
      let span = bytes.span.bytes
      let whole = CRC32C.checksum(span.extracting(lower..<upper))
      for method in CRC32C.Method.supported {
        let sum = CRC32C.checksum(span.extracting(lower..<upper), by: method)
        #expect(whole == sum, "\(method), bytes \(lower)..<\(upper), seed \(random.seed)")
      }
      let first = CRC32C.checksum(span.extracting(lower..<middle))
      #expect(whole == CRC32C.checksum(span.extracting(middle..<upper), from: first), "seed \(random.seed)")
    }
  }
}

struct ZstdFrameHeaderTests {
  @Test(arguments: [
    ("zstd-300000", 300_000 as UInt64?, 300_000 as UInt64), ("zstd-no-content-size", nil, 512 << 10),
    ("zstd-window-64KiB", nil, 64 << 10), ("zstd-window-128MiB", nil, 128 << 20), ("zstd-1", 1, 1),
  ])
  func `a header says what it claims`(name: String, content: UInt64?, window: UInt64) throws {
    let bytes = Fixture.bytes("codec/\(name).bin")
    let header = try ZstdFrameHeader(bytes.span.bytes)
    #expect(header.contentByteCount == content)
    #expect(header.windowByteCount == window)
    #expect(!header.isSkippable)
    for count in 0..<6 {
      #expect(throws: CodecFailure("zstd", .truncated)) {
        try ZstdFrameHeader(bytes.span.bytes.extracting(first: count))
      }
    }
  }

  @Test func `what is no frame is refused`() throws {
    #expect(throws: CodecFailure("zstd", .corrupt("no frame begins here"))) {
      let bytes = [UInt8](repeating: 7, count: 20)
      return try ZstdFrameHeader(bytes.span.bytes)
    }
    let skippable = Fixture.bytes("codec/zstd-skippable.bin")
    #expect(try ZstdFrameHeader(skippable.span.bytes).isSkippable)
  }
}

struct BloscTests {
  @Test(arguments: EncodedFile.all.filter { $0.codecs == ["blosc"] })
  func `a part of a buffer is the same part of the whole`(file: EncodedFile) throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 31)
    let bytes = file.bytes
    let content = EncodedFile.content(file.count)
    let size = try Blosc.Header(bytes.span.bytes).elementByteCount
    for _ in 0..<20 {
      let first = Int.random(in: 0...file.count / size, using: &random)
      let count = Int.random(in: 0...file.count / size - first, using: &random)
      var part = [UInt8](repeating: 0, count: count * size)
      var span = part.mutableSpan
      var destination = span.mutableBytes
      try Blosc.decodeElements(from: first, of: bytes.span.bytes, into: &destination)
      #expect(part == Array(content[first * size..<(first + count) * size]), "seed \(random.seed)")
    }
    #expect(throws: CodecFailure("blosc", .corrupt(nil))) {
      var part = [UInt8](repeating: 0, count: size)
      var span = part.mutableSpan
      var destination = span.mutableBytes
      try Blosc.decodeElements(from: file.count / size, of: bytes.span.bytes, into: &destination)
    }
  }
}

struct CodecFailureTests {
  @Test(
    arguments: [
      (
        .corrupt("Data corruption detected"),
        "The zstd data is damaged. In file d/0, bytes 8..<20. Found Data corruption detected. The file was damaged after it was written: copy or download it again."
      ),
      (
        .truncated,
        "The zstd data ends too early. In file d/0, bytes 8..<20. The file was damaged after it was written: copy or download it again."
      ),
      (
        .tooShort(expected: 8, found: 7),
        "The zstd data decodes to fewer bytes than the chunk has. In file d/0, bytes 8..<20. Expected 8 bytes, found 7. The file was damaged after it was written: copy or download it again."
      ),
      (
        .windowTooLarge(window: 128, limit: 64),
        "Decoding the zstd frame as a stream takes a window larger than the memory budget. In file d/0, bytes 8..<20. Expected at most 64 bytes, found 128 bytes. Raise the budget above the window."
      ),
      (
        .checksum(expected: 1, found: 0xABCD_EF01),
        "The bytes do not have the zstd checksum that stands beside them. In file d/0, bytes 8..<20. Expected 0x00000001, found 0xabcdef01. The file was damaged after it was written: copy or download it again."
      ),
    ] as [(CodecFailure.Reason, String)])
  func `a failure becomes a sentence with its place`(reason: CodecFailure.Reason, sentence: String) {
    let error = CodecFailure("zstd", reason).graftError(file: "d/0", range: ByteRange(offset: 8, count: 12))
    #expect(error.description == sentence)
  }
}
