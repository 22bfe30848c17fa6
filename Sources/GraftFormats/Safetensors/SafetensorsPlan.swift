package import GraftCore

/// Where every tensor of a checkpoint that is to be written goes: the files with their headers, and a place for each leaf.
///
/// The data of a file begins at a multiple of 4,096 bytes, to which the header is padded with spaces. The format allows no
/// gaps between tensors, so that their order decides on their alignment: first those whose size is a multiple of 4,096,
/// which therefore all begin at one (in a model these are nearly all bytes, and can be read around the page cache and mapped
/// into devices), then the others from the largest alignment of elements to the smallest, as the reference implementation
/// orders all. Within each of these groups the order is that of the leaves.
package struct SafetensorsPlan: Sendable {
  /// A file that is to be written.
  package struct File: Sendable {
    /// The name in the folder; of a single file, what the caller chooses.
    package let name: String
    /// The length field and the header with its padding: the bytes before the first tensor.
    package fileprivate(set) var head: [UInt8]
    /// The whole file's bytes.
    package let byteCount: Int
  }

  /// Where a leaf goes.
  package struct Place: Hashable, Sendable {
    /// The index in ``SafetensorsPlan/files``.
    package let file: Int
    /// The bytes of the file.
    package let range: ByteRange
  }

  /// How leaves are spread over files.
  package enum Division: Hashable, Sendable {
    /// One file.
    case single
    /// As few files as keep each within this many bytes of tensors, filled in the order of the leaves; a larger tensor has
    /// a file of its own.
    case shards(byteCount: Int)

    /// What libraries that write shards take for the size of one.
    package static let defaultShardByteCount = 5_000_000_000
  }

  /// The files.
  package private(set) var files: [File] = []
  /// The place of each leaf, in the order of declaration.
  package private(set) var places: [Place] = []
  /// The index that belongs to several files, nil for one file.
  package private(set) var index: [UInt8]?

  /// What the data of a file is aligned to.
  package static let dataAlignment = 4_096
  /// The longest header that the reference implementation reads.
  package static let headerByteCountLimit = 100_000_000
  /// The name of the index in a folder.
  package static let indexName = "model.safetensors.index.json"

  /// Decides where the leaves go.
  ///
  /// - Parameters:
  ///   - leaves: what is to be written.
  ///   - naming: with `nested`, a key with a dot is an error, since reading would split it; with `whole`, it is a part of
  ///     the name like any other.
  ///   - metadata: what goes into `__metadata__` of every file.
  /// - Throws: `unsupported` for what the format cannot keep, `collision` for names, `limitExceeded` for headers.
  package init(
    _ leaves: [(path: TreePath, spec: LeafSpec)], division: Division, naming: SafetensorsNaming = .nested,
    metadata: [(key: String, value: String)] = [], limits: Limits = Limits()
  ) throws(GraftError) {
    let tensors = try PlannedTensor.checked(leaves, naming: naming, limits: limits)
    try Self.check(metadata)
    let groups = try Self.divide(tensors, division)
    if case .shards = division, groups.count > limits.fileCount {
      throw GraftError(
        .limitExceeded, "the checkpoint would have too many files", expected: "at most \(limits.fileCount)",
        found: "\(groups.count)", remedy: "choose a larger size of shards")
    }

    places = [Place](repeating: Place(file: 0, range: ByteRange(offset: 0, count: 0)), count: tensors.count)
    for (file, group) in groups.enumerated() {
      let name =
        groups.count == 1
        ? "model.safetensors"
        : ShardName(series: .init(prefix: "model", count: groups.count), number: file + 1).text
      try plan(
        group, of: tensors, file: file, name: name, metadata,
        headerLimit: Swift.min(Self.headerByteCountLimit, limits.metadataByteCount))
    }
    if groups.count > 1 { index = makeIndex(tensors) }
  }

  /// Gives up the headers and the index, which are large where there are many leaves, once they are written.
  package mutating func forgetHeads() {
    for file in files.indices { files[file].head = [] }
    index = nil
  }

  /// The leaves of each file, in the order of declaration.
  private static func divide(_ tensors: [PlannedTensor], _ division: Division) throws(GraftError) -> [[Int]] {
    var limit = Int.max
    if case .shards(let byteCount) = division {
      guard byteCount > 0 else {
        throw GraftError(.invalidArgument, "a shard of \(byteCount) bytes holds nothing")
      }
      limit = byteCount
    }
    var groups: [[Int]] = []
    var group: [Int] = []
    var byteCount = 0
    for (leaf, tensor) in tensors.enumerated() {
      var (sum, overflow) = byteCount.addingReportingOverflow(tensor.spec.byteCount)
      if overflow || sum > limit, byteCount > 0, tensor.spec.byteCount > 0 {
        if limit == Int.max { throw tooLarge() }
        groups.append(group)
        group = []
        (sum, overflow) = (tensor.spec.byteCount, false)
      }
      group.append(leaf)
      byteCount = sum
    }
    groups.append(group)
    return groups
  }

  private mutating func plan(
    _ group: [Int], of tensors: [PlannedTensor], file: Int, name: String,
    _ metadata: [(key: String, value: String)], headerLimit: Int
  ) throws(GraftError) {
    let order = group.sorted { (tensors[$0].rank, $0) < (tensors[$1].rank, $1) }
    var writer = JSONWriter()
    writer.reserveCapacity(128 * group.count)
    writer.beginObject()
    if !metadata.isEmpty {
      writer.key("__metadata__")
      writer.beginObject()
      for entry in metadata {
        writer.key(entry.key)
        writer.string(entry.value)
      }
      writer.endObject()
    }
    var end = 0
    for leaf in order {
      let tensor = tensors[leaf]
      // The sum over the file's tensors has been seen not to overflow.
      let begin = end
      end += tensor.spec.byteCount
      writer.key(tensor.name)
      writer.beginObject()
      writer.key("dtype")
      writer.string(tensor.dtypeName)
      writer.key("shape")
      writer.beginArray()
      for extent in tensor.spec.shape.extents { writer.integer(extent) }
      writer.endArray()
      writer.key("data_offsets")
      writer.beginArray()
      writer.integer(begin)
      writer.integer(end)
      writer.endArray()
      writer.endObject()
    }
    writer.endObject()

    let lengthCount = SafetensorsHeader.lengthFieldByteCount
    let headCount =
      (lengthCount + writer.bytes.count + Self.dataAlignment - 1) / Self.dataAlignment * Self.dataAlignment
    let jsonCount = headCount - lengthCount
    guard jsonCount <= headerLimit else {
      throw GraftError(
        .limitExceeded, "the header would be longer than is allowed",
        expected: "at most \(headerLimit) bytes",
        found: "\(jsonCount) bytes for \(group.count) tensors",
        remedy: "write several files, or shorten the names or the metadata")
    }
    let (byteCount, overflow) = headCount.addingReportingOverflow(end)
    guard !overflow else { throw Self.tooLarge() }
    var head = (0..<lengthCount).map { UInt8(truncatingIfNeeded: jsonCount >> (8 * $0)) }
    head.reserveCapacity(headCount)
    head += writer.bytes
    head += repeatElement(UInt8(ascii: " "), count: headCount - head.count)
    files.append(File(name: name, head: head, byteCount: byteCount))

    var offset = headCount
    for leaf in order {
      let count = tensors[leaf].spec.byteCount
      places[leaf] = Place(file: file, range: ByteRange(offset: offset, count: count))
      offset += count
    }
  }

  private func makeIndex(_ tensors: [PlannedTensor]) -> [UInt8] {
    var writer = JSONWriter(indentation: 2)
    writer.beginObject()
    writer.key("metadata")
    writer.beginObject()
    writer.key("total_size")
    // It is for people and download bars; more than 2^63 bytes in several files would not fit any disk.
    writer.integer(tensors.reduce(0) { $0 &+ $1.spec.byteCount })
    writer.endObject()
    writer.key("weight_map")
    writer.beginObject()
    for leaf in tensors.indices.sorted(by: {
      tensors[$0].name.utf8.lexicographicallyPrecedes(tensors[$1].name.utf8)
    }) {
      writer.key(tensors[leaf].name)
      writer.string(files[places[leaf].file].name)
    }
    writer.endObject()
    writer.endObject()
    return writer.bytes + [UInt8(ascii: "\n")]
  }

  private static func check(_ metadata: [(key: String, value: String)]) throws(GraftError) {
    var keys: Set<Key> = []
    for entry in metadata where !keys.insert(Key(entry.key)).inserted {
      throw GraftError(
        .collision, "the metadata has the key \(SafetensorsFaults.quoted(entry.key)) twice",
        remedy: "leave one of them out")
    }
  }

  private static func tooLarge() -> GraftError {
    GraftError(.limitExceeded, "the tensors together have more bytes than a file can have")
  }
}

