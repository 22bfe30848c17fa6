extension Tensor {
  /// The elements as a Swift array, converted where the dtype is another than `Element`'s.
  ///
  /// Every dtype reads as `Float` that has no more range and precision, those of 4, 6 and 8 bits among them. A conversion
  /// that could change a value, by the pair of dtypes alone, is an error of code ``GraftError/Code/lossy`` unless
  /// `lossy` is true. Then floating-point numbers round to nearest, integers saturate and take fractions towards
  /// zero and NaN for 0, complex numbers become their real part, and any number but 0 is true.
  ///
  /// The array is a copy in memory: do not use it for tensors too large for that.
  public func array<Element: TensorScalar>(
    as type: Element.Type = Element.self, lossy: Bool = false
  ) throws(GraftError) -> [Element] {
    if dtype == Element.dtype, type != Bool.self { return try copied(as: type) }
    guard let target = type as? any ConvertibleScalar.Type else {
      try checkElements(are: type)
      return []
    }
    guard lossy || dtype.convertsExactly(to: Element.dtype) else {
      throw GraftError(
        .lossy, "not every \(dtype) is a \(Element.self)", expected: "a dtype within \(Element.dtype)",
        found: "\(dtype)", remedy: "pass lossy: true, or ask for a wider type")
    }
    let bytes = unsafe try memory
    func convert<Target: ConvertibleScalar>(to _: Target.Type) -> [Target] {
      let count = elementCount
      return unsafe [Target](unsafeUninitializedCapacity: count) { buffer, initializedCount in
        unsafe Target.read(bytes, dtype, 0..<count, into: buffer)
        initializedCount = count
      }
    }
    func erased<Target: ConvertibleScalar>(to _: Target.Type) -> [Element] {
      // Target is Element, known to conform to one protocol more. A cast of the array would look at every element, at
      // 200 ns each.
      unsafe unsafeBitCast(convert(to: Target.self), to: [Element].self)
    }
    // `self` keeps the memory alive until the array is made.
    return withExtendedLifetime(self) { erased(to: target) }
  }

  private func copied<Element: TensorScalar>(as type: Element.Type) throws(GraftError) -> [Element] {
    precondition(Self.fits(type), "\(type) is not as large as an element of \(Element.dtype)")
    let bytes = unsafe try memory
    return withExtendedLifetime(self) {
      unsafe [Element](unsafeUninitializedCapacity: elementCount) { buffer, initializedCount in
        unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(from: bytes)
        initializedCount = elementCount
      }
    }
  }

  /// The one element of a scalar, or of any tensor with one element.
  ///
  /// The value is converted where the dtype is another than `Element`'s, if that changes nothing: an int64 of 1000 is
  /// an `Int`, a `Double` and a `Float`; 0.5 is no `Int`. Otherwise the error's code is ``GraftError/Code/lossy``.
  public func scalar<Element: TensorScalar>(
    as type: Element.Type = Element.self, lossy: Bool = false
  ) throws(GraftError) -> Element {
    guard elementCount == 1 else {
      throw GraftError(
        .shapeMismatch, "the tensor is no scalar", expected: "one element", found: "\(spec)",
        remedy: "use array(as:)")
    }
    guard dtype != Element.dtype || type == Bool.self, type is any ConvertibleScalar.Type else {
      let elements = try elements(as: type)
      return elements[0]
    }
    guard let value = try array(as: type, lossy: true).first else {
      preconditionFailure("one element converts to one")
    }
    let bytes = unsafe try memory
    let before = withExtendedLifetime(self) { unsafe ElementReader.number(bytes, dtype, at: 0) }
    let after = unsafe withUnsafeBytes(of: value) { unsafe ElementReader.number($0, Element.dtype, at: 0) }
    guard lossy || before.isSameNumber(as: after) else {
      throw GraftError(
        .lossy, "the value is no \(Element.self)", expected: "a value that \(Element.dtype) has",
        found: "\(before) as \(dtype)", remedy: "pass lossy: true, or ask for another type")
    }
    return value
  }
}
