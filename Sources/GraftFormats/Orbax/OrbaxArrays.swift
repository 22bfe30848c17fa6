internal import GraftCore
internal import GraftIO

/// The arrays of a saved tree: their metadata and chunks, in an OCDBT database or in folders of their own.
struct OrbaxArrays {
  let folder: any SourceFolder
  let metadata: OrbaxTreeMetadata
  let limits: Limits

  /// The files that chunks refer to.
  struct Files {
    private var paths: [String] = []
    // By their bytes: as strings, two spellings of é would be one file.
    private var numbers: [Key: Int] = [:]
    /// Neighbours mostly lie in one file.
    private var latest: (key: Key, number: Int)?

    /// The number of a file, which is added when it is new.
    mutating func number(of path: String) -> Int {
      let key = Key(path)
      if let latest, latest.key == key { return latest.number }
      let number = numbers[key] ?? paths.count
      if number == paths.count {
        numbers[key] = number
        paths.append(path)
      }
      latest = (key, number)
      return number
    }

    /// The files with their sizes.
    ///
    /// - Throws: `notFound` for one that is not there.
    func finished(in folder: any SourceFolder) async throws(GraftError) -> [StoredFile] {
      let counts = try await folder.byteCounts(of: paths)
      var files: [StoredFile] = []
      for (path, count) in zip(paths, counts) {
        guard let count else {
          throw GraftError(
            .notFound, "a data file of the checkpoint is missing", file: folder.name(of: path),
            remedy: "the checkpoint is incomplete: copy or download it again")
        }
        files.append(StoredFile(path: folder.name(of: path), byteCount: count))
      }
      return files
    }
  }

  /// The arrays of these names, in their order, and the files that they refer to.
  ///
  /// An array that is stored in a way that Graft does not read is a leaf that says so.
  func leaves(
    _ leaves: [(path: TreePath, name: String)]
  ) async throws(GraftError) -> (leaves: [StoredLeaf], files: [StoredFile]) {
    let result: (leaves: [StoredLeaf], files: [StoredFile])
    if try await usesOCDBT() {
      result = try await inDatabase(leaves)
    } else {
      result = try await inFolders(leaves)
    }
    // Chunks past a file's end are found here, with the leaf's name, rather than when they are read.
    for (leaf, stored) in zip(leaves, result.leaves) {
      guard case .tensor(_, let layout, _) = stored else { continue }
      for case .file(let chunk) in layout.shards?.places ?? layout.chunks {
        let file = result.files[chunk.file]
        guard chunk.range.end <= file.byteCount else {
          var error = GraftError.truncated(file: file.path, range: chunk.range, byteCount: file.byteCount)
          error.leaf = leaf.path
          throw error
        }
      }
    }
    return result
  }

  /// Whether the arrays are in a database.
  func usesOCDBT() async throws(GraftError) -> Bool {
    if let uses = metadata.usesOCDBT { return uses }
    return try await folder.byteCounts(of: [OCDBTManifest.fileName]).first.flatMap { $0 } != nil
  }

  private var metadataName: String { metadata.usesZarr3 ? "zarr.json" : ".zarray" }

  /// What the keys of an array begin with; a tree that is one leaf has it at the root.
  private static func prefix(_ name: String) -> String { name.isEmpty ? "" : name + "/" }

  /// What an array's metadata says: an array that Graft reads, or one of which it can only say what it is.
  private enum Described: Sendable {
    case array(ZarrArray)
    case unsupported(UnsupportedLeaf)
  }

  private func described(_ bytes: [UInt8], file: String, leaf: TreePath) throws(GraftError) -> Described {
    do throws(GraftError) {
      return .array(
        metadata.usesZarr3
          ? try ZarrArray(version3: bytes, file: file, limits: limits)
          : try ZarrArray(version2: bytes, file: file, limits: limits))
    } catch {
      guard error.code == .unsupported else { throw error.adding(leaf) }
      return .unsupported(ZarrArray.unsupported(bytes, because: error, limits: limits))
    }
  }

  /// The places of an array's chunks or shards, none of which is known yet; counts against the limit first.
  private func places(
    of array: ZarrArray, leaf: TreePath, chunkTotal: inout Int
  ) throws(GraftError) -> [ChunkLocation] {
    guard let counts = array.chunkCounts, counts.stored <= limits.chunkCount - chunkTotal else {
      throw GraftError(
        .limitExceeded, "the checkpoint has too many chunks", leaf: leaf, file: folder.name,
        expected: "at most \(limits.chunkCount)",
        remedy: "raise Limits.chunkCount if the checkpoint is trusted")
    }
    chunkTotal += counts.stored
    return [ChunkLocation](repeating: .absent, count: counts.stored)
  }

