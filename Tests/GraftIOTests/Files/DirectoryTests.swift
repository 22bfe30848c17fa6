import Glibc
import GraftCore
import GraftIO
import Testing

@Suite struct DirectoryTests {
  let folder = TemporaryFolder()

  @Test func `entries come sorted by bytes, with their kinds`() throws {
    folder.write("b", [])
    folder.write("Z", [])
    mkdir(folder.path("a"), 0o755)
    symlink("nowhere", folder.path("é"))
    mkfifo(folder.path(".fifo"), 0o600)
    let entries = try Directory.entries(at: folder.path)
    #expect(entries.map(\.name) == [".fifo", "Z", "a", "b", "é"])
    #expect(entries.map(\.kind) == [.fifo, .regular, .directory, .regular, .symbolicLink])
    #expect(entries.allSatisfy { $0.isNameExact })
  }

  @Test func `a name that is not UTF-8 is shown repaired, and marked`() throws {
    let bytes = Array(folder.path.utf8) + [UInt8(ascii: "/"), 0xFF, UInt8(ascii: "x"), 0]
    let descriptor = bytes.withUnsafeBytes {
      open($0.baseAddress!.assumingMemoryBound(to: CChar.self), O_CREAT | O_WRONLY, 0o644)
    }
    try #require(descriptor >= 0)
    close(descriptor)
    defer { bytes.withUnsafeBytes { _ = unlink($0.baseAddress!.assumingMemoryBound(to: CChar.self)) } }
    let entries = try Directory.entries(at: folder.path)
    #expect(entries.map(\.name) == ["\u{FFFD}x"])
    #expect(entries.map(\.isNameExact) == [false])
  }

  @Test func `a folder with more entries than the limit is refused`() throws {
    for index in 0..<4 { folder.write("\(index)", []) }
    #expect(try Directory.entries(at: folder.path, maximumEntryCount: 4).count == 4)
    let error = try #require(throws: GraftError.self) {
      try Directory.entries(at: folder.path, maximumEntryCount: 3)
    }
    #expect(error.code == .limitExceeded)
    #expect(error.file == folder.path)
  }

  @Test func `a missing folder and a file are no folders`() throws {
    let missing = try #require(throws: GraftError.self) { try Directory.entries(at: folder.path("x")) }
    #expect(missing.code == .notFound)
    let path = folder.write("file", [])
    let file = try #require(throws: GraftError.self) { try Directory.entries(at: path) }
    #expect(file.code == .notFound)
    #expect(
      file.message == "cannot list the folder: a part of the path before its last is a file, not a folder")
  }

  @Test func `a status says what a path names, or nil`() throws {
    #expect(try FileStatus.ifPresent(at: folder.path("x")) == nil)
    let path = folder.write("file", [1, 2, 3])
    #expect(try FileStatus.ifPresent(at: path + "/below") == nil)
    symlink("file", folder.path("link"))
    #expect(try FileStatus(at: folder.path("link")).kind == .regular)
    #expect(try FileStatus(at: folder.path("link"), followingLinks: false).kind == .symbolicLink)
    #expect(try FileStatus(at: path).byteCount == 3)
    #expect(try FileStatus(at: folder.path).kind == .directory)
  }

  @Test func `a path one level down has one slash`() {
    #expect(Directory.path(of: "x", in: "a") == "a/x")
    #expect(Directory.path(of: "x", in: "a/") == "a/x")
    #expect(Directory.path(of: "x", in: "/") == "/x")
    #expect(Directory.path(of: "x", in: "") == "x")
  }
}
