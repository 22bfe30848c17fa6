internal import Glibc
internal import GraftCore

/// Serves one share of a run on one thread: pulls operations, turns each into reads that the kernel can do, keeps a
/// queue full of them, and completes operations whose bytes are in place.
///
/// An operation needs several reads when one falls short, when it is longer than a read through the cache may be, or
/// when direct I/O's alignment cuts off its ends. An operation has one read in flight at a time; `position` says how far
/// it has come, so that every continuation, retry and change of mode starts from the same fact.
@safe final class ReadWorker {
  private(set) var statistics = ReadStatistics()

  private let run: ReadRun
  private let share: ReadShare
  private var entries: [Entry?] = []
  private var freeEntries: [Int] = []
  private var freeSlots: [Int] = []
  private var arenaBase: UnsafeMutableRawPointer?
  /// Entries whose next read is to be prepared.
  private var unissued: [Int] = []
  /// Reads that are prepared or in flight.
  private var issuedCount = 0
  /// Bytes that are prepared and not submitted.
  private var preparedByteCount = 0
  /// Operations that were pulled and are not begun, the next one last: one that waits for a slot, and parts of one.
  private var pending: [ReadOperation] = []
  private var isExhausted = false
  private var isDraining = false
  /// Whether other threads may be brought in: a ring needs none, and they use the slots that a ring would.
  private var mayAddHelpers = false
  private var residency = ResidencyView()
  /// For each entry, the pieces of memory of its read in flight, where that has several.
  private var segments: UnsafeMutablePointer<iovec>?

  /// How an operation's bytes come.
  private enum Mode {
    var isDirect: Bool {
      switch self {
      case .buffered: false
      case .directInPlace, .directStaged: true
      }
    }

    /// Through the page cache, into place.
    case buffered
    /// Around it, into place, the unaligned ends through an edge.
    case directInPlace(DirectFile)
    /// Around it, rounded out to its alignment, into a slot.
    case directStaged(DirectFile)
  }

  /// An operation that has been begun.
  @safe private struct Entry {
    let operation: ReadOperation
    var mode: Mode
    /// Where the byte at the operation's offset goes, in its destination or a slot, and those behind it unless it has
    /// several memories.
    var base: UnsafeMutableRawPointer
    var slot: Int?
    /// The offset in the file up to which all is in place.
    var position: Int
    var isAsynchronous: Bool
    /// Attempts since the last progress.
    var attemptCount = 0
    /// The read in flight.
    var read: (offset: Int, byteCount: Int, isEdge: Bool) = (0, 0, false)

    var range: ByteRange { operation.range }
    var isDirect: Bool { mode.isDirect }
  }

  /// A submission of small reads is shared by this many bytes of them; larger reads are submitted each at once, so that
  /// a copy out of the page cache is handled while it is still in the processor's cache.
  private static let submissionByteCount = 256 << 10
  /// How much shorter than others a stretch of several requests may be that is read directly.
  ///
  /// Direct reads of 128 KiB come to 1.8 GiB/s where buffered ones of any size come to 1.1, and take a tenth of their processor
  /// time (two cores, virtual NVMe disk, sixteen in flight).
  private static let combinedDirectDivisor = 8
  /// Attempts at a read that the kernel keeps refusing to do now, most of them a millisecond apart.
  private static let attemptLimit = 1000
  private static let promptAttemptCount = 16

  init(_ run: ReadRun, _ share: ReadShare) {
    self.run = run
    self.share = share
  }

  deinit {
    // Whoever has served to the end, or abandoned the queue, has no read in flight.
    unsafe segments?.deallocate()
  }

  // MARK: the loop

  /// Works until nothing is left to pull and nothing is in flight.
  ///
  /// - Returns: The failure of a queue that takes no more reads. The queue is done with then, and what had been begun
  ///   goes on when this is called with another.
  func serve(_ queue: any ReadQueue) -> SystemCallFailure? {
    prepareTables(for: queue)
    while true {
      if !isDraining, run.isStopped { drain() }
      fill(queue)
      if issuedCount == 0 {
        // Without a read in flight every slot is free, so nothing is pending either.
        if unissued.isEmpty && (isExhausted || isDraining) { return nil }
        continue
      }
      if let completion = queue.nextCompletion() {
        complete(completion)
        if preparedByteCount < Self.submissionByteCount { continue }
      }
      let mayGoOn = preparedByteCount >= Self.submissionByteCount
      preparedByteCount = 0
      do throws(SystemCallFailure) {
        try queue.submit(waiting: !mayGoOn)
      } catch {
        abandon(queue)
        return error
      }
    }
  }

