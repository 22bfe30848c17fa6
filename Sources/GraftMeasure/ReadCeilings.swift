internal import Glibc
package import GraftCore
package import GraftIO
internal import Synchronization

/// What the machine can read a file with, by loops that share nothing with Graft's read engine.
///
/// Each reads the whole file into the front of one extent, which is populated before the first round: the same memory that a
/// load reads into, so that a ratio compares reading with reading.
package enum ReadCeilings {
  /// Block sizes worth trying on a warm file: smaller ones pay for the calls, larger ones gain nothing.
  package static let warmBlockByteCounts = [256 << 10, 1 << 20, 4 << 20]

  /// Numbers of reads in flight and their sizes worth trying on a cold file.
  package static let coldShapes: [(depth: Int, blockByteCount: Int)] = [
    (1, 4 << 20), (2, 4 << 20), (4, 1 << 20), (4, 4 << 20), (8, 4 << 20), (16, 1 << 20), (16, 4 << 20),
  ]

  /// The bytes that an extent must have for this file: direct reads end at a multiple of 4096.
  package static func extentByteCount(for file: File) -> Int { (file.byteCount + 4095) / 4096 * 4096 }

  /// `pread` of the file in the page cache, by this many threads in blocks of this size.
  ///
  /// - Parameter byteCount: how much of the file is read, from its start; all of it unless given.
  package static func warm(
    _ file: File, byteCount: Int? = nil, into destination: PoolExtent, threadCount: Int, blockByteCount: Int
  ) -> Contestant {
    buffered(
      [(file, byteCount ?? file.byteCount)], isCold: false, into: destination, threadCount: threadCount,
      blockByteCount: blockByteCount)
  }

  /// The same of several files, one after another into the extent.
  package static func warm(
    _ files: [File], into destination: PoolExtent, threadCount: Int, blockByteCount: Int
  ) -> Contestant {
    buffered(
      files.map { ($0, $0.byteCount) }, isCold: false, into: destination, threadCount: threadCount,
      blockByteCount: blockByteCount)
  }

  /// `pread` through the page cache of the file outside of it, by this many threads.
  package static func coldBuffered(
    _ file: File, byteCount: Int? = nil, into destination: PoolExtent, threadCount: Int, blockByteCount: Int
  ) -> Contestant {
    buffered(
      [(file, byteCount ?? file.byteCount)], isCold: true, into: destination, threadCount: threadCount,
      blockByteCount: blockByteCount)
  }

  private static func buffered(
    _ files: [(file: File, byteCount: Int)], isCold: Bool, into destination: PoolExtent, threadCount: Int,
    blockByteCount: Int
  ) -> Contestant {
    let byteCount = files.reduce(0) { $0 + $1.byteCount }
    precondition(destination.byteCount >= byteCount && files.allSatisfy { $0.byteCount <= $0.file.byteCount })
    let name =
      "\(isCold ? "cold " : "")pread, \(MemoryCeilings.threads(threadCount)), \(blockByteCount >> 10) KiB"
    return Contestant(
      blocking: name, byteCount: byteCount,
      prepare: { () throws(GraftError) in
        try destination.populate()
        for (file, byteCount) in files {
          let range = ByteRange(offset: 0, count: byteCount)
          if isCold { try PageCache.empty(of: file, range) } else { try PageCache.warm(file, range) }
        }
      },
      run: { () throws(GraftError) in
        var offset = 0
        for (file, byteCount) in files {
          try read(
            file, byteCount: byteCount, file.rawDescriptor, into: destination, at: offset,
            threadCount: threadCount, blockByteCount: blockByteCount)
          offset += byteCount
        }
      })
  }

  /// `pread` around the page cache of the file outside of it, with this many reads in flight.
  ///
  /// Nil where the file system has no direct I/O. Each read in flight is a thread that waits, which takes next to no time of
  /// the processors. The page cache is emptied before each run, which also makes it fair to others that read through it.
  package static func cold(
    _ file: File, byteCount: Int? = nil, into destination: PoolExtent, depth: Int, blockByteCount: Int
  ) throws(GraftError) -> Contestant? {
    let byteCount = byteCount ?? file.byteCount
    precondition(destination.byteCount >= (byteCount + 4095) / 4096 * 4096)
    precondition(byteCount <= file.byteCount && blockByteCount.isMultiple(of: 4096))
    precondition(unsafe UInt(bitPattern: destination.bytes.baseAddress).isMultiple(of: 4096))
    let direct: DirectDescriptor
    do {
      direct = DirectDescriptor(try file.openDirect())
    } catch  where error.errorNumber == EINVAL {
      return nil
    } catch {
      throw GraftError(.open, error, file: file.path)
    }
    return Contestant(
      blocking: "direct pread, \(depth) in flight, \(blockByteCount >> 10) KiB", byteCount: byteCount,
      prepare: { () throws(GraftError) in
        try destination.populate()
        try PageCache.empty(of: file, ByteRange(offset: 0, count: byteCount))
      },
      run: { () throws(GraftError) in
        try read(
          file, byteCount: byteCount, direct.descriptor.rawValue, into: destination, threadCount: depth,
          blockByteCount: blockByteCount, alignment: 4096)
      })
  }

  private static func read(
    _ file: File, byteCount: Int, _ descriptor: CInt, into destination: PoolExtent, at start: Int = 0,
    threadCount: Int, blockByteCount: Int, alignment: Int = 1
  ) throws(GraftError) {
    try forBlocks(of: blockByteCount, in: byteCount, threadCount: threadCount) {
      (block) throws(GraftError) in
      guard let base = unsafe destination.bytes.baseAddress else { return }
      var done = 0
      while done < block.count {
        // A direct read asks for whole sectors, past the end of the file too; the extent has room for that.
        let wanted = (block.count - done + alignment - 1) / alignment * alignment
        let count = unsafe pread(
          descriptor, base + start + block.offset + done, wanted, off_t(block.offset + done))
        if count == 0 {
          throw GraftError.truncated(file: file.path, range: block, byteCount: block.offset + done)
        }
        if count < 0 {
          if errno == EINTR { continue }
          throw GraftError(.read, SystemCallFailure("pread", errno), file: file.path, range: block)
        }
        done += count
      }
    }
  }
}

/// Owns a descriptor for direct reads that closures share.
private final class DirectDescriptor: Sendable {
  let descriptor: OwnedDescriptor
  init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}
