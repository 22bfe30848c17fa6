import Foundation
import GraftCore
import GraftTestSupport
import Testing

@Suite struct JSONWriterTests {
  static let seed =
    seedFromEnvironment()
    ?? UInt64.random(in: 0...UInt64.max)

  @Test func `a text is written without spaces, or a member to a line`() {
    let value: JSONValue = ["a": [1, -2.5, "x", nil, true], "empty": [:], "none": []]
    #expect(
      String(decoding: value.encoded(), as: UTF8.self)
        == #"{"a":[1,-2.5,"x",null,true],"empty":{},"none":[]}"#)
    let lines = """
      {
        "a": [
          1,
          -2.5,
          "x",
          null,
          true
        ],
        "empty": {},
        "none": []
      }
      """
    #expect(String(decoding: value.encoded(indentation: 2), as: UTF8.self) == lines)
  }

  @Test func `strings have the escapes that JSON demands and no others`() {
    let value = JSONValue.string("\"\\/\0\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}é\u{2028}😀")
    let wanted = #""\"\\/\u0000\b\t\n\u000b\f\r\u001f"# + "\u{7f}é\u{2028}😀\""
    #expect(String(decoding: value.encoded(), as: UTF8.self) == wanted)
  }

  @Test(arguments: [
    (0.1, "0.1"), (-0.0, "-0.0"), (1, "1.0"), (1e22, "1e+22"), (.leastNonzeroMagnitude, "5e-324"),
    (.greatestFiniteMagnitude, "1.7976931348623157e+308"),
    (.nan, "\"NaN\""), (.infinity, "\"Infinity\""), (-.infinity, "\"-Infinity\""),
  ]) func `doubles are written as shortly as they can be read back`(_ number: Double, _ text: String) throws {
    let written = JSONValue.double(number).encoded()
    #expect(String(decoding: written, as: UTF8.self) == text)
    if number.isFinite { #expect(try JSONValue(parsing: written) == .double(number)) }
  }

  @Test func `floats are written as floats, integers exactly, NaN as asked`() {
    var writer = JSONWriter(nonFinite: .literal)
    writer.beginArray()
    writer.float(0.1)
    writer.integer(UInt64.max)
    writer.integer(Int.min)
    writer.double(.nan)
    writer.double(-.infinity)
    writer.endArray()
    #expect(writer.string == "[0.1,18446744073709551615,-9223372036854775808,NaN,-Infinity]")
    #expect(String(decoding: JSONValue.double(.nan).encoded(nonFinite: .null), as: UTF8.self) == "null")
  }

  @Test func `random values survive writing and reading`() throws {
    var random = SeededGenerator(seed: Self.seed)
    for _ in 0..<300 {
      let value = Self.randomValue(depth: 4, using: &random)
      for indentation in [0, 1] {
        let text = value.encoded(indentation: indentation)
        #expect(try JSONValue(parsing: text) == value, "GRAFT_TEST_SEED=\(Self.seed)")
      }
    }
  }

  @Test(.enabled(if: Python.isInstalled, "python3 is not installed"))
  func `Python reads what is written, and what it writes is read as the same values`() throws {
    var random = SeededGenerator(seed: Self.seed)
    let values = (0..<500).map { _ in Self.randomValue(depth: 3, using: &random) }
    var texts = JSONValue.array(values).encoded()
    for escapes in ["True", "False"] {
      texts = try Python.run(
        "import json,sys; json.dump(json.load(sys.stdin),sys.stdout,ensure_ascii=\(escapes),allow_nan=False)",
        input: texts)
      #expect(try JSONValue(parsing: texts) == .array(values), "GRAFT_TEST_SEED=\(Self.seed)")
    }
  }

  @Test func `a damaged text is an error or a value, never a trap`() {
    var random = SeededGenerator(seed: Self.seed)
    for _ in 0..<200 {
      let text = Self.randomValue(depth: 4, using: &random).encoded()
      for _ in 0..<50 {
        var damaged = text
        for _ in 0..<Int.random(in: 1...3, using: &random) where !damaged.isEmpty {
          let index = Int.random(in: damaged.indices, using: &random)
          switch Int.random(in: 0..<4, using: &random) {
          case 0: damaged[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
          case 1: damaged.removeSubrange(index...)
          case 2: damaged.insert(UInt8.random(in: .min ... .max, using: &random), at: index)
          default: damaged.remove(at: index)
          }
        }
        // Skipping and reading agree on whether a text is well formed, apart from keys that come twice.
        var skips = true
        do throws(JSONError) {
          var json = JSONReader(damaged.span)
          try json.skipValue()
          try json.end()
        } catch { skips = false }
        do throws(JSONError) {
          _ = try JSONValue(parsing: damaged)
          #expect(skips, "GRAFT_TEST_SEED=\(Self.seed)")
        } catch {
          if case .duplicateKey = error.reason { continue }
          #expect(!skips && (0...damaged.count).contains(error.offset), "GRAFT_TEST_SEED=\(Self.seed)")
        }
      }
    }
  }

  static func randomValue(depth: Int, using random: inout SeededGenerator) -> JSONValue {
    switch Int.random(in: 0..<(depth > 0 ? 9 : 7), using: &random) {
    case 0: return nil
    case 1: return .bool(.random(using: &random))
    case 2:
      return .integer(Int.random(in: .min ... .max, using: &random) >> Int.random(in: 0..<64, using: &random))
    case 3: return .number(.unsigned(UInt64.random(in: UInt64(Int.max) + 1 ... .max, using: &random)))
    case 4:
      let bits = Double(bitPattern: .random(in: .min ... .max, using: &random))
      return .double(bits.isFinite ? bits : 0.5)
    case 5, 6: return .string(randomString(using: &random))
    case 7:
      return .array(
        (0..<Int.random(in: 0..<6, using: &random)).map { _ in randomValue(depth: depth - 1, using: &random) }
      )
    default:
      var seen: Set<Key> = []
      var members: [JSONValue.Member] = []
      for _ in 0..<Int.random(in: 0..<6, using: &random) {
        let key = randomString(using: &random)
        guard seen.insert(Key(key)).inserted else { continue }
        members.append(JSONValue.Member(key, randomValue(depth: depth - 1, using: &random)))
      }
      return .object(members)
    }
  }

  static func randomString(using random: inout SeededGenerator) -> String {
    var result = ""
    let alphabets: [ClosedRange<UInt32>] = [
      0...0x7F, 0x20...0x7E, 0x80...0x7FF, 0x800...0xD7FF, 0xE000...0xFFFD, 0x1_0000...0x10_FFFF,
    ]
    for _ in 0..<Int.random(in: 0..<20, using: &random) {
      let value = UInt32.random(
        in: alphabets[Int.random(in: 0..<alphabets.count, using: &random)], using: &random)
      if let scalar = Unicode.Scalar(value) { result.unicodeScalars.append(scalar) }
    }
    return result
  }
}

/// Runs Python, whose json module is the standard that others' metadata is written with.
enum Python {
  static let isInstalled = (try? run("", input: [])) != nil

  static func run(_ script: String, input: [UInt8]) throws -> [UInt8] {
    let process = Process()
    let (stdin, stdout) = (Pipe(), Pipe())
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["PYTHONIOENCODING=utf-8", "python3", "-c", script]
    process.standardInput = stdin
    process.standardOutput = stdout
    try process.run()
    // All input is taken before any output comes, so that neither pipe waits for the other.
    stdin.fileHandleForWriting.write(Data(input))
    try stdin.fileHandleForWriting.close()
    let output = try stdout.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure() }
    return Array(output)
  }

  struct Failure: Error {}
}
