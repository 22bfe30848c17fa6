package import GraftFormats

/// Where the bytes of one result go.
@safe package enum Place: @unchecked Sendable {
  // Sendable, because moves of different threads never write the same byte (packed bits are serialised by `Placing`).

  /// Memory of the result's size. Whoever starts the execution keeps it alive until that ends.
  case memory(UnsafeMutableRawBufferPointer)
  /// A leaf of a checkpoint that is being written.
  case writer(any CheckpointWriter, leaf: Int)
}
