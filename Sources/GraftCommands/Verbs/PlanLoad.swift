import ArgumentParser
import Graft
import GraftExecute

/// `graft plan`: what a load would read and copy, without doing any of it.
struct PlanLoad: Verb {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Show what a load would read and copy, and how much memory it would take; does none of it.")

  @Argument(help: CheckpointName.help)
  var path: String

  @OptionGroup var selection: SelectionOptions

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Load only this part of a leaf, for example kernel=0:4,:.", valueName: "leaf=slice"))
  var slice: [LeafSlice] = []

  @OptionGroup var opening: OpeningOptions
  @OptionGroup var tuning: TuningOptions
  @OptionGroup var output: OutputOptions

  func perform(_ session: Session) async throws(GraftError) -> PlanAnswer {
    let checkpoint = try await opening.open(path, tuning: tuning.tuning)
    let (target, partial) = try checkpoint.target(selection.selection, slices: slice)
    let plan = try await checkpoint.plan(target, partial: partial)
    return PlanAnswer(plan: plan, reading: try Executor(plan, tuning: tuning.tuning).forecast())
  }
}

/// What `graft plan` shows.
struct PlanAnswer: Answer {
  /// A leaf of the result, and what becomes of its bytes.
  struct Leaf: Sendable {
    var path: TreePath
    var spec: TensorSpec
    var moveCount = 0
    var bytesCopied = 0
  }

  var reading: ReadReport
  var leaves: [Leaf]
  var fileCount: Int
  var resultByteCount: Int

  init(plan: Plan, reading: ReadReport) {
    self.reading = reading
    fileCount = plan.files.count
    resultByteCount = plan.resultByteCount
    leaves = plan.results.map { Leaf(path: $0.path, spec: $0.spec) }
    for move in plan.moves {
      leaves[move.result].moveCount += 1
      if !move.copy.isContiguous { leaves[move.result].bytesCopied += move.copy.copiedByteCount }
    }
    leaves.sort { NaturalOrder.precedes($0.path, $1.path) }
  }

  private var bytesCopied: Int { leaves.reduce(0) { $0 + $1.bytesCopied } }
  private var peakByteCount: Int { resultByteCount + reading.peakStagingByteCount }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    json.member("bytes_read", .integer(reading.bytesRead))
    json.member("requests", .integer(reading.requestCount))
    json.member("bytes_copied", .integer(bytesCopied))
    json.member("bytes_computed", 0)
    json.member("bytes_written", 0)
    json.member("peak_memory_bytes", .integer(peakByteCount))
    json.key("leaves")
    try json.array { (json) throws(OutputFailure) in
      for leaf in leaves {
        try json.element([
          "path": .string(leaf.path.description), "dtype": .string(leaf.spec.dtype.description),
          "shape": .shape(leaf.spec.shape), "logical_bytes": .integer(leaf.spec.byteCount),
          "moves": .integer(leaf.moveCount), "bytes_copied": .integer(leaf.bytesCopied),
        ])
      }
    }
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    var table = Table([
      ("path", .left), ("dtype", .left), ("shape", .left), ("bytes", .right), ("how", .left),
    ])
    for leaf in leaves {
      let how =
        leaf.bytesCopied == 0
        ? "read into place" : "\(ByteSize(leaf.bytesCopied)) copied, \(Count(leaf.moveCount, "move"))"
      table.add([
        leaf.path.description, leaf.spec.dtype.description, leaf.spec.shape.description,
        "\(ByteSize(leaf.spec.byteCount))",
        how,
      ])
    }
    try table.write(to: &text)
    if !leaves.isEmpty { try text.line() }
    try text.line(
      "read    \(ByteSize(reading.bytesRead)) in \(Count(reading.requestCount, "request")) from \(Count(fileCount, "file")), for \(ByteSize(reading.bytesWanted)) wanted"
    )
    try text.line("copied  \(ByteSize(bytesCopied)) after reading")
    try text.line(
      "memory  \(ByteSize(peakByteCount)), of which \(ByteSize(reading.peakStagingByteCount)) staging")
  }
}
