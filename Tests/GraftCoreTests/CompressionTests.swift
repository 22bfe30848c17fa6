import GraftCore
import Testing

struct CompressionTests {
  @Test(arguments: [
    ("none", Compression.none), ("zstd:3", .zstd()), ("zstd:19", .zstd(level: 19)),
    ("zstd:entropy", .zstdEntropyOnly), ("blosc:1", .blosc()), ("blosc:9", .blosc(level: 9)),
    ("blosc:entropy", .bloscEntropyOnly),
  ])
  func `a compression has a name that reads back`(name: String, compression: Compression) {
    #expect(Compression(name) == compression)
    #expect(compression.description == name)
  }

  @Test func `a name without a level is the default one`() {
    #expect(Compression("zstd") == .zstd(level: 3))
    #expect(Compression("blosc") == .blosc(level: 1))
  }

  @Test(arguments: [
    "", "gzip", "none:1", "zstd:", "zstd:0", "zstd:23", "zstd:+3", "zstd:03", "zstd:3:4", "blosc:10",
    "blosc:0",
    "Zstd", "zstd:entropy:1",
  ])
  func `other names are none`(name: String) {
    #expect(Compression(name) == nil)
  }
}
