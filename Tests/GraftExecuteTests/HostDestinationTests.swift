import Foundation
import GraftCore
import GraftExecute
import GraftIO
import GraftTestSupport
import Testing

/// Results in memory of the pool: where they lie, what keeps them, and how many reads it takes to fill them.
@Suite struct HostDestinationTests {
  let path = NSTemporaryDirectory() + "/graft-host-\(UUID().uuidString)"
  let contents: [UInt8]

  init() throws {
    contents = (0..<8_000_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 11) }
    try Data(contents).write(to: URL(filePath: path))
  }

  /// A plan of whole leaves at these places of the file.
  private func plan(_ leaves: [(offset: Int, spec: TensorSpec)]) throws -> Plan {
    var planner = Planner()
    planner.addFiles([StoredFile(path: path, byteCount: contents.count)])
    for (index, leaf) in leaves.enumerated() {
      let range = ByteRange(offset: leaf.offset, count: leaf.spec.byteCount)
      _ = try planner.add(
        TreePath([Key(index: index)]), leaf.spec, Layout(contiguous: leaf.spec, file: 0, range: range))
    }
    return planner.plan()
  }

  private func expectContents(_ tensor: Tensor, from offset: Int) throws {
    let expected = contents[offset..<(offset + tensor.byteCount)]
    let isEqual = try tensor.bytes.withUnsafeBytes { $0.elementsEqual(expected) }
    #expect(isEqual, "the leaf at \(offset)")
  }

  private func load(
    _ plan: Plan, pool: MemoryPool = MemoryPool(), tuning: Tuning = Tuning()
  ) async throws -> (tensors: [Tensor], report: ReadReport) {
    let destination = try await HostDestination(plan, pool: pool, tuning: tuning)
    let report = try await Executor(plan, tuning: tuning, pages: destination.pages)
      .run(into: destination.places)
    return (destination.tensors, report)
  }

  // MARK: memory

  /// What the kernel was asked about the pages of an address: `hg` for huge ones, `nh` for none of those.
  private func pageAdvice(_ address: UnsafeMutableRawPointer) throws -> [Substring] {
    var isWanted = false
    for line in try #require(SystemText.read("/proc/self/smaps")).split(separator: "\n") {
      let words = line.split(separator: " ")
      let bounds = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
      if bounds.count == 2, words.count >= 5 {
        isWanted = (bounds[0]..<bounds[1]).contains(UInt(bitPattern: address))
      } else if isWanted, words[0] == "VmFlags:" {
        return words.filter { $0 == "hg" || $0 == "nh" }
      }
    }
    return []
  }

  @Test(
    .enabled(
      if: FileManager.default.fileExists(atPath: "/sys/kernel/mm/transparent_hugepage"), "no huge pages"),
    arguments: [(true, "hg"), (false, "nh")])
  func `results lie in the pages that the tuning asks for`(hugePages: Bool, advice: String) async throws {
    defer { unlink(path) }
    let plan = try plan([(offset: 24, spec: TensorSpec(.uint8, [6_000_000]))])
    var tuning = Tuning()
    tuning.hugePages = hugePages
    let destination = try await HostDestination(plan, tuning: tuning)
    _ = try await Executor(plan, tuning: tuning).run(into: destination.places)
    try expectContents(destination.tensors[0], from: 24)
    guard case .memory(let memory) = destination.places[0], let address = memory.baseAddress else {
      Issue.record("a host result is in memory")
      return
    }
    #expect(try pageAdvice(address) == [Substring(advice)])
  }

  // MARK: reads

  @Test func `leaves that lie next to each other are read together, straight into place`() async throws {
    defer { unlink(path) }
    let spec = TensorSpec(.float32, [250])
    let leaves = (0..<1_000).map { (offset: 24 + $0 * 1_000, spec: spec) }
    let plan = try plan(leaves)
    let (tensors, report) = try await load(plan)
    // A million bytes, in blocks that end at multiples of a MiB in the file.
    #expect(report.requestCount == 1)
    #expect(report.bytesRead == 1_000_000)
    #expect(report.peakStagingByteCount == 0)
    for (leaf, tensor) in zip(leaves, tensors) { try expectContents(tensor, from: leaf.offset) }
    #expect(try Executor(plan, tuning: Tuning()).forecast().requestCount == 1)
  }

  @Test func `leaves with gaps that no tuning reads through are a read each`() async throws {
    defer { unlink(path) }
    let leaves = (0..<500).map { (offset: $0 * 10_000, spec: TensorSpec(.uint8, [1_000])) }
    var tuning = Tuning()
    tuning.coalescingGapByteCount = 0
    let (tensors, report) = try await load(try plan(leaves), tuning: tuning)
    #expect(report.requestCount == 500)
    #expect(report.bytesRead == 500_000)
    for (leaf, tensor) in zip(leaves, tensors) { try expectContents(tensor, from: leaf.offset) }
  }

  @Test func `a leaf that is misaligned in its file is aligned in memory`() async throws {
    defer { unlink(path) }
    let leaves = [
      (offset: 1, spec: TensorSpec(.uint8, [6])), (offset: 7, spec: TensorSpec(.float64, [3])),
      (offset: 31, spec: TensorSpec(.float32, [2])), (offset: 40, spec: TensorSpec(.int64, [2])),
      (offset: 56, spec: TensorSpec(.uint8, [3])),
    ]
    let (tensors, report) = try await load(try plan(leaves))
    for (leaf, tensor) in zip(leaves, tensors) { try expectContents(tensor, from: leaf.offset) }
    for tensor in tensors {
      let address = UInt(bitPattern: try tensor.memory.baseAddress)
      #expect(address.isMultiple(of: UInt(tensor.dtype.alignment)))
    }
    #expect(report.bytesWanted == 57)
  }

  // MARK: memory

  @Test func `a tensor keeps the extent that it shares, and the last one gives it back`() async throws {
    defer { unlink(path) }
    let pool = MemoryPool()
    let spec = TensorSpec(.uint8, [1_000])
    let leaves = (0..<5_000).map { (offset: $0 * 1_000, spec: spec) }
    var tensors = try await load(try plan(leaves), pool: pool).tensors
    // 5 MB: two extents that are nearly full, and the rest.
    #expect(pool.statistics.extentByteCount == 5_000_000)
    let kept = tensors[10]
    let other = tensors[11]
    tensors = []
    #expect(pool.statistics.extentByteCount <= HostLayout.sharedExtentByteCount)
    #expect(pool.statistics.extentByteCount >= HostLayout.sharedExtentByteCount - 1_000)
    try expectContents(kept, from: 10_000)
    try expectContents(other, from: 11_000)
    func use(_ tensor: consuming Tensor) {}
    use(kept)
    use(other)
  }

  @Test func `nothing is kept when no tensor is`() async throws {
    defer { unlink(path) }
    let pool = MemoryPool()
    let leaves = (0..<3_000).map { (offset: $0 * 1_000, spec: TensorSpec(.uint8, [1_000])) }
    _ = try await load(try plan(leaves), pool: pool)
    #expect(pool.statistics.extentByteCount == 0)
    #expect(pool.statistics.retainedByteCount >= 3_000_000)
  }

  // MARK: layout

  @Test func `results never overlap, are aligned, and meet where they meet in the file`() throws {
    defer { unlink(path) }
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    for _ in 0..<60 {
      var leaves: [(offset: Int, spec: TensorSpec)] = []
      var offset = Int.random(in: 0...100, using: &random)
      while offset < contents.count, leaves.count < 400 {
        let dtype = [DType.uint8, .bfloat16, .float32, .float64, .complex128].randomElement(using: &random)!
        let limit = [10, 1_000, 60_000, 900_000].randomElement(using: &random)! / 8
        let spec = TensorSpec(dtype, [Int.random(in: 0...limit, using: &random)])
        if Int.random(in: 0..<4, using: &random) == 0 { offset += Int.random(in: 1...5_000, using: &random) }
        guard offset + spec.byteCount <= contents.count else { break }
        leaves.append((offset, spec))
        offset += spec.byteCount
      }
      leaves.shuffle(using: &random)
      var tuning = Tuning()
      tuning.access = [.automatic, .buffered, .direct].randomElement(using: &random)!
      let plan = try plan(leaves)
      let layout = HostLayout(plan, tuning: tuning)
      let placed = zip(leaves, layout.placements).map { (leaf: $0, placement: $1) }
        .sorted { ($0.leaf.offset, $0.leaf.spec.byteCount) < ($1.leaf.offset, $1.leaf.spec.byteCount) }
      var used: [Int: [Range<Int>]] = [:]
      for (leaf, placement) in placed {
        let extent = layout.extents[placement.extent]
        let range = placement.byteOffset..<(placement.byteOffset + leaf.spec.byteCount)
        #expect(range.lowerBound >= 0 && range.upperBound <= extent.byteCount, "seed \(seed)")
        #expect(
          (extent.offsetInAlignment + placement.byteOffset) % leaf.spec.dtype.alignment == 0, "seed \(seed)")
        #expect(extent.alignment % 64 == 0 && extent.offsetInAlignment < extent.alignment, "seed \(seed)")
        if leaf.spec.byteCount < HostLayout.sharedResultByteCount {
          #expect(extent.byteCount <= HostLayout.sharedExtentByteCount, "seed \(seed)")
        }
        if !range.isEmpty { used[placement.extent, default: []].append(range) }
      }
      for ranges in used.values {
        let sorted = ranges.sorted { $0.lowerBound < $1.lowerBound }
        for (a, b) in zip(sorted, sorted.dropFirst()) {
          #expect(a.upperBound <= b.lowerBound, "seed \(seed)")
        }
      }
      let wanted = plan.resultByteCount
      #expect(layout.byteCount >= wanted && layout.byteCount <= wanted + 64 * leaves.count, "seed \(seed)")
      #expect(layout.byteCount == layout.extents.reduce(0) { $0 + $1.byteCount }, "seed \(seed)")
      let full = placed.filter { $0.leaf.spec.byteCount > 0 }
      for (a, b) in zip(full, full.dropFirst())
      where a.leaf.offset + a.leaf.spec.byteCount == b.leaf.offset
        && a.placement.extent == b.placement.extent
        && [a, b].allSatisfy({
          $0.leaf.offset % $0.leaf.spec.dtype.alignment == 0
            && $0.leaf.spec.byteCount < HostLayout.sharedResultByteCount
        })
      {
        #expect(
          a.placement.byteOffset + a.leaf.spec.byteCount == b.placement.byteOffset, "seed \(seed)")
      }
    }
  }

  @Test func `a long run of small leaves lies as its file does, for reads around the page cache`() throws {
    defer { unlink(path) }
    let leaves = (0..<3_000).map { (offset: 100 + $0 * 1_000, spec: TensorSpec(.uint8, [1_000])) }
    let layout = HostLayout(try plan(leaves), tuning: Tuning())
    #expect(layout.extents.count == 2)
    for (leaf, placement) in zip(leaves, layout.placements) {
      let extent = layout.extents[placement.extent]
      #expect((extent.offsetInAlignment + placement.byteOffset) % 4096 == leaf.offset % 4096)
    }
  }
}
