package import GraftCore

/// The names that safetensors has for dtypes.
package enum SafetensorsDType {
  /// Every dtype of the format with its name, in the order of the reference implementation.
  package static let names: [(name: String, dtype: DType)] = [
    ("BOOL", .bool),
    ("F4", .float4E2M1FN),
    ("F6_E2M3", .float6E2M3FN),
    ("F6_E3M2", .float6E3M2FN),
    ("U8", .uint8),
    ("I8", .int8),
    ("F8_E5M2", .float8E5M2),
    ("F8_E4M3", .float8E4M3FN),
    ("F8_E8M0", .float8E8M0FNU),
    ("F8_E4M3FNUZ", .float8E4M3FNUZ),
    ("F8_E5M2FNUZ", .float8E5M2FNUZ),
    ("I16", .int16),
    ("U16", .uint16),
    ("F16", .float16),
    ("BF16", .bfloat16),
    ("I32", .int32),
    ("U32", .uint32),
    ("F32", .float32),
    ("C64", .complex64),
    ("F64", .float64),
    ("I64", .int64),
    ("U64", .uint64),
  ]

  private static let byName = Dictionary(uniqueKeysWithValues: names.map { ($0.name, $0.dtype) })
  private static let byDType = Dictionary(uniqueKeysWithValues: names.map { ($0.dtype, $0.name) })

  /// The dtype of this name, nil when the format has none.
  package static func dtype(named name: String) -> DType? { byName[name] }

  /// The format's name for this dtype, nil when it cannot keep it.
  package static func name(of dtype: DType) -> String? { byDType[dtype] }
}
