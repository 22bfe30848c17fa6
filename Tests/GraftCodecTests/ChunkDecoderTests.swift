import GraftCodec
import GraftCore
import GraftTestSupport
import Testing

struct ChunkDecoderTests {
  @Test(arguments: EncodedFile.all)
  func `what zstandard, c-blosc and crc32c wrote decodes to the same bytes`(file: EncodedFile) throws {
    #expect(try decoded(file.bytes, file.chain, count: file.count) == EncodedFile.content(file.count))
  }

  @Test func `every kind of chain has a golden file`() {
    #expect(EncodedFile.all.count == 34)
    #expect(EncodedFile.streamable.count == 16)
  }

  @Test(arguments: EncodedFile.streamable)
  func `a stream gives the same bytes whatever the pieces`(file: EncodedFile) throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 11)
    let content = EncodedFile.content(file.count)
    for _ in 0..<12 {
      let largest = [3, 100, 5_000, 1_000_000].randomElement(using: &random)!
      if largest == 3 && file.count > 5_000 { continue }
      let result = try streamed(
        file.bytes, file.chain, count: file.count, windowByteCountLimit: 128 << 20
      ) { _ in Int.random(in: 1...largest, using: &random) }
      #expect(result.bytes == content, "seed \(random.seed)")
      #expect(result.consumed == file.bytes.count)
    }
  }

  @Test(
    arguments: EncodedFile.streamable.filter {
      $0.codecs.last == "zstd" && $0.codecs.count(where: { $0 == "zstd" }) == 1
    })
  func `a stream into place needs no window`(file: EncodedFile) throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 12)
    for _ in 0..<4 {
      let result = try streamedIntoPlace(file.bytes, file.chain, count: file.count) { _ in
        Int.random(in: 1...5_000, using: &random)
      }
      #expect(result == EncodedFile.content(file.count), "seed \(random.seed)")
    }
  }

  @Test(arguments: [1, 500, 20_000, 150_000, 299_999])
  func `a prefix costs the encoded bytes that it needs`(wanted: Int) throws {
    let file = try #require(EncodedFile.all.first { $0.name == "zstd-no-content-size" })
    let result = try streamed(file.bytes, file.chain, count: file.count, wanted: wanted) { _ in 512 }
    #expect(result.bytes == Array(EncodedFile.content(wanted)))
    // One zstd block is at most 128 KiB of content.
    let needed = Double(min(file.count, wanted + (128 << 10))) / Double(file.count)
    #expect(Double(result.consumed) <= needed * Double(file.bytes.count) + 1024)
  }

  @Test func `a window above the limit is an error that names both`() throws {
    let file = try #require(EncodedFile.all.first { $0.name == "zstd-window-128MiB" })
    let expected = CodecFailure("zstd", .windowTooLarge(window: 128 << 20, limit: 64 << 20))
    for piece in [1, 7, 10_000] {
      #expect(throws: expected) {
        try streamed(file.bytes, file.chain, count: file.count, windowByteCountLimit: 64 << 20) { _ in piece }
      }
    }
    // As a whole, or in place, no window is needed.
    #expect(
      try decoded(file.bytes, file.chain, count: file.count, windowByteCountLimit: 1024)
        == EncodedFile.content(2_000))
  }

  @Test func `a stream holds its window and little else`() throws {
    let file = try #require(EncodedFile.all.first { $0.name == "zstd-window-64KiB" })
    var decoder = try ZstdDecoder(windowByteCountLimit: 64 << 10)
    try decoder.begin(intoPlace: false)
    var room = [UInt8](repeating: 0, count: 1_000)
    var span = room.mutableSpan
    var destination = span.mutableBytes
    _ = try decoder.decodeOn(file.bytes.span.bytes, into: &destination)
    #expect(decoder.memoryByteCount < (64 << 10) + (512 << 10))
  }

  @Test(arguments: EncodedFile.all)
  func `one byte too many or too few is an error`(file: EncodedFile) throws {
    #expect(throws: CodecFailure.self) { try decoded(file.bytes, file.chain, count: file.count + 1) }
    if file.count > 0 {
      #expect(throws: CodecFailure.self) { try decoded(file.bytes, file.chain, count: file.count - 1) }
    }
    if file.chainStreams {
      #expect(throws: CodecFailure.self) {
        try streamed(file.bytes, file.chain, count: file.count + 1, windowByteCountLimit: 128 << 20) { _ in
          4_000
        }
      }
      if file.count > 0 {
        #expect(throws: CodecFailure.self) {
          try streamed(file.bytes, file.chain, count: file.count - 1, windowByteCountLimit: 128 << 20) { _ in
            4_000
          }
        }
      }
    }
  }

  @Test(arguments: EncodedFile.all)
  func `cut and flipped bytes never trap, and give an error wherever a checksum covers them`(
    file: EncodedFile
  ) throws {
    var random = SeededGenerator(seed: seedFromEnvironment() ?? 13)
    let bytes = file.bytes
    let chain = try file.chain
    let content = EncodedFile.content(file.count)
    for round in 0..<36 {
      var hostile = bytes
      if round % 3 == 0 {
        hostile.removeLast(Int.random(in: 1...bytes.count, using: &random))
      } else {
        // Headers are where the claims are.
        let end = round % 3 == 1 ? min(bytes.count, 24) : bytes.count
        hostile[Int.random(in: 0..<end, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      }
      let whole = Result { () throws(CodecFailure) in try decoded(hostile, chain, count: file.count) }
      if file.codecs.contains("crc32c"), case .success(let result) = whole, result != content {
        Issue.record("a damaged chunk passed for whole, seed \(random.seed), round \(round)")
      }
      guard chain.canStream, !hostile.isEmpty else { continue }
      let piece = Int.random(in: 1...5_000, using: &random)
      let pieces = Result { () throws(CodecFailure) in
        try streamed(hostile, chain, count: file.count) { _ in piece }.bytes
      }
      if case .success(let result) = pieces, case .success(let other) = whole {
        #expect(result == other, "seed \(random.seed), round \(round)")
      }
      if chain.canStreamIntoPlace {
        _ = Result { () throws(CodecFailure) in
          try streamedIntoPlace(hostile, chain, count: file.count) { _ in piece }
        }
      }
    }
  }

  @Test func `a frame that claims an exabyte allocates nothing of it`() throws {
    // Magic, a descriptor with an eight-byte content size and a single segment, the size, and a raw block of one byte.
    let frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x09, 0, 0, 0x41]
    let chain = try CodecChain([Codec(name: "zstd")])
    #expect(throws: CodecFailure.self) { try decoded(frame, chain, count: 1) }
    #expect(throws: CodecFailure("zstd", .windowTooLarge(window: 1 << 60, limit: 8 << 20))) {
      try streamed(frame, chain, count: 1) { _ in 100 }
    }
  }

  @Test func `an unknown codec is refused by its name`() {
    #expect(throws: CodecFailure("gzip", .unsupported("the codec gzip is not supported"))) {
      try CodecChain([Codec(name: "gzip")])
    }
    #expect(throws: CodecFailure("zstd", .chainTooLong(limit: 8))) {
      try CodecChain([Codec](repeating: Codec(name: "zstd"), count: 9))
    }
  }

  @Test func `bytes alone are no codec, and must be as many as the chunk has`() throws {
    let chain = try CodecChain([Codec(name: "bytes")])
    #expect(chain.isIdentity)
    #expect(try decoded([1, 2, 3], chain, count: 3) == [1, 2, 3])
    #expect(throws: CodecFailure("bytes", .tooShort(expected: 4, found: 3))) {
      try decoded([1, 2, 3], chain, count: 4)
    }
    #expect(throws: CodecFailure("bytes", .tooLong(expected: 2))) { try decoded([1, 2, 3], chain, count: 2) }
  }
}

extension EncodedFile {
  var chainStreams: Bool { (try? chain.canStream) == true }
}
