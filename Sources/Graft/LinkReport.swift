public import GraftCore

/// What linking did: which leaves have the bytes of the sources, and which were written anew, and why.
public struct LinkReport: Sendable {
  /// A leaf that could not be linked.
  public struct RewrittenLeaf: Hashable, Sendable {
    /// Where it stands in the new checkpoint.
    public var path: TreePath
    /// Why, as a clause without a full stop, for example `its values are computed: cast to bfloat16`.
    public var reason: String
    /// The bytes that it takes in memory.
    public var byteCount: Int
  }

  /// A file of a source that is a part of the new checkpoint now.
  public struct LinkedFile: Hashable, Sendable {
    /// How its bytes came there.
    public enum Way: String, Hashable, Sendable, CaseIterable {
      /// It is the same file under a second name; deleting the source leaves it.
      case hardLink = "hard link"
      /// A file of its own that shares the bytes on the disk until one of the two is changed.
      case reflink
      /// A copy of the bytes that leaves need, made within the kernel, for the source is on another file system.
      case copy
    }

    /// The source's file, from the root.
    public var source: String
    /// Its name in the new checkpoint, relative to that.
    public var name: String
    /// How its bytes came there.
    public var way: Way
    /// The bytes that were copied for it.
    public var copiedByteCount: Int
  }

  /// The number of leaves whose chunks are those of the sources.
  public var linkedLeafCount: Int
  /// The bytes that those leaves take in memory.
  public var linkedByteCount: Int
  /// The leaves that were written, in the order of the tree.
  public var rewritten: [RewrittenLeaf]
  /// The number of leaves that are strings, which are in the metadata.
  public var stringCount: Int
  /// The sources' files that are a part of the checkpoint.
  public var files: [LinkedFile]
  /// The bytes that rewritten leaves take in the checkpoint, compressed where they are.
  public var storedByteCount: Int
  /// What was read, all of it for leaves that were rewritten.
  public var reading: ReadReport
  /// From the call until everything was on stable storage.
  public var elapsed: Duration

  /// The bytes that were copied because sources are on other file systems.
  public var copiedByteCount: Int { files.reduce(0) { $0 + $1.copiedByteCount } }
}
