import GraftCore
import GraftFormats
import GraftIO
import GraftTestSupport
import Testing

/// A checkpoint of Tests/Fixtures/orbax, and what the real Orbax put into it.
struct OrbaxFixture: CustomStringConvertible, Sendable {
  let description: String
  let leaves: [JSONValue.Member]
  var version = OrbaxFixture.version

  static let version = "0.12.8"
  /// That version, and two older ones; 0.4 knows neither Zarr 3 nor when a save began and ended.
  static let versions = [version, "0.6.4", "0.4.8"]

  static let all: [OrbaxFixture] = versions.flatMap { version -> [OrbaxFixture] in
    guard let index = try? JSONValue(parsing: Fixture.bytes("orbax/\(version)/index.json")) else { return [] }
    return (index.members ?? []).map {
      OrbaxFixture(description: $0.key, leaves: $0.value.members ?? [], version: version)
    }
  }

  static func path(_ name: String, version: String = version) -> String {
    Fixture.path("orbax/\(version)/\(name)")
  }

  /// `name`, `name@step` or `name:checkpointable`.
  func open() async throws -> Catalog {
    var options = OpenOptions()
    var name = description[...]
    if let at = name.firstIndex(of: "@") {
      options.step = String(name[name.index(after: at)...])
      name = name[..<at]
    } else if let colon = name.firstIndex(of: ":") {
      options.checkpointable = String(name[name.index(after: colon)...])
      name = name[..<colon]
    }
    return try await FormatRegistry.standard.open(Self.path(String(name), version: version), options: options)
  }
}

