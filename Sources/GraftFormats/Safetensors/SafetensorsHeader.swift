package import GraftCore

// A safetensors file:
//
//   offset 0       8       8 + N                              end of the file
//          +-------+-------+----------------------------------+
//          |   N   | JSON  | tensors, one after the other     |
//          +-------+-------+----------------------------------+
//
// N is an unsigned little-endian 64-bit number. The JSON is an object, padded with spaces:
//
//   {"__metadata__": {"format": "pt"},                                   optional, strings only
//    "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
//
// The offsets count from 8 + N. Tensors lie in row-major order and little-endian, and cover every byte to the end of the
// file exactly once; they need not be aligned, nor lie in the order of the header. What the reference implementation
// (safetensors 0.8.0) refuses is refused here, and beyond it a key that comes twice, which the specification forbids.

/// The header of a safetensors file, checked against the length of its file.
package struct SafetensorsHeader: Sendable {
  /// A tensor of the file.
  package struct Tensor: Sendable {
    /// The name as the file has it.
    package let name: String
    /// The dtype and shape.
    package let spec: TensorSpec
    /// Where its bytes are in the file.
    package let range: ByteRange
  }

  /// The tensors, in the order of the header.
  package let tensors: [Tensor]
  /// The strings of `__metadata__`, in the order of the header.
  package let metadata: [(key: String, value: String)]
  /// The offset of the first tensor's first byte.
  package let dataOffset: Int

  /// How many bytes say how long the header is.
  package static let lengthFieldByteCount = 8
}

// MARK: - Parsing

extension SafetensorsHeader {
  /// How many bytes of JSON follow the length field, read from the first bytes of a file.
  ///
  /// - Throws: `truncated` when the file ends inside the field or the header, `limitExceeded`, `corrupt` for no bytes.
  package static func jsonByteCount(
    head: [UInt8], file: String, fileByteCount: Int, limits: Limits = Limits()
  ) throws(GraftError) -> Int {
    let faults = SafetensorsFaults(file: file, naming: .whole)
    guard head.count >= lengthFieldByteCount else { throw faults.lengthFieldCut(byteCount: fileByteCount) }
    let claimed = head[..<lengthFieldByteCount].reversed().reduce(into: UInt64(0)) {
      $0 = $0 << 8 | UInt64($1)
    }
    guard claimed <= UInt64(limits.metadataByteCount) else {
      throw faults.headerTooLong(claimed, limit: limits.metadataByteCount)
    }
    guard claimed > 0 else { throw faults.headerEmpty() }
    let count = Int(claimed)
    guard count <= fileByteCount - lengthFieldByteCount else {
      throw faults.headerPastEnd(count, byteCount: fileByteCount)
    }
    return count
  }

  /// Parses a header's JSON and checks that its tensors cover the rest of the file exactly once.
  ///
  /// - Parameters:
  ///   - json: the bytes after the length field, as many as it says.
  ///   - file: what errors call the file.
  ///   - fileByteCount: how many bytes the whole file has.
  ///   - naming: how errors name a tensor's path.
  package init(
    parsing json: Span<UInt8>, file: String, fileByteCount: Int, naming: SafetensorsNaming = .nested,
    limits: Limits = Limits()
  ) throws(GraftError) {
    let faults = SafetensorsFaults(file: file, naming: naming)
    guard json.count > 0 else { throw faults.headerEmpty() }
    // JSON would allow white space before the brace; the specification does not.
    guard json[0] == UInt8(ascii: "{") else { throw faults.headerNoObject(json[0]) }

    var parser = HeaderParser(json, faults: faults, limits: limits)
    do {
      try parser.parse()
    } catch let error as JSONError {
      throw faults.json(error, tensor: parser.current)
    } catch {
      throw error as? GraftError ?? faults.headerEmpty()
    }
    dataOffset = Self.lengthFieldByteCount + json.count
    tensors = try Self.place(parser.entries, from: dataOffset, in: fileByteCount, faults)
    metadata = parser.metadata ?? []
  }