  /// The layout of an array whose chunks or shards that were found are in their places.
  private func layout(
    _ array: ZarrArray, _ places: [ChunkLocation], leaf: TreePath
  ) throws(GraftError) -> Layout {
    if metadata.storesFillValues, let missing = places.firstIndex(of: .absent) {
      throw GraftError(
        .corrupt, "a chunk of the array is missing", leaf: leaf, file: folder.name,
        expected: "\(places.count) chunks", found: "none for number \(missing) in row-major order",
        remedy: "the checkpoint is incomplete: copy or download it again")
    }
    return array.layout(places: places, mayBeAbsent: !metadata.storesFillValues)
  }

  private func absent(_ leaf: (path: TreePath, name: String)) -> GraftError {
    GraftError(
      .corrupt, "the checkpoint lists an array that is not there", leaf: leaf.path, file: folder.name,
      expected: "\(TreePath.printable(leaf.name))/\(metadataName)",
      remedy: "the checkpoint is incomplete: copy or download it again")
  }

  // MARK: OCDBT

  private func inDatabase(
    _ leaves: [(path: TreePath, name: String)]
  ) async throws(GraftError) -> (leaves: [StoredLeaf], files: [StoredFile]) {
    let entries = try await OCDBTReader(opening: folder, limits: limits).entries()
    var files = Files()
    var known = KnownArrays()
    var result: [StoredLeaf] = []
    result.reserveCapacity(leaves.count)
    var chunkTotal = 0
    let manifestName = folder.name(of: OCDBTManifest.fileName)
    var prefix: [UInt8] = []
    var end = 0
    for leaf in leaves {
      prefix.removeAll(keepingCapacity: true)
      prefix.append(contentsOf: leaf.name.utf8)
      if !prefix.isEmpty { prefix.append(UInt8(ascii: "/")) }
      // Leaves are in the order of the database mostly, so that the next one's keys follow those of the one before.
      var start = end
      if end >= entries.count || !entries[end].key.hasPrefix(prefix)
        || end > 0 && !entries[end - 1].key.precedes(prefix)
      {
        start = entries.partitioningIndex { !$0.key.precedes(prefix) }
      }
      end = start
      while end < entries.count, entries[end].key.hasPrefix(prefix) { end += 1 }
      let own = entries[start..<end]
      let prefixByteCount = prefix.count
      prefix.append(contentsOf: metadataName.utf8)
      // It comes last in version 3, unless the name of another array begins with this one's and a slash.
      let place =
        own.last?.key == prefix ? own.endIndex - 1 : own.partitioningIndex { !$0.key.precedes(prefix) }
      guard place < own.endIndex, own[place].key == prefix else { throw absent(leaf) }
      let bytes: [UInt8]
      let file: String
      switch own[place].value {
      case .inline(let value):
        bytes = value
        file = manifestName
      case .stored(let reference):
        file = folder.name(of: reference.file.path)
        guard reference.range.count <= limits.metadataByteCount else {
          throw GraftError(
            .limitExceeded, "the array's metadata is too large", leaf: leaf.path, file: file,
            range: reference.range,
            expected: "at most \(limits.metadataByteCount) bytes")
        }
        bytes = try await folder.source(at: reference.file.path).read(reference.range)
      }
      let array: ZarrArray
      switch try known.described(
        bytes, by: { () throws(GraftError) in try described(bytes, file: file, leaf: leaf.path) })
      {
      case .array(let described): array = described
      case .unsupported(let unsupported):
        result.append(.unsupported(unsupported))
        continue
      }
      var places = try places(of: array, leaf: leaf.path, chunkTotal: &chunkTotal)
      let grid = array.storedGrid
      for index in own.indices where index != place {
        let entry = entries[index]
        guard let number = array.index(ofKey: entry.key.dropFirst(prefixByteCount), inGrid: grid) else {
          continue
        }
        switch entry.value {
        case .inline(let bytes): places[number] = .inline(bytes)
        case .stored(let reference):
          places[number] = .file(
            StoredChunk(file: files.number(of: reference.file.path), range: reference.range))
        }
      }
      result.append(.tensor(array.spec, try layout(array, places, leaf: leaf.path), name: leaf.name))
    }
    return (result, try await files.finished(in: folder))
  }

  /// Arrays whose metadata was parsed, by the bytes of it: arrays of one dtype and shape say the same.
  private struct KnownArrays {
    private var arrays: [Text: Described] = [:]

