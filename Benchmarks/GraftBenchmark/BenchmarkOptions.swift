package import GraftCore

/// What the user asked of a benchmark.
package struct BenchmarkOptions: Hashable, Sendable {
  /// How much is measured.
  package enum Size: String, CaseIterable, Hashable, Sendable {
    /// A few MiB and few rounds: shows that a benchmark runs, and no figure that means anything.
    case tiny
    /// What the published figures were taken with.
    case full
  }

  /// How much is measured.
  package var size = Size.full
  /// How many interleaved rounds count.
  package var rounds = 11
  /// Where the files that are read are made and kept.
  package var folder = ".build/benchmarks"
  /// The safetensors file that the load benchmark reads; nil for one that it makes.
  package var file: String?
  /// How many leaves the open benchmark's checkpoint has; nil for several sizes.
  package var leafCount: Int?
  /// How many MiB the saved training state has; nil for what its benchmark takes by default.
  package var mebibytes: Int?
  /// Whether the load benchmark runs with the file in the page cache.
  package var warm = false
  /// Whether the load benchmark runs with nothing of the file in the page cache.
  package var cold = false
  /// Whether the answer is one JSON object.
  package var json = false
  /// The checkpoint or folder whose storage is tuned for; nil for the folder of files that are made.
  package var path: String?
  /// Where a sweep's journal, charts and recommendation go; nil for what it chooses.
  package var output: String?
  /// Whether a sweep takes a minute rather than five.
  package var isQuick = false
  /// Whether a sweep measures anew what its journal has.
  package var isFresh = false
  /// Whether a sweep recommends what the figures of a noisy machine say.
  package var isForced = false

  /// The default options.
  package init() {}
}

/// A command line of the tool: which benchmark, and its options.
package enum CommandLine: Hashable, Sendable {
  /// Runs a benchmark.
  case run(BenchmarkKind, BenchmarkOptions)
  /// Says how the tool is used.
  case help

  /// Reads the arguments after the tool's own name.
  ///
  /// - Throws: `invalidArgument` that names what is not understood.
  package init(_ arguments: [String]) throws(GraftError) {
    var options = BenchmarkOptions()
    var kind: BenchmarkKind?
    var rest = arguments[...]
    func value(of name: String) throws(GraftError) -> String {
      guard let value = rest.popFirst() else {
        throw GraftError(.invalidArgument, "\(name) needs a value", remedy: Self.remedy)
      }
      return value
    }
    func number(of name: String, _ allowed: ClosedRange<Int>) throws(GraftError) -> Int {
      let text = try value(of: name)
      guard let number = Int(text), allowed.contains(number) else {
        throw GraftError(
          .invalidArgument, "\(name) does not take this value",
          expected: "a number from \(allowed.lowerBound) to \(allowed.upperBound)", found: text)
      }
      return number
    }
    while let argument = rest.popFirst() {
      switch argument {
      case "-h", "--help":
        self = .help
        return
      case "--warm": options.warm = true
      case "--cold": options.cold = true
      case "--json": options.json = true
      case "--quick": options.isQuick = true
      case "--fresh": options.isFresh = true
      case "--force": options.isForced = true
      case "--output": options.output = try value(of: argument)
      case "--tiny":
        options.size = .tiny
        options.rounds = 2
      case "--file": options.file = try value(of: argument)
      case "--folder": options.folder = try value(of: argument)
      case "--rounds": options.rounds = try number(of: argument, 1...10_000)
      case "--leaves": options.leafCount = try number(of: argument, 1...1_000_000)
      case "--mebibytes": options.mebibytes = try number(of: argument, 1...1_000_000)
      default:
        if kind == .tune, options.path == nil, !argument.hasPrefix("-") {
          options.path = argument
          continue
        }
        guard kind == nil, let named = BenchmarkKind(rawValue: argument) else {
          throw GraftError(
            .invalidArgument, "'\(argument)' is not understood",
            expected: BenchmarkKind.allCases.map(\.rawValue).joined(separator: ", "), remedy: Self.remedy)
        }
        kind = named
      }
    }
    guard let kind else {
      self = .help
      return
    }
    let sweeping = [
      (options.isQuick, "--quick"), (options.isFresh, "--fresh"), (options.isForced, "--force"),
      (options.output != nil, "--output"),
    ]
    for (isGiven, name) in sweeping
    where isGiven && kind != .tune && !(kind == .scaling && name == "--output") {
      throw GraftError(
        .invalidArgument, "\(name) is not for the benchmark \(kind.rawValue)", remedy: Self.remedy)
    }
    if !options.warm && !options.cold { (options.warm, options.cold) = (true, true) }
    self = .run(kind, options)
  }

  private static let remedy = "see graft-benchmark --help"

  /// How the tool is used.
  package static let usage = """
    usage: graft-benchmark BENCHMARK [options]
           graft-benchmark tune [PATH] [options]

    Measures Graft beside what the machine can do with the same bytes, in interleaved rounds of one process.

    \(BenchmarkKind.allCases.map { "  \($0.rawValue.padded(to: 16))\($0.summary)" }.joined(separator: "\n"))

      --warm, --cold   the file in the page cache, or not at all (load, partial; both by default)
      --rounds N       how many rounds count (11)
      --file FILE      a safetensors file to load, rather than one that is made
      --leaves N       how many leaves to open (10,000, 100,000 and 400,000)
      --mebibytes N    how large a training state is saved (640)
      --folder DIR     where files are made and kept (.build/benchmarks); on the storage that is to be measured
      --tiny           a few MiB and two rounds: shows that it runs
      --json           one JSON object

    tune finds the settings that are fastest on some storage, and writes them as a file for `graft --tuning FILE`. PATH is a
    folder on it, in which data is made, or a checkpoint; docs/tuning.md tells the rest. It takes about 5 minutes and goes on from
    where it was interrupted.

      --quick          a minute, and coarser
      --mebibytes N    how much data is made, or loaded of a checkpoint (1024; 256 with --quick)
      --output DIR     where tuning.json, tuning.svg and journal.jsonl go (graft-tune in the folder; in the working directory
                       for a checkpoint); scaling puts scaling.svg there (its own --folder)
      --fresh          measure anew what the journal has
      --force          recommend something even if the machine was busy

    """
}

extension String {
  func padded(to width: Int) -> String { self + String(repeating: " ", count: Swift.max(0, width - count)) }
}
