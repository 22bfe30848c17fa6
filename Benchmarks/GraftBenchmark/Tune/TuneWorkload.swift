/// What is loaded, and out of what into what, to see what a setting does.
package enum TuneWorkload: String, CaseIterable, Hashable, Sendable {
  /// Whole leaves, in the page cache, into memory that was used before.
  case warm
  /// Whole leaves, outside of the page cache.
  case cold
  /// Whole leaves, in the page cache, into memory that nobody touched, as the first load of a process does it.
  case fresh
  /// Every other column of every matrix, in the page cache: nothing goes straight into place.
  case columns
  /// The same outside of it.
  case coldColumns = "cold columns"
  /// Half of many small leaves, at random, outside of the page cache.
  case scattered
  /// Every eighth of them.
  case sparse

  /// Whether the page cache is emptied before each load.
  package var isCold: Bool {
    switch self {
    case .warm, .fresh, .columns: false
    case .cold, .coldColumns, .scattered, .sparse: true
    }
  }

  /// What a reader of the tables has to know.
  package var summary: String {
    switch self {
    case .warm: "warm: whole leaves in the page cache, into memory that was used before"
    case .cold: "cold: whole leaves, none of them in the page cache"
    case .fresh: "fresh: whole leaves in the page cache, into memory that nobody touched before"
    case .columns: "columns: every other column of every matrix, warm"
    case .coldColumns: "cold columns: the same, cold"
    case .scattered: "scattered: half of many leaves of 1 to 16 KiB, at random, cold"
    case .sparse: "sparse: every eighth of them, cold"
    }
  }
}
