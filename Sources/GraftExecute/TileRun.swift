internal import GraftCore
internal import GraftFormats
internal import GraftIO
internal import Synchronization

// What takes several operands at once, or has to be put together before it is written, is done in tiles. A batch of tiles
// gets memory within the budget; what it needs is a small plan of its own, which the executor carries out like any other; then
// the threads compute the tiles and take them to their places. Two batches are under way at once, so that one reads while the
// other computes.

/// The tiles of one execution.
struct TileRun: Sendable {
  let plan: Plan
  let places: [Place]
  let tuning: Tuning
  let engine: ReadEngine
  let placing = Placing()

  /// Which results are cut into tiles, and how; the moves of others, and of those of whose parts only some are, do the rest.
  static func cuts(of plan: Plan, places: [Place], _ tuning: Tuning) -> [(result: Int, cut: Tiles.Cut)] {
    var cuts = chunkCuts(of: plan, places: places)
    let hasChunks = !cuts.isEmpty
    if plan.parts.isEmpty, !hasChunks { return [] }
    for part in plan.parts {
      if hasChunks, case .chunks? = cuts[part.result] { continue }
      if case .writer = places[part.result] {
        // A writer takes long runs well; whatever is scattered or computed goes through memory.
        // A column of a matrix is one run of the result, and scattered all the same.
        if part.isComputed || part.program != nil
          || part.piece.shortestRun(source: 0, of: plan.operands[part.operands[0]].spec.shape)
            < Self.writtenRunElementCount
        {
          cuts[part.result] = .runs
        }
      } else if part.isComputed {
        cuts[part.result] = .computedParts
      }
    }
    // Results in memory whose parts take turns in it.
    for (result, parts) in Dictionary(grouping: plan.parts, by: \.result) where cuts[result] == nil {
      if case .memory = places[result],
        let distance = Tiles.interleaving(
          of: parts, in: plan, arenaByteCount: tuning.budgetByteCount / laneCount / 2)
      {
        cuts[result] = .interleaved(distance)
      }
    }
    // What is written whole goes through the sources from front to back.
    let order = hasChunks ? plan.resultsInFileOrder : Array(plan.results.indices)
    return order.compactMap { result in cuts[result].map { (result: result, cut: $0) } }
  }

  /// The results that a writer wants in whole chunks.
  private static func chunkCuts(of plan: Plan, places: [Place]) -> [Int: Tiles.Cut] {
    var cuts: [Int: Tiles.Cut] = [:]
    for (result, place) in places.enumerated() {
      guard case .writer(let writer, let leaf) = place,
        let elementCount = writer.chunkElementCount(ofLeaf: leaf), plan.results[result].spec.elementCount > 0
      else { continue }
      precondition(
        elementCount > 0 && plan.results[result].spec.elementCount.isMultiple(of: elementCount),
        "\(plan.results[result].path) is not padded to whole chunks")
      cuts[result] = .chunks(elementCount: elementCount)
    }
    return cuts
  }

  /// Runs of as many elements are written one by one.
  private static let writtenRunElementCount = 4096
  /// How many batches are under way at once, where the budget has room for several.
  private static let laneCount = 2
  /// Below this a lane would read in very short blocks.
  private static let laneByteCount = 2 << 20
  /// The most tiles of a batch.
  private static let batchTileCount = 1024
  /// A tile's bytes: few enough for the second-level cache, and enough that a tile's own cost does not show.
  static let tileByteCount = 1 << 20
  /// The memory of a lane whose batches are to stay in the third-level cache, which holds two and their results.
  ///
  /// By processor time, which others disturb less, a stack of 32 matrices along the last axis came to 0.41, 0.47, 0.28 and 0.32 of
  /// the plain load's speed with 8, 4, 2 and 1 MiB: where it is short each part is read in short pieces.
  private static let cachedArenaByteCount = 4 << 20

  /// Computes all tiles; the bytes that were read for them are in the report.
  func run(
    _ cuts: [(result: Int, cut: Tiles.Cut)], progress: (@Sendable (Progress) -> Void)?
  ) async throws(GraftError) -> ReadReport {
    let total = byteCount(cuts)
    let completed = progress.map { progress -> @Sendable (Int) -> Void in
      let counter = Counter()
      return { byteCount in
        progress(Progress(completedByteCount: counter.add(byteCount), totalByteCount: total))
      }
    }
    guard let boxes = ResidentBoxes(self, cuts) else { return try await read(cuts, completed: completed) }
    var (report, left) = try await boxes.read(completed: completed)
    let rest = cuts.filter { left[$0.result]?.isEmpty != true }
    if !rest.isEmpty {
      report.add(try await read(rest, left: left, completed: completed), isBeside: false)
    }
    return report
  }

