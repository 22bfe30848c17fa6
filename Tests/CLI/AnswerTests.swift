import Foundation
import Testing

@Suite struct AnswerTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  func model(_ name: String = "model.safetensors") throws -> String {
    try folder.writeModel(
      name,
      [("layers.10.kernel", [2, 3]), ("layers.2.kernel", [2, 3]), ("layers.2.bias", [3]), ("step", [])],
      metadata: ["format": "pt"])
  }

  @Test func `inspect lists the leaves in natural order`() throws {
    let outcome = try Tool.run("inspect", try model())
    #expect(outcome.status == 0)
    #expect(outcome.diagnostics == "")
    #expect(
      outcome.output == """
        path              dtype    shape   bytes
        layers/2/bias     float32  [3]      12 B
        layers/2/kernel   float32  [2, 3]   24 B
        layers/10/kernel  float32  [2, 3]   24 B
        step              float32  []        4 B

        safetensors, 1 file, 4 leaves, 64 B
        format: pt

        """)
  }

  @Test func `inspect's JSON is one object and nothing else`() throws {
    let outcome = try Tool.run(
      "inspect", try model(), "--select", "layers/2/*", "--drop", "**/bias", "--json")
    #expect(
      outcome.output == """
        {"format":"safetensors","metadata":{"format":"pt"},"logical_bytes":24,"stored_bytes":24,"leaves":[{"path":\
        "layers/2/kernel","dtype":"float32","shape":[2,3],"logical_bytes":24,"stored_bytes":24,"chunk_shape":[2,3],\
        "codecs":[],"sharding":null}]}

        """)
  }

  @Test func `later rules win, in the order in which both options are given`() throws {
    let path = try model()
    func paths(_ rules: String...) throws -> Int {
      let outcome = try Tool.run(["inspect", path, "--json"] + rules)
      let answer = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
      return (answer?["leaves"] as? [Any])?.count ?? -1
    }
    #expect(try paths("--select", "layers", "--drop", "**/bias") == 2)
    #expect(try paths("--drop", "**/bias", "--select", "layers") == 4)
    #expect(try paths("--select", "**/bias", "--drop", "layers", "--select", "layers/10") == 1)
  }

  @Test func `inspect shows names that make no tree whole, and says so`() throws {
    let path = try folder.writeModel("a.safetensors", [("a", [1]), ("a.b", [1])])
    let outcome = try Tool.run("inspect", path)
    #expect(outcome.status == 0)
    #expect(outcome.output.contains("a.b"))
    #expect(outcome.diagnostics.hasPrefix("Names are shown whole, as they make no tree. "))
    #expect(try Tool.run("load", path).status == 2)
    #expect(try Tool.run("load", path, "--flat", "--no-ceiling", "--quiet").status == 0)
  }

  @Test func `peek shows values and statistics, and reads only the slice`() throws {
    let outcome = try Tool.run("peek", try model(), "layers/2/kernel", "--slice", "-1,1:")
    #expect(outcome.diagnostics == "")
    #expect(
      outcome.output == """
        layers/2/kernel: float32[2] [4.0, 5.0]
        min 4, max 5, mean 4.5, std 0.5, 0 NaN, 0 infinite, 0 zero of 2
        8 B read

        """)
    let json = try Tool.run("peek", try model(), "layers/2/kernel", "--json")
    #expect(
      json.output == """
        {"path":"layers/2/kernel","dtype":"float32","shape":[2,3],"values":[[0.0,1.0,2.0],[3.0,4.0,5.0]],"statistics":\
        {"count":6,"min":0.0,"max":5.0,"mean":2.5,"std":1.707825127659933,"nans":0,"infinities":0,"zeros":1},\
        "bytes_read":24}

        """)
    #expect(
      try Tool.run("peek", try model(), "layers/2/kernel", "--json", "--limit", "5").output.contains(
        "\"values\":null"))
  }

  @Test func `a slice of too many axes, and an index beyond the leaf, are errors`() throws {
    for slice in ["2", "0,0,0", "-3"] {
      let outcome = try Tool.run("peek", try model(), "layers/2/kernel", "--slice", slice)
      #expect(outcome.status == 2)
      #expect(outcome.diagnostics.contains("leaf layers/2/kernel"), "\(outcome)")
    }
    // A bound of a range is cut off, as Python does it.
    #expect(
      try Tool.run("peek", try model(), "layers/2/kernel", "--slice", "1:9").output.hasPrefix(
        "layers/2/kernel: float32[1, 3]"))
  }

  @Test func `plan says what load then reads`() throws {
    // 12 bytes of bias and, a gap of 8 before it, the 16 that the column spans: one request for all.
    let arguments = [
      try model(), "--select", "layers", "--drop", "layers/10", "--slice", "layers/2/kernel=:,0",
    ]
    let plan = try Tool.run(["plan", "--json"] + arguments)
    #expect(
      plan.output.hasPrefix(
        "{\"bytes_read\":36,\"requests\":1,\"bytes_copied\":8,\"bytes_computed\":0,\"bytes_written\":0,\"peak_memory_bytes\":"
      ))
    let load = try Tool.run(["load", "--json", "--no-ceiling", "--repeat", "2"] + arguments)
    let answer = try #require(
      try JSONSerialization.jsonObject(with: Data(load.output.utf8)) as? [String: Any], "\(load)")
    #expect(answer["bytes_read"] as? Int == 36)
    #expect(answer["logical_bytes"] as? Int == 20)
    #expect(answer["leaves"] as? Int == 2)
    #expect((answer["seconds"] as? [Double])?.count == 2)
    #expect(answer["ceiling"] is NSNull)
  }

  @Test func `load compares itself with a ceiling in the same run`() throws {
    let outcome = try Tool.run("load", try model(), "--json")
    let answer = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
    let ceiling = try #require(answer?["ceiling"] as? [String: Any])
    #expect(Set(ceiling.keys) == ["name", "gib_per_second", "ratio"])
  }

  @Test func `a model becomes shards and one file again`() throws {
    let path = try model()
    let sharded = try Tool.run(
      "convert", path, folder.path("shards"), "--to", "safetensors", "--shard-size", "30B", "--json")
    #expect(sharded.status == 0, "\(sharded)")
    #expect(
      sharded.output.hasPrefix(
        "{\"leaves_written\":4,\"leaves_linked\":0,\"leaves_rewritten\":[],\"bytes_read\":64,\"bytes_written\":64,"
      ))
    #expect(try folder.names(in: "shards").count == 4)
    let whole = try Tool.run("convert", folder.path("shards"), folder.path("whole.safetensors"))
    #expect(whole.output.hasPrefix("wrote 4 leaves, 64 B, to "))
    #expect(
      try Tool.run("peek", folder.path("whole.safetensors"), "layers/10/kernel", "--json").output
        == (try Tool.run("peek", path, "layers/10/kernel", "--json").output))
  }

  @Test func `doctor answers`() throws {
    let outcome = try Tool.run("doctor", "--json")
    let answer = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
    #expect(answer?["io_uring"] != nil && answer?["direct_io"] != nil && answer?["choices"] != nil)
    #expect(try Tool.run("doctor").output.contains("What a load would use here:"))
    #expect(try Tool.run("doctor", folder.path("nowhere")).status == 2)
  }
}

