/// A leaf whose bytes are stored in a way that Graft does not read: a dtype, a codec or an order that it lacks.
///
/// It concerns that leaf alone. The checkpoint opens, the leaf is listed, and loads that leave it out work; a load that
/// wants it throws ``error(at:)``.
public struct UnsupportedLeaf: Hashable, Sendable {
  /// What is not supported, as a clause without a full stop, for example `the compressor gzip is not supported`.
  public var reason: String
  /// The type of the elements as the checkpoint spells it, nil where it says none.
  public var dtypeName: String?
  /// The shape, nil where the checkpoint says none.
  public var shape: Shape?
  /// The file or folder that says so.
  public var file: String?
  /// What would make it readable, as a clause without a full stop.
  public var remedy: String?

  /// A leaf that is not read for this reason.
  public init(
    reason: String, dtypeName: String? = nil, shape: Shape? = nil, file: String? = nil, remedy: String? = nil
  ) {
    self.reason = reason
    self.dtypeName = dtypeName
    self.shape = shape
    self.file = file
    self.remedy = remedy
  }

  /// The error of wanting the leaf's bytes.
  public func error(at path: TreePath) -> GraftError {
    let leavingOut = "leave the leaf out, with a placeholder or with --drop"
    return GraftError(
      .unsupported, reason, leaf: path, file: file, found: dtypeName.map { "\($0)\(shape ?? [])" },
      remedy: remedy.map { "\(leavingOut); or \($0)" } ?? leavingOut)
  }
}

extension UnsupportedLeaf: CustomStringConvertible {
  /// `float99[4, 2], which is not supported`, or what is known of it.
  public var description: String {
    "\(dtypeName.map { TreePath.printable($0) } ?? "leaf")\(shape.map { "\($0)" } ?? ""), unsupported"
  }
}
