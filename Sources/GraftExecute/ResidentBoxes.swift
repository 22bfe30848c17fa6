internal import GraftCore
internal import GraftIO
internal import Synchronization

// Parts whose elements take turns in memory, where the page cache has them. Each thread reads a little of every part into a
// box that its own cache holds, and takes the box to its place before it reads the next one: nothing is handed from thread to
// thread, and nothing waits for the disk. What is not in the page cache, or cannot be read in this way, is left to the tiles,
// which go through the engine and meet whatever faults there are.

/// The results of an execution whose parts take turns, and which are read out of the page cache.
final class ResidentBoxes: Sendable {
  /// All parts of a result.
  private struct Family {
    let result: Int
    /// The parts' indices in the plan.
    let parts: [Int]
    /// The first part's elements; the others have the same loops.
    let piece: Piece
    /// How far apart in the result the elements of neighbouring parts are.
    let distance: Int
    /// The bytes of an element.
    let elementByteCount: Int
    /// Where each part begins: in which file of the plan, and at which byte.
    let beginnings: [(file: Int, offset: Int)]
    /// The most elements of a part that a box has.
    let elementLimit: Int

    var partByteCount: Int { piece.elementCount * elementByteCount }
    /// The memory of a box.
    var boxByteCount: Int {
      Tiles.boxPitch(partByteCount: Swift.min(elementLimit, piece.elementCount) * elementByteCount)
        * parts.count
    }
  }

  /// The same few elements of each part of a family.
  private struct Box {
    /// Which family's.
    var family: Int
    /// The first part's elements that it has.
    var piece: Piece
    /// How many elements of each part come before it.
    var first = 0
    /// How the family's piece was cut down to it, from the outermost loop on.
    var cuts: [(loop: Int, turns: Range<Int>)] = []
  }

  private struct State {
    /// What is still to be cut into boxes, the next one last.
    var boxes: [Box]
    /// For each family, what turned out not to be there.
    var missed: [[Box]]
    var report = ReadReport()
  }

  private let run: TileRun
  private let families: [Family]
  private let threadCount: Int
  private let boxByteCount: Int
  private let state: Mutex<State>

  /// The bytes of a box: what the second-level cache holds.
  ///
  /// Of 32 layers a box has 31 KiB each. Reading 512 MiB out of the page cache took 0.074 s of a processor in pieces of 16 KiB, 0.058
  /// in 32, 0.062 in 64 and 128, which leave the cache, and taking them to their places 0.015 (Zen 4, 1 MiB of second-level cache).
  private static let cachedByteCount = 1 << 20
  /// Shorter pieces are mostly the cost of a system call, so boxes of many parts are larger.
  private static let pieceByteCount = 16 << 10
  private static let mostByteCount = 4 << 20
  private static let shortestPieceByteCount = 4 << 10
  /// After so many boxes of a result that were not there, although it was, the rest of it is left alone.
  private static let mostMisses = 4

  /// Those of the results that are cut into families of parts which can be read so; nil when there is none.
  init?(_ run: TileRun, _ cuts: [(result: Int, cut: Tiles.Cut)]) {
    guard run.tuning.access != .direct, run.tuning.engine != .uring else { return nil }
    let cuts = cuts.compactMap { result, cut in
      if case .interleaved(let distance) = cut { (result: result, distance: distance) } else { nil }
    }
    if cuts.isEmpty { return nil }
    var families: [Family] = []
    var files: Set<Int> = []
    let partsOfResult = Dictionary(grouping: run.plan.parts.indices) { run.plan.parts[$0].result }
    for (result, distance) in cuts {
      guard let parts = partsOfResult[result],
        let family = Self.family(of: result, parts, distance: distance, in: run.plan),
        // What is small is better read together with its neighbours in the file.
        family.partByteCount * family.parts.count >= Self.cachedByteCount
      else { continue }
      let all = files.union(family.beginnings.map(\.file))
      guard all.count <= Portion.openFileLimit else { continue }
      files = all
      families.append(family)
    }
    let boxByteCount = families.map(\.boxByteCount).max() ?? 0
    let threadCount = Swift.min(
      run.tuning.threadCount ?? UsableProcessors.count,
      run.tuning.budgetByteCount / Swift.max(1, boxByteCount))
    guard threadCount > 0, !families.isEmpty else { return nil }
    self.run = run
    self.families = families
    self.threadCount = threadCount
    self.boxByteCount = boxByteCount
    state = Mutex(
      State(
        boxes: families.indices.reversed().map { Box(family: $0, piece: families[$0].piece) },
        missed: families.map { _ in [] }))
  }