  private func prepareTables(for queue: any ReadQueue) {
    let isBlocking = queue.isBlocking
    // After a failed ring the reads go on one at a time, in the tables and slots that are there.
    guard entries.isEmpty else { return }
    let entryCount = isBlocking ? 1 : min(queue.capacity, run.layout.depth)
    entries = Array(repeating: nil, count: entryCount)
    freeEntries = Array((0..<entryCount).reversed())
    // A worker without a ring leaves its other slots to its helpers.
    freeSlots = isBlocking ? [share.helper] : Array((0..<run.layout.slotsPerWorker).reversed())
    mayAddHelpers = isBlocking && share.helper == 0
  }

  /// Prepares reads until the queue is full, enough for a submission is prepared, or there is nothing to prepare.
  private func fill(_ queue: any ReadQueue) {
    while issuedCount < queue.capacity, preparedByteCount < Self.submissionByteCount {
      if let index = unissued.popLast() {
        issue(index, on: queue)
        continue
      }
      if isDraining || isExhausted && pending.isEmpty || freeEntries.isEmpty { return }
      let waiting = pending.popLast()
      guard let operation = waiting ?? run.work.next() else {
        isExhausted = true
        return
      }
      do throws(GraftError) {
        if waiting == nil { try run.work.prepare(operation) }
        if try !begin(operation) {
          pending.append(operation)
          return
        }
      } catch {
        run.fail(error)
        drain()
      }
    }
  }

  /// Pulls no more, and lets go of what has no read in flight.
  private func drain() {
    isDraining = true
    pending = []
    for index in unissued { release(index) }
    unissued.removeAll()
  }

  private func abandon(_ queue: any ReadQueue) {
    let unsubmitted = queue.abandon()
    issuedCount -= unsubmitted.count
    unissued += unsubmitted
    while let completion = queue.nextCompletion() { complete(completion) }
    preparedByteCount = 0
  }

  // MARK: an operation's life

  /// Begins an operation; false when it has to wait for a slot.
  private func begin(_ operation: ReadOperation) throws(GraftError) -> Bool {
    let range = operation.range
    guard run.files.files.indices.contains(operation.file), range.count <= run.layout.operationByteCount
    else {
      throw GraftError(
        .invalidArgument, "a read operation is out of bounds", range: range,
        expected:
          "at most \(run.layout.operationByteCount) bytes of one of \(run.files.files.count) files",
        found: "\(range.count) bytes of file \(operation.file)")
    }
    let file = run.files.files[operation.file]
    guard range.end <= file.byteCount else {
      throw GraftError.truncated(file: file.path, range: range, byteCount: file.byteCount)
    }
    if range.isEmpty {
      unsafe try finish(operation, UnsafeRawBufferPointer(start: nil, count: 0))
      return true
    }
    let (mode, warmth) = chooseMode(operation)
    if warmth == .warm, operation.hasWarmParts {
      pending += run.work.warmParts(of: operation).reversed()
      return true
    }
    if mode.isDirect, case .memories = operation.destination {
      pending += run.work.directParts(of: operation).reversed()
      return true
    }
    let isWaiting = warmth != .warm
    if isWaiting, mayAddHelpers {
      mayAddHelpers = false
      run.addHelpers(of: share.worker)
    }
    return try begin(operation, mode, isAsynchronous: isWaiting)
  }

