import ArgumentParser
import Graft

/// `graft convert`: streams a checkpoint, a part of it or what a recipe makes of it, into another, which appears complete or not at all.
struct Convert: Verb {
  static let configuration = CommandConfiguration(
    abstract:
      "Write a checkpoint, a part of it, or what a recipe makes of it, as another; it appears complete or not at all.",
    discussion: """
      DESTINATION is one safetensors file where its name ends in .safetensors, with --to safetensors else a folder of files \
      with an index, and otherwise an Orbax checkpoint; with --step a folder of its steps.

      With --recipe, the tree starts as SOURCE, or what --select and --drop leave of it, and the steps of the recipe change it; \
      they call SOURCE by the name source. graft plan shows what that would read and compute.
      """)

  @Argument(help: "The checkpoint to read; ROOT@STEP for one step of a folder of steps.")
  var source: String

  @Argument(help: "The checkpoint to write.")
  var destination: String

  @Option(help: ArgumentHelp("The surgery to do on the way, a YAML or JSON file.", valueName: "file"))
  var recipe: String?

  @OptionGroup var surgery: RecipeOptions
  @OptionGroup var selection: SelectionOptions
  @OptionGroup var writing: WritingOptions
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var tuning: TuningOptions
  @OptionGroup var output: OutputOptions

  func validate() throws { try writing.validate(for: destination) }

  func perform(_ session: Session) async throws(GraftError) -> ConvertAnswer {
    let format = try writing.format(for: destination)
    let tuning = try await tuning.settings(for: source, session)
    let checkpoint = try await opening.open(source, tuning: tuning)
    let surgery = try await surgery.surgery(
      recipe: recipe, on: checkpoint, selecting: selection.selection, opening: opening, tuning: tuning)
    return try await writing.write(to: destination) { () async throws(GraftError) in
      let byteCount = surgery?.byteCount ?? checkpoint.logicalByteCount
      let progress = session.progress("converting", totalByteCount: byteCount)
      switch (surgery, writing.link) {
      case (let surgery?, false):
        return .saved(
          try await surgery.save(
            to: destination, step: writing.step, as: format, overwriting: writing.overwrite,
            progress: progress))
      case (let surgery?, true):
        return .linked(
          try await surgery.link(
            to: destination, step: writing.step, rewriting: writing.orbaxOptions(for: destination),
            overwriting: writing.overwrite, progress: progress))
      case (nil, false):
        return .saved(
          try await checkpoint.save(
            to: destination, step: writing.step, as: format, selecting: selection.selection,
            overwriting: writing.overwrite, progress: progress))
      case (nil, true):
        return .linked(
          try await checkpoint.link(
            to: destination, step: writing.step, selecting: selection.selection,
            rewriting: writing.orbaxOptions(for: destination), overwriting: writing.overwrite,
            progress: progress))
      }
    }
  }
}

/// What `graft convert` and `graft merge` say.
struct ConvertAnswer: Answer {
  /// What was done.
  enum Report {
    case saved(SaveReport)
    case linked(LinkReport)
  }

  var destination: String
  var report: Report
  var peakByteCount: Int

  private var seconds: Double {
    switch report {
    case .saved(let report): report.elapsed / .seconds(1)
    case .linked(let report): report.elapsed / .seconds(1)
    }
  }

  private var reading: ReadReport {
    switch report {
    case .saved(let report): report.reading
    case .linked(let report): report.reading
    }
  }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    var details: [JSONValue.Member] = []
    switch report {
    case .saved(let report):
      json.member("leaves_written", .integer(report.leafCount))
      json.member("leaves_linked", 0)
      json.member("leaves_rewritten", [])
      json.member("bytes_read", .integer(reading.bytesRead))
      json.member("bytes_written", .integer(report.storedByteCount))
      details = [
        .init("logical_bytes", .integer(report.byteCount)),
        .init("finishing_seconds", .double(report.finishing / .seconds(1))),
      ]
    case .linked(let report):
      let rewritten = report.rewritten.map { leaf -> JSONValue in
        ["path": .string("\(leaf.path)"), "reason": .string(leaf.reason)]
      }
      json.member("leaves_written", .integer(report.rewritten.count + report.stringCount))
      json.member("leaves_linked", .integer(report.linkedLeafCount))
      json.member("leaves_rewritten", .array(rewritten))
      json.member("bytes_read", .integer(reading.bytesRead))
      json.member("bytes_written", .integer(report.storedByteCount + report.copiedByteCount))
      let files = report.files.map { file -> JSONValue in
        ["source": .string(file.source), "name": .string(file.name), "way": .string(file.way.rawValue)]
      }
      details = [
        .init("bytes_linked", .integer(report.linkedByteCount)),
        .init("bytes_copied", .integer(report.copiedByteCount)), .init("files", .array(files)),
      ]
    }
    json.member("seconds", .double(seconds))
    json.member("peak_memory_bytes", .integer(peakByteCount))
    json.member(
      "report",
      .object(
        [
          .init("engine", .string(reading.engine)), .init("engine_reason", .string(reading.engineReason)),
          .init("requests", .integer(reading.requestCount)),
          .init("bytes_wanted", .integer(reading.bytesWanted)),
          .init("staging_bytes", .integer(reading.peakStagingByteCount)),
        ] + details))
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    switch report {
    case .saved(let report): try write(report, to: &text)
    case .linked(let report): try write(report, to: &text)
    }
  }

  private func write(_ report: SaveReport, to text: inout TextStream) throws(OutputFailure) {
    let rate = seconds > 0 ? Double(report.byteCount) / seconds / Double(1 << 30) : 0
    let size =
      report.storedByteCount == report.byteCount
      ? "\(ByteSize(report.byteCount))"
      : "\(ByteSize(report.byteCount)) as \(ByteSize(report.storedByteCount))"
    try text.line(
      "wrote \(Count(report.leafCount, "leaf")), \(size), to \(TreePath.printable(destination))"
    )
    try text.line(
      "read \(ByteSize(report.reading.bytesRead)) in \(Decimal.text(seconds, digits: 2)) s, "
        + "\(Decimal.text(rate, digits: 2)) GiB/s, \(ByteSize(peakByteCount)) of memory")
  }

  /// The most leaves that are listed with their reasons; all are in the JSON.
  private static let listedLeafCount = 20

  private func write(_ report: LinkReport, to text: inout TextStream) throws(OutputFailure) {
    try text.line(
      "linked \(Count(report.linkedLeafCount, "leaf")), \(ByteSize(report.linkedByteCount)), "
        + "to \(TreePath.printable(destination)) in \(Decimal.text(seconds, digits: 3)) s")
    for way in LinkReport.LinkedFile.Way.allCases {
      let files = report.files.filter { $0.way == way }
      if files.isEmpty { continue }
      let copied = way == .copy ? ", \(ByteSize(report.copiedByteCount))" : ""
      try text.line("brought in \(Count(files.count, "file")) by \(way.rawValue)\(copied)")
    }
    guard !report.rewritten.isEmpty else { return }
    try text.line(
      "wrote \(Count(report.rewritten.count, "leaf")) anew, read \(ByteSize(reading.bytesRead)) for that:")
    for leaf in report.rewritten.prefix(Self.listedLeafCount) {
      try text.line("  \(leaf.path): \(leaf.reason)")
    }
    let hidden = report.rewritten.count - Self.listedLeafCount
    if hidden > 0 { try text.line("  and \(hidden) more") }
  }
}
