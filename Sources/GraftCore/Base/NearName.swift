/// Finds names that a mistyped one may have meant.
package enum NearName {
  /// How many candidates are looked at, so that a typing error in a tree of a million leaves costs no seconds.
  static let candidateLimit = 200_000
  /// How many names are offered.
  static let offerLimit = 3

  /// `did you mean a, b or c?`, nil when no candidate is near.
  package static func suggestion(for name: String, among candidates: some Sequence<String>) -> String? {
    let near = nearest(to: name, among: candidates)
    guard let last = near.last else { return nil }
    if near.count == 1 { return "did you mean \(last)?" }
    return "did you mean \(near.dropLast().joined(separator: ", ")) or \(last)?"
  }

  /// The nearest candidates, best first: at most a third of the characters changed, or one name ending in the other.
  package static func nearest(to name: String, among candidates: some Sequence<String>) -> [String] {
    let wanted = Array(name.utf8.prefix(256))
    guard !wanted.isEmpty else { return [] }
    let limit = Swift.max(1, wanted.count / 3)
    var found: [(distance: Int, name: String)] = []
    for candidate in candidates.prefix(candidateLimit) {
      let other = Array(candidate.utf8.prefix(256))
      var distance =
        abs(other.count - wanted.count) > limit ? limit + 1 : editDistance(wanted, other, limit: limit)
      if distance > limit, !other.isEmpty, isTail(other, of: wanted) || isTail(wanted, of: other) {
        distance = limit
      }
      guard distance <= limit else { continue }
      found.append((distance, candidate))
      // Keep the list short while it grows; sorting is stable enough for three names.
      if found.count > 64 {
        found = Array(found.sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }.prefix(offerLimit))
      }
    }
    return found.sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }.prefix(offerLimit).map(\.name)
  }

  /// Whether `tail` is the end of `whole` and begins where a component of a path or dotted name begins.
  private static func isTail(_ tail: [UInt8], of whole: [UInt8]) -> Bool {
    guard whole.count > tail.count, whole.suffix(tail.count).elementsEqual(tail) else { return false }
    let before = whole[whole.count - tail.count - 1]
    return before == UInt8(ascii: "/") || before == UInt8(ascii: ".")
  }

  /// Levenshtein's distance, or any number above `limit` once it is certain to exceed that.
  private static func editDistance(_ a: [UInt8], _ b: [UInt8], limit: Int) -> Int {
    var previous = Array(0...b.count)
    var current = previous
    for (i, x) in a.enumerated() {
      current[0] = i + 1
      for (j, y) in b.enumerated() {
        current[j + 1] = Swift.min(previous[j] + (x == y ? 0 : 1), previous[j + 1] + 1, current[j] + 1)
      }
      if current.min().map({ $0 > limit }) ?? false { return limit + 1 }
      swap(&previous, &current)
    }
    return previous[b.count]
  }
}
