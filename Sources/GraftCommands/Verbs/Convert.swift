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
    let checkpoint = try await opening.open(source, tuning: tuning.tuning)
    let surgery = try await surgery.surgery(
      recipe: recipe, on: checkpoint, selecting: selection.selection, opening: opening, tuning: tuning)
    return try await writing.write(to: destination) { () async throws(GraftError) in
      if let surgery {
        return try await surgery.save(
          to: destination, step: writing.step, as: format, overwriting: writing.overwrite,
          progress: session.progress("converting", totalByteCount: surgery.byteCount))
      }
      return try await checkpoint.save(
        to: destination, step: writing.step, as: format, selecting: selection.selection,
        overwriting: writing.overwrite,
        progress: session.progress("converting", totalByteCount: checkpoint.logicalByteCount))
    }
  }
}

/// What `graft convert` and `graft merge` say.
struct ConvertAnswer: Answer {
  var destination: String
  var report: SaveReport
  var peakByteCount: Int

  private var seconds: Double { report.elapsed / .seconds(1) }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    json.member("leaves_written", .integer(report.leafCount))
    json.member("leaves_linked", 0)
    json.member("leaves_rewritten", [])
    json.member("bytes_read", .integer(report.reading.bytesRead))
    json.member("bytes_written", .integer(report.storedByteCount))
    json.member("seconds", .double(seconds))
    json.member("peak_memory_bytes", .integer(peakByteCount))
    json.member(
      "report",
      [
        "engine": .string(report.reading.engine), "engine_reason": .string(report.reading.engineReason),
        "requests": .integer(report.reading.requestCount),
        "bytes_wanted": .integer(report.reading.bytesWanted),
        "staging_bytes": .integer(report.reading.peakStagingByteCount),
        "logical_bytes": .integer(report.byteCount),
        "finishing_seconds": .double(report.finishing / .seconds(1)),
      ])
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
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
}
