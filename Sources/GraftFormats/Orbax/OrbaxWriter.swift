internal import Glibc
internal import GraftCodec
package import GraftCore
internal import GraftIO
internal import Synchronization

/// Writes an Orbax checkpoint; ``OrbaxPlan`` says what it consists of.
///
///     write ─► claim the chunk ─► unpack ─► encode ─► reserve a place ─► write ─► note where it is
///     finish ─► nothing missing? ─► B+tree ─► manifest ─► tree's metadata ─► markers ─► flush ─► rename
///
/// Chunks come whole, from several threads at once, and are encoded by the thread that brings them. What is kept of each is where
/// it lies, 24 bytes; chunks of at most ``inlineByteCountLimit`` bytes are kept whole, as they go into the database's nodes.
package final class OrbaxWriter: CheckpointWriter {
  private enum Phase { case writing, finishing, finished, abandoned }

  /// Where a chunk is, or why nobody knows.
  private struct ChunkState {
    /// The number of its data file, or one of the others.
    var file: Int32 = Self.missing
    var offset = 0
    var byteCount = 0

    static let missing: Int32 = -1
    /// A thread is writing it.
    static let claimed: Int32 = -2
    /// It is kept whole.
    static let inline: Int32 = -3
    /// It has a file of its own.
    static let ownFile: Int32 = -4

    var isWritten: Bool { file >= 0 || file == Self.inline || file == Self.ownFile }
  }

  private struct State {
    var chunks: [ChunkState]
    var inline: [Int: [UInt8]] = [:]
    /// The files of linked arrays.
    var adopted = OrbaxLinks()
    var phase = Phase.writing
  }

  /// What is written.
  package let plan: OrbaxPlan

  private let path: String
  private let folder: AtomicDirectory
  private let dataFiles: OrbaxDataFiles
  private let encoders = ChunkEncoderPool()
  private let state: Mutex<State>
  private let startTime: UInt64

  /// The longest encoded chunk that lies in a node, as TensorStore has it by default.
  package static let inlineByteCountLimit = 100
  /// What chunks are aligned to that can be read as they are: direct reads of them then need no memory between.
  private static let alignment = 4_096
  /// Chunks from this size on are aligned, which costs at most 0.4 % there.
  private static let alignedChunkByteCount = 1 << 20

  package var preferredChunkByteCount: Int { plan.options.chunks.byteCountLimit }

  package func chunkElementCount(ofLeaf leaf: Int) -> Int? { plan.arrays[leaf].chunkShape.elementCount }

  package var storedByteCount: Int {
    state.withLock { $0.chunks.reduce(0) { $0 + $1.byteCount } }
  }

  package func workingByteCount(threadCount: Int) -> Int {
    // What is neither compressed nor unpacked is written from where it is.
    let largest = plan.arrays.reduce(0) { largest, array in
      guard let encoding = array.encoding, encoding.compression != .none || array.isPacked else {
        return largest
      }
      return max(largest, encoding.encodedByteCountBound(array.decodedByteCount) ?? 0)
    }
    return largest == 0 ? 0 : threadCount * (largest + Self.encoderByteCount)
  }

  /// What an encoder holds, about: 1.3 MiB for zstd's level 3, and a little more than that for blosc.
  private static let encoderByteCount = 2 << 20

  /// Begins a checkpoint: takes a temporary name beside its own; blocks.
  ///
  /// - Throws: `destinationExists`, also for a folder that is to be replaced and is no Orbax checkpoint; `notFound`,
  ///   `permissionDenied`, `noSpace`; `invalidArgument` for a name that Orbax takes for an unfinished save's.
  package init(at path: String, _ plan: OrbaxPlan) throws(GraftError) {
    if let last = path.split(separator: "/").last, last.contains(OrbaxFormat.temporaryMark) {
      throw GraftError(
        .invalidArgument, "Orbax takes a folder of this name for a save that was not finished", file: path,
        remedy: "choose a name without \(OrbaxFormat.temporaryMark)")
    }
    if plan.options.isOverwriting { try Self.checkReplaceable(path) }
    self.path = path
    self.plan = plan
    folder = try AtomicDirectory(at: path, overwriting: plan.options.isOverwriting)
    if !plan.treePrefix.isEmpty { try folder.createDirectory(OrbaxPlan.checkpointable) }
    dataFiles = OrbaxDataFiles(
      in: folder, prefix: plan.treePrefix, byteCountTarget: plan.options.dataFileByteCount)
    state = Mutex(State(chunks: [ChunkState](repeating: ChunkState(), count: plan.chunkCount)))
    startTime = Self.now()
  }

  /// Begins a checkpoint as the initialiser does, on a thread that may block.
  package static func begin(at path: String, _ plan: OrbaxPlan) async throws(GraftError) -> OrbaxWriter {
    try await BlockingThreads.shared.run { () throws(GraftError) in try OrbaxWriter(at: path, plan) }
  }

  // MARK: Chunks

  package func write(_ bytes: UnsafeRawBufferPointer, leaf: Int, byteOffset: Int) throws(GraftError) {
    guard plan.arrays.indices.contains(leaf) else {
      throw GraftError(
        .invalidArgument, "there is no leaf of this index", file: path,
        expected: "less than \(plan.arrays.count)", found: "\(leaf)")
    }
    let array = plan.arrays[leaf]
    let size = array.chunkByteCount
    let total = size * array.chunkCount
    guard byteOffset >= 0, byteOffset <= total, bytes.count <= total - byteOffset,
      byteOffset.isMultiple(of: size), bytes.count.isMultiple(of: size)
    else {
      throw GraftError(
        .invalidArgument, "bytes are written that are not whole chunks of the leaf", leaf: array.path,
        file: path, expected: "\(array.chunkCount) chunks of \(size) bytes",
        found: "\(bytes.count) bytes from \(byteOffset)")
    }
    for start in stride(from: 0, to: bytes.count, by: size) {
      do throws(GraftError) {
        // The bytes are the caller's, who keeps them for the length of this call.
        let chunk = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<start + size])
        try unsafe write(chunk, number: (byteOffset + start) / size, of: array)
      } catch {
        throw error.adding(array.path)
      }
    }
  }

  private func write(
    _ bytes: UnsafeRawBufferPointer, number: Int, of array: OrbaxPlan.PlannedArray
  ) throws(GraftError) {
    guard let encoding = array.encoding else { preconditionFailure("a linked array has no chunks to write") }
    let index = array.firstChunk + number
    let isMine = try state.withLock { (state) throws(GraftError) -> Bool in
      guard state.phase == .writing else {
        throw GraftError(.invalidArgument, "the checkpoint is finished or abandoned", file: path)
      }
      // Whoever gives a chunk again gives the same.
      guard state.chunks[index].file == ChunkState.missing else { return false }
      state.chunks[index].file = ChunkState.claimed
      return true
    }
    guard isMine else { return }
    var result = ChunkState()
    var inline: [UInt8]?
    defer {
      state.withLock { state in
        state.chunks[index] = result
        if let inline { state.inline[index] = inline }
      }
    }
    if encoding.compression == .none && !array.isPacked {
      // As it is, without a copy in between.
      let sum = encoding.hasChecksum ? unsafe CRC32C.checksum(bytes.bytes) : 0
      let trailer = encoding.hasChecksum ? Self.littleEndian(sum) : []
      (result, inline) = try unsafe put(bytes, trailer, number, array)
    } else {
      (result, inline) = try encoders.withStation(for: encoding) { station throws(GraftError) in
        let encoded: UnsafeRawBufferPointer
        do throws(CodecFailure) {
          unsafe encoded = try unsafe station.encode(
            array.isPacked
              ? station.unpack(
                bytes, elementCount: array.decodedByteCount, bitWidth: array.spec.dtype.bitWidth) : bytes)
        } catch {
          throw error.graftError(file: path)
        }
        return try unsafe put(encoded, [], number, array)
      }
    }
  }

  /// Puts an encoded chunk where it belongs.
  private func put(
    _ bytes: UnsafeRawBufferPointer, _ trailer: [UInt8], _ number: Int, _ array: OrbaxPlan.PlannedArray
  ) throws(GraftError) -> (ChunkState, inline: [UInt8]?) {
    let count = bytes.count + trailer.count
    guard plan.options.usesDatabase else {
      let key = String(decoding: array.chunkKey(number, plan.zarrVersion), as: UTF8.self)
      let file = try folder.createFile(plan.treePrefix + key)
      try unsafe file.write(bytes, followedBy: trailer, at: 0)
      return (ChunkState(file: ChunkState.ownFile, byteCount: count), nil)
    }
    if count <= Self.inlineByteCountLimit {
      return (ChunkState(file: ChunkState.inline, byteCount: count), unsafe [UInt8](bytes) + trailer)
    }
    let isAligned = plan.options.compression == .none && count >= Self.alignedChunkByteCount
    let place = try unsafe dataFiles.append(
      bytes, trailer: trailer, alignment: isAligned ? Self.alignment : 1)
    return (
      ChunkState(
        file: Int32(place.file), offset: place.range.offset, byteCount: place.range.count), nil
    )
  }

  // MARK: Linked arrays

  /// Brings in the files in which chunks of linked arrays are; blocks.
  ///
  /// A file is brought in once, however many checkpoints it is a part of.
  ///
  /// - Parameters:
  ///   - files: all files that the layouts of linked arrays number.
  ///   - sealed: what is known of the bytes of these, which the checkpoint's own seal then says of them.
  ///   - copied: called now and then while files are copied, with the bytes of chunks that are there and all that will be.
  ///   - isCancelled: looked at now and then.
  /// - Returns: what was brought in.
  /// - Throws: `fileChanged` for a file that is not what it was when its checkpoint was opened; `noSpace`, `cancelled`.
  package func adopt(
    _ files: [StoredFile], sealed: SealedSources = SealedSources(),
    copied: (_ completed: Int, _ total: Int) -> Void = { _, _ in }, isCancelled: () -> Bool = { false }
  ) throws(GraftError) -> OrbaxLinks {
    let links = try OrbaxLinks(
      of: plan, to: files, sealed: sealed, in: folder, copied: copied, isCancelled: isCancelled)
    state.withLock { $0.adopted = links }
    return links
  }

  // MARK: Finishing

  package func finish() async throws(GraftError) {
    let missing = missingChunks()
    guard missing.isEmpty else { throw incomplete(missing) }
    try await BlockingThreads.shared.run { () throws(GraftError) in
      try self.state.withLock { (state) throws(GraftError) in
        guard state.phase == .writing else {
          throw GraftError(.invalidArgument, "the checkpoint is finished or abandoned", file: self.path)
        }
        state.phase = .finishing
      }
      try self.dataFiles.finish()
      if self.plan.options.usesDatabase { try self.writeDatabase() } else { try self.writeArrayMetadata() }
      for file in self.plan.treeFiles { try self.write(file.bytes, to: self.plan.treePrefix + file.name) }
      let adopted = self.state.withLock { $0.adopted }
      if !adopted.isEmpty {
        try self.write(adopted.encoded(), to: self.plan.treePrefix + OrbaxLinks.fileName)
      }
      if let seal = adopted.seal { try self.write(seal.encoded(), to: SealedFiles.nameInFolder) }
      try self.write(self.checkpointMetadata(), to: OrbaxFormat.checkpointMetadata)
      if self.plan.options.version == .version1 { try self.write([], to: OrbaxFormat.indicator) }
      try self.write([UInt8]("The checkpoint is complete.\n".utf8), to: OrbaxFormat.commitMarker)
      try self.folder.commit()
      self.state.withLock { $0.phase = .finished }
    }
  }

  package func abandon() {
    let isUnfinished = state.withLock { state in
      defer { if state.phase != .finished { state.phase = .abandoned } }
      return state.phase == .writing || state.phase == .finishing
    }
    if isUnfinished { folder.abandon() }
  }

  private func write(_ bytes: [UInt8], to name: String) throws(GraftError) {
    try folder.createFile(name).write(unsafe bytes.span.bytes, at: 0)
  }

  /// The arrays of which chunks are missing, with the number of the first and how many there are.
  private func missingChunks() -> [(array: Int, first: Int, count: Int)] {
    state.withLock { state in
      guard state.phase == .writing else { return [] }
      return plan.arrays.indices.compactMap { index in
        let array = plan.arrays[index]
        guard array.chunkCount > 0 else { return nil }
        let own = state.chunks[array.firstChunk..<array.firstChunk + array.chunkCount]
        let missing = own.indices.filter { !own[$0].isWritten }
        return missing.first.map { (index, $0 - array.firstChunk, missing.count) }
      }
    }
  }

  private func incomplete(_ missing: [(array: Int, first: Int, count: Int)]) -> GraftError {
    let faults = missing.prefix(1 + GraftError.printedOthersLimit).map { index, first, count in
      let array = plan.arrays[index]
      return GraftError(
        .truncated, "chunks of the leaf were never written", leaf: array.path, file: path,
        expected: "\(array.chunkCount) chunks",
        found: "\(array.chunkCount - count), and none of number \(first)")
    }
    var first = faults[0]
    if missing.count > 1 { first.message += " (the first of \(missing.count) leaves)" }
    first.others = Array(faults.dropFirst())
    return first
  }

  private func writeDatabase() throws(GraftError) {
    // Nodes have a file of their own, so that whoever lists the database reads one file from front to back.
    let nodes = OrbaxDataFiles(
      in: folder, prefix: plan.treePrefix, byteCountTarget: plan.options.dataFileByteCount)
    let paths = dataFiles.paths.map { OCDBTFile(path: $0) }
    let (chunks, inline, adopted) = state.withLock { ($0.chunks, $0.inline, $0.adopted) }
    var builder = OCDBTBuilder { bytes throws(GraftError) in
      let place = try nodes.append(bytes)
      return OCDBTReference(file: OCDBTFile(path: nodes.paths[place.file]), range: place.range)
    }
    var texts = ZarrMetadataTexts()
    var entries: [OCDBTReader.Entry] = []
    for group in groupsInKeyOrder() {
      entries.removeAll(keepingCapacity: true)
      for index in group {
        let array = plan.arrays[index]
        for (number, cell) in (array.linked?.cells ?? []).enumerated() {
          guard let value = adopted.value(of: cell) else { continue }
          entries.append(OCDBTReader.Entry(key: array.chunkKey(number, plan.zarrVersion), value: value))
        }
        for number in 0..<array.chunkCount {
          let chunk = chunks[array.firstChunk + number]
          let value: OCDBTValue =
            if let bytes = inline[array.firstChunk + number] {
              .inline(bytes)
            } else {
              .stored(
                OCDBTReference(
                  file: paths[Int(chunk.file)],
                  range: ByteRange(offset: chunk.offset, count: chunk.byteCount)))
            }
          entries.append(OCDBTReader.Entry(key: array.chunkKey(number, plan.zarrVersion), value: value))
        }
        entries.append(
          OCDBTReader.Entry(
            key: array.metadataKey(plan.zarrVersion), value: .inline(try metadata(of: array, &texts))))
      }
      // A few chunks and then the metadata are in order mostly.
      let isInOrder = zip(entries, entries.dropFirst()).allSatisfy { $0.key.precedes($1.key) }
      if !isInOrder { entries.sort { $0.key.precedes($1.key) } }
      for entry in entries { try builder.add(entry.key, entry.value) }
    }
    let manifest = try builder.finish(commitTime: Self.now())
    try nodes.finish()
    try write(manifest, to: plan.treePrefix + OCDBTManifest.fileName)
  }

  /// The arrays' numbers in groups, so that all keys of one group come before all keys of the next.
  ///
  /// A group is one array, except where the name of an array begins with another's and a slash.
  private func groupsInKeyOrder() -> [ArraySlice<Int>] {
    var prefixes = PackedTexts()
    prefixes.reserveCapacity(
      plan.arrays.count, byteCount: plan.arrays.reduce(0) { $0 + $1.name.utf8.count + 1 })
    for array in plan.arrays {
      array.name.isEmpty ? prefixes.append([]) : prefixes.append(array.name.utf8, UInt8(ascii: "/"))
    }
    let order = prefixes.order()
    var groups: [ArraySlice<Int>] = []
    groups.reserveCapacity(order.count)
    var start = 0
    for place in order.indices.dropFirst() where !prefixes.text(order[place], startsWith: order[start]) {
      groups.append(order[start..<place])
      start = place
    }
    if !order.isEmpty { groups.append(order[start...]) }
    return groups
  }

  private func writeArrayMetadata() throws(GraftError) {
    var texts = ZarrMetadataTexts()
    for array in plan.arrays {
      let key = String(decoding: array.metadataKey(plan.zarrVersion), as: UTF8.self)
      try write(try metadata(of: array, &texts), to: plan.treePrefix + key)
    }
  }

  private func metadata(
    of array: OrbaxPlan.PlannedArray, _ texts: inout ZarrMetadataTexts
  ) throws(GraftError) -> [UInt8] {
    do throws(GraftError) {
      if let layout = array.linked { return try texts.text(of: array.spec, linkedTo: layout) }
      guard let encoding = array.encoding else { preconditionFailure("an array is linked or written") }
      return try texts.text(plan.zarrVersion, of: array.spec, chunkShape: array.chunkShape, encoding)
    } catch {
      throw error.adding(array.path)
    }
  }

  /// `_CHECKPOINT_METADATA`, with the handlers by which Orbax reads the tree.
  private func checkpointMetadata() -> [UInt8] {
    let handlers: JSONValue =
      switch plan.options.version {
      case .version0: "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
      case .version1:
        .object([
          JSONValue.Member(
            OrbaxPlan.checkpointable,
            "orbax.checkpoint.experimental.v1._src.handlers.pytree_handler.PyTreeHandler")
        ])
      }
    let root: JSONValue = [
      "item_handlers": handlers, "metrics": [:], "performance_metrics": [:],
      "init_timestamp_nsecs": .number(.unsigned(startTime)),
      "commit_timestamp_nsecs": .number(.unsigned(Self.now())),
      "custom_metadata": .object(plan.options.customMetadata),
    ]
    return root.encoded()
  }

  /// Nanoseconds since 1970.
  private static func now() -> UInt64 {
    var time = timespec()
    // The clock is one that every Linux has.
    _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(max(0, time.tv_sec)) * 1_000_000_000 + UInt64(max(0, time.tv_nsec))
  }

  private static func littleEndian(_ value: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  /// Fails when a folder that would be replaced, and so removed, is no Orbax checkpoint, or holds files of somebody else's.
  private static func checkReplaceable(_ path: String) throws(GraftError) {
    guard let status = try FileStatus.ifPresent(at: path), status.kind == .directory else { return }
    let entries = try Directory.entries(at: path)
    let markers = [OrbaxFormat.indicator, OrbaxFormat.checkpointMetadata, OrbaxTreeMetadata.fileName]
    let isCheckpoint = entries.contains { entry in
      entry.kind == .regular && markers.contains { entry.name.utf8.elementsEqual($0.utf8) }
    }
    let known = markers + [OrbaxFormat.commitMarker, "checkpoint", SealedFiles.nameInFolder]
    let others = entries.filter { entry in
      entry.kind != .directory && !known.contains { entry.name.utf8.elementsEqual($0.utf8) }
        && !entry.name.utf8.starts(with: "_".utf8) && !entry.name.utf8.starts(with: "manifest.".utf8)
    }
    guard !isCheckpoint || !others.isEmpty else { return }
    if !isCheckpoint && entries.isEmpty { return }
    let shown = (isCheckpoint ? others : entries).prefix(6).map { TreePath.printable($0.name) }
    throw GraftError(
      .destinationExists,
      isCheckpoint
        ? "the checkpoint that would be replaced holds other files than Orbax's"
        : "the folder that would be replaced is no Orbax checkpoint",
      file: path, found: shown.joined(separator: ", "),
      remedy: "choose another destination, or move them away first")
  }
}
