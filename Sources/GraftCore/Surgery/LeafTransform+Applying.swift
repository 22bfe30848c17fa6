extension LeafTransform {
  /// What errors and plans call it: `transpose`.
  public var name: String {
    switch self {
    case .transpose: "transpose"
    case .cast: "cast"
    case .slice: "slice"
    case .take: "take"
    case .flip: "flip"
    case .pad: "pad"
    case .resize: "resize"
    case .reshape: "reshape"
    case .squeeze: "squeeze"
    case .expand: "expand"
    case .broadcast: "broadcast"
    case .repeat: "repeat"
    case .tile: "tile"
    case .scale: "scale"
    case .interleave: "interleave"
    case .deinterleave: "deinterleave"
    case .rotary: "rotary"
    }
  }

  /// The tensor after this.
  public func apply(to tensor: LazyTensor) throws(GraftError) -> LazyTensor {
    switch self {
    case .transpose(let axes): try tensor.transposed(axes)
    case .cast(let dtype, let lossy): try tensor.cast(to: dtype, lossy: lossy)
    case .slice(let slice): try tensor.sliced(slice)
    case .take(let indices, let axis): try tensor.taking(indices, axis: axis)
    case .flip(let axis): try tensor.flipped(axis: axis)
    case .pad(let margins, let value):
      try tensor.padded(margins.map { (before: $0.before, after: $0.after) }, with: value)
    case .resize(let extent, let axis, let value): try tensor.resized(extent, axis: axis, padding: value)
    case .reshape(let extents): try tensor.reshaped(extents)
    case .squeeze(let axis): try tensor.squeezed(axis: axis)
    case .expand(let axis): try tensor.expanded(axis: axis)
    case .broadcast(let shape): try tensor.broadcast(to: shape)
    case .repeat(let count, let axis): try tensor.repeated(count, axis: axis)
    case .tile(let counts): try tensor.tiled(counts)
    case .scale(let factor): try tensor.scaled(by: factor)
    case .interleave(let sizes, let groups, let axis):
      try tensor.interleaved(sizes: sizes, groups: groups, axis: axis)
    case .deinterleave(let sizes, let groups, let axis):
      try tensor.deinterleaved(sizes: sizes, groups: groups, axis: axis)
    case .rotary(let order, let heads, let dimensions, let axis):
      try tensor.permutingRotary(to: order, heads: heads, dimensions: dimensions, axis: axis)
    }
  }
}

// MARK: - Interleaving

extension LazyTensor {
  /// Parts that follow each other along an axis, brought together group by group.
  ///
  /// A fused `[q, k, v]`, each all heads of one kind, becomes `[q₀, k₀, v₀, q₁, k₁, v₁, …]`, as `groups` heads or groups of heads
  /// need it. Each part is cut into `groups` equal blocks; with grouped queries a block of `q` is larger than one of `k`.
  ///
  /// - Parameters:
  ///   - sizes: the extents of the parts, which add up to the axis's.
  ///   - groups: how many blocks each part has.
  /// - Throws: ``GraftError`` of code `shapeMismatch` when the sizes do not add up or are no multiples of `groups`.
  public func interleaved(sizes: [Int], groups: Int, axis: Int = 0) throws(GraftError) -> LazyTensor {
    let axis = try checkedBlocks(sizes, groups, axis)
    var blocks: [LazyTensor] = []
    for (part, size) in zip(try split(sizes: sizes, axis: axis), sizes) {
      blocks.append(try part.reshaped(axis, [groups, size / groups]))
    }
    let extent = shape[axis]
    return try LazyTensor.concatenate(blocks, axis: axis + 1).reshapedBack(axis, extent)
  }

  /// Groups of blocks of several parts, sorted into the parts: what ``interleaved(sizes:groups:axis:)`` does, undone.
  ///
  /// - Throws: ``GraftError`` of code `shapeMismatch` when the sizes do not add up or are no multiples of `groups`.
  public func deinterleaved(sizes: [Int], groups: Int, axis: Int = 0) throws(GraftError) -> LazyTensor {
    let axis = try checkedBlocks(sizes, groups, axis)
    let grouped = try reshaped(axis, [groups, shape[axis] / groups])
    var parts: [LazyTensor] = []
    for (part, size) in zip(try grouped.split(sizes: sizes.map { $0 / groups }, axis: axis + 1), sizes) {
      parts.append(try part.reshapedBack(axis, size))
    }
    return try .concatenate(parts, axis: axis)
  }

