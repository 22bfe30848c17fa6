import GraftCore
import GraftFormats
import GraftIO
import Synchronization

/// Files in memory, with a count of what is read of them.
final class MemoryFolder: SourceFolder, Sendable {
  let name = "memory"
  private let files: [String: [UInt8]]
  private let log = Mutex<[String: [ByteRange]]>([:])

  init(_ files: [String: [UInt8]]) { self.files = files }

  /// What was read of each file, in order.
  var reads: [String: [ByteRange]] { log.withLock { $0 } }

  func source(at path: String) async throws(GraftError) -> any ByteSource {
    guard let bytes = files[path] else {
      throw GraftError(.notFound, "there is no file or folder of this name", file: name(of: path))
    }
    return Source(name: name(of: path), bytes: bytes) { range in
      self.log.withLock { $0[path, default: []].append(range) }
    }
  }

  func entries(in path: String) async throws(GraftError) -> [FolderEntry] {
    let prefix = path.isEmpty ? "" : path + "/"
    var kinds: [String: FileKind] = [:]
    for file in files.keys where file.hasPrefix(prefix) {
      let rest = file.dropFirst(prefix.count)
      let first = String(rest.prefix { $0 != "/" })
      kinds[first] = first.count == rest.count ? .regular : .directory
    }
    if kinds.isEmpty {
      throw GraftError(.notFound, "there is no file or folder of this name", file: name(of: path))
    }
    return kinds.sorted { $0.key < $1.key }.map { FolderEntry(name: $0.key, kind: $0.value) }
  }

  func byteCounts(of paths: [String]) async throws(GraftError) -> [Int?] { paths.map { files[$0]?.count } }

  private struct Source: ByteSource {
    let name: String
    let bytes: [UInt8]
    let note: @Sendable (ByteRange) -> Void
    var byteCount: Int { bytes.count }

    func read(_ range: ByteRange) async throws(GraftError) -> [UInt8] {
      note(range)
      guard range.end <= bytes.count else {
        throw GraftError.truncated(file: name, range: range, byteCount: bytes.count)
      }
      return Array(bytes[range.offset..<range.end])
    }
  }
}
