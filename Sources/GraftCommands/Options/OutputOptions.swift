import ArgumentParser

/// How a command answers, which every command can be told.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print one JSON object on standard output, and nothing else there.")
  var json = false

  @Flag(name: [.long, .short], help: "Print no progress and no notes.")
  var quiet = false
}
