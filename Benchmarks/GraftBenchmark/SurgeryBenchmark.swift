internal import Glibc
internal import Graft
internal import GraftIO
internal import GraftMeasure

/// Carries out surgeries through the public API, beside the plain load, copy or transpose that moves as many bytes.
struct SurgeryBenchmark {
  let options: BenchmarkOptions
  private let kept = KeptResult()

  init(_ options: BenchmarkOptions) { self.options = options }

  private var isFull: Bool { options.size == .full }

  func run() async throws(GraftError) -> BenchmarkReport {
    var report = BenchmarkReport()
    try await measureTransposes(&report)
    try await measureCasts(&report)
    try await measureMean(&report)
    return report
  }

  /// A model of 1 GiB of bfloat16, of which there are two.
  private func gibibyte(_ number: Int) throws(GraftError) -> ModelFile {
    let leaves = (0..<16).map {
      ModelFile.Leaf("params.layer\($0).kernel", isFull ? [4096, 8192] : [32, 64 + number])
    }
    // Names and sizes of both are the same, and so are their bytes; what is computed does not depend on them.
    return try ModelFile.make("gibibyte-\(number)-\(options.size.rawValue)", in: options.folder, leaves)
  }

  /// A load of a surgery, which drops the result of the one before it when it is not timed.
  private func loading(
    _ name: String, _ surgery: Surgery, byteCount: Int, warming files: [File]
  ) -> Contestant {
    Contestant(
      name, byteCount: byteCount,
      prepare: { [kept] () async throws(GraftError) in
        kept.drop()
        for file in files { try PageCache.warm(file) }
      },
      run: { [kept] () async throws(GraftError) in kept.keep(try await surgery.load()) })
  }

  private func loading(_ name: String, _ checkpoint: Checkpoint, warming file: File) -> Contestant {
    Contestant(
      name, byteCount: checkpoint.logicalByteCount,
      prepare: { [kept] () async throws(GraftError) in
        kept.drop()
        try PageCache.warm(file)
      },
      run: { [kept] () async throws(GraftError) in kept.keep(try await checkpoint.load()) })
  }

  /// Any error of a transform as one of Graft's, which is all that these transforms throw.
  private func transform(_ body: () throws -> Surgery) throws(GraftError) -> Surgery {
    do {
      return try body()
    } catch let error as GraftError {
      throw error
    } catch {
      throw GraftError(.invalidArgument, "the transform failed: \(error)")
    }
  }

  // MARK: transposing

  private func measureTransposes(_ report: inout BenchmarkReport) async throws(GraftError) {
    for dtype in [DType.bfloat16, .float32] {
      let model = try ModelFile.layers(dtype, options)
      let file = try File(opening: model.path)
      let checkpoint = try await Checkpoint(at: model.path)
      let surgery = try transform {
        try checkpoint.transform { tree in
          tree.mapLeaves { _, leaf in
            let tree = Tree.leaf(leaf)
            return leaf.spec?.rank == 2 ? tree.transposed() : tree
          }
        }
      }
      let extent = isFull ? 2048 : 64
      let bare =
        if dtype == .bfloat16 {
          try BareTranspose.contestant(UInt16.self, extent: extent, matrixCount: 2 * ModelFile.layerCount)
        } else {
          try BareTranspose.contestant(UInt32.self, extent: extent, matrixCount: 2 * ModelFile.layerCount)
        }
      let results = try await InterleavedRounds.run(
        [
          bare,
          loading("load and transpose", surgery, byteCount: checkpoint.logicalByteCount, warming: [file]),
          loading("plain load", checkpoint, warming: file),
        ], rounds: options.rounds)
      kept.drop()
      report.add("transpose every matrix of \(dtype), warm", results, to: [0, 2])
      report.claims.append(
        .init(
          "load and transpose of \(dtype) / a bare blocked transpose in memory",
          results[1].speed(relativeTo: results[0]).median, .atLeast(0.8)))
    }
  }

  // MARK: casting

  private func measureCasts(_ report: inout BenchmarkReport) async throws(GraftError) {
    let narrow = try ModelFile.layers(.bfloat16, options)
    let wide = try ModelFile.layers(.float32, options)
    let (narrowFile, wideFile) = (try File(opening: narrow.path), try File(opening: wide.path))
    let narrowCheckpoint = try await Checkpoint(at: narrow.path)
    let wideCheckpoint = try await Checkpoint(at: wide.path)
    let widening = try transform { try narrowCheckpoint.transform { $0.cast(to: .float32) } }
    let narrowing = try transform { try wideCheckpoint.transform { $0.cast(to: .bfloat16, lossy: true) } }
    let byteCount = wideCheckpoint.logicalByteCount
    let results = try await InterleavedRounds.run(
      [
        loading("bfloat16, no cast", narrowCheckpoint, warming: narrowFile),
        loading("bfloat16 to float32", widening, byteCount: byteCount, warming: [narrowFile]),
        loading("float32, no cast", wideCheckpoint, warming: wideFile),
        loading("float32 to bfloat16", narrowing, byteCount: byteCount, warming: [wideFile]),
      ], rounds: options.rounds)
    kept.drop()
    report.add("casts while loading, warm, bytes of the larger side", results, to: [0, 2])
    for index in [1, 3] {
      report.claims.append(
        .init(
          "\(results[index].name) / the load without a cast, by the larger side",
          results[index].speed(relativeTo: results[index - 1]).median, .atLeast(0.8)))
    }
  }

