import Benchmark
import Foundation
import GraftParts

/// One benchmark for each part.
///
/// Throughput is of what the part's `workCount` counts: bytes, leaves or keys.
let benchmarks: @Sendable () -> Void = {
  let folder = ".build/parts"
  for part in Part.all {
    Benchmark(
      part.name,
      configuration: .init(
        metrics: [.wallClock, .cpuTotal, .throughput], warmupIterations: 3, maxDuration: .seconds(1),
        maxIterations: 1_000)
    ) { (benchmark: Benchmark, prepared: Part.Prepared) async throws in
      for _ in benchmark.scaledIterations {
        blackHole(try await prepared.run())
      }
    } setup: {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      return try await part.prepared(.full, folder: folder)
    }
  }
}
