internal import CGraftKernels
internal import GraftCore

/// The elements of a product of two matrices that are in memory, any of which can be computed alone.
///
/// Each element's sum is taken in the order of the depth, so that its bits do not depend on which others are computed with it.
@safe struct ProductElements {
  private let left: HostOperand
  private let right: HostOperand
  /// The memory of the factors, which their tensors keep.
  private let leftMemory: UnsafeRawBufferPointer
  private let rightMemory: UnsafeRawBufferPointer
  private let scale: Float

  /// The product; its factors must have been loaded.
  ///
  /// - Throws: ``GraftError`` of code `unsupported` when a factor is not in host memory.
  init(_ product: LowRankProduct) throws(GraftError) {
    guard case .loaded(let left) = product.left, case .loaded(let right) = product.right else {
      preconditionFailure("the factors of a product are loaded before it is computed")
    }
    precondition(left.tensor.spec.dtype == .float32 && right.tensor.spec.dtype == .float32)
    precondition(left.tensor.spec.shape[1] == right.tensor.spec.shape[0])
    self.left = left
    self.right = right
    scale = Float(product.scale)
    unsafe leftMemory = try left.tensor.memory
    unsafe rightMemory = try right.tensor.memory
  }

  /// Writes the elements of these positions in row-major order.
  func write(_ range: Range<Int>, to memory: UnsafeMutableRawBufferPointer) {
    let (depth, columns) = (right.tensor.spec.shape[0], right.tensor.spec.shape[1])
    precondition(range.count * 4 <= memory.count)
    precondition(range.upperBound <= left.tensor.spec.shape[0] * columns)
    // The kernel adds to what is there.
    unsafe memory.initializeMemory(as: UInt8.self, repeating: 0)
    var position = range.lowerBound
    while position < range.upperBound {
      let (row, column) = (position / columns, position % columns)
      let rest = range.upperBound - position
      // Whole rows together, and what is left before or after them row by row.
      let rows = column == 0 ? Swift.max(1, rest / columns) : 1
      let width = Swift.min(columns - column, rest)
      // The positions were checked against both factors and the memory; tensors and places are aligned for their elements.
      let result = unsafe graft_fold_product(
        Kernels.best.kernelVariant,
        (memory.baseAddress! + (position - range.lowerBound) * 4).assumingMemoryBound(to: Float.self),
        columns,
        (leftMemory.baseAddress! + row * depth * 4).assumingMemoryBound(to: Float.self), depth,
        (rightMemory.baseAddress! + column * 4).assumingMemoryBound(to: Float.self), columns, rows, width,
        depth, scale)
      Kernels.best.check(result, "a product of \(rows) × \(depth) and \(depth) × \(width)")
      position += rows == 1 ? width : rows * columns
    }
  }
}
