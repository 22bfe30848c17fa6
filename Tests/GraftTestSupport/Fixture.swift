internal import Foundation

/// The files under Tests/Fixtures, which the generators beside them made.
public enum Fixture {
  /// The path of a file or folder, given from Tests/Fixtures on.
  public static func path(_ name: String) -> String {
    let support = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    return support.deletingLastPathComponent().appendingPathComponent("Fixtures/" + name).path
  }

  /// The bytes of a file; traps when there is none, since the tests are worth nothing then.
  public static func bytes(_ name: String) -> [UInt8] {
    guard let data = FileManager.default.contents(atPath: path(name)) else {
      preconditionFailure("there is no fixture \(path(name))")
    }
    return [UInt8](data)
  }
}
