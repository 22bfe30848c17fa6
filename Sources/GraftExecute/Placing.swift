internal import CGraftKernels
internal import GraftCore
internal import GraftFormats
internal import Synchronization

/// Takes what was read into slots to its place, on the engine's threads.
final class Placing: Sendable {
  /// A read into a slot, and what of it goes where.
  struct Window: Sendable {
    /// The bytes of the file that are read.
    var range: ByteRange
    /// Which of them go where; the source begins with the first byte of the range.
    var copy: StridedCopy
    /// Whose they are.
    var place: Place
  }

  let windows: [Window]
  /// Held while packed bits are placed: two windows may share a byte of the result, which is read and written back.
  private let bits = Mutex<Void>(())

  init(_ windows: [Window]) { self.windows = windows }

  /// Takes bytes of a window to their place.
  ///
  /// - Parameter part: the bytes of the file that came; all of the window's, except for a single run, which may come in parts.
  func place(_ index: Int, part: ByteRange, _ bytes: UnsafeRawBufferPointer) throws(GraftError) {
    let window = windows[index]
    switch window.place {
    case .writer(let writer, let leaf):
      let position = part.offset - window.range.offset
      unsafe try writer.write(bytes, leaf: leaf, byteOffset: window.copy.destinationOffset + position)
    case .memory(let memory):
      precondition(part == window.range, "a window comes whole")
      switch window.copy.unit {
      case .byte: unsafe Self.place(window.copy, from: bytes, into: memory)
      case .bit: bits.withLock { _ in unsafe Self.place(window.copy, from: bytes, into: memory) }
      }
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
