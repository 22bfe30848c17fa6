internal import ArgumentParser
internal import Glibc
internal import GraftCore

/// The tool `graft-benchmark`: a command for each benchmark, and what becomes of its report.
package enum BenchmarkTool {
  /// Runs the benchmark that the process's arguments name, and ends the process.
  package static func main() async -> Never {
    do {
      let command = try BenchmarkRoot.parseAsRoot(Array(CommandLine.arguments.dropFirst()))
      guard let benchmark = command as? any BenchmarkCommand else {
        // Help, which the parser gives itself.
        var command = command
        try command.run()
        BenchmarkRoot.exit()
      }
      let (kind, options) = (type(of: benchmark).kind, benchmark.options)
      let report = try await Interrupts.cancel { () async throws(GraftError) in try await kind.run(options) }
      print(options.json ? report.json : report.text(.standardOutput))
      exit(0)
    } catch let error as GraftError {
      let text = "error: \(error)\n"
      _ = unsafe write(STDERR_FILENO, text, text.utf8.count)
      exit(error.code == .cancelled ? Interrupts.status : 2)
    } catch {
      BenchmarkRoot.exit(withError: error)
    }
  }

  /// The benchmark that these arguments name, and its options; nil where they ask for help.
  ///
  /// - Throws: the parser's own error for what is not understood.
  package static func parse(
    _ arguments: [String]
  ) throws -> (kind: BenchmarkKind, options: BenchmarkOptions)? {
    let command = try BenchmarkRoot.parseAsRoot(arguments)
    return (command as? any BenchmarkCommand).map { (type(of: $0).kind, $0.options) }
  }

  /// How the tool, or one benchmark of it, is used.
  package static func help(for kind: BenchmarkKind? = nil) -> String {
    guard let kind else { return BenchmarkRoot.helpMessage() }
    let command = BenchmarkRoot.commands.first { $0.kind == kind }
    return BenchmarkRoot.helpMessage(for: command ?? BenchmarkRoot.self)
  }
}

/// The root of the benchmarks.
private struct BenchmarkRoot: ParsableCommand {
  static let commands: [any BenchmarkCommand.Type] = [
    LoadCommand.self, PartialCommand.self, OpenCommand.self, PlanCommand.self, MemoryCommand.self,
    ConvertCommand.self, OrbaxCommand.self, KernelsCommand.self, EncodeCommand.self, SurgeryCommand.self,
    StacksCommand.self, SaveCommand.self, SurgeryMemoryCommand.self, LinkCommand.self, VerifyCommand.self,
    TuneCommand.self, ScalingCommand.self,
  ]

  static let configuration = CommandConfiguration(
    commandName: "graft-benchmark",
    abstract: "Measures Graft beside what the machine can do with the same bytes.",
    discussion: """
      All contestants take turns in one process. A figure is the median of the rounds, with the smallest and the largest behind it.
      """,
    subcommands: commands)
}

/// A benchmark, and the options that it heeds.
private protocol BenchmarkCommand: ParsableCommand {
  static var kind: BenchmarkKind { get }
  var general: GeneralOptions { get }
  /// Adds what stands in the command's own options.
  func add(to options: inout BenchmarkOptions)
}

extension BenchmarkCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(commandName: kind.rawValue, abstract: kind.summary)
  }

  func add(to options: inout BenchmarkOptions) {}

  var options: BenchmarkOptions {
    var options = BenchmarkOptions()
    general.add(to: &options)
    add(to: &options)
    return options
  }
}

// MARK: - Options

private struct GeneralOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Where files are made and kept; on the storage that is to be measured.", valueName: "folder"))
  var folder = ".build/benchmarks"
  @Flag(help: "Measure a few MiB in two rounds: shows that it runs, and no figure means anything.")
  var tiny = false
  @Flag(help: "Print one JSON object.")
  var json = false

  func add(to options: inout BenchmarkOptions) {
    (options.folder, options.json) = (folder, json)
    if tiny { (options.size, options.rounds) = (.tiny, 2) }
  }
}

private struct RoundOptions: ParsableArguments {
  @Option(help: ArgumentHelp("How many rounds count. (default: 11)", valueName: "n"))
  var rounds: Int?

  func add(to options: inout BenchmarkOptions) { if let rounds { options.rounds = rounds } }
  func validate() throws { try require("--rounds", rounds, in: 1...10_000) }
}

private struct CacheOptions: ParsableArguments {
  @Flag(help: "Read files that are in the page cache. Both by default.")
  var warm = false
  @Flag(help: "Read files of which nothing is in the page cache.")
  var cold = false

  func add(to options: inout BenchmarkOptions) {
    (options.warm, options.cold) = warm || cold ? (warm, cold) : (true, true)
  }
}

private struct LeafOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("How many leaves there are; several numbers of them by default.", valueName: "n"))
  var leaves: Int?

  func add(to options: inout BenchmarkOptions) { options.leafCount = leaves }
  func validate() throws { try require("--leaves", leaves, in: 1...1_000_000) }
}

private func require(_ name: String, _ number: Int?, in allowed: ClosedRange<Int>) throws {
  guard let number, !allowed.contains(number) else { return }
  throw ValidationError(
    "\(name) takes a number from \(allowed.lowerBound) to \(allowed.upperBound), and this is \(number).")
}

// MARK: - Benchmarks

private struct LoadCommand: BenchmarkCommand {
  static let kind = BenchmarkKind.load
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
  @OptionGroup var cache: CacheOptions
  @Option(help: "A safetensors file to load, rather than one that is made.") var file: String?

