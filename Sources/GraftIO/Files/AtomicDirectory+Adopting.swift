internal import CGraftSystem
internal import Glibc
package import GraftCore

/// A file of somebody's that has become a part of a folder in the making, without its bytes having been through this process.
package struct AdoptedFile: Hashable, Sendable {
  /// How the bytes came.
  package enum Way: String, Hashable, Sendable {
    /// It is the same file under a second name.
    case hardLink = "hard link"
    /// A file of its own that shares the bytes on the disk for as long as nobody changes them.
    case reflink
    /// A copy, made by the kernel.
    case copy
  }

  /// How the bytes came.
  package var way: Way
  /// What the file in the folder is.
  package var stamp: FileStamp
  /// The bytes that were copied.
  package var copiedByteCount = 0
  /// The ranges that a copy has, in order; nil where the file has all bytes at their old places.
  var ranges: [ByteRange]?
  /// Where each of the ranges begins in the copy.
  var places: [Int] = []

  /// Where in the folder's file bytes are that were at `range` of the original.
  package func place(of range: ByteRange) -> ByteRange {
    guard let ranges else { return range }
    // The last range that begins at or before it, by bisection.
    var (low, high) = (0, ranges.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if ranges[middle].offset <= range.offset { low = middle } else { high = middle }
    }
    precondition(low < ranges.count && ranges[low].contains(range), "these bytes were not asked for")
    return ByteRange(offset: places[low] + range.offset - ranges[low].offset, count: range.count)
  }
}

extension AtomicDirectory {
  /// The ways to try, in the order in which they are tried.
  package static let adoptingWays: [AdoptedFile.Way] = [.hardLink, .reflink, .copy]

  /// The most bytes that the kernel copies between two looks at whether to go on.
  private static let copyStepByteCount = 64 << 20

  /// Brings a file that exists into the folder: by a hard link, else by sharing its bytes, else by copying those that are wanted.
  ///
  /// The folder that it goes into exists. Blocks the calling thread.
  ///
  /// - Parameters:
  ///   - source: the file; a symbolic link is followed.
  ///   - byteCount: the size that it must have.
  ///   - name: its name in the folder.
  ///   - wanted: the ranges that matter, in any order; a copy has them alone, one after the other.
  ///   - ways: the ways to try.
  ///   - isCancelled: looked at now and then while bytes are copied.
  /// - Throws: `fileChanged` when it has another size, or changes meanwhile; `noSpace`, `cancelled` and the like.
  package func adopt(
    _ source: String, byteCount: Int, as name: String, wanted: () -> [ByteRange],
    ways: [AdoptedFile.Way] = adoptingWays, copied: (_ byteCount: Int) -> Void = { _ in },
    isCancelled: () -> Bool = { false }
  ) throws(GraftError) -> AdoptedFile {
    let file = try File(opening: source)
    guard file.byteCount == byteCount else {
      throw GraftError.changed("\(file.byteCount) bytes instead of \(byteCount)", file: source)
    }
    let path = Directory.path(of: name, in: temporaryPath)
    if ways.contains(.hardLink) {
      do {
        try systemCall(negatedErrno: "linkat") { unsafe graft_system_link(source, path) }
        // The name may have gone to another file since that one was opened.
        let linked = try FileStatus(at: path)
        if let change = file.identity.change(to: linked.identity) {
          throw GraftError.changed(change, file: source)
        }
        return AdoptedFile(way: .hardLink, stamp: try FileStamp(at: path))
      } catch let error as GraftError {
        throw error
      } catch let error as SystemCallFailure {
        // Another file system; a file of somebody else's; a file system without links; too many of them.
        guard [EXDEV, EPERM, EACCES, EMLINK, EOPNOTSUPP, ENOSYS].contains(error.errorNumber) else {
          throw GraftError(.create, error, file: source)
        }
      } catch {
        preconditionFailure("nothing else is thrown")
      }
    }
    let made = try createFile(name)
    if ways.contains(.reflink), graft_system_clone(file.rawDescriptor, made.rawDescriptor) == 0 {
      try file.checkUnchanged()
      return AdoptedFile(way: .reflink, stamp: try FileStamp(at: path))
    }
    var copy = try Self.copy(wanted(), of: file, to: made, copied: copied, isCancelled: isCancelled)
    try file.checkUnchanged()
    copy.stamp = try FileStamp(at: path)
    return copy
  }

  private static func copy(
    _ wanted: [ByteRange], of file: File, to made: WritableFile, copied: (Int) -> Void,
    isCancelled: () -> Bool
  ) throws(GraftError) -> AdoptedFile {
    let ranges = merged(wanted)
    var result = AdoptedFile(
      way: .copy,
      stamp: FileStamp(
        byteCount: 0, modificationTime: FileTime(seconds: 0, nanoseconds: 0), inode: 0, birthTime: nil),
      ranges: ranges)
    try made.reserve(byteCount: ranges.reduce(0) { $0 + $1.count })
    var end = 0
    for range in ranges {
      guard range.end <= file.byteCount else {
        throw GraftError.truncated(file: file.path, range: range, byteCount: file.byteCount)
      }
      result.places.append(end)
      var done = 0
      while done < range.count {
        if isCancelled() { throw GraftError(.cancelled, "the task was cancelled", file: made.path) }
        let (offset, count) = (range.offset + done, min(range.count - done, copyStepByteCount))
        let (from, to, place) = (file.rawDescriptor, made.rawDescriptor, end + done)
        let step = graft_system_copy(from, Int64(offset), to, Int64(place), count)
        if step == -Int64(EINTR) { continue }
        guard step >= 0 else {
          throw GraftError(
            .write, SystemCallFailure("copy_file_range", CInt(-step)), file: made.path,
            range: ByteRange(offset: place, count: range.count - done))
        }
        guard step > 0 else {
          throw GraftError.truncated(file: file.path, range: range, byteCount: offset)
        }
        made.startFlushing(ByteRange(offset: place, count: Int(step)))
        done += Int(step)
        copied(Int(step))
      }
      end += range.count
    }
    result.copiedByteCount = end
    return result
  }

  /// The same bytes in order, each once.
  private static func merged(_ ranges: [ByteRange]) -> [ByteRange] {
    var result: [ByteRange] = []
    for range in ranges.sorted(by: { ($0.offset, $0.count) < ($1.offset, $1.count) }) {
      if let last = result.last, range.offset <= last.end {
        result[result.count - 1] = ByteRange(
          offset: last.offset, count: max(last.end, range.end) - last.offset)
      } else {
        result.append(range)
      }
    }
    return result
  }
}
