internal import GraftCore
internal import GraftIO

/// The part of a plan's plain moves that the engine is given at once: a bounded number of reads of a bounded number of files,
/// so that the lists stay small whatever the model's size.
struct Portion {
  /// How many reads there are at most, give or take those of one part of a move.
  static let mostRequests = 1 << 16
  /// The same where the budget is small, of which the lists may take a small part.
  static func requestLimit(_ tuning: Tuning) -> Int {
    Swift.max(1024, Swift.min(mostRequests, tuning.budgetByteCount / 8 / requestByteCount))
  }
  /// What the lists of a portion and of the engine take for each read, roughly.
  private static let requestByteCount = 512
  /// How many files are open at once; the usual limit of a process is 1,024 descriptors.
  static let openFileLimit = 256

  /// The longest window that is placed or computed while it is in the processor's cache.
  private static let cachedWindowByteCount = 128 << 10

  /// A read into a slot, and what of it goes where.
  struct Window: Sendable {
    /// The bytes of the file that are read.
    var range: ByteRange
    /// Which of them go where; the source begins with the first byte of the range.
    var copy: StridedCopy
    /// Whose they are.
    var place: Place
  }

  private let moves: [Plan.Move]
  private let places: Places
  private let layout: StagingLayout
  private let cost: CostModel
  private let requestLimit: Int

  /// The next move, and the parts of it that are still to be cut into windows, the next one last.
  private var nextMove = 0
  private var parts: [StridedCopy] = []

  private(set) var requests: [ReadRequest] = []
  private(set) var windows: [Window] = []
  /// The plan's index of each file that this portion reads.
  private(set) var fileIndices: [Int] = []
  /// The bytes that this portion brings to their places.
  private(set) var wantedByteCount = 0

  /// Portions of these moves, which are in file order and have no codecs.
  init(moves: [Plan.Move], places: Places, layout: StagingLayout, tuning: Tuning) {
    self.moves = moves
    self.places = places
    self.layout = layout
    cost = CostModel(tuning)
    requestLimit = Self.requestLimit(tuning)
  }

  /// Takes the next part of the moves; false when there is none left.
  mutating func fill() -> Bool {
    requests.removeAll(keepingCapacity: true)
    windows.removeAll(keepingCapacity: true)
    fileIndices.removeAll(keepingCapacity: true)
    wantedByteCount = 0
    while requests.count < requestLimit, nextMove < moves.count {
      let move = moves[nextMove]
      if fileIndices.last != move.chunk.file {
        // Moves are in file order, so a file that is not the last one has not come yet.
        guard fileIndices.count < Self.openFileLimit else { break }
        fileIndices.append(move.chunk.file)
      }
      // A run that something is computed of has to come in whole elements.
      if move.copy.isContiguous, move.program == nil {
        addRun(move)
        nextMove += 1
      } else {
        if parts.isEmpty { parts.append(move.copy) }
        addWindows(of: move)
        if parts.isEmpty { nextMove += 1 }
      }
    }
    return !requests.isEmpty
  }

  private mutating func addRun(_ move: Plan.Move) {
    let copy = move.copy
    if copy.runCount == 0 { return }
    let range = ByteRange(offset: move.chunk.range.offset + copy.sourceOffset, count: copy.runCount)
    wantedByteCount += copy.runCount
    let place = places[move]
    switch place {
    case .memory(let memory):
      // The plan's copies stay within their results; a wrong one must not become a write outside.
      precondition(copy.destinationOffset >= 0 && copy.destinationOffset + copy.runCount <= memory.count)
      guard let base = memory.baseAddress else { return }
      requests.append(
        unsafe ReadRequest(
          file: fileIndices.count - 1, range: range, target: .memory(base + copy.destinationOffset)))
    case .writer:
      // What is written is read again right after it was read, as what is placed is: see windowByteCount(of:).
      let limit = Swift.min(layout.operationByteCount, Self.cachedWindowByteCount)
      for start in stride(from: 0, to: range.count, by: limit) {
        var part = copy
        part.sourceOffset = 0
        part.destinationOffset += start
        part.runCount = Swift.min(limit, range.count - start)
        add(
          Window(
            range: ByteRange(offset: range.offset + start, count: part.runCount), copy: part, place: place))
      }
    case .computed, .sums, .comparison:
      preconditionFailure("what is computed on the way is read through windows")
    }
  }

  private mutating func addWindows(of move: Plan.Move) {
    while let part = parts.popLast() {
      // A part that may be too many reads is halved along its outermost dimension, the half that comes first last.
      if part.dimensions.reduce(1, { $0 * $1.count }) > requestLimit, let (first, second) = part.halves {
        parts.append(second)
        parts.append(first)
        continue
      }
      var windows: [Window] = []
      part.forEachWindow(limit: windowByteCount(of: move), cost: cost) { copy in
        let range = copy.sourceByteRange
        windows.append(
          Window(
            range: ByteRange(offset: move.chunk.range.offset + range.offset, count: range.count),
            copy: copy.rebasedToWindow, place: places[move]))
        wantedByteCount += copy.copiedByteCount
      }
      for window in windows { add(window) }
      if requests.count >= requestLimit { return }
    }
  }

  /// How long a window of a move may be.
  ///
  /// What is computed or placed is read again right after it was read, so all windows that a worker has in flight should fit the
  /// second-level cache. On the disk they are neighbours, and the engine reads them together. A transposition is better off with many
  /// rows at once, whose elements become neighbours; and what is written goes to the kernel as it lies.
  private func windowByteCount(of move: Plan.Move) -> Int {
    var isTransposed = false
    if move.program == nil {
      guard case .memory = places[move] else { return layout.operationByteCount }
      isTransposed = move.copy.runCount < Self.lineByteCount && move.copy.isReordering
    }
    return isTransposed
      ? layout.operationByteCount : Swift.min(layout.operationByteCount, Self.cachedWindowByteCount)
  }

  /// The processor's cache lines; shorter runs are better written together with their neighbours.
  private static let lineByteCount = 64

  private mutating func add(_ window: Window) {
    requests.append(
      ReadRequest(file: fileIndices.count - 1, range: window.range, target: .handler(token: windows.count)))
    windows.append(window)
  }
}

extension StridedCopy {
  /// Whether what is near in the source is far in the destination: the dimensions have another order there.
  fileprivate var isReordering: Bool {
    zip(dimensions, dimensions.dropFirst()).contains {
      $0.destinationStride.magnitude < $1.destinationStride.magnitude
    }
  }
}

extension Placing {
  /// Takes bytes of a window to their place.
  ///
  /// - Parameter part: the bytes of the file that came; all of the window's, except for a single run, which may come in parts.
  func put(
    _ window: Portion.Window, part: ByteRange, _ bytes: UnsafeRawBufferPointer
  ) throws(GraftError) {
    var copy = window.copy
    if part != window.range {
      precondition(copy.isContiguous, "a window of more than one run comes whole")
      copy.destinationOffset += part.offset - window.range.offset
      copy.runCount = part.count
    }
    unsafe try put(copy, from: bytes, into: window.place)
  }
}
