import ArgumentParser
import GraftCore

/// A command that finds something out or does something, and answers.
protocol Verb: ParsableCommand, Sendable {
  associatedtype Result: Answer

  var output: OutputOptions { get }

  /// Does what the command is for.
  func perform(_ session: Session) async throws(GraftError) -> Result
}

extension Verb {
  /// Performs the command, shows its answer or its error, and gives the exit status.
  func answer() async -> Int32 {
    let session = Session(output)
    do throws(GraftError) {
      let result = try await perform(session)
      session.endProgress()
      do throws(OutputFailure) {
        try session.show(result)
        return result.status
      } catch {
        if error.isClosedPipe { return Tool.Status.closedPipe }
        StandardStream.diagnostics.tell(
          "graft: standard output cannot be written: error \(error.errorNumber)")
        return Tool.Status.error
      }
    } catch {
      session.endProgress()
      // Whoever interrupted knows why; the tool says so in one line.
      if error.code != .cancelled { StandardStream.diagnostics.tell(error.description) }
      return Tool.Status.error
    }
  }
}

/// One run of a command: where its progress and its answer go.
final class Session: Sendable {
  private let isQuiet: Bool
  private let isJSON: Bool
  private let display: ProgressDisplay?

  init(_ options: OutputOptions) {
    isQuiet = options.quiet
    isJSON = options.json
    display = options.quiet ? nil : ProgressDisplay("")
  }

  /// What to call with progress under this title; nil when nobody wants to see it.
  func progress(_ title: String, totalByteCount: Int) -> (@Sendable (Progress) -> Void)? {
    guard let display else { return nil }
    display.retitle(title)
    display.update(Progress(completedByteCount: 0, totalByteCount: totalByteCount))
    return { display.update($0) }
  }

  /// Takes the progress away, before anything else is written.
  func endProgress() { display?.finish() }

  /// Tells people something that is not the answer.
  func note(_ text: String) {
    guard !isQuiet else { return }
    endProgress()
    StandardStream.diagnostics.tell(text)
  }

  /// Shows an answer to whoever asked, a person or a program.
  func show(_ answer: some Answer) throws(OutputFailure) {
    if isJSON {
      var json = JSONStream { (bytes) throws(OutputFailure) in try StandardStream.output.write(bytes) }
      try json.object { (json) throws(OutputFailure) in try answer.write(to: &json) }
      try json.finish()
    } else {
      var text = TextStream { (bytes) throws(OutputFailure) in try StandardStream.output.write(bytes) }
      try answer.write(to: &text)
      try text.flush()
    }
  }
}
