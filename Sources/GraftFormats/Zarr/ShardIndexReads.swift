package import GraftCore
internal import GraftIO

/// How the indices of many shards are read: near ones of a file together, in the order of files and offsets.
///
/// An array in small shards, or many small arrays that were saved one after the other, has an index every few kilobytes; a read
/// for each of them would take longer than all of their bytes.
package struct ShardIndexReads: Sendable {
  /// An index that is wanted: whose it is, and where.
  package struct Wanted: Hashable, Sendable {
    /// Whatever tells it from the others.
    package var number: Int
    /// The file, by its number in the catalog.
    package var file: Int
    package var range: ByteRange

    package init(number: Int, file: Int, range: ByteRange) {
      self.number = number
      self.file = file
      self.range = range
    }
  }

  /// One read, and the indices that are in it.
  package struct Request: Hashable, Sendable {
    package var file: Int
    package var range: ByteRange
    package var indices: [Wanted]
  }

  /// The reads, in the order of files and offsets.
  package private(set) var requests: [Request] = []

  /// The most bytes between two indices that are read together.
  ///
  /// By the measurements of ``ReadBatch`` gaps of 16 KiB are about even where the bytes are in the page cache, and twice as
  /// fast where they come from a disk.
  private static let gapByteCount = 16 << 10
  /// The most bytes of a read of several indices; all that is read for them is memory until they are taken out.
  private static let requestByteCount = 1 << 20
  /// How many reads one thread does in a row, and how many threads do so at once.
  private static let requestsPerTurn = 64
  private static let turnLimit = 8

  /// Plans the reads of these indices.
  package init(_ wanted: [Wanted]) {
    let sorted = wanted.sorted { ($0.file, $0.range.offset) < ($1.file, $1.range.offset) }
    for index in sorted {
      let last = requests.count - 1
      // Shards may overlap in a file that lies, so that the end is not always the last one's.
      guard last >= 0, requests[last].file == index.file,
        case let range = requests[last].range, index.range.offset - range.end <= Self.gapByteCount,
        case let end = max(range.end, index.range.end), end - range.offset <= Self.requestByteCount
      else {
        requests.append(Request(file: index.file, range: index.range, indices: [index]))
        continue
      }
      requests[last].range = ByteRange(offset: range.offset, count: end - range.offset)
      requests[last].indices.append(index)
    }
  }

  /// Reads them, and gives each index to `body` by its number.
  ///
  /// - Throws: what reading throws; the first failure in the order in which reads end.
  func read(from files: [StoredFile], _ body: (Int, [UInt8]) -> Void) async throws(GraftError) {
    var turns: [ArraySlice<Request>] = []
    var start = 0
    while start < requests.count {
      var end = start
      while end < requests.count, end - start < Self.requestsPerTurn,
        requests[end].file == requests[start].file
      {
        end += 1
      }
      turns.append(requests[start..<end])
      start = end
    }
    let failure: GraftError? = await withTaskGroup(
      of: Result<[(Int, [UInt8])], GraftError>.self
    ) { group in
      var pending = turns.makeIterator()
      func add() {
        guard let turn = pending.next(), let first = turn.first else { return }
        let path = files[first.file].path
        group.addTask {
          do throws(GraftError) {
            return .success(
              try await BlockingThreads.shared.run { () throws(GraftError) in
                try Self.read(turn, of: File(opening: path))
              })
          } catch {
            return .failure(error)
          }
        }
      }
      for _ in 0..<Self.turnLimit { add() }
      while let turn = await group.next() {
        switch turn {
        case .success(let read): for (number, bytes) in read { body(number, bytes) }
        case .failure(let error):
          group.cancelAll()
          return error
        }
        add()
      }
      return nil
    }
    if let failure { throw failure }
  }

  private static func read(
    _ turn: ArraySlice<Request>, of file: borrowing File
  ) throws(GraftError) -> [(Int, [UInt8])] {
    var read: [(Int, [UInt8])] = []
    for request in turn {
      let bytes = try file.readFully(request.range)
      for index in request.indices {
        let start = index.range.offset - request.range.offset
        read.append((index.number, Array(bytes[start..<start + index.range.count])))
      }
    }
    return read
  }
}
