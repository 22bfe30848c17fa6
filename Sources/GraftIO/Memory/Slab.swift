internal import Glibc
internal import GraftCore

/// A mapping of the pool's: which parts are free, and which pieces were ever touched.
///
/// It is a value that the pool's mutex guards; the pool unmaps it when it drops it.
@safe
struct Slab: @unchecked Sendable {  // for the base address, which never changes
  /// What is asked of a slab.
  struct Request {
    let byteCount: Int
    let alignment: Int
    let offset: Int
  }

  /// The first address, a multiple of 2 MiB.
  let base: UnsafeMutableRawPointer
  /// A multiple of 2 MiB.
  let byteCount: Int
  /// Which slab of its pool it is.
  var identifier = 0

  /// The free parts, in order; no two touch.
  private var free: [Range<Int>]
  /// Of each piece of 2 MiB, whether any of it may have been touched.
  private var touched: [Bool]
  /// Of each stretch, what its pages are; nil where nothing was populated yet, and throughout where huge pages are not wanted.
  private var pages: [PagePace.Pages?]
  private let hugePages: Bool
  /// No free part is larger; a quick answer for slabs that are full.
  private var largestFreeBound: Int

  private static let pieceByteCount = MemoryPage.hugeByteCount
  /// What has pages of one kind: telling the kernel waits for whoever populates a piece meanwhile, so it is not done for each.
  private static let stretchByteCount = 8 * pieceByteCount

  var isFree: Bool { free == [0..<byteCount] }

  // MARK: - Mapping

  /// Maps a slab of at least this many bytes, which the request `result` is the reason for.
  static func map(byteCount: Int, hugePages: Bool, for result: Int) throws(GraftError) -> Slab {
    let piece = pieceByteCount
    let size = (byteCount + piece - 1) / piece * piece
    // One piece more, so that there is a multiple of 2 MiB to begin at; what is around it is given back at once.
    let mapped = unsafe mmap(
      nil, size + piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
      throw GraftError(
        .insufficientMemory, "the system refuses the addresses for the result",
        found: "a result of \(result) bytes",
        remedy: "select less, or raise the limit on address space (ulimit -v)",
        cause: SystemCallFailure("mmap", errno))
    }
    let lead = (piece - Int(UInt(bitPattern: mapped) % UInt(piece))) % piece
    if lead > 0 { unsafe munmap(mapped, lead) }
    let base = unsafe mapped + lead
    if piece - lead > 0 { unsafe munmap(base + size, piece - lead) }
    // Where huge pages are switched off this fails, and small ones do. Where everybody gets them, small ones are asked for.
    _ = unsafe madvise(base, size, hugePages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE)
    return unsafe Slab(base, size, hugePages: hugePages)
  }

  private init(_ base: UnsafeMutableRawPointer, _ byteCount: Int, hugePages: Bool) {
    unsafe self.base = base
    self.byteCount = byteCount
    self.hugePages = hugePages
    pages = Array(repeating: nil, count: (byteCount + Self.stretchByteCount - 1) / Self.stretchByteCount)
    free = [0..<byteCount]
    touched = [Bool](repeating: false, count: byteCount / Self.pieceByteCount)
    largestFreeBound = byteCount
  }

  func unmap() { unsafe munmap(base, byteCount) }

  // MARK: - Parts

  /// Takes the first free part that fits; nil when none does.
  mutating func take(_ request: Request) -> Int? {
    guard request.byteCount <= largestFreeBound else { return nil }
    var largest = 0
    for (index, part) in free.enumerated() {
      // The base is a multiple of every alignment, so offsets are as good as addresses.
      let beyond = part.lowerBound - request.offset
      let steps = beyond <= 0 ? 0 : (beyond + request.alignment - 1) / request.alignment
      let start = steps * request.alignment + request.offset
      let (end, overflow) = start.addingReportingOverflow(Self.rounded(request.byteCount))
      guard !overflow, end <= part.upperBound else {
        largest = max(largest, part.count)
        continue
      }
      var remainders: [Range<Int>] = []
      if part.lowerBound < start { remainders.append(part.lowerBound..<start) }
      if end < part.upperBound { remainders.append(end..<part.upperBound) }
      free.replaceSubrange(index...index, with: remainders)
      return start
    }
    // All parts were looked at, so the bound can be exact.
    largestFreeBound = largest
    return nil
  }

