package import GraftCore
internal import GraftIO

extension Executor {
  /// What ``run(into:progress:)`` would read into memory, without reading or opening anything.
  ///
  /// It is exact for files that are not in the page cache and are read through it, where chunks are plain or wanted whole. What is
  /// in the page cache is read with fewer gaps, in more requests; direct I/O reads whole sectors; a caller's own memory has other
  /// neighbours than ``HostLayout``; and of a large chunk that is decoded as a stream no more is read than the last wanted byte
  /// takes.
  ///
  /// - Parameter isResident: whether the files are in the page cache, where near neighbours are read apart rather than together.
  /// - Throws: ``GraftError`` of code `invalidArgument` for settings that leave no room to read anything.
  package func forecast(isResident: Bool = false) throws(GraftError) -> ReadReport {
    let readTuning = self.readTuning
    let layout = try StagingLayout(readTuning)
    let host = HostLayout(plan, tuning: tuning)
    // Places that are never touched: only which of them are neighbours matters, and results of two extents are not.
    var extentAddresses: [Int] = []
    var end = 4096
    for extent in host.extents {
      extentAddresses.append(end)
      end &+= extent.byteCount &+ 64
    }
    let places = plan.results.indices.map { index -> Place in
      let placement = host.placements[index]
      let address = extentAddresses[placement.extent] &+ placement.byteOffset
      return unsafe .memory(
        UnsafeMutableRawBufferPointer(
          start: UnsafeMutableRawPointer(bitPattern: address), count: plan.results[index].spec.byteCount))
    }
    let table = Places(places, of: plan)
    var report = ReadReport()
    var portion = Portion(moves: plainMoves, places: table, layout: layout, cost: CostModel(tuning))
    var usesSlots = false
    while portion.fill() {
      report.bytesWanted += portion.wantedByteCount
      usesSlots = try report.count(portion.requests, readTuning, isResident) || usesSlots
    }
    if !plan.encodings.isEmpty {
      let decoding = try Decoding(plan: plan, places: table, readLayout: layout, tuning: tuning)
      let (small, large) = decoding.jobs()
      let requests = small.map { ReadRequest(file: $0.file, range: $0.range, target: .handler(token: 0)) }
      usesSlots = try report.count(requests, readTuning, isResident) || usesSlots
      report.bytesWanted += small.reduce(0) { $0 + $1.range.count }
      for job in large {
        report.bytesRead += job.range.count
        report.bytesWanted += job.range.count
        report.requestCount += (job.range.count + ChunkStream.blockByteCount - 1) / ChunkStream.blockByteCount
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
