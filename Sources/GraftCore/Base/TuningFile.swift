// docs/tuning.md is the specification. In short:
//
//   {"graft_tuning": 1, "measured_on": {"processor": …, "device": …}, "settings": {"queue_depth": 16}}

/// Settings of loads as a file keeps them: those that differ from the defaults, and where they were measured.
///
/// `graft-benchmark tune` writes one. `Tuning(contentsOf:)` is the short way where nobody asks where it was measured.
public struct TuningFile: Hashable, Sendable {
  /// The settings; what the file does not mention is as by default.
  public var tuning: Tuning
  /// Where and when they were measured, as far as the file says it.
  public var origin: Origin

  /// A machine and its storage, as far as is known; what is not known is nil.
  public struct Origin: Hashable, Sendable {
    /// The processor's name.
    public var processor: String?
    /// How many processors the process could use.
    public var processorCount: Int?
    /// The machine's memory, in bytes.
    public var memoryByteCount: Int?
    /// The kernel's release.
    public var kernel: String?
    /// The type of the file system, for example `ext4`.
    public var fileSystem: String?
    /// What the file system is on, for example `/dev/nvme0n1p2`.
    public var device: String?
    /// When it was measured, in UTC: `2026-11-30T09:15:00Z`.
    public var measured: String?

    /// Nothing known.
    public init() {}
  }

  /// A file of these settings.
  public init(_ tuning: Tuning, origin: Origin = Origin()) {
    self.tuning = tuning
    self.origin = origin
  }

  /// The version of the specification.
  static let version = 1
  /// The most bytes of a file; one that Graft writes has a few hundred.
  package static let byteCountLimit = 64 << 10
}

// MARK: - Where

extension TuningFile.Origin {
  /// What is another machine or storage here than there, a clause each; empty where all that both say is the same.
  ///
  /// The time, and a kernel of the same major and minor version, make no difference.
  public func differences(from here: TuningFile.Origin) -> [String] {
    var differences: [String] = []
    func compare(_ name: String, _ then: String?, _ now: String?) {
      guard let then, let now, then != now else { return }
      differences.append("the \(name) was \(TreePath.printable(then)) and is \(TreePath.printable(now)) here")
    }
    compare("processor", processor, here.processor)
    compare("number of processors", processorCount.map(String.init), here.processorCount.map(String.init))
    compare("kernel", kernel.map(Self.series), here.kernel.map(Self.series))
    compare("file system", fileSystem, here.fileSystem)
    compare("device", device, here.device)
    return differences
  }

  /// `6.18` of `6.18.3-amd64`.
  private static func series(of kernel: String) -> String {
    kernel.split(separator: ".").prefix(2).joined(separator: ".")
  }
}

// MARK: - Writing

extension TuningFile {
  /// The file as it is written: only settings that differ from the defaults.
  public func encoded() -> [UInt8] {
    var json = JSONWriter(indentation: 2)
    json.beginObject()
    json.key("graft_tuning")
    json.integer(Self.version)
    json.key("measured_on")
    json.beginObject()
    for field in OriginField.allCases {
      guard let value = field.value(in: origin) else { continue }
      json.key(field.rawValue)
      json.value(value)
    }
    json.endObject()
    json.key("settings")
    json.beginObject()
    for field in TuningField.differences(Tuning(), tuning) {
      json.key(field.name)
      json.value(field.value(in: tuning))
    }
    json.endObject()
    json.endObject()
    return json.bytes + [UInt8(ascii: "\n")]
  }
}

/// The members of `measured_on`.
private enum OriginField: String, CaseIterable {
  case processor
  case processorCount = "processors"
  case memoryByteCount = "memory_bytes"
  case kernel
  case fileSystem = "file_system"
  case device
  case measured

  func value(in origin: TuningFile.Origin) -> JSONValue? {
    switch self {
    case .processor: origin.processor.map { .string($0) }
    case .processorCount: origin.processorCount.map { .integer($0) }
    case .memoryByteCount: origin.memoryByteCount.map { .integer($0) }
    case .kernel: origin.kernel.map { .string($0) }
    case .fileSystem: origin.fileSystem.map { .string($0) }
    case .device: origin.device.map { .string($0) }
    case .measured: origin.measured.map { .string($0) }
    }
  }

  var expectation: String {
    switch self {
    case .processorCount, .memoryByteCount: "a whole number from 1"
    default: "a text"
    }
  }

  func set(_ value: JSONValue, in origin: inout TuningFile.Origin) -> Bool {
    switch self {
    case .processorCount, .memoryByteCount:
      guard let number = value.integer, number > 0 else { return false }
      if self == .processorCount { origin.processorCount = number } else { origin.memoryByteCount = number }
    case .processor, .kernel, .fileSystem, .device, .measured:
      guard let text = value.text else { return false }
      switch self {
      case .processor: origin.processor = text
      case .kernel: origin.kernel = text
      case .fileSystem: origin.fileSystem = text
      case .device: origin.device = text
      default: origin.measured = text
      }
    }
    return true
  }
}

// MARK: - Reading

