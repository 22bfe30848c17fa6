import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Synchronization
import Testing

/// Owns page-aligned memory that is filled with a byte nobody writes.
final class Memory: @unchecked Sendable {
  static let untouched: UInt8 = 0xA5
  let base: UnsafeMutableRawPointer
  let count: Int

  init(_ count: Int) {
    self.count = count
    base = .allocate(byteCount: max(count, 1), alignment: 4096)
    memset(base, Int32(Self.untouched), count)
  }

  deinit { base.deallocate() }

  func bytes(_ range: Range<Int>) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: base, count: count)[range])
  }
  var isUntouched: Bool {
    count == 0
      || base.load(as: UInt8.self) == Self.untouched && memcmp(base, base + 1, count - 1) == 0
  }
}

/// Random files, and what their bytes are.
struct RandomFiles {
  let folder = TemporaryFolder()
  let contents: [[UInt8]]
  let files: [File]

  init(byteCounts: [Int], random: inout SeededGenerator) throws {
    var contents: [[UInt8]] = []
    var files: [File] = []
    for (index, count) in byteCounts.enumerated() {
      var bytes = [UInt8](unsafeUninitializedCapacity: count + 8) { buffer, initialized in
        for offset in stride(from: 0, to: count, by: 8) {
          UnsafeMutableRawBufferPointer(buffer).storeBytes(
            of: random.next(), toByteOffset: offset, as: UInt64.self)
        }
        initialized = count
      }
      bytes.removeLast(bytes.count - count)
      files.append(try File(opening: folder.write("file\(index)", bytes)))
      contents.append(bytes)
    }
    self.contents = contents
    self.files = files
  }
}

/// A batch of requests with guarded memory for each, and a check of all that came.
struct RequestSet {
  var requests: [ReadRequest] = []
  let memory: Memory
  /// Where in the memory each request's bytes belong; nil for those with a handler.
  private var places: [Int?] = []
  private let received: Locked<[Int: Received]>

  /// Random requests: most of them small, some large, some empty; some congruent with their offset, some not.
  ///
  /// The first is most of the longest file, so that there is always one that direct I/O is worth.
  init(_ files: RandomFiles, count: Int, random: inout SeededGenerator) {
    var ranges: [(file: Int, range: ByteRange)] = []
    if let longest = files.contents.indices.max(by: { files.contents[$0].count < files.contents[$1].count }) {
      let size = files.contents[longest].count
      let offset = Int.random(in: 0...(size / 4), using: &random)
      ranges.append((longest, ByteRange(offset: offset, count: size - 2 * offset)))
    }
    for _ in 1..<count {
      let file = Int.random(in: 0..<files.contents.count, using: &random)
      let size = files.contents[file].count
      let limit = [0, 100, 5_000, 40_000, 300_000, size].randomElement(using: &random) ?? 0
      let length = Int.random(in: 0...min(limit, size), using: &random)
      let aligned = Bool.random(using: &random)
      var offset = Int.random(in: 0...(size - length), using: &random)
      if aligned { offset = offset / 4096 * 4096 }
      ranges.append((file, ByteRange(offset: offset, count: length)))
      if Int.random(in: 0..<8, using: &random) == 0, let other = ranges.randomElement(using: &random) {
        ranges.append(other)
      }
    }
    self.init(ranges, groups: ranges.indices.map { $0..<($0 + 1) }, handlerOneIn: 3, random: &random)
  }

  /// Random requests that follow one another in their files: small ones and large ones, most of them elsewhere in memory than
  /// their neighbours, some few for a handler or wanted twice, and a gap here and there.
  init(neighboursIn files: RandomFiles, random: inout SeededGenerator) {
    var ranges: [(file: Int, range: ByteRange)] = []
    var groups: [Range<Int>] = []
    for file in files.contents.indices {
      var offset = Int.random(in: 0..<5000, using: &random)
      while offset < files.contents[file].count {
        let limit = [10, 5_000, 65_536, 200_000].randomElement(using: &random) ?? 1
        let length = min(Int.random(in: 1...limit, using: &random), files.contents[file].count - offset)
        ranges.append((file, ByteRange(offset: offset, count: length)))
        offset += length
        let last = ranges.count - 1
        if let group = groups.last, ranges[group.lowerBound].file == file,
          ranges[last - 1].range.end == offset - length,
          Int.random(in: 0..<6, using: &random) == 0
        {
          groups[groups.count - 1] = group.lowerBound..<ranges.count
        } else {
          groups.append(last..<ranges.count)
        }
        if Int.random(in: 0..<10, using: &random) == 0 {
          offset += [1, 500, 9_000].randomElement(using: &random) ?? 0
        }
        if Int.random(in: 0..<16, using: &random) == 0 {
          ranges.append(ranges[last])
          groups.append((last + 1)..<ranges.count)
        }
      }
    }
    groups.shuffle(using: &random)
    self.init(ranges, groups: groups, handlerOneIn: 16, random: &random)
  }

