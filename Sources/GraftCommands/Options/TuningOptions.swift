import ArgumentParser
import Graft

/// How loads read, where the defaults are not wanted.
struct TuningOptions: ParsableArguments {
  @Option(help: "How reads are submitted to the kernel.")
  var engine = EngineName.auto

  @Option(
    help: ArgumentHelp("The number of threads that read; one for each processor by default.", valueName: "n"))
  var threads: Int?

  @Option(help: ArgumentHelp("Staging memory beyond the result, for example 64MiB.", valueName: "size"))
  var budget: ByteSize?

  @Option(
    help: ArgumentHelp(
      "Which checksums are verified: auto (those of chunks that are read whole), always (of every byte, or it is an error), never."
    ))
  var verify = VerificationName.auto

  func validate() throws {
    if let threads, threads < 1 { throw ValidationError("--threads is at least 1.") }
    if let budget, budget.byteCount < 1 { throw ValidationError("--budget is at least 1 byte.") }
  }

  var tuning: Tuning {
    var tuning = Tuning()
    tuning.engine = engine.engine
    tuning.threadCount = threads
    tuning.verification = verify.verification
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
