/// What a format found in a checkpoint: its tree of stored leaves, its files and its metadata, but none of its tensors' bytes.
public struct Catalog: Sendable {
  /// The name of the format, for example `safetensors`.
  public var format: String
  /// The files that chunks refer to by index.
  public var files: [StoredFile]
  /// The leaves.
  public var tree: Tree<StoredLeaf>
  /// What else the checkpoint says about itself, as text by key.
  public var metadata: [(key: String, value: String)]
  /// The part of what it says that its users put there, which a copy in another format keeps, as text by key.
  ///
  /// All of ``metadata``, unless the format has things of its own in there: times, a step.
  public var userMetadata: [(key: String, value: String)]
  /// What its users put there as a format that keeps JSON has it, where the checkpoint's own does.
  package var userValues: [JSONValue.Member]?
  /// What the checkpoint says about single leaves beyond their tensors, as text by key: `sharding`, for example.
  public var leafMetadata: [TreePath: [String: String]] = [:]
  /// Whether any leaf has chunks within shards, whose indices have to be read before it can be planned.
  ///
  /// A format that has shards says so, which spares every load of the others a walk over all leaves.
  package var hasShards = false
  /// The file or folder that is the checkpoint itself: of a folder of steps the chosen step.
  package var location = ""
  /// Whether the list of chunks, with the chunks that it holds itself, was read with its checksums verified.
  package var listIsChecksummed = false

  /// A catalog, all of whose metadata is its users'.
  public init(
    format: String, files: [StoredFile], tree: Tree<StoredLeaf>, metadata: [(key: String, value: String)] = []
  ) {
    self.format = format
    self.files = files
    self.tree = tree
    self.metadata = metadata
    userMetadata = metadata
  }

  /// What its users put there, as JSON; texts where the checkpoint's own format knows nothing else.
  package var userMembers: [JSONValue.Member] {
    userValues ?? userMetadata.map { JSONValue.Member($0.key, .string($0.value)) }
  }
}

/// A file that holds chunks, and the size it had when the catalog was made.
public struct StoredFile: Hashable, Sendable {
  /// The path, absolute or relative to the working directory.
  public var path: String
  /// The number of bytes when the checkpoint was opened; a read past it means that the file changed.
  public var byteCount: Int

  /// A file of this size.
  public init(path: String, byteCount: Int) {
    self.path = path
    self.byteCount = byteCount
  }
}

/// A leaf as a checkpoint stores it: what it is, and where its bytes are.
public enum StoredLeaf: Hashable, Sendable {
  /// A tensor, its layout, and the name that the format itself gives it.
  case tensor(TensorSpec, Layout, name: String)
  /// A string, which is part of the metadata and so at hand already.
  case string(String)
  /// Something that this version does not read.
  case unsupported(UnsupportedLeaf)

  /// What the leaf is.
  public var spec: LeafSpec {
    switch self {
    case .tensor(let spec, _, _): .tensor(spec)
    case .string: .string
    case .unsupported(let leaf): .unsupported(leaf)
    }
  }
}
