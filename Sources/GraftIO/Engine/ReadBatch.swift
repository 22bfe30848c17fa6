package import GraftCore
internal import Synchronization

/// Where the bytes of one request of a batch go.
@safe package enum ReadTarget: @unchecked Sendable {  // as ReadDestination
  /// Into this memory, which has room for them and stays valid until the read has returned or thrown.
  case memory(UnsafeMutableRawPointer)
  /// To the batch's handler, in one piece when they fit an operation, else in several; not at all when there are none.
  case handler(token: Int)
}

/// One range of one file that a batch is to read.
package struct ReadRequest: Sendable {
  /// The index of the file among the batch's files.
  package var file: Int
  /// The bytes to read; may be empty.
  package var range: ByteRange
  /// Where they go.
  package var target: ReadTarget

  /// A request.
  package init(file: Int, range: ByteRange, target: ReadTarget) {
    self.file = file
    self.range = range
    self.target = target
  }
}

/// Takes bytes of requests that have no memory of their own: the request's token, the part of its range, its bytes.
///
/// It is called on several threads at once, in no order; the bytes are gone when it returns.
package typealias ReadHandler =
  @Sendable (_ token: Int, _ part: ByteRange, _ bytes: UnsafeRawBufferPointer) throws(GraftError) -> Void

