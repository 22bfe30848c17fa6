internal import Graft
internal import GraftIO
internal import GraftMeasure
internal import Synchronization

/// Saves a training state from memory and from a file, beside bare zstd and a sequential write that is synced.
struct SaveBenchmark {
  let options: BenchmarkOptions

  init(_ options: BenchmarkOptions) { self.options = options }

  private var isFull: Bool { options.size == .full }

  private static let formats: [(name: String, format: SaveFormat)] = {
    func orbax(_ compression: Compression) -> SaveFormat {
      var options = OrbaxOptions()
      options.compression = compression
      return .orbax(options)
    }
    return [
      ("Orbax, zstd 3", orbax(.zstd())), ("Orbax, zstd entropy", orbax(.zstdEntropyOnly)),
      ("Orbax, blosc entropy", orbax(.bloscEntropyOnly)), ("Orbax, uncompressed", orbax(.none)),
      ("safetensors", .safetensors),
    ]
  }()

  func run() async throws(GraftError) -> BenchmarkReport {
    let byteCount = (options.mebibytes ?? (isFull ? 640 : 4)) << 20
    let path = try await TrainingState.file(byteCount: byteCount, options)
    let file = try File(opening: path)
    let checkpoint = try await Checkpoint(at: path)
    let loaded = try await checkpoint.load()
    let saved = "\(options.folder)/saved"
    defer { try? FileRemoval.remove(saved) }

    var report = BenchmarkReport()
    report.conditions.append(
      "\(checkpoint.logicalByteCount) bytes in \(checkpoint.tree.leafCount) leaves; every save is synced")
    // The ceilings: a sample of the state through bare zstd, and as many bytes as are saved through a plain write.
    let sampleByteCount = min(isFull ? 256 << 20 : 2 << 20, checkpoint.logicalByteCount)
    let sample = try MemoryPool.shared.allocate(byteCount: sampleByteCount, alignment: 4096)
    try fill(sample, loaded.tree)
    let clean = { @Sendable () async throws(GraftError) in
      try await BlockingThreads.shared.run { () throws(GraftError) in
        if try FileStatus.ifPresent(at: saved) != nil { try FileRemoval.remove(saved) }
        try PageCache.warm(file)
      }
    }
    var contestants = [
      try EncodeCeilings.zstd(
        sample, chunkByteCount: min(4 << 20, sampleByteCount), level: 3, threadCount: UsableProcessors.count),
      Contestant(
        "plain write and sync", byteCount: checkpoint.logicalByteCount, prepare: clean,
        run: { [byteCount = checkpoint.logicalByteCount] () async throws(GraftError) in
          try await BlockingThreads.shared.run { () throws(GraftError) in
            try Self.write(sample, byteCount, to: saved)
          }
        }),
    ]
    let stored = StoredByteCounts()
    for (name, format) in Self.formats {
      contestants.append(
        Contestant("\(name), from memory", byteCount: checkpoint.logicalByteCount, prepare: clean) {
          () async throws(GraftError) in
          let report = try await Checkpoint.save(loaded.tree, to: saved, as: format)
          stored.note(name, report.storedByteCount)
        })
      contestants.append(
        Contestant("\(name), from a file", byteCount: checkpoint.logicalByteCount, prepare: clean) {
          () async throws(GraftError) in
          try await checkpoint.save(to: saved, as: format)
        })
    }
    let results = try await InterleavedRounds.run(contestants, rounds: min(options.rounds, 5))
    let (zstd, disk) = (results[0], results[1])

    var table = BenchmarkReport.Table(
      "saves, synced", ["what", "stored", "GiB/s", "to bare zstd", "to a plain write"])
    for result in results {
      let name = result.name.split(separator: ", from").first.map(String.init) ?? result.name
      let count = stored[name] ?? checkpoint.logicalByteCount
      table.rows.append([
        .text(result.name), .figure(Double(count) / Double(checkpoint.logicalByteCount)),
        .spread(result.gibPerSecond), .spread(result.speed(relativeTo: zstd)),
        .spread(result.speed(relativeTo: disk)),
      ])
    }
    report.tables.append(table)
    // Neither the processors nor the disk can be beaten, whichever is the slower for what is stored.
    for (index, name) in [(2, "zstd 3, from memory"), (3, "zstd 3, from a file")] {
      let share = Double(stored["Orbax, zstd 3"] ?? 0) / Double(checkpoint.logicalByteCount)
      let diskSpeed = disk.gibPerSecond.median / share
      let ceiling = min(zstd.gibPerSecond.median, diskSpeed)
      report.claims.append(
        .init(
          "\(name) / the slower of bare zstd and the disk", results[index].gibPerSecond.median / ceiling,
          .atLeast(0.85)))
    }
    report.claims.append(
      .init(
        "uncompressed, from memory / a plain write", results[8].speed(relativeTo: disk).median, .atLeast(0.85)
      ))
    return report
  }

  /// Fills memory with parts of the leaves, as much of each as its share.
  private func fill(_ sample: PoolExtent, _ tree: Tree<LeafValue>) throws(GraftError) {
    var tensors: [Tensor] = []
    tree.forEachLeaf { if case .tensor(let tensor) = $1 { tensors.append(tensor) } }
    let total = tensors.reduce(0) { $0 + $1.byteCount }
    var end = 0
    for tensor in tensors {
      let count = min(sample.byteCount - end, tensor.byteCount * sample.byteCount / max(1, total))
      let bytes = unsafe try tensor.memory
      // The extent is this function's caller's, and nobody reads it yet.
      unsafe UnsafeMutableRawBufferPointer(rebasing: sample.bytes[end..<(end + count)])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
      end += count
    }
  }

  /// Writes so many bytes to a new file, in blocks, and waits for the disk.
  private static func write(_ source: PoolExtent, _ byteCount: Int, to path: String) throws(GraftError) {
    let file = try AtomicFile(at: path, byteCount: byteCount)
    do throws(GraftError) {
      var offset = 0
      while offset < byteCount {
        let start = offset % source.byteCount
        let count = min(4 << 20, source.byteCount - start, byteCount - offset)
        let block = unsafe UnsafeRawBufferPointer(rebasing: source.bytes[start..<(start + count)])
        unsafe try file.file.write(block, at: offset)
        offset += count
      }
      try file.commit()
    } catch {
      file.abandon()
      throw error
    }
  }
}

/// What each format stored the state in, as its last save said.
private final class StoredByteCounts: Sendable {
  private let counts = Mutex<[String: Int]>([:])

  func note(_ name: String, _ count: Int) { counts.withLock { $0[name] = count } }
  subscript(name: String) -> Int? { counts.withLock { $0[name] } }
}
