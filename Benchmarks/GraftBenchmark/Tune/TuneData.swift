internal import Glibc
internal import Graft
internal import GraftIO
internal import GraftMeasure
internal import Synchronization

/// What a sweep loads: a checkpoint of the user's, or files that are made on the storage in question.
struct TuneData: Sendable {
  let checkpoint: Checkpoint
  /// A second checkpoint of many small leaves; the first one itself where it has enough of them.
  let small: Checkpoint?
  /// What it is, in a line.
  let description: String
  /// What identifies it, in this version, to a journal.
  let identity: String
  /// Whether there is more than is loaded.
  let isPart: Bool
  /// Whether the benchmark made it.
  let isMade: Bool

  /// The leaves that whole loads load.
  let leaves: Set<TreePath>
  let byteCount: Int
  /// What those loads read, file by file.
  let extents: [FileExtent]
  let smallExtents: [FileExtent]

  /// A file, and the part of it that is read.
  struct FileExtent: Sendable {
    var file: File
    var range: ByteRange
  }

  /// Leaves of fewer bytes than this are read together with neighbours where that pays.
  private static let smallByteCount = 64 << 10
  /// As many files as are open all the time, of the 1,024 that a process may often have: a checkpoint of folders has one for each chunk.
  private static let mostFiles = 200
  /// As many leaves as it takes to see what a gap between them costs.
  private static let fewestSmallLeaves = 500

  /// A checkpoint, of which at most so many bytes are loaded.
  init(
    _ checkpoint: Checkpoint, small: Checkpoint?, byteCountLimit: Int, isMade: Bool, description: String
  ) async throws(GraftError) {
    self.checkpoint = checkpoint
    self.isMade = isMade
    let plan = try await checkpoint.plan(checkpoint.target { _, _ in .stored })
    // Leaves in the order of the files, so that what is read is a few long stretches.
    var first = [(file: Int, offset: Int)?](repeating: nil, count: plan.results.count)
    var files = [Set<Int>](repeating: [], count: plan.results.count)
    for move in plan.moves {
      if first[move.result] == nil { first[move.result] = (move.chunk.file, move.chunk.range.offset) }
      files[move.result].insert(move.chunk.file)
    }
    let order = plan.results.indices.filter { first[$0] != nil }.sorted {
      guard let a = first[$0], let b = first[$1] else { return $0 < $1 }
      return (a.file, a.offset) < (b.file, b.offset)
    }
    var leaves: Set<TreePath> = []
    var byteCount = 0
    var open: Set<Int> = []
    for index in order {
      let result = plan.results[index]
      let together = open.union(files[index])
      let fits = byteCount + result.spec.byteCount <= byteCountLimit && together.count <= Self.mostFiles
      guard leaves.isEmpty || fits else { continue }
      open = together
      leaves.insert(result.path)
      byteCount += result.spec.byteCount
    }
    guard byteCount > 0 else {
      throw GraftError(
        .invalidArgument, "there is nothing to load in this checkpoint", file: checkpoint.path,
        remedy: "name one with tensors, or a folder in which data can be made")
    }
    self.leaves = leaves
    self.byteCount = byteCount
    isPart = leaves.count < plan.results.count
    extents = try await Self.extents(of: checkpoint, leaves)
    let candidate = small ?? checkpoint
    var count = 0
    candidate.tree.forEachLeaf { if Self.isSmall($1) { count += 1 } }
    self.small = count >= Self.fewestSmallLeaves ? candidate : nil
    smallExtents =
      count >= Self.fewestSmallLeaves
      ? try await Self.extents(
        of: candidate, Set(candidate.tree.leaves.filter { Self.isSmall($0.leaf) }.map(\.path)))
      : []
    self.description = description
    var identity =
      "\(leaves.count) leaves, \(byteCount) bytes of \(Directory.absolutePath(of: checkpoint.path))"
    for extent in extents {
      let time = extent.file.status.identity.modificationTime
      identity += ", \(extent.file.byteCount) bytes of \(time.seconds).\(time.nanoseconds)"
      // A checkpoint of a thousand files is told from others by the first of them.
      if identity.utf8.count > 1000 { break }
    }
    self.identity = identity
  }

  private static func isSmall(_ leaf: LeafSpec) -> Bool {
    leaf.tensor.map { $0.byteCount > 0 && $0.byteCount < smallByteCount } ?? false
  }

  private static func extents(
    of checkpoint: Checkpoint, _ leaves: Set<TreePath>
  ) async throws(GraftError) -> [FileExtent] {
    let target = checkpoint.target { path, _ in leaves.contains(path) ? .stored : .placeholder }
    let plan = try await checkpoint.plan(target, partial: true)
    var ranges: [Int: ByteRange] = [:]
    for move in plan.moves {
      let range = move.chunk.range
      guard let known = ranges[move.chunk.file] else {
        ranges[move.chunk.file] = range
        continue
      }
      let start = min(known.offset, range.offset)
      ranges[move.chunk.file] = ByteRange(offset: start, count: max(known.end, range.end) - start)
    }
    var extents: [FileExtent] = []
    for (index, range) in ranges.sorted(by: { $0.key < $1.key }) {
      extents.append(FileExtent(file: try File(opening: plan.files[index].path), range: range))
    }
    return extents
  }

  /// The file that most is read of, and how much of its beginning a raw read is to read.
  var ceilingFile: (file: File, byteCount: Int) {
    let most = extents.max { $0.range.count < $1.range.count } ?? extents[0]
    let count = min(most.file.byteCount, max(4096, min(byteCount, most.range.end)))
    return (most.file, count == most.file.byteCount ? count : count / 4096 * 4096)
  }

  // MARK: loads

