extension DType {
  /// Whether every value of this dtype has the same value in another.
  public func isLosslesslyConvertible(to other: DType) -> Bool {
    if self == other || self == .bool && other != .float8E8M0FNU { return true }
    switch (self, other) {
    case (.float32, .float64), (.float32, .complex64), (.float64, .complex128), (.complex64, .complex128): return true
    case (.float16, .float32), (.bfloat16, .float32), (.float16, .float64), (.bfloat16, .float64): return true
    default: return false
    }
  }
}
