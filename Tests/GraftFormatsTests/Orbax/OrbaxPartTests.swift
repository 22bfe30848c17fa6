import GraftCore
import GraftFormats
import GraftIO
import Testing

/// The parts of a checkpoint and what it says about itself, without a file.
struct OrbaxPartTests {
  private static let tree = """
    {"tree_metadata":{"0":{"key_metadata":[{"key":"s","key_type":2}],"value_metadata":{"value_type":"string"}}},
     "use_ocdbt":false}
    """

  private func open(_ files: [String: String], checkpointable: String? = nil) async throws -> Catalog {
    var all = files.mapValues { Array($0.utf8) }
    for (path, text) in files where text == Self.tree {
      all[path.replacing("_METADATA", with: "_strings.json")] = Array(#"{"s":"\#(path)"}"#.utf8)
    }
    var options = OpenOptions()
    options.checkpointable = checkpointable
    return try await OrbaxFormat.open(MemoryFolder(all), options: options)
  }

  private func string(_ catalog: Catalog) -> String? {
    if case .string(let text)? = catalog.tree["s"].leaf { text } else { nil }
  }

  @Test func `names that look alike are not the same`() async throws {
    // Of a folder of the file system, as a dictionary of strings would take them for the same.
    let folder = TemporaryFolder()
    for name in ["\u{E9}", "e\u{301}"] {
      try folder.write("checkpoint/\(name)/_METADATA", Array(Self.tree.utf8))
      try folder.write("checkpoint/\(name)/_strings.json", Array(#"{"s":"\#(name)"}"#.utf8))
    }
    try folder.write("checkpoint/orbax.checkpoint", Array("{}".utf8))
    var options = OpenOptions()
    for name in ["\u{E9}", "e\u{301}"] {
      options.checkpointable = name
      let catalog = try await OrbaxFormat.open(LocalFolder(folder.path("checkpoint")), options: options)
      #expect(string(catalog).map { Key($0) } == Key(name))
    }
    // A Kelvin sign for the K of the mark of a checkpoint: without the mark it is a folder of steps.
    try folder.write("steps/_CHEC\u{212A}POINT_METADATA", Array("{}".utf8))
    try folder.write("steps/7/_METADATA", Array(Self.tree.utf8))
    try folder.write("steps/7/_strings.json", Array(#"{"s":"x"}"#.utf8))
    options = OpenOptions()
    options.step = "7"
    let step = try await OrbaxFormat.open(LocalFolder(folder.path("steps")), options: options)
    #expect(string(step) == "x")
  }

  @Test func `a part in the folder of another goes by both names, and by one where that says enough`()
    async throws
  {
    let files = [
      "orbax.checkpoint": "{}", "key/tree/_METADATA": Self.tree, "key/more/metadata": #"{"a":1}"#,
      "two/x/_METADATA": Self.tree, "two/y/_METADATA": Self.tree,
    ]
    for name in ["key", "key/tree"] {
      #expect(string(try await open(files, checkpointable: name)) == "key/tree/_METADATA")
    }
    let json = try await open(files, checkpointable: "key/more")
    #expect(json.tree.leaves.isEmpty)
    #expect(json.metadata.first { $0.key == "key/more" }?.value == #"{"a":1}"#)
    await #expect { try await open(files, checkpointable: "two") } throws: {
      guard let error = $0 as? GraftError else { return false }
      return error.code == .notFound && error.expected?.contains("two/x") == true
    }
  }

  @Test func `metadata has no key twice, and what users gave is apart`() async throws {
    let catalog = try await open([
      "state/_METADATA": Self.tree.replacing(
        #""use_ocdbt""#, with: #""custom_metadata":{"author":"inner","tree":[1]},"use_ocdbt""#),
      "state/_strings.json": #"{"s":"x"}"#, "metrics/metrics": #"{"loss":2}"#,
      "checkpointable/metadata": "[]",
      "_CHECKPOINT_METADATA":
        #"{"init_timestamp_nsecs":5,"commit_timestamp_nsecs":6,"metrics":{"loss":1},"custom_metadata":{"author":"outer","n":{"a":1.5}}}"#,
    ])
    #expect(Set(catalog.metadata.map(\.key)).count == catalog.metadata.count)
    func text(_ key: String) -> String? { catalog.metadata.first { $0.key == key }?.value }
    #expect(text("metrics") == #"{"loss":1}"# && text("checkpointables/metrics") == #"{"loss":2}"#)
    #expect(text("checkpointable") == "state" && text("checkpointables/checkpointable") == "[]")
    #expect(
      catalog.userMetadata.map { "\($0.key)=\($0.value)" } == [
        "author=outer", #"n={"a":1.5}"#, "tree=[1]",
      ])
  }

  @Test func `JSON of several parts together is at most the limit of metadata`() async throws {
    let part = "[\"" + String(repeating: "x", count: 600) + "\"]"
    let files = [
      "state/_METADATA": Self.tree, "state/_strings.json": #"{"s":"x"}"#, "a/metadata": part,
      "b/metadata": part,
    ]
    var options = OpenOptions()
    options.limits.metadataByteCount = 1000
    let folder = MemoryFolder(files.mapValues { Array($0.utf8) })
    await #expect { try await OrbaxFormat.open(folder, options: options) } throws: {
      ($0 as? GraftError)?.code == .limitExceeded
    }
  }

  @Test(
    arguments: [
      ("flax's one file", ["checkpoint": "x", "_CHECKPOINT_METADATA": "{}"], .unsupported, "before 2023"),
      ("a database alone", ["manifest.ocdbt": "x"], .notACheckpoint, "_METADATA"),
      ("a part that is a database alone", ["state/manifest.ocdbt": "x"], .notACheckpoint, "_METADATA"),
      (
        "parts that are JSON alone", ["orbax.checkpoint": "", "info/metadata": "{}"], .notACheckpoint, "info"
      ),
    ] as [(String, [String: String], GraftError.Code, String)])
  func `a checkpoint without metadata of a tree is refused`(
    name: String, files: [String: String], code: GraftError.Code, word: String
  ) async {
    await #expect { try await open(files) } throws: {
      guard let error = $0 as? GraftError else { return false }
      return error.code == code && "\(error)".contains(word)
    }
  }
}
