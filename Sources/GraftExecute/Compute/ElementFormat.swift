internal import CGraftKernels
package import GraftCore

/// How the elements of a tile lie in memory: their dtype, and the bits that each of them takes there.
package struct ElementFormat: Hashable, Sendable {
  package let dtype: DType
  /// Whether elements of less than a byte have a byte each, of which the low bits count, rather than being packed.
  package let hasWholeBytes: Bool

  /// Elements that take so many bits each; as many as the dtype's own are the default.
  ///
  /// Traps unless that is the dtype's width or, for dtypes of less than a byte, 8: see ``Layout/storedBitWidth``.
  package init(_ dtype: DType, storedBitWidth: Int? = nil) {
    let bitWidth = storedBitWidth ?? dtype.bitWidth
    precondition(bitWidth == dtype.bitWidth || (dtype.isPacked && bitWidth == 8))
    self.dtype = dtype
    hasWholeBytes = bitWidth != dtype.bitWidth
  }

  /// The bits that one element takes in memory.
  package var storedBitWidth: Int { hasWholeBytes ? 8 : dtype.bitWidth }

  /// The bytes that so many elements take; traps when the number overflows.
  package func byteCount(elementCount: Int) -> Int {
    let bits = elementCount * storedBitWidth
    return bits / 8 + (bits % 8 == 0 ? 0 : 1)
  }
}

extension ElementFormat {
  var kernelFormat: graft_format {
    graft_format(dtype: UInt8(dtype.kernelDType.rawValue), has_whole_bytes: hasWholeBytes)
  }
}

extension DType {
  /// The dtype as the kernels call it.
  var kernelDType: graft_dtype {
    switch self {
    case .bool: GRAFT_BOOL
    case .int4: GRAFT_INT4
    case .uint4: GRAFT_UINT4
    case .int8: GRAFT_INT8
    case .uint8: GRAFT_UINT8
    case .int16: GRAFT_INT16
    case .uint16: GRAFT_UINT16
    case .int32: GRAFT_INT32
    case .uint32: GRAFT_UINT32
    case .int64: GRAFT_INT64
    case .uint64: GRAFT_UINT64
    case .float4E2M1FN: GRAFT_FLOAT4_E2M1FN
    case .float6E2M3FN: GRAFT_FLOAT6_E2M3FN
    case .float6E3M2FN: GRAFT_FLOAT6_E3M2FN
    case .float8E3M4: GRAFT_FLOAT8_E3M4
    case .float8E4M3: GRAFT_FLOAT8_E4M3
    case .float8E4M3B11FNUZ: GRAFT_FLOAT8_E4M3B11FNUZ
    case .float8E4M3FN: GRAFT_FLOAT8_E4M3FN
    case .float8E4M3FNUZ: GRAFT_FLOAT8_E4M3FNUZ
    case .float8E5M2: GRAFT_FLOAT8_E5M2
    case .float8E5M2FNUZ: GRAFT_FLOAT8_E5M2FNUZ
    case .float8E8M0FNU: GRAFT_FLOAT8_E8M0FNU
    case .bfloat16: GRAFT_BFLOAT16
    case .float16: GRAFT_FLOAT16
    case .float32: GRAFT_FLOAT32
    case .float64: GRAFT_FLOAT64
    case .complex64: GRAFT_COMPLEX64
    case .complex128: GRAFT_COMPLEX128
    }
  }
}
