public import GraftCore
internal import GraftExecute
internal import GraftFormats
internal import GraftIO

extension Checkpoint {
  /// Compares the leaves of this checkpoint with those of another one, of whatever format.
  ///
  /// Both are streamed within the budget of ``Tuning/budgetByteCount``; only leaves that both have, of the same dtype and shape, are
  /// read, and not those that are the same bytes of the same files in both.
  ///
  /// - Parameters:
  ///   - other: the other checkpoint.
  ///   - selection: which leaves; all unless given.
  ///   - tolerance: how far elements may be apart and count as equal, and then NaN equals NaN and 0 equals −0; nil where their
  ///     bits must be the same.
  ///   - tuning: how to read; nil for the checkpoint's own settings.
  ///   - progress: called now and then from a thread of Graft's own, and once at the end; must not block.
  /// - Throws: ``GraftError`` of code `leafNotFound` for a selection that selects nothing, `unsupported` for a leaf that Graft does not
  ///   read, or what reading throws. Cancelling the task throws code `cancelled`.
  @concurrent
  public func difference(
    from other: Checkpoint, selecting selection: Selection = Selection(), tolerance: Double? = nil,
    tuning: Tuning? = nil, progress: (@Sendable (Progress) -> Void)? = nil
  ) async throws(GraftError) -> CheckpointDifference {
    if let tolerance, !(tolerance >= 0) {
      throw GraftError(.invalidArgument, "a tolerance is no negative number", found: "\(tolerance)")
    }
    var comparison = try CheckpointComparison(self, other, selecting: selection)
    return try await comparison.run(
      tolerance: tolerance, tuning: tuning ?? self.tuning, progress: progress)
  }
}

/// One comparison: what is known from the trees, and the tensors that have to be read.
private struct CheckpointComparison {
  /// A tensor that both checkpoints have.
  private struct Pair {
    var path: TreePath
    var spec: TensorSpec
    var first: Layout
    var second: Layout
  }

  private let first: Checkpoint
  private let second: Checkpoint
  private let selection: Selection
  private var result = CheckpointDifference(
    onlyInFirst: [], onlyInSecond: [], otherSpecs: [], otherValues: [], equalLeafCount: 0,
    sharedLeafCount: 0, reading: ReadReport(), elapsed: .zero)
  private var pairs: [Pair] = []
  private let started = ContinuousClock.now

  init(
    _ first: Checkpoint, _ second: Checkpoint, selecting selection: Selection
  ) throws(GraftError) {
    self.first = first
    self.second = second
    self.selection = selection
    let firstLeaves = first.catalog.tree.leaves.filter { selection.selects($0.path) }
    let secondLeaves = second.catalog.tree.leaves.filter { selection.selects($0.path) }
    // Whoever selects nothing in either of the two is told so, with near names.
    if firstLeaves.isEmpty && secondLeaves.isEmpty { _ = try first.catalog.tree.selecting(selection) }
    var secondOf: [TreePath: StoredLeaf] = [:]
    for (path, leaf) in secondLeaves { secondOf[path] = leaf }
    for (path, leaf) in firstLeaves {
      guard let other = secondOf.removeValue(forKey: path) else {
        result.onlyInFirst.append(path)
        continue
      }
      try compare(path, leaf, other)
    }
    result.onlyInSecond = secondLeaves.map(\.path).filter { secondOf[$0] != nil }
  }

  /// Compares what the metadata says about a leaf.
  private mutating func compare(_ path: TreePath, _ a: StoredLeaf, _ b: StoredLeaf) throws(GraftError) {
    for (leaf, checkpoint) in [(a, first), (b, second)] {
      guard case .unsupported(let unsupported) = leaf else { continue }
      var error = unsupported.error(at: path)
      error.file = error.file ?? checkpoint.path
      throw error
    }
    switch (a, b) {
    case (.string(let a), .string(let b)):
      // By their bytes: two spellings of é are two texts.
      if Key(a) == Key(b) {
        result.equalLeafCount += 1
      } else {
        result.otherValues.append(
          CheckpointDifference.OtherValues(
            path: path, elementCount: 1, differingCount: 1, incomparableCount: 1, largestDistance: 0))
      }
    case (.tensor(let spec, let a, _), .tensor(let other, let b, _)) where spec == other:
      pairs.append(Pair(path: path, spec: spec, first: a, second: b))
    default:
      result.otherSpecs.append(
        CheckpointDifference.OtherSpec(path: path, first: a.spec, second: b.spec))
    }
  }

