import ArgumentParser
import Graft
import GraftIO

/// `graft convert`: streams a checkpoint, or a part of it, into another, which appears complete or not at all.
struct Convert: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Write a checkpoint, or a part of it, as another; it appears complete or not at all.",
    discussion: """
      DESTINATION is one safetensors file where its name ends in .safetensors, and with --to safetensors else a folder of \
      files with an index.
      """)

  /// The formats that can be written.
  enum Format: String, CaseIterable, ExpressibleByArgument {
    case safetensors
  }

  /// The size of a shard where nobody says otherwise, that of Hugging Face's tools.
  static let defaultShardByteCount = 5_000_000_000

  @Argument(help: "The checkpoint to read; ROOT@STEP for one step of a folder of steps.")
  var source: String

  @Argument(help: "The checkpoint to write.")
  var destination: String

  @Option(name: .customLong("to"), help: "The format, where the destination's name does not say it.")
  var format: Format?

  @OptionGroup var selection: SelectionOptions

  @Option(
    help: ArgumentHelp(
      "The most bytes of tensors in one file of a folder, for example 4GiB.", valueName: "size"))
  var shardSize: ByteSize?

  @Flag(help: "Replace what is at the destination.")
  var overwrite = false

  @OptionGroup var opening: OpeningOptions
  @OptionGroup var tuning: TuningOptions
  @OptionGroup var output: OutputOptions

  private var isSingleFile: Bool { destination.hasSuffix(".safetensors") }

  func validate() throws {
    if let shardSize {
      if shardSize.byteCount < 1 { throw ValidationError("--shard-size is at least 1 byte.") }
      if isSingleFile {
        throw ValidationError(
          "--shard-size is for a folder, and a destination that ends in .safetensors is one file; name a folder and pass --to safetensors."
        )
      }
    }
  }

  func perform(_ session: Session) async throws(GraftError) -> ConvertAnswer {
    guard isSingleFile || format == .safetensors else {
      throw GraftError(
        .unsupported, "the destination's name says no format that can be written", file: destination,
        expected: "a name that ends in .safetensors",
        remedy: "pass --to safetensors to write a folder of files")
    }
    let checkpoint = try await opening.open(source, tuning: tuning.tuning)
    let format: SaveFormat =
      isSingleFile
      ? .safetensors : .safetensors(shardByteCount: shardSize?.byteCount ?? Self.defaultShardByteCount)
    let memory = try PeakMemorySampler()
    let report: SaveReport
    do throws(GraftError) {
      report = try await checkpoint.save(
        to: destination, as: format, selecting: selection.selection, overwriting: overwrite,
        progress: session.progress("converting", totalByteCount: checkpoint.logicalByteCount))
    } catch {
      _ = memory.stop()
      var error = error
      if error.code == .destinationExists, !overwrite { error.remedy = "pass --overwrite to replace it" }
      throw error
    }
    return ConvertAnswer(
      destination: destination, report: report, peakByteCount: max(0, memory.stop() - memory.baseByteCount))
  }
}

/// What `graft convert` says.
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
    json.member("bytes_written", .integer(report.byteCount))
    json.member("seconds", .double(seconds))
    json.member("peak_memory_bytes", .integer(peakByteCount))
    json.member(
      "report",
      [
        "engine": .string(report.reading.engine), "engine_reason": .string(report.reading.engineReason),
        "requests": .integer(report.reading.requestCount),
        "bytes_wanted": .integer(report.reading.bytesWanted),
        "staging_bytes": .integer(report.reading.peakStagingByteCount),
      ])
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    let rate = seconds > 0 ? Double(report.byteCount) / seconds / Double(1 << 30) : 0
    try text.line(
      "wrote \(Count(report.leafCount, "leaf")), \(ByteSize(report.byteCount)), to \(TreePath.printable(destination))"
    )
    try text.line(
      "read \(ByteSize(report.reading.bytesRead)) in \(Decimal.text(seconds, digits: 2)) s, "
        + "\(Decimal.text(rate, digits: 2)) GiB/s, \(ByteSize(peakByteCount)) of memory")
  }
}