  private static func family(of result: Int, _ parts: [Int], distance: Int, in plan: Plan) -> Family? {
    let piece = plan.parts[parts[0]].piece
    let bytes = plan.results[result].spec.dtype.bitWidth / 8
    let share =
      Swift.min(mostByteCount, Swift.max(cachedByteCount, parts.count * pieceByteCount)) / parts.count
    guard share >= shortestPieceByteCount else { return nil }
    let elementLimit = Tiles.longestPart(within: share) / bytes
    var beginnings: [(file: Int, offset: Int)] = []
    for part in parts {
      var lowering = Lowering(operand: plan.operands[plan.parts[part].operands[0]], result: result)
      // A part that cannot be lowered is an error where it is read.
      do throws(GraftError) { try lowering.lower(plan.parts[part].piece.packed) } catch { return nil }
      // Each is one run of a file, so that whatever box is cut out of it is one as well.
      guard lowering.literals.isEmpty, lowering.moves.count == 1, let move = lowering.moves.first,
        move.encoding == nil, move.copy.isContiguous, move.copy.runCount == piece.elementCount * bytes
      else { return nil }
      beginnings.append((move.chunk.file, move.chunk.range.offset + move.copy.sourceOffset))
    }
    return Family(
      result: result, parts: parts, piece: piece, distance: distance, elementByteCount: bytes,
      beginnings: beginnings, elementLimit: elementLimit)
  }

  /// Reads and places what the page cache has.
  ///
  /// - Parameter completed: called with the bytes of each box that is in its place, by the threads.
  /// - Returns: What was read, and for each result that was taken on the families of parts that are left of it.
  func read(
    completed: (@Sendable (Int) -> Void)?
  ) async throws(GraftError) -> (report: ReadReport, left: [Int: [[Tile.Part]]]) {
    let cancellation = Cancellation()
    try await withCancellation(cancellation) { () throws(GraftError) in
      try await BlockingThreads.shared.run { () throws(GraftError) in
        var open: [Int: File] = [:]
        for index in Set(self.families.flatMap { $0.beginnings.map(\.file) }) {
          open[index] = try self.run.plan.files[index].open()
        }
        let files = self.families.map { family in family.beginnings.map { open[$0.file]! } }
        for index in self.families.indices where !self.isThere(self.families[index], files[index]) {
          self.state.withLock { self.giveUp(index, &$0) }
        }
        let memory = try MemoryPool.shared.allocate(
          byteCount: self.threadCount * self.boxByteCount, alignment: 4096)
        let size = self.boxByteCount
        try ParallelPieces.run(count: self.threadCount, threadCount: self.threadCount) {
          (thread) throws(GraftError) in
          // Each thread has a box of its own, and the memory lives until all of them are done.
          let room = unsafe UnsafeMutableRawBufferPointer(
            rebasing: memory.bytes[(thread * size)..<((thread + 1) * size)])
          while let box = self.next() {
            try cancellation.check()
            unsafe try self.read(box, files[box.family], through: room, completed)
          }
        }
      }
    }
    return state.withLock { state in
      state.report.peakStagingByteCount = threadCount * boxByteCount
      (state.report.engine, state.report.engineReason) = ("threads", "the page cache had what takes turns")
      var left: [Int: [[Tile.Part]]] = [:]
      for (index, family) in families.enumerated() {
        let rest = state.missed[index] + state.boxes.filter { $0.family == index }
        left[family.result] = rest.map { tileParts(of: $0) }
      }
      return (state.report, left)
    }
  }

