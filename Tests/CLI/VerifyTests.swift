import Foundation
import Testing

/// `graft verify` and `graft diff`, as scripts see them.
@Suite struct VerifyTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  private func json(_ arguments: String..., status: Int32 = 0) throws -> [String: Any] {
    let outcome = try Tool.run(arguments + ["--json"])
    #expect(outcome.status == status && outcome.diagnostics == "", "\(outcome)")
    return try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
  }

  private func write(_ byte: UInt8, at offset: Int, of path: String) throws {
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    try handle.seek(toOffset: UInt64(offset))
    try handle.write(contentsOf: [byte])
    try handle.close()
  }

  // MARK: verify

  @Test func `what has no checksums is unprotected, and verified once it is sealed`() throws {
    let path = try folder.writeModel("m.safetensors", [("a.w", [40, 30]), ("b", [7])])
    let before = try json("verify", path)
    #expect(before["verified_leaves"] as? Int == 0 && before["unprotected_leaves"] as? Int == 2)
    #expect((before["failures"] as? [Any])?.count == 0 && before["failure_count"] as? Int == 0)
    #expect(before["seal"] is NSNull)
    let sealing = try Tool.run("verify", path, "--seal")
    #expect(sealing.status == 0, "\(sealing)")
    #expect(sealing.output.contains("2 leaves verified by checksums\nsealed in \(path).graft-seal\n"))
    #expect(try folder.names() == ["m.safetensors", "m.safetensors.graft-seal"])
    let after = try json("verify", path)
    #expect(after["verified_leaves"] as? Int == 2 && after["unprotected_leaves"] as? Int == 0)
  }

  @Test func `a flipped byte fails with status 1, and names leaf, file and range`() throws {
    let path = try folder.writeModel("m.safetensors", [("a.w", [40, 30]), ("b", [7])])
    #expect(try Tool.run("verify", path, "--seal").status == 0)
    let size = try folder.bytes("m.safetensors").count
    try write(0xA5, at: size - 1, of: path)
    let answer = try json("verify", path, status: 1)
    let failures = try #require(answer["failures"] as? [[String: Any]])
    #expect(failures.count == 1 && answer["failure_count"] as? Int == 1)
    // Both leaves are in the one block.
    #expect(failures[0]["path"] as? String == "a/w" && failures[0]["file"] as? String == path)
    #expect(failures[0]["range"] as? [Int] == [0, size])
    #expect(failures[0]["code"] as? String == "corrupt")
    let text = try Tool.run("verify", path)
    #expect(text.status == 1 && text.diagnostics == "")
    #expect(text.output.contains("The bytes are not those that were sealed."), "\(text)")
    #expect(text.output.contains("\n2 leaves failed\n"), "\(text)")
    #expect(text.output.contains("something is wrong with \(path)"), "\(text)")
  }

  @Test func `metadata that contradicts itself is an answer, and a path that is nothing an error`() throws {
    let path = try folder.writeModel("m.safetensors", [("a.w", [40, 30])])
    let size = try folder.bytes("m.safetensors").count
    #expect(truncate(path, off_t(size - 1)) == 0)
    let answer = try json("verify", path, status: 1)
    #expect(answer["verified_leaves"] as? Int == 0 && answer["failure_count"] as? Int == 1)
    #expect(try Tool.run("verify", folder.path("none")).status == 2)
    #expect(try Tool.run("verify", path, "--seal", "--select", "a").status == 64)
  }

  @Test func `an Orbax checkpoint's checksums are verified`() throws {
    let answer = try json("verify", OrbaxToolTests.fixture("v1-mesh"))
    #expect(answer["verified_leaves"] as? Int == 5 && answer["unprotected_leaves"] as? Int == 0)
  }

  // MARK: diff

  @Test func `equal checkpoints give status 0`() throws {
    let a = try folder.writeModel("a.safetensors", [("w", [40, 30]), ("b", [7])])
    let b = try folder.writeModel("b.safetensors", [("b", [7]), ("w", [40, 30])])
    let answer = try json("diff", a, b)
    #expect(answer["equal_leaves"] as? Int == 2)
    for key in ["only_in_a", "only_in_b", "different_spec", "different_values"] {
      #expect((answer[key] as? [Any])?.isEmpty == true, "\(key)")
    }
    let shared = try Tool.run("diff", a, a)
    #expect(shared.status == 0)
    #expect(shared.output.hasPrefix("2 leaves equal (2 in the same bytes of the same files); 0 B read"))
  }

  @Test func `differences give status 1, and are listed`() throws {
    let a = try folder.writeModel("a.safetensors", [("w", [40]), ("b", [7]), ("s", [2, 3]), ("x", [1])])
    let b = try folder.writeModel("b.safetensors", [("w", [40]), ("b", [7]), ("s", [6]), ("y", [1])])
    // The last element of w, which counts up: 39 becomes 38.5.
    let header = try folder.bytes("b.safetensors").prefix(8).withUnsafeBytes {
      $0.loadUnaligned(as: UInt64.self)
    }
    try write(0x1A, at: 8 + Int(header) + 39 * 4 + 2, of: b)
    let answer = try json("diff", a, b, status: 1)
    #expect(answer["only_in_a"] as? [String] == ["x"] && answer["only_in_b"] as? [String] == ["y"])
    let specs = try #require(answer["different_spec"] as? [[String: Any]])
    #expect(specs.map { $0["path"] as? String } == ["s"])
    #expect((specs[0]["a"] as? [String: Any])?["shape"] as? [Int] == [2, 3])
    let values = try #require(answer["different_values"] as? [[String: Any]])
    #expect(values.count == 1 && values[0]["path"] as? String == "w")
    #expect(values[0]["max_abs"] as? Double == 0.5 && values[0]["count"] as? Int == 1)
    #expect(answer["equal_leaves"] as? Int == 1)
    #expect(
      try Tool.run("diff", a, b).output.hasPrefix(
        """
        x: only in \(a)
        y: only in \(b)
        s: float32[2, 3] and float32[6]
        w: 1 of 40 elements differ, by at most 0.5
        1 leaf equal;
        """))
    #expect(try Tool.run("diff", a, b, "--select", "w", "--tolerance", "0.5").status == 0)
    #expect(try Tool.run("diff", a, b, "--select", "w", "--tolerance", "0.25").status == 1)
    #expect(try Tool.run("diff", a, b, "--drop", "{w,s,x,y}").status == 0)
    #expect(try Tool.run("diff", a, b, "--tolerance", "-1").status == 64)
    #expect(try Tool.run("diff", a, folder.path("none")).status == 2)
  }
}