  private func begin(
    _ operation: ReadOperation, _ mode: Mode, isAsynchronous: Bool
  ) throws(GraftError) -> Bool {
    let slot: Int?
    let base: UnsafeMutableRawPointer
    switch (mode, operation.destination) {
    case (.buffered, .memory(let memory)), (.directInPlace, .memory(let memory)):
      slot = nil
      unsafe base = memory
    case (_, .memories(let segments)):
      precondition(
        !mode.isDirect && (1...ReadDestination.mostSegments).contains(segments.count)
          && segments.reduce(0) { $0 + $1.byteCount } == operation.range.count,
        "a read fills a few memories exactly, and only through the cache")
      slot = nil
      unsafe base = segments[0].address
    case (.directStaged(let file), _):
      guard let free = freeSlots.popLast() else { return false }
      slot = free
      unsafe base = try slotBase(free) + operation.range.offset % file.alignment
    case (.buffered, .slot), (.directInPlace, .slot):
      guard let free = freeSlots.popLast() else { return false }
      slot = free
      unsafe base = try slotBase(free)
    }
    guard let index = freeEntries.popLast() else { preconditionFailure("begun only with an entry free") }
    var entry = unsafe Entry(
      operation: operation, mode: mode, base: base, slot: slot, position: operation.range.offset,
      isAsynchronous: isAsynchronous)
    if case .directInPlace = mode { _ = unsafe try arena() }  // for the edges
    if case .directStaged(let file) = mode {
      entry.position = operation.range.offset / file.alignment * file.alignment
    }
    entries[index] = entry
    unissued.append(index)
    return true
  }

  private func chooseMode(_ operation: ReadOperation) -> (Mode, Warmth) {
    let tuning = run.tuning
    // What is read together lies in a slot in any case, and most of what the page cache would get is of no use to anybody.
    let isLarge =
      operation.extentByteCount
      >= tuning.directMinimumByteCount / (operation.hasWarmParts ? Self.combinedDirectDivisor : 1)
    switch tuning.access {
    case .buffered:
      // A thread that reads by itself copies or waits without being told; only helpers and rings have to know.
      return (.buffered, warmth(of: operation))
    case .direct:
      guard let file = run.files.direct(operation.file) else { return (.buffered, warmth(of: operation)) }
      return (direct(operation, file), .cold)
    case .automatic:
      let warmth = warmth(of: operation)
      guard warmth == .cold, isLarge, let file = run.files.direct(operation.file) else {
        return (.buffered, warmth)
      }
      return (direct(operation, file), warmth)
    }
  }

  private func warmth(of operation: ReadOperation) -> Warmth {
    residency.warmth(of: operation, in: run.files, kernel: run.kernel)
  }

  private func direct(_ operation: ReadOperation, _ file: DirectFile) -> Mode {
    switch operation.destination {
    case .slot, .memories: return .directStaged(file)
    case .memory(let memory):
      let difference = Int(bitPattern: memory) &- operation.range.offset
      let isCongruent = difference & (file.alignment - 1) == 0
      // What lies within one or two units has no middle that could go straight into place.
      return isCongruent && operation.range.count >= 2 * file.alignment
        ? .directInPlace(file) : .directStaged(file)
    }
  }

  /// Prepares the entry's next read.
  private func issue(_ index: Int, on queue: any ReadQueue) {
    guard var entry = entries[index] else { preconditionFailure("an unissued entry is begun") }
    let position = entry.position
    let end = entry.range.end
    let descriptor: CInt
    let address: UnsafeMutableRawPointer
    var segments: UnsafeBufferPointer<iovec>?
    switch entry.mode {
    case .buffered:
      descriptor = run.files.files[entry.operation.file].rawDescriptor
      entry.read = (position, min(end - position, run.layout.bufferedReadByteCount), false)
      if case .memories(let memories) = entry.operation.destination {
        let part = position - entry.range.offset
        let list = unsafe list(memories, part..<(part + entry.read.byteCount), of: index)
        unsafe address = list[0].iov_base
        unsafe segments = list.count > 1 ? list : nil
      } else {
        unsafe address = entry.base + (position - entry.range.offset)
      }
    case .directInPlace(let file):
      descriptor = file.descriptor.rawValue
      let unit = file.alignment
      let lead = position & (unit - 1)
      if lead != 0 || end - position < unit {
        entry.read = (position - lead, unit, true)
        unsafe address = edgeBase(index)
      } else {
        entry.read = (position, (end - position) & ~(unit - 1), false)
        unsafe address = entry.base + (position - entry.range.offset)
      }
    case .directStaged(let file):
      descriptor = file.descriptor.rawValue
      let unit = file.alignment
      let roundedEnd = (end + unit - 1) & ~(unit - 1)
      entry.read = (position, roundedEnd - position, false)
      unsafe address = entry.base + (position - entry.range.offset)
    }
    entries[index] = entry
    let read = unsafe KernelRead(
      descriptor: descriptor, address: address, byteCount: entry.read.byteCount, offset: entry.read.offset,
      tag: index, isAsynchronous: entry.isAsynchronous && !entry.isDirect || entry.attemptCount > 0,
      segments: segments)
    queue.prepare(read)
    issuedCount += 1
    preparedByteCount += read.byteCount
  }

