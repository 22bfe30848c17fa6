package import GraftCore
package import GraftIO

// The life of one load, as the tour in docs/ARCHITECTURE.md tells it: a format has made a catalog, a target was held against
// it, and the planner has lowered every wanted leaf to moves. Here the moves become reads. A move that is one run is read
// straight into its place. Any other is cut into windows, each read into a slot of the engine's, from which a kernel places
// the wanted runs. The engine takes slots within the budget, reads in file order on threads of its own, and calls back on them.

/// Carries out a plan: reads, and places what cannot be read into place.
package struct Executor: Sendable {
  let plan: Plan
  let tuning: Tuning
  let engine: ReadEngine

  /// An executor of this plan.
  package init(_ plan: Plan, tuning: Tuning, engine: ReadEngine = .shared) {
    self.plan = plan
    self.tuning = tuning
    self.engine = engine
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
    for move in plan.moves {
      let result = plan.results[move.result]
      switch places[move.result] {
      case .memory(let memory):
        precondition(memory.count == result.spec.byteCount, "\(result.path) has a place of another size")
      case .writer:
        guard move.copy.isContiguous else {
          throw GraftError(
            .unsupported,
            "a leaf that does not lie in one piece in its file cannot be written to another checkpoint",
            leaf: result.path, file: plan.files[move.chunk.file].path)
        }
      }
    }
    var report = ReadReport()
    var doneByteCount = 0
    let totalByteCount = plan.resultByteCount
    var portion = Portion(
      plan: plan, places: places, layout: try StagingLayout(tuning), cost: CostModel(tuning))
    while portion.fill() {
      let before = doneByteCount
      let readProgress = progress.map { progress in
        ReadProgress { completed in
          progress(
            Progress(
              completedByteCount: Swift.min(before + completed, totalByteCount),
              totalByteCount: totalByteCount))
        }
      }
      let files = try await open(portion.fileIndices)
      let placing = Placing(portion.windows)
      do throws(GraftError) {
        let statistics = unsafe try await engine.read(
          portion.requests, files: files, tuning: tuning, progress: readProgress
        ) {
          (window, part, bytes) throws(GraftError) in unsafe try placing.place(window, part: part, bytes)
        }
        report.add(statistics, wantedByteCount: portion.wantedByteCount)
      } catch {
        throw naming(error, portion, files: files)
      }
      doneByteCount += portion.wantedByteCount
    }
    progress?(Progress(completedByteCount: totalByteCount, totalByteCount: totalByteCount))
    return report
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
  private func naming(_ error: GraftError, _ portion: Portion, files: [File]) -> GraftError {
    guard error.leaf == nil, let range = error.range, let path = error.file,
      let fileIndex = portion.fileIndices.first(where: { plan.files[$0].path == path })
    else { return error }
    let move = plan.moves.first { move in
      guard move.chunk.file == fileIndex else { return false }
      let source = move.copy.sourceByteRange
      return ByteRange(offset: move.chunk.range.offset + source.offset, count: source.count).intersection(
        range) != nil
    }
    var error = error
    error.leaf = move.map { plan.results[$0.result].path }
    return error
  }
}

extension ReadReport {
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
