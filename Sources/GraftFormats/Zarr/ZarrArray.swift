package import GraftCore

/// An array as Zarr's metadata describes it, version 2 (`.zarray`) and 3 (`zarr.json`) alike.
///
/// Only what Graft decodes is one: row-major, little-endian, the codecs of `GraftCodec`, regular chunks, shards without codecs of
/// their own. Anything else is an error of code `unsupported` that names it.
package struct ZarrArray: Hashable, Sendable {
  /// The dtype and shape.
  package var spec: TensorSpec
  /// The extent of what one key holds, along each axis: a chunk, or a shard.
  package var storedShape: Shape
  /// The extent of one chunk; that of ``storedShape``, or smaller where there are shards.
  package var chunkShape: Shape
  /// What a chunk's bytes went through, first to undo first.
  package var codecs: [Codec]
  /// The bytes of the element that chunks which were never written consist of.
  package var fillValue: [UInt8]
  /// How shards are indexed, nil when keys hold chunks.
  package var shardIndex: ShardIndex?
  /// How keys are made of indices.
  package var keys: KeyEncoding

  /// Where the index of a shard is.
  package struct ShardIndex: Hashable, Sendable {
    package var isAtEnd: Bool
    package var hasChecksum: Bool
  }

  /// How a key is made of a place in the grid.
  package struct KeyEncoding: Hashable, Sendable {
    /// Whether the first part is a `c`.
    package var hasPrefix: Bool
    /// `.` or `/`.
    package var separator: UInt8

    /// Appends the key of what has this row-major number in the grid, below the array's own name.
    package func appendKey(ofChunk number: Int, inGrid grid: [Int], to key: inout [UInt8]) {
      if hasPrefix { key.append(UInt8(ascii: "c")) }
      if grid.isEmpty && !hasPrefix { key.append(UInt8(ascii: "0")) }
      var inner = grid.reduce(1, *)
      for (axis, extent) in grid.enumerated() {
        if axis > 0 || hasPrefix { key.append(separator) }
        inner /= extent
        key.appendDecimal(number / inner % extent)
      }
    }
  }

  /// The bytes of one element as chunks hold it.
  ///
  /// Elements of less than a byte have a byte each: TensorStore 0.1.86 writes int4 and float4_e2m1fn so in both versions, with
  /// the upper bits zero, although the specification of version 3 leaves room for packing.
  package var elementByteCount: Int { max(1, spec.dtype.bitWidth / 8) }

  /// The extents of the grid of chunks or shards.
  package var storedGrid: [Int] { Self.grid(spec.shape, storedShape) }

  /// How many steps of `chunk` cover `shape` along each axis.
  package static func grid(_ shape: Shape, _ chunk: Shape) -> [Int] {
    zip(shape.extents, chunk.extents).map { $0 / $1 + ($0 % $1 == 0 ? 0 : 1) }
  }
}

extension ZarrArray {
  /// What can be said of an array whose metadata was refused with an error of code `unsupported`.
  package static func unsupported(
    _ bytes: [UInt8], because error: GraftError, limits: Limits = Limits()
  ) -> UnsupportedLeaf {
    var leaf = UnsupportedLeaf(reason: error.message, file: error.file, remedy: error.remedy)
    // It was parsed when it was refused; what it says of itself is shown where it is of the usual form.
    guard
      let root = try? JSONValue(parsing: bytes, nestingLimit: limits.nestingDepth, acceptsNonFinite: true)
    else { return leaf }
    let type = root["zarr_format"]?.integer == 2 ? root["dtype"] : root["data_type"]
    leaf.dtypeName = type?.text ?? type?["name"]?.text
    if let extents = root["shape"]?.elements, extents.count <= limits.rank {
      let integers = extents.compactMap(\.integer)
      if integers.count == extents.count { leaf.shape = Shape(checked: integers) }
    }
    return leaf
  }
}

// MARK: - Keys

extension ZarrArray {
  /// The row-major number in the grid of what a key is for; nil for a key of something else.
  package func index(ofKey key: some Collection<UInt8>) -> Int? { index(ofKey: key, inGrid: storedGrid) }

  /// The same, given ``storedGrid``, for many keys of one array.
  func index(ofKey key: some Collection<UInt8>, inGrid grid: [Int]) -> Int? {
    var rest = key[...]
    if keys.hasPrefix {
      guard rest.popFirst() == UInt8(ascii: "c") else { return nil }
      if grid.isEmpty { return rest.isEmpty ? 0 : nil }
      guard rest.popFirst() == keys.separator else { return nil }
    } else if grid.isEmpty {
      return rest.elementsEqual("0".utf8) ? 0 : nil
    }
    var number = 0
    for (axis, extent) in grid.enumerated() {
      if axis > 0 { guard rest.popFirst() == keys.separator else { return nil } }
      var digits = 0
      var value = 0
      while let digit = rest.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) {
        rest = rest.dropFirst()
        // One spelling for each number, so that no two keys are for one chunk; and none outside of the grid.
        if digits == 1 && value == 0 { return nil }
        digits += 1
        value = value * 10 + Int(digit - UInt8(ascii: "0"))
        if value >= extent { return nil }
      }
      if digits == 0 { return nil }
      number = number * extent + value
    }
    return rest.isEmpty ? number : nil
  }
}

// MARK: - Layouts

extension ZarrArray {
  /// The number of chunks or shards in the grid, and of chunks in all; nil when they overflow.
  package var chunkCounts: (stored: Int, chunks: Int)? {
    guard let stored = Shape(checked: storedGrid)?.checkedElementCount,
      let chunks = Shape(checked: Self.grid(spec.shape, chunkShape))?.checkedElementCount
    else { return nil }
    return (stored, chunks)
  }

  /// The layout of the array whose chunks or shards are at these places, in row-major order over the grid.
  ///
  /// - Parameter mayBeAbsent: whether chunks that were never written are fill values rather than an error.
  package func layout(places: [ChunkLocation], mayBeAbsent: Bool) -> Layout {
    var layout = Layout(
      chunkShape: chunkShape, codecs: codecs, chunks: shardIndex == nil ? places : [],
      fillValue: mayBeAbsent ? fillValue : nil, storedBitWidth: 8 * elementByteCount)
    if let shardIndex {
      layout.shards = Shards(
        shape: storedShape, places: places, indexIsAtEnd: shardIndex.isAtEnd,
        indexHasChecksum: shardIndex.hasChecksum)
    }
    return layout
  }
}
