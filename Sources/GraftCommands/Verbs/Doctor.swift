import ArgumentParser
import Graft
import GraftIO

/// `graft doctor`: what this machine offers, and what Graft would choose and why.
struct Doctor: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Show what this machine offers, and what Graft would choose here and why.")

  @Argument(help: "A file or folder on the storage that is asked about; the working directory unless given.")
  var path = "."

  @OptionGroup var output: OutputOptions

  func perform(_ session: Session) async throws(GraftError) -> DoctorAnswer {
    let path = path
    return try await BlockingThreads.shared.run { () throws(GraftError) in try DoctorAnswer(examining: path) }
  }
}

/// What `graft doctor` shows.
struct DoctorAnswer: Answer {
  /// A setting, what it would be here, and why.
  struct Choice: Sendable {
    var setting: String
    var value: String
    var reason: String
  }

  /// Whether direct I/O is to be had on some storage.
  enum DirectAccess: Sendable {
    case works(alignment: Int)
    case refused(String)
    case unknown(String)
  }

  var kernel: String
  var processors: Int
  var physicalByteCount: Int
  var available: AvailableMemory
  var ring: RingAvailability
  var path: String
  var direct: DirectAccess
  var hugePages: String
  var simd: [String]

  init(examining path: String) throws(GraftError) {
    self.path = path
    kernel = Self.trimmed(SystemText.read("/proc/sys/kernel/osrelease")) ?? "unknown"
    processors = UsableProcessors.count
    physicalByteCount = ProcessMemory.physicalByteCount
    available = .now()
    ring = RingAvailability()
    hugePages = Self.chosen(in: SystemText.read("/sys/kernel/mm/transparent_hugepage/enabled")) ?? "none"
    simd = Self.features(SystemText.read("/proc/cpuinfo") ?? "")
    direct = try Self.probeDirect(path)
  }

  private static func trimmed(_ text: String?) -> String? {
    text.map { String($0.prefix { $0 != "\n" }) }
  }

  /// The word in brackets: `always [madvise] never`.
  private static func chosen(in text: String?) -> String? {
    guard let text, let open = text.firstIndex(of: "["), let close = text.firstIndex(of: "]"), open < close
    else {
      return nil
    }
    return String(text[text.index(after: open)..<close])
  }

  /// The instructions for many values at once that this processor has, of those that matter here.
  private static func features(_ cpuinfo: String) -> [String] {
    let wanted = [
      "sse4_2", "avx", "avx2", "f16c", "avx512f", "avx512_bf16", "amx_bf16", "neon", "asimd", "sve", "crc32",
    ]
    // `flags` on x86-64, `Features` on arm64.
    let line = cpuinfo.split(separator: "\n").first { $0.hasPrefix("flags") || $0.hasPrefix("Features") }
    let present = Set((line ?? "").split { $0 == " " || $0 == "\t" })
    return wanted.filter { present.contains(Substring($0)) }
  }

  /// Tries direct I/O on a file, or on some file of a folder; nothing is written.
  private static func probeDirect(_ path: String) throws(GraftError) -> DirectAccess {
    let status = try FileStatus(at: path)
    guard status.kind == .directory else { return try probeDirect(File(opening: path)) }
    for entry in try Directory.entries(at: path) where entry.kind == .regular && entry.isNameExact {
      // A file that may not be read says nothing about the storage; the next one may.
      do throws(GraftError) {
        return probeDirect(try File(opening: Directory.path(of: entry.name, in: path)))
      } catch { continue }
    }
    return .unknown("there is no file to try it on; name one")
  }

  private static func probeDirect(_ file: File) -> DirectAccess {
    do throws(SystemCallFailure) {
      return .works(alignment: try SystemKernel().openDirect(file).alignment)
    } catch {
      return .refused("\(error)")
    }
  }

  private var choices: [Choice] {
    let tuning = Tuning()
    let layout = try? StagingLayout(tuning)
    return [
      Choice(
        setting: "engine", value: ring.refusal == nil ? "uring" : "threads",
        reason: ring.refusal.map { "io_uring is refused: \($0)" } ?? "io_uring is permitted"),
      Choice(
        setting: "access", value: canReadDirect ? "auto" : "buffered",
        reason: canReadDirect
          ? "large cold ranges are read around the page cache" : "direct I/O is refused on this storage"),
      Choice(
        setting: "threads", value: "\(layout?.workerCount ?? processors)",
        reason: "one for each usable processor"),
      Choice(
        setting: "budget", value: "\(ByteSize(tuning.budgetByteCount))",
        reason: "the default; 64 MiB are enough for full speed"),
    ]
  }

  private var directText: String {
    switch direct {
    case .works(let alignment): "works at \(TreePath.printable(path)), aligned to \(alignment) bytes"
    case .refused(let reason): "refused at \(TreePath.printable(path)): \(reason)"
    case .unknown(let reason): "not known: \(reason)"
    }
  }

  private var canReadDirect: Bool {
    if case .refused = direct { false } else { true }
  }

  /// Whether direct I/O works, nil where nobody knows; the alignment; and why it does not.
  private var directFacts: (isUsable: Bool?, alignment: Int?, reason: String?) {
    switch direct {
    case .works(let alignment): (true, alignment, nil)
    case .refused(let reason): (false, nil, reason)
    case .unknown(let reason): (nil, nil, reason)
    }
  }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    json.member("kernel", .string(kernel))
    json.member("processors", .integer(processors))
    json.member("simd", .array(simd.map { .string($0) }))
    json.member("memory_bytes", .integer(physicalByteCount))
    json.member("available_memory_bytes", .integer(available.byteCount))
    json.member("memory_limited_by", .string(available.limitedBy))
    json.member("huge_pages", .string(hugePages))
    json.member(
      "io_uring",
      [
        "usable": .bool(ring.refusal == nil), "reason": ring.refusal.map { .string($0.description) } ?? nil,
        "remedy": ring.refusal.map { .string($0.remedy) } ?? nil,
        "defers_completions": .bool(ring.defersCompletions),
      ])
    json.member(
      "direct_io",
      [
        "path": .string(TreePath.printable(path)), "usable": directFacts.isUsable.map { .bool($0) } ?? nil,
        "reason": directFacts.reason.map { .string($0) } ?? nil,
        "alignment": directFacts.alignment.map { .integer($0) } ?? nil,
      ])
    json.member("devices", [])
    json.member(
      "choices",
      .array(
        choices.map {
          ["setting": .string($0.setting), "value": .string($0.value), "reason": .string($0.reason)]
        }))
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    var table = Table([("", .left), ("", .left)])
    table.add(["kernel", kernel])
    table.add([
      "processors", "\(processors) usable" + (simd.isEmpty ? "" : ", \(simd.joined(separator: " "))"),
    ])
    table.add([
      "memory",
      "\(ByteSize(physicalByteCount)), \(ByteSize(available.byteCount)) available (\(available.limitedBy))",
    ])
    table.add(["huge pages", hugePages])
    table.add([
      "io_uring",
      ring.refusal.map { "refused: \($0); \($0.remedy)" }
        ?? "permitted" + (ring.defersCompletions ? ", completions are deferred to the worker" : ""),
    ])
    table.add([
      "direct I/O",
      directText,
    ])
    table.add(["devices", "none: loads go to host memory or mapped files"])
    try table.write(to: &text)
    try text.line()
    try text.line("What a load would use here:")
    var chosen = Table([("", .left), ("", .left), ("", .left)])
    for choice in choices { chosen.add(["  \(choice.setting)", choice.value, choice.reason]) }
    try chosen.write(to: &text)
  }
}
