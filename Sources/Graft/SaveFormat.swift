public import GraftCore

/// The format in which a checkpoint is saved.
public struct SaveFormat: Hashable, Sendable {
  enum Kind: Hashable, Sendable {
    case byName
    case safetensors(shardByteCount: Int?)
    case orbax(OrbaxOptions)
  }

  let kind: Kind

  /// What the destination's name says: one safetensors file where it ends in `.safetensors`, else an Orbax checkpoint.
  public static let byName = SaveFormat(kind: .byName)

  /// One safetensors file.
  public static let safetensors = SaveFormat(kind: .safetensors(shardByteCount: nil))

  /// A folder of safetensors files, each of at most this many bytes of tensors, with an index.
  ///
  /// A tensor that is larger has a file of its own.
  public static func safetensors(shardByteCount: Int) -> SaveFormat {
    SaveFormat(kind: .safetensors(shardByteCount: shardByteCount))
  }

  /// An Orbax checkpoint as ``OrbaxOptions`` describes it unless they are changed.
  public static let orbax = SaveFormat.orbax(OrbaxOptions())

  /// An Orbax checkpoint.
  public static func orbax(_ options: OrbaxOptions) -> SaveFormat { SaveFormat(kind: .orbax(options)) }

  /// How the Orbax checkpoint is written that this is at such a path; nil where it is of another format.
  package func orbaxOptions(for path: String) -> OrbaxOptions? {
    if case .orbax(let options) = kind(for: path) { options } else { nil }
  }

  /// The kind of a checkpoint that is to stand at this path.
  func kind(for path: String) -> Kind {
    guard kind == .byName else { return kind }
    return path.hasSuffix(".safetensors") ? .safetensors(shardByteCount: nil) : .orbax(OrbaxOptions())
  }
}

/// How an Orbax checkpoint is written; whatever is chosen, Orbax loads it.
public struct OrbaxOptions: Hashable, Sendable {
  /// The layout of the folder.
  public enum Version: Int, Hashable, Sendable, CaseIterable {
    /// The tree's files in the checkpoint's own folder, as Orbax's older API writes it.
    case version0 = 0
    /// The tree in a folder `state` of its own.
    case version1 = 1
  }

  /// The version of the arrays' metadata.
  public enum ZarrVersion: Int, Hashable, Sendable, CaseIterable {
    /// Zarr 2, whose chunks have no checksums.
    case version2 = 2
    /// Zarr 3.
    case version3 = 3
  }

  /// An axis of some leaves that is cut into parts, as a mesh of devices would load them.
  public struct AxisCut: Hashable, Sendable {
    /// The leaves.
    public var pattern: PathPattern
    /// The axis; negative ones count from the last.
    ///
    /// Leaves that do not have it are not cut.
    public var axis: Int
    /// How many equal parts there are, where the axis has as many elements.
    public var partCount: Int

    /// A cut of an axis into parts; saving throws where there is not at least one.
    public init(_ pattern: PathPattern, axis: Int, partCount: Int) {
      self.pattern = pattern
      self.axis = axis
      self.partCount = partCount
    }
  }

  /// The layout of the folder.
  public var version = Version.version1
  /// The version of the arrays' metadata; nil for what Orbax itself writes: 2 in version 0, 3 in version 1.
  public var zarrVersion: ZarrVersion?
  /// Whether the arrays go into one database, rather than into a folder for each array and a file for each chunk.
  public var usesDatabase = true
  /// How chunks are compressed.
  public var compression = Compression.zstd()
  /// Whether each chunk has a checksum, which every reader checks; Zarr 2 has none.
  public var hasChecksums = true
  /// The most bytes of elements in one chunk, unless a single element is larger.
  public var chunkByteCount = 4 << 20
  /// The axes that are cut before that, one after the other.
  public var cuts: [AxisCut] = []
  /// The bytes from which on a data file of the database is followed by another.
  public var dataFileByteCount = 2 << 30

  /// Version 1 with Zarr 3 in a database, chunks of 4 MiB, zstd and checksums.
  public init() {}
}
