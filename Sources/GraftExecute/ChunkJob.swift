internal import GraftCodec
internal import GraftCore

// Moves out of encoded chunks are done chunk by chunk, so that a chunk is read and decoded once however many moves it has.
// A chunk that is wanted whole and in order is decoded straight into its place. Of any other only as much is decoded as is wanted:
// a small one into scratch memory, from which its runs are placed; a large one through a sliding window, as a stream.

/// An encoded chunk, and all that is wanted of it.
struct ChunkJob: Sendable {
  /// One copy out of the decoded chunk.
  struct Copy: Sendable {
    var copy: StridedCopy
    var place: Place
  }

  /// The plan's index of the file.
  let file: Int
  /// The encoded bytes.
  let range: ByteRange
  let chain: CodecChain
  let decodedByteCount: Int
  let copies: [Copy]
  /// The leaf that errors name.
  let leaf: TreePath

  /// Where the whole decoded chunk belongs, if it is wanted whole and in order.
  var wholePlace: UnsafeMutableRawBufferPointer? {
    guard copies.count == 1, let copy = copies.first?.copy, copy.isContiguous, copy.sourceOffset == 0,
      copy.runCount == decodedByteCount, case .memory(let memory)? = copies.first?.place
    else { return nil }
    precondition(copy.destinationOffset >= 0 && copy.destinationOffset + copy.runCount <= memory.count)
    return unsafe UnsafeMutableRawBufferPointer(
      rebasing: memory[copy.destinationOffset..<(copy.destinationOffset + copy.runCount)])
  }

  /// The bytes of the decoded chunk from the first to the last that is wanted.
  var wantedRange: ByteRange {
    let ranges = copies.map(\.copy.sourceByteRange)
    let first = ranges.map(\.offset).min() ?? 0
    return ByteRange(offset: first, count: (ranges.map(\.end).max() ?? first) - first)
  }

  /// Whether it is streamed from its beginning to its end, so that all of its encoded bytes are read.
  var isStreamedWhole: Bool { chain.canStream && wantedRange.end == decodedByteCount }

  /// Whether it is decoded from its beginning to its end, straight into its place.
  var isStreamedIntoPlace: Bool { unsafe chain.canStream && chain.canStreamIntoPlace && wholePlace != nil }

  /// Whether a stream of it may stop before its end, and go on for another job.
  var isStreamedThroughWindow: Bool { chain.canStream && !isStreamedIntoPlace }

  /// The bytes that come to a place.
  var copiedByteCount: Int { copies.reduce(0) { $0 + $1.copy.copiedByteCount } }

  /// The encoded bytes that have to be read; those of a stream that ends early are known only when it does.
  var wantedByteCount: Int { range.count }

  /// The jobs of the encoded moves among these, which are in file order.
  ///
  /// - Throws: ``GraftError`` naming the leaf whose codecs are not supported.
  static func jobs(of plan: Plan, places: Places) throws(GraftError) -> [ChunkJob] {
    var chains: [CodecChain] = []
    for (index, encoding) in plan.encodings.enumerated() {
      do throws(CodecFailure) {
        chains.append(try CodecChain(encoding.codecs))
      } catch {
        throw error.graftError(
          leaf: plan.moves.first { $0.encoding == index }.map { plan.results[$0.result].path })
      }
    }
    var jobs: [ChunkJob] = []
    var index = 0
    while index < plan.moves.count {
      let move = plan.moves[index]
      guard let encoding = move.encoding else {
        index += 1
        continue
      }
      var copies: [Copy] = []
      while index < plan.moves.count, plan.moves[index].chunk == move.chunk,
        plan.moves[index].encoding == encoding
      {
        copies.append(Copy(copy: plan.moves[index].copy, place: places[plan.moves[index]]))
        index += 1
      }
      jobs.append(
        ChunkJob(
          file: move.chunk.file, range: move.chunk.range, chain: chains[encoding],
          decodedByteCount: plan.encodings[encoding].decodedByteCount, copies: copies,
          leaf: plan.results[move.result].path))
    }
    return jobs
  }
}
