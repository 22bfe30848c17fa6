internal import GraftCore
internal import GraftExecute
internal import GraftFormats
internal import GraftIO

// A linked checkpoint is a save whose chunks mostly exist. The planner of links says which; the others go the way of every save.

/// One linked checkpoint that is to be made.
struct Linking {
  /// What is linked.
  let tree: Tree<LazyLeaf>
  /// The checkpoints that it is made of, in the order of their numbers in the tree.
  let sources: [Checkpoint]
  /// How leaves are written that are not linked.
  let rewriting: OrbaxOptions
  let isOverwriting: Bool
  let metadata: [JSONValue.Member]
  let tuning: Tuning
  let progress: (@Sendable (Progress) -> Void)?

  /// Makes everything, or nothing.
  ///
  /// - Parameter started: when the caller's call began, for the report.
  func run(to path: String, started: ContinuousClock.Instant) async throws(GraftError) -> LinkReport {
    guard rewriting.version == .version1, rewriting.zarrVersion != .version2, rewriting.usesDatabase else {
      throw GraftError(
        .invalidArgument, "only a checkpoint of version 1 with Zarr 3 in a database can be linked",
        file: path,
        remedy: "leave these options as they are, or save a copy")
    }
    let claim = try SavesUnderWay.shared.claim(path)
    let tree = tree.withoutPlaceholders
    let (tensors, stringCount) = tree.tensors()
    guard tensors.count + stringCount > 0 else {
      throw GraftError(
        .leafNotFound, "there is no leaf to link", file: path, remedy: "select or return at least one")
    }
    let (outcomes, catalogs) = try await outcomes(of: tensors)

    var linked: [Layout?] = []
    linked.reserveCapacity(tensors.count)
    var linkedByteCount = 0
    var rewritten: [LinkReport.RewrittenLeaf] = []
    for ((path, tensor), outcome) in zip(tensors, outcomes) {
      switch outcome {
      case .linked(let layout):
        linked.append(layout)
        linkedByteCount += tensor.spec.byteCount
      case .rewritten(let reason):
        linked.append(nil)
        rewritten.append(.init(path: path, reason: reason, byteCount: tensor.spec.byteCount))
      case .hiddenInShards: preconditionFailure("shards were looked into")
      }
    }

    let saving = Saving(
      tree: tree, catalogs: catalogs, format: .orbax(rewriting), isOverwriting: isOverwriting, isFlat: false,
      metadata: metadata, tuning: tuning, progress: progress)
    let layout = try OrbaxPlan(
      tree, linked: linked, options: saving.orbaxOptions(rewriting), leaf: saving.orbaxLeaf)
    var planner = Planner()
    for catalog in catalogs { planner.addCheckpoint(catalog) }
    var arrays: [Int] = []
    for (array, (path, tensor)) in tensors.enumerated() where linked[array] == nil {
      do throws(GraftError) {
        _ = try planner.add(path, tensor.chunkMajor(layout.arrays[array].chunkShape))
      } catch {
        var error = error
        error.leaf = path
        throw error
      }
      arrays.append(array)
    }

    let plan = planner.plan()
    let writer = try await OrbaxWriter.begin(at: path, layout)
    let adopted: OrbaxLinks
    do throws(GraftError) {
      adopted = try await adopt(catalogs, into: writer, rewrittenByteCount: plan.resultByteCount)
    } catch {
      writer.abandon()
      throw error
    }
    // What was copied is a part of all that there was to do.
    let copiedByteCount = adopted.files.contains { $0.adopted.way == .copy } ? adopted.byteCount : 0
    let saved = try await BegunSave(
      plan: plan, places: arrays.map { .writer(writer, leaf: $0) }, writer: writer,
      leafCount: arrays.count, byteCount: rewritten.reduce(0) { $0 + $1.byteCount }, tuning: tuning,
      progress: progress(after: copiedByteCount), started: started, claim: claim
    ).run()
    return LinkReport(
      linkedLeafCount: tensors.count - rewritten.count, linkedByteCount: linkedByteCount,
      rewritten: rewritten,
      stringCount: stringCount,
      files: adopted.files.map { file in
        LinkReport.LinkedFile(
          source: file.source, name: Directory.path(of: file.name, in: OrbaxPlan.checkpointable),
          way: LinkReport.LinkedFile.Way(file.adopted.way), copiedByteCount: file.adopted.copiedByteCount)
      }, storedByteCount: saved.storedByteCount, reading: saved.reading, elapsed: saved.elapsed)
  }

