import ArgumentParser
import Graft
import GraftIO

/// How a checkpoint is written, beside its name.
struct WritingOptions: ParsableArguments {
  /// The formats that can be written.
  enum Format: String, CaseIterable, ExpressibleByArgument {
    case safetensors
  }

  /// The size of a shard where nobody says otherwise, that of Hugging Face's tools.
  static let defaultShardByteCount = 5_000_000_000

  @Option(name: .customLong("to"), help: "The format, where the destination's name does not say it.")
  var format: Format?

  @Option(
    help: ArgumentHelp(
      "The most bytes of tensors in one file of a folder, for example 4GiB.", valueName: "size"))
  var shardSize: ByteSize?

  @Flag(help: "Replace what is at the destination.")
  var overwrite = false

  private func isSingleFile(_ destination: String) -> Bool { destination.hasSuffix(".safetensors") }

  func validate(for destination: String) throws {
    if let shardSize {
      if shardSize.byteCount < 1 { throw ValidationError("--shard-size is at least 1 byte.") }
      if isSingleFile(destination) {
        throw ValidationError(
          "--shard-size is for a folder, and a destination that ends in .safetensors is one file; name a folder and pass --to safetensors."
        )
      }
    }
  }

  /// The format that a destination of this name gets.
  func format(for destination: String) throws(GraftError) -> SaveFormat {
    if isSingleFile(destination) { return .safetensors }
    guard format == .safetensors else {
      throw GraftError(
        .unsupported, "the destination's name says no format that can be written", file: destination,
        expected: "a name that ends in .safetensors",
        remedy: "pass --to safetensors to write a folder of files")
    }
    return .safetensors(shardByteCount: shardSize?.byteCount ?? Self.defaultShardByteCount)
  }

  /// Writes with the memory measured that it takes.
  func write(
    to destination: String, _ save: () async throws(GraftError) -> SaveReport
  ) async throws(GraftError) -> ConvertAnswer {
    let memory = try PeakMemorySampler()
    do throws(GraftError) {
      let report = try await save()
      return ConvertAnswer(
        destination: destination, report: report, peakByteCount: max(0, memory.stop() - memory.baseByteCount))
    } catch {
      _ = memory.stop()
      var error = error
      if error.code == .destinationExists, !overwrite { error.remedy = "pass --overwrite to replace it" }
      throw error
    }
  }
}

extension Surgery {
  /// The bytes that the result takes.
  var byteCount: Int {
    var sum = 0
    tree.forEachLeaf { sum += $1.tensor?.byteCount ?? 0 }
    return sum
  }
}
