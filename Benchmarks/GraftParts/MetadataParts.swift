internal import GraftCore
internal import GraftFormats
internal import GraftIO
internal import Synchronization

extension Part {
  /// Reading what says where tensors are.
  static let metadata: [Part] = [
    Part("parse a safetensors header") { (size, _) throws(GraftError) in
      let leafCount = size == .full ? 10_000 : 100
      let (json, fileByteCount) = safetensorsHeader(leafCount: leafCount)
      return Prepared(workCount: leafCount) { () throws(GraftError) in
        let header = try SafetensorsHeader(
          parsing: json.span, file: "model.safetensors", fileByteCount: fileByteCount)
        return ["tensors": header.tensors.count]
      }
    },
    Part("parse JSON") { (size, _) throws(GraftError) in
      let leafCount = size == .full ? 10_000 : 100
      let (json, _) = safetensorsHeader(leafCount: leafCount)
      return Prepared(workCount: json.count) { () throws(GraftError) in
        do throws(JSONError) {
          return ["members": try JSONValue(parsing: json).members?.count ?? 0]
        } catch {
          throw GraftError(.corrupt, "the JSON that was made for this is none: \(error)")
        }
      }
    },
    Part("walk a B+tree") { (size, _) throws(GraftError) in
      let keyCount = size == .full ? 100_000 : 2_000
      let database = try MemoryDatabase(
        keyCount: keyCount, nodeByteCountLimit: size == .full ? 256 << 10 : 8 << 10)
      return Prepared(workCount: keyCount) { () async throws(GraftError) in
        database.reads.withLock { $0 = 0 }
        let reader = try await OCDBTReader(opening: database)
        let entries = try await reader.entries()
        let reads = database.reads.withLock { $0 }
        // Not the bytes: nodes are compressed, by whatever version of zstd is there.
        return ["entries": entries.count, "reads": reads]
      }
    },
    Part("build a B+tree") { (size, _) throws(GraftError) in
      let keyCount = size == .full ? 100_000 : 2_000
      return Prepared(workCount: keyCount) { () throws(GraftError) in
        let database = try MemoryDatabase(keyCount: keyCount, nodeByteCountLimit: 256 << 10)
        return ["nodes": database.nodeCount]
      }
    },
  ]

  /// The header of a model of matrices, and the bytes of the file that it claims.
  private static func safetensorsHeader(leafCount: Int) -> (json: [UInt8], fileByteCount: Int) {
    var writer = JSONWriter()
    writer.beginObject()
    for leaf in 0..<leafCount {
      writer.key("model.layers.\(leaf / 8).part\(leaf % 8).weight")
      writer.beginObject()
      writer.key("dtype")
      writer.string("BF16")
      writer.key("shape")
      writer.beginArray()
      for extent in [64, 32] { writer.integer(extent) }
      writer.endArray()
      writer.key("data_offsets")
      writer.beginArray()
      for offset in [leaf, leaf + 1] { writer.integer(offset * 4096) }
      writer.endArray()
      writer.endObject()
    }
    writer.endObject()
    return (writer.bytes, 8 + writer.bytes.count + leafCount * 4096)
  }
}

/// A database of chunks' places in memory, and how much of it was read.
private final class MemoryDatabase: SourceFolder {
  let name = "memory"
  let reads = Mutex(0)
  let nodeCount: Int
  private let files: [String: [UInt8]]

  init(keyCount: Int, nodeByteCountLimit: Int) throws(GraftError) {
    var nodes: [UInt8] = []
    var nodeCount = 0
    let file = OCDBTFile(path: "d/nodes")
    let values = OCDBTFile(path: "d/values")
    var builder = OCDBTBuilder(nodeByteCountLimit: nodeByteCountLimit) { bytes in
      let range = ByteRange(offset: nodes.count, count: bytes.count)
      nodes += bytes
      nodeCount += 1
      return OCDBTReference(file: file, range: range)
    }
    for key in 0..<keyCount {
      // In the order of their bytes, as every number has six digits.
      let name = "params.layers_\(1_000_000 + key).kernel/c/0/0"
      let range = ByteRange(offset: key * 65_536, count: 65_536)
      try builder.add(Array(name.utf8), .stored(OCDBTReference(file: values, range: range)))
    }
    let manifest = try builder.finish(identity: [UInt8](repeating: 7, count: 16), commitTime: 1)
    self.nodeCount = nodeCount
    files = ["manifest.ocdbt": manifest, "d/nodes": nodes]
  }

  func source(at path: String) async throws(GraftError) -> any ByteSource {
    guard let bytes = files[path] else {
      throw GraftError(.notFound, "there is no file of this name", file: path)
    }
    return Source(name: path, bytes: bytes, folder: self)
  }

  func entries(in path: String) async throws(GraftError) -> [FolderEntry] { [] }

  func byteCounts(of paths: [String]) async throws(GraftError) -> [Int?] { paths.map { files[$0]?.count } }

  private struct Source: ByteSource {
    let name: String
    let bytes: [UInt8]
    let folder: MemoryDatabase
    var byteCount: Int { bytes.count }

    func read(_ range: ByteRange) async throws(GraftError) -> [UInt8] {
      guard range.end <= bytes.count else {
        throw GraftError.truncated(file: name, range: range, byteCount: bytes.count)
      }
      folder.reads.withLock { $0 += 1 }
      return Array(bytes[range.offset..<range.end])
    }
  }
}
