package import GraftCore
internal import GraftIO

extension Executor {
  /// What ``run(into:progress:)`` would read into memory, without reading or opening anything.
  ///
  /// It is exact where reads go through the page cache. Direct I/O reads whole sectors, and results that happen to be
  /// neighbours in memory may be read in fewer requests.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for settings that leave no room to read anything.
  package func forecast() throws(GraftError) -> ReadReport {
    let layout = try StagingLayout(tuning)
    let packed = PackedLayout(plan)
    // Places that are never touched: only whether they are neighbours matters, and these are not.
    let places = plan.results.indices.map { index -> Place in
      let address = (index + 1) * PackedLayout.alignment + packed.offsets[index]
      return unsafe .memory(
        UnsafeMutableRawBufferPointer(
          start: UnsafeMutableRawPointer(bitPattern: address), count: plan.results[index].spec.byteCount))
    }
    var report = ReadReport()
    var portion = Portion(plan: plan, places: places, layout: layout, cost: CostModel(tuning))
    var usesSlots = false
    while portion.fill() {
      report.bytesWanted += portion.wantedByteCount
      let batch = unsafe try ReadBatch(portion.requests, tuning: tuning)
      while let operation = batch.next() {
        report.requestCount += 1
        report.bytesRead += operation.range.count
        if case .slot = operation.destination { usesSlots = true }
      }
    }
    report.peakStagingByteCount = usesSlots ? layout.byteCount : 0
    return report
  }
}
