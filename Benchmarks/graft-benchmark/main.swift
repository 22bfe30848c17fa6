import Glibc
import GraftBenchmark
import GraftCore

do {
  switch try GraftBenchmark.CommandLine(Array(Swift.CommandLine.arguments.dropFirst())) {
  case .help:
    print(GraftBenchmark.CommandLine.usage, terminator: "")
  case .run(let kind, let options):
    let report = try await Interrupts.cancel { () async throws(GraftError) in try await kind.run(options) }
    print(options.json ? report.json : report.text(.standardOutput))
  }
} catch {
  let text = "error: \(error)\n"
  _ = unsafe write(STDERR_FILENO, text, text.utf8.count)
  switch error.code {
  case .invalidArgument: exit(64)
  case .cancelled: exit(Interrupts.status)
  default: exit(2)
  }
}
