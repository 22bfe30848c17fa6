internal import CGraftKernels
internal import GraftCore

/// A sum of products that is not rounded before it is asked for: for norms and dot products of whole tensors.
///
/// It is the same in whatever order, tiles and threads it came about, so each thread may have its own and merge them at
/// the end.
package struct ExactSum: Sendable {
  private var state = graft_sum()

  /// The sum of nothing.
  package init() {}

  /// Adds the products of `count` elements: the sum of squares where both operands are the same, else the dot product.
  ///
  /// For real dtypes; 64-bit integers are rounded to float64 first.
  package mutating func addProducts(
    of a: KernelOperand, and b: KernelOperand, count: Int, with kernels: Kernels = .best
  ) {
    precondition(a.holds(count) && b.holds(count))
    let result = unsafe graft_sum_products(
      kernels.kernelVariant, &state, a.kernelOperand, b.kernelOperand, count)
    kernels.check(result, "a sum of \(count) products")
  }

  /// Adds another sum.
  package mutating func merge(_ other: ExactSum) {
    unsafe withUnsafePointer(to: other.state) { unsafe graft_sum_merge(&state, $0) }
  }

  /// The nearest `Double`; NaN where an element was, or where infinities cancel.
  package var value: Double {
    unsafe withUnsafePointer(to: state) { unsafe graft_sum_value($0) }
  }
}
