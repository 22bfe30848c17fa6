public import GraftCore
internal import GraftIO

extension Tuning {
  /// The settings of a tuning file, as `graft-benchmark tune` writes one.
  ///
  /// Blocks for the time that reading a small file takes. ``TuningFile/init(contentsOf:)`` also says where they were measured.
  ///
  /// - Throws: ``GraftError`` that names the file, and the line and field that make no sense.
  public init(contentsOf path: String) throws(GraftError) {
    self = try TuningFile(contentsOf: path).tuning
  }
}

extension TuningFile {
  /// Reads the tuning file at `path`.
  ///
  /// - Throws: ``GraftError`` that names the file, and the line and field that make no sense.
  public init(contentsOf path: String) throws(GraftError) {
    let file = try File(opening: path)
    // One byte more than is allowed shows that there is more.
    let count = Swift.min(file.byteCount, Self.byteCountLimit + 1)
    try self.init(parsing: file.readFully(ByteRange(offset: 0, count: count)), file: path)
  }

  /// What is another machine or storage here than where the settings were measured, a clause each.
  ///
  /// Settings that were measured elsewhere give the same results, and may be slower.
  /// - Parameter path: a checkpoint, or where one is to be; nil to compare only the machines.
  public func differencesFromHere(for path: String?) -> [String] {
    origin.differences(from: .here(path))
  }
}