  /// Computes all tiles.
  ///
  /// - Parameter left: of results of which some is done, the families of parts that are not.
  private func read(
    _ cuts: [(result: Int, cut: Tiles.Cut)], left: [Int: [[Tile.Part]]] = [:],
    completed: (@Sendable (Int) -> Void)?
  ) async throws(GraftError) -> ReadReport {
    let (lanes, arenaByteCount, laneTuning) = division(for: cuts)
    let queue = TileQueue(tiles(cuts, arenaByteCount, left: left))
    let lane = Lane(
      run: self, cuts: cuts, queue: queue, arenaByteCount: arenaByteCount, tuning: laneTuning,
      completed: completed)
    if lanes == 1 { return try await lane.work() }
    async let first = lane.result()
    async let second = lane.result()
    var report = ReadReport()
    var failure: GraftError?
    for result in await [first, second] {
      switch result {
      case .success(let part): report.add(part, isBeside: true)
      case .failure(let error): failure = failure ?? error
      }
    }
    if let failure { throw failure }
    return report
  }

  /// What ``run(_:progress:)`` would read; batches are the same whichever lane takes them.
  func forecast(
    _ cuts: [(result: Int, cut: Tiles.Cut)], isResident: Bool
  ) throws(GraftError) -> ReadReport {
    if isResident, let boxes = ResidentBoxes(self, cuts) {
      var (report, results) = boxes.forecast()
      let rest = cuts.filter { !results.contains($0.result) }
      if !rest.isEmpty { report.add(try forecastTiles(rest, isResident: true), isBeside: false) }
      return report
    }
    return try forecastTiles(cuts, isResident: isResident)
  }

  private func forecastTiles(
    _ cuts: [(result: Int, cut: Tiles.Cut)], isResident: Bool
  ) throws(GraftError) -> ReadReport {
    let (lanes, arenaByteCount, laneTuning) = division(for: cuts)
    let queue = TileQueue(tiles(cuts, arenaByteCount))
    let arena = try TileArena(byteCount: arenaByteCount)
    var report = ReadReport()
    let decodingThreads = try decodingThreads(for: cuts, laneTuning)
    var batchCount = 0
    var usedByteCount = 0
    while let batch = try queue.batch(arena: arena, plan: plan, limit: Self.batchTileCount) {
      if Task.isCancelled { throw GraftError(.cancelled, "the task was cancelled") }
      report.add(
        try Executor(batch.plan, tuning: laneTuning, engine: engine)
          .forecastReads(into: batch.places, with: decodingThreads, isResident: isResident), isBeside: false)
      batchCount += 1
      // What a batch leaves of the arena is never touched.
      usedByteCount = Swift.max(usedByteCount, arena.mark)
    }
    report.peakStagingByteCount =
      Swift.min(lanes, batchCount) * (report.peakStagingByteCount + usedByteCount)
    return report
  }

  /// How many lanes there are, the memory of each for its tiles, and its settings for reading and decoding them.
  private func division(
    for cuts: [(result: Int, cut: Tiles.Cut)]
  ) -> (lanes: Int, arenaByteCount: Int, tuning: Tuning) {
    let isRoomy =
      tuning.budgetByteCount / Self.laneCount
      >= Swift.max(Self.laneByteCount, 2 * largestChunkByteCount(of: cuts))
    // Tiles that go through large chunks together do so in turns, so that each goes on decoding where the last one stopped.
    let lanes = isRoomy && streamedOperandCount(cuts) == 0 ? Self.laneCount : 1
    let share = tuning.budgetByteCount / lanes
    // Half of a lane's share is for tiles, the other for reading and decoding them.
    var laneTuning = tuning
    laneTuning.budgetByteCount = share - share / 2
    return (lanes, arenaByteCount(for: cuts, atMost: share / 2), laneTuning)
  }

