internal import GraftCore
internal import Synchronization

/// The files of one run, and their second descriptors for direct I/O, opened when a worker first wants one.
final class RunFiles: Sendable {
  let files: [File]
  private let kernel: any ReadKernel
  private let state = Mutex(State())

  private struct State {
    var open: [Int: DirectFile] = [:]
    /// The indices in ``open``, oldest first.
    var order: [Int] = []
    var refused: Set<Int> = []
    var firstRefusal: String?

    mutating func refuse(_ index: Int, _ reason: String) {
      refused.insert(index)
      open[index] = nil
      order.removeAll { $0 == index }
      if firstRefusal == nil { firstRefusal = reason }
    }
  }

  /// Runs read file after file, so few are in use at once; each costs the process a descriptor.
  private static let openLimit = 32

  init(_ files: [File], kernel: any ReadKernel) {
    self.files = files
    self.kernel = kernel
  }

  /// Why some file is not read directly; nil when none was refused.
  var directRefusal: String? { state.withLock { $0.firstRefusal } }

  /// The file's descriptor for direct I/O, kept open by whoever holds it; nil where there is none to be had.
  func direct(_ index: Int) -> DirectFile? {
    state.withLock { state -> DirectFile? in
      if let file = state.open[index] { return file }
      if state.refused.contains(index) { return nil }
      do throws(SystemCallFailure) {
        let file = try kernel.openDirect(files[index])
        if state.order.count == Self.openLimit { state.open[state.order.removeFirst()] = nil }
        state.open[index] = file
        state.order.append(index)
        return file
      } catch {
        state.refuse(index, "\(error) for \(files[index].path)")
        return nil
      }
    }
  }

  /// Notes that direct reads of this file fail, so that nobody tries again.
  func refuseDirect(_ index: Int, _ failure: SystemCallFailure) {
    state.withLock { $0.refuse(index, "\(failure) for \(files[index].path)") }
  }
}

/// Where a stretch of a file is, as far as it decides how to read it.
enum Warmth {
  /// In the page cache: reading is a copy.
  case warm
  /// Partly there.
  case mixed
  /// On the disk.
  case cold
  /// Nobody can tell.
  case unknown
}

/// One worker's view of which bytes are resident, asked for ahead so that a query serves many reads.
struct ResidencyView {
  private var file = -1
  private var range = ByteRange(offset: 0, count: 0)
  private var warmth = Warmth.unknown
  /// How many reads the next query looks ahead.
  private var readsAhead = 1

  /// A query costs about a microsecond, and 0.5 ms for each GiB of it that is resident.
  private static let maximumWindowByteCount = 32 << 20
  private static let minimumWindowByteCount = 256 << 10
  private static let mostReadsAhead = 16

  mutating func warmth(of operation: ReadOperation, in files: RunFiles, kernel: any ReadKernel) -> Warmth {
    if operation.file == file, range.contains(operation.range) { return warmth }
    let source = files.files[operation.file]
    // Whoever reads on is worth looking ahead for. A stack along an inner axis reads a little of each of its parts, and what lies
    // behind that is another time's: looking far ahead took a tenth of such a load.
    let isNear =
      operation.file == file && operation.range.offset >= range.offset
      && operation.range.offset <= range.end + operation.range.count
    readsAhead = isNear ? min(2 * readsAhead, Self.mostReadsAhead) : 1
    let ahead = min(
      max(operation.range.count * readsAhead, Self.minimumWindowByteCount), Self.maximumWindowByteCount)
    let count = min(max(operation.range.count, ahead), source.byteCount - operation.range.offset)
    file = operation.file
    range = ByteRange(offset: operation.range.offset, count: count)
    warmth =
      switch kernel.residentFraction(of: source, range) {
      case nil: .unknown
      case let fraction? where fraction >= Self.warmFraction: .warm
      case let fraction? where fraction < Self.coldFraction: .cold
      default: .mixed
      }
    return warmth
  }

  /// Less than wholly resident by a page here and there is still a copy.
  static let warmFraction = 0.98
  /// Less than this is cold: below it, direct reads are faster.
  ///
  /// Direct reads take 0.48 s for a GiB, resident or not; buffered ones 0.56 s for each GiB that is not resident and
  /// 0.07 s for each that is (reference machine: two cores, virtual NVMe disk). They are even at 16 %.
  static let coldFraction = 0.16
}
