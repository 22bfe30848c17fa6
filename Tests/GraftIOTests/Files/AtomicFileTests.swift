import Glibc
import GraftCore
import GraftIO
import GraftTestSupport
import Testing

@Suite struct AtomicFileTests {
  let folder = TemporaryFolder()

  @Test(arguments: [0, 1, 5_000], [0, 4])
  func `bytes and what follows them are written where they belong`(byteCount: Int, trailerByteCount: Int)
    throws
  {
    let folder = TemporaryFolder()
    let file = try AtomicFile(at: folder.path("a"))
    let bytes = (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 / 7) }
    let trailer = [UInt8](repeating: 0xEE, count: trailerByteCount)
    try bytes.withUnsafeBytes { try file.file.write($0, followedBy: trailer, at: 3) }
    try file.commit()
    let written = try File(opening: folder.path("a"))
    let expected = byteCount + trailerByteCount > 0 ? [0, 0, 0] + bytes + trailer : []
    #expect(try written.readFully(ByteRange(offset: 0, count: written.byteCount)) == expected)
  }

  @Test func `a file appears whole when it is committed, and not before`() throws {
    let path = folder.path("model")
    let file = try AtomicFile(at: path, byteCount: 6)
    try file.file.write([4, 5, 6], at: 3)
    try file.file.write([1, 2, 3], at: 0)
    #expect(contents(path) == nil)
    try file.commit()
    #expect(contents(path) == [1, 2, 3, 4, 5, 6])
    #expect(folder.names == ["model"])
  }

  @Test func `an abandoned file leaves nothing, nor does one that is let go`() throws {
    let path = folder.path("model")
    let file = try AtomicFile(at: path)
    #expect(folder.names.count == 1)
    file.abandon()
    file.abandon()
    #expect(folder.names == [])
    _ = try AtomicFile(at: path)
    #expect(folder.names == [])
  }

  @Test func `threads write their parts at once`() async throws {
    let part = 100_003
    let file = try AtomicFile(at: folder.path("model"), byteCount: part * 16)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<16 {
        group.addTask { try file.file.write([UInt8](repeating: UInt8(index), count: part), at: index * part) }
      }
      try await group.waitForAll()
    }
    try file.commit()
    let bytes = try #require(contents(folder.path("model")))
    #expect(bytes.count == part * 16)
    #expect(
      (0..<16).allSatisfy { index in bytes[(index * part)..<((index + 1) * part)].allSatisfy { $0 == index } }
    )
  }

  @Test func `an existing file is refused at once, and stays`() throws {
    let path = folder.write("model", [9])
    let error = try #require(throws: GraftError.self) { try AtomicFile(at: path) }
    #expect(error.code == .destinationExists)
    #expect(error.file == path)
    #expect(contents(path) == [9])
    #expect(folder.names == ["model"])
  }

  @Test func `an overwritten file keeps its mode and stays until the commit`() throws {
    let path = folder.write("model", [9])
    #expect(chmod(path, 0o640) == 0)
    let file = try AtomicFile(at: path, overwriting: true)
    try file.file.write([1, 2], at: 0)
    #expect(contents(path) == [9])
    try file.commit()
    #expect(contents(path) == [1, 2])
    #expect(try FileStatus(at: path).permissions == 0o640)
  }

  @Test func `a new file has the mode that the process's mask leaves`() throws {
    let path = folder.path("model")
    try AtomicFile(at: path).commit()
    #expect(try FileStatus(at: path).permissions == FileStatus(at: folder.write("reference", [])).permissions)
  }

  @Test func `of two savers to one name one wins and the other is told`() throws {
    let path = folder.path("model")
    let first = try AtomicFile(at: path)
    let second = try AtomicFile(at: path)
    try first.file.write([1], at: 0)
    try second.file.write([2], at: 0)
    try second.commit()
    let error = try #require(throws: GraftError.self) { try first.commit() }
    #expect(error.code == .destinationExists)
    first.abandon()
    #expect(contents(path) == [2])
    #expect(folder.names == ["model"])
  }

  @Test func `of many racing savers exactly one wins`() async throws {
    for round in 0..<20 {
      let path = folder.path("model\(round)")
      let wins = await withTaskGroup(of: Bool.self) { group in
        for index in 0..<8 {
          group.addTask {
            do {
              let file = try AtomicFile(at: path)
              try file.file.write([UInt8](repeating: UInt8(index), count: 1000), at: 0)
              try file.commit()
              return true
            } catch {
              #expect((error as? GraftError)?.code == .destinationExists)
              return false
            }
          }
        }
        return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(wins == 1)
      let bytes = try #require(contents(path))
      #expect(bytes.count == 1000 && Set(bytes).count == 1)
    }
    #expect(folder.names.count == 20)
  }

  @Test func `a symbolic link is followed, also to a file that is not there yet`() throws {
    mkdir(folder.path("real"), 0o755)
    symlink("real/model", folder.path("link"))
    symlink(folder.path("link"), folder.path("second"))
    let file = try AtomicFile(at: folder.path("second"))
    try file.file.write([1], at: 0)
    try file.commit()
    #expect(contents(folder.path("real/model")) == [1])
    #expect(try FileStatus(at: folder.path("link"), followingLinks: false).kind == .symbolicLink)
    let again = try AtomicFile(at: folder.path("link"), overwriting: true)
    try again.file.write([2], at: 0)
    try again.commit()
    #expect(contents(folder.path("real/model")) == [2])
    #expect(TemporaryFolder.names(folder.path("real")) == ["model"])
  }

  @Test func `links that lead in a circle are an error`() throws {
    symlink("b", folder.path("a"))
    symlink("a", folder.path("b"))
    let error = try #require(throws: GraftError.self) { try AtomicFile(at: folder.path("a")) }
    #expect(error.code == .notFound)
    #expect((error.cause as? SystemCallFailure)?.errorNumber == ELOOP)
  }

  @Test(arguments: [true, false]) func `a folder or FIFO is never replaced by a file`(_ overwriting: Bool)
    throws
  {
    mkdir(folder.path("folder"), 0o755)
    mkfifo(folder.path("fifo"), 0o600)
    for (name, kind) in [("folder", "a folder"), ("fifo", "a FIFO (named pipe)")] {
      let error = try #require(throws: GraftError.self) {
        try AtomicFile(at: folder.path(name), overwriting: overwriting)
      }
      #expect(error.code == .destinationExists)
      #expect(error.found == kind)
    }
  }

  @Test(arguments: ["/", ".", "..", "", "a\0b"]) func `a destination without a name of its own is refused`(
    _ path: String
  ) throws {
    let error = try #require(throws: GraftError.self) { try AtomicFile(at: path) }
    #expect(error.code == .invalidArgument || error.code == .destinationExists)
  }

  @Test func `a missing folder is named`() throws {
    let path = folder.path("none/model")
    let error = try #require(throws: GraftError.self) { try AtomicFile(at: path) }
    #expect(error.code == .notFound)
    #expect(error.message == "cannot create the file: the folder that it is to go into does not exist")
    #expect(error.file == path)
  }

  @Test func `a name of the greatest length has a temporary too`() throws {
    let path = folder.path(String(repeating: "é", count: 127))
    let file = try AtomicFile(at: path)
    try file.commit()
    #expect(contents(path) == [])
  }

  @Test func `a saver that is killed leaves nothing under the name, and the next save cleans up`()
    async throws
  {
    let path = folder.path("model")
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String] in
      let file = try AtomicFile(at: path, byteCount: 1 << 20)
      try file.file.write([1, 2, 3], at: 0)
      kill(getpid(), SIGKILL)
      try file.commit()
    }
    #expect(contents(path) == nil)
    let leftovers = folder.names
    #expect(leftovers.count == 1)
    #expect(leftovers.first?.hasPrefix(".model.graft-tmp-") == true)

    // A live saver's temporary, one for another name, and a stranger's file are not leftovers of this name.
    let living = try AtomicFile(at: path)
    let other = try AtomicFile(at: folder.path("model2"))
    folder.write(".model.graft-tmp-notes", [])
    #expect(folder.names.count == 3)
    try living.commit()
    other.abandon()
    #expect(folder.names == [".model.graft-tmp-notes", "model"])
  }

  @Test func `a full file system is noticed when the space is reserved, and when it is written`() throws {
    try withMountedMemory(byteCount: 1 << 20) { mount in
      let path = mount + "/model"
      let reserved = try #require(throws: GraftError.self) { try AtomicFile(at: path, byteCount: 8 << 20) }
      #expect(reserved.code == .noSpace)
      #expect(reserved.file == path)
      #expect(TemporaryFolder.names(mount) == [])

      let file = try AtomicFile(at: path)
      let written = try #require(throws: GraftError.self) {
        try file.file.write([UInt8](repeating: 1, count: 4 << 20), at: 0)
      }
      #expect(written.code == .noSpace)
      #expect(written.file == path)
      // What fitted is not part of the range that failed.
      let range = try #require(written.range)
      #expect(range.offset > 0 && range.end == 4 << 20)
      file.abandon()
      #expect(TemporaryFolder.names(mount) == [])
    }
  }

  @Test func `a read-only file system is a permission that is denied`() throws {
    try withMountedMemory(byteCount: 1 << 20, readOnly: true) { mount in
      for make in [{ _ = try AtomicFile(at: $0) }, { _ = try AtomicDirectory(at: $0) }]
        as [(String) throws -> Void]
      {
        let error = try #require(throws: GraftError.self) { try make(mount + "/model") }
        #expect(error.code == .permissionDenied)
        #expect(error.message.hasSuffix("the file system is read-only"))
      }
    }
  }
}

extension WritableFile {
  /// Writes an array, as tests like it.
  func write(_ bytes: [UInt8], at offset: Int) throws(GraftError) {
    var failure: GraftError?
    bytes.withUnsafeBytes { buffer in
      do throws(GraftError) { try write(buffer, at: offset) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}