  func add(to options: inout BenchmarkOptions) {
    round.add(to: &options)
    cache.add(to: &options)
    options.file = file
  }
}

private struct PartialCommand: BenchmarkCommand {
  static let kind = BenchmarkKind.partial
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
  @OptionGroup var cache: CacheOptions

  func add(to options: inout BenchmarkOptions) {
    round.add(to: &options)
    cache.add(to: &options)
  }
}

/// One that is told how many leaves there are.
private protocol LeafBenchmarkCommand: BenchmarkCommand {
  var round: RoundOptions { get }
  var leaf: LeafOptions { get }
}

extension LeafBenchmarkCommand {
  func add(to options: inout BenchmarkOptions) {
    round.add(to: &options)
    leaf.add(to: &options)
  }
}

private struct OpenCommand: LeafBenchmarkCommand {
  static let kind = BenchmarkKind.open
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
  @OptionGroup var leaf: LeafOptions
}

private struct PlanCommand: LeafBenchmarkCommand {
  static let kind = BenchmarkKind.plan
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
  @OptionGroup var leaf: LeafOptions
}

private struct LinkCommand: LeafBenchmarkCommand {
  static let kind = BenchmarkKind.link
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
  @OptionGroup var leaf: LeafOptions
}

private struct MemoryCommand: BenchmarkCommand {
  static let kind = BenchmarkKind.memory
  @OptionGroup var general: GeneralOptions
}

private struct SurgeryMemoryCommand: BenchmarkCommand {
  static let kind = BenchmarkKind.surgeryMemory
  @OptionGroup var general: GeneralOptions
}

/// One that has nothing to choose but the number of rounds.
private protocol RoundBenchmarkCommand: BenchmarkCommand {
  var round: RoundOptions { get }
}

extension RoundBenchmarkCommand {
  func add(to options: inout BenchmarkOptions) { round.add(to: &options) }
}

private struct ConvertCommand: RoundBenchmarkCommand {
  static let kind = BenchmarkKind.convert
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
}

private struct OrbaxCommand: RoundBenchmarkCommand {
  static let kind = BenchmarkKind.orbax
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
}

private struct KernelsCommand: RoundBenchmarkCommand {
  static let kind = BenchmarkKind.kernels
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
}

private struct EncodeCommand: RoundBenchmarkCommand {
  static let kind = BenchmarkKind.encode
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
}

private struct SurgeryCommand: RoundBenchmarkCommand {
  static let kind = BenchmarkKind.surgery
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
}

private struct StacksCommand: RoundBenchmarkCommand {
  static let kind = BenchmarkKind.stacks
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
}

/// One that saves a training state.
private protocol StateBenchmarkCommand: BenchmarkCommand {
  var round: RoundOptions { get }
  var mebibytes: Int? { get }
}

extension StateBenchmarkCommand {
  func add(to options: inout BenchmarkOptions) {
    round.add(to: &options)
    options.mebibytes = mebibytes
  }

  func validate() throws { try require("--mebibytes", mebibytes, in: 1...1_000_000) }
}

private struct SaveCommand: StateBenchmarkCommand {
  static let kind = BenchmarkKind.save
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
  @Option(help: ArgumentHelp("How large the training state is. (default: 640)", valueName: "n"))
  var mebibytes: Int?
}

private struct VerifyCommand: StateBenchmarkCommand {
  static let kind = BenchmarkKind.verify
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
  @Option(help: ArgumentHelp("How large the training state is. (default: 640)", valueName: "n"))
  var mebibytes: Int?
}

private struct ScalingCommand: BenchmarkCommand {
  static let kind = BenchmarkKind.scaling
  @OptionGroup var general: GeneralOptions
  @OptionGroup var round: RoundOptions
  @Option(help: ArgumentHelp("Where scaling.svg goes. (default: the folder)", valueName: "folder"))
  var output: String?

  func add(to options: inout BenchmarkOptions) {
    round.add(to: &options)
    options.output = output
  }
}

private struct TuneCommand: BenchmarkCommand {
  static let kind = BenchmarkKind.tune
  static var configuration: CommandConfiguration {
    CommandConfiguration(
      commandName: kind.rawValue, abstract: kind.summary,
      discussion: """
        Writes tuning.json, which `graft --tuning FILE` and Tuning(contentsOf:) take, tuning.svg with charts, and journal.jsonl, from \
        which an interrupted run goes on. docs/tuning.md tells the rest.
        """)
  }

  @Argument(
    help: """
      A folder on the storage, in which data is made, or a checkpoint; the folder of files that are made, unless given.
      """)
  var path: String?
  @OptionGroup var general: GeneralOptions
  @Flag(help: "Take a minute rather than five, and measure coarser.") var quick = false
  @Option(
    help: ArgumentHelp(
      "How much data is made, or loaded of a checkpoint. (default: 1024; 256 with --quick)", valueName: "n"))
  var mebibytes: Int?
  @Option(
    help: ArgumentHelp(
      "Where its files go. (default: graft-tune in the folder; in the working directory for a checkpoint)",
      valueName: "folder"))
  var output: String?
  @Flag(help: "Measure anew what the journal has.") var fresh = false
  @Flag(help: "Recommend something even if the machine was busy.") var force = false

  func add(to options: inout BenchmarkOptions) {
    (options.path, options.output, options.mebibytes) = (path, output, mebibytes)
    (options.isQuick, options.isFresh, options.isForced) = (quick, fresh, force)
  }

  func validate() throws { try require("--mebibytes", mebibytes, in: 1...1_000_000) }
}