/// A tensor that the format can keep, under a name that no other has.
private struct PlannedTensor {
  let name: String
  let dtypeName: String
  let spec: TensorSpec

  /// Which group of tensors it belongs to in its file.
  var rank: Int {
    spec.byteCount % SafetensorsPlan.dataAlignment == 0 ? 0 : 1 + 16 - spec.dtype.alignment
  }

  /// The leaves as tensors of the format; all that it cannot keep are named together.
  static func checked(
    _ leaves: [(path: TreePath, spec: LeafSpec)], naming: SafetensorsNaming, limits: Limits
  ) throws(GraftError) -> [PlannedTensor] {
    var tensors: [PlannedTensor] = []
    tensors.reserveCapacity(leaves.count)
    var faults: [GraftError] = []
    var owners: [Key: Int] = [:]
    owners.reserveCapacity(leaves.count)
    guard leaves.count <= limits.leafCount else {
      throw GraftError(
        .limitExceeded, "the checkpoint would have too many leaves", expected: "at most \(limits.leafCount)",
        found: "\(leaves.count)", remedy: "raise Limits.leafCount")
    }
    for (index, leaf) in leaves.enumerated() {
      do throws(GraftError) {
        let tensor = try PlannedTensor(leaf.path, leaf.spec, naming, limits)
        if let owner = owners.updateValue(index, forKey: Key(tensor.name)) {
          throw GraftError(
            .collision,
            "the leaves \(leaves[owner].path) and \(leaf.path) would both be named \(SafetensorsFaults.quoted(tensor.name))",
            leaf: leaf.path, remedy: "rename one of them")
        }
        tensors.append(tensor)
      } catch {
        // Each of the first few is named, and an error stays small however many there are.
        faults.append(error)
        if faults.count > GraftError.printedOthersLimit { break }
      }
    }
    guard var first = faults.first else { return tensors }
    first.others = Array(faults.dropFirst())
    throw first
  }

