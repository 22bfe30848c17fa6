internal import CGraftKernels
internal import GraftCore
internal import GraftFormats
internal import GraftIO
internal import Synchronization

/// Takes bytes from where they were read or decoded to their place, on whatever thread they came.
final class Placing: Sendable {
  /// Held while packed bits are placed: two windows may share a byte of the result, which is read and written back.
  private let bits = Mutex<Void>(())
  private let pages: PagesOnDemand?

  /// - Parameter pages: what populates memory of the places on the way.
  init(pages: PagesOnDemand? = nil) { self.pages = pages }

  /// Copies what `copy` says out of `source`.
  func put(_ copy: StridedCopy, from source: UnsafeRawBufferPointer, into place: Place) throws(GraftError) {
    switch place {
    case .memory(let memory):
      if let pages, copy.isContiguous, copy.unit == .byte {
        let start = copy.destinationOffset
        unsafe try pages.prepare(
          UnsafeMutableRawBufferPointer(rebasing: memory[start..<(start + copy.runCount)]))
      }
      switch copy.unit {
      case .byte: unsafe Self.place(copy, from: source, into: memory)
      case .bit: bits.withLock { _ in unsafe Self.place(copy, from: source, into: memory) }
      }
    case .computed(let program, let memory):
      unsafe try put(copy, from: source, through: program, into: memory)
    case .sums, .comparison: preconditionFailure("what is summed or compared is read into tiles")
    case .writer(let writer, let leaf):
      precondition(
        copy.unit == .byte, "leaves of packed elements are assembled in memory before they are written")
      try Self.forEachRun(of: copy) { (sourceOffset, destinationOffset) throws(GraftError) in
        let run = unsafe UnsafeRawBufferPointer(
          rebasing: source[sourceOffset..<(sourceOffset + copy.runCount)])
        unsafe try writer.write(run, leaf: leaf, byteOffset: destinationOffset)
      }
    }
  }

  static func forEachRun(
    of copy: StridedCopy, _ body: (_ sourceOffset: Int, _ destinationOffset: Int) throws(GraftError) -> Void
  ) throws(GraftError) {
    var index = [Int](repeating: 0, count: copy.dimensions.count)
    var (source, destination) = (copy.sourceOffset, copy.destinationOffset)
    while true {
      try body(source, destination)
      var axis = index.count - 1
      while axis >= 0 {
        let dimension = copy.dimensions[axis]
        index[axis] += 1
        source += dimension.sourceStride
        destination += dimension.destinationStride
        if index[axis] < dimension.count { break }
        source -= dimension.count * dimension.sourceStride
        destination -= dimension.count * dimension.destinationStride
        index[axis] = 0
        axis -= 1
      }
      if axis < 0 { return }
    }
  }

  /// Copies what `copy` says out of `source` into `destination`, with the kernels.
  ///
  /// Traps when the copy leaves either memory: the planner made it, so that would be our own mistake, and the kernel
  /// has touched nothing by then.
  private static func place(
    _ copy: StridedCopy, from source: UnsafeRawBufferPointer, into destination: UnsafeMutableRawBufferPointer
  ) {
    let result = unsafe withUnsafeTemporaryAllocation(
      of: graft_copy_axis.self, capacity: copy.dimensions.count
    ) {
      axes -> CInt in
      for (index, dimension) in copy.dimensions.enumerated() {
        unsafe axes[index] = graft_copy_axis(
          count: dimension.count, source_stride: dimension.sourceStride,
          destination_stride: dimension.destinationStride)
      }
      // The kernel reads the axes during the call alone, and checks every bound before it touches a byte.
      var pattern = unsafe graft_copy(
        run: copy.runCount, source_offset: copy.sourceOffset, destination_offset: copy.destinationOffset,
        rank: copy.dimensions.count, axes: axes.baseAddress)
      switch copy.unit {
      case .byte:
        return unsafe graft_place(
          &pattern, destination.baseAddress, destination.count, source.baseAddress, source.count)
      case .bit:
        return unsafe graft_place_bits(
          &pattern, destination.baseAddress, destination.count, source.baseAddress, source.count)
      }
    }
    precondition(result == 0, "the plan's copy (\(copy)) does not fit its memory: error \(result)")
  }
}
