import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Testing

@Suite struct AdoptingTests {
  let folder = TemporaryFolder()

  /// A file of these bytes.
  private func source(_ bytes: [UInt8] = Array(0..<100)) throws -> String {
    let path = folder.path("source")
    let file = try AtomicFile(at: path, overwriting: true)
    try file.file.write(bytes, at: 0)
    try file.commit()
    return path
  }

  private func adopt(
    _ path: String, byteCount: Int = 100, wanted: [ByteRange], ways: [AdoptedFile.Way]
  ) throws -> (AdoptedFile, [UInt8]) {
    let made = try AtomicDirectory(at: folder.path("made"))
    try made.createDirectory("d")
    let adopted = try made.adopt(path, byteCount: byteCount, as: "d/f", wanted: { wanted }, ways: ways)
    try made.commit()
    let bytes = try #require(contents(folder.path("made/d/f")))
    return (adopted, bytes)
  }

  @Test func `a hard link is the same file, and outlives its first name`() throws {
    let path = try source()
    let range = ByteRange(offset: 10, count: 5)
    let (adopted, bytes) = try adopt(path, wanted: [range], ways: AtomicDirectory.adoptingWays)
    #expect(adopted.way == .hardLink)
    #expect(adopted.copiedByteCount == 0)
    #expect(adopted.place(of: range) == range)
    #expect(bytes == Array(0..<100))
    #expect(try FileStatus(at: path).linkCount == 2)
    unlink(path)
    #expect(contents(folder.path("made/d/f")) == Array(0..<100))
  }

  @Test func `a symbolic link is followed`() throws {
    let path = try source()
    symlink(path, folder.path("link"))
    let (adopted, _) = try adopt(folder.path("link"), wanted: [], ways: [.hardLink])
    #expect(adopted.stamp == (try FileStamp(at: path)))
    #expect(try FileStatus(at: folder.path("made/d/f"), followingLinks: false).kind == .regular)
  }

  @Test(arguments: seedBatches(16))
  func `a copy has the wanted bytes alone, and knows where they are`(batch: UInt64) throws {
    let seed = seedFromEnvironment() ?? batch &* 104_729 &+ 3
    var random = SeededGenerator(seed: seed)
    let bytes = (0..<1000).map { _ in UInt8.random(in: 0...255, using: &random) }
    let path = try source(bytes)
    let wanted = (0..<Int.random(in: 0...12, using: &random)).map { _ -> ByteRange in
      let offset = Int.random(in: 0..<1000, using: &random)
      return ByteRange(offset: offset, count: Int.random(in: 1...min(200, 1000 - offset), using: &random))
    }
    let (adopted, copy) = try adopt(path, byteCount: 1000, wanted: wanted, ways: [.copy])
    #expect(adopted.way == .copy, "seed \(seed)")
    var used = Set<Int>()
    for range in wanted {
      used.formUnion(range.offset..<range.end)
      let place = adopted.place(of: range)
      #expect(Array(copy[place.offset..<place.end]) == Array(bytes[range.offset..<range.end]), "seed \(seed)")
    }
    #expect(copy.count == used.count && adopted.copiedByteCount == used.count, "seed \(seed)")
  }

  @Test func `what the file system refuses is done in the next way`() throws {
    // No file system of a test machine is sure to share bytes; whichever way it goes, the bytes are there.
    let (adopted, bytes) = try adopt(
      source(), wanted: [ByteRange(offset: 0, count: 100)], ways: [.reflink, .copy])
    #expect(adopted.way != .hardLink)
    #expect(bytes == Array(0..<100))
  }

  @Test func `a file of another size is refused, and named`() throws {
    let path = try source()
    let error = try #require(throws: GraftError.self) {
      try adopt(path, byteCount: 99, wanted: [], ways: AtomicDirectory.adoptingWays)
    }
    #expect(error.code == .fileChanged && error.file == path)
    #expect(error.description.contains("100 bytes instead of 99"))
  }

  @Test func `a copy stops when it is told to`() throws {
    let path = try source()
    let made = try AtomicDirectory(at: folder.path("made"))
    let error = try #require(throws: GraftError.self) {
      try made.adopt(
        path, byteCount: 100, as: "f", wanted: { [ByteRange(offset: 0, count: 100)] }, ways: [.copy],
        isCancelled: { true })
    }
    #expect(error.code == .cancelled)
  }

  @Test func `a stamp tells what was changed from what was copied`() throws {
    let path = try source()
    let stamp = try FileStamp(at: path)
    #expect(stamp.change(to: stamp) == nil)
    var later = stamp
    later.modificationTime = FileTime(seconds: 1, nanoseconds: 2)
    #expect(stamp.change(to: later) == "another time of modification")
    // The same number given to another file, made at another time.
    later.birthTime = FileTime(seconds: 3, nanoseconds: 4)
    #expect(stamp.change(to: later) == nil)
    later = stamp
    later.inode += 1
    later.modificationTime = FileTime(seconds: 1, nanoseconds: 2)
    #expect(stamp.change(to: later) == nil)
    later.byteCount = 7
    #expect(stamp.change(to: later) == "7 bytes instead of 100")
  }
}