  private func complete(_ completion: KernelCompletion) {
    issuedCount -= 1
    let index = completion.tag
    guard var entry = entries[index] else { preconditionFailure("a completed entry is begun") }
    if isDraining {
      release(index)
      return
    }
    let result = completion.result
    if result < 0 {
      recover(index, errorNumber: CInt(clamping: -result))
      return
    }
    let newPosition = takeIn(result, index, entry)
    statistics.requestCount += 1
    statistics.bytesRead += result
    if entry.isDirect { statistics.directByteCount += result } else { statistics.bufferedByteCount += result }
    guard newPosition > entry.position else {
      // A direct read that stops short of a whole unit brings nothing, and only at the file's end is it bound to.
      if result > 0, currentByteCount(entry) >= entry.range.end {
        postpone(index, entry, SystemCallFailure("read", EAGAIN))
      } else {
        fail(index, endError(entry))
      }
      return
    }
    if newPosition < entry.range.end, result < entry.read.byteCount { statistics.retryCount += 1 }
    entry.position = newPosition
    entry.attemptCount = 0
    entries[index] = entry
    if newPosition < entry.range.end {
      unissued.append(index)
    } else {
      finish(index, entry)
    }
  }

  /// Puts what a read brought in place; the position up to which all is in place then, not beyond the range's end.
  private func takeIn(_ byteCount: Int, _ index: Int, _ entry: Entry) -> Int {
    let reached = entry.read.offset + byteCount
    let end = entry.range.end
    switch entry.mode {
    case .buffered:
      return min(reached, end)
    case .directStaged(let file):
      // A short read may stop anywhere; the next one begins at a multiple of the unit again.
      return reached >= end ? end : reached & ~(file.alignment - 1)
    case .directInPlace:
      guard entry.read.isEdge else { return reached }
      let upTo = min(reached, end)
      guard upTo > entry.position else { return entry.position }
      // The edge holds a unit that begins at or before the position; its bytes up to the end belong to the destination.
      let source = unsafe edgeBase(index) + (entry.position - entry.read.offset)
      let destination = unsafe entry.base + (entry.position - entry.range.offset)
      unsafe destination.copyMemory(from: source, byteCount: upTo - entry.position)
      statistics.bouncedByteCount += upTo - entry.position
      return upTo
    }
  }

  /// Reads again what was interrupted, and through the cache what cannot be read directly; other failures end the run.
  private func recover(_ index: Int, errorNumber: CInt) {
    guard let entry = entries[index] else { preconditionFailure("a completed entry is begun") }
    let failure = SystemCallFailure("read", errorNumber)
    switch errorNumber {
    case EINTR, EAGAIN:
      postpone(index, entry, failure)
    case EINVAL where entry.isDirect, EOPNOTSUPP where entry.isDirect:
      // The file system took the flag and does not do what it stands for, at least for this memory.
      run.files.refuseDirect(entry.operation.file, failure)
      statistics.retryCount += 1
      release(index)
      do throws(GraftError) {
        let isBegun = try begin(entry.operation, .buffered, isAsynchronous: true)
        precondition(isBegun, "the slot and entry that were just released are free")
      } catch {
        run.fail(error)
        drain()
      }
    default:
      fail(index, readError(entry, failure))
    }
  }

  /// Reads again what brought nothing, a bounded number of times.
  private func postpone(_ index: Int, _ entry: Entry, _ failure: SystemCallFailure) {
    var entry = entry
    entry.attemptCount += 1
    guard entry.attemptCount <= Self.attemptLimit else {
      fail(index, readError(entry, failure))
      return
    }
    if entry.attemptCount > Self.promptAttemptCount { usleep(1000) }
    statistics.retryCount += 1
    entries[index] = entry
    unissued.append(index)
  }

