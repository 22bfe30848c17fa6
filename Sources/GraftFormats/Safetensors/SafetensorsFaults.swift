import GraftCore

/// The errors of a safetensors file: all wording for what can be wrong in one stands here.
///
/// Offsets of tensors are given as bytes of the file, since that is what one can look at.
struct SafetensorsFaults {
  let file: String
  let naming: SafetensorsNaming

  // MARK: - The header as a whole

  func lengthFieldCut(byteCount: Int) -> GraftError {
    GraftError(
      .truncated, "the file ends inside the eight bytes that say how long the header is", file: file,
      range: ByteRange(offset: 0, count: 8), expected: "at least 8 bytes", found: "\(byteCount) bytes",
      remedy: Self.incomplete)
  }

  func headerTooLong(_ claimed: UInt64, limit: Int) -> GraftError {
    GraftError(
      .limitExceeded, "the header claims to be longer than is allowed", file: file, range: Self.lengthField,
      expected: "at most \(limit) bytes", found: "\(claimed) bytes",
      remedy: "this is no safetensors file or a broken one, unless Limits.metadataByteCount was lowered")
  }

  func headerPastEnd(_ claimed: Int, byteCount: Int) -> GraftError {
    GraftError(
      .truncated, "the file ends inside the header", file: file, range: ByteRange(offset: 8, count: claimed),
      expected: "at least \(8 + claimed) bytes", found: "\(byteCount) bytes", remedy: Self.incomplete)
  }

  func headerEmpty() -> GraftError {
    GraftError(
      .corrupt, "the header is empty", file: file, range: Self.lengthField,
      expected: "at least the two bytes {}")
  }

  func headerNoObject(_ byte: UInt8) -> GraftError {
    GraftError(
      .corrupt, "the header does not begin with a brace", file: file, range: ByteRange(offset: 8, count: 1),
      expected: "byte 0x7B", found: "byte 0x" + String(byte, radix: 16, uppercase: true))
  }

  /// The header is no JSON, or not the JSON that it has to be, at or inside the entry of a tensor when one is named.
  func json(_ error: JSONError, tensor name: String?) -> GraftError {
    guard let name else { return error.graftError(in: "the header", file: file, base: 8) }
    var fault = error.graftError(
      in: "the header's entry of the tensor \(Self.quoted(name))", file: file, base: 8)
    fault.leaf = naming.path(of: name)
    return fault
  }

  func metadataTwice(at offset: Int) -> GraftError {
    header(.corrupt, "the header has __metadata__ twice", at: offset)
  }

  func metadataKeyTwice(_ key: String, at offset: Int) -> GraftError {
    header(.corrupt, "the header's __metadata__ has the key \(Self.quoted(key)) twice", at: offset)
  }

  func metadataNoString(_ key: String, found: JSONKind, at offset: Int) -> GraftError {
    header(
      .corrupt, "the value of \(Self.quoted(key)) in the header's __metadata__ is no string", at: offset,
      expected: JSONKind.string.rawValue, found: found.rawValue)
  }

  func tooManyTensors(limit: Int) -> GraftError {
    GraftError(
      .limitExceeded, "there are too many tensors", file: file, expected: "at most \(limit)",
      remedy: "raise Limits.leafCount if the file is trusted")
  }

  // MARK: - One tensor's entry

  func nameTooLong(_ name: String, limit: Int, at offset: Int) -> GraftError {
    header(
      .limitExceeded, "the name of a tensor is too long: \(Self.quoted(name))", at: offset,
      expected: "at most \(limit) bytes", found: "\(name.utf8.count) bytes",
      remedy: "raise Limits.keyByteCount if the file is trusted")
  }

  func tensorTwice(_ name: String, at offset: Int) -> GraftError {
    entry(name, .corrupt, "the header has the tensor \(Self.quoted(name)) twice", at: offset)
  }

  func fieldTwice(_ field: String, tensor name: String, at offset: Int) -> GraftError {
    entry(name, .corrupt, "the tensor \(Self.quoted(name)) has its \(field) twice", at: offset)
  }

  func fieldMissing(_ field: String, tensor name: String, at offset: Int) -> GraftError {
    entry(name, .corrupt, "the tensor \(Self.quoted(name)) has no \(field)", at: offset)
  }

  func unknownDType(_ dtype: String, tensor name: String, at offset: Int) -> GraftError {
    entry(
      name, .unsupported, "the tensor \(Self.quoted(name)) has a dtype that is not known", at: offset,
      expected: "one of \(SafetensorsDType.names.map(\.name).joined(separator: ", "))",
      found: Self.quoted(dtype))
  }

  func negative(_ field: String, _ value: Int, tensor name: String, at offset: Int) -> GraftError {
    entry(
      name, .corrupt, "the \(field) of the tensor \(Self.quoted(name)) has a negative number", at: offset,
      found: "\(value)")
  }

