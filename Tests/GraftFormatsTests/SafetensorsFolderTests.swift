import Foundation
import GraftCore
import GraftFormats
import Testing

@Suite struct SafetensorsFolderTests {
  private func index(_ map: [(String, String)], metadata: String = #"{"total_size":3}"#) -> [UInt8] {
    let members = map.map { #""\#($0.0)":"\#($0.1)""# }.joined(separator: ",")
    return Array(#"{"metadata":\#(metadata),"weight_map":{\#(members)}}"#.utf8)
  }

  private func failure(_ path: String) async throws -> GraftError {
    try await #require(throws: GraftError.self) { try await FormatRegistry.standard.open(path) }
  }

  private static let one = "model-00001-of-00002.safetensors"
  private static let two = "model-00002-of-00002.safetensors"

  /// A folder of two shards with their index.
  private func sharded(
    _ map: [(String, String)] = [("a.x", one), ("a.y", one), ("b", two)],
    metadata: String = #"{"total_size":3}"#
  ) throws -> TemporaryFolder {
    let folder = TemporaryFolder()
    try folder.write(Self.one, SafetensorsReaderTests.file(["a.x", "a.y"], metadata: #"{"format":"pt"}"#))
    try folder.write(Self.two, SafetensorsReaderTests.file(["b"], metadata: #"{"format":"pt"}"#))
    try folder.write("model.safetensors.index.json", index(map, metadata: metadata))
    return folder
  }

  @Test func `an index opens its files as one tree, by the folder or by its own name`() async throws {
    let folder = try sharded(metadata: #"{"total_size":3,"total_parameters":3,"note":"n","count":[1]}"#)
    try folder.write("other.safetensors", SafetensorsReaderTests.file(["not", "looked", "at"]))
    for path in [folder.path, folder.path + "/", folder.path("model.safetensors.index.json")] {
      let catalog = try await FormatRegistry.standard.open(path)
      #expect(catalog.tree.leaves.map(\.path.description) == ["a/x", "a/y", "b"])
      #expect(catalog.files.map(\.path) == [folder.path(Self.one), folder.path(Self.two)])
      #expect(catalog.metadata.map(\.key) == ["format", "note", "count"])
      #expect(catalog.metadata.map(\.value) == ["pt", "n", "[1]"])
    }
  }

  @Test func `a folder without an index is all its tensor files in the order of their names`() async throws {
    let folder = TemporaryFolder()
    try folder.write(
      "b.safetensors", SafetensorsReaderTests.file(["x"], metadata: #"{"format":"pt","rank":"1"}"#))
    try folder.write(
      "a.safetensors", SafetensorsReaderTests.file(["y"], metadata: #"{"format":"pt","rank":"0"}"#))
    try folder.write(".hidden.safetensors", [1, 2, 3])
    try folder.write("config.json", Array("{}".utf8))
    try folder.write("inside.safetensors/x.safetensors", [])
    let catalog = try await FormatRegistry.standard.open(folder.path)
    #expect(catalog.tree.leaves.map(\.path.description) == ["y", "x"])
    // What the files say differently is kept under a key that names the file.
    #expect(catalog.metadata.map(\.key) == ["format", "rank", "rank (b.safetensors)"])
    #expect(catalog.metadata.map(\.value) == ["pt", "0", "1"])
  }

  @Test func `a tensor in two files of a folder is an error that names both`() async throws {
    let folder = TemporaryFolder()
    try folder.write("a.safetensors", SafetensorsReaderTests.file(["x", "t"]))
    try folder.write("b.safetensors", SafetensorsReaderTests.file(["t"]))
    let error = try await failure(folder.path)
    #expect(error.code == .collision && error.leaf == "t" && error.file == folder.path("b.safetensors"))
    #expect(error.message == "the tensor \"t\" is in two files: \(folder.path("a.safetensors")) and this one")
  }

  @Test func `numbered files must all be there`() async throws {
    let folder = TemporaryFolder()
    try folder.write("model-00002-of-00004.safetensors", SafetensorsReaderTests.file(["b"]))
    try folder.write("model-00004-of-00004.safetensors", SafetensorsReaderTests.file(["d"]))
    let error = try await failure(folder.path)
    #expect(
      error.code == .notFound && error.message == "one of 4 numbered files is not there (the first of 2)")
    #expect(error.file == folder.path("model-00001-of-00004.safetensors"))
    #expect(error.others.map(\.file) == [folder.path("model-00003-of-00004.safetensors")])
    // Such a name claims what it likes.
    try folder.write("model-000000001-of-999999999.safetensors", [])
    try folder.write("model-00001-of-999999999.safetensors", [])
    #expect(try await failure(folder.path).code == .notFound)
  }

  @Test func `a shard that is not there is named`() async throws {
    let folder = try sharded()
    try FileManager.default.removeItem(atPath: folder.path(Self.two))
    let error = try await failure(folder.path)
    #expect(error.code == .notFound && error.file == folder.path(Self.two))
    #expect(
      error.message.contains(
        "that the index \(folder.path("model.safetensors.index.json")) names is not there"))
  }

  @Test func `a tensor that is listed and absent is named with its file`() async throws {
    let folder = try sharded([
      ("a.x", Self.one), ("a.y", Self.one), ("a.z", Self.one), ("b", Self.two), ("c", Self.two),
    ])
    let error = try await failure(folder.path)
    #expect(error.code == .corrupt && error.leaf == "a/z" && error.file == folder.path(Self.one))
    #expect(error.message == "the index lists the tensor \"a.z\", and its file lacks it (the first of 2)")
    #expect(error.others.map(\.leaf) == ["c"])
  }

  @Test func `a tensor that is present and not listed is named with its file`() async throws {
    let folder = try sharded([("a.x", Self.one), ("b", Self.two)])
    let error = try await failure(folder.path)
    #expect(error.code == .corrupt && error.leaf == "a/y" && error.file == folder.path(Self.one))
    #expect(error.message == "the tensor \"a.y\" is in a file where the index does not list it")
  }

  @Test func `a tensor listed in another file than it is in is an error`() async throws {
    let folder = try sharded([("a.x", Self.one), ("a.y", Self.two), ("b", Self.two)])
    let error = try await failure(folder.path)
    #expect(error.code == .corrupt && error.leaf == "a/y" && error.file == folder.path(Self.two))
  }

  @Test(arguments: [
    "../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..", ".", "", "a\\u0000b", "./x.safetensors",
  ])
  func `an index cannot name a file of another folder`(_ name: String) async throws {
    let folder = try sharded([("a.x", name)])
    let error = try await failure(folder.path)
    #expect(
      error.code == .corrupt && error.message == "the index names a file that is not one of its own folder")
    #expect(error.file == folder.path("model.safetensors.index.json"))
  }

  @Test func `a shard may be a symbolic link, as in the caches of hubs`() async throws {
    let folder = try sharded()
    let blobs = TemporaryFolder()
    try FileManager.default.moveItem(atPath: folder.path(Self.two), toPath: blobs.path("digest"))
    try FileManager.default.createSymbolicLink(
      atPath: folder.path(Self.two), withDestinationPath: blobs.path("digest"))
    #expect(try await FormatRegistry.standard.open(folder.path).tree.leaves.count == 3)
    // The file under its digest is recognised by its bytes.
    #expect(try await FormatRegistry.standard.open(blobs.path("digest")).tree.leaves.count == 1)
  }

  @Test(arguments: [
    (#"{"weight_map":{"a":"x","a":"y"}}"#, "the key \"a\" comes twice"),
    (#"{"weight_map":{},"weight_map":{}}"#, "the key \"weight_map\" comes twice"),
    (#"{"weight_map":{"a":1}}"#, "a number stands where a string has to"),
    (#"{"weight_map":[]}"#, "an array stands where an object has to"),
    (#"{"metadata":{}}"#, "no weight_map"),
    ("[]", "an array stands where an object has to"),
    ("", "the text ends inside a value"),
    (#"{"weight_map":{}} x"#, "something follows the value"),
  ]) func `an index that is none says why`(_ text: String, _ message: String) async throws {
    let folder = TemporaryFolder()
    try folder.write("model.safetensors.index.json", Array(text.utf8))
    let error = try await failure(folder.path)
    #expect(error.code == .corrupt && error.message.contains(message))
    #expect(error.file == folder.path("model.safetensors.index.json"))
  }

  @Test func `two indices are ambiguous`() async throws {
    let folder = try sharded()
    try folder.write("model.fp16.safetensors.index.json", index([]))
    let error = try await failure(folder.path)
    #expect(
      error.code == .notACheckpoint
        && error.found == "model.fp16.safetensors.index.json, model.safetensors.index.json")
  }

  @Test func `the error of a broken shard is the same every time, however many files are read at once`()
    async throws
  {
    let folder = TemporaryFolder()
    for index in 0..<30 {
      let bytes = index % 7 == 3 ? [] : SafetensorsReaderTests.file(["t\(index)"])
      try folder.write("f\(index < 10 ? "0" : "")\(index).safetensors", bytes)
    }
    for _ in 0..<5 { #expect(try await failure(folder.path).file == folder.path("f03.safetensors")) }
  }

  @Test func `the limit on tensors holds across files`() async throws {
    let folder = TemporaryFolder()
    for index in 0..<40 {
      try folder.write("f\(index).safetensors", SafetensorsReaderTests.file(["t\(index)"]))
    }
    var limits = Limits()
    limits.leafCount = 20
    let error = try await #require(throws: GraftError.self) {
      try await FormatRegistry.standard.open(folder.path, options: OpenOptions(limits: limits))
    }
    #expect(error.code == .limitExceeded)
    #expect(try await FormatRegistry.standard.open(folder.path).tree.leaves.count == 40)
  }
}
