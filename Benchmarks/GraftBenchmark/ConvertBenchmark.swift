internal import Graft
internal import GraftMeasure

/// Converts tensors of small dtypes to arrays of `Float`, beside a copy that writes as many bytes.
struct ConvertBenchmark {
  let options: BenchmarkOptions

  init(_ options: BenchmarkOptions) { self.options = options }

  func run() async throws(GraftError) -> BenchmarkReport {
    // Small enough that the heap reuses the arrays' memory; fresh memory would be all that is measured.
    let elementCount = options.size == .full ? 2 << 20 : 1 << 10
    let repetitions = options.size == .full ? 16 : 1
    let resultByteCount = 4 * elementCount * repetitions
    var contestants: [Contestant] = []
    for dtype in [DType.float32, .bfloat16, .float16, .float8E4M3FN, .int8, .float64] {
      let spec = TensorSpec(dtype, [elementCount])
      let bytes = (0..<spec.byteCount).map { UInt8(truncatingIfNeeded: ModelFile.mixed(UInt64($0))) }
      let tensor = try Tensor(bytes: bytes, spec: spec)
      contestants.append(
        Contestant(blocking: "\(dtype)", byteCount: resultByteCount) { () throws(GraftError) in
          for _ in 0..<repetitions {
            let array = try tensor.array(as: Float.self, lossy: true)
            guard array.count == elementCount else { preconditionFailure("a conversion keeps the elements") }
          }
        })
    }
    let results = try await InterleavedRounds.run(contestants, rounds: options.rounds)
    var report = BenchmarkReport()
    var table = BenchmarkReport.Table(
      "to an array of Float", ["from", "GiB/s of the result", "to float32, a copy"])
    for result in results {
      table.rows.append([
        .text(result.name), .spread(result.gibPerSecond), .spread(result.speed(relativeTo: results[0])),
      ])
    }
    report.tables.append(table)
    return report
  }
}
