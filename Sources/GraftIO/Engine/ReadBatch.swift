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
/// - Small ones with little between them are read into a slot at once, gaps and all, and copied to their targets. The
///   tuning bounds the gap and how much more may be read than is wanted.
/// - Large ones are cut at multiples of the block size in the file, so that direct I/O's alignment concerns only their ends.
@safe package final class ReadBatch: ReadWork {
  /// What is read as a unit: one request, or several small ones of one file.
  private struct Stretch {
    /// The positions in ``requests``.
    var requests: Range<Int>
    var file: Int
    var range: ByteRange
    /// How many of the range's bytes somebody wants.
    var wantedByteCount: Int
  }

  /// Sorted by file and offset.
  private let requests: [ReadRequest]
  private let stretches: [Stretch]
  private let handler: ReadHandler?
  private let blockByteCount: Int
  private let cursor = Mutex((stretch: 0, position: 0))

  /// Requests, after those that meet are joined, that are read together with a neighbour.
  package let coalescedCount: Int

  /// A larger request gains nothing from its neighbours, and costs a copy out of the slot.
  static let coalescedRequestByteCount = 128 << 10

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
    let merged = Self.merge(sorted)
    self.requests = merged
    stretches = Self.coalesce(merged, layout: layout, tuning: tuning)
    coalescedCount = stretches.reduce(0) { $1.requests.count > 1 ? $0 + $1.requests.count : $0 }
  }

  package func next() -> ReadOperation? {
    cursor.withLock { cursor in
      guard cursor.stretch < stretches.count else { return nil }
      let index = cursor.stretch
      let stretch = stretches[index]
      let isTogether = stretch.requests.count > 1
      let offset = stretch.range.offset + cursor.position
      // A stretch of several is never longer than an operation; what a handler takes it is to get whole if that is possible.
      let isWhole = isTogether || (stretch.range.count <= blockByteCount && isForHandler(stretch))
      let toCut = isWhole ? stretch.range.count : blockByteCount - offset % blockByteCount
      let end = offset + min(toCut, stretch.range.end - offset)
      if end == stretch.range.end { cursor = (index + 1, 0) } else { cursor.position += end - offset }
      let range = ByteRange(offset: offset, count: end - offset)
      return ReadOperation(
        file: stretch.file, range: range, destination: destination(of: stretch, range), token: index,
        extentByteCount: stretch.range.count,
        wantedByteCount: isTogether ? stretch.wantedByteCount : range.count)
    }
  }

  private func isForHandler(_ stretch: Stretch) -> Bool {
    if case .handler = requests[stretch.requests.lowerBound].target { true } else { false }
  }

  private func destination(of stretch: Stretch, _ range: ByteRange) -> ReadDestination {
    guard stretch.requests.count == 1, case .memory(let memory) = requests[stretch.requests.lowerBound].target
    else { return .slot }
    return unsafe .memory(memory + (range.offset - stretch.range.offset))
  }

  package func completed(_ operation: ReadOperation, _ bytes: UnsafeRawBufferPointer) throws(GraftError) {
    guard case .slot = operation.destination else { return }
    let stretch = stretches[operation.token]
    for index in stretch.requests {
      let request = requests[index]
      // One request may come in several blocks; several requests come in one.
      guard let part = request.range.intersection(operation.range) else { continue }
      let piece = unsafe UnsafeRawBufferPointer(
        rebasing: bytes[(part.offset - operation.range.offset)..<(part.end - operation.range.offset)])
      switch request.target {
      case .memory(let memory):
        unsafe UnsafeMutableRawBufferPointer(start: memory, count: part.count).copyMemory(from: piece)
      case .handler(let token):
        unsafe try handler?(token, part, piece)
      }
    }
  }

  // MARK: what is read together

  /// Joins requests that meet in the file and in memory.
  private static func merge(_ sorted: [ReadRequest]) -> [ReadRequest] {
    var merged: [ReadRequest] = []
    merged.reserveCapacity(sorted.count)
    for request in sorted {
      if let last = merged.last, last.file == request.file, last.range.end == request.range.offset,
        case .memory(let before) = last.target, case .memory(let memory) = request.target,
        unsafe before + last.range.count == memory
      {
        merged[merged.count - 1].range = ByteRange(
          offset: last.range.offset, count: last.range.count + request.range.count)
      } else {
        merged.append(request)
      }
    }
    return merged
  }

  private static func coalesce(
    _ requests: [ReadRequest], layout: StagingLayout, tuning: Tuning
  ) -> [Stretch] {
    let gapLimit = max(0, tuning.coalescingGapByteCount)
    let factor = max(1, tuning.overReadFactor)
    var stretches: [Stretch] = []
    for (index, request) in requests.enumerated() {
      if var stretch = stretches.last, stretch.file == request.file,
        stretch.range.count <= layout.operationByteCount, request.range.count <= coalescedRequestByteCount,
        requests[stretch.requests.upperBound - 1].range.count <= coalescedRequestByteCount
      {
        let end = max(stretch.range.end, request.range.end)
        let byteCount = end - stretch.range.offset
        let wanted = stretch.wantedByteCount + max(0, end - max(stretch.range.end, request.range.offset))
        if request.range.offset - stretch.range.end <= gapLimit, byteCount <= layout.operationByteCount,
          Double(byteCount) <= factor * Double(wanted)
        {
          stretch.requests = stretch.requests.lowerBound..<(index + 1)
          stretch.range = ByteRange(offset: stretch.range.offset, count: byteCount)
          stretch.wantedByteCount = wanted
          stretches[stretches.count - 1] = stretch
          continue
        }
      }
      stretches.append(
        Stretch(
          requests: index..<(index + 1), file: request.file, range: request.range,
          wantedByteCount: request.range.count))
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
