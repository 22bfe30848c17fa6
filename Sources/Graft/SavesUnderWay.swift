internal import GraftCore
internal import Synchronization

/// The destinations that this process is saving to, so that two saves do not race for one name.
///
/// Other processes are told apart when the checkpoint gets its name; see `AtomicDirectory` and `AtomicFile`.
final class SavesUnderWay: Sendable {
  static let shared = SavesUnderWay()

  private let paths = Mutex<Set<Key>>([])

  /// Holds a destination until it goes.
  final class Claim: Sendable {
    private let path: Key
    fileprivate init(_ path: Key) { self.path = path }
    deinit { _ = SavesUnderWay.shared.paths.withLock { $0.remove(path) } }
  }

  /// Takes a destination for one save.
  ///
  /// - Throws: ``GraftError`` of code `destinationExists` while another save to it is under way.
  func claim(_ path: String) throws(GraftError) -> Claim {
    // Names that differ in slashes and dots are one; those that differ in links are told apart when the name is given.
    let parts = path.utf8.split(separator: UInt8(ascii: "/")).filter { !$0.elementsEqual(".".utf8) }
    let plain =
      (path.utf8.first == UInt8(ascii: "/") ? "/" : "")
      + parts.map { String($0) ?? "" }.joined(separator: "/")
    let key = Key(plain)
    guard paths.withLock({ $0.insert(key).inserted }) else {
      throw GraftError(
        .destinationExists, "another save to this name is under way", file: path,
        remedy: "wait for it, or choose another name")
    }
    return Claim(key)
  }
}