  /// What ``read(completed:)`` would read if the page cache had everything, and the results that it would take on.
  func forecast() -> (report: ReadReport, results: Set<Int>) {
    var report = ReadReport()
    while let box = next() {
      let family = families[box.family]
      report.requestCount += family.parts.count
      report.bytesRead += box.piece.elementCount * family.elementByteCount * family.parts.count
    }
    report.bytesWanted = report.bytesRead
    report.peakStagingByteCount = threadCount * boxByteCount
    return (report, Set(families.map(\.result)))
  }

  /// The next box, nil when there is none any more.
  private func next() -> Box? {
    state.withLock { state in
      while let box = state.boxes.popLast() {
        let family = families[box.family]
        let count = box.piece.elementCount
        guard count > family.elementLimit, let loop = box.piece.extents.firstIndex(where: { $0 > 1 }) else {
          return box
        }
        let turns = box.piece.extents[loop]
        let fitting = Swift.max(1, Swift.min(turns - 1, family.elementLimit / (count / turns)))
        for range in [fitting..<turns, 0..<fitting] {
          var part = box
          part.piece = box.piece.restricted(loop: loop, to: range)
          part.first += range.lowerBound * (count / turns)
          part.cuts.append((loop, range))
          state.boxes.append(part)
        }
      }
      return nil
    }
  }

  /// Reads a box out of the files of its parts and takes it to its place, or notes that it is not there.
  private func read(
    _ box: Box, _ files: [File], through room: UnsafeMutableRawBufferPointer,
    _ completed: (@Sendable (Int) -> Void)?
  ) throws(GraftError) {
    let family = families[box.family]
    let byteCount = box.piece.elementCount * family.elementByteCount
    let pitch = Tiles.boxPitch(partByteCount: byteCount)
    var (bytesRead, requestCount) = (0, 0)
    var isThere = true
    for (index, beginning) in family.beginnings.enumerated() where isThere {
      let range = ByteRange(
        offset: beginning.offset + box.first * family.elementByteCount, count: byteCount)
      let count = unsafe run.engine.readResident(
        files[index], range,
        into: UnsafeMutableRawBufferPointer(rebasing: room[(index * pitch)...].prefix(byteCount))
      )
      bytesRead += count
      if count > 0 { requestCount += 1 }
      isThere = count == byteCount
    }
    state.withLock { state in
      state.report.bytesRead += bytesRead
      state.report.requestCount += requestCount
      if isThere { state.report.bytesWanted += byteCount * family.parts.count } else { miss(box, &state) }
    }
    guard isThere, var copy = box.piece.copyToResult(run.plan.results[family.result].spec.dtype) else {
      return
    }
    copy.dimensions.append(
      StridedCopy.Dimension(
        count: family.parts.count, sourceStride: pitch,
        destinationStride: family.distance * family.elementByteCount))
    unsafe try run.placing.put(copy, from: UnsafeRawBufferPointer(room), into: run.places[family.result])
    completed?(byteCount * family.parts.count)
  }

  /// Whether the page cache has nearly all of every part; asking takes half a millisecond for a GiB.
  private func isThere(_ family: Family, _ files: [File]) -> Bool {
    zip(files, family.beginnings).allSatisfy { file, beginning in
      run.engine.isResident(file, ByteRange(offset: beginning.offset, count: family.partByteCount))
    }
  }

  /// Notes a box that is not there.
  private func miss(_ box: Box, _ state: inout State) {
    state.missed[box.family].append(box)
    if state.missed[box.family].count >= Self.mostMisses { giveUp(box.family, &state) }
  }

  /// Leaves the rest of a family to others.
  private func giveUp(_ family: Int, _ state: inout State) {
    state.missed[family] += state.boxes.filter { $0.family == family }
    state.boxes.removeAll { $0.family == family }
  }

  /// The elements of a box, of every part.
  private func tileParts(of box: Box) -> [Tile.Part] {
    families[box.family].parts.map { index in
      Tile.Part(
        index: index,
        piece: box.cuts.reduce(run.plan.parts[index].piece) { $0.restricted(loop: $1.loop, to: $1.turns) })
    }
  }
}
