// A shard is one stored value:
//
//     chunk │ chunk │ … │ index        or  index │ chunk │ chunk │ …
//
// The index has an offset and a length for each chunk in row-major order, u64le each, both all ones for a chunk that was never
// written, and perhaps a crc32c u32le over them. Chunks lie anywhere in the shard.

internal import GraftCodec
package import GraftCore

extension Shards {
  /// How many chunks one shard holds; nil when that overflows.
  package func chunkCount(chunkShape: Shape) -> Int? {
    Shape(checked: ZarrArray.grid(shape, chunkShape))?.checkedElementCount
  }

  /// The bytes of a shard that are its index, counted from its own first; nil when the shard is too short to have one.
  package func indexRange(shardByteCount: Int, chunkCount: Int) -> ByteRange? {
    let (entries, overflow) = chunkCount.multipliedReportingOverflow(by: 16)
    guard !overflow, entries <= shardByteCount - (indexHasChecksum ? 4 : 0) else { return nil }
    let count = entries + (indexHasChecksum ? 4 : 0)
    return ByteRange(offset: indexIsAtEnd ? shardByteCount - count : 0, count: count)
  }

  /// The places of a shard's chunks, in row-major order.
  ///
  /// - Parameters:
  ///   - index: the bytes of the shard's index.
  ///   - shard: the shard, inside of which all chunks must be.
  ///   - file: what errors call the shard's file.
  package func chunks(
    index: [UInt8], of shard: ChunkLocation, chunkCount: Int, file: String?
  ) throws(GraftError) -> [ChunkLocation] {
    let entries = chunkCount * 16
    precondition(index.count == entries + (indexHasChecksum ? 4 : 0), "this is not the whole index")
    // The spans of these bytes are unsafe only in that padding could be read, which bytes have none of.
    let bytes = unsafe index.span.bytes
    func word(at offset: Int) -> UInt64 {
      // Inside the bytes, as counted above; any bits are a number.
      UInt64(littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
    if indexHasChecksum {
      let stored = UInt32(
        littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: entries, as: UInt32.self))
      let found = CRC32C.checksum(bytes.extracting(first: entries))
      guard found == stored else {
        throw CodecFailure("crc32c", .checksum(expected: stored, found: found))
          .graftError(file: file, range: shard.stored?.range)
      }
    }
    var chunks: [ChunkLocation] = []
    chunks.reserveCapacity(chunkCount)
    for number in 0..<chunkCount {
      let (offset, count) = (word(at: 16 * number), word(at: 16 * number + 8))
      if offset == .max && count == .max {
        chunks.append(.absent)
        continue
      }
      guard let offset = Int(exactly: offset), let count = Int(exactly: count),
        let range = ByteRange(checkedOffset: offset, count: count), range.end <= shard.byteCount
      else {
        throw GraftError(
          .corrupt, "the index of a shard points outside of the shard", file: file,
          range: shard.stored?.range,
          expected: "offset and length within \(shard.byteCount) bytes", found: "\(offset) and \(count)",
          remedy: "the checkpoint was damaged after it was written: copy or download it again")
      }
      switch shard {
      case .file(let stored):
        let place = ByteRange(offset: stored.range.offset + offset, count: count)
        chunks.append(.file(StoredChunk(file: stored.file, range: place)))
      case .inline(let bytes): chunks.append(.inline(Array(bytes[range.offset..<range.end])))
      case .absent: preconditionFailure("an absent shard has no index")
      }
    }
    return chunks
  }
}

extension Catalog {
  /// These layouts of the catalog's leaves, with the shards looked into, so that all know the places of their chunks.
  ///
  /// Reads the indices of all shards that the layouts have, and nothing else; layouts without shards stay as they are.
  ///
  /// - Parameter parts: for each layout the box of which chunks are wanted, nil for all; shards that it does not touch are not
  ///   looked into, and their chunks are given as absent. Without any, all chunks of all layouts are wanted.
  /// - Throws: `corrupt` for a damaged index, and for a chunk that is absent though the layout has no fill value; `limitExceeded` when the chunks are more than ``Limits/chunkCount``.
  package func lookingIntoShards(
    _ layouts: [(path: TreePath, spec: TensorSpec, layout: Layout)], within parts: [Box?] = [],
    limits: Limits = Limits()
  ) async throws(GraftError) -> [Layout] {
    precondition(parts.isEmpty || parts.count == layouts.count, "one part for each layout")
    func part(_ number: Int) -> Box {
      (parts.isEmpty ? nil : parts[number]) ?? Box(whole: layouts[number].spec.shape)
    }
    var jobs: [ShardJob] = []
    var chunkTotal = 0
    for (number, (path, spec, layout)) in layouts.enumerated() {
      guard let shards = layout.shards else { continue }
      let inLeaf = Shape(checked: ZarrArray.grid(spec.shape, layout.chunkShape))?.checkedElementCount
      // What an index lists beyond the array counts too: shards may be far larger than it, and their indices are read.
      let shardCount = shards.places.lazy.filter { $0 != .absent }.count
      guard let inShard = shards.chunkCount(chunkShape: layout.chunkShape), let inLeaf,
        case let (listed, overflow) = inShard.multipliedReportingOverflow(by: shardCount), !overflow,
        inShard <= limits.chunkCount, max(inLeaf, listed) <= limits.chunkCount - chunkTotal
      else {
        throw GraftError(
          .limitExceeded, "the checkpoint has too many chunks", leaf: path,
          expected: "at most \(limits.chunkCount)",
          remedy: "raise Limits.chunkCount if the checkpoint is trusted")
      }
      chunkTotal += max(inLeaf, listed)
      for index in ZarrArray.cells(of: part(number), in: spec.shape, cellShape: shards.shape) {
        let place = shards.places[index]
        if place == .absent { continue }
        guard let range = shards.indexRange(shardByteCount: place.byteCount, chunkCount: inShard) else {
          throw GraftError(
            .corrupt, "the shard is too short for its index", leaf: path,
            file: place.stored.map { files[$0.file].path },
            range: place.stored?.range, expected: "an index of \(inShard) chunks",
            remedy: "the checkpoint was damaged after it was written: copy or download it again")
        }
        jobs.append(ShardJob(layout: number, shard: index, place: place, range: range, chunkCount: inShard))
      }
    }
    let indices = try await read(jobs)

    var result = layouts.map(\.layout)
    var byLayout: [Int: [(shard: Int, chunks: [ChunkLocation])]] = [:]
    for (job, bytes) in zip(jobs, indices) {
      guard let shards = layouts[job.layout].layout.shards else { continue }
      let file = job.place.stored.map { files[$0.file].path }
      let chunks: [ChunkLocation]
      do throws(GraftError) {
        chunks = try shards.chunks(index: bytes, of: job.place, chunkCount: job.chunkCount, file: file)
      } catch {
        var error = error
        error.leaf = layouts[job.layout].path
        throw error
      }
      byLayout[job.layout, default: []].append((job.shard, chunks))
    }
    for (number, (path, spec, layout)) in layouts.enumerated() where layout.shards != nil {
      result[number] = layout.placing(byLayout[number] ?? [], shape: spec.shape)
      guard layout.fillValue == nil else { continue }
      let chunks = result[number].chunks
      let wanted = ZarrArray.cells(of: part(number), in: spec.shape, cellShape: layout.chunkShape)
      guard let absent = wanted.first(where: { chunks[$0] == .absent }) else { continue }
      throw GraftError(
        .corrupt, "a chunk of the array is missing", leaf: path,
        expected: "\(result[number].chunks.count) chunks",
        found: "none for number \(absent) in row-major order",
        remedy: "the checkpoint is incomplete: copy or download it again")
    }
    return result
  }

