import ArgumentParser
import Graft

/// `graft inspect`: the tree of a checkpoint, without reading a byte of its tensors.
struct Inspect: Verb {
  static let configuration = CommandConfiguration(abstract: "Show what is in a checkpoint; reads no tensor.")

  @Argument(help: CheckpointName.help)
  var path: String

  @OptionGroup var selection: SelectionOptions

  @OptionGroup var opening: OpeningOptions
  @OptionGroup var output: OutputOptions

  func perform(_ session: Session) async throws(GraftError) -> InspectAnswer {
    let (checkpoint, collision) = try await open(session)
    let selected = try checkpoint.catalog.tree.selecting(selection.selection)
    let metadata = checkpoint.catalog.leafMetadata
    let leaves = selected.leaves.sorted { NaturalOrder.precedes($0.path, $1.path) }
    return InspectAnswer(
      format: checkpoint.format, metadata: checkpoint.metadata, fileCount: checkpoint.catalog.files.count,
      collision: collision,
      leaves: leaves.map { .init(path: $0.path, leaf: $0.leaf, metadata: metadata[$0.path] ?? [:]) })
  }

  /// Opens the checkpoint; where its names collide as a tree, they are shown whole.
  private func open(_ session: Session) async throws(GraftError) -> (Checkpoint, collision: String?) {
    do throws(GraftError) {
      return (try await opening.open(path), nil)
    } catch {
      guard error.code == .collision, !opening.flat else { throw error }
      let checkpoint = try await opening.open(path, flat: true)
      session.note("Names are shown whole, as they make no tree. \(error)")
      return (checkpoint, error.description)
    }
  }
}

/// What `graft inspect` shows.
struct InspectAnswer: Answer {
  /// A leaf, and what the checkpoint says about it beyond its tensor.
  struct Leaf: Sendable {
    var path: TreePath
    var leaf: StoredLeaf
    var metadata: [String: String]
  }

  var format: String
  var metadata: [(key: String, value: String)]
  var fileCount: Int
  var collision: String?
  var leaves: [Leaf]

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
      for leaf in leaves { try json.element(leaf.json) }
    }
  }

  func write(to text: inout TextStream) throws(OutputFailure) {
    // What is stored as it is, in one piece, needs no more than its size.
    let isPacked = leaves.contains { $0.leaf.byteCount != $0.leaf.storedByteCount }
    let columns: [(head: String, cell: (Leaf) -> String)] = [
      ("chunks", \.chunks), ("codecs", \.codecs), ("sharding", \.sharding), ("not read", \.notRead),
    ].filter { column in leaves.contains { !column.cell($0).isEmpty } }
    var heads: [(head: String, alignment: Table.Alignment)] = [
      ("path", .left), ("dtype", .left), ("shape", .left), ("bytes", .right),
    ]
    if isPacked { heads.append(("stored", .right)) }
    var table = Table(heads + columns.map { ($0.head, .left) })
    for leaf in leaves {
      let spec = leaf.leaf.spec
      var row = [leaf.path.description, spec.dtypeName, leaf.shape.map(\.description) ?? ""]
      row.append("\(ByteSize(leaf.leaf.byteCount))")
      if isPacked { row.append("\(ByteSize(leaf.leaf.storedByteCount))") }
      table.add(row + columns.map { $0.cell(leaf) })
    }
    if !leaves.isEmpty {
      try table.write(to: &text)
      try text.line()
    }
    // Chunks that are small enough lie in the metadata, and there may be no other file.
    let files = fileCount == 0 ? "" : "\(Count(fileCount, "file")), "
    var summary = "\(format), \(files)\(Count(leaves.count, "leaf")), \(ByteSize(logicalByteCount))"
    if isPacked { summary += ", stored in \(ByteSize(storedByteCount))" }
    try text.line(summary)
    for (key, value) in metadata {
      // A part that is JSON has no leaves, and whoever opens it wants to see it whole.
      let printed = TreePath.printable(value)
      try text.line("\(TreePath.printable(key)): \(leaves.isEmpty ? printed : Self.shortened(printed))")
    }
  }

  /// A value of the metadata in one line; the whole of it is in the JSON.
  private static func shortened(_ text: String) -> String {
    text.count <= 200 ? text : text.prefix(200) + "… (\(Decimal.grouped(text.count)) characters)"
  }
}