  // MARK: the mean of two models

  private func measureMean(_ report: inout BenchmarkReport) async throws(GraftError) {
    let models = [try gibibyte(0), try gibibyte(0)]
    let files = [try File(opening: models[0].path), try File(opening: models[1].path)]
    let checkpoints = [try await Checkpoint(at: models[0].path), try await Checkpoint(at: models[1].path)]
    let mean = try transform {
      try Checkpoint.transform(checkpoints[0], checkpoints[1]) { .mean([$0, $1], weights: [0.25, 0.75]) }
    }
    let path = "\(options.folder)/surgery-result.safetensors"
    defer { removeFile(path) }
    let byteCount = checkpoints[0].logicalByteCount
    let warm = { @Sendable () async throws(GraftError) in
      removeFile(path)
      for file in files { try PageCache.warm(file) }
    }
    let results = try await InterleavedRounds.run(
      [
        Contestant("weighted mean of two, saved", byteCount: byteCount, prepare: warm) {
          () async throws(GraftError) in try await mean.save(to: path)
        },
        Contestant("one of them, saved as it is", byteCount: byteCount, prepare: warm) {
          () async throws(GraftError) in try await checkpoints[0].save(to: path)
        },
      ], rounds: min(options.rounds, 5))
    report.add("weighted mean of two models of 1 GiB in bfloat16, warm, into safetensors", results, to: [1])
    var table = BenchmarkReport.Table("the mean's time and memory", ["what", "s", "beyond base, MiB"])
    removeFile(path)
    let usage = try await MemoryUsage.peak { () async throws(GraftError) in try await mean.save(to: path) }
    let beyond = Double(usage.anonymous) / Double(1 << 20)
    table.rows.append([.text(results[0].name), .spread(Spread(results[0].seconds)), .figure(beyond)])
    report.tables.append(table)
    report.claims.append(
      .init("MiB beyond the base for the mean of two models of 1 GiB", beyond, .atMost(512)))
  }
}

extension BenchmarkReport {
  /// Adds a table of speeds, with the ratio of each to some of them.
  mutating func add(_ title: String, _ results: [Measurement], to references: [Int]) {
    var table = Table(title, ["what", "GiB/s"] + references.map { "to \(results[$0].name)" })
    for result in results {
      table.rows.append(
        [.text(result.name), .spread(result.gibPerSecond)]
          + references.map { .spread(result.speed(relativeTo: results[$0])) })
    }
    tables.append(table)
  }
}

/// A transpose in memory of square matrices by blocks, on all threads: the ceiling of loads that transpose.
private enum BareTranspose {
  static func contestant<Element: BitwiseCopyable & Sendable>(
    _: Element.Type, extent: Int, matrixCount: Int
  ) throws(GraftError) -> Contestant {
    let matrix = extent * extent * MemoryLayout<Element>.stride
    // Enough matrices that no cache holds them, not all of those that are loaded.
    let count = min(matrixCount, 16)
    let source = try MemoryPool.shared.allocate(byteCount: matrix * count, alignment: 4096)
    let destination = try MemoryPool.shared.allocate(byteCount: matrix * count, alignment: 4096)
    return Contestant(
      blocking: "bare blocked transpose, \(UsableProcessors.count) threads", byteCount: matrix * count,
      prepare: { () throws(GraftError) in
        try source.populate()
        try destination.populate()
      },
      run: { () throws(GraftError) in
        try ParallelPieces.run(count: count, threadCount: UsableProcessors.count) {
          (index) throws(GraftError) in
          let bytes = index * matrix..<(index + 1) * matrix
          // Both extents are kept by this closure, and matrices do not overlap.
          unsafe UnsafeRawBufferPointer(rebasing: source.bytes[bytes]).withMemoryRebound(to: Element.self) {
            from in
            unsafe UnsafeMutableRawBufferPointer(rebasing: destination.bytes[bytes])
              .withMemoryRebound(to: Element.self) { to in
                guard let from = from.baseAddress, let to = to.baseAddress else { return }
                unsafe transpose(from, to, extent)
              }
          }
        }
      })
  }

  private static func transpose<Element: BitwiseCopyable>(
    _ from: UnsafePointer<Element>, _ to: UnsafeMutablePointer<Element>, _ extent: Int
  ) {
    // 32 elements of two bytes are a cache line.
    let block = 32
    for rows in stride(from: 0, to: extent, by: block) {
      for columns in stride(from: 0, to: extent, by: block) {
        for column in columns..<min(extent, columns + block) {
          for row in rows..<min(extent, rows + block) {
            unsafe to[column &* extent &+ row] = from[row &* extent &+ column]
          }
        }
      }
    }
  }
}

/// Removes what an earlier run may have left; there may be none.
func removeFile(_ path: String) { _ = unsafe unlink(path) }
