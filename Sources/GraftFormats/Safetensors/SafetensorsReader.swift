package import GraftCore
package import GraftIO

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
    let header = try await header(of: source, naming: naming, limits: limits)
    return try catalog(of: [(source, header)], naming: naming, limits: limits)
  }

  /// The catalog of several files, in their order; a tensor that is in two of them is an error that names both.
  package static func catalog(
    of files: [(source: any ByteSource, header: SafetensorsHeader)], naming: SafetensorsNaming,
    limits: Limits,
    metadata: [(key: String, value: String)] = []
  ) throws(GraftError) -> Catalog {
    var tree = SafetensorsTree(
      naming: naming, limits: limits, files: files.map(\.source.name),
      tensorCount: files.reduce(0) { $0 + $1.header.tensors.count })
    for (index, file) in files.enumerated() {
      for tensor in file.header.tensors { try tree.add(tensor, file: index) }
    }
    return Catalog(
      format: SafetensorsFormat.name,
      files: files.map { StoredFile(path: $0.source.name, byteCount: $0.source.byteCount) },
      tree: tree.finish(), metadata: merged(files, with: metadata))
  }

  /// The metadata of all files: what they agree on once, and what one says differently from an earlier one under the key
  /// with the file's name behind it, so that nothing is lost.
  private static func merged(
    _ files: [(source: any ByteSource, header: SafetensorsHeader)],
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
      for entry in file.header.metadata { add(entry.key, entry.value, from: file.source.name) }
    }
    for entry in metadata { add(entry.key, entry.value, from: "index") }
    return result
  }

  /// Opens files and reads their headers, a few at a time.
  static func open(
    _ paths: [String], naming: SafetensorsNaming, limits: Limits
  ) async throws(GraftError) -> [(source: any ByteSource, header: SafetensorsHeader)] {
    typealias Opened = (
      index: Int, file: Result<(source: any ByteSource, header: SafetensorsHeader), GraftError>
    )
    let results = await withTaskGroup(of: Opened.self) { group in
      var results = [Result<(source: any ByteSource, header: SafetensorsHeader), GraftError>?](
        repeating: nil, count: paths.count)
      var next = 0
      var failed = false
      func start() {
        guard next < paths.count, !failed else { return }
        let index = next
        next += 1
        group.addTask {
          do throws(GraftError) {
            let source = try await FileByteSource(opening: paths[index])
            let header = try await header(of: source, naming: naming, limits: limits)
            return (index, .success((source, header)))
          } catch {
            return (index, .failure(error))
          }
        }
      }
      for _ in 0..<concurrentFileCount { start() }
      while let opened = await group.next() {
        results[opened.index] = opened.file
        if case .failure = opened.file { failed = true }
        start()
      }
      return results
    }
    // Of several failures, the first in the order of the files is thrown, so that the same folder gives the same error.
    var files: [(source: any ByteSource, header: SafetensorsHeader)] = []
    files.reserveCapacity(paths.count)
    for result in results { if let result { files.append(try result.get()) } }
    return files
  }
}
