import GraftCodec
import GraftCore
import GraftFormats
import GraftTestSupport
import Testing

struct SealTests {
  private static let seal = Seal(
    blockByteCount: 4096,
    files: [
      Seal.File(name: "é/b", byteCount: 4097, checksums: [1, 0xFFFF_FFFF]),
      Seal.File(name: "a", byteCount: 0, checksums: []),
      Seal.File(name: "b", byteCount: 4096, checksums: [7]),
    ])

  private func parse(_ text: String) throws(GraftError) -> Seal {
    try Seal(parsing: Array(text.utf8), file: "seal.json", limits: Limits())
  }

  /// The text with the digest that it needs.
  private func digested(_ text: String) -> String {
    let bytes = Array(text.utf8)
    let digits = String(CRC32C.checksum(bytes.span.bytes), radix: 16)
    return text + ",\"digest\":\"" + String(repeating: "0", count: 8 - digits.count) + digits + "\"}\n"
  }

  @Test func `what is written is what the specification says`() {
    let text = String(decoding: Self.seal.encoded(), as: UTF8.self)
    let head =
      #"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"a","bytes":0,"crc32c":""},"#
      + #"{"name":"b","bytes":4096,"crc32c":"00000007"},{"name":"é/b","bytes":4097,"crc32c":"00000001ffffffff"}]"#
    #expect(text == digested(head))
  }

  @Test func `what is written is read`() throws {
    #expect(try Seal(parsing: Self.seal.encoded(), file: "x", limits: Limits()) == Self.seal)
  }

  @Test func `any flipped bit is found`() {
    let bytes = Self.seal.encoded()
    for index in bytes.indices {
      for bit in 0..<8 {
        var broken = bytes
        broken[index] ^= 1 << bit
        #expect(throws: GraftError.self, "bit \(bit) of byte \(index)") {
          try Seal(parsing: broken, file: "x", limits: Limits())
        }
      }
    }
  }

  @Test func `any seal that is cut short is found`() {
    let bytes = Self.seal.encoded()
    for count in bytes.indices {
      #expect(throws: GraftError.self) {
        try Seal(parsing: Array(bytes[..<count]), file: "x", limits: Limits())
      }
    }
  }

  @Test(arguments: [
    (
      #"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"../a","bytes":0,"crc32c":""}]"#,
      "outside of its folder"
    ),
    (
      #"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"a//b","bytes":0,"crc32c":""}]"#,
      "outside of its folder"
    ),
    (
      #"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"/a","bytes":0,"crc32c":""}]"#,
      "outside of its folder"
    ),
    (#"{"graft_seal":1,"block_bytes":100,"files":[]"#, "blocks of another size"),
    (#"{"graft_seal":1,"block_bytes":0,"files":[]"#, "blocks of another size"),
    (#"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"a","bytes":-1,"crc32c":""}]"#, "without name"),
    (#"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"a","bytes":1,"crc32c":""}]"#, "0 digits for a"),
    (
      #"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"a","bytes":9223372036854775807,"crc32c":""}]"#,
      "0 digits for a"
    ),
    (
      #"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"a","bytes":1,"crc32c":"0000000G"}]"#,
      "than digits"
    ),
    (
      #"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"a","bytes":1,"crc32c":"0000000A"}]"#,
      "than digits"
    ),
    (
      #"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"b","bytes":0,"crc32c":""},{"name":"a","bytes":0,"crc32c":""}]"#,
      "out of order"
    ),
    (
      #"{"graft_seal":1,"block_bytes":4096,"files":[{"name":"a","bytes":0,"crc32c":""},{"name":"a","bytes":0,"crc32c":""}]"#,
      "out of order"
    ),
    (#"{"graft_seal":1,"block_bytes":4096,"more":0,"files":[]"#, "other members"),
    (#"{"graft_seal":2,"block_bytes":4096,"files":[]"#, "a version that is not read"),
    (#"{"block_bytes":4096,"files":[]"#, "no member graft_seal"),
  ])
  func `a seal that breaks a rule is refused, with the rule`(text: String, reason: String) throws {
    let error = #expect(throws: GraftError.self) { try parse(digested(text)) }
    #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
    #expect(error?.file == "seal.json")
  }

  @Test func `blocks cover a file and nothing else`() {
    #expect(Seal.blocks(of: 0, blockByteCount: 4096).isEmpty)
    #expect(Seal.blocks(of: 4096, blockByteCount: 4096) == [ByteRange(offset: 0, count: 4096)])
    #expect(
      Seal.blocks(of: 4097, blockByteCount: 4096) == [
        ByteRange(offset: 0, count: 4096), ByteRange(offset: 4096, count: 1),
      ])
  }
}
