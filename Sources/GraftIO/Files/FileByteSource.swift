package import GraftCore

/// A file as a source of bytes by range; what blocks runs on threads of GraftIO's own.
package struct FileByteSource: ByteSource {
  /// The file.
  package let file: File

  /// A source over a file that is open already.
  package init(_ file: File) { self.file = file }

  /// Opens the file, on a thread that may block.
  package init(opening path: String) async throws(GraftError) {
    file = try await BlockingThreads.shared.run { () throws(GraftError) in try File(opening: path) }
  }

  package var name: String { file.path }
  package var byteCount: Int { file.byteCount }

  package func read(_ range: ByteRange) async throws(GraftError) -> [UInt8] {
    let file = file
    return try await BlockingThreads.shared.run { () throws(GraftError) in try file.readFully(range) }
  }
}