  /// What becomes of each tensor, and the sources' catalogs, with the shards looked into that somebody has to know.
  private func outcomes(
    of tensors: [(path: TreePath, tensor: LazyTensor)]
  ) async throws(GraftError) -> ([LinkPlanner.Outcome], [Catalog]) {
    var planner = LinkPlanner()
    for source in sources { planner.addCheckpoint(source.catalog) }
    var outcomes: [LinkPlanner.Outcome] = []
    outcomes.reserveCapacity(tensors.count)
    for (_, tensor) in tensors { outcomes.append(Self.outcome(of: tensor, planner)) }
    guard sources.contains(where: { $0.catalog.hasShards }) else {
      return (outcomes, sources.map(\.catalog))
    }

    // Shards that are linked whole stay closed.
    let open = zip(tensors, outcomes).filter { if case .linked = $1 { false } else { true } }
    let used = TransformPlan.leaves(usedBy: open.map { $0.0.tensor })
    var catalogs: [Catalog] = []
    for (index, source) in sources.enumerated() {
      let paths = used[index] ?? []
      let target = source.tree.mapLeaves { path, _ -> Tree<Target> in
        paths.contains(path) ? .stored : .placeholder
      }
      catalogs.append(try await source.catalog.resolvingShards(for: target, limits: source.limits))
    }
    planner = LinkPlanner()
    for catalog in catalogs { planner.addCheckpoint(catalog) }
    for index in outcomes.indices where outcomes[index] == .hiddenInShards {
      outcomes[index] = Self.outcome(of: tensors[index].tensor, planner)
    }
    return (outcomes, catalogs)
  }

  private static func outcome(of tensor: LazyTensor, _ planner: LinkPlanner) -> LinkPlanner.Outcome {
    let outcome = planner.outcome(of: tensor)
    guard case .linked(let layout) = outcome,
      let reason = ZarrVersion.reasonNotToLink(tensor.spec, layout)
    else { return outcome }
    return .rewritten(because: reason)
  }

  /// What is told of the progress of writing when so many bytes have been copied before it.
  private func progress(after copiedByteCount: Int) -> (@Sendable (Progress) -> Void)? {
    guard let progress, copiedByteCount > 0 else { return progress }
    return { writing in
      progress(
        Progress(
          completedByteCount: writing.completedByteCount + copiedByteCount,
          totalByteCount: writing.totalByteCount + copiedByteCount))
    }
  }

  private func adopt(
    _ catalogs: [Catalog], into writer: OrbaxWriter, rewrittenByteCount: Int
  ) async throws(GraftError) -> OrbaxLinks {
    let progress = progress
    let limits = sources.map(\.limits)
    let cancellation = Cancellation()
    return try await withCancellation(cancellation) { () async throws(GraftError) in
      try await BlockingThreads.shared.run { () throws(GraftError) in
        var sealed = SealedSources()
        for (catalog, limits) in zip(catalogs, limits) { try sealed.add(catalog, limits: limits) }
        return try writer.adopt(
          catalogs.flatMap(\.files), sealed: sealed,
          copied: { completed, total in
            progress?(Progress(completedByteCount: completed, totalByteCount: total + rewrittenByteCount))
          }, isCancelled: { cancellation.isCancelled })
      }
    }
  }
}

extension LinkReport.LinkedFile.Way {
  fileprivate init(_ way: AdoptedFile.Way) {
    switch way {
    case .hardLink: self = .hardLink
    case .reflink: self = .reflink
    case .copy: self = .copy
    }
  }
}
