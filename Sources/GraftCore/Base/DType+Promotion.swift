extension DType {
  /// The dtype that holds every value of both dtypes exactly, the narrowest there is; where none is, the widest float.
  ///
  /// For the dtypes that NumPy has itself this is what NumPy promotes to: int8 and uint8 to int16, int16 and float16 to
  /// float32, int32 and float32 to float64, int64 and any float to float64 although that does not hold all of it. The others
  /// follow the same rule, where ml_dtypes gives no answer or one that loses values: bfloat16 and float16 meet in float32,
  /// two kinds of float8 in float16 or bfloat16. Of several dtypes of one width, integers come first, then float16.
  public func promoted(with other: DType) -> DType {
    if self == other { return self }
    return Self.promotions[[self, other]] ?? (isComplex || other.isComplex ? .complex128 : .float64)
  }

  /// What two dtypes can meet in, in order of preference.
  private static let meetingPoints: [DType] = [
    .int4, .uint4, .int8, .uint8, .int16, .uint16, .float16, .bfloat16, .int32, .uint32, .float32, .int64,
    .uint64,
    .float64, .complex64, .complex128,
  ]

  /// The answer for each pair that has one.
  private static let promotions: [Set<DType>: DType] = {
    var promotions: [Set<DType>: DType] = [:]
    for first in DType.allCases {
      for second in DType.allCases where first != second {
        // One of the two comes first, however unusual it is: a float8 with an integer of 4 bits stays what it is.
        let candidates = [first, second].filter { $0 != .bool } + meetingPoints
        promotions[[first, second]] = candidates.first {
          first.convertsExactly(to: $0) && second.convertsExactly(to: $0)
        }
      }
    }
    return promotions
  }()
}
