internal import Glibc
internal import GraftCore
internal import Synchronization

/// How the elements of two tensors of one dtype and shape differ; tiles may come in any order, on any thread.
package final class ElementComparison: Sendable {
  /// What was found so far.
  package struct Findings: Hashable, Sendable {
    /// The elements that differ.
    package var differingCount = 0
    /// Those of them that no distance can be given for: one is NaN or infinite, and the other is not the same.
    package var incomparableCount = 0
    /// The largest distance of two elements that differ otherwise.
    package var largestDistance = 0.0
  }

  /// How far elements may be apart and count as equal; nil where their bits must be the same.
  private let tolerance: Double?
  private let kernels = Kernels.best
  private let state = Mutex(Findings())

  /// A comparison of nothing so far.
  package init(tolerance: Double?) { self.tolerance = tolerance }

  package var findings: Findings { state.withLock { $0 } }

  /// Elements of one block, whose values fit the first-level cache.
  private static let blockElementCount = 1024

  /// Compares `count` elements, which lie side by side from the beginning of each memory on.
  func add(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer, _ dtype: DType, count: Int) {
    var found = Findings()
    let scratch = UnsafeMutableRawBufferPointer.allocate(
      byteCount: 2 * Self.blockElementCount * MemoryLayout<SIMD2<Double>>.stride, alignment: 64)
    defer { unsafe scratch.deallocate() }
    let half = scratch.count / 2
    var start = 0
    while start < count {
      let block = Swift.min(Self.blockElementCount, count - start)
      let bytes = Self.byteRange(start, block, dtype)
      let a = unsafe UnsafeRawBufferPointer(rebasing: first[bytes])
      let b = unsafe UnsafeRawBufferPointer(rebasing: second[bytes])
      // Nearly all blocks of nearly all comparisons are the same.
      if unsafe !a.hasSameBytes(as: b) {
        unsafe compare(
          a, b, dtype, count: block, UnsafeMutableRawBufferPointer(rebasing: scratch[..<half]),
          UnsafeMutableRawBufferPointer(rebasing: scratch[half...]), &found)
      }
      start += block
    }
    guard found.differingCount > 0 else { return }
    state.withLock {
      $0.differingCount += found.differingCount
      $0.incomparableCount += found.incomparableCount
      $0.largestDistance = Swift.max($0.largestDistance, found.largestDistance)
    }
  }

  /// The bytes of a block that begins at a multiple of its length, and so on a whole byte.
  private static func byteRange(_ start: Int, _ count: Int, _ dtype: DType) -> Range<Int> {
    (start * dtype.bitWidth / 8)..<(((start + count) * dtype.bitWidth + 7) / 8)
  }

  private func compare(
    _ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, _ dtype: DType, count: Int,
    _ scratchA: UnsafeMutableRawBufferPointer, _ scratchB: UnsafeMutableRawBufferPointer,
    _ found: inout Findings
  ) {
    // A distance of 64-bit integers is exact as an integer, and was not as a difference of doubles.
    switch dtype {
    case .int64:
      unsafe compare(a, b, as: Int64.self, count: count, &found) {
        Double($0 > $1 ? UInt64(bitPattern: $0 &- $1) : UInt64(bitPattern: $1 &- $0))
      }
    case .uint64:
      unsafe compare(a, b, as: UInt64.self, count: count, &found) { Double($0 > $1 ? $0 - $1 : $1 - $0) }
    case .complex64, .complex128:
      unsafe compareValues(
        a, b, dtype, .complex128, SIMD2<Double>.self, count: count, scratchA, scratchB, &found)
    default:
      unsafe compareValues(a, b, dtype, .float64, Double.self, count: count, scratchA, scratchB, &found)
    }
  }

  private func compare<Element: FixedWidthInteger>(
    _ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, as type: Element.Type, count: Int,
    _ found: inout Findings, distance: (Element, Element) -> Double
  ) {
    for index in 0..<count {
      // Any bits are an integer, and the memory holds `count` of them.
      let x = unsafe a.loadUnaligned(fromByteOffset: index * MemoryLayout<Element>.size, as: type)
      let y = unsafe b.loadUnaligned(fromByteOffset: index * MemoryLayout<Element>.size, as: type)
      guard x != y else { continue }
      let distance = distance(x, y)
      if let tolerance, distance <= tolerance { continue }
      found.differingCount += 1
      found.largestDistance = Swift.max(found.largestDistance, distance)
    }
  }

  /// Compares elements by their values in a dtype that holds them exactly.
  private func compareValues<Value: ComparableElement>(
    _ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, _ dtype: DType, _ wide: DType,
    _ type: Value.Type, count: Int, _ scratchA: UnsafeMutableRawBufferPointer,
    _ scratchB: UnsafeMutableRawBufferPointer, _ found: inout Findings
  ) {
    let (format, wideFormat) = (ElementFormat(dtype), ElementFormat(wide))
    unsafe kernels.cast(a, format, to: scratchA, wideFormat, count: count)
    unsafe kernels.cast(b, format, to: scratchB, wideFormat, count: count)
    let stride = MemoryLayout<Value>.stride
    for index in 0..<count {
      // The kernel has filled `count` values of this type in each memory.
      let x = unsafe scratchA.loadUnaligned(fromByteOffset: index * stride, as: type)
      let y = unsafe scratchB.loadUnaligned(fromByteOffset: index * stride, as: type)
      let distance = x.distance(to: y)
      if let tolerance {
        if distance <= tolerance || x.isSame(as: y) { continue }
      } else if unsafe Self.haveSameBits(a, b, index, dtype.bitWidth) {
        continue
      }
      found.differingCount += 1
      if distance.isFinite {
        found.largestDistance = Swift.max(found.largestDistance, distance)
      } else if !x.isSame(as: y) {
        found.incomparableCount += 1
      }
    }
  }

  private static func haveSameBits(
    _ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, _ index: Int, _ bitWidth: Int
  ) -> Bool {
    if bitWidth >= 8 {
      let bytes = bitWidth / 8
      for byte in (index * bytes)..<((index + 1) * bytes) where unsafe a[byte] != b[byte] { return false }
      return true
    }
    for bit in (index * bitWidth)..<((index + 1) * bitWidth)
    where unsafe (a[bit / 8] ^ b[bit / 8]) >> (bit % 8) & 1 != 0 {
      return false
    }
    return true
  }
}

