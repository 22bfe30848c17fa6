package import GraftCore
package import GraftIO

// The life of one load, as the tour in docs/ARCHITECTURE.md tells it: a format has made a catalog, a target was held against
// it, and the planner has lowered every wanted leaf to moves. Here the moves become reads. A move that is one run of plain bytes
// is read straight into its place. Any other plain move is cut into windows, each read into a slot of the engine's, from which a
// kernel places the wanted runs. Moves out of encoded chunks are done chunk by chunk: see ChunkJob.swift. The engine takes slots
// within the budget, reads in file order on threads of its own, and calls back on them.
// What takes several operands, or has to be put together before it is written, is done in tiles: see TileRun.swift. What needs a
// figure of a whole tensor first is done in two passes: see Executor+Figures.swift.

/// Carries out a plan: reads, decodes, and places what cannot be read or decoded into place.
package struct Executor: Sendable {
  let plan: Plan
  let tuning: Tuning
  let engine: ReadEngine
  let pages: PagesOnDemand?

  /// An executor of this plan.
  ///
  /// - Parameter pages: what populates memory of the places on the way, as far as it was not when they were made.
  package init(_ plan: Plan, tuning: Tuning, engine: ReadEngine = .shared, pages: PagesOnDemand? = nil) {
    self.plan = plan
    self.tuning = tuning
    self.engine = engine
    self.pages = pages
  }

  /// Reads every result of the plan into its place.
  ///
  /// - Parameters:
  ///   - places: one for each result. A writer is neither finished nor abandoned.
  ///   - progress: called with the bytes of the results that are done, from the engine's threads.
  /// - Throws: ``GraftError`` naming leaf, file and range; what was read by then is lost. No byte is written after it returns.
  package func run(
    into places: [Place], progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> ReadReport {
    precondition(places.count == plan.results.count, "one place for each result")
    for index in places.indices {
      guard case .memory(let memory) = places[index] else { continue }
      precondition(
        memory.count == plan.results[index].spec.byteCount,
        "\(plan.results[index].path) has a place of another size")
    }
    if let pass = plan.pass.first {
      return try await runWithFigures(of: pass, into: places, progress: progress)
    }
    let cuts = TileRun.cuts(of: plan, places: places, tuning)
    var report = ReadReport()
    if cuts.count < plan.results.count || cuts.contains(where: { $0.cut == .computedParts }) {
      // Everything but what is wholly done in tiles.
      let tiled = Set(cuts.lazy.filter { $0.cut != .computedParts }.map(\.result))
      let (rest, indices) =
        tiled.isEmpty ? (plan, Array(places.indices)) : plan.restricted { !tiled.contains($0) }
      let restPlaces = indices.map { places[$0] }
      let assembly = try Assembly(of: rest, places: restPlaces, byteCountLimit: tuning.budgetByteCount / 4)
      report = try await Executor(rest, tuning: tuning, engine: engine, pages: pages).read(
        into: assembly.places, progress: Self.relay(progress, of: plan.resultByteCount, after: 0))
      try await BlockingThreads.shared.run { () throws(GraftError) in try assembly.write() }
    }
    if !cuts.isEmpty {
      let tiles = TileRun(plan: plan, places: places, tuning: tuning, engine: engine)
      let before = plan.resultByteCount - tiles.byteCount(cuts)
      let progress = Self.relay(progress, of: plan.resultByteCount, after: before)
      report.add(try await tiles.run(cuts, progress: progress), isBeside: false)
    }
    progress?(Progress(completedByteCount: plan.resultByteCount, totalByteCount: plan.resultByteCount))
    return report
  }

  /// Tells whoever wants to know how much of the whole is done when a part of it goes on.
  static func relay(
    _ progress: (@Sendable (Progress) -> Void)?, of total: Int, after before: Int
  ) -> (@Sendable (Progress) -> Void)? {
    guard let progress else { return nil }
    return { part in
      progress(
        Progress(
          completedByteCount: Swift.min(before + part.completedByteCount, total), totalByteCount: total))
    }
  }

  /// Reads every result by moves and literals alone.
  ///
  /// - Parameter threads: what to decode with, where an earlier execution may have left streams to go on with.
  func read(
    into places: [Place], with threads: DecodingThreads? = nil, progress: (@Sendable (Progress) -> Void)?
  ) async throws(GraftError) -> ReadReport {
    let readTuning = self.readTuning
    let layout = try StagingLayout(readTuning)
    let table = Places(places, of: plan)
    let decoding = try Decoding(
      plan: plan, places: table, readLayout: layout, tuning: tuning, threads: threads, pages: pages)
    var report = ReadReport()
    var done = Done(totalByteCount: plan.resultByteCount, progress: progress)

    if !plan.literals.isEmpty {
      let cancellation = Cancellation()
      try await withCancellation(cancellation) { () throws(GraftError) in
        try await BlockingThreads.shared.run { () throws(GraftError) in
          try decoding.placeLiterals(cancellation)
        }
      }
    }
    var portion = Portion(
      moves: plainMoves, places: table, layout: layout, tuning: tuning)
    while portion.fill() {
      let files = try await open(portion.fileIndices)
      let windows = portion.windows
      let placing = decoding.placing
      do throws(GraftError) {
        let statistics = unsafe try await engine.read(
          portion.requests, files: files, tuning: readTuning, pages: pages, progress: done.readProgress
        ) { (window, part, bytes) throws(GraftError) in
          unsafe try placing.put(windows[window], part: part, bytes)
        }
        report.add(statistics, wantedByteCount: portion.wantedByteCount)
      } catch {
        throw naming(error)
      }
      done.byteCount += portion.wantedByteCount
    }
    if !plan.encodings.isEmpty { try await decode(decoding, readTuning, &report, &done) }
    return report
  }

  /// The settings of the engine: where there is something to decode, reading and decoding share the budget.
  var readTuning: Tuning {
    var tuning = tuning
    if !plan.encodings.isEmpty { tuning.budgetByteCount /= 2 }
    return tuning
  }

  /// The moves out of chunks without codecs.
  var plainMoves: [Plan.Move] {
    plan.encodings.isEmpty ? plan.moves : plan.moves.filter { $0.encoding == nil }
  }

  /// Does the moves out of encoded chunks: small chunks through the engine, large ones on threads that stream them.
  private func decode(
    _ decoding: Decoding, _ readTuning: Tuning, _ report: inout ReadReport, _ done: inout Done
  ) async throws(GraftError) {
    let (small, large) = decoding.jobs()
    for jobs in Self.portions(of: small) {
      let (files, position) = try await open(jobs)
      do throws(GraftError) {
        let requests = jobs.enumerated().map { index, job in
          ReadRequest(file: position[job.file]!, range: job.range, target: .handler(token: index))
        }
        let statistics = unsafe try await engine.read(
          requests, files: files, tuning: readTuning, progress: done.readProgress
        ) { (index, part, bytes) throws(GraftError) in
          precondition(part == jobs[index].range, "a chunk that fits an operation comes whole")
          unsafe try decoding.decode(jobs[index], bytes)
        }
        report.add(statistics, wantedByteCount: jobs.reduce(0) { $0 + $1.wantedByteCount })
        report.bytesVerified += jobs.reduce(0) { $0 + (decoding.verifies($1) ? $1.range.count : 0) }
      } catch {
        throw naming(error)
      }
      done.byteCount += jobs.reduce(0) { $0 + $1.copiedByteCount }
    }
    // The largest first, so that no thread is left with a long chunk when the others are done.
    let ordered = large.sorted { $0.range.count > $1.range.count }
    for jobs in Self.portions(of: ordered) {
      let (files, position) = try await open(jobs)
      let readProgress = done.readProgress
      let engine = self.engine
      let cancellation = Cancellation()
      let statistics = try await withCancellation(cancellation) { () throws(GraftError) in
        try await BlockingThreads.shared.run { () throws(GraftError) in
          try decoding.stream(
            jobs, cancellation: cancellation, progress: readProgress,
            reader: { engine.makeStreamReader(tuning: readTuning) }, file: { files[position[$0]!] })
        }
      }
      report.bytesRead += statistics.bytesRead
      report.bytesWanted += statistics.bytesRead
      report.bytesReadDirect += statistics.directByteCount
      report.bytesVerified += statistics.bytesVerified
      report.requestCount += statistics.requestCount
      if report.engine.isEmpty { report.engine = "threads" }
      done.byteCount += jobs.reduce(0) { $0 + $1.copiedByteCount }
    }
    report.peakStagingByteCount += decoding.stagingByteCount
  }

  /// Jobs in portions that read no more files, and are no more, than may be open and listed at once.
  private static func portions(of jobs: [ChunkJob]) -> [[ChunkJob]] {
    var portions: [[ChunkJob]] = []
    var files = Set<Int>()
    for job in jobs {
      if portions.isEmpty || portions[portions.count - 1].count == Portion.mostRequests
        || (!files.contains(job.file) && files.count == Portion.openFileLimit)
      {
        portions.append([])
        files = []
      }
      files.insert(job.file)
      portions[portions.count - 1].append(job)
    }
    return portions
  }

  /// Opens the files that jobs read, and says which of them is which of the plan's.
  private func open(_ jobs: [ChunkJob]) async throws(GraftError) -> (files: [File], position: [Int: Int]) {
    let indices = Array(Set(jobs.map(\.file))).sorted()
    let files = try await open(indices)
    return (files, Dictionary(uniqueKeysWithValues: indices.enumerated().map { ($1, $0) }))
  }

  /// Opens files of the plan, which must still have the size that the catalog says.
  private func open(_ indices: [Int]) async throws(GraftError) -> [File] {
    let plan = self.plan
    return try await BlockingThreads.shared.run { () throws(GraftError) in
      var files: [File] = []
      for index in indices { files.append(try plan.files[index].open()) }
      return files
    }
  }

  /// The error with the leaf that it concerns, which the engine does not know.
  private func naming(_ error: GraftError) -> GraftError {
    guard error.leaf == nil, let range = error.range, let path = error.file else { return error }
    let move = plan.moves.first { move in
      guard plan.files[move.chunk.file].path == path else { return false }
      guard move.encoding == nil else { return move.chunk.range.intersection(range) != nil }
      let source = move.copy.sourceByteRange
      return ByteRange(offset: move.chunk.range.offset + source.offset, count: source.count).intersection(
        range) != nil
    }
    var error = error
    error.leaf = move.map { plan.results[$0.result].path }
    return error
  }
}

/// How many bytes of the results are in their places, over all runs of the engine.
private struct Done {
  let totalByteCount: Int
  let progress: (@Sendable (Progress) -> Void)?
  var byteCount = 0

  /// What reports the progress of the next run.
  var readProgress: ReadProgress? {
    guard let progress else { return nil }
    let (before, total) = (byteCount, totalByteCount)
    return ReadProgress { completed in
      progress(Progress(completedByteCount: Swift.min(before + completed, total), totalByteCount: total))
    }
  }
}

extension ReadReport {
  /// Adds what another part of the same execution did, beside this one or after it.
  mutating func add(_ part: ReadReport, isBeside: Bool) {
    bytesRead += part.bytesRead
    bytesWanted += part.bytesWanted
    bytesVerified += part.bytesVerified
    requestCount += part.requestCount
    bytesReadDirect += part.bytesReadDirect
    peakStagingByteCount =
      isBeside
      ? peakStagingByteCount + part.peakStagingByteCount
      : Swift.max(peakStagingByteCount, part.peakStagingByteCount)
    if engine.isEmpty { (engine, engineReason) = (part.engine, part.engineReason) }
  }

  /// Adds what one run of the engine did.
  ///
  /// - Parameter wantedByteCount: the bytes that came to a place; the engine knows only those of whole windows.
  mutating func add(_ statistics: ReadStatistics, wantedByteCount: Int) {
    bytesRead += statistics.bytesRead
    bytesWanted += wantedByteCount
    requestCount += statistics.requestCount
    bytesReadDirect += statistics.directByteCount
    peakStagingByteCount = Swift.max(peakStagingByteCount, statistics.stagingByteCount)
    engine = statistics.engine == .uring ? "io_uring" : statistics.engine.rawValue
    engineReason = statistics.engineReason
  }
}
