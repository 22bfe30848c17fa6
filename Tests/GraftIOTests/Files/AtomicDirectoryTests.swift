import Glibc
import GraftCore
import GraftIO
import Testing

@Suite struct AtomicDirectoryTests {
  let folder = TemporaryFolder()

  @Test func `a folder appears with all its files when it is committed, and not before`() throws {
    let path = folder.path("step")
    let directory = try AtomicDirectory(at: path + "/")
    let first = try directory.createFile("a", byteCount: 3)
    let second = try directory.createFile("d/0/c")
    try directory.createDirectory("empty/below")
    try first.write([1, 2, 3], at: 0)
    try second.write([4], at: 0)
    #expect(try FileStatus.ifPresent(at: path) == nil)
    try directory.commit()
    #expect(contents(path + "/a") == [1, 2, 3])
    #expect(contents(path + "/d/0/c") == [4])
    #expect(TemporaryFolder.names(path) == ["a", "d", "empty"])
    #expect(folder.names == ["step"])
  }

  @Test func `an abandoned folder leaves nothing, nor does one that is let go`() throws {
    let directory = try AtomicDirectory(at: folder.path("step"))
    _ = try directory.createFile("a/b/c")
    symlink("/etc", directory.temporaryPath + "/link")
    directory.abandon()
    #expect(folder.names == [])
    _ = try AtomicDirectory(at: folder.path("step")).createFile("x")
    #expect(folder.names == [])
    #expect(try FileStatus(at: "/etc/passwd").kind == .regular)
  }

  @Test func `an existing folder is refused, even an empty one`() throws {
    mkdir(folder.path("step"), 0o755)
    let error = try #require(throws: GraftError.self) { try AtomicDirectory(at: folder.path("step")) }
    #expect(error.code == .destinationExists)
    #expect(folder.names == ["step"])
  }

  @Test func `an overwritten folder is exchanged whole and keeps its mode`() throws {
    let path = folder.path("step")
    mkdir(path, 0o755)
    chmod(path, 0o750)
    folder.write("step/old", [1])
    mkdir(path + "/deep", 0o755)
    folder.write("step/deep/old", [1])
    let directory = try AtomicDirectory(at: path, overwriting: true)
    try directory.createFile("new").write([2], at: 0)
    #expect(contents(path + "/old") == [1])
    try directory.commit()
    #expect(TemporaryFolder.names(path) == ["new"])
    #expect(contents(path + "/new") == [2])
    #expect(try FileStatus(at: path).permissions == 0o750)
    #expect(folder.names == ["step"])
  }

  @Test func `overwriting what is not there yet makes it`() throws {
    let directory = try AtomicDirectory(at: folder.path("step"), overwriting: true)
    try directory.commit()
    #expect(folder.names == ["step"])
  }

  @Test func `of two savers to one name one wins and the other is told`() throws {
    let path = folder.path("step")
    let first = try AtomicDirectory(at: path)
    let second = try AtomicDirectory(at: path)
    try first.createFile("first").write([1], at: 0)
    try first.commit()
    let error = try #require(throws: GraftError.self) { try second.commit() }
    #expect(error.code == .destinationExists)
    second.abandon()
    #expect(TemporaryFolder.names(path) == ["first"])
    #expect(folder.names == ["step"])
  }

  @Test func `of many racing overwriters every one succeeds, and one whole folder stays`() async throws {
    let path = folder.path("step")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<16 {
        group.addTask {
          let directory = try AtomicDirectory(at: path, overwriting: true)
          try directory.createFile("a").write([UInt8(index)], at: 0)
          try directory.createFile("b").write([UInt8(index)], at: 0)
          try directory.commit()
        }
      }
      try await group.waitForAll()
    }
    #expect(contents(path + "/a") == contents(path + "/b"))
    #expect(contents(path + "/a")?.count == 1)
    #expect(folder.names == ["step"])
  }

  @Test func `a file is not replaced by a folder`() throws {
    let path = folder.write("step", [1])
    let error = try #require(throws: GraftError.self) { try AtomicDirectory(at: path, overwriting: true) }
    #expect(error.code == .destinationExists)
    #expect(error.found == "a regular file")
    #expect(contents(path) == [1])
  }

  @Test(arguments: ["", "/etc/x", "../x", "a/../../x", "a//b", ".", "a/.", "a\0b"])
  func `a name that leads outside is refused`(_ name: String) throws {
    let directory = try AtomicDirectory(at: folder.path("step"))
    let error = try #require(throws: GraftError.self) { try directory.createFile(name) }
    #expect(error.code == .invalidArgument)
    #expect(throws: GraftError.self) { try directory.createDirectory(name) }
  }

  @Test func `one file is made once`() throws {
    let directory = try AtomicDirectory(at: folder.path("step"))
    _ = try directory.createFile("a")
    let error = try #require(throws: GraftError.self) { try directory.createFile("a") }
    #expect(error.code == .destinationExists)
    #expect(error.file == folder.path("step/a"))
  }

  @Test func `a saver that is killed leaves nothing under the name, and the next save cleans up`()
    async throws
  {
    let path = folder.path("step")
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String] in
      let directory = try AtomicDirectory(at: path)
      _ = try directory.createFile("a/b", byteCount: 4096)
      kill(getpid(), SIGKILL)
      try directory.commit()
    }
    #expect(folder.names.count == 1)
    #expect(try FileStatus.ifPresent(at: path) == nil)
    let directory = try AtomicDirectory(at: path)
    #expect(folder.names.count == 1)
    try directory.commit()
    #expect(folder.names == ["step"])
  }

  @Test func `a full file system is noticed`() throws {
    try withMountedMemory(byteCount: 1 << 20) { mount in
      let directory = try AtomicDirectory(at: mount + "/step")
      let error = try #require(throws: GraftError.self) {
        try directory.createFile("big", byteCount: 8 << 20)
      }
      #expect(error.code == .noSpace)
      #expect(error.file == mount + "/step/big")
      directory.abandon()
      #expect(TemporaryFolder.names(mount) == [])
    }
  }
}
