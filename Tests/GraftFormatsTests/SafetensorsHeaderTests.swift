import GraftCore
import GraftFormats
import GraftTestSupport
import Testing

@Suite struct SafetensorsHeaderTests {
  /// A file that breaks a rule, with the whole error that it gives.
  struct Corruption: CustomTestStringConvertible {
    let rule: String
    let bytes: [UInt8]
    let code: GraftError.Code
    let description: String
    init(_ rule: String, _ bytes: [UInt8], _ code: GraftError.Code, _ description: String) {
      self.rule = rule
      self.bytes = bytes
      self.code = code
      self.description = description
    }
    var testDescription: String { rule }
  }

  private static func entry(
    _ name: String = "a", dtype: String = "F32", shape: String = "[2]", offsets: String = "[0,8]"
  ) -> String {
    #""\#(name)":{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":\#(offsets)}"#
  }

  private static let incomplete = "The file is incomplete: copy or download it again."

  static let corruptions: [Corruption] = [
    // The length field.
    Corruption(
      "an empty file", [], .truncated,
      "The file ends inside the eight bytes that say how long the header is. In file model.safetensors, bytes 0..<8. "
        + "Expected at least 8 bytes, found 0 bytes. \(incomplete)"),
    Corruption(
      "a length field that is cut off", [2, 0, 0, 0, 0, 0, 0], .truncated,
      "The file ends inside the eight bytes that say how long the header is. In file model.safetensors, bytes 0..<8. "
        + "Expected at least 8 bytes, found 7 bytes. \(incomplete)"),
    Corruption(
      "a header of no bytes", lengthField(0), .corrupt,
      "The header is empty. In file model.safetensors, bytes 0..<8. Expected at least the two bytes {}."),
    Corruption(
      "a header past the end of the file", lengthField(60) + Array("{}".utf8), .truncated,
      "The file ends inside the header. In file model.safetensors, bytes 8..<68. "
        + "Expected at least 68 bytes, found 10 bytes. \(incomplete)"),
    Corruption(
      "a header over the limit", lengthField(100_000_001) + Array("{}".utf8), .limitExceeded,
      "The header claims to be longer than is allowed. In file model.safetensors, bytes 0..<8. "
        + "Expected at most 100000000 bytes, found 100000001 bytes. "
        + "This is no safetensors file or a broken one, unless Limits.metadataByteCount was lowered."),
    Corruption(
      "a header of 2^63 bytes", lengthField(1 << 63) + Array("{}".utf8), .limitExceeded,
      "The header claims to be longer than is allowed. In file model.safetensors, bytes 0..<8. "
        + "Expected at most 100000000 bytes, found 9223372036854775808 bytes. "
        + "This is no safetensors file or a broken one, unless Limits.metadataByteCount was lowered."),
    Corruption(
      "a header of 2^64 - 1 bytes", lengthField(.max) + Array("{}".utf8), .limitExceeded,
      "The header claims to be longer than is allowed. In file model.safetensors, bytes 0..<8. "
        + "Expected at most 100000000 bytes, found 18446744073709551615 bytes. "
        + "This is no safetensors file or a broken one, unless Limits.metadataByteCount was lowered."),

    // The JSON.
    Corruption(
      "a header that begins with a space", safetensors(" {}"), .corrupt,
      "The header does not begin with a brace. In file model.safetensors, bytes 8..<9. "
        + "Expected byte 0x7B, found byte 0x20."),
    Corruption(
      "a header that is an array", safetensors("[]"), .corrupt,
      "The header does not begin with a brace. In file model.safetensors, bytes 8..<9. "
        + "Expected byte 0x7B, found byte 0x5B."),
    Corruption(
      "a header that is no UTF-8", safetensors(Array("{\"a".utf8) + [0xFF] + Array("\":1}".utf8)), .corrupt,
      "The header is not valid: the bytes are not UTF-8. In file model.safetensors, bytes 11..<12."),
    Corruption(
      "a header that ends too early", safetensors("{"), .corrupt,
      "The header is not valid: the text ends inside an object. In file model.safetensors, bytes 9..<10."),
    Corruption(
      "something after the header's object", safetensors("{} {}"), .corrupt,
      "The header is not valid: something follows the value. In file model.safetensors, bytes 11..<12."),
    Corruption(
      "padding with zeros", safetensors("{}\0"), .corrupt,
      "The header is not valid: something follows the value. In file model.safetensors, bytes 10..<11."),
    Corruption(
      "a bomb of nested arrays", safetensors("{\"a\":{\"b\":" + String(repeating: "[", count: 100_000)),
      .limitExceeded,
      "The header's entry of the tensor \"a\" is not valid: arrays and objects are nested deeper than 128 levels. "
        + "In leaf a, file model.safetensors, bytes 144..<145."),

    // __metadata__.
    Corruption(
      "metadata that is no object", safetensors(#"{"__metadata__":[]}"#), .corrupt,
      "The header is not valid: an array stands where an object has to. In file model.safetensors, bytes 24..<25."
    ),
    Corruption(
      "metadata that is no string", safetensors(#"{"__metadata__":{"a":"b","c":1}}"#), .corrupt,
      "The value of \"c\" in the header's __metadata__ is no string. In file model.safetensors, bytes 37..<38. "
        + "Expected a string, found a number."),
    Corruption(
      "metadata twice", safetensors(#"{"__metadata__":{},"__metadata__":{}}"#), .corrupt,
      "The header has __metadata__ twice. In file model.safetensors, bytes 28..<29."),
    Corruption(
      "a key of the metadata twice", safetensors(#"{"__metadata__":{"a":"b","a":"c"}}"#), .corrupt,
      "The header's __metadata__ has the key \"a\" twice. In file model.safetensors, bytes 34..<35."),

    // A tensor's entry.
    Corruption(
      "an entry that is no object", safetensors(#"{"a.b":1}"#), .corrupt,
      "The header's entry of the tensor \"a.b\" is not valid: a number stands where an object has to. "
        + "In leaf a/b, file model.safetensors, bytes 15..<16."),
    Corruption(
      "a tensor twice", safetensors("{\(entry()),\(entry(offsets: "[8,16]"))}", dataByteCount: 16), .corrupt,
      "The header has the tensor \"a\" twice. In leaf a, file model.safetensors, bytes 63..<64."),
    Corruption(
      "a tensor twice, once escaped",
      safetensors("{\(entry()),\(entry("\\u0061", offsets: "[8,16]"))}", dataByteCount: 16), .corrupt,
      "The header has the tensor \"a\" twice. In leaf a, file model.safetensors, bytes 63..<64."),
    Corruption(
      "an unknown dtype", safetensors("{\(entry(dtype: "F8_E3M4"))}", dataByteCount: 8), .unsupported,
      "The tensor \"a\" has a dtype that is not known. In leaf a, file model.safetensors, bytes 15..<16. "
        + "Expected one of BOOL, F4, F6_E2M3, F6_E3M2, U8, I8, F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, "
        + "I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64, found \"F8_E3M4\"."),
    Corruption(
      "a dtype in lower case", safetensors("{\(entry(dtype: "f32"))}", dataByteCount: 8), .unsupported,
      "The tensor \"a\" has a dtype that is not known. In leaf a, file model.safetensors, bytes 15..<16. "
        + "Expected one of BOOL, F4, F6_E2M3, F6_E3M2, U8, I8, F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, "
        + "I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64, found \"f32\"."),
    Corruption(
      "no dtype", safetensors(#"{"a":{"shape":[],"data_offsets":[0,4]}}"#, dataByteCount: 4), .corrupt,
      "The tensor \"a\" has no dtype. In leaf a, file model.safetensors, bytes 10..<11."),
    Corruption(
      "no shape", safetensors(#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, dataByteCount: 4), .corrupt,
      "The tensor \"a\" has no shape. In leaf a, file model.safetensors, bytes 10..<11."),
    Corruption(
      "no offsets", safetensors(#"{"a":{"dtype":"F32","shape":[]}}"#, dataByteCount: 4), .corrupt,
      "The tensor \"a\" has no data_offsets. In leaf a, file model.safetensors, bytes 10..<11."),
    Corruption(
      "a field twice", safetensors(#"{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}"#),
      .corrupt,
      "The tensor \"a\" has its dtype twice. In leaf a, file model.safetensors, bytes 29..<30."),
    Corruption(
      "a negative extent", safetensors("{\(entry(shape: "[-2,-1]"))}", dataByteCount: 8), .corrupt,
      "The shape of the tensor \"a\" has a negative number. In leaf a, file model.safetensors, bytes 29..<30. Found -2."
    ),
    Corruption(
      "an extent with a fraction", safetensors("{\(entry(shape: "[2.0]"))}", dataByteCount: 8), .corrupt,
      "The header's entry of the tensor \"a\" is not valid: a number stands where an integer has to. "
        + "In leaf a, file model.safetensors, bytes 37..<38."),
    Corruption(
      "an extent of 2^63", safetensors("{\(entry(shape: "[9223372036854775808]"))}", dataByteCount: 8),
      .corrupt,
      "The header's entry of the tensor \"a\" is not valid: an integer does not fit 64 bits. "
        + "In leaf a, file model.safetensors, bytes 37..<38."),
    Corruption(
      "extents whose product overflows",
      safetensors("{\(entry(shape: "[4294967296,4294967296]"))}", dataByteCount: 8), .corrupt,
      "The size of the tensor \"a\" overflows 64 bits. In leaf a, file model.safetensors, bytes 10..<11. "
        + "Found float32[4294967296, 4294967296]."),
    Corruption(
      "extents whose product overflows before a zero",
      safetensors("{\(entry(shape: "[4294967296,4294967296,0]", offsets: "[0,0]"))}"), .corrupt,
      "The size of the tensor \"a\" overflows 64 bits. In leaf a, file model.safetensors, bytes 10..<11. "
        + "Found float32[4294967296, 4294967296, 0]."),
    Corruption(
      "a byte count that overflows",
      safetensors("{\(entry(shape: "[4611686018427387904]"))}", dataByteCount: 8), .corrupt,
      "The size of the tensor \"a\" overflows 64 bits. In leaf a, file model.safetensors, bytes 10..<11. "
        + "Found float32[4611686018427387904]."),
    Corruption(
      "too many axes", safetensors("{\(entry(shape: "[" + String(repeating: "1,", count: 64) + "1]"))}"),
      .limitExceeded,
      "The tensor \"a\" has too many axes. In leaf a, file model.safetensors, bytes 29..<30. Expected at most 64. "
        + "Raise Limits.rank if the file is trusted."),
    Corruption(
      "one offset", safetensors("{\(entry(offsets: "[8]"))}", dataByteCount: 8), .corrupt,
      "The data_offsets of the tensor \"a\" are not two numbers. In leaf a, file model.safetensors, bytes 41..<42. "
        + "Expected its beginning and its end."),
    Corruption(
      "three offsets", safetensors("{\(entry(offsets: "[0,8,8]"))}", dataByteCount: 8), .corrupt,
      "The data_offsets of the tensor \"a\" are not two numbers. In leaf a, file model.safetensors, bytes 41..<42. "
        + "Expected its beginning and its end."),
    Corruption(
      "a negative offset", safetensors("{\(entry(offsets: "[-8,0]"))}", dataByteCount: 8), .corrupt,
      "The data_offsets of the tensor \"a\" has a negative number. In leaf a, file model.safetensors, bytes 41..<42. "
        + "Found -8."),
    Corruption(
      "offsets in reverse", safetensors("{\(entry(offsets: "[8,0]"))}", dataByteCount: 8), .corrupt,
      "The tensor \"a\" ends before it begins. In leaf a, file model.safetensors, bytes 10..<11. "
        + "Found data_offsets [8, 0]."),
    Corruption(
      "offsets that overflow when the header is added",
      safetensors("{\(entry(offsets: "[9223372036854775799,9223372036854775807]"))}", dataByteCount: 8),
      .corrupt,
      "The data_offsets of the tensor \"a\" overflow 64 bits. In leaf a, file model.safetensors, bytes 10..<11. "
        + "Found 9223372036854775807 bytes after the header."),
    Corruption(
      "packed elements that end inside a byte",
      safetensors("{\(entry(dtype: "F6_E2M3", shape: "[3]", offsets: "[0,3]"))}", dataByteCount: 3), .corrupt,
      "The tensor \"a\" does not fill whole bytes. In leaf a, file model.safetensors, bytes 10..<11. "
        + "Expected a number of bits that eight divides, found float6_e2m3fn[3] of 6 bits per element."),

    // Where the tensors lie. An entry is 52 bytes long, so that the data of one such tensor begins at byte 62.
    Corruption(
      "offsets that do not fit the shape", safetensors("{\(entry(shape: "[3]"))}", dataByteCount: 8),
      .corrupt,
      "The data_offsets of the tensor \"a\" do not fit its dtype and shape. "
        + "In leaf a, file model.safetensors, bytes 62..<70. Expected 12 bytes for float32[3], found 8 bytes."
    ),
    Corruption(
      "a hole before the first tensor", safetensors("{\(entry(offsets: "[4,12]"))}", dataByteCount: 12),
      .corrupt,
      "There is a hole before the tensor \"a\": bytes of no tensor. In leaf a, file model.safetensors, bytes 63..<67."
    ),
    Corruption(
      "a hole between tensors",
      safetensors("{\(entry()),\(entry("b", offsets: "[10,18]"))}", dataByteCount: 18), .corrupt,
      "There is a hole before the tensor \"b\": bytes of no tensor. In leaf b, file model.safetensors, bytes 125..<127."
    ),
    Corruption(
      "an overlap", safetensors("{\(entry()),\(entry("b", offsets: "[4,12]"))}", dataByteCount: 12), .corrupt,
      "The tensors \"a\" and \"b\" overlap. In leaf b, file model.safetensors, bytes 120..<124."),
    Corruption(
      "two tensors at one place", safetensors("{\(entry("b")),\(entry("a"))}", dataByteCount: 8), .corrupt,
      "The tensors \"b\" and \"a\" overlap. In leaf a, file model.safetensors, bytes 115..<123."),
    Corruption(
      "an empty tensor inside another",
      safetensors("{\(entry()),\(entry("b", shape: "[0]", offsets: "[4,4]"))}", dataByteCount: 8), .corrupt,
      "The empty tensor \"b\" lies inside the tensor \"a\". In leaf b, file model.safetensors, bytes 119..<119."
    ),
    Corruption(
      "bytes after the last tensor", safetensors("{\(entry())}", dataByteCount: 9), .corrupt,
      "The file goes on after the last tensor: bytes of no tensor. In file model.safetensors, bytes 70..<71. "
        + "Expected 70 bytes in all, found 71 bytes."),
    Corruption(
      "bytes without any tensor", safetensors("{}", dataByteCount: 1), .corrupt,
      "The file goes on after the last tensor: bytes of no tensor. In file model.safetensors, bytes 10..<11. "
        + "Expected 10 bytes in all, found 11 bytes."),
    Corruption(
      "a file that ends inside a tensor",
      safetensors(
        "{\(entry()),\(entry("b", offsets: "[8,16]")),\(entry("c", offsets: "[16,24]"))}", dataByteCount: 15),
      .truncated,
      "The file ends before the end of the tensor \"b\". In leaf b, file model.safetensors, bytes 179..<187. "
        + "Expected 195 bytes in all, found 186 bytes. \(incomplete)"),
    Corruption(
      "a file that ends with its header", safetensors("{\(entry())}"), .truncated,
      "The file ends before the end of the tensor \"a\". In leaf a, file model.safetensors, bytes 62..<70. "
        + "Expected 70 bytes in all, found 62 bytes. \(incomplete)"),
    Corruption(
      "a tensor of 2^62 bytes",
      safetensors(
        "{\(entry(shape: "[1152921504606846976]", offsets: "[0,4611686018427387904]"))}", dataByteCount: 8),
      .truncated,
      "The file ends before the end of the tensor \"a\". "
        + "In leaf a, file model.safetensors, bytes 98..<4611686018427388002. "
        + "Expected 4611686018427388002 bytes in all, found 106 bytes. \(incomplete)"),
  ]

  @Test(arguments: corruptions) func `a broken rule has its own sentence`(_ corruption: Corruption) async {
    do throws(GraftError) {
      _ = try await SafetensorsReader.catalog(of: MemoryByteSource(corruption.bytes))
      Issue.record("no error")
    } catch {
      #expect(error.code == corruption.code)
      #expect("\(error)" == corruption.description)
    }
  }

  @Test func `a long name is refused and not printed whole`() throws {
    let bytes = safetensors("{\(Self.entry(String(repeating: "n", count: 65_537)))}", dataByteCount: 8)
    let error = try #require(throws: GraftError.self) { try Self.parse(bytes) }
    #expect(error.code == .limitExceeded && "\(error)".utf8.count < 500)
  }

  @Test func `too many tensors are refused`() throws {
    var limits = Limits()
    limits.leafCount = 1
    let bytes = safetensors("{\(Self.entry()),\(Self.entry("b", offsets: "[8,16]"))}", dataByteCount: 16)
    let error = try #require(throws: GraftError.self) { try Self.parse(bytes, limits: limits) }
    #expect(error.code == .limitExceeded)
  }

  @Test func `every dtype has the size that it has in the format`() throws {
    for (name, dtype) in SafetensorsDType.names {
      let byteCount = dtype.bitWidth  // of eight elements
      let bytes = safetensors(
        "{\(Self.entry(dtype: name, shape: "[8]", offsets: "[0,\(byteCount)]"))}", dataByteCount: byteCount)
      let header = try Self.parse(bytes)
      #expect(header.tensors.map(\.spec) == [TensorSpec(dtype, [8])])
      #expect(SafetensorsDType.name(of: dtype) == name)
    }
    #expect(SafetensorsDType.names.count == 22)
  }

  @Test
  func
    `a header may be padded, out of order, misaligned, and have empty tensors, scalars and unknown fields`()
    throws
  {
    let header = """
      {"b": {"data_offsets": [1, 5], "shape": [], "dtype": "F32", "note": {"x": [1, {}]}},
       "__metadata__": {"format": "pt", "é": "\\u00e9\\n"},
       "empty": {"dtype": "F64", "shape": [3, 0], "data_offsets": [1, 1]},
       "": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
       "end": {"dtype": "U8", "shape": [0], "data_offsets": [5, 5]}} \n
      """
    let bytes = safetensors(header, dataByteCount: 5)
    let parsed = try Self.parse(bytes)
    let data = 8 + header.utf8.count
    #expect(parsed.dataOffset == data)
    #expect(parsed.tensors.map(\.name) == ["b", "empty", "", "end"])
    #expect(parsed.tensors.map(\.spec.description) == ["float32[]", "float64[3, 0]", "uint8[1]", "uint8[0]"])
    #expect(parsed.tensors.map(\.range.offset) == [data + 1, data + 1, data, data + 5])
    #expect(parsed.tensors.map(\.range.count) == [4, 0, 1, 0])
    #expect(parsed.metadata.map(\.key) == ["format", "é"] && parsed.metadata.map(\.value) == ["pt", "é\n"])
  }

  @Test(arguments: ["{}", "{} ", #"{"__metadata__":null}"#, #"{"__metadata__":{}}"#])
  func `a file without tensors is a checkpoint without leaves`(_ header: String) throws {
    let parsed = try Self.parse(safetensors(header))
    #expect(parsed.tensors.isEmpty && parsed.metadata.isEmpty)
  }

  /// A damaged header is an error, or a header whose tensors still cover the file.
  @Test func `damaged headers never trap, and are refused or still consistent`() throws {
    let seed = seedFromEnvironment() ?? UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    var accepted = 0
    for _ in 0..<40 {
      let sound = Self.randomFile(using: &random)
      _ = try Self.parse(sound)
      let headerEnd = Int(sound[0]) | Int(sound[1]) << 8
      for _ in 0..<200 {
        var bytes = sound
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
          bytes[Int.random(in: 0..<8 + headerEnd, using: &random)] ^=
            1 << UInt8.random(in: 0..<8, using: &random)
        case 1: bytes.removeLast(Int.random(in: 1...bytes.count, using: &random))
        case 2:
          bytes[8 + Int.random(in: 0..<headerEnd, using: &random)] =
            "0123456789-[]{},\":".utf8.randomElement(using: &random) ?? 0
        default:
          let from = Int.random(in: 8..<8 + headerEnd, using: &random)
          let count = Int.random(in: 1..<20, using: &random)
          bytes.replaceSubrange(
            from..<min(from + count, bytes.count), with: bytes[8..<min(8 + count, bytes.count)])
        }
        do throws(GraftError) {
          let header = try Self.parse(bytes)
          accepted += 1
          var end = header.dataOffset
          for tensor in header.tensors.sorted(by: {
            ($0.range.offset, $0.range.end) < ($1.range.offset, $1.range.end)
          }) {
            #expect(
              tensor.range.offset == end && tensor.range.count == tensor.spec.byteCount,
              "GRAFT_TEST_SEED=\(seed)")
            end = tensor.range.end
          }
          #expect(end == bytes.count, "GRAFT_TEST_SEED=\(seed)")
        } catch {
          #expect(error.file == "model.safetensors" && !"\(error)".isEmpty, "GRAFT_TEST_SEED=\(seed)")
        }
      }
    }
    // Some damage (a letter of a name) is none, so that both ways are tried.
    #expect(accepted > 0, "GRAFT_TEST_SEED=\(seed)")
  }

  static func parse(_ bytes: [UInt8], limits: Limits = Limits()) throws(GraftError) -> SafetensorsHeader {
    let count = try SafetensorsHeader.jsonByteCount(
      head: Array(bytes.prefix(8)), file: "model.safetensors", fileByteCount: bytes.count, limits: limits)
    return try SafetensorsHeader(
      parsing: bytes.span.extracting(8..<8 + count), file: "model.safetensors", fileByteCount: bytes.count,
      limits: limits)
  }

  /// A sound file of a few tensors in random order, with a header shorter than 64 KiB.
  static func randomFile(using random: inout SeededGenerator) -> [UInt8] {
    var entries: [String] = [#""__metadata__":{"format":"pt"}"#]
    var end = 0
    for index in 0..<Int.random(in: 1..<8, using: &random) {
      guard let (name, dtype) = SafetensorsDType.names.randomElement(using: &random) else { continue }
      var shape = (0..<Int.random(in: 0..<4, using: &random)).map { _ in Int.random(in: 0..<5, using: &random)
      }
      if dtype.isPacked { shape.append(4) }
      let count = TensorSpec(dtype, Shape(shape)).byteCount
      entries.append(
        entry("t.\(index).é", dtype: name, shape: "\(shape)", offsets: "[\(end),\(end + count)]"))
      end += count
    }
    return safetensors("{\(entries.shuffled(using: &random).joined(separator: ","))}", dataByteCount: end)
  }
}
