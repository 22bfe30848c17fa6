import GraftCore
import GraftFormats
import GraftTestSupport
import Testing

struct ShardIndexReadsTests {
  private func wanted(_ places: [(file: Int, offset: Int, count: Int)]) -> [ShardIndexReads.Wanted] {
    places.enumerated().map {
      ShardIndexReads.Wanted(
        number: $0, file: $1.file, range: ByteRange(offset: $1.offset, count: $1.count))
    }
  }

  @Test func `a thousand indices of small shards are a few reads`() {
    // A shard of 4 KiB and its index of one chunk, over and over.
    let small = ShardIndexReads(wanted((0..<1000).map { (0, ($0 + 1) * 4116 - 20, 20) }))
    #expect(small.requests.count == 4)
    #expect(small.requests.allSatisfy { $0.range.count <= 1 << 20 })
    #expect(small.requests.flatMap(\.indices).map(\.number) == Array(0..<1000))
  }

  @Test func `indices of large shards are a read each, and so are those of different files`() {
    let large = ShardIndexReads(wanted((0..<10).map { (0, ($0 + 1) << 20, 20) }))
    #expect(large.requests.count == 10)
    #expect(large.requests.allSatisfy { $0.range.count == 20 })
    let files = ShardIndexReads(wanted((0..<10).map { ($0, 100, 20) }))
    #expect(files.requests.count == 10)
  }

  @Test func `one index that is larger than any read of several is one read`() {
    let reads = ShardIndexReads(wanted([(0, 0, 5 << 20), (0, 5 << 20, 20)]))
    #expect(reads.requests.map(\.range.count) == [5 << 20, 20])
  }

  @Test func `every index is in its read, whatever the order, and no read is of nothing that is wanted`() {
    let seed = seedFromEnvironment() ?? 1707
    print("seed \(seed)")
    var random = SeededGenerator(seed: seed)
    for _ in 0..<200 {
      let places = (0..<Int.random(in: 0..<60, using: &random)).map { _ in
        (
          file: Int.random(in: 0..<3, using: &random), offset: Int.random(in: 0..<300_000, using: &random),
          count: Int.random(in: 0..<20_000, using: &random)
        )
      }
      let all = wanted(places.shuffled(using: &random))
      let requests = ShardIndexReads(all).requests
      #expect(Set(requests.flatMap(\.indices)) == Set(all))
      for request in requests {
        #expect(request.indices.allSatisfy { $0.file == request.file && request.range.contains($0.range) })
        #expect(request.range.offset == request.indices.map(\.range.offset).min())
        #expect(request.range.end == request.indices.map(\.range.end).max())
      }
    }
  }
}