/// A list of requests as ``ReadWork``: in file order, near small ones read together, large ones in blocks.
///
/// - Requests that meet in the file and in memory become one.
/// - Requests of the same range are read once, and the others get copies.
/// - Small ones with little between them are read into a slot at once, gaps and all, and copied to their targets. The
///   tuning bounds the gap and how much more may be read than is wanted. Where the bytes turn out to be in the page
///   cache, only tiny ones are: there another read costs less than copying a gap.
/// - Large ones are cut at multiples of the block size in the file, so that direct I/O's alignment concerns only their ends.
/// - Those that then meet in the file are read in a row, each block into as many memories as it has bytes for. Where it is read
///   directly, each memory has a read of its own: direct I/O has rules for its ends.
@safe package final class ReadBatch: ReadWork {
  /// What is read as a unit: one request, or several small ones of one file.
  private struct Stretch {
    /// The positions in ``requests``.
    var requests: Range<Int>
    /// The positions in ``warmStretches``, for those of ``stretches``.
    var parts: Range<Int>
    var file: Int
    var range: ByteRange
    /// How many of the range's bytes somebody wants.
    var wantedByteCount: Int
    var largestRequestByteCount: Int

    var isCombined: Bool { requests.count > 1 }
  }

  /// When near requests are read together.
  private struct Rule {
    var gapByteCount: Int
    var requestByteCount: Int
    var stretchByteCount: Int
  }

  /// Sorted by file and offset; no range comes twice.
  private let requests: [ReadRequest]
  /// Where else the bytes of a request go, by its position in ``requests``.
  private let twins: [Int: [ReadTarget]]
  /// What is read as a unit from the disk.
  private let stretches: [Stretch]
  /// The same requests, as they are read out of the page cache.
  private let warmStretches: [Stretch]
  /// Which of ``stretches`` are read in a row, from one into the next.
  private let rows: [Range<Int>]
  private let handler: ReadHandler?
  private let pages: PagesOnDemand?
  private let blockByteCount: Int
  /// Where the next operation begins: in which row, and at which offset of which stretch of it.
  private let cursor = Mutex((row: 0, stretch: 0, position: 0))
  private let combined = Atomic(0)

  /// A larger request gains little from its neighbours, and costs a copy out of the slot.
  private static let combinedRequestByteCount = 128 << 10
  /// What is read together out of the page cache.
  ///
  /// There a read costs one to two microseconds of a processor, in which 10 to 20 KB can be copied, and what is read together
  /// is copied twice. Measured on whole loads of leaves of 1 to 16 KiB, every other one wanted: with gaps of up to 8 KiB 1.04
  /// times less processor time than without, with gaps of up to 16 KiB another 1.05, for half as many bytes more
  /// (two cores, Zen 4). A slot that is longer than the processor's own cache gives some of that back.
  private static let warmRule = Rule(
    gapByteCount: 8 << 10, requestByteCount: 16 << 10, stretchByteCount: 256 << 10)

  /// A batch of these requests.
  ///
  /// - Parameters:
  ///   - pages: Populates the requests' memory on the way, as far as it is of its extents.
  ///   - handler: Takes the bytes of requests whose target it is.
  /// - Throws: `invalidArgument` for settings that make no sense.
  package init(
    _ requests: [ReadRequest], tuning: Tuning, pages: PagesOnDemand? = nil, handler: ReadHandler? = nil
  ) throws(GraftError) {
    let layout = try StagingLayout(tuning)
    blockByteCount = layout.operationByteCount
    self.pages = pages
    unsafe self.handler = handler
    let sorted = requests.filter { !$0.range.isEmpty }.sorted {
      ($0.file, $0.range.offset, $0.range.end) < ($1.file, $1.range.offset, $1.range.end)
    }
    let (merged, twins) = Self.merge(sorted)
    self.requests = merged
    self.twins = twins
    let single = merged.enumerated().map { index, request in
      Stretch(
        requests: index..<(index + 1), parts: index..<(index + 1), file: request.file, range: request.range,
        wantedByteCount: request.range.count, largestRequestByteCount: request.range.count)
    }
    let gap = max(0, tuning.coalescingGapByteCount)
    var warmRule = Self.warmRule
    warmRule.gapByteCount = min(warmRule.gapByteCount, gap)
    warmRule.stretchByteCount = min(warmRule.stretchByteCount, layout.operationByteCount)
    let rule = Rule(
      gapByteCount: gap, requestByteCount: Self.combinedRequestByteCount,
      stretchByteCount: layout.operationByteCount)
    let factor = max(1, tuning.overReadFactor)
    warmStretches = Self.combine(single, warmRule, factor)
    stretches = Self.combine(warmStretches, rule, factor)
    rows = Self.rows(of: stretches, merged, twins)
  }

  /// Requests, after those that meet are joined, that were read into a slot together with a neighbour until now.
  package var coalescedCount: Int { combined.load(ordering: .relaxed) }

  package func prepare(_ operation: ReadOperation) throws(GraftError) {
    guard let pages else { return }
    switch operation.destination {
    case .memory(let memory):
      unsafe try pages.prepare(UnsafeMutableRawBufferPointer(start: memory, count: operation.range.count))
    case .memories(let segments):
      for segment in segments {
        unsafe try pages.prepare(
          UnsafeMutableRawBufferPointer(start: segment.address, count: segment.byteCount))
      }
    case .slot: break  // What is copied out of slots is small.
    }
  }

  package func next() -> ReadOperation? {
    cursor.withLock { cursor in
      guard cursor.row < rows.count else { return nil }
      let first = cursor.stretch
      let offset = stretches[first].range.offset + cursor.position
      let (last, end) = end(ofOperationAt: offset, in: first..<rows[cursor.row].upperBound)
      if end < stretches[last].range.end {
        cursor.stretch = last
        cursor.position = end - stretches[last].range.offset
      } else {
        cursor.stretch = last + 1
        cursor.position = 0
        if cursor.stretch == rows[cursor.row].upperBound { cursor.row += 1 }
      }
      let range = ByteRange(offset: offset, count: end - offset)
      return first == last
        ? operation(stretches[first], range, token: first) : vectoredOperation(first...last, range)
    }
  }

  /// Where an operation ends that begins here, and in which of these stretches: at a multiple of the block size, if not before.
  private func end(ofOperationAt offset: Int, in row: Range<Int>) -> (stretch: Int, offset: Int) {
    // Ranges that no file has come here, too: the engine refuses them.
    let limit = offset + min(blockByteCount - offset % blockByteCount, .max - offset)
    var reached = (stretch: row.lowerBound, offset: offset)
    var segmentCount = 0
    for index in row {
      let stretch = stretches[index]
      segmentCount += stretch.requests.count
      // A stretch of several is never longer than an operation; what a handler takes it is to get whole if that is possible.
      let isWhole = stretch.isCombined || (stretch.range.count <= blockByteCount && isForHandler(stretch))
      let end = isWhole ? stretch.range.end : min(stretch.range.end, limit)
      if index > row.lowerBound, end > limit || segmentCount > ReadDestination.mostSegments { break }
      reached = (index, end)
      if end >= limit { break }
    }
    return reached
  }

  package func warmParts(of operation: ReadOperation) -> [ReadOperation] {
    stretches[operation.token].parts.map { index in
      // The tokens of these are told from the others by their sign.
      self.operation(warmStretches[index], warmStretches[index].range, token: ~index)
    }
  }

  package func directParts(of operation: ReadOperation) -> [ReadOperation] {
    // The token is the first of the stretches that the operation is of.
    stretches[operation.token...].enumerated().lazy
      .prefix { $0.element.file == operation.file && $0.element.range.offset < operation.range.end }
      .compactMap { position, stretch in
        stretch.range.intersection(operation.range).map { range in
          self.operation(stretch, range, token: operation.token + position)
        }
      }
  }

  private func operation(_ stretch: Stretch, _ range: ByteRange, token: Int) -> ReadOperation {
    var operation = ReadOperation(
      file: stretch.file, range: range, destination: destination(of: stretch, range), token: token,
      extentByteCount: stretch.range.count,
      wantedByteCount: stretch.isCombined ? stretch.wantedByteCount : range.count)
    operation.hasWarmParts = stretch.isCombined && token >= 0
    return operation
  }

  /// An operation of several stretches that lie in memories of their own.
  private func vectoredOperation(_ row: ClosedRange<Int>, _ range: ByteRange) -> ReadOperation {
    var segments: [MemorySegment] = []
    for request in requests[
      stretches[row.lowerBound].requests.lowerBound..<stretches[row.upperBound].requests.upperBound]
    {
      guard case .memory(let memory) = request.target, let part = request.range.intersection(range) else {
        preconditionFailure("what is read in a row goes to memories")
      }
      unsafe segments.append(
        MemorySegment(address: memory + (part.offset - request.range.offset), byteCount: part.count))
    }
    // It is read directly where one of its stretches would be.
    return ReadOperation(
      file: stretches[row.lowerBound].file, range: range, destination: .memories(segments),
      token: row.lowerBound, extentByteCount: stretches[row].reduce(0) { max($0, $1.range.count) })
  }

  private func isForHandler(_ stretch: Stretch) -> Bool {
    let first = stretch.requests.lowerBound
    if case .handler = requests[first].target { return true }
    guard let others = twins[first] else { return false }
    return others.contains { if case .handler = $0 { true } else { false } }
  }

  private func destination(of stretch: Stretch, _ range: ByteRange) -> ReadDestination {
    guard stretch.requests.count == 1, case .memory(let memory) = requests[stretch.requests.lowerBound].target
    else { return .slot }
    return unsafe .memory(memory + (range.offset - stretch.range.offset))
  }

  package func completed(_ operation: ReadOperation, _ bytes: UnsafeRawBufferPointer) throws(GraftError) {
    // What is read in a row has no twins.
    if case .memories = operation.destination { return }
    let stretch = operation.token >= 0 ? stretches[operation.token] : warmStretches[~operation.token]
    guard case .slot = operation.destination else {
      let first = stretch.requests.lowerBound
      for twin in twins[first] ?? [] {
        unsafe try deliver(bytes, operation.range, of: requests[first].range, to: twin)
      }
      return
    }
    if stretch.isCombined { combined.add(stretch.requests.count, ordering: .relaxed) }
    for index in stretch.requests {
      let request = requests[index]
      // One request may come in several blocks; several requests come in one.
      guard let part = request.range.intersection(operation.range) else { continue }
      let piece = unsafe UnsafeRawBufferPointer(
        rebasing: bytes[(part.offset - operation.range.offset)..<(part.end - operation.range.offset)])
      unsafe try deliver(piece, part, of: request.range, to: request.target)
      for twin in twins[index] ?? [] { unsafe try deliver(piece, part, of: request.range, to: twin) }
    }
  }

  /// Takes a part of a request's bytes to where they go.
  private func deliver(
    _ bytes: UnsafeRawBufferPointer, _ part: ByteRange, of range: ByteRange, to target: ReadTarget
  ) throws(GraftError) {
    switch target {
    case .memory(let memory):
      unsafe UnsafeMutableRawBufferPointer(start: memory + (part.offset - range.offset), count: part.count)
        .copyMemory(from: bytes)
    case .handler(let token): unsafe try handler?(token, part, bytes)
    }
  }

  // MARK: what is read together

  /// Joins requests that meet in the file and in memory, and those of the same range.
  private static func merge(_ sorted: [ReadRequest]) -> (requests: [ReadRequest], twins: [Int: [ReadTarget]])
  {
    var merged: [ReadRequest] = []
    var twins: [Int: [ReadTarget]] = [:]
    merged.reserveCapacity(sorted.count)
    for (position, request) in sorted.enumerated() {
      if let last = merged.last, last.file == request.file, last.range == request.range {
        // What goes straight into place is read, and copied from there.
        var other = request.target
        if case .handler = last.target, case .memory = request.target {
          swap(&merged[merged.count - 1].target, &other)
        }
        twins[merged.count - 1, default: []].append(other)
        continue
      }
      // One that has a twin stays as it is, so that both get the same bytes.
      let hasTwin =
        position + 1 < sorted.count && sorted[position + 1].range == request.range
        && sorted[position + 1].file == request.file
      if !hasTwin, twins[merged.count - 1] == nil, let last = merged.last, last.file == request.file,
        last.range.end == request.range.offset,
        case .memory(let before) = last.target, case .memory(let memory) = request.target,
        unsafe before + last.range.count == memory
      {
        merged[merged.count - 1].range = ByteRange(
          offset: last.range.offset, count: last.range.count + request.range.count)
      } else {
        merged.append(request)
      }
    }
    return (merged, twins)
  }

  /// Puts near neighbours together where the rule, the length of an operation and the factor permit.
  private static func combine(
    _ units: [Stretch], _ rule: Rule, _ factor: Double
  ) -> [Stretch] {
    var stretches: [Stretch] = []
    for (index, unit) in units.enumerated() {
      if var stretch = stretches.last, stretch.file == unit.file,
        max(stretch.largestRequestByteCount, unit.largestRequestByteCount) <= rule.requestByteCount
      {
        let end = max(stretch.range.end, unit.range.end)
        let byteCount = end - stretch.range.offset
        // Of a unit that overlaps, what is not in the stretch yet.
        let overlap = max(0, min(stretch.range.end, unit.range.end) - unit.range.offset)
        let wanted = stretch.wantedByteCount + max(0, unit.wantedByteCount - overlap)
        if unit.range.offset - stretch.range.end <= rule.gapByteCount, byteCount <= rule.stretchByteCount,
          Double(byteCount) <= factor * Double(wanted)
        {
          stretch.requests = stretch.requests.lowerBound..<unit.requests.upperBound
          stretch.parts = stretch.parts.lowerBound..<(index + 1)
          stretch.range = ByteRange(offset: stretch.range.offset, count: byteCount)
          stretch.wantedByteCount = wanted
          stretch.largestRequestByteCount = max(stretch.largestRequestByteCount, unit.largestRequestByteCount)
          stretches[stretches.count - 1] = stretch
          continue
        }
      }
      var stretch = unit
      stretch.parts = index..<(index + 1)
      stretches.append(stretch)
    }
    return stretches
  }

  /// Puts those in a row that are read from one into the next.
  private static func rows(
    of stretches: [Stretch], _ requests: [ReadRequest], _ twins: [Int: [ReadTarget]]
  ) -> [Range<Int>] {
    var rows: [Range<Int>] = []
    var mayGoOn = false
    for (index, stretch) in stretches.enumerated() {
      let isForMemory = isForMemory(stretch, requests, twins)
      if mayGoOn, isForMemory, let row = rows.last, stretches[index - 1].file == stretch.file,
        stretches[index - 1].range.end == stretch.range.offset
      {
        rows[rows.count - 1] = row.lowerBound..<(index + 1)
      } else {
        rows.append(index..<(index + 1))
      }
      mayGoOn = isForMemory
    }
    return rows
  }

  /// Whether all of a stretch goes to a few memories, each byte to one: no gap, no handler, no twin.
  private static func isForMemory(
    _ stretch: Stretch, _ requests: [ReadRequest], _ twins: [Int: [ReadTarget]]
  ) -> Bool {
    // Beside others it is one too few; what is more comes through a slot, in one read.
    guard stretch.requests.count < ReadDestination.mostSegments else { return false }
    var end = stretch.range.offset
    for index in stretch.requests {
      guard case .memory = requests[index].target, twins[index] == nil, requests[index].range.offset == end
      else { return false }
      end = requests[index].range.end
    }
    return true
  }
}

extension ReadEngine {
  /// Reads all requests; see ``ReadBatch`` for how, and ``run(_:files:tuning:progress:)`` for what it throws.
  ///
  /// - Returns: What was done. ``ReadStatistics/bytesWanted`` counts bytes that two requests want once where they are
  ///   read once.
  package func read(
    _ requests: [ReadRequest], files: [File], tuning: Tuning = Tuning(), pages: PagesOnDemand? = nil,
    progress: ReadProgress? = nil, handler: ReadHandler? = nil
  ) async throws(GraftError) -> ReadStatistics {
    let batch = unsafe try ReadBatch(requests, tuning: tuning, pages: pages, handler: handler)
    var statistics = try await run(batch, files: files, tuning: tuning, progress: progress)
    statistics.coalescedCount = batch.coalescedCount
    return statistics
  }
}
