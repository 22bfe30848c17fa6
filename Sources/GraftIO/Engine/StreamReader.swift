internal import Glibc
package import GraftCore

/// Reads ranges of files from beginning to end, one after the other, on one thread, and has what comes next under way meanwhile.
///
/// For those who take bytes in order and compute on them, as a decoder does. What is in the page cache is copied from there block
/// by block, so short that a block is still in the processor's cache when it is used. What is not is read around the cache by
/// io_uring, a few blocks ahead, also into the range after the one that is read; where there is no ring or no direct I/O, the kernel
/// is asked to read ahead instead.
///
/// The thread that makes it uses it. A block that did not come, for whatever reason, is read again plainly, and throws what that throws.
@safe package final class StreamReader {
  /// What was read so far.
  package private(set) var statistics = ReadStatistics()

  /// Asked for what is read next when all of the range that is read is under way and nothing else was announced.
  ///
  /// So late, because whoever takes something to read takes it from others. It is asked again until it has something.
  package var supply: (() -> (file: File, range: ByteRange)?)?

  /// How a range is read.
  private enum Mode {
    case cached
    case advised
    case direct(DirectFile)
  }

  private struct Stretch {
    let number: Int
    let file: File
    let range: ByteRange
    let mode: Mode
    /// Where the next block begins that is not under way, and the next that is not handed out.
    var submitted: Int
    var position: Int
    /// Up to where the kernel was asked to read ahead.
    var advised: Int
  }

  /// A direct read in flight or completed: part of the first stretch, or of the second when all of the first is under way.
  private struct Block {
    let stretch: Int
    let buffer: Int
    /// The bytes that are wanted of it, and where its first byte is in the file.
    let wanted: ByteRange
    let offset: Int
    let byteCount: Int
    var result: Int?
  }

  private let kernel: any ReadKernel
  private let tuning: Tuning
  /// The range that is read and the one after it, in this order.
  private var stretches: [Stretch] = []
  private var announcedCount = 0
  /// The direct blocks that are under way, in the order of their bytes.
  private var blocks: [Block] = []
  private var freeBuffers: [Int]
  private var lentBuffer: Int?
  private var queue: (any ReadQueue)?
  private var isRingRefused = false
  /// Files that were opened for direct I/O, and those that refused, by their paths; one is all that a usual checkpoint has.
  private var directFiles: [String: DirectFile?] = [:]
  /// The buffers of direct blocks, and one for blocks out of the page cache.
  private let memory: UnsafeMutableRawPointer

  /// Blocks out of the page cache are still in the processor's cache when they are used.
  private static let cachedBlockByteCount = 256 << 10
  /// Direct blocks, of which so many are under way: what keeps a fast disk busy while two threads compute.
  private static let directBlockByteCount = 1 << 20
  private static let depth = 4
  private static let advisedByteCount = 8 << 20
  /// A shorter range is read before anything could be under way.
  private static let leastDirectByteCount = 1 << 20
  private static let openFileLimit = 32

  /// The memory that a reader takes, once it has read anything directly, in bytes.
  package static let byteCount = (depth + 1) * directBlockByteCount

  init(kernel: any ReadKernel, tuning: Tuning) {
    self.kernel = kernel
    self.tuning = tuning
    freeBuffers = Array((0..<Self.depth).reversed())
    // Addresses; pages come with the first direct read.
    unsafe memory = .allocate(byteCount: Self.byteCount, alignment: StagingLayout.maximumAlignment)
  }

  deinit {
    // The kernel lets go of the memory before it goes.
    _ = queue?.abandon()
    unsafe memory.deallocate()
  }

  /// Says what is read next, after what was announced before; at most two ranges are announced and not read to their end.
  package func announce(_ range: ByteRange, of file: File) {
    precondition(stretches.count < 2, "a range is announced when the one before the last has been read")
    let mode = mode(of: range, file)
    stretches.append(
      Stretch(
        number: announcedCount, file: file, range: range, mode: mode, submitted: range.offset,
        position: range.offset,
        advised: range.offset))
    announcedCount += 1
    submitAhead()
    advise(stretches.count - 1)
  }

  /// The next bytes of the range that was announced first, valid until the next call.
  ///
  /// - Throws: `truncated` when the file ends inside the range, `ioFailed` when the system fails.
  package func next() throws(GraftError) -> UnsafeRawBufferPointer {
    takeBack()
    guard let stretch = stretches.first else { preconditionFailure("what is read has been announced") }
    precondition(stretch.position < stretch.range.end, "a range is read once")
    let bytes: UnsafeRawBufferPointer
    submitAhead()
    if stretches.count == 1, isUnderWay(stretch), let next = supply?() { announce(next.range, of: next.file) }
    // Of a direct one no block is under way once the ring has failed.
    if let block = blocks.first, block.stretch == stretch.number {
      unsafe bytes = try takeBlock(of: stretch.file)
    } else {
      advise(0)
      let count = min(Self.cachedBlockByteCount, stretch.range.end - stretch.position)
      let part = ByteRange(offset: stretch.position, count: count)
      let target = unsafe UnsafeMutableRawBufferPointer(start: address(Self.depth), count: count)
      unsafe try stretch.file.readFully(part, into: target)
      statistics.requestCount += 1
      statistics.bytesRead += count
      statistics.bufferedByteCount += count
      unsafe bytes = UnsafeRawBufferPointer(target)
    }
    stretches[0].position += bytes.count
    return unsafe bytes
  }

  /// Ends the range that was announced first, of which the rest is not wanted.
  package func endRange() {
    guard let stretch = stretches.first else { preconditionFailure("what is ended has been announced") }
    takeBack()
    // Its blocks come first; the kernel still writes to those that are not completed.
    while let block = blocks.first, block.stretch == stretch.number {
      waitForFirstBlock()
      freeBuffers.append(block.buffer)
      blocks.removeFirst()
    }
    stretches.removeFirst()
    submitAhead()
  }

  /// Takes back the buffer whose bytes were handed out last.
  private func takeBack() {
    guard let lent = lentBuffer else { return }
    freeBuffers.append(lent)
    lentBuffer = nil
  }

  // MARK: - How

  private func mode(of range: ByteRange, _ file: File) -> Mode {
    // Where nobody can tell, asking the kernel to read ahead costs little.
    let fraction = kernel.residentFraction(of: file, range) ?? ResidencyView.coldFraction
    let mayBeDirect =
      switch tuning.access {
      case .buffered: false
      case .automatic: fraction < ResidencyView.coldFraction
      case .direct: true
      }
    if mayBeDirect, range.count >= Self.leastDirectByteCount, hasRing, let direct = direct(file) {
      return .direct(direct)
    }
    return fraction < ResidencyView.warmFraction ? .advised : .cached
  }

  private var hasRing: Bool {
    if queue != nil { return true }
    guard !isRingRefused, tuning.engine != .threads else { return false }
    do throws(RingRefusal) {
      queue = try kernel.makeRingQueue(capacity: Self.depth)
      return true
    } catch {
      isRingRefused = true
      return false
    }
  }

  private func direct(_ file: File) -> DirectFile? {
    if let known = directFiles[file.path] { return known }
    if directFiles.count == Self.openFileLimit { directFiles = [:] }
    let opened = try? kernel.openDirect(file)
    directFiles[file.path] = .some(opened)
    return opened
  }

  // MARK: - Reading ahead

  /// Whether nothing is left of a range that could be read ahead.
  ///
  /// What is in the page cache is not read ahead, so that it never is.
  private func isUnderWay(_ stretch: Stretch) -> Bool {
    switch stretch.mode {
    case .cached: false
    case .advised: stretch.advised >= stretch.range.end
    case .direct: (queue == nil ? stretch.advised : stretches[0].submitted) >= stretch.range.end
    }
  }

  /// Asks the kernel to read on in a range that is not in the page cache and not read directly.
  private func advise(_ index: Int) {
    let stretch = stretches[index]
    switch stretch.mode {
    case .cached: return
    case .direct: guard queue == nil else { return }
    case .advised: break
    }
    let start = max(stretch.advised, stretch.position)
    guard stretch.position + Self.advisedByteCount / 2 >= stretch.advised, start < stretch.range.end else {
      return
    }
    let end = min(stretch.range.end, start + Self.advisedByteCount)
    stretch.file.willNeed(ByteRange(offset: start, count: end - start))
    stretches[index].advised = end
  }

  /// Puts blocks under way for as many buffers as there are, those of the first range before those of the second.
  private func submitAhead() {
    guard let queue else { return }
    var prepared = 0
    for index in stretches.indices {
      guard case .direct(let file) = stretches[index].mode else { continue }
      while stretches[index].submitted < stretches[index].range.end, blocks.count < Self.depth,
        let buffer = freeBuffers.popLast()
      {
        let (start, rangeEnd) = (stretches[index].submitted, stretches[index].range.end)
        let unit = file.alignment
        let offset = start / unit * unit
        let end = min(rangeEnd, offset + Self.directBlockByteCount)
        let byteCount = (end + unit - 1) / unit * unit - offset
        let read = unsafe KernelRead(
          descriptor: file.descriptor.rawValue, address: address(buffer), byteCount: byteCount,
          offset: offset,
          tag: buffer, isAsynchronous: false)
        queue.prepare(read)
        prepared += 1
        blocks.append(
          Block(
            stretch: stretches[index].number, buffer: buffer,
            wanted: ByteRange(offset: start, count: end - start), offset: offset,
            byteCount: byteCount))
        stretches[index].submitted = end
      }
    }
    guard prepared > 0 else { return }
    do throws(SystemCallFailure) { try queue.submit(waiting: false) } catch { abandon(queue) }
  }

  /// Takes the block that comes next, when it has come.
  private func takeBlock(of file: File) throws(GraftError) -> UnsafeRawBufferPointer {
    waitForFirstBlock()
    let block = blocks.removeFirst()
    lentBuffer = block.buffer
    let lead = block.wanted.offset - block.offset
    let target = unsafe UnsafeMutableRawBufferPointer(
      start: address(block.buffer) + lead, count: block.wanted.count)
    let result = block.result ?? -1
    if result == -Int(EINVAL) || result == -Int(EOPNOTSUPP) {
      // The file system took the flag and does not do what it stands for: ranges to come are read through the cache.
      directFiles[file.path] = .some(nil)
    }
    if result >= lead + block.wanted.count {
      statistics.requestCount += 1
      statistics.bytesRead += result
      statistics.directByteCount += result
    } else {
      unsafe try file.readFully(block.wanted, into: target)
      statistics.requestCount += 2
      statistics.retryCount += 1
      statistics.bytesRead += block.wanted.count
      statistics.bufferedByteCount += block.wanted.count
    }
    return UnsafeRawBufferPointer(target)
  }

  /// Waits until the block that comes next has come, or will not.
  private func waitForFirstBlock() {
    while blocks[0].result == nil {
      guard let queue else { preconditionFailure("a block is under way in the queue") }
      if let completion = queue.nextCompletion() {
        note(completion)
        continue
      }
      do throws(SystemCallFailure) { try queue.submit(waiting: true) } catch { abandon(queue) }
    }
  }

  private func note(_ completion: KernelCompletion) {
    guard let index = blocks.firstIndex(where: { $0.buffer == completion.tag }) else {
      preconditionFailure("a completion is of a block under way")
    }
    blocks[index].result = completion.result
  }

  /// Goes on without a ring that takes no more reads: what did not come is read plainly.
  private func abandon(_ queue: any ReadQueue) {
    let unsubmitted = queue.abandon()
    while let completion = queue.nextCompletion() { note(completion) }
    for tag in unsubmitted { note(KernelCompletion(tag: tag, result: -Int(ECANCELED))) }
    self.queue = nil
    isRingRefused = true
  }

  private func address(_ buffer: Int) -> UnsafeMutableRawPointer {
    unsafe memory + buffer * Self.directBlockByteCount
  }
}

extension ReadEngine {
  /// A reader for the calling thread.
  package func makeStreamReader(tuning: Tuning) -> StreamReader {
    StreamReader(kernel: kernel, tuning: tuning)
  }
}
