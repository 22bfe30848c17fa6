import Glibc
import GraftCore
import GraftIO
import Testing

@Suite struct MappedFileTests {
  let folder = TemporaryFolder()

  @Test func `a mapped file has the file's bytes, populated or not`() throws {
    let bytes = [UInt8](repeating: 3, count: 9_000_000) + [42]
    let file = try File(opening: folder.write("a", bytes))
    let mapped = try MappedFile(file)
    #expect(mapped.bytes.count == bytes.count && memcmp(mapped.bytes.baseAddress!, bytes, bytes.count) == 0)
    try mapped.populate(ByteRange(offset: 5000, count: 5_000_000))
    try mapped.populate(threadCount: 2)
    try mapped.populate(ByteRange(offset: 9_000_001, count: 0))
    try mapped.populate(ByteRange(offset: 1 << 40, count: 5))
    #expect(mapped.bytes.count == bytes.count && memcmp(mapped.bytes.baseAddress!, bytes, bytes.count) == 0)
  }

  @Test func `the mapping outlives the file's name`() throws {
    let path = folder.write("a", [1, 2, 3])
    let mapped = try MappedFile(File(opening: path))
    unlink(path)
    #expect(mapped.bytes.elementsEqual([1, 2, 3]))
  }

  @Test func `an empty file is refused`() throws {
    let path = folder.write("empty", [])
    let error = try #require(throws: GraftError.self) { try MappedFile(File(opening: path)) }
    #expect(error.code == .truncated)
    #expect(error.file == path)
  }

  @Test func `a file that changed since it was opened is not mapped`() throws {
    let path = folder.write("a", [UInt8](repeating: 1, count: 10_000))
    let file = try File(opening: path)
    truncate(path, 5)
    let error = try #require(throws: GraftError.self) { try MappedFile(file) }
    #expect(error.code == .fileChanged)
  }

  @Test func `a file that shrank is noticed when it is populated`() throws {
    let path = folder.write("a", [UInt8](repeating: 1, count: 20_000))
    let mapped = try MappedFile(File(opening: path))
    truncate(path, 5)
    let error = try #require(throws: GraftError.self) { try mapped.populate() }
    #expect(error.code == .fileChanged)
    #expect(error.file == path)
  }
}
