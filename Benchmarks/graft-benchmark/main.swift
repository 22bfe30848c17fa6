import Glibc
import GraftBenchmark
import GraftCore

do {
  switch try GraftBenchmark.CommandLine(Array(Swift.CommandLine.arguments.dropFirst())) {
  case .help:
    print(GraftBenchmark.CommandLine.usage, terminator: "")
  case .run(let kind, let options):
    let report = try await kind.run(options)
    print(options.json ? report.json : report.description)
  }
} catch {
  let text = "error: \(error)\n"
  _ = unsafe write(STDERR_FILENO, text, text.utf8.count)
  exit(error.code == .invalidArgument ? 64 : 2)
}
