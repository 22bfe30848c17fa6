import GraftCore
import Testing

/// docs/tuning.md says what a file may have in it; every rule of it is a case here.
@Suite struct TuningFileTests {
  private func parse(_ text: String) throws -> TuningFile {
    try TuningFile(parsing: Array(text.utf8), file: "fast.json")
  }

  @Test func `a file says only what differs from the defaults`() throws {
    var tuning = Tuning()
    tuning.queueDepth = 16
    tuning.engine = .threads
    var origin = TuningFile.Origin()
    origin.processor = "Some \"CPU\""
    origin.processorCount = 8
    origin.device = "/dev/nvme0n1p2"
    origin.measured = "2026-01-02T03:04:05Z"
    let text = String(decoding: TuningFile(tuning, origin: origin).encoded(), as: UTF8.self)
    #expect(
      text == #"""
        {
          "graft_tuning": 1,
          "measured_on": {
            "processor": "Some \"CPU\"",
            "processors": 8,
            "device": "/dev/nvme0n1p2",
            "measured": "2026-01-02T03:04:05Z"
          },
          "settings": {
            "engine": "threads",
            "queue_depth": 16
          }
        }

        """#)
    #expect(try parse(text) == TuningFile(tuning, origin: origin))
  }

  @Test func `every field is written and read back`() throws {
    // A value of each kind that is not the default.
    var tuning = Tuning()
    tuning.engine = .uring
    tuning.access = .direct
    tuning.verification = .never
    tuning.threadCount = 3
    tuning.queueDepth = 256
    tuning.blockByteCount = 4096
    tuning.directBlockByteCount = 64 << 20
    tuning.directMinimumByteCount = 0
    tuning.coalescingGapByteCount = 0
    tuning.overReadFactor = 1.5
    tuning.hugePages = false
    tuning.budgetByteCount = 64 << 10
    #expect(TuningField.differences(Tuning(), tuning) == TuningField.allCases, "a field is not covered")
    var origin = TuningFile.Origin()
    (origin.processor, origin.processorCount, origin.memoryByteCount) = ("a", 1, 2)
    (origin.kernel, origin.fileSystem, origin.device, origin.measured) = ("b", "c", "d", "e")
    let file = TuningFile(tuning, origin: origin)
    #expect(try TuningFile(parsing: file.encoded(), file: "fast.json") == file)
  }

  @Test func `what a file does not mention is as by default`() throws {
    #expect(try parse(#"{"settings":{},"graft_tuning":1}"#) == TuningFile(Tuning()))
    #expect(try parse(#"{"graft_tuning":1,"settings":{"over_read_factor":2}}"#).tuning.overReadFactor == 2)
  }

  struct Mistake: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var text: String
    var code: GraftError.Code = .invalidArgument
    /// What the description has to say.
    var says: [String]

    static func setting(_ json: String, _ says: String...) -> Mistake {
      Mistake(
        testDescription: json, text: "{\n\"graft_tuning\": 1,\n\"settings\": {\n\(json)\n}}",
        says: ["ine 4", "settings."] + says)
    }
  }

  static let mistakes: [Mistake] = [
    .setting(#""queue_deph": 8"#, "queue_deph", "Did you mean queue_depth?"),
    .setting(#""queue_depth": 0"#, "from 1 to 256", "found 0"),
    .setting(#""queue_depth": 257"#, "from 1 to 256"),
    .setting(#""queue_depth": 8.5"#, "whole number", "found 8.5"),
    .setting(#""queue_depth": "8""#, #"found "8""#),
    .setting(#""queue_depth": -0"#, "from 1 to 256"),
    .setting(#""queue_depth": null"#, "found null"),
    .setting(#""queue_depth": 18446744073709551615"#, "from 1 to 256"),
    .setting(#""engine": "steam""#, #""auto", "uring", "threads""#, "steam"),
    .setting(#""engine": true"#, "found true"),
    .setting(#""access": "mapped""#, #""auto", "buffered", "direct""#),
    .setting(#""verify": "maybe""#, #""auto", "always", "never""#),
    .setting(#""threads": 0"#, "from 1 to 1024"),
    .setting(#""threads": 1025"#, "from 1 to 1024"),
    .setting(#""block_bytes": 4095"#, "from 4096 to 67108864"),
    .setting(#""direct_block_bytes": 67108865"#, "from 4096 to 67108864"),
    .setting(#""direct_minimum_bytes": -1"#, "from 0"),
    .setting(#""coalescing_gap_bytes": -1"#, "from 0"),
    .setting(#""coalescing_gap_bytes": 1125899906842625"#, "from 0"),
    .setting(#""over_read_factor": 0.99"#, "from 1 to 1000"),
    .setting(#""over_read_factor": 1001"#, "from 1 to 1000"),
    .setting(#""huge_pages": 1"#, "true or false"),
    .setting(#""budget_bytes": 65535"#, "from 65536"),
    Mistake(
      testDescription: "a key that comes twice",
      text: "{\"graft_tuning\":1,\"settings\":{\n\"threads\":1,\n\"threads\":2}}", code: .corrupt,
      says: ["line 3", #""threads" comes twice"#]),
    Mistake(
      testDescription: "settings that come twice", text: "{\"settings\":{},\n\"settings\":{}}",
      code: .corrupt,
      says: ["line 2", #""settings" comes twice"#]),
    Mistake(
      testDescription: "a member of the origin that does not exist",
      text: "{\"graft_tuning\":1,\"measured_on\":{\n\"cpu\":\"a\"},\"settings\":{}}",
      says: ["ine 2", "measured_on.cpu", "processor"]),
    Mistake(
      testDescription: "a member of the origin of a wrong type",
      text: "{\"graft_tuning\":1,\"measured_on\":{\"processors\":\"two\"},\"settings\":{}}",
      says: ["measured_on.processors", "whole number", "two"]),
    Mistake(
      testDescription: "another member", text: "{\"graft_tuning\":1,\"setings\":{}}",
      says: ["setings", "Did you mean settings?"]),
    Mistake(
      testDescription: "another version", text: "{\"graft_tuning\":2,\"settings\":{}}", code: .unsupported,
      says: ["graft_tuning", "Expected 1, found 2"]),
    Mistake(testDescription: "no version", text: "{\"settings\":{}}", says: ["graft_tuning is missing"]),
    Mistake(testDescription: "no settings", text: "{\"graft_tuning\":1}", says: ["settings is missing"]),
    Mistake(
      testDescription: "another file", text: "{\"model\":{\"a\":1}}",
      says: ["model is no member of a tuning file"]),
    Mistake(
      testDescription: "settings that are a list", text: "{\"graft_tuning\":1,\n\"settings\":[]}",
      code: .corrupt, says: ["line 2"]),
    Mistake(
      testDescription: "a text that ends early", text: "{\"graft_tuning\":1,\n\"settings\":{\n",
      code: .corrupt,
      says: ["line 3", "ends inside an object"]),
    Mistake(testDescription: "an empty file", text: "", code: .corrupt, says: ["line 1"]),
    Mistake(
      testDescription: "something behind it", text: "{\"graft_tuning\":1,\"settings\":{}}\n{}",
      code: .corrupt,
      says: ["line 2"]),
    Mistake(
      testDescription: "nothing but brackets",
      text: "{\"graft_tuning\":" + String(repeating: "[", count: 1000), code: .limitExceeded,
      says: ["nested"]),
    Mistake(
      testDescription: "too large", text: String(repeating: " ", count: 70_000), code: .limitExceeded,
      says: ["too large", "65536"]),
  ]

  @Test(arguments: mistakes)
  func `a mistake is an error that names the line and the field`(_ mistake: Mistake) {
    #expect {
      try parse(mistake.text)
    } throws: { error in
      guard let error = error as? GraftError else { return false }
      let text = error.description
      let isSaid = mistake.says.allSatisfy { text.contains($0) }
      if !isSaid { Issue.record("\(text)") }
      return error.code == mistake.code && error.file == "fast.json" && isSaid
    }
  }

  @Test func `a machine is compared by what both sides know`() {
    var there = TuningFile.Origin()
    (there.processor, there.processorCount, there.kernel) = ("A", 4, "6.18.3")
    (there.fileSystem, there.device, there.measured) = ("ext4", "/dev/vda", "2026-01-02T03:04:05Z")
    var here = there
    #expect(there.differences(from: here) == [])
    // A patch of the kernel, more memory and another day are no other machine.
    (here.kernel, here.measured, here.memoryByteCount) = ("6.18.9-amd64", nil, 5)
    #expect(there.differences(from: here) == [])
    #expect(TuningFile.Origin().differences(from: here) == [])
    (here.processor, here.processorCount, here.kernel) = ("B", 8, "7.0")
    (here.fileSystem, here.device) = ("xfs", "/dev/nvme0n1")
    #expect(
      there.differences(from: here) == [
        "the processor was A and is B here", "the number of processors was 4 and is 8 here",
        "the kernel was 6.18 and is 7.0 here", "the file system was ext4 and is xfs here",
        "the device was /dev/vda and is /dev/nvme0n1 here",
      ])
  }
}
