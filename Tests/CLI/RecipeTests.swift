import Foundation
import Testing

@Suite struct RecipeTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  func model(_ name: String = "model.safetensors") throws -> String {
    try folder.writeModel(
      name,
      [
        ("layers.0.q", [2, 3]), ("layers.1.q", [2, 3]), ("layers.10.q", [2, 3]), ("layers.2.q", [2, 3]),
        ("head", [3, 4]),
      ])
  }

  @discardableResult
  func recipe(_ text: String, _ name: String = "recipe.yaml") throws -> String {
    try Data(text.utf8).write(to: URL(fileURLWithPath: folder.path(name)))
    return folder.path(name)
  }

  func json(_ arguments: String...) throws -> [String: Any] {
    let outcome = try Tool.run(arguments + ["--json", "--quiet"])
    #expect(outcome.status == 0, "\(outcome.diagnostics)")
    return try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
  }

  func leaves(_ path: String) throws -> [String] {
    let answer = try json("inspect", path)
    return (answer["leaves"] as? [[String: Any]] ?? []).map { leaf in
      "\(leaf["path"] ?? ""): \(leaf["dtype"] ?? "")\(leaf["shape"] as? [Int] ?? [-1])"
    }
  }

  /// The first values of a leaf.
  func values(_ path: String, _ leaf: String) throws -> [Double] {
    flattened(try #require(try json("peek", path, leaf)["values"]))
  }

  private func flattened(_ values: Any) -> [Double] {
    if let list = values as? [Any] { return list.flatMap(flattened) }
    return [(values as? NSNumber)?.doubleValue ?? .nan]
  }

  @Test func `convert does a recipe on its source`() throws {
    let recipe = try recipe(
      """
      steps:
        - stack: {pattern: 'layers/(\\d+)/q', to: layers/q, axis: 0, count: 4}
          # The numbering has a gap, which a filler closes.
        - drop: nothing
      """)
    let gap = try Tool.run("convert", try model(), folder.path("out.safetensors"), "--recipe", recipe)
    #expect(gap.status == 2)
    #expect(gap.diagnostics.contains("step 1 (stack) at line 2, column 5"))
    try self.recipe(
      """
      steps:
        - rename: {pattern: 'layers/10/', replacement: 'layers/3/'}
        - stack: {pattern: 'layers/(\\d+)/q', to: layers/q, axis: 0, count: 4}
        - transpose: {select: head}
      expect: {exactly: true, layers/q: "float32[4, 2, 3]", head: "float32[4, 3]"}
      """)
    let answer = try json("convert", try model(), folder.path("out.safetensors"), "--recipe", recipe)
    #expect(
      Set(answer.keys) == [
        "leaves_written", "leaves_linked", "leaves_rewritten", "bytes_read", "bytes_written", "seconds",
        "peak_memory_bytes", "report",
      ])
    #expect(answer["leaves_written"] as? Int == 2)
    #expect(answer["bytes_read"] as? Int == 4 * 24 + 48)
    #expect(answer["bytes_written"] as? Int == 4 * 24 + 48)
    #expect(
      try leaves(folder.path("out.safetensors")) == ["head: float32[4, 3]", "layers/q: float32[4, 2, 3]"])
    #expect(
      try values(folder.path("out.safetensors"), "layers/q") == [
        0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5,
      ])
    #expect(try values(folder.path("out.safetensors"), "head") == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])
  }

  @Test func `convert casts what globs select, and loses values only when that is allowed`() throws {
    let target = folder.path("cast.safetensors")
    let refused = try Tool.run("convert", try model(), target, "--cast", "layers/**=bfloat16")
    #expect(refused.status == 2)
    #expect(
      refused.diagnostics.hasPrefix(
        "A cast from float32 to bfloat16 may lose values. In leaf layers/0/q, --cast layers/**=bfloat16. Pass --allow-lossy."
      ), "\(refused.diagnostics)")
    #expect(try folder.names() == ["model.safetensors"])
    _ = try json(
      "convert", try model(), target, "--cast", "layers/**=bfloat16", "--cast", "layers/1/q=float64",
      "--allow-lossy", "--drop", "layers/10")
    #expect(
      try leaves(target) == [
        "head: float32[3, 4]", "layers/0/q: bfloat16[2, 3]", "layers/1/q: float64[2, 3]",
        "layers/2/q: bfloat16[2, 3]",
      ])
    #expect(try values(target, "layers/1/q") == [0, 1, 2, 3, 4, 5])
    #expect(try Tool.run("convert", try model(), target, "--cast", "layers/**=bfloat61").status == 64)
    #expect(try Tool.run("convert", try model(), target, "--cast", "none=float64", "--overwrite").status == 2)
  }

  @Test func `merge reads the sources that its recipe names, beside the recipe or elsewhere`() throws {
    let (a, b) = (try model("a.safetensors"), try model("b.safetensors"))
    let recipe = try recipe(
      """
      sources: {a: a.safetensors, b: b.safetensors}
      steps:
        - average: {of: [a, b], select: layers, to: soup}
        - take: {from: b, select: head}
        - init: {path: new/bias, shape: [4], dtype: float32, with: {constant: 0.5}}
      """)
    let target = folder.path("merged.safetensors")
    let answer = try json("merge", recipe, target)
    #expect(answer["leaves_written"] as? Int == 6)
    #expect(answer["bytes_read"] as? Int == 2 * 4 * 24 + 48)
    #expect(try values(target, "soup/2/q") == [0, 1, 2, 3, 4, 5])
    #expect(try values(target, "new/bias") == [0.5, 0.5, 0.5, 0.5])
    #expect(try Tool.run("merge", recipe, target).status == 2)
    try FileManager.default.moveItem(atPath: a, toPath: folder.path("c.safetensors"))
    let missing = try Tool.run("merge", recipe, target, "--overwrite")
    #expect(missing.status == 2)
    #expect(missing.diagnostics.contains("source a of \(recipe)"))
    _ = try json("merge", recipe, target, "--overwrite", "--source", "a=\(folder.path("c.safetensors"))")
    #expect(try Tool.run("merge", recipe, target, "--overwrite", "--source", "z=\(b)").status == 2)
    #expect(try Tool.run("merge", recipe, folder.path("nothing")).status == 2)
    #expect(try Tool.run("merge", recipe).status == 64)
  }

  @Test(arguments: [[], ["--destination", "out.safetensors"]])
  func `plan says what a recipe then reads`(destination: [String]) throws {
    let a = try folder.writeModel("a.safetensors", [("w", [512, 300]), ("v", [64])])
    try folder.writeModel("b.safetensors", [("w", [512, 300]), ("v", [64])])
    let recipe = try recipe(
      """
      sources: {b: b.safetensors}
      steps:
        - average: {of: [source, b], select: w, replace: true}
        - scale: {select: v, by: 2}
        - init: {path: n, shape: [10], dtype: float32, with: zeros}
      """)
    let outcome = try Tool.run(["plan", a, "--recipe", recipe, "--json", "--quiet"] + destination)
    let plan = try #require(
      try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
    let (w, v) = (512 * 300 * 4, 64 * 4)
    #expect(
      Set(plan.keys) == [
        "bytes_read", "requests", "bytes_copied", "bytes_computed", "bytes_written", "peak_memory_bytes",
        "leaves",
      ])
    #expect(plan["bytes_read"] as? Int == 2 * w + v)
    #expect(plan["bytes_computed"] as? Int == w + v + 40)
    #expect(plan["bytes_copied"] as? Int == 0)
    #expect(plan["bytes_written"] as? Int == (destination.isEmpty ? 0 : w + v + 40))
    let converted = try json("convert", a, folder.path("out.safetensors"), "--recipe", recipe)
    #expect(converted["bytes_read"] as? Int == plan["bytes_read"] as? Int)
    #expect(converted["bytes_written"] as? Int == w + v + 40)
    let leaves = try #require(plan["leaves"] as? [[String: Any]])
    #expect(leaves.map { $0["path"] as? String } == ["n", "v", "w"])
    #expect(leaves.map { $0["bytes_computed"] as? Int } == [40, v, w])
  }

  @Test func `plan shows a recipe without a checkpoint, and wants one or the other`() throws {
    _ = try model("a.safetensors")
    let recipe = try recipe("sources: {a: a.safetensors}\nsteps: [{take: {from: a, select: head}}]")
    let outcome = try Tool.run("plan", "--recipe", recipe, "--destination", "x.safetensors")
    #expect(outcome.status == 0)
    #expect(outcome.output.contains("head  float32  [3, 4]   48 B  read into place"))
    #expect(outcome.output.contains("written 48 B"))
    #expect(try Tool.run("plan").status == 64)
    #expect(try Tool.run("plan", "--recipe", recipe, "--select", "head").status == 64)
    #expect(try Tool.run("plan", folder.path("a.safetensors"), "--source", "a=b").status == 2)
  }

  @Test func `a recipe that is no recipe is one paragraph, and writes nothing`() throws {
    let model = try model()
    let error = try Tool.run("convert", model, folder.path("out.safetensors"), "--recipe", model)
    #expect(error.status == 2)
    #expect(error.output == "")
    #expect(
      error.diagnostics.hasPrefix("The file is no text in UTF-8, as a recipe is.")
        || error.diagnostics.hasPrefix("The recipe is no YAML"))
    let absent = try Tool.run("merge", folder.path("absent.yaml"), folder.path("out.safetensors"))
    #expect(absent.status == 2)
    #expect(absent.diagnostics.contains("absent.yaml"))
    #expect(try folder.names() == ["model.safetensors"])
  }

  @Test func `an interrupted merge leaves nothing behind`() throws {
    _ = try folder.writeSparseModel("a.safetensors", byteCount: 2 << 30)
    _ = try recipe(
      """
      sources: {a: a.safetensors}
      steps:
        - take: {from: a}
        - cast: {select: zeros, dtype: float32}
      """)
    let diagnostics = folder.path("diagnostics")
    let process = try Tool.start(
      ["merge", folder.path("recipe.yaml"), folder.path("out.safetensors"), "--budget", "8MiB"],
      output: .nullDevice,
      diagnostics: try Tool.file(diagnostics))
    while process.isRunning, try folder.names().count < 4 { usleep(1000) }
    kill(process.processIdentifier, SIGINT)
    process.waitUntilExit()
    #expect(process.terminationStatus == 130)
    #expect(try String(contentsOfFile: diagnostics, encoding: .utf8) == "graft: interrupted\n")
    #expect(try folder.names() == ["a.safetensors", "diagnostics", "recipe.yaml"])
  }
}