  private init(
    _ path: TreePath, _ spec: LeafSpec, _ naming: SafetensorsNaming, _ limits: Limits
  ) throws(GraftError) {
    guard case .tensor(let tensor) = spec else {
      throw GraftError(
        .unsupported, "safetensors keeps tensors only", leaf: path, found: "a string",
        remedy: "leave the leaf out, or choose a format that keeps strings")
    }
    guard !path.keys.isEmpty else {
      throw GraftError(
        .unsupported, "a tensor without a name cannot be kept in safetensors", remedy: "put it under a key")
    }
    if naming == .nested, let key = path.keys.first(where: { $0.string.utf8.contains(UInt8(ascii: ".")) }) {
      throw GraftError(
        .collision,
        "the key \(SafetensorsFaults.quoted(key.string)) has a dot, at which names are split when they are read",
        leaf: path,
        remedy:
          "keep names whole, with --flat in the tool or flat: true in the library, or leave the leaf out")
    }
    let name = SafetensorsNaming.name(of: path)
    guard name != "__metadata__" else {
      throw GraftError(
        .collision, "the name __metadata__ is safetensors' own", leaf: path, remedy: "rename the leaf")
    }
    guard name.utf8.count <= limits.keyByteCount else {
      throw GraftError(
        .limitExceeded, "the name of the tensor is too long", leaf: path,
        expected: "at most \(limits.keyByteCount) bytes", found: "\(name.utf8.count) bytes")
    }
    guard let dtypeName = SafetensorsDType.name(of: tensor.dtype) else {
      throw GraftError(
        .unsupported, "safetensors has no such dtype", leaf: path,
        expected: "one of \(SafetensorsDType.names.map(\.dtype.description).joined(separator: ", "))",
        found: "\(tensor.dtype)", remedy: "cast the leaf to one of these")
    }
    guard tensor.dtype.bitWidth % 8 == 0 || tensor.elementCount % (tensor.dtype.bitWidth == 6 ? 4 : 2) == 0
    else {
      throw GraftError(
        .unsupported, "safetensors keeps packed elements only where they fill whole bytes", leaf: path,
        found: "\(tensor) of \(tensor.dtype.bitWidth) bits per element", remedy: "pad or cast the leaf")
    }
    self.name = name
    self.dtypeName = dtypeName
    self.spec = tensor
  }
}
