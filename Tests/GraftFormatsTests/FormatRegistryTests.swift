import Foundation
import GraftCore
import GraftFormats
import Testing

@Suite struct FormatRegistryTests {
  private func failure(_ path: String) async throws -> GraftError {
    try await #require(throws: GraftError.self) { try await FormatRegistry.standard.open(path) }
  }

  @Test func `a folder that is no checkpoint says what was looked for and what is there`() async throws {
    let folder = TemporaryFolder()
    try folder.write("readme.md", [1])
    try folder.write("sub/x", [1])
    let error = try await failure(folder.path)
    #expect(error.code == .notACheckpoint)
    let sentence = """
      This is no checkpoint that Graft knows. In file \(folder.path). Expected safetensors: a .safetensors file, or a \
      folder with *.safetensors files or a *.safetensors.index.json; orbax: a folder with _METADATA, \
      _CHECKPOINT_METADATA or orbax.checkpoint, or a folder of steps that are such folders, found a folder with \
      readme.md, sub/. Name the folder that holds the checkpoint itself, or one of its files.
      """
    #expect("\(error)" == sentence)
    let empty = TemporaryFolder()
    #expect(try await failure(empty.path).found == "an empty folder")
  }

  @Test(arguments: [
    ("x.gguf", Array("GGUF\u{3}".utf8), "a GGUF file"),
    ("x.pt", [0x50, 0x4B, 3, 4], "a ZIP file, as PyTorch saves pickles in"),
    ("x.npz", [0x50, 0x4B, 3, 4], "a NumPy archive"),
    ("x.npy", [0x93] + Array("NUMPY".utf8), "a NumPy array"),
    ("x.pkl", [0x80, 4, 0x95], "a Python pickle"),
    ("x.h5", [0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A], "an HDF5 file"),
    ("x", Array("version https://git-lfs.github.com/spec/v1".utf8), "a Git LFS pointer"),
    ("x", [], "an empty file"),
    ("x", [1, 2, 0xAB], "a file of 3 bytes that begins with 01 02 ab"),
  ]) func `a file of another kind is named`(_ name: String, _ bytes: [UInt8], _ found: String) async throws {
    let folder = TemporaryFolder()
    let error = try await failure(try folder.write(name, bytes))
    #expect(error.code == .notACheckpoint && error.found == found)
  }

  @Test func `an empty or short file with the format's name is a broken file of the format`() async throws {
    let folder = TemporaryFolder()
    let error = try await failure(try folder.write("x.safetensors", []))
    #expect(error.code == .truncated && error.file == folder.path("x.safetensors"))
  }

  @Test func `a path that is not there, a FIFO and a device give an error and never hang`() async throws {
    let folder = TemporaryFolder()
    #expect(try await failure(folder.path("absent")).code == .notFound)
    #expect(mkfifo(folder.path("x.safetensors"), 0o600) == 0)
    let fifo = try await failure(folder.path("x.safetensors"))
    #expect(fifo.code == .unsupported && fifo.found == "a FIFO (named pipe)")
    // The same inside a folder: it is named as a tensor file, so it is not passed over.
    #expect(try await failure(folder.path).found == "a FIFO (named pipe)")
    #expect(try await failure("/dev/zero").found == "a character device")
    #expect(try await failure("").code == .invalidArgument)
  }

  @Test(.enabled(if: geteuid() != 0, "root may read everything"))
  func `a file that may not be read is named`() async throws {
    let folder = TemporaryFolder()
    let path = try folder.write("x.safetensors", SafetensorsReaderTests.file(["a"]))
    chmod(path, 0)
    #expect(try await failure(path).code == .permissionDenied)
  }

  @Test func `the first format that recognises a path opens it`() async throws {
    enum Everything: CheckpointFormat {
      static let name = "everything"
      static let signs = "anything at all"
      static func recognises(_ candidate: CheckpointCandidate) -> Bool { true }
      static func open(_ candidate: CheckpointCandidate, options: OpenOptions) async throws(GraftError)
        -> Catalog
      {
        Catalog(format: name, files: [], tree: .empty)
      }
    }
    let folder = TemporaryFolder()
    let path = try folder.write("x.safetensors", SafetensorsReaderTests.file(["a"]))
    #expect(
      try await FormatRegistry([SafetensorsFormat.self, Everything.self]).open(path).format == "safetensors")
    #expect(
      try await FormatRegistry([Everything.self, SafetensorsFormat.self]).open(path).format == "everything")
  }
}