  /// Gives every tensor its place in the file, or says why the places cannot be right.
  private static func place(
    _ entries: [HeaderParser.Entry], from dataOffset: Int, in fileByteCount: Int, _ faults: SafetensorsFaults
  ) throws(GraftError) -> [Tensor] {
    var tensors: [Tensor] = []
    tensors.reserveCapacity(entries.count)
    var isSorted = true
    var last = (begin: 0, end: 0)
    for entry in entries {
      guard !entry.end.addingReportingOverflow(dataOffset).overflow else {
        throw faults.offsetOverflow(tensor: entry.name, end: entry.end, at: entry.offset)
      }
      // Neither number is negative, and the parser has seen that they are in order.
      let range = ByteRange(offset: dataOffset + entry.begin, count: entry.end - entry.begin)
      guard range.count == entry.spec.byteCount else {
        throw faults.sizeMismatch(entry.name, spec: entry.spec, range: range)
      }
      isSorted = isSorted && (entry.begin, entry.end) >= last
      last = (entry.begin, entry.end)
      tensors.append(Tensor(name: entry.name, spec: entry.spec, range: range))
    }

    // Files are nearly always written in the order of their headers.
    let order =
      isSorted
      ? Array(tensors.indices)
      : tensors.indices.sorted {
        (tensors[$0].range.offset, tensors[$0].range.end) < (tensors[$1].range.offset, tensors[$1].range.end)
      }
    var end = dataOffset
    var previous = ""
    for index in order {
      let tensor = tensors[index]
      let begin = tensor.range.offset
      if begin > end {
        // A hole that begins past the file's end is rather a file without its end.
        guard end < fileByteCount else {
          throw faults.fileEndsInside(
            tensor.name, tensor.range, lastByte: tensor.range.end, byteCount: fileByteCount)
        }
        throw faults.hole(before: tensor.name, ByteRange(offset: end, count: begin - end))
      }
      if begin < end {
        guard !tensor.range.isEmpty else {
          throw faults.insideAnother(tensor.name, other: previous, tensor.range)
        }
        throw faults.overlap(
          tensor.name, with: previous,
          ByteRange(offset: begin, count: Swift.min(end, tensor.range.end) - begin))
      }
      end = tensor.range.end
      previous = tensor.name
    }
    if end > fileByteCount {
      let cut = order.first { tensors[$0].range.end > fileByteCount } ?? 0
      throw faults.fileEndsInside(
        tensors[cut].name, tensors[cut].range, lastByte: end, byteCount: fileByteCount)
    }
    if end < fileByteCount {
      throw faults.bytesAfterLast(ByteRange(offset: end, count: fileByteCount - end))
    }
    return tensors
  }
}

/// Pulls the entries out of a header's JSON, and checks each by itself.
///
/// Its functions throw two kinds of error, ``JSONError`` for text that is not the JSON that it has to be, and ``GraftError``
/// for JSON that is no header; who calls ``parse()`` tells them apart.
private struct HeaderParser: ~Escapable {
  /// An entry whose numbers are not negative and fit `Int`; its offsets count from the end of the header.
  struct Entry {
    let name: String
    let spec: TensorSpec
    let begin: Int
    let end: Int
    /// Where in the JSON its name is.
    let offset: Int
  }

  private(set) var entries: [Entry] = []
  private(set) var metadata: [(key: String, value: String)]?
  /// The tensor whose entry is being read, for errors of the JSON inside it.
  private(set) var current: String?

  private var json: JSONReader
  private let faults: SafetensorsFaults
  private let limits: Limits
  private var names: Set<Key> = []
  /// The extents of the shape that is being read; kept, so that each shape is allocated once and in its size.
  private var extents: [Int] = []

  @_lifetime(copy bytes)
  init(_ bytes: Span<UInt8>, faults: SafetensorsFaults, limits: Limits) {
    json = JSONReader(bytes, nestingLimit: limits.nestingDepth)
    self.faults = faults
    self.limits = limits
    // An entry rarely takes less than 96 bytes; so this is about as much memory as the header itself takes.
    names.reserveCapacity(bytes.count / 96)
    entries.reserveCapacity(bytes.count / 96)
  }

  @_lifetime(self: copy self)
  mutating func parse() throws {
    try json.beginObject()
    while let key = try json.nextKey() {
      if json.is(key, "__metadata__") {
        guard metadata == nil else { throw faults.metadataTwice(at: key.range.lowerBound) }
        metadata = try parseMetadata()
      } else {
        try parseEntry(key)
      }
    }
    try json.end()
  }

  @_lifetime(self: copy self)
  private mutating func parseMetadata() throws -> [(key: String, value: String)] {
    // The reference implementation takes null for no metadata.
    if try json.peekKind() == .null {
      try json.readNull()
      return []
    }
    var result: [(key: String, value: String)] = []
    var keys: Set<Key> = []
    try json.beginObject()
    while let text = try json.nextKey() {
      let key = json.string(text)
      guard keys.insert(Key(key)).inserted else {
        throw faults.metadataKeyTwice(key, at: text.range.lowerBound)
      }
      let kind = try json.peekKind()
      guard kind == .string else { throw faults.metadataNoString(key, found: kind, at: json.offset) }
      result.append((key: key, value: try json.readString()))
    }
    return result
  }

