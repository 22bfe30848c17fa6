import GraftCore
import GraftFormats
import Testing

/// What metadata says of codecs is kept when it is read, and comes out the same when it is written.
struct ZarrCodecTests {
  private static func version3(_ codec: String) throws -> Codec {
    let text = """
      {"zarr_format": 3, "node_type": "array", "shape": [4], "data_type": "float32", "fill_value": 0,
       "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
       "chunk_key_encoding": {"name": "default"},
       "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, \(codec)]}
      """
    return try #require(ZarrArray(version3: Array(text.utf8), file: "zarr.json").codecs.first)
  }

  private static func version2(_ compressor: String) throws -> Codec {
    let text = """
      {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<f4", "fill_value": 0, "order": "C",
       "filters": null, "compressor": \(compressor)}
      """
    return try #require(ZarrArray(version2: Array(text.utf8), file: ".zarray").codecs.first)
  }

  @Test(arguments: [
    #"{"name":"zstd","configuration":{"level":3,"checksum":false}}"#,
    #"{"name":"zstd","configuration":{"level":-50,"checksum":false}}"#,
    #"{"name":"blosc","configuration":{"cname":"zstd","clevel":5,"shuffle":"shuffle","typesize":4,"blocksize":0}}"#,
    #"{"name":"blosc","configuration":{"cname":"lz4","clevel":9,"shuffle":"bitshuffle","typesize":2,"blocksize":512}}"#,
    #"{"name":"blosc","configuration":{"cname":"zlib","clevel":1,"shuffle":"noshuffle","typesize":1,"blocksize":0}}"#,
    #"{"name":"crc32c"}"#,
  ])
  func `a codec of version 3 is written as it was read`(text: String) throws {
    let codec = try Self.version3(text)
    var writer = JSONWriter()
    writer.value(codec.version3JSON(elementByteCount: 4))
    #expect(writer.string == text)
  }

  @Test(arguments: [
    #"{"id":"zstd","level":1}"#,
    #"{"id":"blosc","cname":"lz4","clevel":5,"shuffle":2,"blocksize":64}"#,
  ])
  func `a compressor of version 2 is written as it was read`(text: String) throws {
    var writer = JSONWriter()
    writer.value(try Self.version2(text).version2JSON)
    #expect(writer.string == text)
  }

  @Test func `a compressor of version 2 can be written as a codec of version 3`() throws {
    let codec = try Self.version2(#"{"id":"blosc","cname":"zstd","clevel":5,"shuffle":1,"blocksize":0}"#)
    var writer = JSONWriter()
    writer.value(codec.version3JSON(elementByteCount: 4))
    #expect(
      writer.string
        == #"{"name":"blosc","configuration":{"cname":"zstd","clevel":5,"shuffle":"shuffle","typesize":4,"blocksize":0}}"#
    )
  }

  @Test(arguments: [
    #"{"name":"zstd"}"#, #"{"name":"zstd","configuration":{"level":"high"}}"#,
    #"{"name":"blosc","configuration":{"cname":7}}"#, #""blosc""#,
  ])
  func `settings that say nothing are no obstacle to reading, and something is written for them`(
    text: String
  ) throws {
    let codec = try Self.version3(text)
    #expect(codec.version3JSON(elementByteCount: 4)["configuration"]?.members?.isEmpty == false)
  }

  @Test func `codecs that decode alike are equal, whatever they were encoded with`() throws {
    let one = try Self.version3(#"{"name":"zstd","configuration":{"level":1}}"#)
    let other = try Self.version3(#"{"name":"zstd","configuration":{"level":19}}"#)
    #expect(one == other)
    #expect(one.hashValue == other.hashValue)
    #expect(one.settings != other.settings)
    #expect(one != Codec(name: "blosc"))
  }
}
