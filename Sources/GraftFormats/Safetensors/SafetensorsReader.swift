package import GraftCore
package import GraftIO

/// A safetensors file whose header has been read; it need not be open any more.
package struct SafetensorsFile: Sendable {
  /// The file and its size.
  package let file: StoredFile
  /// Its header.
  package let header: SafetensorsHeader
}

/// Reads the headers of safetensors files, and makes one catalog of one file or of several.
package enum SafetensorsReader {
  /// How much of a file is read at first, in the hope that it holds the whole header.
  ///
  /// A header takes about 110 bytes for each tensor, so that this is enough for 2,000 of them; a longer header costs a
  /// second read. Reading less saves nothing: up to here a read costs what its system call and the seek cost.
  static let speculativeByteCount = 256 << 10

  /// How many files' headers are read at the same time.
  static let concurrentFileCount = 8

  /// Reads and checks the header of one file; two reads at most, and none of the tensors' bytes are kept.
  package static func header(
    of source: any ByteSource, naming: SafetensorsNaming = .nested, limits: Limits = Limits()
  ) async throws(GraftError) -> SafetensorsHeader {
    let lengthCount = SafetensorsHeader.lengthFieldByteCount
    let head = try await source.read(
      ByteRange(offset: 0, count: Swift.min(speculativeByteCount, source.byteCount)))
    let jsonCount = try SafetensorsHeader.jsonByteCount(
      head: head, file: source.name, fileByteCount: source.byteCount, limits: limits)
    // The count has been checked against the limit and the file's length, so that the memory it takes is bounded.
    if lengthCount + jsonCount <= head.count {
      return try SafetensorsHeader(
        parsing: head.span.extracting(lengthCount..<lengthCount + jsonCount), file: source.name,
        fileByteCount: source.byteCount, naming: naming, limits: limits)
    }
    let json = try await source.read(ByteRange(offset: lengthCount, count: jsonCount))
    return try SafetensorsHeader(
      parsing: json.span, file: source.name, fileByteCount: source.byteCount, naming: naming, limits: limits)
  }

  /// The catalog of one file.
  package static func catalog(
    of source: any ByteSource, naming: SafetensorsNaming = .nested, limits: Limits = Limits()
  ) async throws(GraftError) -> Catalog {
    let file = SafetensorsFile(
      file: StoredFile(path: source.name, byteCount: source.byteCount),
      header: try await header(of: source, naming: naming, limits: limits))
    return try catalog(of: [file], naming: naming, limits: limits)
  }

  /// The catalog of several files, in their order; a tensor that is in two of them is an error that names both.
  package static func catalog(
    of files: [SafetensorsFile], naming: SafetensorsNaming,
    limits: Limits,
    metadata: [(key: String, value: String)] = []
  ) throws(GraftError) -> Catalog {
    var tree = SafetensorsTree(
      naming: naming, limits: limits, files: files.map(\.file.path),
      tensorCount: files.reduce(0) { $0 + $1.header.tensors.count })
    for (index, file) in files.enumerated() {
      for tensor in file.header.tensors { try tree.add(tensor, file: index) }
    }
    return Catalog(
      format: SafetensorsFormat.name,
      files: files.map(\.file),
      tree: tree.finish(), metadata: merged(files, with: metadata))
  }

  /// The metadata of all files: what they agree on once, and what one says differently from an earlier one under the key
  /// with the file's name behind it, so that nothing is lost.
  private static func merged(
    _ files: [SafetensorsFile],
    with metadata: [(key: String, value: String)]
  ) -> [(key: String, value: String)] {
    var result: [(key: String, value: String)] = []
    var values: [Key: String] = [:]
    func add(_ key: String, _ value: String, from file: String?) {
      if let known = values[Key(key)] {
        if known.utf8.elementsEqual(value.utf8) { return }
        if let file { add("\(key) (\(file.split(separator: "/").last ?? ""))", value, from: nil) }
        return
      }
      values[Key(key)] = value
      result.append((key: key, value: value))
    }
    for file in files {
      for entry in file.header.metadata { add(entry.key, entry.value, from: file.file.path) }
    }
    for entry in metadata { add(entry.key, entry.value, from: "index") }
    return result
  }

  /// Opens files, reads their headers and closes them, a few at a time; there may be more than a process can hold open.
  static func open(
    _ paths: [String], naming: SafetensorsNaming, limits: Limits
  ) async throws(GraftError) -> [SafetensorsFile] {
    typealias Opened = (index: Int, file: Result<SafetensorsFile, GraftError>)
    let results = await withTaskGroup(of: Opened.self) { group in
      var results = [Result<SafetensorsFile, GraftError>?](repeating: nil, count: paths.count)
      var next = 0
      var tensorCount = 0
      var hasFailed = false
      func start() {
        guard next < paths.count, !hasFailed else { return }
        let index = next
        next += 1
        group.addTask {
          do throws(GraftError) {
            let source = try await FileByteSource(opening: paths[index])
            let header = try await header(of: source, naming: naming, limits: limits)
            let file = StoredFile(path: source.name, byteCount: source.byteCount)
            return (index, .success(SafetensorsFile(file: file, header: header)))
          } catch {
            return (index, .failure(error))
          }
        }
      }
      for _ in 0..<concurrentFileCount { start() }
      while let opened = await group.next() {
        results[opened.index] = opened.file
        switch opened.file {
        case .success(let file):
          // Past the limit the tree will refuse them; until then no more headers are gathered.
          tensorCount += file.header.tensors.count
          hasFailed = hasFailed || tensorCount > limits.leafCount
        case .failure: hasFailed = true
        }
        start()
      }
      return results
    }
    // Files are started in order, so that none before the first failure is left out; thrown is the first in that order, so
    // that the same folder gives the same error.
    var files: [SafetensorsFile] = []
    files.reserveCapacity(paths.count)
    for result in results {
      guard let result else { throw SafetensorsTree.tooMany(limit: limits.leafCount) }
      files.append(try result.get())
    }
    return files
  }
}
