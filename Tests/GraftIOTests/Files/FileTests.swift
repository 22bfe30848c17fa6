import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Testing

@Suite struct FileTests {
  let folder = TemporaryFolder()

  @Test func `a file reads back any range of its bytes`() throws {
    var random = SeededGenerator(seed: 11)
    let bytes = (0..<70_001).map { _ in UInt8.random(in: 0...255, using: &random) }
    let file = try File(opening: folder.write("a", bytes))
    #expect(file.byteCount == bytes.count)
    for _ in 0..<200 {
      let low = Int.random(in: 0...bytes.count, using: &random)
      let count = Int.random(in: 0...(bytes.count - low), using: &random)
      #expect(
        try file.readFully(ByteRange(offset: low, count: count)) == Array(bytes[low..<(low + count)]),
        "seed 11, \(low) + \(count)")
    }
  }

  @Test func `a span is filled exactly`() throws {
    let file = try File(opening: folder.write("a", [1, 2, 3, 4, 5]))
    var bytes: [UInt8] = [0, 0, 0]
    try bytes.withUnsafeMutableBytes { buffer in
      var span = MutableRawSpan(_unsafeBytes: buffer)
      try file.readFully(ByteRange(offset: 1, count: 3), into: &span)
    }
    #expect(bytes == [2, 3, 4])
  }

  @Test func `a missing file names itself`() throws {
    let path = folder.path("nothing")
    let error = try #require(throws: GraftError.self) { try File(opening: path) }
    #expect(error.code == .notFound)
    #expect(error.file == path)
    #expect((error.cause as? SystemCallFailure)?.description == "open: No such file or directory (ENOENT)")
  }

  @Test(.timeLimit(.minutes(5))) func `a FIFO is refused without waiting for a writer`() throws {
    let path = folder.path("fifo")
    #expect(mkfifo(path, 0o600) == 0)
    let error = try #require(throws: GraftError.self) { try File(opening: path) }
    #expect(error.code == .unsupported)
    #expect(error.found == "a FIFO (named pipe)")
  }

  @Test(arguments: [("/dev/null", "a character device"), ("/tmp", "a folder")])
  func `what is no regular file is refused by its kind`(_ path: String, _ kind: String) throws {
    let error = try #require(throws: GraftError.self) { try File(opening: path) }
    #expect(error.code == .unsupported)
    #expect(error.found == kind)
    #expect(error.expected == "a regular file")
  }

  @Test func `a socket is refused`() throws {
    let path = folder.path("socket")
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let fits = withUnsafeMutableBytes(of: &address.sun_path) { buffer in
      guard path.utf8.count < buffer.count else { return false }
      buffer.copyBytes(from: path.utf8)
      return true
    }
    try #require(fits)
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(bound == 0)
    let error = try #require(throws: GraftError.self) { try File(opening: path) }
    #expect(error.code == .unsupported)
  }

  @Test(arguments: ["", "a\0b"]) func `a path that C would cut short is refused`(_ path: String) {
    #expect(throws: GraftError.self) { try File(opening: path) }
    #expect(throws: GraftError.self) { try FileStatus(at: path) }
    #expect(throws: GraftError.self) { try Directory.entries(at: path) }
  }

  @Test func `a range past the end is truncated before it is allocated`() throws {
    let path = folder.write("short", [1, 2, 3])
    let file = try File(opening: path)
    let range = ByteRange(offset: 1, count: Int.max - 1)
    let error = try #require(throws: GraftError.self) { try file.readFully(range) }
    #expect(error.code == .truncated)
    #expect(error.file == path)
    #expect(error.range == range)
    #expect(error.found == "3 bytes")
  }

  @Test func `a file that shrinks after it was opened is truncated`() throws {
    let path = folder.write("shrinks", [UInt8](repeating: 7, count: 100))
    let file = try File(opening: path)
    #expect(truncate(path, 40) == 0)
    let error = try #require(throws: GraftError.self) {
      try file.readFully(ByteRange(offset: 10, count: 80))
    }
    #expect(error.code == .truncated)
    #expect(error.range == ByteRange(offset: 10, count: 80))
    #expect(error.found == "40 bytes")
    let change = try #require(throws: GraftError.self) { try file.checkUnchanged() }
    #expect(change.code == .fileChanged)
    #expect(change.found == "40 bytes instead of 100")
  }

  @Test func `another hard link is no change, another time of modification is`() throws {
    let path = folder.write("linked", [1, 2, 3])
    let file = try File(opening: path)
    #expect(link(path, folder.path("second")) == 0)
    try file.checkUnchanged()
    var times = [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 5)]
    #expect(utimensat(AT_FDCWD, path, &times, 0) == 0)
    let error = try #require(throws: GraftError.self) { try file.checkUnchanged() }
    #expect(error.code == .fileChanged)
  }

  @Test func `a read larger than one transfer of the system is split`() throws {
    // A sparse file, read into 2 GiB of addresses that are all the same 16 MiB of memory.
    let count = File.maximumTransferByteCount + 12_345
    let memoryFolder = TemporaryFolder(in: "/dev/shm")  // where reading a hole allocates no page cache
    let path = memoryFolder.write("sparse", [])
    #expect(truncate(path, off_t(count)) == 0)
    let end = open(path, O_WRONLY)
    var mark: UInt8 = 42
    #expect(pwrite(end, &mark, 1, off_t(count - 1)) == 1)
    close(end)
    let file = try File(opening: path)
    let window = 16 << 20
    let windowPath = memoryFolder.write("window", [])
    #expect(truncate(windowPath, off_t(window)) == 0)
    let backing = open(windowPath, O_RDWR)
    defer { close(backing) }
    let memory = try #require(
      mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))
    defer { munmap(memory, count) }
    for offset in stride(from: 0, to: count, by: window) {
      let part = min(window, count - offset)
      let mapped = mmap(memory + offset, part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, backing, 0)
      try #require(mapped == memory + offset)
    }
    try file.readFully(
      ByteRange(offset: 0, count: count), into: UnsafeMutableRawBufferPointer(start: memory, count: count))
    #expect(memory.load(fromByteOffset: count - 1, as: UInt8.self) == 42)
  }

  @Test func `a byte source reads through the protocol`() async throws {
    let path = folder.write("source", [1, 2, 3, 4])
    let source: any ByteSource = try await FileByteSource(opening: path)
    #expect(source.name == path)
    #expect(source.byteCount == 4)
    #expect(try await source.read(ByteRange(offset: 1, count: 2)) == [2, 3])
    #expect(try await source.read(ByteRange(offset: 4, count: 0)) == [])
    await #expect(throws: GraftError.self) { try await source.read(ByteRange(offset: 3, count: 2)) }
  }
}

@Suite struct OwnedDescriptorTests {
  @Test(arguments: [true, false])
  func `a descriptor is closed when that is asked for, and at the end of its life`(_ explicitly: Bool) throws
  {
    var ends: [CInt] = [-1, -1]
    #expect(pipe(&ends) == 0)
    let writer = OwnedDescriptor(adopting: ends[1])
    let reader = OwnedDescriptor(adopting: ends[0])
    if explicitly { try reader.close() } else { drop(reader) }
    // Writing fails only once the read end is closed.
    signal(SIGPIPE, SIG_IGN)
    var byte: UInt8 = 0
    #expect(write(writer.rawValue, &byte, 1) == -1)
    #expect(errno == EPIPE)
    try writer.close()
  }

  private func drop(_ descriptor: consuming OwnedDescriptor) {}

  @Test func `closing reports what the system says`() {
    // A number that is surely not open, so that no other test's file is closed.
    let stranger = OwnedDescriptor(adopting: CInt.max)
    do throws(SystemCallFailure) {
      try stranger.close()
      Issue.record("closing a stranger's descriptor did not fail")
    } catch {
      #expect(error == SystemCallFailure("close", EBADF))
    }
  }
}
