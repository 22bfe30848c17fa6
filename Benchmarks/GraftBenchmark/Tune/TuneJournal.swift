// One JSON object a line. The first says what was measured where; each further one is a finished measurement:
//
//   {"graft_tune_journal":1,"measured_on":{…},"data":"…","mode":"full"}
//   {"block":"threads; cold","others":0.04,"took":6.2,"contestants":[{"name":"2","bytes":1073741824,"seconds":[0.51,0.5]},…]}
//
// A line is written when its measurement is done, so that an interrupted run has all that it finished. The last line may be torn.

internal import Glibc
package import GraftCore
internal import GraftIO
package import GraftMeasure

/// What a run of `tune` has measured so far, in a file that the next run goes on from.
package struct TuneJournal: Sendable {
  /// The version of the file, and of what the names of blocks mean: of another one nothing is used.
  package static let version = 1
  /// More than any run writes; a larger file is none of ours.
  private static let byteCountLimit = 16 << 20

  /// What the figures are of; figures of something else are of no use.
  package struct Subject: Hashable, Sendable {
    package var machine: TuningFile.Origin
    /// Which data, and in which version.
    package var data: String
    /// How thoroughly.
    package var mode: String

    package init(machine: TuningFile.Origin, data: String, mode: String) {
      self.machine = machine
      self.data = data
      self.mode = mode
    }

    /// What is another one, a clause each.
    package func differences(from other: Subject) -> [String] {
      var differences = machine.differences(from: other.machine)
      if data != other.data { differences.append("the data was \(data) and is \(other.data) now") }
      if mode != other.mode { differences.append("the run was \(mode) and is \(other.mode) now") }
      return differences
    }
  }

  /// A finished measurement.
  package struct Entry: Hashable, Sendable {
    package var block: String
    package var contestants: [Measurement]
    /// The share of the processors that others had meanwhile.
    package var othersShare: Double
    /// How long all of it took, in seconds.
    package var seconds: Double

    package init(block: String, contestants: [Measurement], othersShare: Double, seconds: Double) {
      self.block = block
      self.contestants = contestants
      self.othersShare = othersShare
      self.seconds = seconds
    }
  }

  package let path: String
  /// What was measured, in the order in which it was.
  package private(set) var entries: [Entry]
  /// How many of them were there when the journal was opened.
  package let resumedCount: Int
  /// What became of an older journal that could not be gone on from, as a sentence; nil where there was none.
  package let note: String?

  /// Opens the journal of a run, and goes on from what it has.
  ///
  /// What was measured of something else, or is no journal, is set aside under the name `….old`.
  /// - Parameter fresh: whether to begin anew in any case.
  package init(at path: String, of subject: Subject, fresh: Bool) throws(GraftError) {
    self.path = path
    var note: String?
    var content: (entries: [Entry], byteCount: Int)?
    if let status = try FileStatus.ifPresent(at: path), status.byteCount > 0, !fresh {
      if status.byteCount > Self.byteCountLimit {
        note = "the journal \(path) is too large to be one"
      } else {
        let bytes = try File(opening: path).readFully(ByteRange(offset: 0, count: status.byteCount))
        switch Self.parse(bytes) {
        case .entries(let entries, let byteCount, let other):
          let differences = other.differences(from: subject)
          if differences.isEmpty {
            content = (entries, byteCount)
          } else {
            note =
              "begun anew, as the journal there is of something else: \(differences.joined(separator: "; "))"
          }
        case .other(let reason): note = "begun anew, as the journal there cannot be gone on from: \(reason)"
        }
      }
      if note != nil {
        guard unsafe rename(path, "\(path).old") == 0 else { throw Self.failure("rename", path) }
      }
    }
    if let content {
      // What follows the last whole line is torn; the next entry takes its place.
      guard unsafe truncate(path, off_t(content.byteCount)) == 0 else { throw Self.failure("truncate", path) }
      entries = content.entries
    } else {
      entries = []
      try Self.write(Self.head(subject), to: path, flags: O_CREAT | O_TRUNC)
    }
    resumedCount = entries.count
    self.note = note
  }

  /// What was measured of a block, if it was.
  package subscript(block: String) -> Entry? { entries.last { $0.block == block } }

  /// Keeps a finished measurement.
  package mutating func append(_ entry: Entry) throws(GraftError) {
    try Self.write(Self.line(entry), to: path, flags: O_APPEND)
    entries.append(entry)
  }

  // MARK: writing

  private static func head(_ subject: Subject) -> [UInt8] {
    var json = JSONWriter()
    json.beginObject()
    json.key("graft_tune_journal")
    json.integer(version)
    json.key("measured_on")
    // As the tuning file has it, so that both say it in the same words.
    let file = try? JSONValue(parsing: TuningFile(Tuning(), origin: subject.machine).encoded())
    json.value(file?["measured_on"] ?? .object([]))
    json.key("data")
    json.string(subject.data)
    json.key("mode")
    json.string(subject.mode)
    json.endObject()
    return json.bytes + [UInt8(ascii: "\n")]
  }

  private static func line(_ entry: Entry) -> [UInt8] {
    var json = JSONWriter()
    json.beginObject()
    json.key("block")
    json.string(entry.block)
    json.key("others")
    json.double(entry.othersShare)
    json.key("took")
    json.double(entry.seconds)
    json.key("contestants")
    json.beginArray()
    for contestant in entry.contestants {
      json.beginObject()
      json.key("name")
      json.string(contestant.name)
      json.key("bytes")
      json.integer(contestant.byteCount)
      json.key("seconds")
      json.beginArray()
      for seconds in contestant.seconds { json.double(seconds) }
      json.endArray()
      json.endObject()
    }
    json.endArray()
    json.endObject()
    return json.bytes + [UInt8(ascii: "\n")]
  }

  private static func write(_ bytes: [UInt8], to path: String, flags: CInt) throws(GraftError) {
    let descriptor = unsafe open(path, O_WRONLY | O_CLOEXEC | flags, 0o666)
    guard descriptor >= 0 else { throw failure("open", path) }
    defer { close(descriptor) }
    var offset = 0
    while offset < bytes.count {
      let count = unsafe bytes.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress! + offset, $0.count - offset)
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw failure("write", path)
      }
      offset += count
    }
  }

  private static func failure(_ call: String, _ path: String) -> GraftError {
    GraftError(.write, SystemCallFailure(call, errno), file: path)
  }

  // MARK: reading

  /// What a file that may be a journal has in it.
  package enum Content: Sendable {
    /// The entries up to the first line that is torn, and the bytes of all whole lines.
    case entries([Entry], byteCount: Int, Subject)
    /// No journal of this version, and why.
    case other(String)
  }

  /// Reads a journal; whatever follows a line that is no entry is left out.
  package static func parse(_ bytes: [UInt8]) -> Content {
    var offset = 0
    var subject: Subject?
    var entries: [Entry] = []
    while let end = bytes[offset...].firstIndex(of: UInt8(ascii: "\n")) {
      guard let value = try? JSONValue(parsing: Array(bytes[offset..<end]), nestingLimit: 8) else { break }
      if subject == nil {
        guard let version = value["graft_tune_journal"]?.integer else { return .other("it is no journal") }
        guard version == Self.version else { return .other("it is of version \(version)") }
        guard let data = value["data"]?.text, let mode = value["mode"]?.text,
          let machine = origin(value["measured_on"])
        else { return .other("it does not say what it is of") }
        subject = Subject(machine: machine, data: data, mode: mode)
      } else {
        guard let entry = entry(value) else { break }
        entries.append(entry)
      }
      offset = end + 1
    }
    guard let subject else { return .other("it is no journal") }
    return .entries(entries, byteCount: offset, subject)
  }

  private static func origin(_ value: JSONValue?) -> TuningFile.Origin? {
    guard let value else { return nil }
    let file: JSONValue = ["graft_tuning": 1, "measured_on": value, "settings": .object([])]
    return try? TuningFile(parsing: file.encoded(), file: "").origin
  }

  private static func entry(_ value: JSONValue) -> Entry? {
    guard let block = value["block"]?.text, let others = value["others"]?.double,
      let took = value["took"]?.double, let elements = value["contestants"]?.elements
    else { return nil }
    var contestants: [Measurement] = []
    for element in elements {
      guard let name = element["name"]?.text, let byteCount = element["bytes"]?.integer, byteCount >= 0,
        let seconds = element["seconds"]?.elements?.compactMap(\.double), !seconds.isEmpty,
        seconds.allSatisfy({ $0.isFinite && $0 >= 0 })
      else { return nil }
      contestants.append(Measurement(name: name, byteCount: byteCount, seconds: seconds))
    }
    guard !contestants.isEmpty else { return nil }
    return Entry(block: block, contestants: contestants, othersShare: others, seconds: took)
  }
}
