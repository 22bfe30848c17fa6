/// What the user asked of a benchmark.
package struct BenchmarkOptions: Hashable, Sendable {
  /// How much is measured.
  package enum Size: String, CaseIterable, Hashable, Sendable {
    /// A few MiB and few rounds: shows that a benchmark runs, and no figure that means anything.
    case tiny
    /// What the published figures were taken with.
    case full
  }

  /// How much is measured.
  package var size = Size.full
  /// How many interleaved rounds count.
  package var rounds = 11
  /// Where the files that are read are made and kept.
  package var folder = ".build/benchmarks"
  /// The safetensors file that the load benchmark reads; nil for one that it makes.
  package var file: String?
  /// How many leaves a checkpoint has; nil for what the benchmark takes by default.
  package var leafCount: Int?
  /// How many MiB of data are made; nil for what the benchmark takes by default.
  package var mebibytes: Int?
  /// Whether it runs with the files in the page cache.
  package var warm = false
  /// Whether it runs with nothing of the files in the page cache.
  package var cold = false
  /// Whether the answer is one JSON object.
  package var json = false
  /// The checkpoint or folder whose storage is tuned for; nil for the folder of files that are made.
  package var path: String?
  /// Where a sweep's journal, charts and recommendation go; nil for what it chooses.
  package var output: String?
  /// Whether a sweep takes a minute rather than five.
  package var isQuick = false
  /// Whether a sweep measures anew what its journal has.
  package var isFresh = false
  /// Whether a sweep recommends what the figures of a noisy machine say.
  package var isForced = false

  /// The default options.
  package init() {}
}
