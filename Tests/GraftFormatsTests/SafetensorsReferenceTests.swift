import Foundation
import GraftCore
import GraftFormats
import GraftTestSupport
import Testing

/// The reference implementation as judge: what Graft takes for sound it must, too.
@Suite(
  .enabled(if: Reference.isInstalled, "Python with safetensors is not installed; GRAFT_TEST_PYTHON names one")
)
struct SafetensorsReferenceTests {
  /// The rules in which Graft is stricter on purpose: the specification forbids the first two, and the reference does not
  /// look; the others are oddities of its JSON library.
  static let stricter = [
    "twice", "does not begin with a brace",  // the specification's rules
    "an array stands where an object has to",  // an entry as a list of its fields' values
    "nested deeper", "too large for a double",  // in fields that nobody knows
  ]

  @Test func `damaged files are judged as the reference judges them`() throws {
    let seed = seedFromEnvironment() ?? UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    let files = (0..<4_000).map { _ in Self.damagedFile(using: &random) }
    let verdicts = try Reference.accepts(files)
    #expect(verdicts.contains(true) && verdicts.contains(false))
    for (file, isAccepted) in zip(files, verdicts) {
      let text = String(decoding: file, as: UTF8.self)
      do throws(GraftError) {
        _ = try SafetensorsHeaderTests.parse(file)
        #expect(isAccepted, "the reference refuses \(text), GRAFT_TEST_SEED=\(seed)")
      } catch {
        let isStricter = Self.stricter.contains { error.message.contains($0) }
        #expect(!isAccepted || isStricter, "the reference accepts \(text), GRAFT_TEST_SEED=\(seed): \(error)")
      }
    }
  }

  @Test func `what is written is read by the reference`() async throws {
    let seed = seedFromEnvironment() ?? UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    let folder = TemporaryFolder()
    var files: [[UInt8]] = []
    for round in 0..<10 {
      let leaves = SafetensorsWriterTests.randomLeaves(using: &random)
      let writer = try SafetensorsWriter(at: folder.path("\(round)"), leaves: leaves)
      for (leaf, spec) in leaves.map(\.spec).enumerated() {
        let bytes = [UInt8](repeating: UInt8(leaf), count: spec.tensor?.byteCount ?? 0)
        try writer.write(bytes.span.bytes, leaf: leaf, byteOffset: 0)
      }
      try await writer.finish()
      files.append(try folder.bytes("\(round)"))
    }
    #expect(try Reference.accepts(files) == files.map { _ in true }, "GRAFT_TEST_SEED=\(seed)")
  }

  /// A sound file, or one with a few bytes of the header changed into others that mean something in it.
  private static func damagedFile(using random: inout SeededGenerator) -> [UInt8] {
    var file = SafetensorsHeaderTests.randomFile(using: &random)
    let headerCount = Int(file[0]) | Int(file[1]) << 8
    let tokens = [
      "0", "1", "8", "-", ".", "e", "-0", "00", "[", "]", "{", "}", ",", ":", "\"", "\\", " ", "\n", "null",
      "true",
      "\"F32\"", "\"x\":1,", "\\u0041", "\\ud800", "9223372036854775808", "18446744073709551616", "é",
      "\u{0}", "[],",
    ]
    for _ in 0..<Int.random(in: 0..<3, using: &random) {
      let begin = Int.random(in: 8..<8 + headerCount, using: &random)
      let end = min(begin + Int.random(in: 0..<3, using: &random), 8 + headerCount, file.count)
      guard begin <= end, let token = tokens.randomElement(using: &random) else { continue }
      file.replaceSubrange(begin..<end, with: Array(token.utf8))
    }
    // Half of the time the length is put right, so that what was put in is looked at.
    if Bool.random(using: &random), let last = file.lastIndex(of: UInt8(ascii: "}")) {
      file.replaceSubrange(0..<8, with: lengthField(UInt64(max(0, last - 7))))
    }
    return file
  }
}

/// The reference implementation, run by Python.
enum Reference {
  static let isInstalled = (try? accepts([])) != nil

  struct Failure: Error {}

  /// Whether the reference implementation reads each of these files.
  static func accepts(_ files: [[UInt8]]) throws -> [Bool] {
    let script = """
      import sys, struct, safetensors
      data = sys.stdin.buffer.read()
      position = 0
      while position < len(data):
          count, = struct.unpack_from("<Q", data, position)
          file = data[position + 8:position + 8 + count]
          position += 8 + count
          try:
              safetensors.deserialize(file)
              print("1", end="")
          except safetensors.SafetensorError:
              print("0", end="")
      """
    let process = Process()
    let (stdin, stdout) = (Pipe(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    let python = ProcessInfo.processInfo.environment["GRAFT_TEST_PYTHON"] ?? "python3"
    process.arguments = [python, "-c", script]
    process.standardInput = stdin
    process.standardOutput = stdout
    process.standardError = FileHandle.nullDevice
    try process.run()
    // All input is taken before any output comes, so that neither pipe waits for the other.
    var input = Data()
    for file in files { input += lengthField(UInt64(file.count)) + file }
    try? stdin.fileHandleForWriting.write(contentsOf: input)
    try stdin.fileHandleForWriting.close()
    let output = try stdout.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    guard process.terminationStatus == 0, output.count == files.count else { throw Failure() }
    return output.map { $0 == UInt8(ascii: "1") }
  }
}
