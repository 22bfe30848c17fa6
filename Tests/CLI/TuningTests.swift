import Foundation
import Testing

@Suite struct TuningTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  private func tuning(_ settings: String, measuredOn origin: String = "") throws -> String {
    let path = folder.path("tuning.json")
    try Data("{\"graft_tuning\":1,\"measured_on\":{\(origin)},\n\"settings\":{\(settings)}}".utf8)
      .write(to: URL(fileURLWithPath: path))
    return path
  }

  private func answer(_ arguments: String...) throws -> [String: Any] {
    let outcome = try Tool.run(arguments + ["--json", "--quiet"])
    #expect(outcome.status == 0, "\(outcome.diagnostics)")
    return try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
  }

  @Test func `load takes its settings from a file, and an option wins over it`() throws {
    let model = try folder.writeModel("model.safetensors", [("w", [200, 1000])])
    let file = try tuning(#""engine":"threads","block_bytes":65536,"threads":1"#)
    let loaded = try answer("load", model, "--no-ceiling", "--tuning", file)
    #expect(loaded["engine"] as? String == "threads")
    #expect(loaded["requests"] as? Int == 13)
    #expect(loaded["logical_bytes"] as? Int == 800_000)
    // What the option does not mention stays as the file says it.
    let other = try answer("load", model, "--no-ceiling", "--tuning", file, "--engine", "auto")
    #expect(other["requests"] as? Int == 13)
    let engine = try answer("load", model, "--no-ceiling")["engine"] as? String
    #expect(other["engine"] as? String == engine)
  }

  @Test func `every command that reads tensors takes a tuning file`() throws {
    let model = try folder.writeModel("model.safetensors", [("a", [4]), ("b", [8])])
    let recipe = folder.path("recipe.yaml")
    try Data("sources: {m: \(model)}\nsteps: [{take: {from: m}}]\n".utf8)
      .write(to: URL(fileURLWithPath: recipe))
    let good = try tuning(#""queue_depth":4"#)
    let commands = [
      ["load", model, "--no-ceiling"], ["peek", model, "a"], ["plan", model], ["diff", model, model],
      ["verify", model],
      ["convert", model, folder.path("copy.safetensors")],
      ["merge", recipe, folder.path("merged.safetensors")],
    ]
    for command in commands {
      let outcome = try Tool.run(command + ["--tuning", good, "--quiet"])
      #expect(outcome.status == 0, "\(command[0]): \(outcome.diagnostics)")
    }
    let bad = try tuning(#""queue_dept":4"#)
    for command in commands {
      let outcome = try Tool.run(command + ["--tuning", bad])
      #expect(outcome.status == 2, "\(command[0])")
      #expect(outcome.diagnostics.contains("Line 2 of the tuning file: settings.queue_dept"), "\(command[0])")
      #expect(outcome.diagnostics.contains("Did you mean queue_depth?"))
    }
  }

  @Test func `plan counts what the settings of the file would read`() throws {
    let model = try folder.writeModel("model.safetensors", (0..<50).map { ("w\($0)", [200]) })
    let file = try tuning(#""coalescing_gap_bytes":0"#)
    let command = ["plan", model, "--select", "w*", "--drop", "w{1,3,5,7,9,11,13}", "--json"]
    func requests(_ more: String...) throws -> Int? {
      let outcome = try Tool.run(command + more)
      let answer = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
      return answer?["requests"] as? Int
    }
    #expect(try requests() == 1)
    #expect(try requests("--tuning", file) == 8)
  }

  @Test func `a file of another machine is a note, and works`() throws {
    let model = try folder.writeModel("model.safetensors", [("a", [4])])
    let file = try tuning("", measuredOn: #""processors":100000,"file_system":"tape""#)
    let outcome = try Tool.run("peek", model, "a", "--tuning", file)
    #expect(outcome.status == 0)
    #expect(outcome.diagnostics.contains("were measured elsewhere: the number of processors was 100000"))
    #expect(outcome.diagnostics.contains("the file system was tape"))
    #expect(outcome.diagnostics.contains("graft-benchmark tune"))
    #expect(try Tool.run("peek", model, "a", "--tuning", file, "--quiet").diagnostics == "")
    // The same machine: nothing to say.
    #expect(try Tool.run("peek", model, "a", "--tuning", try tuning("")).diagnostics == "")
  }

  @Test func `a tuning file that is not there is an error that names it`() throws {
    let model = try folder.writeModel("model.safetensors", [("a", [4])])
    let outcome = try Tool.run("load", model, "--tuning", folder.path("none.json"))
    #expect(outcome.status == 2)
    #expect(outcome.diagnostics.contains("none.json"))
  }
}