  func rankTooLarge(tensor name: String, limit: Int, at offset: Int) -> GraftError {
    entry(
      name, .limitExceeded, "the tensor \(Self.quoted(name)) has too many axes", at: offset,
      expected: "at most \(limit)", remedy: "raise Limits.rank if the file is trusted")
  }

  func offsetCount(tensor name: String, at offset: Int) -> GraftError {
    entry(
      name, .corrupt, "the data_offsets of the tensor \(Self.quoted(name)) are not two numbers", at: offset,
      expected: "its beginning and its end")
  }

  func offsetsReversed(tensor name: String, begin: Int, end: Int, at offset: Int) -> GraftError {
    entry(
      name, .corrupt, "the tensor \(Self.quoted(name)) ends before it begins", at: offset,
      found: "data_offsets [\(begin), \(end)]")
  }

  func sizeOverflow(tensor name: String, dtype: DType, shape: Shape, at offset: Int) -> GraftError {
    entry(
      name, .corrupt, "the size of the tensor \(Self.quoted(name)) overflows 64 bits", at: offset,
      found: "\(dtype)\(shape)")
  }

  func offsetOverflow(tensor name: String, end: Int, at offset: Int) -> GraftError {
    entry(
      name, .corrupt, "the data_offsets of the tensor \(Self.quoted(name)) overflow 64 bits", at: offset,
      found: "\(end) bytes after the header")
  }

  func partialByte(tensor name: String, dtype: DType, shape: Shape, at offset: Int) -> GraftError {
    entry(
      name, .corrupt, "the tensor \(Self.quoted(name)) does not fill whole bytes", at: offset,
      expected: "a number of bits that eight divides",
      found: "\(dtype)\(shape) of \(dtype.bitWidth) bits per element")
  }

  // MARK: - Where tensors lie

  func sizeMismatch(_ name: String, spec: TensorSpec, range: ByteRange) -> GraftError {
    data(
      name, .corrupt, "the data_offsets of the tensor \(Self.quoted(name)) do not fit its dtype and shape",
      range,
      expected: "\(spec.byteCount) bytes for \(spec)", found: "\(range.count) bytes")
  }

  func hole(before name: String, _ range: ByteRange) -> GraftError {
    data(name, .corrupt, "there is a hole before the tensor \(Self.quoted(name)): bytes of no tensor", range)
  }

  func overlap(_ name: String, with other: String, _ range: ByteRange) -> GraftError {
    data(
      name, .corrupt, "the tensors \(Self.quoted(other)) and \(Self.quoted(name)) overlap", range)
  }

  func insideAnother(_ name: String, other: String, _ range: ByteRange) -> GraftError {
    data(
      name, .corrupt, "the empty tensor \(Self.quoted(name)) lies inside the tensor \(Self.quoted(other))",
      range)
  }

  func fileEndsInside(_ name: String, _ range: ByteRange, lastByte: Int, byteCount: Int) -> GraftError {
    data(
      name, .truncated, "the file ends before the end of the tensor \(Self.quoted(name))", range,
      expected: "\(lastByte) bytes in all", found: "\(byteCount) bytes", remedy: Self.incomplete)
  }

  func bytesAfterLast(_ range: ByteRange) -> GraftError {
    GraftError(
      .corrupt, "the file goes on after the last tensor: bytes of no tensor", file: file, range: range,
      expected: "\(range.offset) bytes in all", found: "\(range.end) bytes")
  }

  // MARK: - Parts

  private static let incomplete = "the file is incomplete: copy or download it again"
  private static let lengthField = ByteRange(offset: 0, count: 8)

  private func header(
    _ code: GraftError.Code, _ message: String, at offset: Int, expected: String? = nil, found: String? = nil,
    remedy: String? = nil
  ) -> GraftError {
    GraftError(
      code, message, file: file, range: ByteRange(offset: 8 + offset, count: 1), expected: expected,
      found: found,
      remedy: remedy)
  }

  private func entry(
    _ name: String, _ code: GraftError.Code, _ message: String, at offset: Int, expected: String? = nil,
    found: String? = nil, remedy: String? = nil
  ) -> GraftError {
    var fault = header(code, message, at: offset, expected: expected, found: found, remedy: remedy)
    fault.leaf = naming.path(of: name)
    return fault
  }

  private func data(
    _ name: String, _ code: GraftError.Code, _ message: String, _ range: ByteRange, expected: String? = nil,
    found: String? = nil, remedy: String? = nil
  ) -> GraftError {
    GraftError(
      code, message, leaf: naming.path(of: name), file: file, range: range, expected: expected, found: found,
      remedy: remedy)
  }

  /// A name as messages print it: in quotes, on one line, and not longer than a line or two.
  static func quoted(_ name: String) -> String {
    let scalars = name.unicodeScalars
    guard scalars.count > 160 else { return "\"\(TreePath.printable(name))\"" }
    return "\"\(TreePath.printable(String(scalars.prefix(150))))…\""
  }
}