    /// Bytes that are hashed all at once, which an array of them does one by one.
    private struct Text: Hashable {
      let bytes: [UInt8]

      func hash(into hasher: inout Hasher) {
        // The buffer is only read, inside the closure.
        unsafe bytes.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
      }
    }

    /// How many texts are kept, and how long they may be.
    ///
    /// Checkpoints have a few, of some 400 bytes. Parsing one of those takes 6.6 µs here.
    private static let limit = (count: 1024, byteCount: 4096)

    mutating func described(
      _ bytes: [UInt8], by parse: () throws(GraftError) -> Described
    ) throws(GraftError) -> Described {
      let text = Text(bytes: bytes)
      if let array = arrays[text] { return array }
      let described = try parse()
      // What is not supported says in which file that is.
      if case .array = described, arrays.count < Self.limit.count, bytes.count <= Self.limit.byteCount {
        arrays[text] = described
      }
      return described
    }
  }

  // MARK: Folders

  private func inFolders(
    _ leaves: [(path: TreePath, name: String)]
  ) async throws(GraftError) -> (leaves: [StoredLeaf], files: [StoredFile]) {
    var found = [(array: Described, stored: [ZarrFolder.Stored])?](repeating: nil, count: leaves.count)
    let failure: GraftError? = await withTaskGroup(
      of: Result<(Int, Described, [ZarrFolder.Stored]), GraftError>.self
    ) { group in
      var next = 0
      func add() {
        guard next < leaves.count else { return }
        let number = next
        next += 1
        group.addTask {
          do throws(GraftError) {
            let (array, stored) = try await self.inFolder(leaves[number])
            return .success((number, array, stored))
          } catch {
            return .failure(error)
          }
        }
      }
      for _ in 0..<8 { add() }
      while let result = await group.next() {
        switch result {
        case .success(let (number, array, stored)): found[number] = (array, stored)
        case .failure(let error):
          group.cancelAll()
          return error
        }
        add()
      }
      return nil
    }
    if let failure { throw failure }
    var files = Files()
    var result: [StoredLeaf] = []
    result.reserveCapacity(leaves.count)
    var chunkTotal = 0
    for (leaf, found) in zip(leaves, found) {
      guard let (described, stored) = found else { throw absent(leaf) }
      guard case .array(let array) = described else {
        if case .unsupported(let unsupported) = described { result.append(.unsupported(unsupported)) }
        continue
      }
      var places = try places(of: array, leaf: leaf.path, chunkTotal: &chunkTotal)
      for chunk in stored {
        places[chunk.number] = .file(
          StoredChunk(
            file: files.number(of: chunk.path), range: ByteRange(offset: 0, count: chunk.byteCount)))
      }
      result.append(.tensor(array.spec, try layout(array, places, leaf: leaf.path), name: leaf.name))
    }
    return (result, try await files.finished(in: folder))
  }

  private func inFolder(
    _ leaf: (path: TreePath, name: String)
  ) async throws(GraftError) -> (Described, [ZarrFolder.Stored]) {
    guard leaf.name.isEmpty || OCDBTFileTable.staysInside(leaf.name) else {
      throw GraftError(
        .corrupt, "the leaf's name leads out of the checkpoint", leaf: leaf.path, file: folder.name,
        found: TreePath.printable(leaf.name), remedy: "do not trust this checkpoint")
    }
    let path = Self.prefix(leaf.name) + metadataName
    guard let bytes = try await folder.metadata(at: path, limits: limits) else { throw absent(leaf) }
    let described = try described(bytes, file: folder.name(of: path), leaf: leaf.path)
    guard case .array(let array) = described else { return (described, []) }
    do throws(GraftError) {
      return (described, try await ZarrFolder.stored(array, in: folder, at: leaf.name))
    } catch {
      throw error.adding(leaf.path)
    }
  }
}

extension GraftError {
  /// The error with a leaf, if it names none yet.
  func adding(_ leaf: TreePath) -> GraftError {
    var error = self
    if error.leaf == nil { error.leaf = leaf }
    return error
  }
}

extension RandomAccessCollection {
  /// The first index whose element fulfils a condition that all after it fulfil too; `endIndex` when none does.
  func partitioningIndex(_ isBehind: (Element) -> Bool) -> Index {
    var low = startIndex
    var count = self.count
    while count > 0 {
      let half = count / 2
      let middle = index(low, offsetBy: half)
      if isBehind(self[middle]) {
        count = half
      } else {
        low = index(after: middle)
        count -= half + 1
      }
    }
    return low
  }
}