/// A value that every element of some dtypes is exactly.
private protocol ComparableElement {
  /// The distance of two values, 0 for two that are equal; not finite where there is none.
  func distance(to other: Self) -> Double
  /// Whether both are the same number, or both are none.
  func isSame(as other: Self) -> Bool
}

extension Double: ComparableElement {
  fileprivate func distance(to other: Double) -> Double { self == other ? 0 : (self - other).magnitude }
  fileprivate func isSame(as other: Double) -> Bool { self == other || (isNaN && other.isNaN) }
}

extension SIMD2<Double>: ComparableElement {
  fileprivate func distance(to other: SIMD2<Double>) -> Double {
    let (x, y) = (self[0].distance(to: other[0]), self[1].distance(to: other[1]))
    let larger = Swift.max(x, y)
    guard larger > 0, larger.isFinite, x.isFinite, y.isFinite else {
      return x.isNaN || y.isNaN ? .nan : larger
    }
    // The larger part is taken out, so that squares neither overflow nor vanish.
    let ratio = Swift.min(x, y) / larger
    return larger * (1 + ratio * ratio).squareRoot()
  }
  fileprivate func isSame(as other: SIMD2<Double>) -> Bool {
    self[0].isSame(as: other[0]) && self[1].isSame(as: other[1])
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func hasSameBytes(as other: UnsafeRawBufferPointer) -> Bool {
    guard count == other.count, let a = baseAddress, let b = other.baseAddress else {
      return count == other.count
    }
    return unsafe memcmp(a, b, count) == 0
  }
}