  /// - Parameter groups: which of them lie one after another in memory, in the order in which the groups lie there.
  private init(
    _ ranges: [(file: Int, range: ByteRange)], groups: [Range<Int>], handlerOneIn: Int,
    random: inout SeededGenerator
  ) {
    let guardCount = 8192
    memory = Memory(ranges.reduce(guardCount) { $0 + $1.range.count + 2 * guardCount })
    received = Locked([:])
    requests = ranges.enumerated().map { token, range in
      ReadRequest(file: range.file, range: range.range, target: .handler(token: token))
    }
    places = Array(repeating: nil, count: ranges.count)
    var cursor = guardCount
    for group in groups {
      if Int.random(in: 0..<handlerOneIn, using: &random) == 0 { continue }
      if Bool.random(using: &random) {
        // Congruent with the file's offset, so that direct reads go straight into place.
        cursor += (ranges[group.lowerBound].range.offset - cursor) & 4095
      } else {
        cursor += Int.random(in: 1..<64, using: &random)
      }
      for token in group {
        requests[token].target = .memory(memory.base + cursor)
        places[token] = cursor
        cursor += ranges[token].range.count
      }
      cursor += 64
    }
  }

  var handler: ReadHandler {
    let received = received
    let requests = requests
    return { (token, part, bytes) throws(GraftError) in
      received.change { received in
        let range = requests[token].range
        let offset = part.offset - range.offset
        let empty =
          received[token] == nil
          ? Received(bytes: Array(repeating: 0, count: range.count)) : Received(bytes: [])
        received[token, default: empty].bytes.withUnsafeMutableBytes {
          UnsafeMutableRawBufferPointer(rebasing: $0[offset...]).copyMemory(from: bytes)
        }
        received[token, default: empty].byteCount += bytes.count
      }
    }
  }

  /// Says what is wrong, once; nothing is when each request has its bytes and nothing else was written.
  func faults(_ files: RandomFiles) -> [String] {
    var faults: [String] = []
    for (token, request) in requests.enumerated() where !request.range.isEmpty {
      let range = request.range
      let expected = files.contents[request.file][range.offset..<range.end]
      if let place = places[token] {
        let isRight = expected.withUnsafeBytes {
          memcmp(memory.base + place, $0.baseAddress!, range.count) == 0
        }
        if !isRight { faults.append("wrong bytes for \(range)") }
        memset(memory.base + place, Int32(Memory.untouched), range.count)
      } else {
        let bytes = received.value[token] ?? Received(bytes: [])
        let isRight =
          bytes.byteCount == range.count
          && expected.withUnsafeBytes {
            memcmp(bytes.bytes, $0.baseAddress!, range.count) == 0
          }
        if !isRight {
          faults.append("the handler got wrong bytes for \(range)")
        }
      }
    }
    if !memory.isUntouched { faults.append("bytes outside the targets were written") }
    return faults
  }
}

/// What a handler got of one request.
struct Received {
  var bytes: [UInt8]
  var byteCount = 0
}

extension ReadEngine {
  /// Reads one range into fresh memory.
  func bytes(_ range: ByteRange, of file: File, tuning: Tuning = Tuning()) async throws -> (
    [UInt8], ReadStatistics
  ) {
    let memory = Memory(range.count)
    let statistics = try await read(
      [ReadRequest(file: 0, range: range, target: .memory(memory.base))], files: [file], tuning: tuning)
    return (memory.bytes(0..<range.count), statistics)
  }
}

/// The seed of this run of the tests; `GRAFT_TEST_SEED` sets it, failures print it.
let testSeed = seedFromEnvironment() ?? UInt64.random(in: 0...UInt64(UInt32.max))

/// Files of many sizes that tests share; the last two are large enough for many blocks.
let sharedFiles: RandomFiles = {
  var random = SeededGenerator(seed: testSeed)
  guard let files = try? RandomFiles(byteCounts: [0, 1, 70_003, 300_000, 1 << 20], random: &random) else {
    fatalError("the temporary folder cannot be written")
  }
  return files
}()

let ringsAreUsable = RingAvailability().refusal == nil