  mutating func run(
    tolerance: Double?, tuning: Tuning, progress: (@Sendable (Progress) -> Void)?
  ) async throws(GraftError) -> CheckpointDifference {
    try await leaveOutShared()
    // In the order of the first checkpoint's files, which is how a disk gives them fastest.
    pairs.sort { $0.first.firstPlace < $1.first.firstPlace }
    let paths = Set(pairs.map(\.path))
    let catalogs = [
      try await first.catalog(resolvingShardsOf: paths), try await second.catalog(resolvingShardsOf: paths),
    ]
    var planner = Planner()
    for catalog in catalogs { planner.addCheckpoint(catalog) }
    for pair in pairs {
      _ = try planner.addPair(
        pair.path,
        LazyTensor(pair.spec, StoredOperand(source: 0, path: pair.path, layout: pair.first)),
        LazyTensor(pair.spec, StoredOperand(source: 1, path: pair.path, layout: pair.second)))
    }
    let comparisons = pairs.map { _ in ElementComparison(tolerance: tolerance) }
    result.reading = try await Executor(planner.plan(), tuning: tuning)
      .run(into: comparisons.map { .comparison($0) }, progress: progress)
    for (pair, comparison) in zip(pairs, comparisons) {
      let found = comparison.findings
      if found.differingCount == 0 {
        result.equalLeafCount += 1
        continue
      }
      result.otherValues.append(
        CheckpointDifference.OtherValues(
          path: pair.path, elementCount: pair.spec.elementCount, differingCount: found.differingCount,
          incomparableCount: found.incomparableCount, largestDistance: found.largestDistance))
    }
    result.otherValues.sort { NaturalOrder.precedes($0.path, $1.path) }
    result.elapsed = started.duration(to: .now)
    return result
  }

  // MARK: What both have in the same bytes

  /// Takes out the tensors that are the same bytes of the same files in both, as linked checkpoints have them.
  private mutating func leaveOutShared() async throws(GraftError) {
    if pairs.isEmpty { return }
    let firstFiles = try await Self.identities(of: first.catalog.files)
    let secondFiles = try await Self.identities(of: second.catalog.files)
    guard !Set(firstFiles.compactMap { $0 }).isDisjoint(with: secondFiles.compactMap { $0 }) else { return }
    let count = pairs.count
    pairs.removeAll { pair in
      pair.first.isSame(as: pair.second) { firstFiles[$0] != nil && firstFiles[$0] == secondFiles[$1] }
    }
    result.sharedLeafCount = count - pairs.count
    result.equalLeafCount += result.sharedLeafCount
  }

  /// Which file on which device; nil for one that is not there, of which reading will tell.
  private struct Identity: Hashable {
    var device: UInt64
    var inode: UInt64
  }

  private static func identities(of files: [StoredFile]) async throws(GraftError) -> [Identity?] {
    try await BlockingThreads.shared.run { () throws(GraftError) in
      var identities: [Identity?] = []
      for file in files {
        let identity = try FileStatus.ifPresent(at: file.path)?.identity
        identities.append(identity.map { Identity(device: $0.device, inode: $0.inode) })
      }
      return identities
    }
  }
}

extension Layout {
  /// The file and offset of the first chunk that is in a file.
  fileprivate var firstPlace: (file: Int, offset: Int) {
    let stored = (shards?.places ?? chunks).lazy.compactMap(\.stored).first
    return stored.map { ($0.file, $0.range.offset) } ?? (.max, 0)
  }

  /// Whether two layouts are the same bytes.
  fileprivate func isSame(as other: Layout, isSameFile: (Int, Int) -> Bool) -> Bool {
    guard chunkShape == other.chunkShape, codecs == other.codecs, fillValue == other.fillValue,
      storedBitWidth == other.storedBitWidth, shards?.shape == other.shards?.shape,
      shards?.indexIsAtEnd == other.shards?.indexIsAtEnd,
      shards?.indexHasChecksum == other.shards?.indexHasChecksum
    else { return false }
    let (places, otherPlaces) = (shards?.places ?? chunks, other.shards?.places ?? other.chunks)
    return places.count == otherPlaces.count
      && zip(places, otherPlaces).allSatisfy { place, other in
        switch (place, other) {
        case (.file(let a), .file(let b)): a.range == b.range && isSameFile(a.file, b.file)
        default: place == other
        }
      }
  }
}

extension Checkpoint {
  /// The catalog with the shards of these leaves looked into.
  func catalog(resolvingShardsOf paths: Set<TreePath>) async throws(GraftError) -> Catalog {
    guard catalog.hasShards else { return catalog }
    let target = tree.mapLeaves { path, _ -> Tree<Target> in
      paths.contains(path) ? .stored : .placeholder
    }
    return try await catalog.resolvingShards(for: target, limits: limits)
  }
}
