package import Glibc
package import GraftCore

/// One read for the kernel.
@safe package struct KernelRead {
  /// The descriptor of the file.
  package var descriptor: CInt
  /// Where the bytes go, or the first of them; valid until the read is completed.
  package var address: UnsafeMutableRawPointer
  /// Where they go if that is not one memory: pieces that are together as long as the read, and ``address`` is the first one's.
  ///
  /// The list itself is valid until the read is completed, too.
  package var segments: UnsafeBufferPointer<iovec>?
  /// How many bytes.
  package var byteCount: Int
  /// From where in the file.
  package var offset: Int
  /// What the completion is known by.
  package var tag: Int
  /// Whether the bytes are expected to come from the disk, so that submitting must not wait for them.
  package var isAsynchronous: Bool

  /// A read.
  package init(
    descriptor: CInt, address: UnsafeMutableRawPointer, byteCount: Int, offset: Int, tag: Int,
    isAsynchronous: Bool, segments: UnsafeBufferPointer<iovec>? = nil
  ) {
    self.descriptor = descriptor
    unsafe self.address = address
    unsafe self.segments = segments
    self.byteCount = byteCount
    self.offset = offset
    self.tag = tag
    self.isAsynchronous = isAsynchronous
  }
}

/// What became of one ``KernelRead``.
package struct KernelCompletion: Hashable, Sendable {
  /// The tag of the read.
  package var tag: Int
  /// The number of bytes read, 0 at the end of the file, or a negated errno.
  package var result: Int

  /// The completion of the read with this tag.
  package init(tag: Int, result: Int) {
    self.tag = tag
    self.result = result
  }
}

/// One worker's way of reading: it prepares reads, submits them together, and takes completions.
///
/// It is used by one thread. Between ``submit(waiting:)`` and the completion the kernel owns the read's memory.
package protocol ReadQueue: AnyObject {
  /// How many reads may be prepared or in flight at once.
  var capacity: Int { get }

  /// Whether submitting does the read, so that the thread waits for the disk itself and others have to read beside it.
  var isBlocking: Bool { get }

  /// Prepares a read; at most ``capacity`` are prepared or in flight.
  func prepare(_ read: KernelRead)

  /// Hands prepared reads to the kernel; it may leave some for the next call.
  ///
  /// - Parameter waiting: Whether to wait for a completion; some read is prepared or in flight then.
  /// - Throws: What the kernel answers when it takes no more reads at all; ``abandon()`` is next.
  func submit(waiting: Bool) throws(SystemCallFailure)

  /// The next completion that is there, nil when there is none yet.
  func nextCompletion() -> KernelCompletion?

  /// Waits until the kernel has let go of all memory; the queue takes no more reads.
  ///
  /// - Returns: The tags of the reads that were prepared but never submitted. Completions of the others come from
  ///   ``nextCompletion()``.
  func abandon() -> [Int]
}

/// A file opened a second time for direct I/O.
package final class DirectFile: Sendable {
  /// The descriptor.
  package let descriptor: OwnedDescriptor
  /// What memory, offset and length must be multiples of; a power of two.
  package let alignment: Int

  /// Takes over a descriptor that was opened for direct I/O.
  package init(_ descriptor: consuming OwnedDescriptor, alignment: Int) {
    self.descriptor = descriptor
    self.alignment = alignment
  }
}

/// What a run needs of the operating system; tests put a kernel with faults in its place.
package protocol ReadKernel: Sendable {
  /// A ring for the calling thread.
  func makeRingQueue(capacity: Int) throws(RingRefusal) -> any ReadQueue

  /// A queue that does each read when it is submitted.
  func makeBlockingQueue() -> any ReadQueue

  /// How much of the range is in the page cache, 0 … 1; nil when nobody can tell.
  func residentFraction(of file: File, _ range: ByteRange) -> Double?

  /// Reads what the page cache has, from the range's beginning on, and never waits for the disk.
  ///
  /// - Returns: How many bytes that is; fewer than the range has wherever anything speaks against reading them in this way.
  func readResident(_ file: File, _ range: ByteRange, into memory: UnsafeMutableRawBufferPointer) -> Int

  /// Opens the file for direct I/O.
  ///
  /// - Throws: Where the file system has none, or needs more alignment than is served: EINVAL or EOPNOTSUPP.
  func openDirect(_ file: File) throws(SystemCallFailure) -> DirectFile
}
