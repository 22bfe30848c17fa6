public import GraftCore

/// What a save did.
public struct SaveReport: Sendable {
  /// The number of leaves that were written.
  public var leafCount: Int
  /// The bytes of those leaves as tensors in memory have them.
  public var byteCount: Int
  /// The bytes that they take in the checkpoint, compressed where they are; its metadata comes on top.
  public var storedByteCount: Int
  /// What was read for them.
  public var reading: ReadReport
  /// The part of ``elapsed`` at the end in which nothing was left but to write metadata and to wait for the disk.
  public var finishing: Duration
  /// From the call until everything was on stable storage.
  public var elapsed: Duration
}