@Suite struct FailureTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  @Test func `an error is one paragraph on standard error`() throws {
    let path = folder.path("nowhere.safetensors")
    let outcome = try Tool.run("inspect", path)
    #expect(outcome.status == 2)
    #expect(outcome.output == "")
    #expect(outcome.diagnostics.contains("nowhere.safetensors"))
    #expect(outcome.diagnostics.split(separator: "\n").count == 1)
  }

  @Test func `a pattern that matches nothing offers near names`() throws {
    let path = try folder.writeModel("a.safetensors", [("params.kernel", [1])])
    #expect(
      try Tool.run("load", path, "--select", "parms/**").diagnostics
        == "No leaf matches the pattern parms/** to select. Did you mean params?\n")
    #expect(try Tool.run("peek", path, "parms/kernel").diagnostics.contains("Did you mean params/kernel?"))
    #expect(try Tool.run("peek", path, "params").diagnostics.contains("for example params/kernel"))
  }

  @Test func `an existing destination is left alone unless told otherwise`() throws {
    let path = try folder.writeModel("a.safetensors", [("a", [1])])
    let other = try folder.writeModel("b.safetensors", [("b", [2])])
    let before = try folder.bytes("b.safetensors")
    let refused = try Tool.run("convert", path, other)
    #expect(refused.status == 2)
    #expect(refused.diagnostics.contains("Pass --overwrite to replace it."))
    #expect(try folder.bytes("b.safetensors") == before)
    #expect(try Tool.run("convert", path, other, "--overwrite").status == 0)
    #expect(try Tool.run("inspect", other).output.contains("a  "))
    #expect(try folder.names() == ["a.safetensors", "b.safetensors"])
  }

  @Test(arguments: [
    [], ["inspect"], ["frobnicate"], ["inspect", "a", "b"], ["inspect", "a", "--select", "a**b"],
    ["load", "a", "--budget", "many"],
    ["load", "a", "--repeat", "0"], ["load", "a", "--engine", "steam"], ["load", "a", "--slice", "a"],
    ["convert", "a", "b.safetensors", "--shard-size", "1MiB"], ["peek", "a", "\\"],
  ])
  func `wrong usage has a status of its own`(arguments: [String]) throws {
    let outcome = try Tool.run(arguments)
    if arguments.isEmpty {
      // Without a verb the tool explains itself.
      #expect(outcome.status == 0 && outcome.output.contains("SUBCOMMANDS"))
    } else {
      #expect(outcome.status == 64)
      #expect(outcome.output == "")
      #expect(outcome.diagnostics.contains("Usage: graft"))
    }
  }

  @Test func `a malformed pattern is pointed at`() throws {
    #expect(try Tool.run("load", "a", "--select", "a/b**").diagnostics.contains("character 4"))
  }

  @Test func `a closed pipe ends the tool without a word`() throws {
    let path = try folder.writeModel("a.safetensors", [("a", [1])])
    let pipe = Pipe()
    try pipe.fileHandleForReading.close()
    let diagnostics = folder.path("diagnostics")
    let process = try Tool.start(
      ["inspect", path], output: pipe.fileHandleForWriting, diagnostics: try Tool.file(diagnostics))
    process.waitUntilExit()
    #expect(process.terminationReason == .exit)
    #expect(process.terminationStatus == 141)
    #expect(try String(contentsOfFile: diagnostics, encoding: .utf8) == "")
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func `an interrupted conversion leaves nothing behind`(signal: Int32) throws {
    let source = try folder.writeSparseModel("zeros.safetensors", byteCount: 3 << 30)
    let diagnostics = folder.path("diagnostics")
    let process = try Tool.start(
      ["convert", source, folder.path("copy.safetensors"), "--budget", "8MiB"], output: .nullDevice,
      diagnostics: try Tool.file(diagnostics))
    // What is half written has a name of its own, so the conversion has begun when there is one.
    while process.isRunning, try folder.names().count < 3 { usleep(1000) }
    kill(process.processIdentifier, signal)
    process.waitUntilExit()
    #expect(process.terminationStatus == 130)
    #expect(try String(contentsOfFile: diagnostics, encoding: .utf8) == "graft: interrupted\n")
    #expect(try folder.names() == ["diagnostics", "zeros.safetensors"])
  }
}
