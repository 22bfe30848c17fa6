import ArgumentParser
import Graft

/// `graft verify`: every checksum that a checkpoint carries, its structure, and its seal.
struct Verify: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Verify every checksum that a checkpoint carries, its structure, and its seal; or seal it.",
    discussion: """
      All bytes are read and decoded, and nothing is kept. What is wrong does not stop it: all failures are listed, and the \
      exit status is 1 when there are any. A leaf is unprotected when it can be read, but has bytes without a checksum, in which a \
      flipped bit would not show. --seal protects such leaves from then on: docs/formats/seal.md says how.
      """)

  @Argument(help: CheckpointName.help)
  var path: String

  @Flag(help: "Write a seal beside the checkpoint, a file of digests, if nothing is wrong with it.")
  var seal = false

  @OptionGroup var selection: SelectionOptions
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var tuning: TuningOptions
  @OptionGroup var output: OutputOptions

  func validate() throws {
    if seal && !selection.selection.rules.isEmpty {
      throw ValidationError("--seal seals all of a checkpoint, so it goes without --select and --drop.")
    }
  }

  func perform(_ session: Session) async throws(GraftError) -> VerifyAnswer {
    let tuning = try await tuning.settings(for: path, session)
    let checkpoint: Checkpoint
    do throws(GraftError) {
      checkpoint = try await opening.open(path, tuning: tuning)
    } catch {
      // Metadata that contradicts itself is what this command is to find, not a reason why it cannot.
      guard error.code == .corrupt || error.code == .truncated else { throw error }
      return VerifyAnswer(path: path, report: VerificationReport(notOpening: error))
    }
    let progress = session.progress(
      seal ? "sealing" : "verifying", totalByteCount: checkpoint.logicalByteCount)
    let report =
      seal
      ? try await checkpoint.seal(progress: progress)
      : try await checkpoint.verify(selecting: selection.selection, progress: progress)
    return VerifyAnswer(path: path, report: report)
  }
}

/// What `graft verify` says.
struct VerifyAnswer: Answer {
  var path: String
  var report: VerificationReport

  var status: Int32 { report.isIntact ? 0 : Tool.Status.no }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    json.member("verified_leaves", .integer(count(.verified)))
    json.member("unprotected_leaves", .integer(count(.unprotected)))
    json.member("failed_leaves", .integer(count(.failed)))
    json.member("unread_leaves", .integer(count(.unread)))
    json.member("failure_count", .integer(report.failureCount))
    json.key("failures")
    try json.array { (json) throws(OutputFailure) in
      for failure in report.failures { try json.element(Self.json(failure)) }
    }
    json.member("bytes_read", .integer(report.reading.bytesRead))
    json.member("seconds", .double(report.elapsed / .seconds(1)))
    json.member("seal", report.seal.map { .string($0) } ?? nil)
  }

  private func count(_ outcome: VerificationReport.Outcome) -> Int {
    report.leaves.count { $0.outcome == outcome }
  }

  private static func json(_ failure: GraftError) -> JSONValue {
    [
      "path": failure.leaf.map { .string($0.description) } ?? nil,
      "file": failure.file.map { .string($0) } ?? nil,
      "range": failure.range.map { .array([.integer($0.offset), .integer($0.end)]) } ?? nil,
      "code": .string(failure.code.description), "error": .string(failure.description),
    ]
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    for failure in report.failures { try text.line(failure.description) }
    let hidden = report.failureCount - report.failures.count
    if hidden > 0 { try text.line("… and \(Count(hidden, "more failure"))") }
    for (outcome, meaning) in [
      (VerificationReport.Outcome.verified, "verified by checksums"),
      (.unprotected, "readable, but without checksums for all of their bytes"),
      (.unread, "stored in a way that Graft does not read"), (.failed, "failed"),
    ] where count(outcome) > 0 {
      try text.line("\(Count(count(outcome), "leaf")) \(meaning)")
    }
    if let seal = report.seal { try text.line(seal) }
    let verdict = report.isIntact ? "nothing is wrong with" : "something is wrong with"
    let seconds = Decimal.text(report.elapsed / .seconds(1), digits: 2)
    try text.line(
      "\(verdict) \(TreePath.printable(path)); \(ByteSize(report.reading.bytesRead)) read in \(seconds) s")
  }
}
