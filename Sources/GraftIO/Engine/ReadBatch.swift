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
  private let handler: ReadHandler?
  private let blockByteCount: Int
  private let cursor = Mutex((stretch: 0, position: 0))
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
  /// - Parameter handler: Takes the bytes of requests whose target it is.
  /// - Throws: `invalidArgument` for settings that make no sense.
  package init(
    _ requests: [ReadRequest], tuning: Tuning, handler: ReadHandler? = nil
  ) throws(GraftError) {
    let layout = try StagingLayout(tuning)
    blockByteCount = layout.operationByteCount
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
  }

  /// Requests, after those that meet are joined, that were read together with a neighbour until now.
  package var coalescedCount: Int { combined.load(ordering: .relaxed) }

  package func next() -> ReadOperation? {
    cursor.withLock { cursor in
      guard cursor.stretch < stretches.count else { return nil }
      let index = cursor.stretch
      let stretch = stretches[index]
      let offset = stretch.range.offset + cursor.position
      // A stretch of several is never longer than an operation; what a handler takes it is to get whole if that is possible.
      let isWhole = stretch.isCombined || (stretch.range.count <= blockByteCount && isForHandler(stretch))
      let toCut = isWhole ? stretch.range.count : blockByteCount - offset % blockByteCount
      let end = offset + min(toCut, stretch.range.end - offset)
      if end == stretch.range.end { cursor = (index + 1, 0) } else { cursor.position += end - offset }
      return operation(stretch, ByteRange(offset: offset, count: end - offset), token: index)
    }
  }

  package func warmParts(of operation: ReadOperation) -> [ReadOperation] {
    stretches[operation.token].parts.map { index in
      // The tokens of these are told from the others by their sign.
      self.operation(warmStretches[index], warmStretches[index].range, token: ~index)
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
}

extension ReadEngine {
  /// Reads all requests; see ``ReadBatch`` for how, and ``run(_:files:tuning:progress:)`` for what it throws.
  ///
  /// - Returns: What was done. ``ReadStatistics/bytesWanted`` counts bytes that two requests want once where they are
  ///   read once.
  package func read(
    _ requests: [ReadRequest], files: [File], tuning: Tuning = Tuning(), progress: ReadProgress? = nil,
    handler: ReadHandler? = nil
  ) async throws(GraftError) -> ReadStatistics {
    let batch = unsafe try ReadBatch(requests, tuning: tuning, handler: handler)
    var statistics = try await run(batch, files: files, tuning: tuning, progress: progress)
    statistics.coalescedCount = batch.coalescedCount
    return statistics
  }
}
