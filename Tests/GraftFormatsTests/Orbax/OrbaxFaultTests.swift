import GraftCore
import GraftFormats
import GraftIO
import GraftTestSupport
import Testing

/// Metadata of a saved tree with these leaves.
private func metadata(
  _ leaves: [(keys: [(String, Int)], type: String)], _ more: [JSONValue.Member] = []
) -> [UInt8] {
  let entries = leaves.enumerated().map { number, leaf in
    JSONValue.Member(
      "entry \(number)",
      [
        "key_metadata": .array(leaf.keys.map { ["key": .string($0.0), "key_type": .integer($0.1)] }),
        "value_metadata": ["value_type": .string(leaf.type), "skip_deserialize": false],
      ])
  }
  return JSONValue.object([JSONValue.Member("tree_metadata", .object(entries))] + more).encoded()
}

struct OrbaxTreeMetadataTests {
  @Test(
    arguments: [
      (
        "a dot that meets a level", [([("a.b", 2)], "np.ndarray"), ([("a", 2), ("b", 2)], "np.ndarray")],
        .collision
      ),
      ("a leaf twice", [([("a", 2)], "scalar"), ([("a", 2)], "string")], .collision),
      ("a leaf below a leaf", [([("a", 2)], "scalar"), ([("a", 2), ("b", 2)], "scalar")], .collision),
      ("keys and indices", [([("a", 2), ("0", 1)], "scalar"), ([("a", 2), ("b", 2)], "scalar")], .corrupt),
      ("a list with a gap", [([("0", 1)], "scalar"), ([("2", 1)], "scalar")], .corrupt),
      ("an index of a quintillion", [([("1000000000000000000", 1)], "scalar")], .corrupt),
      ("an unknown kind of key", [([("a", 3)], "scalar")], .corrupt),
      (
        "a tree deeper than allowed", [([(String, Int)](repeating: ("a", 2), count: 200), "scalar")],
        .limitExceeded
      ),
    ] as [(String, [(keys: [(String, Int)], type: String)], GraftError.Code)])
  func `a tree that contradicts itself is refused`(
    name: String, leaves: [(keys: [(String, Int)], type: String)], code: GraftError.Code
  ) {
    #expect { try OrbaxTreeMetadata(metadata(leaves), file: "_METADATA") } throws: {
      guard let error = $0 as? GraftError else { return false }
      return error.code == code && error.file == "_METADATA"
    }
  }

  @Test func `an empty container that has children is one with children`() throws {
    let tree = try OrbaxTreeMetadata(
      metadata([([("a", 2)], "Dict"), ([("a", 2), ("b", 2)], "scalar")]), file: ""
    ).tree
    #expect(tree == ["a": ["b": .leaf(.array(name: "a.b"))]])
    let reversed = try OrbaxTreeMetadata(
      metadata([([("a", 2), ("b", 2)], "scalar"), ([("a", 2)], "Dict")]), file: ""
    ).tree
    #expect(reversed == tree)
  }

  @Test func `a list's elements may come in any order`() throws {
    let leaves = [3, 11, 0, 10, 1, 2, 9, 8, 7, 6, 5, 4].map { (keys: [(String($0), 1)], type: "scalar") }
    let tree = try OrbaxTreeMetadata(metadata(leaves), file: "").tree
    #expect(tree == .list((0..<12).map { .leaf(.array(name: String($0))) }))
  }

  @Test(arguments: ["not JSON", "[1]", #"{"m": 5}"#, #"{"a": {"category": "namedtuple", "entries": 3}}"#])
  func `damaged rich types change nothing`(text: String) throws {
    let plain = metadata([([("a", 2), ("b", 2)], "scalar")])
    let rich = metadata(
      [([("a", 2), ("b", 2)], "scalar")], [JSONValue.Member("value_metadata_tree", .string(text))])
    #expect(try OrbaxTreeMetadata(rich, file: "").tree == OrbaxTreeMetadata(plain, file: "").tree)
  }
}

/// What a text of metadata comes to: its tree, or what is wrong with it.
private enum MetadataOutcome: Equatable {
  case tree(Tree<OrbaxTreeMetadata.Value>, scalars: Set<Key>, flags: [Bool?], custom: JSONValue?)
  case failure(GraftError.Code, String, TreePath?)

  init(_ bytes: [UInt8], limits: Limits) {
    do throws(GraftError) {
      let metadata = try OrbaxTreeMetadata(bytes, file: "", limits: limits)
      self = .tree(
        metadata.tree, scalars: metadata.scalarNames,
        flags: [metadata.usesOCDBT, metadata.usesZarr3, metadata.storesFillValues],
        custom: metadata.customMetadata)
    } catch {
      self = .failure(error.code, error.message, error.leaf)
    }
  }
}

struct OrbaxTreeMetadataReadingTests {
  /// Metadata of a random tree as Orbax writes it, with oddities here and there.
  private static func text(_ random: inout SeededGenerator) -> String {
    let names = ["a", "b", "layer", "é", #"q\"uote"#, #"\u0041"#, "0", "1", ""]
    let types = ["np.ndarray", "jax.Array", "scalar", "string", "None", "Dict", "List", "Strange"]
    func pick(_ texts: [String]) -> String { texts.randomElement(using: &random)! }
    let entries = (0..<Int.random(in: 0...7, using: &random)).map { number -> String in
      let keys = (0..<Int.random(in: 0...4, using: &random)).map { _ -> String in
        let name = pick(names) + (Int.random(in: 0..<4, using: &random) == 0 ? "" : "\(number)")
        let type = Int.random(in: 0..<40, using: &random) == 0 ? pick(["1", "3"]) : "2"
        return #"{"key": "\#(name)", "key_type": \#(type)}"#
      }
      let shape = pick(["", "", #", "write_shape": [8, 4]"#, #", "write_shape": 5"#])
      let skips = pick([
        #", "skip_deserialize": false"#, #", "skip_deserialize": true"#, "", #", "more": {"x": 1}"#,
      ])
      let name = Int.random(in: 0..<40, using: &random) == 0 ? 0 : number
      return #""\#(name)": {"key_metadata": [\#(keys.joined(separator: ", "))], "value_metadata": "#
        + #"{"value_type": "\#(pick(types))"\#(skips)\#(shape)}}"#
    }
    let others = [
      #""use_ocdbt": true"#, #""use_zarr3": false"#, #""store_array_data_equal_to_fill_value": true"#,
      #""custom_metadata": {"a": [1, {"b": null}]}"#, #""custom_metadata": null"#,
    ].filter { _ in Bool.random(using: &random) }
    let tree = #""tree_metadata": {\#(entries.joined(separator: ", "))}"#
    return "{" + ([tree] + others).shuffled(using: &random).joined(separator: ", ") + "}"
  }

  @Test(arguments: seedBatches(8))
  func `a file of the usual form says what it says to who reads all of it first`(batch: UInt64) throws {
    let seed = seedFromEnvironment() ?? batch &* 977 &+ 3
    var random = SeededGenerator(seed: seed)
    var limits = Limits()
    limits.keyByteCount = 8
    limits.leafCount = 6
    limits.nestingDepth = 8
    var (treeCount, failureCount) = (0, 0)
    for round in 0..<400 {
      var usual = Array(Self.text(&random).utf8)
      // One byte of it is another one, or some are gone; how it begins stays.
      switch Int.random(in: 0..<4, using: &random) {
      case 0: usual[Int.random(in: 2..<usual.count, using: &random)] = UInt8(ascii: "x")
      case 1:
        let odd = Array("{}[]:,\"\\0 ".utf8)
        usual[Int.random(in: 2..<usual.count, using: &random)] = odd.randomElement(using: &random)!
      case 2:
        let start = Int.random(in: 2..<usual.count, using: &random)
        usual.removeSubrange(start..<min(usual.count, start + Int.random(in: 1...20, using: &random)))
      default: break
      }
      // A member that nobody knows is not of the usual form.
      let unusual = Array(#"{"nobody knows": 0, "#.utf8) + usual.dropFirst()
      let outcome = MetadataOutcome(usual, limits: limits)
      #expect(
        outcome == MetadataOutcome(unusual, limits: limits),
        "seed \(seed), round \(round): \(String(decoding: usual, as: UTF8.self))")
      if case .tree = outcome { treeCount += 1 } else { failureCount += 1 }
    }
    #expect(treeCount > 20 && failureCount > 20, "seed \(seed)")
  }
}

struct OrbaxFaultTests {
  private static let array =
    #"{"zarr_format":2,"shape":[2],"chunks":[1],"dtype":"|u1","compressor":null,"order":"C","filters":null,"fill_value":5}"#

  private func open(
    _ files: [String: String], storesFill: Bool = false, type: String = "np.ndarray"
  ) async throws -> Catalog {
    var bytes = files.mapValues { Array($0.utf8) }
    bytes["_METADATA"] = metadata(
      [([("w", 2)], type)],
      [
        JSONValue.Member("store_array_data_equal_to_fill_value", .bool(storesFill)),
        JSONValue.Member("use_ocdbt", false),
      ])
    return try await OrbaxFormat.open(MemoryFolder(bytes), options: OpenOptions())
  }

  @Test func `an absent chunk is the fill value where those are not stored, and an error where they are`()
    async throws
  {
    let files = ["w/.zarray": Self.array, "w/1": "x"]
    let catalog = try await open(files)
    guard case .tensor(_, let layout, _)? = catalog.tree["w"].leaf else {
      Issue.record("no such leaf")
      return
    }
    #expect(layout.chunks.map { $0 == .absent } == [true, false])
    #expect(layout.fillValue == [5])
    await #expect { try await open(files, storesFill: true) } throws: {
      guard let error = $0 as? GraftError else { return false }
      return error.code == .corrupt && error.leaf == "w" && error.message.contains("missing")
    }
  }

  @Test(
    arguments: [
      ("no array", [:], "np.ndarray", GraftError.Code.corrupt), ("no strings", [:], "string", .corrupt),
      ("no metadata of strings", ["_strings.json": "{"], "string", .corrupt),
      (
        "a million chunks of a million", ["w/.zarray": array.replacing("[2]", with: "[1000000000000]")],
        "scalar", .limitExceeded
      ),
    ] as [(String, [String: String], String, GraftError.Code)])
  func `what is not there or not read is an error that names the leaf`(
    name: String, files: [String: String], type: String, code: GraftError.Code
  ) async {
    await #expect { try await open(files, type: type) } throws: {
      guard let error = $0 as? GraftError else { return false }
      return error.code == code && (error.leaf == "w" || error.file?.hasSuffix(".json") == true)
    }
  }

  @Test func `a chunk past the end of its data file is an error that names leaf, file and range`()
    async throws
  {
    let root = OrbaxFixture.path("v1/state")
    let local = LocalFolder(root)
    let entries = try await OCDBTReader(opening: local).entries()
    let stored = try #require(
      entries.compactMap { if case .stored(let reference) = $0.value { reference } else { nil } }.max {
        $0.range.end < $1.range.end
      })
    var files: [String: [UInt8]] = [:]
    for name in ["manifest.ocdbt", "_METADATA", "_strings.json"] {
      files[name] = Fixture.bytes("orbax/\(OrbaxFixture.version)/v1/state/\(name)")
    }
    let manifest = try await OCDBTReader(opening: local).manifest
    for path in Set(
      entries.compactMap { if case .stored(let reference) = $0.value { reference.file.path } else { nil } }
        + [try #require(manifest.newest?.root?.file.path)])
    {
      files[path] = Fixture.bytes("orbax/\(OrbaxFixture.version)/v1/state/\(path)")
    }
    _ = try await OrbaxFormat.open(MemoryFolder(files), options: OpenOptions())
    var data = try #require(files[stored.file.path])
    data.removeLast(data.count - stored.range.end + 1)
    files[stored.file.path] = data
    let shortened = MemoryFolder(files)
    await #expect { try await OrbaxFormat.open(shortened, options: OpenOptions()) } throws: {
      guard let error = $0 as? GraftError else { return false }
      return error.code == .truncated && error.leaf != nil && error.file?.hasSuffix(stored.file.path) == true
        && error.range == stored.range
    }
    files[stored.file.path] = nil
    let without = MemoryFolder(files)
    await #expect { try await OrbaxFormat.open(without, options: OpenOptions()) } throws: {
      ($0 as? GraftError)?.code == .notFound
    }
  }

  @Test func `a name that leads out of the checkpoint is refused`() async {
    let bytes = metadata([([("../../secret", 2)], "scalar")], [JSONValue.Member("use_ocdbt", false)])
    await #expect {
      try await OrbaxFormat.open(MemoryFolder(["_METADATA": bytes]), options: OpenOptions())
    } throws: {
      ($0 as? GraftError)?.message == "the leaf's name leads out of the checkpoint"
    }
  }

  @Test func `a checkpoint whose save began and did not end is refused`() async {
    let files = [
      "_METADATA": metadata([]),
      "_CHECKPOINT_METADATA": Array(#"{"init_timestamp_nsecs": 5, "commit_timestamp_nsecs": null}"#.utf8),
    ]
    await #expect { try await OrbaxFormat.open(MemoryFolder(files), options: OpenOptions()) } throws: {
      ($0 as? GraftError)?.message.contains("was not finished") == true
    }
    var finished = files
    finished["commit_success.txt"] = []
    let folder = MemoryFolder(finished)
    await #expect(throws: Never.self) { try await OrbaxFormat.open(folder, options: OpenOptions()) }
  }
}
