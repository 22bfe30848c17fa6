import CGraftKernels
import Glibc
import GraftTestSupport
import Testing

/// `GRAFT_TEST_SEED`, else a seed of this run; failures print it.
let testSeed = seedFromEnvironment() ?? .random(in: 0..<1_000_000)

/// A copy as the tests make it, with the values that the C structure points to.
struct Copy: CustomStringConvertible {
  var run: Int
  var sourceOffset = 0
  var destinationOffset = 0
  var axes: [(count: Int, source: Int, destination: Int)] = []

  var description: String {
    "run \(run) from \(sourceOffset) to \(destinationOffset)"
      + axes.map { ", \($0.count) × \($0.source) → \($0.destination)" }.joined()
  }

  typealias Function =
    @Sendable (
      UnsafePointer<graft_copy>?, UnsafeMutableRawPointer?, Int, UnsafeRawPointer?, Int
    ) -> CInt

  /// Runs a kernel on exactly sized allocations, so that the address sanitizer sees any byte outside them.
  func run(_ function: Function, source: [UInt8], destination: inout [UInt8]) -> CInt {
    let from = UnsafeMutableRawBufferPointer.allocate(byteCount: source.count, alignment: 1)
    let to = UnsafeMutableRawBufferPointer.allocate(byteCount: destination.count, alignment: 1)
    defer {
      from.deallocate()
      to.deallocate()
    }
    from.copyBytes(from: source)
    to.copyBytes(from: destination)
    let cAxes = axes.map {
      graft_copy_axis(count: $0.count, source_stride: $0.source, destination_stride: $0.destination)
    }
    let result = cAxes.withUnsafeBufferPointer { pointer in
      var copy = graft_copy(
        run: run, source_offset: sourceOffset, destination_offset: destinationOffset, rank: axes.count,
        axes: pointer.baseAddress)
      return function(&copy, to.baseAddress, to.count, from.baseAddress, from.count)
    }
    destination = Array(to)
    return result
  }

  /// Calls `body` with the source and destination positions of every run, the plain way.
  func forEachRun(_ body: (Int, Int) -> Void) {
    func visit(_ axis: Int, _ source: Int, _ destination: Int) {
      guard axis < axes.count else { return body(source, destination) }
      for index in 0..<axes[axis].count {
        visit(axis + 1, source + index * axes[axis].source, destination + index * axes[axis].destination)
      }
    }
    visit(0, sourceOffset, destinationOffset)
  }

  func placingBytes(from source: [UInt8], into destination: [UInt8]) -> [UInt8] {
    var result = destination
    forEachRun { from, to in
      for unit in 0..<run { result[to + unit] = source[from + unit] }
    }
    return result
  }

  func placingBits(from source: [UInt8], into destination: [UInt8]) -> [UInt8] {
    var result = destination
    forEachRun { from, to in
      for unit in 0..<run {
        let bit = source[(from + unit) / 8] >> UInt8((from + unit) % 8) & 1
        let shift = UInt8((to + unit) % 8)
        result[(to + unit) / 8] = result[(to + unit) / 8] & ~(1 << shift) | bit << shift
      }
    }
    return result
  }

  /// Two random boxes of the same shape, as a planner makes them.
  ///
  /// Axes are permuted, stepped, reversed, padded and repeated. Gives the copy and the units that each side spans.
  static func random(
    runs: [Int], maximumUnits: Int, using generator: inout SeededGenerator
  ) -> (copy: Copy, sourceUnits: Int, destinationUnits: Int) {
    let rank = Int.random(in: 0...4, using: &generator)
    var copy = Copy(run: runs.randomElement(using: &generator)!)
    var budget = Swift.max(1, maximumUnits / copy.run)
    var counts: [Int] = []
    for _ in 0..<rank {
      let count = Int.random(in: 1...Swift.max(1, Swift.min(budget, 150)), using: &generator)
      budget /= count
      counts.append(count)
    }
    // A side lays the axes out in an order of its own, tight or with gaps.
    func layOut(repeats: Bool) -> (offset: Int, strides: [Int], units: Int) {
      var strides = [Int](repeating: 0, count: rank)
      var offset = 0
      var span = copy.run
      for axis in (0..<rank).shuffled(using: &generator) {
        if repeats, Int.random(in: 0..<6, using: &generator) == 0 { continue }
        let gap = Bool.random(using: &generator) ? 0 : Int.random(in: 0...5, using: &generator)
        let stride = span + gap
        span = stride * (counts[axis] - 1) + span
        if Int.random(in: 0..<4, using: &generator) == 0 {
          offset += stride * (counts[axis] - 1)
          strides[axis] = -stride
        } else {
          strides[axis] = stride
        }
      }
      let margin = Int.random(in: 0...9, using: &generator)
      return (offset + margin, strides, span + margin)
    }
    let from = layOut(repeats: true)
    let to = layOut(repeats: false)
    copy.sourceOffset = from.offset
    copy.destinationOffset = to.offset
    copy.axes = (0..<rank).map { (counts[$0], from.strides[$0], to.strides[$0]) }
    return (copy, from.units, to.units)
  }
}

