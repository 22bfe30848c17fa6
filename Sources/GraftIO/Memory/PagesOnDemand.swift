internal import Glibc
package import GraftCore
internal import Synchronization

/// Gives extents their pages piece by piece, each just before something is written to it.
///
/// Populating memory takes about as long as reading a warm file, and the processors all the while. Done on the way it costs less: while
/// reads wait for the disk nobody misses the processors, and out of the page cache a piece is filled while its zeros are still in the
/// processor's own cache.
///
/// Threads that write neighbouring parts meet at the same piece. One of them populates it; another takes the next piece in order
/// rather than to wait, so that all are busy and none populates what another does.
package final class PagesOnDemand: Sendable {
  private struct Piece: Sendable {
    let extent: PoolExtent
    let range: Range<Int>

    // Addresses are compared, never followed.
    var address: UInt { unsafe UInt(bitPattern: extent.bytes.baseAddress) + UInt(range.lowerBound) }
    var endAddress: UInt { address + UInt(range.count) }
  }

  private enum State: UInt8 { case untouched, underWay, done }

  private struct Progress {
    var states: [State]
    /// No piece before this one is untouched.
    var cursor = 0
    var failure: GraftError?
  }

  /// What a thread does next so that the piece it needs is there.
  private enum Step { case goOn, populate(Int), wait, fail(GraftError) }

  /// In the order in which they are expected to be written.
  private let pieces: [Piece]
  /// The positions in ``pieces`` by address.
  private let byAddress: [Int]
  private let progress: Mutex<Progress>
  private let remaining: Atomic<Int>

  /// How far ahead of what is written pieces are populated: so little that they stay in a cache that processors share.
  private static let lookahead = 8
  private static let waitMicroseconds: UInt32 = 20

  /// Pages for these extents, which are written roughly in this order.
  package init(_ extents: [PoolExtent]) {
    let pieces = extents.flatMap { extent in
      extent.untouchedPieces.map { Piece(extent: extent, range: $0) }
    }
    self.pieces = pieces
    byAddress = pieces.indices.sorted { pieces[$0].address < pieces[$1].address }
    progress = Mutex(Progress(states: Array(repeating: .untouched, count: pieces.count)))
    remaining = Atomic(pieces.count)
  }

  /// Sees to it that these bytes have their pages; bytes of no extent, or of a piece that was touched before, have them.
  ///
  /// Many threads may do it at once.
  /// - Throws: `insufficientMemory` when the system has none.
  package func prepare(_ bytes: UnsafeMutableRawBufferPointer) throws(GraftError) {
    guard remaining.load(ordering: .acquiring) > 0, unsafe !bytes.isEmpty else { return }
    let start = UInt(bitPattern: bytes.baseAddress)
    let end = start + UInt(bytes.count)
    var index = firstPiece(endingAfter: start)
    while index < byAddress.count, pieces[byAddress[index]].address < end {
      try prepare(byAddress[index])
      index += 1
    }
  }

  /// The first position in ``byAddress`` of a piece that ends after this address.
  private func firstPiece(endingAfter address: UInt) -> Int {
    var (low, high) = (0, byAddress.count)
    while low < high {
      let middle = (low + high) / 2
      if pieces[byAddress[middle]].endAddress <= address { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private func prepare(_ needed: Int) throws(GraftError) {
    while true {
      switch progress.withLock({ Self.step(for: needed, &$0) }) {
      case .goOn: return
      case .wait: usleep(Self.waitMicroseconds)
      case .fail(let error): throw error
      case .populate(let index):
        do throws(GraftError) {
          try pieces[index].extent.populate(pieces[index].range)
        } catch {
          progress.withLock { $0.failure = error }
          throw error
        }
        progress.withLock { $0.states[index] = .done }
        remaining.subtract(1, ordering: .releasing)
      }
    }
  }

  private static func step(for needed: Int, _ progress: inout Progress) -> Step {
    switch progress.states[needed] {
    case .done: return .goOn
    case .untouched:
      progress.states[needed] = .underWay
      return .populate(needed)
    case .underWay:
      // Whoever was at it may have failed, and will never be done.
      if let failure = progress.failure { return .fail(failure) }
      while progress.cursor < progress.states.count, progress.states[progress.cursor] != .untouched {
        progress.cursor += 1
      }
      let next = progress.cursor
      guard next < progress.states.count, next <= needed + lookahead else { return .wait }
      progress.states[next] = .underWay
      return .populate(next)
    }
  }
}
