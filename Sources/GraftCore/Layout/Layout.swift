/// Where a leaf's bytes are: a grid of chunks, each a byte range of a file behind a codec chain.
public struct Layout: Hashable, Sendable {
  /// The extent of one chunk along each axis; chunks at the upper edges may reach beyond the tensor.
  public var chunkShape: Shape
  /// What a chunk's bytes went through when they were written, outermost (first to undo) last; none for plain bytes.
  public var codecs: [Codec]
  /// The chunks in row-major order over the grid.
  public var chunks: [StoredChunk]

  /// A layout of chunks in row-major order over the grid.
  public init(chunkShape: Shape, codecs: [Codec] = [], chunks: [StoredChunk]) {
    self.chunkShape = chunkShape
    self.codecs = codecs
    self.chunks = chunks
  }

  /// The layout of a tensor that lies in one piece in a file, as safetensors keeps it.
  public init(contiguous shape: Shape, file: Int, range: ByteRange) {
    self.init(chunkShape: shape, chunks: [StoredChunk(file: file, range: range)])
  }

  /// The bytes that all chunks take in their files.
  public var storedByteCount: Int { chunks.reduce(0) { $0 + $1.range.count } }
}

/// A chunk's place: a byte range of one of the catalog's files.
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

/// One step of a codec chain, named as Zarr names it.
public struct Codec: Hashable, Sendable {
  /// The name, for example `zstd`.
  public var name: String

  /// A codec of this name.
  public init(name: String) { self.name = name }
}
