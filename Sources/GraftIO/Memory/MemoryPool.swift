// Memory for results, kept for the next one.
//
// The first touch of fresh memory costs more than reading a file that is in the page cache: 0.6 to 3 GiB/s with small
// pages, against 14 for the read (two cores, Zen 4 guest, Linux 6.18; reference: docs/measurements.md). So a pool maps
// *slabs* aligned to huge pages, cuts *extents* from them, and keeps what comes back mapped for the next load, up to a
// limit that the user sets. Slabs are made of *pieces* of 2 MiB, and the pool remembers of each whether it was touched.
//
//   slab    |piece|piece|piece|piece|piece|…
//   extents |--a--|-free-|----b----|--free--…
//
// One mutex guards all of it. What takes long (mapping, unmapping, populating) is done outside of it.

internal import Glibc
package import GraftCore
internal import Synchronization

/// Owns destination memory for loads, in huge pages unless its options decline them, kept and reused.
package final class MemoryPool: Sendable {
  /// What a pool does with memory.
  package struct Options: Hashable, Sendable {
    /// The most free memory that stays mapped for reuse, in bytes.
    ///
    /// A quarter of the machine's memory by default: enough for a model that is loaded again and again, and little enough
    /// that a program which loads once and then needs memory for other things still gets it. 0 keeps nothing.
    package var retentionByteCount = ProcessMemory.physicalByteCount / 4
    /// Whether slabs ask for huge pages.
    package var hugePages = true
    /// The smallest slab that is mapped, in bytes; what no extent uses of it costs addresses, not memory.
    package var slabByteCount = 64 << 20
    /// Extents of fewer bytes come from the heap instead, which is made for many small things.
    package var heapThresholdByteCount = 64 << 10
    /// What is left to the rest of the process and machine when a result is checked against the available memory, in bytes.
    package var headroomByteCount = 128 << 20

    /// The default options.
    package init() {}
  }

  /// The process's pool, for results that nobody gave another.
  package static let shared = MemoryPool()

  /// The same, for results that are to lie in small pages; it keeps what comes back by itself, so few processes use both.
  package static let sharedInSmallPages: MemoryPool = {
    var options = Options()
    options.hugePages = false
    return MemoryPool(options: options)
  }()

  /// What the pool does with memory; it was chosen at the beginning.
  package let options: Options

  private let state = Mutex(State())
  private let available: @Sendable () -> AvailableMemory

  private struct State {
    var slabs: [Slab] = []
    var nextIdentifier = 0
    var extentByteCount = 0
    var pace = PagePace()

    func index(of identifier: Int) -> Int? {
      slabs.firstIndex { $0.identifier == identifier }
    }
  }

  /// A pool with these options; tests give their own figure for the available memory.
  package init(
    options: Options = Options(), available: @escaping @Sendable () -> AvailableMemory = AvailableMemory.now
  ) {
    precondition(options.retentionByteCount >= 0 && options.slabByteCount > 0)
    self.options = options
    self.available = available
  }

  deinit {
    // Every extent holds the pool, so all slabs are free.
    for slab in state.withLock({ $0.slabs }) { slab.unmap() }
  }

  // MARK: - Taking memory

  /// Memory for `byteCount` bytes whose address is `offsetInAlignment` past a multiple of `alignment`.
  ///
  /// What the bytes hold at first is anything: earlier contents when they are reused. To read a file directly in place,
  /// ask for an alignment of 4096 and the file offset modulo 4096. The alignment is a power of two from 64 to 2 MiB.
  /// - Throws: `insufficientMemory` when it does not fit what is available, rather than letting the system kill somebody.
  package func allocate(
    byteCount: Int, alignment: Int = 64, offsetInAlignment: Int = 0
  ) throws(GraftError) -> PoolExtent {
    precondition(byteCount >= 0, "an extent has no negative size")
    precondition(
      alignment >= 64 && alignment <= MemoryPage.hugeByteCount && alignment & (alignment - 1) == 0,
      "the alignment is a power of two from 64 to 2 MiB")
    precondition(offsetInAlignment >= 0 && offsetInAlignment < alignment)
    if byteCount < options.heapThresholdByteCount {
      return PoolExtent(heap: byteCount, alignment: alignment, offsetInAlignment: offsetInAlignment)
    }
    let request = Slab.Request(byteCount: byteCount, alignment: alignment, offset: offsetInAlignment)
    if let extent = state.withLock({ take(request, in: &$0) }) { return extent }

    // Nothing that is mapped fits. A slab holds the request wherever in its first alignment it must begin.
    let (needed, overflow) = byteCount.addingReportingOverflow(alignment)
    guard !overflow, needed <= Int.max - MemoryPage.hugeByteCount else {
      throw insufficient(byteCount, AvailableMemory.now())
    }
    try makeRoom(byteCount)
    let slab = try Slab.map(
      byteCount: max(needed, options.slabByteCount), hugePages: options.hugePages, for: byteCount)
    return state.withLock { state in
      var slab = slab
      slab.identifier = state.nextIdentifier
      state.nextIdentifier += 1
      state.slabs.append(slab)
      guard let extent = take(request, in: &state, fromLast: true) else {
        preconditionFailure("a slab is made large enough for what it is made for")
      }
      return extent
    }
  }

  /// Fails when a result of this size would not fit the memory that is available, counting what the pool can reuse.
  ///
  /// Whoever plans a load calls it with the whole result before the first extent, as many small extents do not add up in
  /// anybody's eyes until it is too late.
  package func checkRoom(for byteCount: Int) throws(GraftError) {
    let (reusable, promised) = state.withLock { state in
      (
        state.slabs.reduce(0) { $0 + $1.touchedFreeByteCount },
        state.slabs.reduce(0) { $0 + $1.untouchedUsedByteCount }
      )
    }
    let fresh = max(0, byteCount - reusable)
    guard fresh > 0 else { return }
    let memory = available()
    if fits(fresh, promised, memory) { return }
    // What extents were promised and have not touched counts as taken; but they may have touched it without saying so.
    let recounted = state.withLock { state in
      for index in state.slabs.indices { state.slabs[index].recountTouched() }
      return state.slabs.reduce(0) { $0 + $1.untouchedUsedByteCount }
    }
    guard fits(fresh, recounted, memory) else { throw insufficient(byteCount, memory) }
  }

  /// Checks a slab's room, and gives free slabs back to the system when it takes that to have it.
  private func makeRoom(_ byteCount: Int) throws(GraftError) {
    do {
      // The free memory is in pieces that are too small for this request, so it counts only once it is given back.
      let reusable = state.withLock { $0.slabs.reduce(0) { $0 + $1.touchedFreeByteCount } }
      let (total, overflow) = byteCount.addingReportingOverflow(reusable)
      try checkRoom(for: overflow ? Int.max : total)
    } catch {
      trim()
      try checkRoom(for: byteCount)
    }
  }

  private func fits(_ fresh: Int, _ promised: Int, _ memory: AvailableMemory) -> Bool {
    let (needed, overflow) = fresh.addingReportingOverflow(promised)
    guard !overflow, memory.byteCount != Int.max else { return !overflow }
    return needed <= memory.byteCount - options.headroomByteCount
  }

  private func insufficient(_ byteCount: Int, _ memory: AvailableMemory) -> GraftError {
    GraftError(
      .insufficientMemory, "the result does not fit the memory that is available",
      expected:
        "at most \(max(0, memory.byteCount - options.headroomByteCount)) bytes (limited by \(memory.limitedBy))",
      found: "a result of \(byteCount) bytes",
      remedy:
        "select fewer leaves or slices, load to mapped memory (to: .mapped), or convert to another checkpoint, which streams"
    )
  }

  private func take(_ request: Slab.Request, in state: inout State, fromLast: Bool = false) -> PoolExtent? {
    let indices = fromLast ? (state.slabs.count - 1)..<state.slabs.count : 0..<state.slabs.count
    for index in indices {
      guard let start = state.slabs[index].take(request) else { continue }
      state.extentByteCount += request.byteCount
      let slab = state.slabs[index]
      // The range was free, so nobody else has these bytes until the extent gives them back.
      return unsafe PoolExtent(
        self, slab: slab.identifier, start: start,
        UnsafeMutableRawBufferPointer(start: slab.base + start, count: request.byteCount))
    }
    return nil
  }

  // MARK: - Giving it back

  /// Takes back an extent's bytes; for its deinit.
  fileprivate func release(slab identifier: Int, start: Int, byteCount: Int) {
    let unmapped = state.withLock { state -> [Slab] in
      guard let index = state.index(of: identifier) else {
        preconditionFailure("a slab outlives its extents")
      }
      state.slabs[index].giveBack(start, byteCount)
      state.extentByteCount -= byteCount
      return Self.trim(&state, to: options.retentionByteCount)
    }
    for slab in unmapped { slab.unmap() }
  }

  /// Gives free memory back to the system until no more than `byteCount` bytes of it stay.
  package func trim(to byteCount: Int = 0) {
    let unmapped = state.withLock { Self.trim(&$0, to: byteCount) }
    for slab in unmapped { slab.unmap() }
  }

  /// Takes slabs out of the state for the caller to unmap, and drops pages of those that are partly used.
  private static func trim(_ state: inout State, to limit: Int) -> [Slab] {
    // All free memory, touched or not, is an upper bound that costs nothing to know.
    guard state.slabs.reduce(0, { $0 + $1.byteCount }) - state.extentByteCount > limit else { return [] }
    var retained = state.slabs.reduce(0) { $0 + $1.touchedFreeByteCount }
    guard retained > limit else { return [] }
    var unmapped: [Slab] = []
    // Small slabs first: the larger a free slab, the more requests it can serve.
    let free = state.slabs.filter(\.isFree).sorted { $0.byteCount < $1.byteCount }
    for slab in free where retained > limit {
      retained -= slab.touchedFreeByteCount
      unmapped.append(slab)
    }
    let gone = Set(unmapped.map(\.identifier))
    state.slabs.removeAll { gone.contains($0.identifier) }
    for index in state.slabs.indices where retained > limit {
      retained -= state.slabs[index].dropFreePieces(atMost: retained - limit)
    }
    return unmapped
  }

  // MARK: - Looking

  /// What a pool has.
  package struct Statistics: Hashable, Sendable {
    /// The addresses that are mapped, in bytes.
    package var mappedByteCount = 0
    /// What extents have, in bytes, without those of the heap.
    package var extentByteCount = 0
    /// Touched memory that is free for reuse, in bytes.
    package var retainedByteCount = 0
    /// The number of slabs.
    package var slabCount = 0
  }

  /// What the pool has now.
  package var statistics: Statistics {
    state.withLock { state in
      Statistics(
        mappedByteCount: state.slabs.reduce(0) { $0 + $1.byteCount }, extentByteCount: state.extentByteCount,
        retainedByteCount: state.slabs.reduce(0) { $0 + $1.touchedFreeByteCount },
        slabCount: state.slabs.count)
    }
  }

  // MARK: - Populating

  fileprivate func untouchedPieces(slab identifier: Int, _ range: Range<Int>) -> [Range<Int>] {
    state.withLock { state in
      guard let index = state.index(of: identifier) else { return [] }
      return state.slabs[index].untouched(in: range)
    }
  }

  /// What the pages of a part of a piece are; tells the kernel where that is news.
  fileprivate func choosePages(slab identifier: Int, at offset: Int) -> PagePace.Pages? {
    state.withLock { state in
      guard let index = state.index(of: identifier) else { return nil }
      guard let choice = state.slabs[index].pages(at: offset, pace: &state.pace) else { return nil }
      // Under the lock, so that no other thread populates the stretch with huge pages first. Where it fails, they stay huge.
      if choice.isNew {
        unsafe madvise(
          state.slabs[index].base + choice.stretch.lowerBound, choice.stretch.count, MADV_NOHUGEPAGE)
      }
      return choice.pages
    }
  }

  /// - Parameter pages: what a whole piece was made of, and the seconds that it took.
  fileprivate func markTouched(
    slab identifier: Int, _ range: Range<Int>, _ pages: PagePace.Pages?, seconds: Double
  ) {
    state.withLock { state in
      guard let index = state.index(of: identifier) else { return }
      state.slabs[index].markTouched(range)
      if let pages, range.count == MemoryPage.hugeByteCount { state.pace.note(pages, seconds: seconds) }
    }
  }
}