struct OrbaxFormatTests {
  @Test func `every layout has a checkpoint`() {
    #expect(
      OrbaxFixture.versions.map { version in OrbaxFixture.all.count { $0.version == version } } == [17, 4, 2])
  }

  @Test(arguments: OrbaxFixture.all)
  func `what Orbax saved is all there, bit for bit`(fixture: OrbaxFixture) async throws {
    let catalog = try await fixture.open()
    #expect(catalog.format == "orbax")
    let leaves = catalog.tree.leaves
    #expect(Set(leaves.map(\.path.description)) == Set(fixture.leaves.map(\.key)))
    let layouts = leaves.compactMap { leaf -> (path: TreePath, spec: TensorSpec, layout: Layout)? in
      if case .tensor(let spec, let layout, _) = leaf.leaf { (leaf.path, spec, layout) } else { nil }
    }
    let resolved = try await catalog.lookingIntoShards(layouts)
    var next = 0
    for (path, leaf) in leaves {
      let expected = try #require(fixture.leaves.first { Key($0.key) == Key(path.description) }?.value)
      switch leaf {
      case .string(let text): #expect(text == expected.text)
      case .unsupported(let leaf): Issue.record("\(leaf)")
      case .tensor(let spec, _, _):
        #expect(spec.dtype.rawValue == expected["dtype"]?.text, "\(path)")
        #expect(spec.shape.extents == expected["shape"]?.elements?.compactMap(\.integer), "\(path)")
        let bytes = try naiveRead(spec, resolved[next], files: catalog.files)
        #expect(sha256(bytes) == expected["sha256"]?.text, "\(path)")
        next += 1
      }
    }
  }

  @Test func `a leaf that an older Orbax put into one file with others is not read, and the others are`()
    async throws
  {
    let path = OrbaxFixture.path("aggregated", version: "0.4.8")
    let catalog = try await FormatRegistry.standard.open(path, options: OpenOptions())
    #expect(catalog.tree["apart"].leaf?.spec == .tensor(TensorSpec(.float32, [3])))
    guard case .unsupported(let leaf)? = catalog.tree["together"].leaf else {
      Issue.record("the leaf is \(catalog.tree["together"])")
      return
    }
    #expect(leaf.reason.contains("msgpack"))
  }

  @Test func `sub-chunked arrays have smaller chunks, in shards`() async throws {
    let catalog = try await #require(OrbaxFixture.all.first { $0.description == "v1-subchunked" }).open()
    guard case .tensor(let spec, let layout, _)? = catalog.tree["square"].leaf else {
      Issue.record("no such leaf")
      return
    }
    let shards = try #require(layout.shards)
    #expect(layout.chunks.isEmpty)
    #expect(layout.chunkShape.elementCount * 4 <= 64)
    #expect(zip(shards.shape.extents, layout.chunkShape.extents).allSatisfy { $0 % $1 == 0 })
    #expect(layout.storedByteCount > spec.byteCount / 8)
  }

  @Test func `empty containers, lists and nothing at all keep their places`() async throws {
    let catalog = try await #require(OrbaxFixture.all.first { $0.description == "v1" }).open()
    let opt = catalog.tree["opt"]
    #expect(opt.kind == .list)
    #expect(opt.children.map(\.value.kind) == [.leaf, .empty, .tuple, .dictionary, .list])
    #expect(catalog.tree["pair"].kind == .list)
    #expect(catalog.tree["moments"].kind == .dictionary)
  }

  @Test func `rich types bring back tuples and named tuples`() async throws {
    let catalog = try await #require(OrbaxFixture.all.first { $0.description == "v0-rich" }).open()
    #expect(catalog.tree["m"].kind == .namedTuple)
    #expect(catalog.tree["t"].kind == .tuple)
    #expect(catalog.tree["l"].kind == .list)
  }

  @Test func `shardings, random keys and times are metadata`() async throws {
    let mesh = try await #require(OrbaxFixture.all.first { $0.description == "v1-mesh" }).open()
    let sharding = try #require(mesh.leafMetadata["square"]?["sharding"])
    let parsed = try JSONValue(parsing: Array(sharding.utf8))
    #expect(parsed["sharding_type"]?.text == "NamedSharding")
    #expect(parsed["shape"] == [2, 2])
    let v1 = try await #require(OrbaxFixture.all.first { $0.description == "v1" }).open()
    #expect(v1.leafMetadata["key"]?["random_key_impl"] == "threefry2x32")
    #expect(v1.metadata.contains { $0.key == "commit_timestamp_nsecs" })
    #expect(v1.metadata.contains { $0.key == "checkpointable" && $0.value == "state" })
  }

  @Test func `a folder of steps gives its latest finished one, and JSON beside the tree is metadata`()
    async throws
  {
    let path = OrbaxFixture.path("v0-steps")
    let catalog = try await FormatRegistry.standard.open(path)
    #expect(catalog.metadata.contains { $0.key == "step" && $0.value == "100" })
    #expect(catalog.metadata.contains { $0.key == "info" && $0.value == #"{"step": 100}"# })
    #expect(try await FormatRegistry.standard.open(path + "/ckpt_0020").tree["w"].leaf != nil)
    for step in ["3", "0003", "ckpt_0003"] {
      let catalog = try await FormatRegistry.standard.open(path, options: options(step: step))
      #expect(catalog.metadata.contains { $0.key == "step" && $0.value == "3" })
    }
  }

  private func options(step: String? = nil, checkpointable: String? = nil) -> OpenOptions {
    var options = OpenOptions()
    options.step = step
    options.checkpointable = checkpointable
    return options
  }

  private func failure(
    _ name: String, _ options: OpenOptions = OpenOptions()
  ) async -> GraftError? {
    do {
      _ = try await FormatRegistry.standard.open(OrbaxFixture.path(name), options: options)
      return nil
    } catch {
      return error
    }
  }

  @Test func `an unfinished checkpoint is refused with the reason`() async throws {
    let error = try #require(await failure("v0-steps/ckpt_0200.orbax-checkpoint-tmp"))
    #expect(error.code == .notACheckpoint)
    #expect(error.message.contains("was not finished"))
  }

  @Test func `an unknown step or part names those that there are`() async throws {
    let step = try #require(await failure("v0-steps", options(step: "4")))
    #expect(step.code == .notFound && step.expected == "one of ckpt_0003, ckpt_0020, ckpt_0100")
    let part = try #require(await failure("v1-many", options(checkpointable: "othr")))
    #expect(part.code == .notFound && part.expected == "one of other, state")
    #expect(part.remedy == "did you mean other?")
    #expect(await failure("v1", options(step: "4"))?.code == .invalidArgument)
  }
}
