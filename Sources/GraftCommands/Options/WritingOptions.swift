import ArgumentParser
import Graft
import GraftIO

/// How a checkpoint is written, beside its name.
struct WritingOptions: ParsableArguments {
  /// The formats that can be written.
  enum Format: String, CaseIterable, ExpressibleByArgument {
    case orbax, safetensors
  }

  /// The size of a shard where nobody says otherwise, that of Hugging Face's tools.
  static let defaultShardByteCount = 5_000_000_000

  @Option(
    name: .customLong("to"),
    help:
      "The format; a destination that ends in .safetensors is one such file, any other name an Orbax checkpoint."
  )
  var format: Format?

  @Option(
    help: ArgumentHelp(
      "The most bytes of tensors in one file of a folder, for example 4GiB.", valueName: "size"))
  var shardSize: ByteSize?

  @Option(
    help: ArgumentHelp(
      "How chunks of Orbax are compressed: none, zstd, zstd:LEVEL, zstd:entropy, blosc, blosc:LEVEL or blosc:entropy (default: zstd).",
      valueName: "name"))
  var compression: CompressionArgument?

  @Option(
    help: ArgumentHelp("The most bytes of elements in a chunk of Orbax (default: 4MiB).", valueName: "size"))
  var chunkSize: ByteSize?

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Cut an axis of the leaves that match into so many parts, each in chunks of its own, for example '**/kernel=0:8'.",
      valueName: "glob=axis:parts"))
  var cut: [CutArgument] = []

  @Option(help: ArgumentHelp("The version of Orbax's folders: 0 or 1 (default: 1).", valueName: "number"))
  var formatVersion: Int?

  @Option(
    help: ArgumentHelp(
      "The version of the arrays' metadata: 2 or 3 (default: 3, with --format-version 0 2).",
      valueName: "number"))
  var zarr: Int?

  @Flag(
    help:
      "Write each array of Orbax into a folder and each chunk into a file, rather than all into one database."
  )
  var folders = false

  @Flag(help: "Leave out the checksums of Orbax's chunks.")
  var noChecksums = false

  @Option(
    help: ArgumentHelp(
      "Write Orbax's step of this number, into DESTINATION as a folder of steps.", valueName: "number"))
  var step: Int?

  @Flag(
    help:
      "Make an Orbax checkpoint over the bytes of the sources: their files become a part of it, and only leaves that cannot be linked are written."
  )
  var link = false

  @Flag(help: "Replace what is at the destination.")
  var overwrite = false

  private func isSingleFile(_ destination: String) -> Bool { destination.hasSuffix(".safetensors") }

  /// The first option that is for Orbax alone, where there is one.
  private var optionOfOrbax: String? {
    let given = [
      ("--compression", compression != nil), ("--chunk-size", chunkSize != nil), ("--cut", !cut.isEmpty),
      ("--format-version", formatVersion != nil), ("--zarr", zarr != nil), ("--folders", folders),
      ("--no-checksums", noChecksums), ("--step", step != nil), ("--link", link),
    ]
    return given.first { $0.1 }?.0
  }

  func validate(for destination: String) throws {
    if link, folders || formatVersion == 0 || zarr == 2 {
      throw ValidationError(
        "--link makes a checkpoint of version 1 with Zarr 3 in a database; leave --folders, --format-version and --zarr out."
      )
    }
    if isSingleFile(destination), format == .orbax {
      throw ValidationError(
        "A destination that ends in .safetensors is no Orbax checkpoint; choose another name.")
    }
    if isSingleFile(destination) || format == .safetensors, let option = optionOfOrbax {
      throw ValidationError("\(option) is for Orbax, and the destination is safetensors.")
    }
    if let shardSize {
      if shardSize.byteCount < 1 { throw ValidationError("--shard-size is at least 1 byte.") }
      if isSingleFile(destination) {
        throw ValidationError(
          "--shard-size is for a folder, and a destination that ends in .safetensors is one file; name a folder and pass --to safetensors."
        )
      }
    }
    if let chunkSize, chunkSize.byteCount < 1 { throw ValidationError("--chunk-size is at least 1 byte.") }
    if let formatVersion, OrbaxOptions.Version(rawValue: formatVersion) == nil {
      throw ValidationError("--format-version is 0 or 1.")
    }
    if let zarr, OrbaxOptions.ZarrVersion(rawValue: zarr) == nil {
      throw ValidationError("--zarr is 2 or 3.")
    }
    if let step, step < 0 { throw ValidationError("--step is a number from 0 up.") }
  }

  /// The format that a destination of this name gets.
  func format(for destination: String) throws(GraftError) -> SaveFormat {
    if isSingleFile(destination) { return .safetensors }
    if format == .safetensors {
      return .safetensors(shardByteCount: shardSize?.byteCount ?? Self.defaultShardByteCount)
    }
    guard format == .orbax || !destination.hasSuffix(".graft") else {
      throw GraftError(
        .unsupported, "archives are not written by this version", file: destination,
        expected: "a name that ends in .safetensors, or that of an Orbax checkpoint",
        remedy: "choose another name, or pass --to orbax")
    }
    var options = OrbaxOptions()
    if let compression { options.compression = compression.compression }
    if let chunkSize { options.chunkByteCount = chunkSize.byteCount }
    options.cuts = cut.map(\.cut)
    if let version = formatVersion.flatMap({ OrbaxOptions.Version(rawValue: $0) }) {
      options.version = version
    }
    options.zarrVersion = zarr.flatMap { OrbaxOptions.ZarrVersion(rawValue: $0) }
    options.usesDatabase = !folders
    options.hasChecksums = !noChecksums
    if let shardSize { options.dataFileByteCount = shardSize.byteCount }
    return .orbax(options)
  }

  /// How leaves are written that are not linked.
  func orbaxOptions(for destination: String) throws(GraftError) -> OrbaxOptions {
    guard let options = try format(for: destination).orbaxOptions(for: destination) else {
      preconditionFailure("--link was validated")
    }
    return options
  }

  /// Writes with the memory measured that it takes.
  func write(
    to destination: String, _ save: () async throws(GraftError) -> ConvertAnswer.Report
  ) async throws(GraftError) -> ConvertAnswer {
    let memory = try PeakMemorySampler()
    do throws(GraftError) {
      let report = try await save()
      return ConvertAnswer(
        destination: destination, report: report, peakByteCount: max(0, memory.stop() - memory.baseByteCount))
    } catch {
      _ = memory.stop()
      var error = error
      // What stands there under another name is not replaced.
      if error.code == .destinationExists, error.found == nil, !overwrite {
        error.remedy = "pass --overwrite to replace it"
      }
      throw error
    }
  }
}

/// How chunks are compressed, as ``Compression`` reads and writes it.
struct CompressionArgument: ExpressibleByArgument {
  let compression: Compression

  init?(argument: String) {
    guard let compression = Compression(argument) else { return nil }
    self.compression = compression
  }
}

/// `GLOB=AXIS:PARTS`: leaves of which an axis is cut into parts.
struct CutArgument: ExpressibleByArgument {
  let cut: OrbaxOptions.AxisCut

  init?(argument: String) {
    // A key may have an equals sign in it, numbers have none.
    guard let equals = argument.lastIndex(of: "=") else { return nil }
    let numbers = argument[argument.index(after: equals)...].split(
      separator: ":", omittingEmptySubsequences: false)
    guard numbers.count == 2, let axis = Int(numbers[0]), let parts = Int(numbers[1]), parts > 0,
      let pattern = try? PathPattern(String(argument[..<equals]))
    else { return nil }
    cut = OrbaxOptions.AxisCut(pattern, axis: axis, partCount: parts)
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