extension TuningFile {
  /// Reads a tuning file.
  ///
  /// - Parameters:
  ///   - bytes: the file's bytes.
  ///   - file: its path, for messages.
  /// - Throws: ``GraftError`` that names the line and the field: `corrupt` for what is no JSON, `unsupported` for another version,
  ///   `invalidArgument` for fields that do not exist, come twice or have a value that makes no sense.
  public init(parsing bytes: [UInt8], file: String) throws(GraftError) {
    guard bytes.count <= Self.byteCountLimit else {
      throw GraftError(
        .limitExceeded, "the file is too large to be a tuning file", file: file,
        expected: "at most \(Self.byteCountLimit) bytes", found: "\(bytes.count)", remedy: Self.remedy)
    }
    self.init(Tuning())
    let fault: Fault?
    do throws(JSONError) {
      fault = try read(bytes)
    } catch {
      var failure = error.graftError(in: "the tuning file", file: file)
      failure.message += " (line \(Self.line(of: error.offset, in: bytes)))"
      failure.remedy = Self.remedy
      throw failure
    }
    if let fault { throw fault.error(in: file, Self.line(of: fault.offset, in: bytes)) }
  }

  fileprivate static let remedy = "see docs/tuning.md, or let graft-benchmark tune write the file"

  /// The number of the line that has this byte, from 1.
  private static func line(of offset: Int, in bytes: [UInt8]) -> Int {
    1 + bytes.prefix(offset).count { $0 == UInt8(ascii: "\n") }
  }

  /// A field that makes no sense, in a text that is JSON.
  private struct Fault {
    var offset: Int
    var field: String
    var problem: String
    var code = GraftError.Code.invalidArgument
    var expected: String?
    var found: String?
    var remedy: String?

    func error(in file: String, _ line: Int) -> GraftError {
      GraftError(
        code, "line \(line) of the tuning file: \(TreePath.printable(field)) \(problem)", file: file,
        expected: expected, found: found, remedy: remedy ?? TuningFile.remedy)
    }
  }

  /// The members that a file has; none is left out.
  private static let members = ["graft_tuning", "measured_on", "settings"]

  /// Takes over what the text says, up to the first field that makes no sense.
  private mutating func read(_ bytes: [UInt8]) throws(JSONError) -> Fault? {
    // Nothing of a tuning file is nested deeper.
    var json = JSONReader(bytes.span, nestingLimit: 8)
    var seen: Set<String> = []
    try json.beginObject()
    while let text = try json.nextKey() {
      let offset = text.range.lowerBound
      let key = json.string(text)
      guard seen.insert(key).inserted else { throw JSONError(.duplicateKey(key), at: offset) }
      switch key {
      case "graft_tuning":
        let value = try json.readValue()
        guard value.integer == Self.version else {
          return Fault(
            offset: offset, field: key, problem: "is of a version that is not read", code: .unsupported,
            expected: "\(Self.version)", found: Self.shown(value))
        }
      case "measured_on":
        if let fault = try readFields(of: key, from: &json, { OriginField(rawValue: $0) }) { return fault }
      case "settings":
        if let fault = try readFields(of: key, from: &json, { TuningField(rawValue: $0) }) { return fault }
      default:
        return Fault(
          offset: offset, field: key, problem: "is no member of a tuning file",
          expected: Self.members.joined(separator: ", "),
          remedy: NearName.suggestion(for: key, among: Self.members))
      }
    }
    let end = json.offset
    try json.end()
    for member in Self.members where !seen.contains(member) && member != "measured_on" {
      return Fault(offset: end, field: member, problem: "is missing")
    }
    return nil
  }

  private mutating func readFields<Field: FileField>(
    of member: String, from json: inout JSONReader, _ named: (String) -> Field?
  ) throws(JSONError) -> Fault? {
    var seen: Set<String> = []
    try json.beginObject()
    while let text = try json.nextKey() {
      let offset = text.range.lowerBound
      let key = json.string(text)
      guard seen.insert(key).inserted else { throw JSONError(.duplicateKey(key), at: offset) }
      guard let field = named(key) else {
        let names = Field.allCases.map(\.rawValue)
        return Fault(
          offset: offset, field: "\(member).\(key)", problem: "does not exist",
          expected: "one of \(names.joined(separator: ", "))",
          remedy: NearName.suggestion(for: key, among: names))
      }
      let value = try json.readValue()
      guard field.set(value, in: &self) else {
        return Fault(
          offset: offset, field: "\(member).\(key)", problem: "has a value that it does not take",
          expected: field.expectation, found: Self.shown(value))
      }
    }
    return nil
  }

  /// A value as a message shows it: what is long is cut.
  private static func shown(_ value: JSONValue) -> String {
    let text = String(decoding: value.encoded(), as: UTF8.self)
    return text.count > 60 ? "\(text.prefix(57))..." : text
  }
}

/// A field of a tuning file.
private protocol FileField: CaseIterable, RawRepresentable where RawValue == String {
  var expectation: String { get }
  func set(_ value: JSONValue, in file: inout TuningFile) -> Bool
}

extension TuningField: FileField {
  fileprivate func set(_ value: JSONValue, in file: inout TuningFile) -> Bool { set(value, in: &file.tuning) }
}

extension OriginField: FileField {
  fileprivate func set(_ value: JSONValue, in file: inout TuningFile) -> Bool { set(value, in: &file.origin) }
}