  /// Takes back what ``take(_:)`` gave, and counts it as touched.
  mutating func giveBack(_ start: Int, _ byteCount: Int) {
    var part = start..<(start + Self.rounded(byteCount))
    markTouched(part)
    // The first free part behind this one, by halving.
    var low = 0
    var high = free.count
    while low < high {
      let middle = (low + high) / 2
      if free[middle].lowerBound < part.lowerBound { low = middle + 1 } else { high = middle }
    }
    var replaced = low..<low
    if low > 0, free[low - 1].upperBound == part.lowerBound {
      part = free[low - 1].lowerBound..<part.upperBound
      replaced = (low - 1)..<replaced.upperBound
    }
    if low < free.count, free[low].lowerBound == part.upperBound {
      part = part.lowerBound..<free[low].upperBound
      replaced = replaced.lowerBound..<(low + 1)
    }
    free.replaceSubrange(replaced, with: CollectionOfOne(part))
    largestFreeBound = max(largestFreeBound, part.count)
  }

  /// Cache lines are not shared between extents, so that threads which fill neighbours do not slow each other.
  private static func rounded(_ byteCount: Int) -> Int { (byteCount + 63) & ~63 }

  // MARK: - Touched memory

  /// The parts of `range` in pieces that were never touched, cut at the pieces' borders.
  func untouched(in range: Range<Int>) -> [Range<Int>] {
    var parts: [Range<Int>] = []
    for piece in Self.pieces(range) where !touched[piece] {
      parts.append(Self.range(ofPiece: piece).clamped(to: range))
    }
    return parts
  }

  mutating func markTouched(_ range: Range<Int>) {
    for piece in Self.pieces(range) { touched[piece] = true }
  }

  /// What the pages of the piece at `offset` are, decided for its whole stretch when its first piece is populated; nil where small
  /// pages are all that is wanted.
  ///
  /// - Returns: with `isNew` for the first piece of a stretch of small pages, which the kernel is to be told of.
  mutating func pages(
    at offset: Int, pace: inout PagePace
  ) -> (pages: PagePace.Pages, stretch: Range<Int>, isNew: Bool)? {
    guard hugePages else { return nil }
    let index = offset / Self.stretchByteCount
    let stretch = (index * Self.stretchByteCount)..<Swift.min(byteCount, (index + 1) * Self.stretchByteCount)
    if let known = pages[index] { return (known, stretch, false) }
    let chosen = pace.next()
    pages[index] = chosen
    return (chosen, stretch, chosen == .small)
  }

  /// The bytes of free parts in pieces that were touched.
  var touchedFreeByteCount: Int {
    free.reduce(0) { sum, part in
      Self.pieces(part).reduce(sum) {
        $0 + (touched[$1] ? Self.range(ofPiece: $1).clamped(to: part).count : 0)
      }
    }
  }

  /// The bytes of used parts in pieces that were never touched.
  var untouchedUsedByteCount: Int {
    let untouchedPieces = touched.reduce(0) { $0 + ($1 ? 0 : 1) }
    let untouchedFree = free.reduce(0) { sum, part in
      Self.pieces(part).reduce(sum) {
        $0 + (touched[$1] ? 0 : Self.range(ofPiece: $1).clamped(to: part).count)
      }
    }
    return untouchedPieces * Self.pieceByteCount - untouchedFree
  }

  /// Asks the kernel which pieces have memory, for extents that were written to without populating them.
  mutating func recountTouched() {
    for piece in touched.indices where !touched[piece] {
      var residency = [UInt8](repeating: 0, count: Self.pieceByteCount / MemoryPage.byteCount)
      let result = unsafe mincore(base + piece * Self.pieceByteCount, Self.pieceByteCount, &residency)
      // Half of it: the piece counts as a whole.
      if result == 0, residency.count(where: { $0 & 1 != 0 }) * 2 >= residency.count { touched[piece] = true }
    }
  }

  /// Gives the memory of pieces that are wholly free back, and says how many bytes that was.
  mutating func dropFreePieces(atMost limit: Int) -> Int {
    var dropped = 0
    for part in free {
      for piece in Self.pieces(part) where touched[piece] && dropped < limit {
        let range = Self.range(ofPiece: piece)
        guard part.lowerBound <= range.lowerBound, range.upperBound <= part.upperBound else { continue }
        guard unsafe madvise(base + range.lowerBound, range.count, MADV_DONTNEED) == 0 else { continue }
        touched[piece] = false
        dropped += range.count
      }
    }
    return dropped
  }

  private static func pieces(_ range: Range<Int>) -> Range<Int> {
    range.isEmpty
      ? 0..<0 : (range.lowerBound / pieceByteCount)..<((range.upperBound - 1) / pieceByteCount + 1)
  }

  private static func range(ofPiece piece: Int) -> Range<Int> {
    (piece * pieceByteCount)..<((piece + 1) * pieceByteCount)
  }
}
