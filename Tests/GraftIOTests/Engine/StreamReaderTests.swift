import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Synchronization
import Testing

/// Ranges that are read in order, with what comes next under way.
@Suite struct StreamReaderTests {
  private static let mebibyte = 1 << 20

  /// Two files of several blocks each.
  private static let files: RandomFiles = {
    var random = SeededGenerator(seed: testSeed)
    guard let files = try? RandomFiles(byteCounts: [7_300_001, 3 << 20], random: &random) else {
      fatalError("the temporary folder cannot be written")
    }
    return files
  }()

  private static func reader(
    _ kernel: SimulatedKernel, _ access: Tuning.Access = .automatic
  ) -> StreamReader {
    var tuning = Tuning()
    tuning.access = access
    return ReadEngine(kernel: kernel).makeStreamReader(tuning: tuning)
  }

  /// Reads a range that was announced, or as many blocks as are wanted of it; whether it is what the file has there.
  private static func isRight(
    _ reader: StreamReader, _ range: ByteRange, _ contents: [UInt8], blockLimit: Int = .max
  ) throws(GraftError) -> Bool {
    var byteCount = 0
    var blockCount = 0
    var isRight = true
    while byteCount < range.count, blockCount < blockLimit {
      let block = try reader.next()
      isRight =
        isRight && byteCount + block.count <= range.count
        && contents.withUnsafeBytes {
          memcmp(block.baseAddress!, $0.baseAddress! + range.offset + byteCount, block.count) == 0
        }
      byteCount += block.count
      blockCount += 1
    }
    reader.endRange()
    return isRight
  }

  @Test(arguments: 0..<24)
  func `every range comes whole and in order, whatever the kernel does`(offset: Int) throws {
    let seed = testSeed &+ UInt64(offset)
    var random = SeededGenerator(seed: seed)
    let faultOneIn = [0, 2, 7].randomElement(using: &random) ?? 0
    let refusal = RingRefusal(
      reason: "a test forbids it", remedy: "none", cause: SystemCallFailure("io_uring_setup", EPERM))
    let kernel = SimulatedKernel(
      seed: seed, residentFraction: [0, 0.05, 0.5, 1, nil].randomElement(using: &random) ?? nil,
      alignment: [512, 4096, nil].randomElement(using: &random) ?? nil,
      ringRefusal: Int.random(in: 0..<6, using: &random) == 0 ? refusal : nil,
      failingSubmission: Int.random(in: 0..<4, using: &random) == 0
        ? Int.random(in: 0..<12, using: &random) : nil
    ) { index, _ in
      guard faultOneIn > 0, index % faultOneIn == 0 else { return nil }
      return [.error(EIO), .error(EAGAIN), .short(5_000), .end][index / faultOneIn % 4]
    }
    let access = [Tuning.Access.automatic, .buffered, .direct].randomElement(using: &random) ?? .automatic
    let reader = Self.reader(kernel, access)
    var announced: [(file: Int, range: ByteRange)] = []
    func announce() {
      let file = Int.random(in: 0...1, using: &random)
      let size = Self.files.contents[file].count
      let limit = [9_000, 1 << 20, size].randomElement(using: &random) ?? size
      let count = Int.random(in: 1...min(size, limit), using: &random)
      let range = ByteRange(offset: Int.random(in: 0...(size - count), using: &random), count: count)
      announced.append((file, range))
      reader.announce(range, of: Self.files.files[file])
    }
    announce()
    for _ in 0..<12 {
      announce()
      let (file, range) = announced.removeFirst()
      let limit = Int.random(in: 0..<4, using: &random) == 0 ? Int.random(in: 0..<3, using: &random) : .max
      let isRight = try Self.isRight(reader, range, Self.files.contents[file], blockLimit: limit)
      #expect(isRight, "seed \(seed): \(range) of file \(file)")
    }
    #expect(kernel.violations == [], "seed \(seed)")
  }

