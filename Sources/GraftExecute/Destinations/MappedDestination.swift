package import GraftCore
package import GraftIO

/// Results that are views of their files: no byte is read until it is touched.
package struct MappedDestination: Sendable {
  /// The results that could be mapped; nil for those that have to be read.
  package private(set) var tensors: [Tensor?]

  /// Maps the files of all results that lie in one piece in a file.
  ///
  /// - Throws: ``GraftError`` when a file cannot be opened or mapped, or ends before a leaf does.
  package init(_ plan: Plan) async throws(GraftError) {
    tensors = try await BlockingThreads.shared.run { () throws(GraftError) in
      var tensors = [Tensor?](repeating: nil, count: plan.results.count)
      var moveCounts = [Int](repeating: 0, count: plan.results.count)
      for move in plan.moves { moveCounts[move.result] += 1 }
      var mapped: (index: Int, storage: BorrowedStorage)?
      for move in plan.moves {
        let spec = plan.results[move.result].spec
        guard moveCounts[move.result] == 1, move.isReadIntoPlace, move.copy.runCount == spec.byteCount
        else { continue }
        if mapped?.index != move.chunk.file {
          let file = try MappedFile(try plan.files[move.chunk.file].open())
          // Unchanging by the caller's promise alone, which `Destination.mapped` asks for.
          let storage = unsafe BorrowedStorage(owner: file, bytes: file.bytes, location: .mapped)
          mapped = (move.chunk.file, storage)
        }
        guard let storage = mapped?.storage else { continue }
        // `open` has checked the file's size, and the format that every chunk lies within it.
        tensors[move.result] = Tensor(
          spec: spec, storage: storage, byteOffset: move.chunk.range.offset + move.copy.sourceOffset)
      }
      return tensors
    }
  }
}

extension StoredFile {
  /// Opens the file, which must still have the size that it had when the checkpoint was opened.
  ///
  /// - Throws: `fileChanged` naming the file when it has not.
  package func open() throws(GraftError) -> File {
    let file = try File(opening: path)
    guard file.byteCount == byteCount else {
      throw GraftError(
        .fileChanged, "the file has changed since the checkpoint was opened", file: path,
        expected: "\(byteCount) bytes", found: "\(file.byteCount)", remedy: "open the checkpoint again")
    }
    return file
  }
}
