import ArgumentParser
import Graft
import GraftIO

/// How loads read, where the defaults are not wanted.
struct TuningOptions: ParsableArguments {
  @Option(
    name: .customLong("tuning"),
    help: ArgumentHelp(
      "A file of settings, as graft-benchmark tune writes it; the options below win over what it says.",
      valueName: "file"))
  var file: String?

  @Option(help: "How reads are submitted to the kernel; auto by default.")
  var engine: EngineName?

  @Option(
    help: ArgumentHelp("The number of threads that read; one for each processor by default.", valueName: "n"))
  var threads: Int?

  @Option(help: ArgumentHelp("Staging memory beyond the result, for example 64MiB.", valueName: "size"))
  var budget: ByteSize?

  @Option(
    help: ArgumentHelp(
      "Which checksums are verified: auto (the default: those of chunks that are read whole), always (of every byte, or it is an error), never."
    ))
  var verify: VerificationName?

  func validate() throws {
    if let threads, threads < 1 { throw ValidationError("--threads is at least 1.") }
    if let budget, budget.byteCount < 1 { throw ValidationError("--budget is at least 1 byte.") }
  }

  /// The settings: what the options say, else what the file says, else the defaults.
  ///
  /// A file that was made on another machine or storage is told of, and used.
  /// - Parameter path: the checkpoint that is read, if there is one.
  func settings(for path: String?, _ session: Session) async throws(GraftError) -> Tuning {
    var tuning = Tuning()
    if let name = file {
      let (file, differences) = try await BlockingThreads.shared.run { () throws(GraftError) in
        let file = try TuningFile(contentsOf: name)
        return (file, file.differencesFromHere(for: path))
      }
      tuning = file.tuning
      if !differences.isEmpty {
        session.note(
          "The settings of \(TreePath.printable(name)) were measured elsewhere: \(differences.joined(separator: "; ")). "
            + "graft-benchmark tune measures them here.")
      }
    }
    if let engine { tuning.engine = engine.engine }
    if let threads { tuning.threadCount = threads }
    if let verify { tuning.verification = verify.verification }
    if let budget { tuning.budgetByteCount = budget.byteCount }
    return tuning
  }
}

/// What `--engine` can be.
enum EngineName: String, CaseIterable, ExpressibleByArgument {
  case auto, uring, threads

  var engine: Tuning.Engine {
    switch self {
    case .auto: .automatic
    case .uring: .uring
    case .threads: .threads
    }
  }
}

/// What `--verify` can be.
enum VerificationName: String, CaseIterable, ExpressibleByArgument {
  case auto, always, never

  var verification: Tuning.Verification {
    switch self {
    case .auto: .automatic
    case .always: .always
    case .never: .never
    }
  }
}

extension ByteSize: ExpressibleByArgument {
  init?(argument: String) { self.init(parsing: argument) }
}