/// Owns bytes of a pool, and gives them back when the last reference goes.
///
/// The bytes are the holder's to share out: the class guards their life, not who writes when.
@safe
package final class PoolExtent: @unchecked Sendable {  // for the pointer, which never changes
  /// The bytes; valid while this object lives.
  package let bytes: UnsafeMutableRawBufferPointer

  /// The number of bytes.
  package var byteCount: Int { unsafe bytes.count }

  /// Where the bytes go back to.
  @safe
  private enum Home {
    case slab(MemoryPool, identifier: Int, start: Int)
    case heap(UnsafeMutableRawPointer)
  }
  private let home: Home

  fileprivate init(_ pool: MemoryPool, slab: Int, start: Int, _ bytes: UnsafeMutableRawBufferPointer) {
    unsafe self.bytes = bytes
    home = .slab(pool, identifier: slab, start: start)
  }

  fileprivate init(heap byteCount: Int, alignment: Int, offsetInAlignment: Int) {
    // One byte at least, so that an empty extent has an address too.
    let storage = UnsafeMutableRawPointer.allocate(
      byteCount: max(1, byteCount) + offsetInAlignment, alignment: alignment)
    unsafe bytes = UnsafeMutableRawBufferPointer(start: storage + offsetInAlignment, count: byteCount)
    home = unsafe .heap(storage)
  }

  deinit {
    switch home {
    case .slab(let pool, let identifier, let start):
      pool.release(slab: identifier, start: start, byteCount: unsafe bytes.count)
    case .heap(let storage): unsafe storage.deallocate()
    }
  }

  /// The parts that were never touched, each of at most 2 MiB: what there is to populate, for threads to share out.
  package var untouchedPieces: [Range<Int>] {
    guard case .slab(let pool, let identifier, let start) = home else { return [] }
    return pool.untouchedPieces(slab: identifier, start..<(start + byteCount))
      .map { ($0.lowerBound - start)..<($0.upperBound - start) }
  }

  /// Gives the parts of `range` that were never touched their memory now.
  ///
  /// Contents stay, and many threads may do it at once.
  /// Whoever writes to an extent without this pays for the first touch there instead, and the pool learns of it late.
  /// - Throws: `insufficientMemory` when the system has none.
  package func populate(_ range: Range<Int>) throws(GraftError) {
    precondition(range.lowerBound >= 0 && range.upperBound <= byteCount)
    guard case .slab(let pool, let identifier, let start) = home, !range.isEmpty else { return }
    let inSlab = (range.lowerBound + start)..<(range.upperBound + start)
    for piece in pool.untouchedPieces(slab: identifier, inSlab) {
      let part = unsafe UnsafeMutableRawBufferPointer(
        rebasing: bytes[(piece.lowerBound - start)..<(piece.upperBound - start)])
      let pages = pool.choosePages(slab: identifier, at: piece.lowerBound)
      let start = ContinuousClock.now
      do {
        unsafe try MemoryPage.populate(part)
      } catch {
        throw GraftError(
          .insufficientMemory, "the system has no memory for the result",
          found: "a result of \(byteCount) bytes", remedy: "select less, or free some memory", cause: error)
      }
      let (seconds, attoseconds) = (ContinuousClock.now - start).components
      pool.markTouched(slab: identifier, piece, pages, seconds: Double(seconds) + Double(attoseconds) * 1e-18)
    }
  }

  /// Gives all of the extent its memory now, by this many threads; blocks the calling thread.
  ///
  /// - Throws: `insufficientMemory` when the system has none.
  package func populate(threadCount: Int = UsableProcessors.count) throws(GraftError) {
    let pieces = untouchedPieces
    // Four huge pages at a time: fewer take turns at the lock, more leave a thread idle at the end.
    let batch = 4
    try ParallelPieces.run(count: (pieces.count + batch - 1) / batch, threadCount: threadCount) {
      (index) throws(GraftError) in
      for piece in pieces[(index * batch)..<min(pieces.count, (index + 1) * batch)] {
        try self.populate(piece)
      }
    }
  }
}
