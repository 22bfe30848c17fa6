/// What reading costs, for choosing between reading through what is not wanted and skipping it.
public struct CostModel: Hashable, Sendable {
  /// Unwanted bytes that cost as much to read along as one more request costs; see ``Tuning/coalescingGapByteCount``.
  public var requestByteCount: Int

  /// A cost model.
  public init(requestByteCount: Int) { self.requestByteCount = requestByteCount }

  /// The cost model that the settings imply.
  public init(_ tuning: Tuning) { self.init(requestByteCount: tuning.coalescingGapByteCount) }
}
