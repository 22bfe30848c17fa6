/// Where a leaf's bytes are: a grid of chunks, each a byte range of a file behind a codec chain.
public struct Layout: Hashable, Sendable {
  /// The extent of one chunk along each axis; chunks at the upper edges may reach beyond the tensor.
  public var chunkShape: Shape
  /// What a chunk's bytes went through when they were written, the first to undo first; none for plain bytes.
  public var codecs: [Codec]
  /// The chunks in row-major order over the grid; empty as long as ``shards`` says where they are.
  public var chunks: [ChunkLocation]
  /// The shards that hold the chunks, when nobody has looked yet where in the shards they are.
  public var shards: Shards?
  /// One stored element, which absent chunks are full of; nil where no chunk is absent.
  public var fillValue: [UInt8]?
  /// The bits that one element takes in a decoded chunk.
  ///
  /// The dtype's own width, except for elements of less than a byte in formats that give each a byte of its own (Zarr): there 8,
  /// of which the lowest count.
  public var storedBitWidth: Int

  /// A layout of chunks in row-major order over the grid.
  public init(
    chunkShape: Shape, codecs: [Codec] = [], chunks: [ChunkLocation], fillValue: [UInt8]? = nil,
    storedBitWidth: Int
  ) {
    self.chunkShape = chunkShape
    self.codecs = codecs
    self.chunks = chunks
    self.fillValue = fillValue
    self.storedBitWidth = storedBitWidth
  }

  /// The layout of a tensor that lies in one piece in a file, as safetensors keeps it.
  public init(contiguous spec: TensorSpec, file: Int, range: ByteRange) {
    self.init(
      chunkShape: spec.shape, chunks: [.file(StoredChunk(file: file, range: range))],
      storedBitWidth: spec.dtype.bitWidth)
  }

  /// The bytes that all chunks take where they are stored.
  public var storedByteCount: Int { (shards?.places ?? chunks).reduce(0) { $0 + $1.byteCount } }

  /// The bytes of one chunk after its codecs are undone; nil when the number overflows.
  public var decodedChunkByteCount: Int? {
    guard let elements = chunkShape.checkedElementCount else { return nil }
    let (bits, overflow) = elements.multipliedReportingOverflow(by: storedBitWidth)
    return overflow ? nil : bits / 8 + (bits % 8 == 0 ? 0 : 1)
  }

  /// The number of chunks along each axis for a tensor of this shape.
  public func gridShape(of shape: Shape) -> Shape {
    Shape(
      zip(shape, chunkShape).map { extent, chunk in
        extent / Swift.max(chunk, 1) + (extent % Swift.max(chunk, 1) == 0 ? 0 : 1)
      })
  }
}

/// Shards: stored values that each hold a grid of chunks and an index that says where in the shard each of them is.
public struct Shards: Hashable, Sendable {
  /// The extent of one shard along each axis, a multiple of the chunk's.
  public var shape: Shape
  /// The shards in row-major order over their own grid.
  public var places: [ChunkLocation]
  /// Whether the index is the last bytes of a shard; the first otherwise.
  public var indexIsAtEnd: Bool
  /// Whether a CRC-32C follows the index.
  public var indexHasChecksum: Bool

  /// Shards in row-major order over their grid.
  public init(shape: Shape, places: [ChunkLocation], indexIsAtEnd: Bool, indexHasChecksum: Bool) {
    self.shape = shape
    self.places = places
    self.indexIsAtEnd = indexIsAtEnd
    self.indexHasChecksum = indexHasChecksum
  }
}

/// Where one chunk is.
public enum ChunkLocation: Hashable, Sendable {
  /// In a file.
  case file(StoredChunk)
  /// Within the metadata, which holds small chunks itself; the bytes are still encoded.
  case inline([UInt8])
  /// Nowhere: every element is the fill value.
  case absent

  /// The chunk's place in a file, nil when it has none.
  public var stored: StoredChunk? {
    if case .file(let chunk) = self { chunk } else { nil }
  }

  /// The bytes that the chunk takes where it is stored.
  public var byteCount: Int {
    switch self {
    case .file(let chunk): chunk.range.count
    case .inline(let bytes): bytes.count
    case .absent: 0
    }
  }
}

/// A chunk's place in a file: a byte range of one of the catalog's files.
public struct StoredChunk: Hashable, Sendable {
  /// The index of the file in ``Catalog/files``.
  public var file: Int
  /// The bytes of that file.
  public var range: ByteRange

  /// A chunk at this place.
  public init(file: Int, range: ByteRange) {
    self.file = file
    self.range = range
  }
}
