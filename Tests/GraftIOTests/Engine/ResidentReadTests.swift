import Glibc
import GraftCore
import GraftIO
import Testing

/// Reads of the page cache alone.
@Suite struct ResidentReadTests {
  private static let bytes = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 / 251) }

  /// What comes of a range, behind which nothing may be written.
  private func read(_ range: ByteRange, of file: File) -> [UInt8] {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: range.count + 64, alignment: 64)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0xA5)
    let count = ReadEngine().readResident(
      file, range, into: UnsafeMutableRawBufferPointer(rebasing: memory[..<range.count]))
    #expect(memory[range.count...].allSatisfy { $0 == 0xA5 })
    return Array(memory[..<count])
  }

  @Test func `what was just written comes whole, and ends with the file`() throws {
    let folder = TemporaryFolder()
    let file = try File(opening: folder.write("a", Self.bytes))
    // A file system that cannot tell what is resident gives nothing.
    let whole = read(ByteRange(offset: 0, count: Self.bytes.count), of: file)
    #expect(whole.isEmpty || whole == Self.bytes)
    if whole.isEmpty { return }
    #expect(read(ByteRange(offset: 12_345, count: 67_890), of: file) == Array(Self.bytes[12_345..<80_235]))
    #expect(read(ByteRange(offset: 999_990, count: 50), of: file) == Array(Self.bytes[999_990...]))
    #expect(read(ByteRange(offset: 2_000_000, count: 50), of: file) == [])
    #expect(read(ByteRange(offset: 7, count: 0), of: file) == [])
  }

  @Test func `of what is on the disk as much comes as there is, from the beginning on`() throws {
    let folder = TemporaryFolder()
    let file = try File(opening: folder.write("a", Self.bytes))
    let all = ByteRange(offset: 0, count: Self.bytes.count)
    #expect(fsync(file.rawDescriptor) == 0)
    #expect(posix_fadvise(file.rawDescriptor, 0, 0, POSIX_FADV_DONTNEED) == 0)
    // The kernel reads ahead from what was asked for, so that more of it may be there each time.
    for _ in 0..<3 {
      let some = read(all, of: file)
      #expect(some == Array(Self.bytes[..<some.count]))
    }
  }

  @Test func `whoever cannot tell what is resident counts as having nothing`() throws {
    let folder = TemporaryFolder()
    let file = try File(opening: folder.write("a", Self.bytes))
    let all = ByteRange(offset: 0, count: Self.bytes.count)
    for (fraction, expected) in [(nil, false), (0, false), (0.9, false), (0.99, true), (1, true)]
      as [(Double?, Bool)]
    {
      let engine = ReadEngine(kernel: KernelWithResidency(residentFraction: fraction))
      #expect(engine.isResident(file, all) == expected)
    }
  }
}
