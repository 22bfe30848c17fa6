/// How much a checkpoint's metadata may claim before Graft refuses it.
///
/// Limits protect from hostile and broken files; a file within them is still checked in every other way. They are passed
/// in, never ambient. Raise one when an error of code ``GraftError/Code/limitExceeded`` names it and the file is trusted.
public struct Limits: Hashable, Sendable {
  /// The largest metadata that is read into memory at once, in bytes: a safetensors header, a JSON file.
  ///
  /// 100,000,000 is the limit of the safetensors reference implementation.
  public var metadataByteCount = 100_000_000
  /// The deepest nesting of JSON values and of trees.
  public var nestingDepth = 128
  /// The most leaves that one checkpoint may have.
  public var leafCount = 10_000_000
  /// The most axes that a tensor may have.
  public var rank = 64
  /// The most chunks that one checkpoint may consist of, counting those that were never written.
  public var chunkCount = 8_000_000
  /// The longest key of a tree or name of a tensor, in UTF-8 bytes.
  public var keyByteCount = 65_536
  /// The most files that one checkpoint may consist of.
  public var fileCount = 1_000_000

  /// The default limits.
  public init() {}
}