  /// The most memory that a chunk takes while it is made, which no tile can be smaller than.
  private func largestChunkByteCount(of cuts: [(result: Int, cut: Tiles.Cut)]) -> Int {
    var bits: [Int: Int] = [:]
    for part in plan.parts {
      bits[part.result] = Swift.max(bits[part.result] ?? 0, Tiles.bitsPerElement(of: part, in: plan))
    }
    return cuts.reduce(0) { largest, cut in
      guard case .chunks(let elementCount) = cut.cut else { return largest }
      let bits = Swift.max(bits[cut.result] ?? 0, plan.results[cut.result].spec.dtype.bitWidth)
      // A multiplication that overflows is of a chunk that no budget holds.
      let (product, overflow) = elementCount.multipliedReportingOverflow(by: bits)
      return Swift.max(largest, overflow ? .max / 16 : product / 8 + Self.alignmentByteCount)
    }
  }

  /// What aligning a chunk and its operands may add.
  private static let alignmentByteCount = 4096

  /// The most operands of a part that come out of chunks larger than a tile.
  private func streamedOperandCount(_ cuts: [(result: Int, cut: Tiles.Cut)]) -> Int {
    if plan.encodings.isEmpty { return 0 }
    let results = Set(cuts.map(\.result))
    let limit = tileByteCount(arenaByteCount(for: cuts, atMost: tuning.budgetByteCount / Self.laneCount / 2))
    return plan.parts.reduce(0) { most, part in
      guard results.contains(part.result) else { return most }
      return Swift.max(
        most,
        part.operands.count {
          guard case .stored(let stored) = plan.operands[$0].source, let encoding = stored.encoding else {
            return false
          }
          return plan.encodings[encoding].decodedByteCount > limit
        })
    }
  }

  /// What the batches of a lane decode with, one after the other; nil where nothing is decoded.
  private func decodingThreads(
    for cuts: [(result: Int, cut: Tiles.Cut)], _ laneTuning: Tuning
  ) throws(GraftError) -> DecodingThreads? {
    if plan.encodings.isEmpty { return nil }
    return try DecodingThreads(laneTuning, streamCount: streamedOperandCount(cuts))
  }

  /// The bytes of the results that the tiles fill.
  func byteCount(_ cuts: [(result: Int, cut: Tiles.Cut)]) -> Int {
    let cutOf = Dictionary(uniqueKeysWithValues: cuts.map { ($0.result, $0.cut) })
    var sum = cuts.reduce(0) {
      $0 + ($1.cut == .computedParts ? 0 : plan.results[$1.result].spec.byteCount)
    }
    for part in plan.parts where part.isComputed && cutOf[part.result] == .computedParts {
      sum += part.piece.elementCount * plan.results[part.result].spec.dtype.bitWidth / 8
    }
    return sum
  }

  /// How much memory a lane has for tiles.
  ///
  /// What is written gains from large batches, of which reads lie side by side and are put together; so do large encoded chunks.
  /// Otherwise a batch is to stay in the processor's cache.
  private func arenaByteCount(for cuts: [(result: Int, cut: Tiles.Cut)], atMost limit: Int) -> Int {
    let isCacheable = cuts.allSatisfy { !$0.cut.isWritten } && plan.encodings.isEmpty
    return isCacheable ? Swift.min(limit, Self.cachedArenaByteCount) : limit
  }

  /// How large tiles are: small, unless an encoded chunk would then be decoded again and again.
  private func tileByteCount(_ arenaByteCount: Int) -> Int {
    let largest = plan.encodings.lazy.map(\.decodedByteCount).max() ?? 0
    let wanted = largest > Self.tileByteCount ? arenaByteCount : Self.tileByteCount
    return Swift.max(4096, Swift.min(wanted, arenaByteCount / 2))
  }

  private func tiles(
    _ cuts: [(result: Int, cut: Tiles.Cut)], _ arenaByteCount: Int, left: [Int: [[Tile.Part]]] = [:]
  ) -> Tiles {
    Tiles(
      plan, cuts, byteCount: tileByteCount(arenaByteCount),
      familyByteCount: Swift.min(arenaByteCount, Self.cachedArenaByteCount),
      scatteredByteCount: arenaByteCount / 2, families: left)
  }

  /// One of several workers, each with memory for a batch.
  private struct Lane: Sendable {
    let run: TileRun
    let cuts: [(result: Int, cut: Tiles.Cut)]
    let queue: TileQueue
    let arenaByteCount: Int
    let tuning: Tuning
    let completed: (@Sendable (Int) -> Void)?

