package import GraftCore

/// The benchmarks: each answers one question.
package enum BenchmarkKind: String, CaseIterable, Hashable, Sendable {
  case load
  case partial
  case open
  case plan
  case memory
  case convert
  case orbax
  case kernels
  case encode
  case surgery
  case stacks
  case save
  case surgeryMemory = "surgery-memory"
  case link
  case verify
  case tune
  case scaling

  /// The question, in a line.
  package var summary: String {
    switch self {
    case .load: "How close does loading a whole model come to a plain read of its file?"
    case .partial: "How much is read for a part of a model, and does reading near leaves together pay?"
    case .open: "How long until the leaves are known and their reads are planned, and is that linear?"
    case .plan: "How long until a transform of very many leaves is planned?"
    case .convert: "How fast do elements become arrays of Float?"
    case .orbax: "How close does loading what Orbax wrote come to bare decoding, and what do slices cost?"
    case .kernels: "How close do casts, arithmetic, random numbers and transposes come to a copy?"
    case .encode: "How fast are chunks encoded, how small do they get, and how close is that to bare zstd?"
    case .surgery: "What does a surgery cost beyond moving its bytes?"
    case .stacks: "What does stacking layers along any axis cost beyond loading them?"
    case .save: "How close do saves come to bare zstd and to the disk?"
    case .surgeryMemory: "Does every surgery stay within its budget, on a leaf that is far larger?"
    case .link: "How long does a merge or a stack take that moves no bytes, whatever its size?"
    case .verify: "What does verifying checksums add to a load?"
    case .tune: "Which settings are fastest on this storage, and how far from what it can do?"
    case .scaling: "How does each cost grow with leaves, bytes, chunks, threads and budget?"
    case .memory: "How much memory does a load or a conversion take beyond its result?"
    }
  }

  /// Runs the benchmark.
  ///
  /// - Throws: ``GraftError`` when its files cannot be made or read.
  package func run(_ options: BenchmarkOptions) async throws(GraftError) -> BenchmarkReport {
    let business = MachineBusiness()
    var report =
      switch self {
      case .load: try await LoadBenchmark(options).run()
      case .partial: try await PartialBenchmark(options).run()
      case .open: try await OpenBenchmark(options).run()
      case .plan: try await PlanBenchmark(options).run()
      case .convert: try await ConvertBenchmark(options).run()
      case .orbax: try await OrbaxBenchmark(options).run()
      case .kernels: try await KernelsBenchmark(options).run()
      case .encode: try await EncodeBenchmark(options).run()
      case .surgery: try await SurgeryBenchmark(options).run()
      case .stacks: try await StackBenchmark(options).run()
      case .save: try await SaveBenchmark(options).run()
      case .surgeryMemory: try await SurgeryMemoryBenchmark(options).run()
      case .verify: try await VerifyBenchmark(options).run()
      case .link: try await LinkBenchmark(options).run()
      case .tune: try await TuneBenchmark(options).run()
      case .scaling: try await ScalingBenchmark(options).run()
      case .memory: try await MemoryBenchmark(options).run()
      }
    report.name = rawValue
    if options.size == .tiny { report.conditions.append("tiny input: no figure here means anything") }
    // A sweep has rounds of its own, and says how busy the machine was itself, over all that its journal has.
    if self == .tune { return report }
    report.conditions += [
      "\(options.rounds) interleaved rounds; medians (smallest-largest)", business.description,
    ]
    return report
  }
}
