import Foundation
import Testing

@Suite struct ProgressTests {
  let folder: Folder

  init() throws { folder = try Folder() }

  /// What a load shows on a terminal of this width.
  func shown(
    columnCount: UInt16 = 100, _ arguments: String..., environment: [String: String] = ["TERM": "xterm"]
  ) throws -> String {
    let path = try folder.writeSparseModel("zeros.safetensors", byteCount: 256 << 20)
    let terminal = try PseudoTerminal(columnCount: columnCount)
    let process = try Tool.start(
      ["load", path, "--no-ceiling"] + arguments, output: .nullDevice, diagnostics: terminal.terminal,
      environment: environment)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return try terminal.readToEnd()
  }

  @Test func `a terminal shows a bar with rate and time left, which is gone at the end`() throws {
    let text = try shown("--repeat", "3")
    let lines = text.components(separatedBy: "\r").dropFirst()
    #expect(lines.first?.hasPrefix("loading 1 of 3  [") == true, "\(text)")
    #expect(lines.allSatisfy { $0.hasSuffix("\u{1b}[K") })
    #expect(lines.last == "\u{1b}[K")
    #expect(!text.contains("\n"))
  }

  @Test func `a bar is no wider than the terminal`() throws {
    let lines = try shown(columnCount: 40).components(separatedBy: "\r").dropFirst()
    #expect(!lines.isEmpty)
    #expect(lines.allSatisfy { $0.replacingOccurrences(of: "\u{1b}[K", with: "").count < 40 })
  }

  @Test func `quiet, and a terminal that cannot move its cursor, show none`() throws {
    #expect(try shown("--quiet") == "")
    #expect(try shown(environment: ["TERM": "dumb"]) == "")
  }

  @Test func `a pipe gets no bar`() throws {
    let path = try folder.writeSparseModel("zeros.safetensors", byteCount: 64 << 20)
    #expect(try Tool.run("load", path, "--no-ceiling").diagnostics == "")
  }
}