  @Test func `what is on the disk is read directly, a few blocks ahead and into the next range`() throws {
    let kernel = SimulatedKernel(seed: testSeed, residentFraction: 0, alignment: 4096)
    let reader = Self.reader(kernel)
    let ranges = [2, 3].map { ByteRange(offset: 0, count: $0 * Self.mebibyte) }
    for (range, file) in zip(ranges, Self.files.files) { reader.announce(range, of: file) }
    // Two blocks of the first range and two of the second, before anything was asked for.
    #expect(kernel.inFlightCount == 4)
    for (range, contents) in zip(ranges, Self.files.contents) {
      #expect(try Self.isRight(reader, range, contents))
    }
    #expect(reader.statistics.bytesRead == 5 * Self.mebibyte)
    #expect(reader.statistics.directByteCount == 5 * Self.mebibyte)
    #expect(reader.statistics.requestCount == 5)
    #expect(kernel.state.withLock { $0.mostInFlight } == 4)
  }

  @Test(arguments: [0.0, 0.5, 1.0])
  func `the next range is asked for when nothing else is left to read ahead, and no sooner`(
    residentFraction: Double
  ) throws {
    let kernel = SimulatedKernel(seed: testSeed, residentFraction: residentFraction, alignment: 4096)
    let reader = Self.reader(kernel)
    let range = ByteRange(offset: 0, count: 6 * Self.mebibyte)
    var isAsked = false
    var readByteCount = 0
    reader.supply = {
      isAsked = true
      // Three blocks behind the one that is asked for are under way then, or all that the kernel was asked to read ahead.
      if residentFraction == 0 { #expect(readByteCount == 2 * Self.mebibyte) }
      return (Self.files.files[1], ByteRange(offset: 0, count: 2 * Self.mebibyte))
    }
    reader.announce(range, of: Self.files.files[0])
    #expect(!isAsked)
    while readByteCount < range.count { readByteCount += try reader.next().count }
    // What is in the page cache is not read ahead, so that nobody has to wait for a chunk that others could decode.
    #expect(isAsked == (residentFraction < 1))
    reader.endRange()
    reader.supply = nil
    let next = ByteRange(offset: 0, count: 2 * Self.mebibyte)
    if !isAsked { reader.announce(next, of: Self.files.files[1]) }
    #expect(try Self.isRight(reader, next, Self.files.contents[1]))
  }

  @Test func `what is in the page cache is read through it, in short blocks`() throws {
    let kernel = SimulatedKernel(seed: testSeed, residentFraction: 1)
    let reader = Self.reader(kernel)
    let range = ByteRange(offset: 12_345, count: 1_000_000)
    reader.announce(range, of: Self.files.files[0])
    #expect(try Self.isRight(reader, range, Self.files.contents[0]))
    #expect(reader.statistics.bytesRead == range.count)
    #expect(reader.statistics.bufferedByteCount == range.count)
    #expect(reader.statistics.requestCount == 4)
    #expect(kernel.readCount == 0, "no ring is needed for that")
  }

  @Test(arguments: [0.0, 1.0])
  func `a file that was cut since it was opened is an error that names it`(residentFraction: Double) throws {
    let folder = TemporaryFolder()
    let path = folder.write("cut", [UInt8](repeating: 7, count: 3 * Self.mebibyte))
    let file = try File(opening: path)
    #expect(truncate(path, off_t(Self.mebibyte + 10)) == 0)
    let reader = Self.reader(SimulatedKernel(seed: testSeed, residentFraction: residentFraction))
    let range = ByteRange(offset: 0, count: 3 * Self.mebibyte)
    reader.announce(range, of: file)
    let error = #expect(throws: GraftError.self) {
      try Self.isRight(reader, range, [UInt8](repeating: 7, count: range.count))
    }
    #expect(error?.code == .truncated && error?.file == path)
  }

  @Test func `the real kernel gives the same bytes, cold and warm`() throws {
    let file = Self.files.files[0]
    let range = ByteRange(offset: 1_001, count: 7_000_000)
    for _ in 0..<2 {
      _ = fsync(file.rawDescriptor)
      _ = posix_fadvise(file.rawDescriptor, 0, 0, POSIX_FADV_DONTNEED)
      for access in [Tuning.Access.automatic, .direct, .buffered] {
        var tuning = Tuning()
        tuning.access = access
        let reader = ReadEngine().makeStreamReader(tuning: tuning)
        reader.announce(range, of: file)
        #expect(try Self.isRight(reader, range, Self.files.contents[0]))
      }
    }
  }
}
