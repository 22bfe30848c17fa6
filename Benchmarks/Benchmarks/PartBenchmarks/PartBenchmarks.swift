import Benchmark
import Foundation
import GraftParts

/// One benchmark for each part.
///
/// The harness counts runs; how many bytes, leaves or keys of the part's `workCount` they go over is a metric of ours.
let benchmarks: @Sendable () -> Void = {
  let folder = ".build/parts"
  let work = BenchmarkMetric.custom("Bytes, leaves or keys in a ms", polarity: .prefersLarger)
  for part in Part.all {
    Benchmark(
      part.name,
      configuration: .init(
        metrics: [.wallClock, .cpuTotal, work], warmupIterations: 3, maxDuration: .seconds(1),
        maxIterations: 1_000)
    ) { (benchmark: Benchmark, prepared: Part.Prepared) async throws in
      let start = ContinuousClock.now
      for _ in benchmark.scaledIterations {
        blackHole(try await prepared.run())
      }
      let milliseconds = (ContinuousClock.now - start) / .milliseconds(1)
      benchmark.measurement(
        work, Int(Double(prepared.workCount * benchmark.scaledIterations.count) / milliseconds))
    } setup: {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      return try await part.prepared(.full, folder: folder)
    }
  }
}
