package import GraftCore

/// A piece of memory that a read fills, among several.
///
/// Unchecked for the address, as ``ReadDestination``.
@safe package struct MemorySegment: @unchecked Sendable {
  /// Where it begins.
  package var address: UnsafeMutableRawPointer
  /// How long it is.
  package var byteCount: Int

  /// A piece of memory.
  package init(address: UnsafeMutableRawPointer, byteCount: Int) {
    unsafe self.address = address
    self.byteCount = byteCount
  }
}

/// Where the bytes of one read go.
///
/// Unchecked for the address: whoever makes a destination gives its memory over to the engine until the run has ended,
/// and the engine lets one worker at a time write to it.
@safe package enum ReadDestination: @unchecked Sendable {
  /// Into this memory, which has room for them and stays valid until the run has returned or thrown.
  case memory(UnsafeMutableRawPointer)
  /// Into these one after another: at most ``mostSegments``, none of them empty, together as long as the read.
  case memories([MemorySegment])
  /// Into a slot of the engine, lent to ``ReadWork/completed(_:_:)`` and reused after it.
  case slot

  /// The most pieces of memory of one read: as many as Linux copies to its stack; for more it allocates.
  package static let mostSegments = 8
}

/// One range of one file that is read as a unit, at most ``StagingLayout/operationByteCount`` bytes long.
package struct ReadOperation: Sendable {
  /// The index of the file among the run's files.
  package var file: Int
  /// The bytes to read.
  package var range: ByteRange
  /// Where they go.
  package var destination: ReadDestination
  /// Whatever the work wants to find again when the read is completed.
  package var token: Int
  /// The length of the whole contiguous range that this operation is a part of; it decides on direct I/O.
  package var extentByteCount: Int
  /// How many of the bytes somebody wants; the rest lies in gaps that are read through.
  package var wantedByteCount: Int
  /// Whether ``ReadWork/warmParts(of:)`` has something better where the bytes are in the page cache.
  package var hasWarmParts = false

  /// An operation; its extent and the number of wanted bytes are the range's own length unless given.
  package init(
    file: Int, range: ByteRange, destination: ReadDestination, token: Int = 0, extentByteCount: Int? = nil,
    wantedByteCount: Int? = nil
  ) {
    self.file = file
    self.range = range
    self.destination = destination
    self.token = token
    self.extentByteCount = extentByteCount ?? range.count
    self.wantedByteCount = wantedByteCount ?? range.count
  }
}

/// What a run of the ``ReadEngine`` reads: a stream of operations that the engine's workers pull.
///
/// The methods are called on several of the engine's threads at once. They may compute and copy, and must not wait for
/// another run of an engine.
package protocol ReadWork: Sendable {
  /// The next operation, nil when there is none any more.
  ///
  /// Operations in the order of files and offsets are read fastest. After it has given nil it is asked again only by
  /// other workers.
  func next() -> ReadOperation?

  /// Sees to it that the memory of an operation may be written to; called on the thread that pulled it, just before it begins.
  ///
  /// - Throws: Whatever is to end the run.
  func prepare(_ operation: ReadOperation) throws(GraftError)

  /// Called once for each operation when its bytes are in place, in no particular order.
  ///
  /// - Parameter bytes: The bytes of the operation's range, in its own memory or in a slot; the slot is reused after
  ///   this returns. None where they lie in several memories.
  /// - Throws: Whatever is to end the run. After an error or a cancellation no further operation is completed.
  func completed(_ operation: ReadOperation, _ bytes: UnsafeRawBufferPointer) throws(GraftError)

  /// The operations to do instead of this one, because its bytes are in the page cache and reading gaps does not pay.
  ///
  /// Only asked of operations that say so.
  func warmParts(of operation: ReadOperation) -> [ReadOperation]

  /// The operations to do instead of this one, because it is to be read directly, which goes to one memory at a time.
  ///
  /// Only asked of operations with several memories; none of the parts has several.
  func directParts(of operation: ReadOperation) -> [ReadOperation]
}

extension ReadWork {
  package func prepare(_ operation: ReadOperation) throws(GraftError) {}

  package func warmParts(of operation: ReadOperation) -> [ReadOperation] { [] }

  package func directParts(of operation: ReadOperation) -> [ReadOperation] {
    guard case .memories(let segments) = operation.destination else { return [operation] }
    var offset = operation.range.offset
    return segments.map { segment in
      defer { offset += segment.byteCount }
      return unsafe ReadOperation(
        file: operation.file, range: ByteRange(offset: offset, count: segment.byteCount),
        destination: .memory(segment.address), token: operation.token)
    }
  }
}