  /// A load of this workload, with these settings.
  func contestant(_ workload: TuneWorkload, _ candidate: TuneCandidate) async throws(GraftError) -> Contestant
  {
    let isSmall = workload == .scattered || workload == .sparse
    guard let source = isSmall ? small : checkpoint else {
      preconditionFailure("there is no such load without small leaves")
    }
    let target = target(workload, of: source)
    let plan = try await source.plan(target, partial: true)
    let extents = isSmall ? smallExtents : self.extents
    let kept = KeptResult()
    let tuning = candidate.tuning
    return Contestant(
      candidate.name, byteCount: plan.resultByteCount,
      prepare: { () async throws(GraftError) in
        try await BlockingThreads.shared.run { () throws(GraftError) in
          if workload == .fresh {
            MemoryPool.shared.trim()
            MemoryPool.sharedInSmallPages.trim()
          }
          for extent in extents {
            if workload.isCold {
              try PageCache.empty(of: extent.file, extent.range)
            } else {
              try PageCache.warm(extent.file, extent.range)
            }
          }
        }
      },
      run: { () async throws(GraftError) in
        let loaded = try await source.load(
          target, partial: true, to: candidate.isMapped ? .mapped : .host, tuning: tuning)
        if candidate.isMapped { try await Self.touch(loaded) }
        kept.keep(loaded)
      },
      finish: { () async throws(GraftError) in kept.drop() })
  }

  private func target(_ workload: TuneWorkload, of source: Checkpoint) -> Tree<Target> {
    var index: UInt64 = 0
    return source.target { path, spec in
      switch workload {
      case .warm, .cold, .fresh: return leaves.contains(path) ? .stored : .placeholder
      case .columns, .coldColumns:
        guard leaves.contains(path), let tensor = spec.tensor, tensor.shape.rank == 2 else {
          return .placeholder
        }
        return .slice(.all, .strided(by: 2))
      case .scattered, .sparse:
        guard Self.isSmall(spec) else { return .placeholder }
        index += 1
        let isWanted = workload == .sparse ? index % 8 == 0 : ModelFile.mixed(index) % 2 == 0
        return isWanted ? .stored : .placeholder
      }
    }
  }

  /// Whether there are matrices, of which columns can be wanted.
  var hasMatrices: Bool {
    var found = false
    checkpoint.tree.forEachLeaf { path, spec in
      if leaves.contains(path), spec.tensor?.shape.rank == 2 { found = true }
    }
    return found
  }

  /// Reads a byte of every page of a mapped result, as whoever uses it does sooner or later.
  private static func touch(_ loaded: Loaded) async throws(GraftError) {
    var tensors: [Tensor] = []
    loaded.tree.forEachLeaf { if case .tensor(let tensor) = $1 { tensors.append(tensor) } }
    let all = tensors
    try await BlockingThreads.shared.run { () throws(GraftError) in
      try ParallelPieces.run(count: all.count, threadCount: UsableProcessors.count) {
        (index) throws(GraftError) in
        var sum: UInt8 = 0
        let bytes = unsafe try all[index].memory
        for offset in stride(from: 0, to: bytes.count, by: MemoryPage.byteCount) {
          sum &+= unsafe bytes[offset]
        }
        // Nobody wants the sum; but a loop whose result is of no use would be left out.
        keptSum.keep(sum)
      }
    }
  }
}

// MARK: - Making it

extension TuneData {
  /// Data on the storage of a folder: matrices and norms of this many MiB together, and a quarter as many of small leaves.
  static func made(in folder: String, byteCount: Int) async throws(GraftError) -> TuneData {
    let mebibytes = max(1, byteCount >> 20)
    // Enough matrices in any size: some are large enough for direct reads of the largest block, others are not.
    let width = mebibytes >= 512 ? 2048 : mebibytes >= 64 ? 512 : 64
    let inner = width * 11 / 4
    var leaves: [ModelFile.Leaf] = []
    var made = 0
    func add(_ name: String, _ shape: [Int]) {
      let leaf = ModelFile.Leaf(name, shape)
      guard made + leaf.byteCount <= byteCount else { return }
      leaves.append(leaf)
      made += leaf.byteCount
    }
    var layer = 0
    while true {
      let before = made
      let prefix = "model.layers.\(layer)"
      add("\(prefix).input_layernorm.weight", [width])
      for name in ["down_proj", "gate_proj", "up_proj"] {
        add("\(prefix).mlp.\(name).weight", name == "down_proj" ? [width, inner] : [inner, width])
      }
      for name in ["q_proj", "o_proj"] { add("\(prefix).self_attn.\(name).weight", [width, width]) }
      for name in ["k_proj", "v_proj"] { add("\(prefix).self_attn.\(name).weight", [width / 8, width]) }
      layer += 1
      if made == before || layer > 100_000 { break }
    }
    let model = try ModelFile.make("data-\(mebibytes)-mib", in: folder, leaves)
    let smallCount = min(32_768, max(512, mebibytes * 32))
    let small = try ModelFile.make(
      "small-leaves-\(smallCount)", in: folder,
      (0..<smallCount).map { index in
        ModelFile.Leaf(
          "adapters.\(index / 64).\(index % 64)", [512 * (1 + Int(ModelFile.mixed(UInt64(index)) % 16))])
      })
    return try await TuneData(
      Checkpoint(at: model.path), small: Checkpoint(at: small.path), byteCountLimit: .max, isMade: true,
      description: "\(Figure.bytes(made)) in \(leaves.count) leaves, made in \(folder)")
  }
}

private let keptSum = KeptByte()

/// Holds a byte that nobody reads.
private final class KeptByte: Sendable {
  private let value = Atomic<UInt8>(0)
  func keep(_ byte: UInt8) { value.store(byte, ordering: .relaxed) }
}
