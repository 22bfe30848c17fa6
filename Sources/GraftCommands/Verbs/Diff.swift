import ArgumentParser
import Graft

/// `graft diff`: which leaves of two checkpoints differ, and by how much.
struct Diff: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Show which leaves of two checkpoints differ, and by how much.",
    discussion: """
      Leaves are matched by their paths, so that the checkpoints may have different formats. Without --tolerance elements are \
      equal when all of their bits are; with it, when they are that near, and then NaN equals NaN and 0 equals -0. \
      The exit status is 1 when anything differs.
      """)

  @Argument(help: "The first checkpoint; ROOT@STEP for one step of a folder of steps.")
  var first: String

  @Argument(help: "The second checkpoint.")
  var second: String

  @Option(help: ArgumentHelp("How far elements may be apart and count as equal.", valueName: "distance"))
  var tolerance: Double?

  @OptionGroup var selection: SelectionOptions
  @OptionGroup var opening: OpeningOptions
  @OptionGroup var tuning: TuningOptions
  @OptionGroup var output: OutputOptions

  func validate() throws {
    if let tolerance, !(tolerance >= 0) { throw ValidationError("--tolerance is no negative number.") }
  }

  func perform(_ session: Session) async throws(GraftError) -> DiffAnswer {
    let tuning = try await tuning.settings(for: first, session)
    let first = try await opening.open(first, tuning: tuning)
    let second = try await opening.open(second, tuning: tuning)
    let difference = try await first.difference(
      from: second, selecting: selection.selection, tolerance: tolerance,
      progress: session.progress("comparing", totalByteCount: first.logicalByteCount))
    return DiffAnswer(first: self.first, second: self.second, difference: difference)
  }
}

/// What `graft diff` says.
struct DiffAnswer: Answer {
  var first: String
  var second: String
  var difference: CheckpointDifference

  var status: Int32 { difference.isEmpty ? 0 : Tool.Status.no }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    for (key, paths) in [("only_in_a", difference.onlyInFirst), ("only_in_b", difference.onlyInSecond)] {
      json.key(key)
      try json.array { (json) throws(OutputFailure) in
        for path in paths { try json.element(.string(path.description)) }
      }
    }
    json.key("different_spec")
    try json.array { (json) throws(OutputFailure) in
      for leaf in difference.otherSpecs {
        try json.element([
          "path": .string(leaf.path.description), "a": Self.json(leaf.first), "b": Self.json(leaf.second),
        ])
      }
    }
    json.key("different_values")
    try json.array { (json) throws(OutputFailure) in
      for leaf in difference.otherValues {
        try json.element([
          "path": .string(leaf.path.description), "max_abs": .double(leaf.largestDistance),
          "count": .integer(leaf.differingCount), "incomparable": .integer(leaf.incomparableCount),
          "elements": .integer(leaf.elementCount),
        ])
      }
    }
    json.member("equal_leaves", .integer(difference.equalLeafCount))
    json.member("shared_leaves", .integer(difference.sharedLeafCount))
    json.member("bytes_read", .integer(difference.reading.bytesRead))
    json.member("seconds", .double(difference.elapsed / .seconds(1)))
  }

  private static func json(_ spec: LeafSpec) -> JSONValue {
    ["dtype": .string(spec.dtypeName), "shape": .shape(spec.tensor?.shape ?? [])]
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    for path in difference.onlyInFirst { try text.line("\(path): only in \(TreePath.printable(first))") }
    for path in difference.onlyInSecond { try text.line("\(path): only in \(TreePath.printable(second))") }
    for leaf in difference.otherSpecs { try text.line("\(leaf.path): \(leaf.first) and \(leaf.second)") }
    for leaf in difference.otherValues {
      guard leaf.incomparableCount < leaf.differingCount || leaf.elementCount > 1 else {
        try text.line("\(leaf.path): differs")
        continue
      }
      var line =
        "\(leaf.path): \(Decimal.grouped(leaf.differingCount)) of \(Count(leaf.elementCount, "element")) differ"
      if leaf.differingCount > leaf.incomparableCount {
        line += ", by at most \(Decimal.significant(leaf.largestDistance))"
      }
      if leaf.incomparableCount > 0 {
        line += ", \(Decimal.grouped(leaf.incomparableCount)) of them NaN or infinite in one alone"
      }
      try text.line(line)
    }
    let seconds = Decimal.text(difference.elapsed / .seconds(1), digits: 2)
    let shared =
      difference.sharedLeafCount > 0
      ? " (\(Decimal.grouped(difference.sharedLeafCount)) in the same bytes of the same files)" : ""
    try text.line(
      "\(Count(difference.equalLeafCount, "leaf")) equal\(shared); "
        + "\(ByteSize(difference.reading.bytesRead)) read in \(seconds) s")
  }
}
