internal import Graft
internal import GraftIO

/// Parameters of bfloat16 with the two moments of Adam in float32, all of them normally distributed: what a checkpoint of a run
/// consists of, and what a compressor makes of it.
enum TrainingState {
  /// A safetensors file of the state, kept for the next run.
  static func file(byteCount: Int, _ options: BenchmarkOptions) async throws(GraftError) -> String {
    let isFull = options.size == .full
    // Two bytes of the parameter and four of each moment for each element.
    let elementCount = byteCount / 10
    let width = isFull ? 4096 : 64
    let rowCount = max(1, elementCount / width)
    let matrixCount = max(1, rowCount / (isFull ? 4096 : 512))
    let path = "\(options.folder)/training-state-\(byteCount).safetensors"
    if (try? File(opening: path)) != nil { return path }
    // The folder is made with any model.
    _ = try ModelFile.manyLeaves(10, options)
    do {
      let surgery = try Checkpoint.transform([]) { _ in
        func moments(_ deviation: Double, _ seed: UInt64) -> Tree<LazyLeaf> {
          .dictionary(
            (0..<matrixCount).map { index in
              (
                key: Key("layer\(index)"),
                value: .initialized(
                  [rowCount / matrixCount, width], .float32,
                  .normal(stddev: deviation, seed: seed + UInt64(index)))
              )
            })
        }
        let first = moments(1e-4, 1_000)
        return [
          "params": moments(0.02, 1).cast(to: .bfloat16, lossy: true), "mu": first, "nu": first * first,
        ]
      }
      try await surgery.save(to: path, as: .safetensors)
    } catch let error as GraftError {
      throw error
    } catch {
      throw GraftError(.invalidArgument, "the state cannot be made: \(error)")
    }
    return path
  }
}