func randomBytes(_ count: Int, using generator: inout SeededGenerator) -> [UInt8] {
  (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
}

@Suite struct PlaceTests {
  static let kernels: [(name: String, function: Copy.Function)] =
    [("graft_place", graft_place)]
    + variants.map { variant in
      ("variant \(variant.rawValue)", { graft_place_as(variant, $0, $1, $2, $3, $4) })
    }
  static let portable: Copy.Function = { graft_place_as(GRAFT_PORTABLE, $0, $1, $2, $3, $4) }

  @Test func `instructions that there are not are refused`() {
    var destination: [UInt8] = [5]
    let function: Copy.Function = { graft_place_as(GRAFT_VARIANT_COUNT, $0, $1, $2, $3, $4) }
    #expect(Copy(run: 1).run(function, source: [1], destination: &destination) == -ENOTSUP)
    #expect(destination == [5])
  }

  @Test(arguments: 0..<8) func `random strided copies agree with plain loops`(round: UInt64) {
    var generator = SeededGenerator(seed: testSeed &+ round)
    for _ in 0..<40 {
      let (copy, sourceUnits, destinationUnits) = Copy.random(
        runs: [1, 1, 2, 2, 4, 4, 8, 8, 16, 3, 6, 12, 24, 32, 48, 100], maximumUnits: 4000, using: &generator)
      let source = randomBytes(sourceUnits, using: &generator)
      let destination = randomBytes(destinationUnits, using: &generator)
      let expected = copy.placingBytes(from: source, into: destination)
      for (name, function) in Self.kernels {
        var placed = destination
        #expect(copy.run(function, source: source, destination: &placed) == 0)
        #expect(placed == expected, "\(name): \(copy), seed \(generator.seed)")
      }
    }
  }

  @Test(arguments: [1, 2, 4, 8, 16, 3, 6])
  func `matrices of every shape around the tile size transpose`(element: Int) {
    var generator = SeededGenerator(seed: testSeed)
    for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 17, 24, 32, 33, 61, 64, 129] {
      for columns in [1, 3, 32, 65, 130, 1100] where rows * columns < 10_000 {
        let count = rows * columns * element
        let source = randomBytes(count, using: &generator)
        let copy = Copy(
          run: element, axes: [(rows, columns * element, element), (columns, element, rows * element)])
        let expected = copy.placingBytes(from: source, into: [UInt8](repeating: 0, count: count))
        for (name, function) in Self.kernels {
          var placed = [UInt8](repeating: 0, count: count)
          #expect(copy.run(function, source: source, destination: &placed) == 0)
          #expect(placed == expected, "\(name) \(rows) × \(columns) × \(element), seed \(generator.seed)")
        }
      }
    }
  }

  @Test(arguments: [1, 8])
  func `a transpose too large for the caches gives what the portable one gives when turned back`(element: Int)
  {
    // Large enough that lines are streamed, in whole lines and, with the odd number of rows, in parts of lines.
    for rows in [1024, 1027] {
      let columns = (5 << 20) / rows / element / 64 * 64
      let source = (0..<rows * columns * element).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
      var turned = [UInt8](repeating: 0, count: source.count)
      var back = turned
      let there = Copy(
        run: element, axes: [(rows, columns * element, element), (columns, element, rows * element)])
      let again = Copy(
        run: element, axes: [(rows, element, columns * element), (columns, rows * element, element)])
      #expect(there.run(graft_place, source: source, destination: &turned) == 0)
      #expect(again.run(Self.portable, source: turned, destination: &back) == 0)
      #expect(back == source)
      let row = Array(turned[(element * rows * 7)...].prefix(element))
      #expect(row == Array(source[(element * 7)...].prefix(element)))
    }
  }

  @Test(arguments: 0..<8) func `random copies of packed elements agree with bit by bit loops`(round: UInt64) {
    var generator = SeededGenerator(seed: testSeed &+ round)
    for _ in 0..<40 {
      let (copy, sourceBits, destinationBits) = Copy.random(
        runs: [4, 4, 6, 6, 8, 12, 1, 7, 13, 24, 60, 96, 200], maximumUnits: 4000, using: &generator)
      let source = randomBytes((sourceBits + 7) / 8, using: &generator)
      let destination = randomBytes((destinationBits + 7) / 8, using: &generator)
      var placed = destination
      #expect(copy.run(graft_place_bits, source: source, destination: &placed) == 0)
      let expected = copy.placingBits(from: source, into: destination)
      #expect(placed == expected, "\(copy), seed \(generator.seed)")
    }
  }

  /// Into a memory of 32 MiB and more, lines go around the caches.
  @Test func `a small part of a large destination is placed as any other`() {
    var generator = SeededGenerator(seed: testSeed)
    let source = randomBytes(1 << 17, using: &generator)
    let destinationByteCount = 32 << 20
    let destination = UnsafeMutableRawBufferPointer.allocate(byteCount: destinationByteCount, alignment: 64)
    destination.initializeMemory(as: UInt8.self, repeating: 7)
    defer { destination.deallocate() }
    var copies = [
      // Runs of whole lines, to lines and between them; rows that become a dense and a sparse inner axis; a transposition.
      Copy(run: 128, axes: [(1024, 128, 4096)]),
      Copy(run: 128, destinationOffset: 16, axes: [(1024, 128, 4096)]),
      Copy(run: 192, destinationOffset: 64, axes: [(16, 8192, 64 * 40), (32, 256, 64 * 1000)]),
      Copy(run: 2, axes: [(32, 4096, 2), (2048, 2, 64)]),
      Copy(run: 2, destinationOffset: 32, axes: [(16, 4096, 2), (2048, 2, 64)]),
      Copy(run: 4, axes: [(128, 1024, 4), (256, 4, 1024)]),
      Copy(run: 100_000, destinationOffset: 3),
    ]
    // Rows that become one to four lines without a gap, as layers do that take turns, forward and backward, and between lines;
    // columns that fill no block and no line.
    for element in [1, 2, 4, 8, 16] {
      for lineCount in 1...4 {
        let rows = 64 * lineCount / element
        let columns = (1 << 17) / (64 * lineCount) - 5
        let row = columns * element
        copies += [
          Copy(
            run: element, destinationOffset: 128,
            axes: [(rows, row, element), (columns, element, 64 * lineCount)]),
          Copy(
            run: element, sourceOffset: (rows - 1) * row, destinationOffset: 64,
            axes: [(rows, -row, element), (columns, element, 64 * lineCount)]),
          Copy(
            run: element, destinationOffset: 8,
            axes: [(rows, row, element), (columns, element, 64 * lineCount)]),
        ]
      }
    }
    // And rows that do not.
    for rows in [12, 24, 28, 36, 40, 61, 80] {
      copies.append(Copy(run: 2, axes: [(rows, 1 << 10, 2), (500, 2, 2 * rows)]))
      copies.append(Copy(run: 2, destinationOffset: 64, axes: [(rows, 1502, 2), (750, 2, 2 * rows)]))
    }
    for copy in copies {
      for (name, function) in Self.kernels {
        let axes = copy.axes.map {
          graft_copy_axis(count: $0.count, source_stride: $0.source, destination_stride: $0.destination)
        }
        let result = axes.withUnsafeBufferPointer { axes in
          var pattern = graft_copy(
            run: copy.run, source_offset: copy.sourceOffset, destination_offset: copy.destinationOffset,
            rank: axes.count, axes: axes.baseAddress)
          return source.withUnsafeBytes {
            function(&pattern, destination.baseAddress, destinationByteCount, $0.baseAddress, $0.count)
          }
        }
        #expect(result == 0, "\(name), seed \(testSeed), \(copy)")
        var faults = 0
        copy.forEachRun { from, to in
          for byte in 0..<copy.run {
            if destination[to + byte] != source[from + byte] { faults += 1 }
            destination[to + byte] = 7
          }
        }
        #expect(faults == 0, "\(name), seed \(testSeed), \(copy)")
      }
    }
    // What no copy was to touch is as it was.
    #expect(destination[0] == 7)
    let base = destination.baseAddress!
    #expect(memcmp(base, base + 1, destinationByteCount - 1) == 0)
  }

  @Test func `a copy in whole bytes is the same in bits`() {
    var generator = SeededGenerator(seed: testSeed)
    let source = randomBytes(600, using: &generator)
    let bytes = Copy(run: 2, sourceOffset: 3, axes: [(10, 20, 2), (9, 2, 30)])
    let bits = Copy(run: 16, sourceOffset: 24, axes: [(10, 160, 16), (9, 16, 240)])
    var fromBytes = [UInt8](repeating: 7, count: 300)
    var fromBits = fromBytes
    #expect(bytes.run(graft_place, source: source, destination: &fromBytes) == 0)
    #expect(bits.run(graft_place_bits, source: source, destination: &fromBits) == 0)
    #expect(fromBytes == fromBits)
  }

  @Test func `axes beyond the sixty-fourth are refused`() {
    for (rank, expected) in [(64, CInt(0)), (65, -EINVAL)] {
      let copy = Copy(run: 1, axes: Array(repeating: (count: 1, source: 5, destination: 5), count: rank))
      var destination: [UInt8] = [0]
      #expect(copy.run(graft_place, source: [9], destination: &destination) == expected)
      #expect(destination == [expected == 0 ? 9 : 0])
    }
  }

  static let outside: [(why: String, copy: Copy)] = [
    ("the source ends inside the run", Copy(run: 11)),
    ("the destination offset is past the end", Copy(run: 1, destinationOffset: 10)),
    ("a step leaves the source", Copy(run: 2, axes: [(5, 3, 2)])),
    ("a step leaves the destination", Copy(run: 2, axes: [(5, 2, 3)])),
    ("a reversed axis begins before the source", Copy(run: 1, sourceOffset: 3, axes: [(5, -1, 1)])),
    ("a reversed axis begins before the destination", Copy(run: 1, destinationOffset: 3, axes: [(5, 1, -1)])),
    ("axes leave the source together", Copy(run: 1, axes: [(4, 3, 0), (3, 1, 1)])),
    ("a count overflows", Copy(run: 1, axes: [(Int.max, Int.max, 1)])),
    ("a count is no signed number", Copy(run: 1, axes: [(-1, 1, 1)])),
    ("the reaches of two axes overflow", Copy(run: 1, axes: [(2, Int.max, 0), (2, Int.max, 0)])),
    ("the lowest stride there is", Copy(run: 1, axes: [(2, Int.min, Int.min)])),
    ("the run overflows", Copy(run: Int.max, sourceOffset: 1)),
    ("the offset is no signed number", Copy(run: 1, sourceOffset: -1)),
  ]

  @Test(arguments: outside.indices)
  func `a copy that leaves its memories is refused and touches nothing`(index: Int) {
    let (why, copy) = Self.outside[index]
    for (_, function) in Self.kernels {
      var destination = [UInt8](repeating: 1, count: 10)
      #expect(
        copy.run(function, source: [UInt8](repeating: 2, count: 10), destination: &destination) == -ERANGE,
        "\(why)")
      #expect(destination == [UInt8](repeating: 1, count: 10), "\(why)")
    }
  }

  @Test func `bits past the last byte are out of range`() {
    var destination: [UInt8] = [0, 0]
    #expect(
      Copy(run: 4, axes: [(4, 4, 4)]).run(graft_place_bits, source: [1, 2], destination: &destination) == 0)
    #expect(
      Copy(run: 4, sourceOffset: 1, axes: [(4, 4, 4)])
        .run(graft_place_bits, source: [1, 2], destination: &destination) == -ERANGE)
    #expect(
      Copy(run: 4, axes: [(4, 4, 5)]).run(graft_place_bits, source: [1, 2], destination: &destination)
        == -ERANGE)
  }

  @Test func `nothing to copy is a success wherever it points`() {
    var destination: [UInt8] = [5]
    #expect(Copy(run: 0, sourceOffset: 99).run(graft_place, source: [1], destination: &destination) == 0)
    #expect(Copy(run: 9, axes: [(0, 1, 1)]).run(graft_place, source: [1], destination: &destination) == 0)
    #expect(destination == [5])
    var empty = graft_copy(run: 0, source_offset: 0, destination_offset: 0, rank: 0, axes: nil)
    #expect(graft_place(&empty, nil, 0, nil, 0) == 0)
  }

  @Test func `null memory, null axes and a null copy are refused`() {
    var byte: UInt8 = 0
    let source: [UInt8] = [1]
    var copy = graft_copy(run: 1, source_offset: 0, destination_offset: 0, rank: 0, axes: nil)
    #expect(graft_place(&copy, nil, 1, source, 1) == -EINVAL)
    #expect(graft_place(&copy, &byte, 1, nil, 1) == -EINVAL)
    #expect(graft_place(nil, &byte, 1, source, 1) == -EINVAL)
    copy.rank = 1
    #expect(graft_place(&copy, &byte, 1, source, 1) == -EINVAL)
  }

  @Test func `parts that overlap are refused, parts of one memory that do not are copied`() {
    var memory: [UInt8] = [1, 2, 3, 4, 5, 6]
    let count = memory.count
    memory.withUnsafeMutableBytes { bytes in
      var copy = graft_copy(run: 3, source_offset: 0, destination_offset: 2, rank: 0, axes: nil)
      #expect(graft_place(&copy, bytes.baseAddress, count, bytes.baseAddress, count) == -EINVAL)
      copy.destination_offset = 3
      #expect(graft_place(&copy, bytes.baseAddress, count, bytes.baseAddress, count) == 0)
    }
    #expect(memory == [1, 2, 3, 1, 2, 3])
  }
}
