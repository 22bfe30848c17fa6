import Foundation
import Testing

/// The tool over small checkpoints that the real Orbax wrote.
@Suite struct OrbaxToolTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  static func fixture(_ name: String) -> String {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    return tests.appendingPathComponent("Fixtures/orbax/0.12.8/" + name).path
  }

  private func json(_ arguments: String...) throws -> [String: Any] {
    let outcome = try Tool.run(arguments + ["--json"])
    #expect(outcome.status == 0 && outcome.diagnostics == "", "\(outcome)")
    return try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
  }

  private func leaf(_ path: String, in answer: [String: Any]) throws -> [String: Any] {
    let leaves = try #require(answer["leaves"] as? [[String: Any]])
    return try #require(leaves.first { $0["path"] as? String == path })
  }

  // MARK: inspect

  @Test func `inspect shows chunks, codecs and shardings`() throws {
    let outcome = try Tool.run("inspect", Self.fixture("v1-mesh"), "--drop", "columns")
    #expect(outcome.status == 0 && outcome.diagnostics == "")
    #expect(
      outcome.output.hasPrefix(
        """
        path        dtype     shape    bytes  stored  chunks  codecs  sharding
        half        float32   [4, 6]    96 B   212 B  [2, 3]  zstd    [-, y] on x=2, y=2
        replicated  float32   [5, 3]    60 B    74 B          zstd    replicated on x=4
        rows        bfloat16  [8, 6]    96 B   212 B  [2, 6]  zstd    [x, -] on x=4
        square      float32   [8, 12]  384 B   318 B  [4, 6]  zstd    [x, y] on x=2, y=2

        orbax, 4 leaves, 636 B, stored in 816 B

        """), "\(outcome.output)")
    #expect(outcome.output.contains("\ncheckpointable: state\n"))
  }

  @Test func `inspect's JSON has the sharding as it was saved`() throws {
    let square = try leaf("square", in: json("inspect", Self.fixture("v1-mesh")))
    #expect(square["chunk_shape"] as? [Int] == [4, 6])
    #expect(square["codecs"] as? [String] == ["zstd"])
    #expect(square["stored_bytes"] as? Int == 318)
    let sharding = try #require(square["sharding"] as? [String: Any])
    #expect(sharding["partition_spec"] as? [String] == ["x", "y"])
    #expect(sharding["shape"] as? [Int] == [2, 2])
    let key = try leaf("key", in: json("inspect", Self.fixture("v1")))
    #expect(key["random_key_impl"] as? String == "threefry2x32")
  }

  @Test func `inspect shows shards of several chunks`() throws {
    let path = folder.path("sharded")
    try FileManager.default.copyItem(atPath: Self.fixture("v1-folders-zarr3"), toPath: path)
    // The one shard now claims two chunks; inspect does not look into shards.
    let file = path + "/state/a.b/zarr.json"
    var metadata = try #require(
      try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: file))) as? [String: Any])
    var codecs = try #require(metadata["codecs"] as? [[String: Any]])
    var configuration = try #require(codecs[0]["configuration"] as? [String: Any])
    configuration["chunk_shape"] = [1, 3]
    codecs[0]["configuration"] = configuration
    metadata["codecs"] = codecs
    try JSONSerialization.data(withJSONObject: metadata).write(to: URL(fileURLWithPath: file))

    let leaf = try leaf("a/b", in: json("inspect", path))
    #expect(leaf["chunk_shape"] as? [Int] == [1, 3])
    #expect(leaf["shard_shape"] as? [Int] == [2, 3])
    let text = try Tool.run("inspect", path).output
    #expect(text.contains("  [1, 3] in shards of [2, 3]  zstd"), "\(text)")
  }

  @Test func `what is not read is listed with the reason, and dropped where it is not wanted`() throws {
    let path = Self.fixture("../0.4.8/aggregated")
    let reason = "a leaf in the file named checkpoint, with others as msgpack, is not supported"
    let together = try leaf("together", in: json("inspect", path))
    #expect(together["unsupported"] as? String == reason && together["dtype"] as? String == "unknown")
    #expect(try Tool.run("inspect", path).output.contains("not read"))
    #expect(try Tool.run("inspect", path).output.contains(reason))
    #expect(try json("load", path, "--drop", "together", "--no-ceiling")["leaves"] as? Int == 1)
    for arguments in [["load", path], ["peek", path, "together"], ["plan", path]] {
      let outcome = try Tool.run(arguments)
      #expect(outcome.status == 2)
      #expect(
        outcome.diagnostics.contains("leaf together") && outcome.diagnostics.contains("--drop"),
        "\(outcome)")
    }
  }

  @Test func `inspect shows that nothing is compressed`() throws {
    let path = Self.fixture("v1-uncompressed")
    #expect(try leaf("a/b", in: json("inspect", path))["codecs"] as? [String] == [])
    #expect(try Tool.run("inspect", path).output.contains("codecs") == false)
  }

  // MARK: Steps and parts

  @Test(arguments: [("", 100), ("@3", 3), ("@0020", 20), ("@ckpt_0100", 100), ("@3/", 3)])
  func `a folder of steps gives its latest, and a named step that one`(suffix: String, step: Int) throws {
    let answer = try json("peek", Self.fixture("v0-steps") + suffix, "w")
    let values = try #require(answer["values"] as? [Double])
    let fixture = try json("peek", Self.fixture("v0-steps/ckpt_0003"), "w")
    let first = try #require(fixture["values"] as? [Double])
    #expect(values == first.map { $0 - 3 + Double(step) })
  }

  @Test func `a path that exists is never taken apart at its @`() throws {
    let path = folder.path("steps@3")
    try FileManager.default.copyItem(atPath: Self.fixture("v0-steps"), toPath: path)
    #expect(try Tool.run("inspect", path).output.contains("\nstep: 100\n"))
    #expect(try Tool.run("inspect", path + "@20").output.contains("\nstep: 20\n"))
  }

  @Test func `a part is chosen by its name`() throws {
    let path = Self.fixture("v1-many")
    #expect(try Tool.run("peek", path, "z", "--checkpointable", "other").output.hasPrefix("z: int32[2]"))
    #expect(
      try Tool.run("inspect", path, "--checkpointable", "other").output.contains("\ncheckpointable: other\n"))
    #expect(try Tool.run("load", path, "--checkpointable", "other", "--no-ceiling").status == 0)
    #expect(try Tool.run("plan", path, "--checkpointable", "other", "--json").status == 0)
  }

  @Test(arguments: [
    (["v0-steps@4"], "There is no step 4", "one of ckpt_0003, ckpt_0020, ckpt_0100"),
    (["v0-steps@200"], "There is no step 200", "ckpt_0100"),
    (["v0-steps/ckpt_0200.orbax-checkpoint-tmp"], "was not finished", "ckpt_0200"),
    (["v1@4"], "not a folder of steps", "Leave the step out"),
    (["v1-many", "--checkpointable", "othr"], "no part named othr", "Did you mean other?"),
    (["nowhere@4"], "nowhere@4", "no file or folder"),
  ])
  func `what is not there is an error of one paragraph`(arguments: [String], message: String, detail: String)
    throws
  {
    let outcome = try Tool.run(["inspect", Self.fixture(arguments[0])] + arguments.dropFirst())
    #expect(outcome.status == 2 && outcome.output == "")
    #expect(
      outcome.diagnostics.contains(message) && outcome.diagnostics.contains(detail), "\(outcome.diagnostics)")
    #expect(outcome.diagnostics.split(separator: "\n").count == 1)
  }

  @Test func `safetensors has neither steps nor parts`() throws {
    let path = try folder.writeModel("a.safetensors", [("a", [1])])
    for arguments in [[path + "@3"], [path, "--checkpointable", "state"]] {
      let outcome = try Tool.run(["inspect"] + arguments)
      #expect(outcome.status == 2)
      #expect(outcome.diagnostics.contains("A safetensors checkpoint has no"), "\(outcome.diagnostics)")
    }
  }

  // MARK: peek, load, plan, convert

  @Test(arguments: ["v1-mesh", "v1-subchunked", "v1-shard-axes"])
  func `a slice has the values of the whole`(name: String) throws {
    let path = Self.fixture(name)
    let whole = try #require(try json("peek", path, "square")["values"] as? [[Double]])
    let part = try json("peek", path, "square", "--slice", "3:6,5")
    #expect(part["shape"] as? [Int] == [3])
    #expect(part["values"] as? [Double] == whole[3..<6].map { $0[5] })
  }

  @Test func `a slice reads less than the whole`() throws {
    let path = Self.fixture("v1")
    let (whole, none) = (
      try json("peek", path, "params/layer0/bias"), try json("peek", path, "step")
    )
    #expect((2_000...2_600).contains(try #require(whole["bytes_read"] as? Int)))
    // What is small lies in the metadata, which is at hand.
    #expect(none["bytes_read"] as? Int == 0 && none["values"] as? Int == 7)
  }

  @Test(arguments: ["v1", "v1-mesh", "v1-folders-zarr2", "v0", "v0-rich"])
  func `plan says what load then reads`(name: String) throws {
    let path = Self.fixture(name)
    let plan = try json("plan", path)
    let load = try json("load", path, "--no-ceiling")
    #expect(plan["bytes_read"] as? Int == load["bytes_read"] as? Int)
    #expect(load["logical_bytes"] as? Int ?? 0 > 0)
    // A ceiling is compared with where there is a file to read, and the load succeeds either way.
    #expect(try Tool.run("load", path).status == 0)
  }

  @Test func `a load of what is compressed is compared with bare decoding`() throws {
    let load = try json("load", Self.fixture("v1"), "--select", "params/layer0/bias")
    let ceiling = try #require(load["ceiling"] as? [String: Any])
    #expect((ceiling["name"] as? String)?.hasPrefix("zstd of frames in memory") == true, "\(ceiling)")
    #expect(try #require(ceiling["ratio"] as? Double) > 0)
    let plain = try json("load", Self.fixture("v1-uncompressed"))
    let name = (plain["ceiling"] as? [String: Any])?["name"] as? String
    #expect(name?.hasPrefix("pread") ?? true, "\(plain)")
  }

  @Test func `a checkpoint becomes a safetensors file of the same values`() throws {
    let (source, copy) = (Self.fixture("v1"), folder.path("copy.safetensors"))
    let selection = ["--drop", "name", "--drop", "dtypes/int4", "--drop", "numpy/c16", "--drop", "odd/a.b"]
    let outcome = try Tool.run(["convert", source, copy] + selection)
    #expect(outcome.status == 0, "\(outcome)")
    #expect(outcome.output.hasPrefix("wrote 25 leaves, "), "\(outcome)")
    for leaf in ["params/layer0/bias", "dtypes/bfloat16", "dtypes/complex64", "odd/x\\/y", "step"] {
      let (before, after) = (try json("peek", source, leaf), try json("peek", copy, leaf))
      for member in ["dtype", "shape", "values"] {
        #expect(before[member] as? NSObject == after[member] as? NSObject, "\(leaf)")
      }
    }
  }

  @Test func `a step is converted like any checkpoint`() throws {
    let copy = folder.path("step.safetensors")
    #expect(try Tool.run("convert", Self.fixture("v0-steps@20"), copy).status == 0)
    #expect(
      try json("peek", copy, "w")["values"] as? [Double]
        == (try json("peek", Self.fixture("v0-steps/ckpt_0020"), "w")["values"] as? [Double]))
  }

  @Test(arguments: [
    (["--select", "name"], "name"), (["--select", "dtypes/int4"], "dtypes/int4"),
    (["--select", "numpy/c16"], "numpy/c16"),
    (["--select", "odd/a.b"], "odd/a.b"),
  ])
  func `what safetensors cannot hold is an error that names the leaf`(selection: [String], leaf: String)
    throws
  {
    let outcome = try Tool.run(["convert", Self.fixture("v1"), folder.path("a.safetensors")] + selection)
    #expect(outcome.status == 2)
    #expect(outcome.diagnostics.contains(leaf), "\(outcome.diagnostics)")
    #expect(outcome.diagnostics.split(separator: "\n").count == 1)
    #expect(try folder.names() == [])
  }
}