  /// Completes an operation whose bytes are in place.
  private func finish(_ index: Int, _ entry: Entry) {
    let operation = entry.operation
    var start = unsafe entry.base
    if case .directStaged = entry.mode, case .memory(let memory) = operation.destination {
      unsafe memory.copyMemory(from: start, byteCount: operation.range.count)
      statistics.bouncedByteCount += operation.range.count
      unsafe start = memory
    }
    var byteCount = operation.range.count
    if case .memories = operation.destination { byteCount = 0 }
    do throws(GraftError) {
      unsafe try finish(operation, UnsafeRawBufferPointer(start: start, count: byteCount))
      release(index)
    } catch {
      fail(index, error)
    }
  }

  private func finish(_ operation: ReadOperation, _ bytes: UnsafeRawBufferPointer) throws(GraftError) {
    unsafe try run.work.completed(operation, bytes)
    statistics.bytesWanted += operation.wantedByteCount
    run.progress?.add(operation.wantedByteCount)
  }

  private func fail(_ index: Int, _ error: GraftError) {
    release(index)
    run.fail(error)
    drain()
  }

  private func release(_ index: Int) {
    if let slot = entries[index]?.slot { freeSlots.append(slot) }
    entries[index] = nil
    freeEntries.append(index)
  }

  // MARK: memory and errors

  private func slotBase(_ slot: Int) throws(GraftError) -> UnsafeMutableRawPointer {
    unsafe try arena() + run.layout.slotOffset(worker: share.worker, slot: slot)
  }

  /// Where an entry's edge is.
  ///
  /// A helper has one entry, and the worker's edge of its own number.
  private func edgeBase(_ index: Int) -> UnsafeMutableRawPointer {
    guard let arenaBase = unsafe arenaBase else {
      preconditionFailure("whoever reads by edges has the arena")
    }
    return unsafe arenaBase + run.layout.edgeOffset(worker: share.worker, entry: share.helper + index)
  }

  /// Lists which pieces of these memories a part of an entry's bytes goes to, for the kernel, until the entry's next read.
  ///
  /// - Parameter part: The bytes, counted from the operation's first.
  private func list(
    _ memories: [MemorySegment], _ part: Range<Int>, of index: Int
  ) -> UnsafeBufferPointer<iovec> {
    let most = ReadDestination.mostSegments
    let all = unsafe segments ?? .allocate(capacity: entries.count * most)
    unsafe segments = all
    let list = unsafe all + index * most
    var count = 0
    var start = 0
    for memory in memories {
      let piece = part.clamped(to: start..<(start + memory.byteCount))
      if !piece.isEmpty {
        unsafe (list + count).initialize(
          to: iovec(iov_base: memory.address + (piece.lowerBound - start), iov_len: piece.count))
        count += 1
      }
      start += memory.byteCount
    }
    return unsafe UnsafeBufferPointer(start: list, count: count)
  }

  private func arena() throws(GraftError) -> UnsafeMutableRawPointer {
    if let arenaBase = unsafe arenaBase { return unsafe arenaBase }
    // The run keeps the arena until its last share is done.
    let base = try unsafe run.arena().base
    unsafe arenaBase = base
    return unsafe base
  }

  private func readError(_ entry: Entry, _ failure: SystemCallFailure) -> GraftError {
    let file = run.files.files[entry.operation.file]
    return GraftError(.read, failure, file: file.path, range: entry.range)
  }

  /// The error for a file that ended although its size at opening had promised the bytes.
  private func endError(_ entry: Entry) -> GraftError {
    let file = run.files.files[entry.operation.file]
    let now = currentByteCount(entry)
    guard now < entry.range.end else {
      return GraftError.truncated(file: file.path, range: entry.range, byteCount: entry.position)
    }
    var error = GraftError.changed("\(now) bytes instead of \(file.byteCount)", file: file.path)
    error.range = entry.range
    return error
  }

  /// How long the entry's file is now; as long as it was when nobody can tell.
  private func currentByteCount(_ entry: Entry) -> Int {
    let file = run.files.files[entry.operation.file]
    let now = try? FileStatus(of: file.descriptor, path: file.path)
    return now?.byteCount ?? file.byteCount
  }
}
