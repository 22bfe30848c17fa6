// Joining several tensors into one and taking one apart, which is movement too.

extension LazyTensor {
  /// Tensors of one dtype one after the other along an axis, NumPy's `concatenate`.
  ///
  /// - Throws: ``GraftError`` when there are none, or their dtypes, ranks, or extents along other axes differ.
  public static func concatenate(_ tensors: [LazyTensor], axis: Int = 0) throws(GraftError) -> LazyTensor {
    guard let first = tensors.first else { throw nothing(to: "concatenate") }
    let axis = try Self.axis(axis, of: first.rank, shape: first.shape)
    var extents = first.shape.extents
    extents[axis] = 0
    for (position, tensor) in tensors.enumerated() {
      try checkDType(tensor, position: position, first)
      var fits = tensor.rank == first.rank
      if fits { fits = tensor.shape.indices.allSatisfy { $0 == axis || tensor.shape[$0] == first.shape[$0] } }
      guard fits else { throw shapeMismatch(tensor, position: position, first, "except along axis \(axis)") }
      let (sum, overflow) = extents[axis].addingReportingOverflow(tensor.shape[axis])
      guard !overflow else {
        throw GraftError(.invalidArgument, "the extent of the result along axis \(axis) overflows")
      }
      extents[axis] = sum
    }
    if tensors.count == 1 { return first }
    return try make(
      spec(first.dtype, Shape(extents)), .concatenated(tensors.map(\.expression), axis: axis))
  }

  /// Tensors of one dtype and shape along a new axis, NumPy's `stack`.
  ///
  /// - Throws: ``GraftError`` when there are none, or their dtypes or shapes differ.
  public static func stack(_ tensors: [LazyTensor], axis: Int = 0) throws(GraftError) -> LazyTensor {
    guard let first = tensors.first else { throw nothing(to: "stack") }
    let axis = try Self.axis(axis, of: first.rank + 1, shape: first.shape)
    var expanded: [LazyTensor] = []
    expanded.reserveCapacity(tensors.count)
    let expansion = try first.expansion(axis: axis)
    for (position, tensor) in tensors.enumerated() {
      try checkDType(tensor, position: position, first)
      guard tensor.shape == first.shape else { throw shapeMismatch(tensor, position: position, first, "all") }
      expanded.append(try tensor.view(expansion.spec, expansion.map))
    }
    return try concatenate(expanded, axis: axis)
  }

  private static func nothing(to verb: String) -> GraftError {
    GraftError(.invalidArgument, "there is nothing to \(verb)", expected: "at least one tensor")
  }

  private static func checkDType(
    _ tensor: LazyTensor, position: Int, _ first: LazyTensor
  ) throws(GraftError) {
    guard tensor.dtype == first.dtype else {
      throw GraftError(
        .dtypeMismatch, "tensor \(position) has another dtype than the first", expected: "\(first.spec)",
        found: "\(tensor.spec)", remedy: "cast it with cast(to: .\(first.dtype))")
    }
  }

  private static func shapeMismatch(
    _ tensor: LazyTensor, position: Int, _ first: LazyTensor, _ which: String
  ) -> GraftError {
    GraftError(
      .shapeMismatch, "tensor \(position) does not fit the first: extents must agree, \(which)",
      expected: "\(first.spec)", found: "\(tensor.spec)")
  }

  /// The tensors that `stack` along the axis would make this one of.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` when there is no such axis.
  public func unstacked(axis: Int = 0) throws(GraftError) -> [LazyTensor] {
    let axis = try Self.axis(axis, of: rank, shape: shape)
    var parts: [LazyTensor] = []
    parts.reserveCapacity(shape[axis])
    for index in 0..<shape[axis] {
      parts.append(try sliced(along: axis, .index(index)))
    }
    return parts
  }

  /// Equal parts along an axis, NumPy's `split`.
  ///
  /// - Throws: ``GraftError`` of code `shapeMismatch` when the extent is no multiple of `count`.
  public func split(_ count: Int, axis: Int) throws(GraftError) -> [LazyTensor] {
    let axis = try Self.axis(axis, of: rank, shape: shape)
    guard count > 0, shape[axis] % count == 0 else {
      throw GraftError(
        .shapeMismatch, "axis \(axis) cannot be split into \(count) equal parts", found: "shape \(shape)",
        remedy: "give the extent of each part")
    }
    return try split(sizes: [Int](repeating: shape[axis] / count, count: count), axis: axis)
  }

