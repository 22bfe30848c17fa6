internal import CGraftKernels
internal import GraftCore

/// The kernels that compute on tiles, with the instructions that they may use.
///
/// They work in the memory they are given, allocate nothing and may run on many threads at once. What an element becomes
/// depends neither on the tile it came in nor on the instructions. Their definitions are in `graft_compute.h`.
///
/// The planner decides what meets what, so whatever does not fit here (too little memory, memory that overlaps, a
/// figure that makes no sense) is our own mistake, and traps before a byte is written.
package struct Kernels: Hashable, Sendable {
  /// Instructions that the kernels are compiled for; each gives the same bits.
  package enum Variant: String, CaseIterable, Sendable {
    case portable, avx2, avx512

    /// Whether this processor has them.
    package var isSupported: Bool { graft_variant_is_supported(kernelVariant) }

    var kernelVariant: graft_variant {
      switch self {
      case .portable: GRAFT_PORTABLE
      case .avx2: GRAFT_AVX2
      case .avx512: GRAFT_AVX512
      }
    }
  }

  /// The instructions that are used.
  package let variant: Variant

  /// The kernels with the widest instructions that this processor has.
  package static let best = Kernels(Variant.allCases.last { $0.isSupported } ?? .portable)

  /// The kernels of every variant that this processor has, to compare them.
  package static let all = Variant.allCases.filter(\.isSupported).map { Kernels($0) }

  private init(_ variant: Variant) { self.variant = variant }

  var kernelVariant: graft_variant { variant.kernelVariant }

  /// Traps for what a kernel refused.
  func check(_ result: CInt, _ what: @autoclosure () -> String) {
    precondition(result == 0, "\(what()) does not fit its memory or its dtypes: error \(result)")
  }
}

extension Kernels {
  /// Converts `count` elements, as NumPy's `astype` does; what that leaves open, `graft_cast` in the header settles.
  package func cast(
    _ source: UnsafeRawBufferPointer, _ sourceFormat: ElementFormat,
    to destination: UnsafeMutableRawBufferPointer, _ destinationFormat: ElementFormat, count: Int
  ) {
    precondition(count >= 0 && sourceFormat.byteCount(elementCount: count) <= source.count)
    precondition(destinationFormat.byteCount(elementCount: count) <= destination.count)
    // Both memories hold `count` elements, and the kernel refuses those that overlap.
    let result = unsafe graft_cast(
      kernelVariant, destination.baseAddress, destinationFormat.kernelFormat, source.baseAddress,
      sourceFormat.kernelFormat, count)
    check(result, "a cast of \(count) elements from \(sourceFormat) to \(destinationFormat)")
  }
}
