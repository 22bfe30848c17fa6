import ArgumentParser
import Graft
import GraftExecute

/// `graft plan`: what a load, a conversion or a recipe would read, copy, compute and write, without doing any of it.
struct PlanVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract:
      "Show what a load, a conversion or a recipe would read, copy, compute and write, and how much memory it would take; does none of it.",
    discussion: """
      graft plan PATH is what graft load PATH would do; with --destination or --to, what graft convert PATH DESTINATION would. \
      --recipe and --cast are those of convert; --recipe without PATH is what graft merge would do.
      """)

  @Argument(
    help:
      "The checkpoint; ROOT@STEP for one step of a folder of steps. None for a recipe that names all its own."
  )
  var path: String?

  @Option(help: ArgumentHelp("The surgery to plan, a YAML or JSON file.", valueName: "file"))
  var recipe: String?

  @OptionGroup var surgery: RecipeOptions
  @OptionGroup var selection: SelectionOptions

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Load only this part of a leaf, for example kernel=0:4,:.", valueName: "leaf=slice"))
  var slice: [LeafSlice] = []

  @Option(
    help: ArgumentHelp(
      "Plan the writing of a checkpoint of this name, rather than a load; nothing is written.",
      valueName: "path"))
  var destination: String?

  @OptionGroup var writing: WritingOptions
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var tuning: TuningOptions
  @OptionGroup var output: OutputOptions

  func validate() throws {
    if path == nil {
      if recipe == nil { throw ValidationError("Name a checkpoint, or a recipe with --recipe.") }
      if !selection.selection.rules.isEmpty {
        throw ValidationError("--select and --drop are for a checkpoint, and none is named.")
      }
    }
    if !slice.isEmpty, recipe != nil || !surgery.casts.isEmpty || written != nil {
      throw ValidationError("--slice is for a load; a recipe has a step of that name.")
    }
    if let written { try writing.validate(for: written) }
  }

  func perform(_ session: Session) async throws(GraftError) -> PlanAnswer {
    let tuning = try await tuning.settings(for: path, session)
    var checkpoint: Checkpoint?
    if let path { checkpoint = try await opening.open(path, tuning: tuning) }
    let surgery = try await surgery.surgery(
      recipe: recipe, on: checkpoint, selecting: selection.selection, opening: opening, tuning: tuning)
    if let written {
      let format = try writing.format(for: written)
      let save: SavePlan
      if let surgery {
        save = try await surgery.savePlan(to: written, as: format)
      } else if let checkpoint {
        save = try await checkpoint.savePlan(to: written, as: format, selecting: selection.selection)
      } else {
        preconditionFailure("a plan is of a checkpoint or of a recipe")
      }
      let reading = try Executor(save.plan, tuning: tuning)
        .forecast(isWriting: true, chunkElementCounts: save.chunkElementCounts)
      return PlanAnswer(plan: save.plan, specs: save.specs, reading: reading, isWriting: true)
    }
    let plan: Plan
    if let surgery {
      plan = try await surgery.plan()
    } else if let checkpoint {
      let (target, partial) = try checkpoint.target(selection.selection, slices: slice)
      plan = try await checkpoint.plan(target, partial: partial)
    } else {
      preconditionFailure("a plan is of a checkpoint or of a recipe")
    }
    return PlanAnswer(
      plan: plan, specs: plan.results.map(\.spec),
      reading: try Executor(plan, tuning: tuning).forecast(), isWriting: false)
  }

  /// The name of the checkpoint whose writing is planned; nil for a load.
  private var written: String? { destination ?? writing.format.map { _ in "checkpoint" } }
}

/// What `graft plan` shows.
struct PlanAnswer: Answer {
  /// A leaf of the result, and what becomes of its bytes.
  struct Leaf: Sendable {
    var path: TreePath
    var spec: TensorSpec
    var moveCount = 0
    var bytesCopied = 0
    var bytesComputed = 0
  }

  var reading: ReadReport
  var leaves: [Leaf]
  var fileCount: Int
  var resultByteCount: Int
  var isWriting: Bool