  /// Parts of these extents along an axis.
  ///
  /// - Throws: ``GraftError`` of code `shapeMismatch` when the extents do not add up to the axis's.
  public func split(sizes: [Int], axis: Int) throws(GraftError) -> [LazyTensor] {
    let axis = try Self.axis(axis, of: rank, shape: shape)
    var sum = 0
    for size in sizes {
      guard size >= 0, size <= shape[axis] - sum else { sum = -1; break }
      sum += size
    }
    guard sum == shape[axis] else {
      throw GraftError(
        .shapeMismatch, "the extents \(sizes) do not add up to axis \(axis)", found: "shape \(shape)")
    }
    var parts: [LazyTensor] = []
    var lower = 0
    for size in sizes {
      parts.append(try sliced(along: axis, .range(lower..<(lower + size))))
      lower += size
    }
    return parts
  }

  private func sliced(along axis: Int, _ slice: AxisSlice) throws(GraftError) -> LazyTensor {
    var slices = [AxisSlice](repeating: .all, count: axis)
    slices.append(slice)
    return try sliced(TensorSlice(slices))
  }

  /// The tensor with a margin of one value around it, NumPy's `pad` with mode `constant`.
  ///
  /// - Parameters:
  ///   - widths: how many elements come before and after along each axis.
  ///   - value: what they are.
  /// - Throws: ``GraftError`` of code `invalidArgument` when there is not one pair for each axis, or a width is negative.
  public func padded(
    _ widths: [(before: Int, after: Int)], with value: Double = 0
  ) throws(GraftError) -> LazyTensor {
    guard widths.count == rank, widths.allSatisfy({ $0.before >= 0 && $0.after >= 0 }) else {
      throw GraftError(
        .invalidArgument, "padding takes two widths for each axis, none negative",
        found: "\(widths.map { [$0.before, $0.after] }) for shape \(shape)")
    }
    var tensor = self
    for (axis, width) in widths.enumerated() {
      func margin(_ extent: Int) throws(GraftError) -> [LazyTensor] {
        if extent == 0 { return [] }
        var extents = tensor.shape.extents
        extents[axis] = extent
        return [try .initialized(Shape(extents), dtype, .constant(value))]
      }
      tensor = try .concatenate(try margin(width.before) + [tensor] + margin(width.after), axis: axis)
    }
    return tensor
  }

  /// The tensor cut, or padded at the end with one value, to this extent along an axis: how a vocabulary is resized.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` when there is no such axis, or the extent is negative.
  public func resized(_ extent: Int, axis: Int, padding value: Double = 0) throws(GraftError) -> LazyTensor {
    let axis = try Self.axis(axis, of: rank, shape: shape)
    guard extent >= 0 else { throw GraftError(.invalidArgument, "no axis has the extent \(extent)") }
    if extent <= shape[axis] { return try sliced(along: axis, .range(0..<extent)) }
    var widths = [(before: Int, after: Int)](repeating: (0, 0), count: rank)
    widths[axis].after = extent - shape[axis]
    return try padded(widths, with: value)
  }

  /// The elements at these indices along an axis, in this order, NumPy's `take`; an index may come several times.
  ///
  /// - Throws: ``GraftError`` of code `invalidArgument` for an index that is out of bounds.
  public func taking(_ indices: [Int], axis: Int = 0) throws(GraftError) -> LazyTensor {
    let axis = try Self.axis(axis, of: rank, shape: shape)
    let extent = shape[axis]
    if indices.isEmpty { return try sliced(along: axis, .range(0..<0)) }
    var parts: [LazyTensor] = []
    var position = 0
    while position < indices.count {
      // As many of the indices as are evenly spaced are one slice.
      var end = position + 1
      let first = try Self.index(indices[position], extent: extent, axis: axis)
      var step = 1
      if end < indices.count {
        step = try Self.index(indices[end], extent: extent, axis: axis) - first
        var next = first
        while step != 0, end < indices.count,
          try Self.index(indices[end], extent: extent, axis: axis) == next + step
        {
          next += step
          end += 1
        }
      }
      let count = end - position
      let last = first + (count - 1) * step
      // Going down to index 0, the bound after it has no number.
      let upper: Int? =
        step > 0 || count == 1 ? (count == 1 ? first : last) + 1 : (last == 0 ? nil : last - 1)
      parts.append(
        try sliced(along: axis, .strided(lower: first, upper: upper, step: count == 1 ? 1 : step)))
      position = end
    }
    return try .concatenate(parts, axis: axis)
  }

  private static func index(_ index: Int, extent: Int, axis: Int) throws(GraftError) -> Int {
    guard index >= -extent, index < extent else {
      throw GraftError(
        .invalidArgument, "index \(index) is out of bounds of axis \(axis)",
        expected: "an index from \(-extent) to \(extent - 1)")
    }
    return index < 0 ? index + extent : index
  }
}
