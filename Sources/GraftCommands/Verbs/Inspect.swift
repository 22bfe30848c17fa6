import ArgumentParser
import Graft

/// `graft inspect`: the tree of a checkpoint, without reading a byte of its tensors.
struct Inspect: Verb {
  static let configuration = CommandConfiguration(abstract: "Show what is in a checkpoint; reads no tensor.")

  @Argument(help: "The checkpoint.")
  var path: String

  @OptionGroup var selection: SelectionOptions

  @Flag(help: "Keep names whole, rather than split at dots into a tree.")
  var flat = false

  @OptionGroup var output: OutputOptions

  func perform(_ session: Session) async throws(GraftError) -> InspectAnswer {
    let (checkpoint, collision) = try await open(session)
    let selected = try checkpoint.catalog.tree.selecting(selection.selection)
    return InspectAnswer(
      format: checkpoint.format, metadata: checkpoint.metadata, fileCount: checkpoint.catalog.files.count,
      collision: collision, leaves: selected.leaves.sorted { NaturalOrder.precedes($0.path, $1.path) })
  }

  /// Opens the checkpoint; where its names collide as a tree, they are shown whole.
  private func open(_ session: Session) async throws(GraftError) -> (Checkpoint, collision: String?) {
    do throws(GraftError) {
      return (try await Checkpoint(at: path, flat: flat), nil)
    } catch {
      guard error.code == .collision, !flat else { throw error }
      let checkpoint = try await Checkpoint(at: path, flat: true)
      session.note("Names are shown whole, as they make no tree. \(error)")
      return (checkpoint, error.description)
    }
  }
}

/// What `graft inspect` shows.
struct InspectAnswer: Answer {
  var format: String
  var metadata: [(key: String, value: String)]
  var fileCount: Int
  var collision: String?
  var leaves: [(path: TreePath, leaf: StoredLeaf)]

  private var logicalByteCount: Int { leaves.reduce(0) { $0 + $1.leaf.byteCount } }
  private var storedByteCount: Int { leaves.reduce(0) { $0 + $1.leaf.storedByteCount } }

  func write(to json: inout JSONStream) throws(OutputFailure) {
    json.member("format", .string(format))
    json.key("metadata")
    try json.object { (json) throws(OutputFailure) in
      for (key, value) in metadata { json.member(key, .string(value)) }
    }
    json.member("logical_bytes", .integer(logicalByteCount))
    json.member("stored_bytes", .integer(storedByteCount))
    if let collision { json.member("collision", .string(collision)) }
    json.key("leaves")
    try json.array { (json) throws(OutputFailure) in
      for (path, leaf) in leaves { try json.element(Self.json(path, leaf)) }
    }
  }

  private static func json(_ path: TreePath, _ leaf: StoredLeaf) -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("path", .string(path.description)), .init("dtype", .string(leaf.spec.dtypeName)),
      .init("shape", .shape(leaf.spec.shape)), .init("logical_bytes", .integer(leaf.byteCount)),
      .init("stored_bytes", .integer(leaf.storedByteCount)),
    ]
    switch leaf {
    case .tensor(_, let layout, _):
      members.append(.init("chunk_shape", .shape(layout.chunkShape)))
      members.append(.init("codecs", .array(layout.codecs.map { .string($0.name) })))
    case .string:
      members.append(.init("chunk_shape", nil))
      members.append(.init("codecs", []))
    }
    members.append(.init("sharding", nil))
    return .object(members)
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    // What is stored as it is needs no second figure.
    let isPacked = leaves.contains { $0.leaf.byteCount != $0.leaf.storedByteCount }
    var table = Table(
      [("path", .left), ("dtype", .left), ("shape", .left), ("bytes", .right)]
        + (isPacked ? [("stored", .right)] : []))
    for (path, leaf) in leaves {
      let shape = leaf.spec.tensor.map { $0.shape.description } ?? ""
      let row = [path.description, leaf.spec.dtypeName, shape, "\(ByteSize(leaf.byteCount))"]
      table.add(row + (isPacked ? ["\(ByteSize(leaf.storedByteCount))"] : []))
    }
    try table.write(to: &text)
    if !leaves.isEmpty { try text.line() }
    var summary =
      "\(format), \(Count(fileCount, "file")), \(Count(leaves.count, "leaf")), \(ByteSize(logicalByteCount))"
    if isPacked { summary += ", stored in \(ByteSize(storedByteCount))" }
    try text.line(summary)
    for (key, value) in metadata {
      try text.line("\(TreePath.printable(key)): \(Self.shortened(TreePath.printable(value)))")
    }
  }

  /// A value of the metadata in one line; the whole of it is in the JSON.
  private static func shortened(_ text: String) -> String {
    text.count <= 200 ? text : text.prefix(200) + "… (\(Decimal.grouped(text.count)) characters)"
  }
}

extension StoredLeaf {
  /// The bytes that the leaf takes in its files.
  var storedByteCount: Int {
    switch self {
    case .tensor(_, let layout, _): layout.storedByteCount
    case .string(let text): text.utf8.count
    }
  }
}

extension LeafSpec {
  /// The dtype as the tool spells it, `string` for text.
  var dtypeName: String { dtype?.description ?? "string" }
}

extension JSONValue {
  /// A shape as an array of its extents.
  static func shape(_ shape: Shape) -> JSONValue { .array(shape.map { .integer($0) }) }
}