  /// - Parameter specs: what the plan's results are as leaves, which are not in the order of chunks.
  init(plan: Plan, specs: [TensorSpec], reading: ReadReport, isWriting: Bool) {
    self.reading = reading
    self.isWriting = isWriting
    fileCount = plan.files.count
    resultByteCount = specs.reduce(0) { sum, spec in
      let (next, overflow) = sum.addingReportingOverflow(spec.byteCount)
      return overflow ? .max : next
    }
    leaves = zip(plan.results, specs).map { Leaf(path: $0.path, spec: $1) }
    for move in plan.moves {
      leaves[move.result].moveCount += 1
      if let program = move.program {
        leaves[move.result].addComputed(move.copy, plan.programs[program])
      } else if !move.copy.isContiguous {
        leaves[move.result].bytesCopied += move.copy.copiedByteCount
      }
    }
    for literal in plan.literals {
      if let program = literal.program {
        leaves[literal.result].addComputed(literal.copy, plan.programs[program])
      } else {
        switch literal.source {
        case .generated, .constant, .product:
          leaves[literal.result].bytesComputed += literal.copy.copiedByteCount
        case .bytes, .tensor: leaves[literal.result].bytesCopied += literal.copy.copiedByteCount
        }
      }
    }
    for part in plan.parts where part.isComputed {
      let bitWidth = plan.results[part.result].spec.dtype.bitWidth
      leaves[part.result].bytesComputed += (part.piece.elementCount * bitWidth + 7) / 8
    }
    leaves.sort { NaturalOrder.precedes($0.path, $1.path) }
  }

  private var bytesCopied: Int { leaves.reduce(0) { $0 + $1.bytesCopied } }
  private var bytesComputed: Int { leaves.reduce(0) { $0 + $1.bytesComputed } }
  private var bytesWritten: Int { isWriting ? resultByteCount : 0 }
  private var peakByteCount: Int { (isWriting ? 0 : resultByteCount) + reading.peakStagingByteCount }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    json.member("bytes_read", .integer(reading.bytesRead))
    json.member("requests", .integer(reading.requestCount))
    json.member("bytes_copied", .integer(bytesCopied))
    json.member("bytes_computed", .integer(bytesComputed))
    json.member("bytes_written", .integer(bytesWritten))
    json.member("peak_memory_bytes", .integer(peakByteCount))
    json.key("leaves")
    try json.array { (json) throws(OutputFailure) in
      for leaf in leaves {
        try json.element([
          "path": .string(leaf.path.description), "dtype": .string(leaf.spec.dtype.description),
          "shape": .shape(leaf.spec.shape), "logical_bytes": .integer(leaf.spec.byteCount),
          "moves": .integer(leaf.moveCount), "bytes_copied": .integer(leaf.bytesCopied),
          "bytes_computed": .integer(leaf.bytesComputed),
        ])
      }
    }
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    var table = Table([
      ("path", .left), ("dtype", .left), ("shape", .left), ("bytes", .right), ("how", .left),
    ])
    for leaf in leaves {
      table.add([
        leaf.path.description, leaf.spec.dtype.description, leaf.spec.shape.description,
        "\(ByteSize(leaf.spec.byteCount))", leaf.how,
      ])
    }
    try table.write(to: &text)
    if !leaves.isEmpty { try text.line() }
    try text.line(
      "read    \(ByteSize(reading.bytesRead)) in \(Count(reading.requestCount, "request")) from \(Count(fileCount, "file")), for \(ByteSize(reading.bytesWanted)) wanted"
    )
    try text.line("copied  \(ByteSize(bytesCopied)) after reading")
    if bytesComputed > 0 { try text.line("made    \(ByteSize(bytesComputed)) by computing") }
    if isWriting { try text.line("written \(ByteSize(bytesWritten))") }
    try text.line(
      "memory  \(ByteSize(peakByteCount)), of which \(ByteSize(reading.peakStagingByteCount)) staging")
  }
}

extension PlanAnswer.Leaf {
  /// Counts what a program makes of the elements that a copy takes.
  fileprivate mutating func addComputed(_ copy: StridedCopy, _ program: TileProgram) {
    let unitBits = copy.unit == .byte ? 8 : 1
    let elementCount = copy.copiedCount * unitBits / program.inputs[0].bitWidth
    bytesComputed += (elementCount * spec.dtype.bitWidth + 7) / 8
  }

  fileprivate var how: String {
    var parts: [String] = []
    if bytesCopied > 0 { parts.append("\(ByteSize(bytesCopied)) copied") }
    if bytesComputed > 0 { parts.append("\(ByteSize(bytesComputed)) computed") }
    if parts.isEmpty { return "read into place" }
    return parts.joined(separator: ", ") + (moveCount > 0 ? ", \(Count(moveCount, "move"))" : "")
  }
}
