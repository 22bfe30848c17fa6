import ArgumentParser
import Glibc
import GraftCore

/// The tool `graft`: its verbs, and what becomes of what they answer or throw.
package enum Tool {
  /// The exit statuses that scripts may rely on, beside 0.
  enum Status {
    /// The answer is "no".
    static let no: Int32 = 1
    /// An error.
    static let error: Int32 = 2
    /// Wrong usage, `EX_USAGE` of sysexits.h.
    static let usage: Int32 = 64
    /// Interrupted, as shells number it.
    static let interrupted: Int32 = 130
    /// Whoever read standard output closed it, as shells number that.
    static let closedPipe: Int32 = 141
  }

  /// Runs the command that the process's arguments name, and ends the process.
  package static func main() async -> Never {
    let interruption = Interruption()
    // A closed pipe is an error of the write, which cleans up, not a signal, which does not.
    _ = signal(SIGPIPE, SIG_IGN)
    let status = await run(Array(CommandLine.arguments.dropFirst()), interruption: interruption)
    exit(status)
  }

  /// Runs a command to its end, and gives the exit status.
  static func run(_ arguments: [String], interruption: Interruption) async -> Int32 {
    var command: any ParsableCommand
    do {
      command = try GraftCommand.parseAsRoot(arguments)
    } catch {
      return explain(error)
    }
    guard let verb = command as? any Verb else {
      // Help and the like, which the parser does itself.
      do {
        try command.run()
        return 0
      } catch {
        return explain(error)
      }
    }
    let task = Task { () -> Int32 in await verb.answer() }
    interruption.onInterrupt { task.cancel() }
    let status = await task.value
    if status != 0, interruption.isInterrupted {
      StandardStream.diagnostics.tell("graft: interrupted")
      return Status.interrupted
    }
    return status
  }

  /// Says what the parser says: help goes to standard output, what is wrong to standard error.
  private static func explain(_ error: any Error) -> Int32 {
    let status = GraftCommand.exitCode(for: error).rawValue
    let message = GraftCommand.fullMessage(for: error)
    if status == 0 {
      try? StandardStream.output.write(Array("\(message)\n".utf8))
      return 0
    }
    StandardStream.diagnostics.tell(message)
    return status
  }
}

/// The root of the verbs.
struct GraftCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "graft",
    abstract: "Model surgery on checkpoints: look into them, load and rewrite parts of them.",
    discussion: """
      A PATH is a .safetensors file, or a folder of them with or without model.safetensors.index.json.
      A GLOB matches the paths of leaves: * within one key, ** across keys, {a,b} for either; what it matches, it takes with \
      all that is below.
      """,
    subcommands: [
      Inspect.self, Peek.self, Load.self, PlanVerb.self, Convert.self, Merge.self, Verify.self, Diff.self,
      Doctor.self,
    ])
}
