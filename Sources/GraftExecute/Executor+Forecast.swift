package import GraftCore
internal import GraftFormats
internal import GraftIO

extension Executor {
  /// What ``run(into:progress:)`` would read, without reading or opening anything.
  ///
  /// It is exact for files that are not in the page cache and are read through it, where chunks are plain or wanted whole. What is
  /// in the page cache is read with fewer gaps, in more requests; direct I/O reads whole sectors; a caller's own memory has other
  /// neighbours than ``HostLayout``; and of a large chunk that is decoded as a stream no more is read than the last wanted byte
  /// takes, which the forecast does not know where a chunk is wanted in part.
  ///
  /// - Parameters:
  ///   - isResident: whether the files are in the page cache, where near neighbours are read apart rather than together.
  ///   - isWriting: whether the results go to a checkpoint that is written, rather than to memory.
  ///   - chunkElementCounts: for each result, how many elements make a chunk of that checkpoint, where it has chunks; none
  ///     where no result has.
  /// - Throws: ``GraftError`` of code `invalidArgument` for settings that leave no room to read anything.
  package func forecast(
    isResident: Bool = false, isWriting: Bool = false, chunkElementCounts: [Int?] = []
  ) throws(GraftError) -> ReadReport {
    try forecast(
      into: isWriting ? writtenPlaces(chunkElementCounts) : untouchedPlaces, isResident: isResident)
  }

  /// What ``run(into:progress:)`` would read for these places, of which none is touched.
  func forecast(into places: [Place], isResident: Bool) throws(GraftError) -> ReadReport {
    if let pass = plan.pass.first {
      return try forecastWithFigures(of: pass, into: places, isResident: isResident)
    }
    let cuts = TileRun.cuts(of: plan, places: places, tuning)
    if cuts.isEmpty { return try forecastReads(into: places, isResident: isResident) }
    let tiled = Set(cuts.lazy.filter { $0.cut != .computedParts }.map(\.result))
    let (rest, indices) = plan.restricted { !tiled.contains($0) }
    var report = try Executor(rest, tuning: tuning, engine: engine)
      .forecastReads(into: indices.map { places[$0] }, isResident: isResident)
    let tiles = TileRun(plan: plan, places: places, tuning: tuning, engine: engine)
    report.add(try tiles.forecast(cuts, isResident: isResident), isBeside: false)
    return report
  }

  /// Places that are never touched: only which of them are neighbours matters, and results of two extents are not.
  var untouchedPlaces: [Place] {
    let host = HostLayout(plan, tuning: tuning)
    var extentAddresses: [Int] = []
    var end = 4096
    for extent in host.extents {
      extentAddresses.append(end)
      end &+= extent.byteCount &+ 64
    }
    return plan.results.indices.map { index in
      let placement = host.placements[index]
      let address = extentAddresses[placement.extent] &+ placement.byteOffset
      return unsafe .memory(
        UnsafeMutableRawBufferPointer(
          start: UnsafeMutableRawPointer(bitPattern: address), count: plan.results[index].spec.byteCount))
    }
  }

  private func writtenPlaces(_ chunkElementCounts: [Int?]) -> [Place] {
    let writer = NoWriter(chunkElementCounts: chunkElementCounts)
    return plan.results.indices.map { .writer(writer, leaf: $0) }
  }

  /// What ``read(into:progress:)`` would read.
  func forecastReads(
    into places: [Place], with threads: DecodingThreads? = nil, isResident: Bool
  ) throws(GraftError) -> ReadReport {
    let readTuning = self.readTuning
    let layout = try StagingLayout(readTuning)
    let table = Places(places, of: plan)
    var report = ReadReport()
    var portion = Portion(moves: plainMoves, places: table, layout: layout, tuning: tuning)
    var usesSlots = false
    while portion.fill() {
      // The forecast of a result that nothing could hold would take nearly as long as making it.
      if Task.isCancelled { throw GraftError(.cancelled, "the task was cancelled") }
      report.bytesWanted += portion.wantedByteCount
      usesSlots = try report.count(portion.requests, readTuning, isResident) || usesSlots
    }
    if !plan.encodings.isEmpty {
      let decoding = try Decoding(
        plan: plan, places: table, readLayout: layout, tuning: tuning, threads: threads)
      let (small, large) = decoding.jobs()
      let requests = small.map { ReadRequest(file: $0.file, range: $0.range, target: .handler(token: 0)) }
      usesSlots = try report.count(requests, readTuning, isResident) || usesSlots
      report.bytesWanted += small.reduce(0) { $0 + $1.range.count }
      for job in large {
        let byteCount = decoding.forecastStreamedByteCount(job)
        report.bytesRead += byteCount
        report.bytesWanted += byteCount
        report.requestCount += (byteCount + ChunkStream.blockByteCount - 1) / ChunkStream.blockByteCount
      }
      report.peakStagingByteCount = tuning.budgetByteCount / 2
    }
    report.peakStagingByteCount += usesSlots ? layout.byteCount : 0
    // What is found out before is read before, and once.
    for pass in plan.pass {
      report.add(
        try Executor(pass, tuning: tuning, engine: engine).forecast(isResident: isResident), isBeside: false)
    }
    return report
  }
}

/// Stands where a writer would: a forecast writes nothing.
private struct NoWriter: CheckpointWriter {
  let chunkElementCounts: [Int?]

  var preferredChunkByteCount: Int { 1 << 20 }
  var storedByteCount: Int { 0 }
  func chunkElementCount(ofLeaf leaf: Int) -> Int? {
    chunkElementCounts.isEmpty ? nil : chunkElementCounts[leaf]
  }

  func write(_ bytes: UnsafeRawBufferPointer, leaf: Int, byteOffset: Int) throws(GraftError) {
    preconditionFailure("a forecast writes nothing")
  }

  func finish() async throws(GraftError) { preconditionFailure("a forecast writes nothing") }
  func abandon() {}
}

extension ReadReport {
  /// Counts the reads that the engine makes of these requests; whether any of them needs a slot.
  fileprivate mutating func count(
    _ requests: [ReadRequest], _ tuning: Tuning, _ isResident: Bool
  ) throws(GraftError) -> Bool {
    let batch = unsafe try ReadBatch(requests, tuning: tuning)
    var usesSlots = false
    while let operation = batch.next() {
      for part in isResident && operation.hasWarmParts ? batch.warmParts(of: operation) : [operation] {
        requestCount += 1
        bytesRead += part.range.count
        if case .slot = part.destination { usesSlots = true }
      }
    }
    return usesSlots
  }
}
