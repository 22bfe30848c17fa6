public import GraftCore
internal import GraftExecute
internal import GraftFormats
internal import GraftIO

extension Checkpoint {
  /// Verifies every checksum that the checkpoint carries, its structure, and its seal if it has one.
  ///
  /// All bytes are read and decoded, within the budget of ``Tuning/budgetByteCount``, on all cores, and nothing is kept. It does not
  /// stop at what is wrong: the report has all of it, leaf by leaf. The metadata, and the checksums in it, were verified when
  /// the checkpoint was opened.
  ///
  /// - Parameters:
  ///   - selection: which leaves; all unless given.
  ///   - tuning: how to read; nil for the checkpoint's own settings.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Throws: ``GraftError`` of code `leafNotFound` for a selection that selects nothing, `invalidArgument` for settings with which
  ///   nothing can be read, `cancelled`. What is wrong with the checkpoint is in the report.
  @concurrent
  public func verify(
    selecting selection: Selection = Selection(), tuning: Tuning? = nil,
    progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> VerificationReport {
    var verification = try Verification(self, selecting: selection)
    return try await verification.run(
      isSealing: false, tuning: tuning ?? self.tuning, progress: progress)
  }

  /// Verifies the checkpoint, and, if nothing is wrong with it, writes a seal: a file of digests of all its bytes beside it.
  ///
  /// For formats that have no checksums of their own. ``verify(selecting:tuning:progress:)`` then finds any flipped bit, and says in
  /// which leaf. Whoever changes the checkpoint has to seal it again; an existing seal is checked first, and stays if it
  /// finds something.
  ///
  /// - Parameters:
  ///   - tuning: how to read; nil for the checkpoint's own settings.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Throws: as ``verify(selecting:tuning:progress:)``, and what writing the seal throws.
  @concurrent
  public func seal(
    tuning: Tuning? = nil, progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> VerificationReport {
    var verification = try Verification(self, selecting: Selection())
    return try await verification.run(
      isSealing: true, tuning: tuning ?? self.tuning, progress: progress)
  }
}

extension Checkpoint {
  /// Verifies, where every byte is to be verified, what reading these leaves does not verify itself.
  ///
  /// - Parameter readSpecs: the leaves that are read, each with what is read of it; nil where that is not known.
  /// - Throws: ``GraftError`` naming the leaves that fail, or that have bytes without a checksum.
  func verifyFirst(_ readSpecs: [(path: TreePath, spec: TensorSpec?)], _ tuning: Tuning)
    async throws(GraftError)
  {
    guard tuning.verification == .always else { return }
    var paths: Set<TreePath> = []
    for (path, readSpec) in readSpecs {
      guard case .tensor(let spec, let layout, _)? = catalog.tree[at: path].leaf else { continue }
      if readSpec?.shape != spec.shape || !layout.isVerifiedByLoads(of: spec) { paths.insert(path) }
    }
    if paths.isEmpty { return }
    var verification = Verification(self, of: paths)
    let report = try await verification.run(isSealing: false, tuning: tuning, progress: nil)
    if var failure = report.failures.first {
      failure.others = Array(report.failures.dropFirst())
      throw failure
    }
    if let leaf = report.leaves.first(where: { $0.outcome != .verified }) {
      throw GraftError(
        .unsupported, "every byte is to be verified, and the leaf has bytes without a checksum",
        leaf: leaf.path, file: path,
        remedy: "seal the checkpoint with graft verify --seal, or do not insist on verification")
    }
  }
}

/// One verification: the chunks of all selected leaves, and what was found out about them.
private struct Verification {
  /// A leaf whose chunks are to be looked at.
  private struct Subject {
    var path: TreePath
    var leaf: StoredLeaf
    /// Whether its description contradicts itself, or its shards' indices cannot be read.
    var hasFailed = false
  }

  /// A file that is digested block by block.
  private struct DigestedFile {
    var name: String
    /// The index in ``files``.
    var index: Int
    /// The digests of the blocks that are read, by their numbers.
    var digests: [Int: BlockDigest] = [:]
    /// What the seal says; nil for a file that is not sealed yet.
    var sealed: Seal.File?
  }

  private let checkpoint: Checkpoint
  private let isPartial: Bool
  private var subjects: [Subject]
  private var failures: [GraftError] = []
  private var failureCount = 0
  private let started = ContinuousClock.now

  /// The checkpoint's files, and then others that are sealed.
  private var files: [StoredFile]
  private var blockByteCount = Seal.defaultBlockByteCount
  private var digestedFiles: [DigestedFile] = []
  /// The files whose bytes a seal covers, by their index, with the numbers of the blocks that are not what they were.
  private var sealedFiles: [Int: Set<Int>] = [:]
  /// Files that have another size than when they were sealed.
  private var resizedFiles: Set<Int> = []
  private var sealNote: String?

  init(_ checkpoint: Checkpoint, selecting selection: Selection) throws(GraftError) {
    self.checkpoint = checkpoint
    isPartial = !selection.rules.isEmpty
    files = checkpoint.catalog.files
    subjects = try checkpoint.catalog.tree.selecting(selection).leaves.map {
      Subject(path: $0.path, leaf: $0.leaf)
    }
  }

  /// A verification of these leaves.
  init(_ checkpoint: Checkpoint, of paths: Set<TreePath>) {
    self.checkpoint = checkpoint
    isPartial = true
    files = checkpoint.catalog.files
    subjects = checkpoint.catalog.tree.leaves.filter { paths.contains($0.path) }.map {
      Subject(path: $0.path, leaf: $0.leaf)
    }
  }

  mutating func run(
    isSealing: Bool, tuning: Tuning, progress: (@Sendable (Progress) -> Void)?
  ) async throws(GraftError) -> VerificationReport {
    var tuning = tuning
    tuning.verification = .automatic
    try await resolveShards()
    let sealing = try await openSeal(isSealing: isSealing)
    var chunks: [ChunkToVerify] = []
    var seen: Set<StoredChunk> = []
    listBlocks(&chunks)
    let digested = Set(digestedFiles.map(\.index))
    for index in subjects.indices { listChunks(of: index, leavingOutPlainOf: digested, &chunks, &seen) }
    let findings = try await ChunkVerifier(files, tuning: tuning).run(chunks, progress: progress)
    for error in findings.errors { fail(naming(error)) }
    // Chunks beyond the first error of a file, or beyond the list, have failed without a text of their own.
    failureCount += findings.failed.count - findings.errors.count
    compareWithSeal(findings)
    if isSealing { try await write(sealing) }

    let leaves = subjects.map { subject in
      VerificationReport.Leaf(path: subject.path, outcome: outcome(of: subject, findings))
    }
    return VerificationReport(
      leaves: leaves, failures: failures.sorted { Self.precedes($0, $1) }, failureCount: failureCount,
      seal: sealNote, reading: findings.reading, elapsed: started.duration(to: .now))
  }

  private static func precedes(_ a: GraftError, _ b: GraftError) -> Bool {
    (a.file ?? "", a.range?.offset ?? -1) < (b.file ?? "", b.range?.offset ?? -1)
  }

  private mutating func fail(_ error: GraftError) {
    failureCount += 1
    if failures.count < ChunkFindings.errorLimit { failures.append(error) }
  }

  /// The error with a leaf that it concerns, where it names bytes alone.
  private func naming(_ error: GraftError) -> GraftError {
    guard error.leaf == nil, let range = error.range, let file = error.file else { return error }
    var error = error
    error.leaf =
      subjects.first { subject in
        guard case .tensor(_, let layout, _) = subject.leaf else { return false }
        return layout.chunks.contains { place in
          guard let chunk = place.stored else { return false }
          return chunk.range.intersection(range) != nil && files[chunk.file].path == file
        }
      }?.path
    return error
  }

  // MARK: The seal

  /// Reads the seal, and lists the files that it concerns, or that are to be sealed.
  private mutating func openSeal(isSealing: Bool) async throws(GraftError) -> SealedFiles {
    let (catalog, limits) = (checkpoint.catalog, checkpoint.limits)
    let (sealing, seal, failure, names) = try await BlockingThreads.shared.run {
      () throws(GraftError) -> (SealedFiles, Seal?, GraftError?, [String]) in
      let sealing = try SealedFiles(catalog)
      let names = isSealing ? try sealing.names(limits: limits) : []
      do throws(GraftError) {
        return (sealing, try sealing.seal(limits: limits), nil, names)
      } catch {
        return (sealing, nil, error, names)
      }
    }
    if let failure {
      fail(failure)
      sealNote = "the seal \(TreePath.printable(sealing.sealPath)) cannot be used"
    }
    if let seal {
      blockByteCount = seal.blockByteCount
      sealNote = "checked against the seal \(TreePath.printable(sealing.sealPath))"
    }
    var indices: [Key: Int] = [:]
    for (index, file) in files.enumerated() { indices[Key(file.path)] = index }
    var wanted: [(name: String, sealed: Seal.File?)] = seal?.files.map { ($0.name, $0) } ?? []
    let sealedNames = Set(wanted.map { Key($0.name) })
    wanted += names.filter { !sealedNames.contains(Key($0)) }.map { ($0, nil) }
    for (name, sealed) in wanted {
      let path = sealing.path(of: name)
      let status: FileStatus?
      do throws(GraftError) {
        status = try await BlockingThreads.shared.run { () throws(GraftError) in
          try FileStatus.ifPresent(at: path)
        }
      } catch {
        fail(error)
        continue
      }
      guard let status, status.kind == .regular else {
        fail(
          GraftError(
            .notFound, "a sealed file is missing", file: path,
            remedy: "the checkpoint is incomplete: copy or download it again"))
        continue
      }
      let index = indices[Key(path)] ?? files.count
      if index == files.count { files.append(StoredFile(path: path, byteCount: status.byteCount)) }
      if let sealed, sealed.byteCount != status.byteCount {
        fail(
          GraftError(
            .corrupt, "the file has another size than when it was sealed", file: path,
            expected: "\(sealed.byteCount) bytes", found: "\(status.byteCount)", remedy: Self.sealRemedy))
        resizedFiles.insert(index)
        continue
      }
      if sealed != nil { sealedFiles[index] = [] }
      digestedFiles.append(DigestedFile(name: name, index: index, sealed: sealed))
    }
    return sealing
  }

  private static let sealRemedy =
    "copy or download it again; where it was changed on purpose, remove the seal and seal the checkpoint again"

  /// Adds the blocks of the files that are digested: all of them, or those that have bytes of the selected leaves.
  private mutating func listBlocks(_ chunks: inout [ChunkToVerify]) {
    var used: [Int: Set<Int>] = [:]
    if isPartial {
      for case .tensor(_, let layout, _) in subjects.map(\.leaf) {
        for chunk in layout.chunks.lazy.compactMap(\.stored) {
          used[chunk.file, default: []].formUnion(blockNumbers(of: chunk.range))
        }
      }
    }
    for position in digestedFiles.indices {
      let index = digestedFiles[position].index
      let blocks = Seal.blocks(of: files[index].byteCount, blockByteCount: blockByteCount)
      for (number, block) in blocks.enumerated() {
        if isPartial, used[index]?.contains(number) != true { continue }
        let digest = BlockDigest(block)
        digestedFiles[position].digests[number] = digest
        chunks.append(ChunkToVerify(StoredChunk(file: index, range: block), .plain(digest)))
      }
    }
  }

  private func blockNumbers(of range: ByteRange) -> Range<Int> {
    range.isEmpty ? 0..<0 : (range.offset / blockByteCount)..<((range.end - 1) / blockByteCount + 1)
  }

  /// Compares what was read with what the seal says.
  private mutating func compareWithSeal(_ findings: ChunkFindings) {
    for file in digestedFiles {
      guard let sealed = file.sealed else { continue }
      for (number, digest) in file.digests.sorted(by: { $0.key < $1.key }) {
        guard digest.checksum != sealed.checksums[number] else { continue }
        sealedFiles[file.index]?.insert(number)
        // What could not be read has been told.
        guard digest.checksum != nil else { continue }
        fail(
          naming(
            GraftError(
              .corrupt, "the bytes are not those that were sealed", file: files[file.index].path,
              range: digest.range, remedy: Self.sealRemedy)))
      }
    }
  }

  /// Writes a seal of what was read, unless something is wrong with it.
  private mutating func write(_ sealing: SealedFiles) async throws(GraftError) {
    guard failureCount == 0 else {
      sealNote = "not sealed, because something is wrong"
      return
    }
    let sealed = digestedFiles.map { file in
      Seal.File(
        name: file.name, byteCount: files[file.index].byteCount,
        checksums: file.digests.sorted { $0.key < $1.key }.map { $0.value.checksum ?? 0 })
    }
    let seal = Seal(blockByteCount: blockByteCount, files: sealed)
    try await BlockingThreads.shared.run { () throws(GraftError) in try sealing.write(seal) }
    for file in digestedFiles { sealedFiles[file.index] = [] }
    sealNote = "sealed in \(TreePath.printable(sealing.sealPath))"
  }

  // MARK: What there is to verify

  /// Finds out where the chunks in shards are; a leaf whose shards' indices are broken has failed.
  private mutating func resolveShards() async throws(GraftError) {
    guard checkpoint.catalog.hasShards else { return }
    do throws(GraftError) {
      try await resolveShards(of: subjects.indices.map { $0 })
    } catch {
      if error.code == .cancelled { throw error }
      // One by one, so that a broken index costs its own leaf alone.
      for index in subjects.indices {
        do throws(GraftError) {
          try await resolveShards(of: [index])
        } catch {
          if error.code == .cancelled { throw error }
          var error = error
          error.leaf = error.leaf ?? subjects[index].path
          fail(error)
          subjects[index].hasFailed = true
        }
      }
    }
  }

  private mutating func resolveShards(of indices: [Int]) async throws(GraftError) {
    let wanted = Set(indices.map { subjects[$0] }.filter(\.leaf.hasShards).map(\.path))
    if wanted.isEmpty { return }
    let catalog = try await checkpoint.catalog(resolvingShardsOf: wanted)
    for index in indices where subjects[index].leaf.hasShards {
      if let leaf = catalog.tree[at: subjects[index].path].leaf { subjects[index].leaf = leaf }
    }
  }

  /// Adds the chunks of a leaf that are in files and not listed yet, and undoes those that are in the metadata.
  private mutating func listChunks(
    of index: Int, leavingOutPlainOf digested: Set<Int>, _ chunks: inout [ChunkToVerify],
    _ seen: inout Set<StoredChunk>
  ) {
    let subject = subjects[index]
    guard !subject.hasFailed, case .tensor(let spec, let layout, _) = subject.leaf else { return }
    do throws(GraftError) {
      let decodedByteCount = try layout.checkedChunkByteCount(of: spec)
      for place in layout.chunks {
        switch place {
        case .file(let chunk):
          // Of a tensor without elements there is nothing to read.
          if layout.isPlain && (digested.contains(chunk.file) || chunk.range.isEmpty) { continue }
          guard seen.insert(chunk).inserted else { continue }
          chunks.append(
            ChunkToVerify(
              chunk,
              layout.isPlain ? .plain(nil) : .encoded(layout.codecs, decodedByteCount: decodedByteCount),
              leaf: subject.path))
        case .inline(let bytes):
          if layout.isPlain { continue }
          do throws(GraftError) {
            try ChunkVerifier.verify(
              inline: bytes, layout.codecs, decodedByteCount: decodedByteCount, leaf: subject.path)
          } catch {
            fail(error)
            subjects[index].hasFailed = true
          }
        case .absent: continue
        }
      }
    } catch {
      var error = error
      error.leaf = subject.path
      fail(error)
      subjects[index].hasFailed = true
    }
  }

  // MARK: What was found out

  private func outcome(of subject: Subject, _ findings: ChunkFindings) -> VerificationReport.Outcome {
    if subject.hasFailed { return .failed }
    let layout: Layout
    switch subject.leaf {
    case .unsupported: return .unread
    // A string is in a file of metadata, which has been read and has no checksum of its own.
    case .string: return sealedFiles.isEmpty ? .unprotected : .verified
    case .tensor(_, let own, _): layout = own
    }
    var isProtected = true
    for place in layout.chunks {
      switch place {
      case .file(let chunk):
        if findings.failed.contains(chunk) || resizedFiles.contains(chunk.file) { return .failed }
        let brokenBlocks = sealedFiles[chunk.file]
        if let brokenBlocks, !brokenBlocks.isDisjoint(with: blockNumbers(of: chunk.range)) { return .failed }
        isProtected =
          isProtected && (brokenBlocks != nil || findings.checksummed.contains(chunk) || chunk.range.isEmpty)
      case .inline, .absent:
        isProtected = isProtected && (checkpoint.catalog.listIsChecksummed || !sealedFiles.isEmpty)
      }
    }
    return isProtected ? .verified : .unprotected
  }
}

extension StoredLeaf {
  fileprivate var hasShards: Bool {
    if case .tensor(_, let layout, _) = self { layout.shards != nil } else { false }
  }
}

extension Layout {
  /// Whether chunks are the bytes of their elements.
  fileprivate var isPlain: Bool { codecs.allSatisfy { $0.name == "bytes" } }

  /// Whether a load of the whole tensor decodes every chunk to its end and verifies a checksum of all of its bytes.
  fileprivate func isVerifiedByLoads(of spec: TensorSpec) -> Bool {
    // The last chunks of others are padded, and may be decoded up to the padding alone.
    codecs.contains { $0.name == "crc32c" }
      && zip(spec.shape, chunkShape).allSatisfy { $1 > 0 && $0.isMultiple(of: $1) }
      && chunks.allSatisfy { $0.stored != nil } && shards == nil
  }

  /// The bytes of a chunk's elements.
  ///
  /// - Throws: ``GraftError`` of code `corrupt` for chunks that contradict the tensor, as loads find it.
  fileprivate func checkedChunkByteCount(of spec: TensorSpec) throws(GraftError) -> Int {
    guard chunkShape.rank == spec.rank, let byteCount = decodedChunkByteCount,
      gridShape(of: spec.shape).checkedElementCount == chunks.count || spec.elementCount == 0
    else {
      throw GraftError(
        .corrupt, "the tensor has another number of chunks than its grid", expected: "\(spec)",
        found: "\(chunks.count) chunks of shape \(chunkShape)")
    }
    guard isPlain, spec.elementCount > 0 else { return byteCount }
    for chunk in chunks where chunk != .absent && chunk.byteCount != byteCount {
      throw GraftError(
        .corrupt, "a chunk has another size than its elements", range: chunk.stored?.range,
        expected: "\(byteCount) bytes", found: "\(chunk.byteCount)")
    }
    return byteCount
  }
}