    func result() async -> Result<ReadReport, GraftError> {
      do throws(GraftError) {
        return .success(try await work())
      } catch {
        queue.stop()
        return .failure(error)
      }
    }

    func work() async throws(GraftError) -> ReadReport {
      var report = ReadReport()
      let arena = try TileArena(byteCount: arenaByteCount)
      let decodingThreads = try run.decodingThreads(for: cuts, tuning)
      while let batch = try queue.batch(arena: arena, plan: run.plan, limit: TileRun.batchTileCount) {
        // A batch that reads no file never asks the engine, which would notice.
        if Task.isCancelled { throw GraftError(.cancelled, "the task was cancelled") }
        report.add(
          try await Executor(batch.plan, tuning: tuning, engine: run.engine).read(
            into: batch.places, with: decodingThreads, progress: nil), isBeside: false)
        let threadCount = tuning.threadCount ?? UsableProcessors.count
        let run = run
        let cancellation = Cancellation()
        try await withCancellation(cancellation) { () throws(GraftError) in
          try await BlockingThreads.shared.run { () throws(GraftError) in
            let pieces = batch.tiles.flatMap { tile in tile.pieces(in: run.plan).map { (tile, $0) } }
            try ParallelPieces.run(count: pieces.count, threadCount: threadCount) {
              (index) throws(GraftError) in
              try cancellation.check()
              try pieces[index].0.finish(pieces[index].1, run)
            }
          }
        }
        completed?(batch.tiles.reduce(0) { $0 + $1.byteCount(in: run.plan) })
      }
      report.peakStagingByteCount += arena.byteCount
      return report
    }
  }
}

/// A sum that several lanes add to.
private final class Counter: Sendable {
  private let sum = Atomic(0)

  /// Adds to the sum, and gives what it is then.
  func add(_ count: Int) -> Int { sum.add(count, ordering: .relaxed).newValue }
}

/// The tiles that no batch has yet.
private final class TileQueue: Sendable {
  private struct State {
    var tiles: Tiles
    /// A tile that did not fit the last batch.
    var pending: Tile?
    var isStopped = false
  }

  private let state: Mutex<State>

  init(_ tiles: Tiles) { state = Mutex(State(tiles: tiles)) }

  /// Lets no further batch begin.
  func stop() { state.withLock { $0.isStopped = true } }

