import ArgumentParser
import Graft

/// `graft peek`: the values of a leaf or of a slice of it, and what they are like; reads only that slice.
struct Peek: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Show the values of a leaf, or of a slice of it, and their statistics.")

  /// How many values are shown in JSON unless somebody asks for more.
  static let defaultLimit = 65_536

  @Argument(help: CheckpointName.help)
  var path: String

  @Argument(help: "The path of the leaf, as inspect shows it.")
  var leaf: String

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The part of it, as Python writes it: 0:4,:,7.", valueName: "slice"))
  var slice: String?

  @Option(help: ArgumentHelp("The most values that JSON has; of more it has none.", valueName: "n"))
  var limit = Peek.defaultLimit

  @OptionGroup var opening: OpeningOptions
  @OptionGroup var tuning: TuningOptions
  @OptionGroup var output: OutputOptions

  func validate() throws {
    if limit < 0 { throw ValidationError("--limit is no negative number.") }
    if TreePath(parsing: leaf) == nil {
      throw ValidationError("'\(leaf)' is no path: an escape in it is unfinished.")
    }
  }

  func perform(_ session: Session) async throws(GraftError) -> PeekAnswer {
    let tuning = try await tuning.settings(for: path, session)
    let checkpoint = try await opening.open(path, tuning: tuning)
    let path = TreePath(parsing: leaf) ?? .root
    let node = checkpoint.tree[at: path]
    guard let spec = node.leaf else { throw Self.noLeaf(node, at: path, in: checkpoint) }
    let wanted: Tree<Target> =
      if let slice { .slice(try TensorSlice(parsing: slice)) } else { .stored }
    // Of the checkpoint's own structure, as a path alone does not say whether a key `0` is an index of a list.
    let target = checkpoint.target { other, _ in other == path ? wanted : .placeholder }
    let total = spec.tensor?.byteCount ?? 0
    let loaded = try await checkpoint.load(
      target, progress: session.progress("reading", totalByteCount: total))
    guard let value = loaded.tree[at: path].leaf else {
      throw GraftError(.leafNotFound, "the leaf was not loaded", leaf: path, file: self.path)
    }
    var statistics: Statistics?
    if case .tensor(let tensor) = value { statistics = try tensor.statistics() }
    return PeekAnswer(
      path: path, value: value, statistics: statistics, valueLimit: limit,
      bytesRead: loaded.report.reading.bytesRead)
  }

  private static func noLeaf(_ node: Tree<LeafSpec>, at path: TreePath, in checkpoint: Checkpoint)
    -> GraftError
  {
    if node.kind != .fault {
      return GraftError(
        .structureMismatch, "there is no leaf but a whole \(node.kind.rawValue) at \(path)", leaf: path,
        file: checkpoint.path,
        remedy: node.leaves.first.map { "peek at one of its leaves, for example \(path)/\($0.path)" })
    }
    var error = node.fault ?? GraftError(.leafNotFound, "there is no leaf \(path)", leaf: path)
    // The whole path may be near another although its last key is not.
    error.remedy =
      NearName.suggestion(for: path.description, among: checkpoint.tree.leaves.lazy.map(\.path.description))
      ?? error.remedy
    error.file = checkpoint.path
    return error
  }
}

/// What `graft peek` shows.
struct PeekAnswer: Answer {
  var path: TreePath
  var value: LeafValue
  var statistics: Statistics?
  var valueLimit: Int
  var bytesRead: Int

  func write(to json: inout JSONStream) throws(OutputFailure) {
    json.member("path", .string(path.description))
    json.member("dtype", .string(value.spec?.dtypeName ?? ""))
    json.member("shape", .shape(value.spec?.shape ?? []))
    json.key("values")
    switch value {
    case .tensor(let tensor): try TensorValues(tensor, limit: valueLimit).write(to: &json)
    case .string(let text): try json.element(.string(text))
    case .placeholder: try json.element(nil)
    }
    json.member("statistics", statistics.map(Self.json) ?? nil)
    json.member("bytes_read", .integer(bytesRead))
  }

  private static func json(_ statistics: Statistics) -> JSONValue {
    func number(_ value: Double?) -> JSONValue { value.map { .double($0) } ?? nil }
    return [
      "count": .integer(statistics.count), "min": number(statistics.minimum),
      "max": number(statistics.maximum),
      "mean": number(statistics.mean), "std": number(statistics.standardDeviation),
      "nans": .integer(statistics.nanCount), "infinities": .integer(statistics.infinityCount),
      "zeros": .integer(statistics.zeroCount),
    ]
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    switch value {
    case .tensor(let tensor): try text.line("\(path): \(tensor)")
    case .string(let string): try text.line("\(path): string \"\(TreePath.printable(string))\"")
    case .placeholder: try text.line("\(path): nothing")
    }
    if let statistics, statistics.count > 0 {
      func number(_ value: Double?) -> String { value.map { Decimal.significant($0) } ?? "none" }
      try text.line(
        "min \(number(statistics.minimum)), max \(number(statistics.maximum)), mean \(number(statistics.mean)), "
          + "std \(number(statistics.standardDeviation)), \(Decimal.grouped(statistics.nanCount)) NaN, "
          + "\(Decimal.grouped(statistics.infinityCount)) infinite, \(Decimal.grouped(statistics.zeroCount)) zero "
          + "of \(Decimal.grouped(statistics.count))")
    }
    try text.line("\(ByteSize(bytesRead)) read")
  }
}