  private func checkedBlocks(_ sizes: [Int], _ groups: Int, _ axis: Int) throws(GraftError) -> Int {
    let axis = try Self.axis(axis, of: rank, shape: shape)
    guard groups > 0, sizes.allSatisfy({ $0 >= 0 && $0 % groups == 0 }) else {
      throw GraftError(
        .shapeMismatch, "the parts \(sizes) cannot be cut into \(groups) blocks each", found: "shape \(shape)"
      )
    }
    var rest = shape[axis]
    for size in sizes {
      guard size <= rest else { rest = -1; break }
      rest -= size
    }
    guard rest == 0, !sizes.isEmpty else {
      throw GraftError(
        .shapeMismatch, "the extents \(sizes) do not add up to axis \(axis)", found: "shape \(shape)")
    }
    return axis
  }

  /// One axis made several.
  private func reshaped(_ axis: Int, _ extents: [Int]) throws(GraftError) -> LazyTensor {
    var all = shape.extents
    all.replaceSubrange(axis...axis, with: extents)
    return try reshaped(all)
  }

  /// An axis and the one after it made one, of this extent.
  private func reshapedBack(_ axis: Int, _ extent: Int) throws(GraftError) -> LazyTensor {
    var all = shape.extents
    all.replaceSubrange(axis...(axis + 1), with: [extent])
    return try reshaped(all)
  }
}

// MARK: - Rotary embeddings

extension LazyTensor {
  /// The dimensions that a rotary embedding turns in pairs, in another order within each head.
  ///
  /// An axis of `heads` heads, each of `extent / heads` dimensions, of which the first `dimensions` are turned. From pairs side by
  /// side to halves this is `view(heads, dimensions / 2, 2, …).transpose(1, 2)`, the permutation of the conversion scripts of Llama.
  ///
  /// - Parameters:
  ///   - order: the order that the result has; this tensor has the other one.
  ///   - heads: how many heads there are along the axis.
  ///   - dimensions: how many of each head's dimensions are turned, the first ones; all unless given.
  /// - Throws: ``GraftError`` of code `shapeMismatch` where the axis does not come apart so.
  public func permutingRotary(
    to order: RotaryOrder, heads: Int, dimensions: Int? = nil, axis: Int = 0
  ) throws(GraftError) -> LazyTensor {
    let axis = try Self.axis(axis, of: rank, shape: shape)
    let extent = shape[axis]
    guard heads > 0, extent % heads == 0 else {
      throw GraftError(.shapeMismatch, "axis \(axis) does not hold \(heads) heads", found: "shape \(shape)")
    }
    let headExtent = extent / heads
    let turned = dimensions ?? headExtent
    guard turned >= 0, turned <= headExtent, turned % 2 == 0 else {
      throw GraftError(
        .shapeMismatch, "\(turned) dimensions of a head cannot be turned in pairs",
        expected: "an even number up to \(headExtent)", found: "shape \(shape)")
    }
    if turned == 0 || extent == 0 { return self }
    let grouped = try reshaped(axis, [heads, headExtent])
    let parts = try grouped.split(sizes: [turned, headExtent - turned], axis: axis + 1)
    let pairs = order == .halfSplit ? [turned / 2, 2] : [2, turned / 2]
    let paired = try parts[0].reshaped(axis + 1, pairs)
    var axes = Array(0..<paired.rank)
    axes.swapAt(axis + 1, axis + 2)
    let permuted = try paired.transposed(axes).reshapedBack(axis + 1, turned)
    let whole = turned == headExtent ? permuted : try .concatenate([permuted, parts[1]], axis: axis + 1)
    return try whole.reshapedBack(axis, extent)
  }
}