  /// The index of one shard that is to be read.
  private struct ShardJob: Sendable {
    var layout: Int
    var shard: Int
    var place: ChunkLocation
    /// The index, counted from the shard's first byte.
    var range: ByteRange
    var chunkCount: Int
  }

  /// The bytes of the indices, in the order of the jobs.
  private func read(_ jobs: [ShardJob]) async throws(GraftError) -> [[UInt8]] {
    var result = [[UInt8]](repeating: [], count: jobs.count)
    var wanted: [ShardIndexReads.Wanted] = []
    for (number, job) in jobs.enumerated() {
      switch job.place {
      case .inline(let shard): result[number] = Array(shard[job.range.offset..<job.range.end])
      case .file(let shard):
        let range = ByteRange(offset: shard.range.offset + job.range.offset, count: job.range.count)
        wanted.append(ShardIndexReads.Wanted(number: number, file: shard.file, range: range))
      case .absent: break
      }
    }
    try await ShardIndexReads(wanted).read(from: files) { number, bytes in result[number] = bytes }
    return result
  }
}

extension Layout {
  /// The layout with the chunks of its shards at their places in the grid of all chunks.
  fileprivate func placing(_ found: [(shard: Int, chunks: [ChunkLocation])], shape: Shape) -> Layout {
    guard let shards else { return self }
    var layout = self
    layout.shards = nil
    let grid = ZarrArray.grid(shape, chunkShape)
    let shardGrid = ZarrArray.grid(shape, shards.shape)
    let perShard = ZarrArray.grid(shards.shape, chunkShape)
    layout.chunks = [ChunkLocation](repeating: .absent, count: grid.reduce(1, *))
    for (shard, chunks) in found {
      let corner = zip(Self.index(shard, in: shardGrid), perShard).map { $0 * $1 }
      for (number, chunk) in chunks.enumerated() {
        let index = zip(corner, Self.index(number, in: perShard)).map { $0 + $1 }
        // A shard at the edge has places for chunks beyond it.
        guard zip(index, grid).allSatisfy({ $0 < $1 }) else { continue }
        layout.chunks[zip(index, grid).reduce(0) { $0 * $1.1 + $1.0 }] = chunk
      }
    }
    return layout
  }

  private static func index(_ number: Int, in grid: [Int]) -> [Int] {
    var rest = number
    var index = grid
    for axis in grid.indices.reversed() {
      index[axis] = rest % grid[axis]
      rest /= grid[axis]
    }
    return index
  }
}

extension ZarrArray {
  /// The cells of a grid over `shape` that a box of elements touches, by their numbers in row-major order over the whole grid.
  package static func cells(of box: Box, in shape: Shape, cellShape: Shape) -> [Int] {
    guard !box.isEmpty else { return [] }
    let grid = grid(shape, cellShape)
    var cells = [0]
    for axis in grid.indices {
      let first = box.origin[axis] / cellShape[axis]
      let last = (box.origin[axis] + box.shape[axis] - 1) / cellShape[axis]
      // Row-major: every number so far, times the extent of this axis, plus each place along it.
      var next: [Int] = []
      next.reserveCapacity(cells.count * (last - first + 1))
      for cell in cells { for place in first...last { next.append(cell * grid[axis] + place) } }
      cells = next
    }
    return cells
  }
}
