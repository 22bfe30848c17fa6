import Foundation
import GraftBenchmark
import GraftCore
import GraftMeasure
import Testing

@Suite struct TuneJournalTests {
  let folder: TemporaryBenchmarkFolder
  let path: String
  let subject: TuneJournal.Subject

  init() throws {
    folder = try TemporaryBenchmarkFolder()
    path = folder.path + "/journal.jsonl"
    var machine = TuningFile.Origin()
    (machine.processor, machine.device) = ("A", "/dev/vda")
    subject = TuneJournal.Subject(machine: machine, data: "a model", mode: "full")
  }

  private func entry(_ block: String, _ seconds: [Double] = [0.5, 0.25]) -> TuneJournal.Entry {
    TuneJournal.Entry(
      block: block,
      contestants: [
        Measurement(name: "raw \"read\"", byteCount: 1 << 40, seconds: [0.1]),
        Measurement(name: "2", byteCount: 7, seconds: seconds),
      ], othersShare: 0.125, seconds: 3.5)
  }

  private func open(fresh: Bool = false) throws -> TuneJournal {
    try TuneJournal(at: path, of: subject, fresh: fresh)
  }

  @Test func `what was measured is there again`() throws {
    var journal = try open()
    #expect(journal.resumedCount == 0 && journal.note == nil)
    // A third, as a double: it comes back as the same one.
    try journal.append(entry("threads; cold", [1 / 3, 2e-7]))
    try journal.append(entry("threads; warm"))
    let again = try open()
    #expect(again.resumedCount == 2)
    #expect(again.entries == [entry("threads; cold", [1 / 3, 2e-7]), entry("threads; warm")])
    #expect(again["threads; warm"] == entry("threads; warm"))
    #expect(again["threads"] == nil)
  }

  @Test func `whatever is cut off the end, the whole lines stay and more can be added`() throws {
    var journal = try open()
    try journal.append(entry("a"))
    try journal.append(entry("b"))
    let whole = try Data(contentsOf: URL(filePath: path))
    let head = whole.firstIndex(of: UInt8(ascii: "\n"))! + 1
    let first = whole[head...].firstIndex(of: UInt8(ascii: "\n"))! + 1
    for count in 0...whole.count {
      try whole.prefix(count).write(to: URL(filePath: path))
      var cut = try open()
      let expected = count < first ? 0 : count < whole.count ? 1 : 2
      #expect(cut.resumedCount == expected, "\(count) bytes")
      #expect((cut.note == nil) == (count == 0 || count >= head), "\(count) bytes")
      try cut.append(entry("c"))
      #expect(try open().entries.map(\.block) == ["a", "b"].prefix(expected) + ["c"])
    }
  }

  @Test(arguments: [
    "nonsense", #"{"block":"b"}"#, #"{"block":"b","others":0,"took":1,"contestants":[]}"#,
    #"{"block":"b","others":0,"took":1,"contestants":[{"name":"a","bytes":-1,"seconds":[1]}]}"#,
    #"{"block":"b","others":0,"took":1,"contestants":[{"name":"a","bytes":1,"seconds":[]}]}"#,
    #"{"block":"b","others":0,"took":1,"contestants":[{"name":"a","bytes":1,"seconds":[-1]}]}"#, "[]", "",
  ])
  func `what follows a line that is no measurement is left out`(_ line: String) throws {
    var journal = try open()
    try journal.append(entry("a"))
    var text = try String(contentsOfFile: path, encoding: .utf8)
    let good = text.split(separator: "\n")[1]
    text += line + "\n" + good + "\n"
    try Data(text.utf8).write(to: URL(filePath: path))
    var again = try open()
    #expect(again.resumedCount == 1)
    try again.append(entry("z"))
    #expect(try open().entries.map(\.block) == ["a", "z"])
  }

  @Test func `a journal of something else is set aside, and says why`() throws {
    var journal = try open()
    try journal.append(entry("a"))
    let kept = try Data(contentsOf: URL(filePath: path))
    var other = subject
    other.data = "another model"
    other.machine.device = "/dev/vdb"
    let begun = try TuneJournal(at: path, of: other, fresh: false)
    #expect(begun.resumedCount == 0 && begun.entries.isEmpty)
    #expect(begun.note?.contains("the device was /dev/vda and is /dev/vdb here") == true)
    #expect(begun.note?.contains("the data was a model and is another model now") == true)
    #expect(try Data(contentsOf: URL(filePath: path + ".old")) == kept)
    var quick = subject
    quick.mode = "quick"
    #expect(try TuneJournal(at: path, of: quick, fresh: false).note != nil)
  }

  @Test(arguments: [
    "{}\n", "{\"graft_tune_journal\":2}\n", "{\"graft_tune_journal\":1}\n", "a model\n", "\n",
  ])
  func `a file that is no journal of this version is set aside`(_ text: String) throws {
    try Data(text.utf8).write(to: URL(filePath: path))
    let journal = try open()
    #expect(journal.resumedCount == 0)
    #expect(journal.note != nil)
    #expect(try String(contentsOfFile: path + ".old", encoding: .utf8) == text)
  }

  @Test func `a fresh one forgets what was there`() throws {
    var journal = try open()
    try journal.append(entry("a"))
    let fresh = try open(fresh: true)
    #expect(fresh.resumedCount == 0 && fresh.note == nil)
    #expect(try open().resumedCount == 0)
  }

  @Test func `a journal that cannot be written is an error that names it`() throws {
    #expect {
      try TuneJournal(at: folder.path + "/none/journal.jsonl", of: subject, fresh: false)
    } throws: { ($0 as? GraftError)?.file?.hasSuffix("journal.jsonl") == true }
  }
}
