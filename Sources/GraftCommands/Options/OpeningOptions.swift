import ArgumentParser
import Graft
import GraftIO

/// How a checkpoint is opened, where its path alone does not say it.
struct OpeningOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Which part of an Orbax checkpoint that has several; state unless given.", valueName: "name"))
  var checkpointable: String?

  @Flag(help: "Keep names whole, rather than split at dots into a tree.")
  var flat = false

  /// Opens the checkpoint that `path` names: a path, or `ROOT@STEP` for one step of a folder of steps.
  ///
  /// - Parameters:
  ///   - flat: whether names are kept whole; nil for what the command was told.
  ///   - step: the step of a folder of steps, where somebody said it beside the path.
  func open(
    _ path: String, flat: Bool? = nil, step: String? = nil, tuning: Tuning = Tuning()
  ) async throws(GraftError) -> Checkpoint {
    var name = try await CheckpointName(path)
    if let step { name.step = step }
    return try await Checkpoint(
      at: name.path, step: name.step, checkpointable: checkpointable, flat: flat ?? self.flat, tuning: tuning)
  }
}

/// What a path on the command line means: a checkpoint, or one step of a folder of steps.
struct CheckpointName: Hashable, Sendable {
  /// The help of every argument that is such a path.
  static let help: ArgumentHelp = "The checkpoint; ROOT@STEP for one step of a folder of steps."

  var path: String
  var step: String?

  /// Takes `text` apart at its last `@`, unless something of that whole name exists or nothing exists before the `@`.
  init(_ text: String) async throws(GraftError) {
    path = text
    let whole = String(text.reversed().drop { $0 == "/" }.reversed())
    guard let at = whole.lastIndex(of: "@") else { return }
    let (root, step) = (String(whole[..<at]), String(whole[whole.index(after: at)...]))
    // A step is the name of a folder or a number, so that what follows has no slash.
    guard !root.isEmpty, !step.isEmpty, !step.contains("/") else { return }
    let isStep = try await BlockingThreads.shared.run { () throws(GraftError) -> Bool in
      if try Self.exists(text) { return false }
      return try Self.exists(root)
    }
    if isStep { (path, self.step) = (root, step) }
  }

  private static func exists(_ path: String) throws(GraftError) -> Bool {
    do throws(GraftError) {
      _ = try FileStatus(at: path)
      return true
    } catch {
      if error.code == .notFound { return false }
      throw error
    }
  }
}