  /// The next tiles with memory for each, nil when there are none any more.
  func batch(arena: TileArena, plan: Plan, limit: Int) throws(GraftError) -> TileBatch? {
    arena.reset()
    let result = state.withLock { state -> Result<TileBatch?, GraftError> in
      do throws(GraftError) {
        var batch = TileBatch(plan)
        while batch.tiles.count < limit, !state.isStopped {
          let tile: Tile
          if let pending = state.pending {
            tile = pending
            state.pending = nil
          } else if let next = try state.tiles.next() {
            tile = next
          } else {
            break
          }
          if try !batch.add(tile, arena) {
            guard !batch.tiles.isEmpty else { throw Self.noRoom(for: tile, arena, plan) }
            state.pending = tile
            break
          }
        }
        return .success(batch.tiles.isEmpty ? nil : batch)
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private static func noRoom(for tile: Tile, _ arena: TileArena, _ plan: Plan) -> GraftError {
    let spec = plan.results[tile.result].spec
    guard let count = tile.range?.count, let byteCount = spec.dtype.byteCount(elementCount: count),
      byteCount > arena.byteCount / 2
    else {
      return GraftError(
        .insufficientMemory, "the budget has no room for the operands of a few elements",
        leaf: plan.results[tile.result].path, found: "\(arena.byteCount) bytes for tiles",
        remedy: "raise the budget")
    }
    return GraftError(
      .insufficientMemory,
      "a chunk that is to be written, with what it is made of, does not fit the part of the budget for it",
      leaf: plan.results[tile.result].path, expected: "at most \(arena.byteCount) bytes, half of the budget",
      found: "a chunk of \(byteCount) bytes", remedy: "raise the budget, or choose smaller chunks")
  }
}

/// Memory of one lane, which its batches take parts of one after the other.
@safe private final class TileArena: @unchecked Sendable {  // used by one lane, one step at a time
  let byteCount: Int
  private let extent: PoolExtent
  private var memory: UnsafeMutableRawBufferPointer { unsafe extent.bytes }
  private var used = 0

  /// Memory of the pool's, which the next execution finds touched: first touch took more than half of the time of a stack.
  init(byteCount: Int) throws(GraftError) {
    self.byteCount = byteCount
    extent = try MemoryPool.shared.allocate(byteCount: byteCount, alignment: 4096)
  }

  func reset() { used = 0 }

  /// The next part of the memory; nil when too little is left.
  func take(_ byteCount: Int) -> UnsafeMutableRawBufferPointer? {
    let aligned = (byteCount + 63) / 64 * 64
    guard aligned <= self.byteCount - used else { return nil }
    defer { used += aligned }
    return unsafe UnsafeMutableRawBufferPointer(rebasing: memory[used..<(used + byteCount)])
  }

  var mark: Int { used }
  func giveBack(to mark: Int) { used = mark }
}

/// Tiles that are read together, and the plan that reads them.
private struct TileBatch: Sendable {
  private let whole: Plan
  private(set) var tiles: [PlacedTile] = []
  private(set) var places: [Place] = []
  private var results: [Plan.Result] = []
  private var moves: [Plan.Move] = []
  private var literals: [Plan.Literal] = []
  /// The bytes of the tiles that are in memory already and need none of the arena's.
  private var presentByteCount = 0

  init(_ plan: Plan) { whole = plan }

  /// What reads the operands of all tiles.
  var plan: Plan {
    Plan(
      files: whole.files, results: results, moves: moves, literals: literals, encodings: whole.encodings,
      programs: whole.programs, operands: [], parts: [])
  }

  /// Adds a tile, unless the memory has no room for it; whether it had.
  mutating func add(_ tile: Tile, _ arena: TileArena) throws(GraftError) -> Bool {
    let mark = arena.mark
    let counts = (places.count, moves.count, literals.count)
    func undo(_ batch: inout TileBatch) {
      arena.giveBack(to: mark)
      batch.places.removeSubrange(counts.0...)
      batch.results.removeSubrange(counts.0...)
      batch.moves.removeSubrange(counts.1...)
      batch.literals.removeSubrange(counts.2...)
    }
    let result = whole.results[tile.result]
    var placed = unsafe PlacedTile(tile: tile, memory: nil, parts: [])
    var assembled: Int?
    if let range = tile.range {
      if let bytes = unsafe wholeRun(of: tile, range) {
        // Batches stay short whatever they need, for they are where a cancelled task stops.
        guard presentByteCount == 0 || presentByteCount + bytes.count <= arena.byteCount else { return false }
        presentByteCount += bytes.count
        unsafe placed.bytes = bytes
        tiles.append(placed)
        return true
      }
      let spec = TensorSpec(result.spec.dtype, [range.count])
      guard let place = take(spec, result.path, arena) else { return false }
      // Bits around those that are placed are kept, so they must be something.
      if spec.dtype.isPacked { unsafe places[place].memory?.initializeMemory(as: UInt8.self, repeating: 0) }
      assembled = place
      unsafe placed.memory = places[place].memory
      if let index = tile.move {
        var move = whole.moves[index]
        move.copy.sourceOffset += tile.byteOffset
        move.copy.runCount = spec.byteCount
        move.result = place
        moves.append(move)
        tiles.append(placed)
        return true
      }
    }
    if let distance = tile.interleaving {
      // All parts beside each other in one memory, from which one copy takes them to their places.
      let bytes = result.spec.dtype.bitWidth / 8
      let pitch = Tiles.boxPitch(partByteCount: tile.parts[0].piece.elementCount * bytes) / bytes
      let spec = TensorSpec(result.spec.dtype, [pitch * tile.parts.count])
      guard let place = take(spec, result.path, arena), let memory = unsafe places[place].memory else {
        return false
      }
      for (index, part) in tile.parts.enumerated() {
        var lowering = Lowering(operand: whole.operands[whole.parts[part.index].operands[0]], result: place)
        var piece = part.piece.packed
        piece.destination.offset = index * pitch
        try lowering.lower(piece)
        moves += lowering.moves
        literals += lowering.literals
      }
      unsafe placed.interleaved = (UnsafeRawBufferPointer(memory), distance)
      tiles.append(placed)
      return true
    }
    for part in tile.parts {
      let source = whole.parts[part.index]
      if !source.isComputed, let assembled {
        var lowering = Lowering(
          operand: whole.operands[source.operands[0]], result: assembled, program: source.program)
        try lowering.lower(part.piece)
        moves += lowering.moves
        literals += lowering.literals
        continue
      }
      var inputs: [UnsafeRawBufferPointer] = unsafe []
      for (position, operand) in source.operands.enumerated() {
        let operand = whole.operands[operand]
        let spec = TensorSpec(operand.spec.dtype, [part.piece.elementCount])
        guard let place = take(spec, result.path, arena), let memory = unsafe places[place].memory else {
          undo(&self)
          return false
        }
        if spec.dtype.isPacked { unsafe memory.initializeMemory(as: UInt8.self, repeating: 0) }
        var lowering = Lowering(operand: operand, result: place)
        try lowering.lower(part.piece.packed, source: position)
        moves += lowering.moves
        literals += lowering.literals
        unsafe inputs.append(UnsafeRawBufferPointer(memory))
      }
      // What does not lie side by side in its place is computed to memory of its own first.
      var output: UnsafeMutableRawBufferPointer?
      if !source.isSummed,
        part.piece.packed.destination.terms != part.piece.destination.terms || result.spec.dtype.isPacked
      {
        let spec = TensorSpec(result.spec.dtype, [part.piece.elementCount])
        guard let memory = unsafe arena.take(spec.byteCount) else {
          undo(&self)
          return false
        }
        unsafe output = memory
      }
      unsafe placed.parts.append(PlacedTile.Part(tile: part, inputs: inputs, output: output))
    }
    tiles.append(placed)
    return true
  }

  /// The bytes of a tile that lies in memory as it is to be written; nil for any other.
  private func wholeRun(of tile: Tile, _ range: Range<Int>) -> UnsafeRawBufferPointer? {
    guard tile.parts.count == 1, let part = tile.parts.first else { return nil }
    let source = whole.parts[part.index]
    guard source.program == nil, !source.isComputed,
      case .host(let host) = whole.operands[source.operands[0]].source, !host.tensor.dtype.isPacked,
      part.piece.shortestRun(source: 0, of: host.tensor.shape) == range.count,
      // A tensor that is not in memory is an error elsewhere.
      let bytes = unsafe try? host.tensor.memory
    else { return nil }
    let strides = host.tensor.shape.rowMajorStrides
    let first = zip(part.piece.sources[0], strides).reduce(0) { $0 + $1.0.offset * $1.1 }
    let width = host.tensor.dtype.bitWidth / 8
    return unsafe UnsafeRawBufferPointer(rebasing: bytes[(first * width)..<((first + range.count) * width)])
  }

  /// Memory for a tensor, as a result of the plan; its index, nil when there is too little.
  private mutating func take(_ spec: TensorSpec, _ path: TreePath, _ arena: TileArena) -> Int? {
    guard let memory = unsafe arena.take(spec.byteCount) else { return nil }
    unsafe places.append(.memory(memory))
    results.append(Plan.Result(path: path, spec: spec))
    return places.count - 1
  }
}

extension Place {
  fileprivate var memory: UnsafeMutableRawBufferPointer? {
    if case .memory(let memory) = self { unsafe memory } else { nil }
  }
}

/// A tile with its memory, which the lane's arena keeps until the batch is done.
@safe private struct PlacedTile: @unchecked Sendable {  // computed by one thread
  @safe struct Part {
    var tile: Tile.Part
    /// The operands, side by side in the order of the loops.
    var inputs: [UnsafeRawBufferPointer]
    /// Where the part is computed to; nil for its place itself.
    var output: UnsafeMutableRawBufferPointer?
  }

  var tile: Tile
  /// Where the tile is put together; nil where its part goes to the result's memory.
  var memory: UnsafeMutableRawBufferPointer?
  /// What the tile is, where that is in memory already; the plan keeps it there.
  var bytes: UnsafeRawBufferPointer?
  var parts: [Part]
  /// Parts whose elements take turns, one part after the other, and how far apart they are in the result.
  var interleaved: (source: UnsafeRawBufferPointer, distance: Int)?

  func byteCount(in plan: Plan) -> Int {
    let bits = plan.results[tile.result].spec.dtype.bitWidth
    if let range = tile.range { return (range.count * bits + 7) / 8 }
    return tile.parts.reduce(0) { $0 + $1.piece.elementCount * bits / 8 }
  }

  /// What threads may do of the tile at the same time: boxes of parts that take turns have room for several.
  func pieces(in plan: Plan) -> Range<Int> {
    guard unsafe interleaved != nil else { return 0..<1 }
    let turns = tile.parts[0].piece.extents.first { $0 > 1 } ?? 1
    return 0..<Swift.max(1, Swift.min(turns, byteCount(in: plan) / Self.interleavedPieceByteCount))
  }

  /// Long enough for a thread of its own.
  private static let interleavedPieceByteCount = 1 << 20

  /// Computes a piece of the tile from its operands, and takes it to its place.
  func finish(_ number: Int, _ run: TileRun) throws(GraftError) {
    do throws(GraftError) {
      try compute(number, run)
    } catch {
      var error = error
      error.leaf = error.leaf ?? run.plan.results[tile.result].path
      throw error
    }
  }

  /// Adds the tile's products to sums.
  private func add(_ run: TileRun, to place: SumPlace) throws(GraftError) {
    var sums = SumPlace.Sums()
    for part in parts {
      guard let index = run.plan.parts[part.tile.index].program else {
        preconditionFailure("what is summed is a product")
      }
      unsafe try ElementProgram(run.plan.programs[index]).addProducts(
        of: part.inputs, count: part.tile.piece.elementCount, to: &sums)
    }
    place.add(sums)
  }

  private func compute(_ number: Int, _ run: TileRun) throws(GraftError) {
    if case .sums(let place) = run.places[tile.result] { return try add(run, to: place) }
    if let bytes = unsafe bytes, case .writer(let writer, let leaf) = run.places[tile.result] {
      return unsafe try writer.write(bytes, leaf: leaf, byteOffset: tile.byteOffset)
    }
    if case .comparison(let comparison) = run.places[tile.result] {
      for part in parts {
        precondition(unsafe part.inputs.count == 2, "two tensors are compared")
        unsafe comparison.add(
          part.inputs[0], part.inputs[1], run.plan.results[tile.result].spec.dtype,
          count: part.tile.piece.elementCount)
      }
      return
    }
    let dtype = run.plan.results[tile.result].spec.dtype
    let target: UnsafeMutableRawBufferPointer
    if let memory = unsafe memory {
      unsafe target = memory
    } else {
      guard case .memory(let memory) = run.places[tile.result] else {
        preconditionFailure("what goes to a writer is put together in memory")
      }
      unsafe target = memory
    }
    if let (source, distance) = unsafe interleaved {
      let piece = tile.parts[0].piece
      let count = pieces(in: run.plan).count
      let bytes = dtype.bitWidth / 8
      var (own, first) = (piece, 0)
      if count > 1, let loop = piece.extents.firstIndex(where: { $0 > 1 }) {
        let turns = piece.extents[loop]
        let range = (turns * number / count)..<(turns * (number + 1) / count)
        own = piece.restricted(loop: loop, to: range)
        first = range.lowerBound * (piece.elementCount / turns)
      }
      guard var copy = own.copyToResult(dtype) else { return }
      copy.sourceOffset = first * bytes
      copy.dimensions.append(
        StridedCopy.Dimension(
          count: tile.parts.count, sourceStride: Tiles.boxPitch(partByteCount: piece.elementCount * bytes),
          destinationStride: distance * bytes))
      unsafe try run.placing.put(copy, from: source, into: .memory(target))
      return
    }
    for part in parts {
      let piece = part.tile.piece
      guard let index = run.plan.parts[part.tile.index].program else {
        preconditionFailure("what takes several operands computes something of them")
      }
      let program = ElementProgram(run.plan.programs[index])
      let count = piece.elementCount
      if let output = unsafe part.output {
        unsafe try program.run(part.inputs, into: output, count: count)
        guard let copy = piece.copyToResult(dtype) else { continue }
        unsafe try run.placing.put(copy, from: UnsafeRawBufferPointer(output), into: .memory(target))
      } else {
        let first = piece.destination.offset * dtype.bitWidth / 8
        unsafe try program.run(
          part.inputs,
          into: UnsafeMutableRawBufferPointer(
            rebasing: target[first..<(first + count * dtype.bitWidth / 8)]), count: count)
      }
    }
    guard tile.range != nil, case .writer(let writer, let leaf) = run.places[tile.result] else { return }
    unsafe try writer.write(UnsafeRawBufferPointer(target), leaf: leaf, byteOffset: tile.byteOffset)
  }
}