extension InspectAnswer.Leaf {
  /// The leaf as a member of the JSON's `leaves`.
  var json: JSONValue {
    var members: [JSONValue.Member] = [
      .init("path", .string(path.description)), .init("dtype", .string(leaf.spec.dtypeName)),
      .init("shape", .shape(shape ?? [])), .init("logical_bytes", .integer(leaf.byteCount)),
      .init("stored_bytes", .integer(leaf.storedByteCount)),
    ]
    switch leaf {
    case .tensor(_, let layout, _):
      members.append(.init("chunk_shape", .shape(layout.chunkShape)))
      members.append(.init("codecs", .array(layout.codecs.map { .string($0.name) })))
      if let shards = layout.shards { members.append(.init("shard_shape", .shape(shards.shape))) }
    case .string:
      members.append(.init("chunk_shape", nil))
      members.append(.init("codecs", []))
    case .unsupported(let unsupported):
      members.append(.init("chunk_shape", nil))
      members.append(.init("codecs", []))
      members.append(.init("unsupported", .string(unsupported.reason)))
    }
    members.append(.init("sharding", shardingValue ?? metadata["sharding"].map { .string($0) } ?? .null))
    for (key, value) in metadata.sorted(by: { Key($0.key) < Key($1.key) }) where key != "sharding" {
      members.append(.init(key, .string(value)))
    }
    return .object(members)
  }

  /// The shape, nil for what has none.
  var shape: Shape? {
    switch leaf {
    case .tensor(let spec, _, _): spec.shape
    case .string: nil
    case .unsupported(let unsupported): unsupported.shape
    }
  }

  /// Why the leaf cannot be read; nothing where it can.
  var notRead: String {
    if case .unsupported(let unsupported) = leaf { unsupported.reason } else { "" }
  }

  /// How the tensor is cut into chunks; nothing where it is one.
  var chunks: String {
    guard case .tensor(let spec, let layout, _) = leaf, layout.chunkShape != spec.shape else { return "" }
    guard let shards = layout.shards, shards.shape != layout.chunkShape else {
      return layout.chunkShape.description
    }
    return "\(layout.chunkShape) in shards of \(shards.shape)"
  }

  /// What each chunk is encoded with, first to undo first.
  var codecs: String {
    guard case .tensor(_, let layout, _) = leaf else { return "" }
    return layout.codecs.map { TreePath.printable($0.name) }.joined(separator: ", ")
  }

  /// How the tensor was spread over devices when it was saved: `[x, -] on x=4, y=2`, the axis of the mesh for each of the tensor's.
  var sharding: String {
    guard let text = metadata["sharding"] else { return "" }
    guard let value = shardingValue, let type = value["sharding_type"]?.text else {
      return TreePath.printable(text)
    }
    guard type == "NamedSharding", let axes = value["partition_spec"]?.elements,
      let names = value["axis_names"]?.elements, let extents = value["shape"]?.elements,
      names.count == extents.count
    else { return TreePath.printable(type) }
    let mesh = zip(names, extents).map { "\($0.text ?? "?")=\($1.integer.map(String.init) ?? "?")" }
    let parts = axes.map { axis in
      axis.text ?? axis.elements.map { $0.map { $0.text ?? "?" }.joined(separator: "+") } ?? "-"
    }
    let isReplicated = parts.allSatisfy { $0 == "-" }
    let how = isReplicated ? "replicated" : "[\(parts.joined(separator: ", "))]"
    return TreePath.printable("\(how) on \(mesh.joined(separator: ", "))")
  }

  /// The sharding, which Orbax keeps as JSON in a text.
  private var shardingValue: JSONValue? {
    metadata["sharding"].flatMap { try? JSONValue(parsing: Array($0.utf8)) }
  }
}

extension StoredLeaf {
  /// The bytes that the leaf takes in its files.
  var storedByteCount: Int {
    switch self {
    case .tensor(_, let layout, _): layout.storedByteCount
    case .string(let text): text.utf8.count
    case .unsupported: 0
    }
  }
}

extension LeafSpec {
  /// The dtype as the tool spells it, `string` for text; of a leaf that is not read as the checkpoint spells it.
  var dtypeName: String {
    switch self {
    case .tensor(let spec): spec.dtype.description
    case .string: "string"
    case .unsupported(let leaf): leaf.dtypeName.map { TreePath.printable($0) } ?? "unknown"
    }
  }
}

extension JSONValue {
  /// A shape as an array of its extents.
  static func shape(_ shape: Shape) -> JSONValue { .array(shape.map { .integer($0) }) }
}