  @_lifetime(self: copy self)
  private mutating func parseEntry(_ text: JSONReader.Text) throws {
    let offset = text.range.lowerBound
    let name = json.string(text)
    guard name.utf8.count <= limits.keyByteCount else {
      throw faults.nameTooLong(name, limit: limits.keyByteCount, at: offset)
    }
    guard entries.count < limits.leafCount else { throw faults.tooManyTensors(limit: limits.leafCount) }
    guard names.insert(Key(name)).inserted else { throw faults.tensorTwice(name, at: offset) }
    current = name

    var dtype: DType?
    var shape: Shape?
    var offsets: (begin: Int, end: Int)?
    try json.beginObject()
    while let field = try json.nextKey() {
      let fieldOffset = field.range.lowerBound
      if json.is(field, "dtype") {
        guard dtype == nil else { throw faults.fieldTwice("dtype", tensor: name, at: fieldOffset) }
        let text = try json.readString()
        dtype = SafetensorsDType.dtype(named: text)
        if dtype == nil { throw faults.unknownDType(text, tensor: name, at: fieldOffset) }
      } else if json.is(field, "shape") {
        guard shape == nil else { throw faults.fieldTwice("shape", tensor: name, at: fieldOffset) }
        shape = try parseShape(tensor: name, at: fieldOffset)
      } else if json.is(field, "data_offsets") {
        guard offsets == nil else { throw faults.fieldTwice("data_offsets", tensor: name, at: fieldOffset) }
        offsets = try parseOffsets(tensor: name, at: fieldOffset)
      } else {
        // The reference implementation passes over fields that it does not know.
        try json.skipValue()
      }
    }
    current = nil

    guard let dtype else { throw faults.fieldMissing("dtype", tensor: name, at: offset) }
    guard let shape else { throw faults.fieldMissing("shape", tensor: name, at: offset) }
    guard let offsets else { throw faults.fieldMissing("data_offsets", tensor: name, at: offset) }
    guard offsets.begin <= offsets.end else {
      throw faults.offsetsReversed(tensor: name, begin: offsets.begin, end: offsets.end, at: offset)
    }
    guard !Self.productOverflows(shape), let spec = TensorSpec(checked: dtype, shape) else {
      throw faults.sizeOverflow(tensor: name, dtype: dtype, shape: shape, at: offset)
    }
    // A spec of packed elements has a number of bits that fits `Int`.
    guard !dtype.isPacked || (spec.elementCount &* dtype.bitWidth) % 8 == 0 else {
      throw faults.partialByte(tensor: name, dtype: dtype, shape: shape, at: offset)
    }
    entries.append(Entry(name: name, spec: spec, begin: offsets.begin, end: offsets.end, offset: offset))
  }

  @_lifetime(self: copy self)
  private mutating func parseShape(tensor name: String, at offset: Int) throws -> Shape {
    extents.removeAll(keepingCapacity: true)
    try json.beginArray()
    while try json.nextElement() {
      let extent = try json.readInteger()
      guard extent >= 0 else { throw faults.negative("shape", extent, tensor: name, at: offset) }
      guard extents.count < limits.rank else {
        throw faults.rankTooLarge(tensor: name, limit: limits.rank, at: offset)
      }
      extents.append(extent)
    }
    return Shape(Array(extents[...]))
  }

  @_lifetime(self: copy self)
  private mutating func parseOffsets(tensor name: String, at offset: Int) throws -> (begin: Int, end: Int) {
    var offsets = (begin: 0, end: 0)
    var count = 0
    try json.beginArray()
    while try json.nextElement() {
      let number = try json.readInteger()
      guard number >= 0 else { throw faults.negative("data_offsets", number, tensor: name, at: offset) }
      guard count < 2 else { throw faults.offsetCount(tensor: name, at: offset) }
      if count == 0 { offsets.begin = number } else { offsets.end = number }
      count += 1
    }
    guard count == 2 else { throw faults.offsetCount(tensor: name, at: offset) }
    return offsets
  }

  /// Whether the product of the extents overflows on the way, as the reference implementation judges it, even where a
  /// later extent is zero.
  private static func productOverflows(_ shape: Shape) -> Bool {
    var product = 1
    for extent in shape.extents {
      let (next, overflow) = product.multipliedReportingOverflow(by: extent)
      if overflow { return true }
      product = next
    }
    return false
  }
}
