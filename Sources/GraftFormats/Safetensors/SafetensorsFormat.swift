package import GraftCore
import GraftIO

/// safetensors: one file, an index with its files, or a folder of either.
///
/// In a folder
/// - an index (`*.safetensors.index.json`) decides: exactly the tensors that it lists, in exactly the files that it names,
///   which lie beside it. Other files of the folder are not looked at. Two indices are ambiguous; name one of them.
/// - without an index, every `*.safetensors` file belongs to the checkpoint, in the order of the names. Files that number
///   themselves (`model-00001-of-00003.safetensors`) must all be there.
///
/// Beside an adapter that PEFT wrote (`adapter_model.safetensors`), its `adapter_config.json` is part of the metadata.
///
/// Names that begin with a dot are passed over. A file may be a symbolic link, as it is in the caches that hubs keep;
/// an index cannot name a file of another folder.
package enum SafetensorsFormat: CheckpointFormat {
  package static let name = "safetensors"
  package static let signs =
    "a .safetensors file, or a folder with *.safetensors files or a *.safetensors.index.json"

  private static let fileSuffix = ".safetensors"
  /// The name that PEFT gives the tensors of an adapter.
  private static let adapterName = "adapter_model.safetensors"

  package static func recognises(_ candidate: CheckpointCandidate) -> Bool {
    switch candidate.content {
    case .folder(let entries):
      return entries.contains { isIndex($0) || isTensorFile($0) }
    case .file(let source, let head):
      if candidate.name.hasSuffix(fileSuffix) || candidate.name.hasSuffix(SafetensorsIndex.nameSuffix) {
        return true
      }
      // Hubs keep files under names that are digests, so that the bytes have to tell.
      guard head.count > SafetensorsHeader.lengthFieldByteCount,
        head[SafetensorsHeader.lengthFieldByteCount] == UInt8(ascii: "{")
      else { return false }
      let limits = Limits()
      return
        (try? SafetensorsHeader.jsonByteCount(
          head: head, file: "", fileByteCount: source.byteCount, limits: limits)) != nil
    }
  }

  package static func open(
    _ candidate: CheckpointCandidate, options: OpenOptions
  ) async throws(GraftError) -> Catalog {
    for (part, value) in [("step", options.step), ("part", options.checkpointable)] {
      guard let value else { continue }
      throw GraftError(
        .invalidArgument, "a safetensors checkpoint has no \(part)s to choose from", file: candidate.path,
        found: "a request for the \(part) \(TreePath.printable(value))", remedy: "leave the \(part) out")
    }
    let naming: SafetensorsNaming = options.keepsNamesWhole ? .whole : .nested
    var catalog = try await catalog(of: candidate, naming: naming, options: options)
    if let configuration = try await adapterConfiguration(beside: candidate, limits: options.limits) {
      // Not the user's metadata: what the adapter becomes a part of is none any more.
      catalog.metadata.removeAll { Key($0.key) == Key(LoRAConfiguration.fileName) }
      catalog.metadata.append((key: LoRAConfiguration.fileName, value: configuration))
    }
    return catalog
  }

  private static func catalog(
    of candidate: CheckpointCandidate, naming: SafetensorsNaming, options: OpenOptions
  ) async throws(GraftError) -> Catalog {
    switch candidate.content {
    case .file(let source, _):
      guard candidate.name.hasSuffix(SafetensorsIndex.nameSuffix) else {
        return try await SafetensorsReader.catalog(of: source, naming: naming, limits: options.limits)
      }
      let folder = String(candidate.path.dropLast(candidate.name.count))
      return try await open(index: source, in: folder, naming: naming, limits: options.limits)
    case .folder(let entries):
      let indices = entries.filter(isIndex)
      if indices.count > 1 { throw ambiguous(indices, in: candidate.path) }
      if let index = indices.first {
        let source = try await FileByteSource(opening: Directory.path(of: index.name, in: candidate.path))
        return try await open(index: source, in: candidate.path, naming: naming, limits: options.limits)
      }
      let tensorFiles = entries.filter(isTensorFile)
      for file in tensorFiles where !file.isNameExact { throw unnameable(file, in: candidate.path) }
      let names = tensorFiles.map(\.name)
      try checkComplete(names, in: candidate.path)
      let files = try await SafetensorsReader.open(
        names.map { Directory.path(of: $0, in: candidate.path) }, naming: naming, limits: options.limits)
      return try SafetensorsReader.catalog(of: files, naming: naming, limits: options.limits)
    }
  }

  /// The text of the configuration that PEFT writes beside the tensors of an adapter; nil where there is none.
  private static func adapterConfiguration(
    beside candidate: CheckpointCandidate, limits: Limits
  ) async throws(GraftError) -> String? {
    let path: String
    switch candidate.content {
    case .folder(let entries):
      let names = Set(entries.lazy.filter(isVisibleFile).map(\.name))
      guard names.contains(adapterName), names.contains(LoRAConfiguration.fileName) else { return nil }
      path = Directory.path(of: LoRAConfiguration.fileName, in: candidate.path)
    case .file:
      guard candidate.name == adapterName else { return nil }
      path = candidate.path.dropLast(adapterName.count) + LoRAConfiguration.fileName
      let isPresent = try await BlockingThreads.shared.run { () throws(GraftError) in
        try FileStatus.ifPresent(at: path) != nil
      }
      guard isPresent else { return nil }
    }
    let source = try await FileByteSource(opening: path)
    guard source.byteCount <= limits.metadataByteCount else {
      throw GraftError(
        .limitExceeded, "the configuration of the adapter is longer than is allowed", file: path,
        expected: "at most \(limits.metadataByteCount) bytes", found: "\(source.byteCount) bytes")
    }
    let bytes = try await source.read(ByteRange(offset: 0, count: source.byteCount))
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw GraftError(.corrupt, "the configuration of the adapter is no text in UTF-8", file: path)
    }
    return text
  }

  private static func isIndex(_ entry: DirectoryEntry) -> Bool {
    isVisibleFile(entry) && entry.name.hasSuffix(SafetensorsIndex.nameSuffix)
  }

  private static func isTensorFile(_ entry: DirectoryEntry) -> Bool {
    isVisibleFile(entry) && entry.name.hasSuffix(fileSuffix)
  }

  /// Whether a name is to be looked at: writers in progress and file managers keep hidden files.
  ///
  /// What is no file in the end (a FIFO, a link that leads nowhere) but is named as one is an error when it is opened, not
  /// passed over.
  private static func isVisibleFile(_ entry: DirectoryEntry) -> Bool {
    !entry.name.hasPrefix(".") && entry.kind != .directory
  }

  private static func unnameable(_ file: DirectoryEntry, in folder: String) -> GraftError {
    GraftError(
      .unsupported, "the name of a file is not UTF-8, so that it cannot be opened by it", file: folder,
      found: TreePath.printable(file.name), remedy: "rename the file")
  }

  private static func ambiguous(_ indices: [DirectoryEntry], in folder: String) -> GraftError {
    GraftError(
      .notACheckpoint, "the folder has several indices, and only one can be meant", file: folder,
      found: indices.prefix(6).map { TreePath.printable($0.name) }.joined(separator: ", "),
      remedy: "name the index itself instead of the folder")
  }
}

// MARK: - Several files

extension SafetensorsFormat {
  /// The catalog of an index and the files beside it, checked against each other.
  private static func open(
    index source: any ByteSource, in folder: String, naming: SafetensorsNaming, limits: Limits
  ) async throws(GraftError) -> Catalog {
    guard source.byteCount <= limits.metadataByteCount else {
      throw GraftError(
        .limitExceeded, "the index is longer than is allowed", file: source.name,
        expected: "at most \(limits.metadataByteCount) bytes", found: "\(source.byteCount) bytes",
        remedy: "raise Limits.metadataByteCount if the checkpoint is trusted")
    }
    let bytes = try await source.read(ByteRange(offset: 0, count: source.byteCount))
    let index = try SafetensorsIndex(parsing: bytes.span, file: source.name, limits: limits)
    let paths = index.shards.map { Directory.path(of: $0, in: folder) }
    try await checkPresent(paths, index: source.name)
    let files = try await SafetensorsReader.open(paths, naming: naming, limits: limits)
    try check(files, against: index, named: source.name, naming: naming)
    return try SafetensorsReader.catalog(of: files, naming: naming, limits: limits, metadata: index.metadata)
  }

  /// Fails when files that the index names are not there, naming all of them.
  private static func checkPresent(_ paths: [String], index: String) async throws(GraftError) {
    let absent = try await BlockingThreads.shared.run { () throws(GraftError) in
      var absent: [String] = []
      for path in paths where try FileStatus.ifPresent(at: path) == nil { absent.append(path) }
      return absent
    }
    guard !absent.isEmpty else { return }
    throw Faults.joined(absent) { path in
      GraftError(
        .notFound, "a file that the index \(TreePath.printable(index)) names is not there", file: path,
        remedy: "the checkpoint is incomplete: copy or download the file")
    }
  }

  /// Fails when files that number themselves are not all there, naming those that are absent.
  private static func checkComplete(_ names: [String], in folder: String) throws(GraftError) {
    var seen: [ShardName.Series: Set<Int>] = [:]
    for name in names {
      if let shard = ShardName(parsing: name) { seen[shard.series, default: []].insert(shard.number) }
    }
    for series in seen.keys.sorted(by: { $0.prefix < $1.prefix }) {
      let numbers = seen[series] ?? []
      // The count comes from a name, so that it is compared and not counted up to.
      guard numbers.count < series.count else { continue }
      let absent = (1...series.count).lazy.filter { !numbers.contains($0) }.prefix(Faults.limit)
      throw Faults.joined(absent.map { $0 }, total: series.count - numbers.count) { number in
        GraftError(
          .notFound, "one of \(series.count) numbered files is not there",
          file: Directory.path(of: ShardName(series: series, number: number).text, in: folder),
          remedy: "the checkpoint is incomplete: copy or download the file, or open a file by itself")
      }
    }
  }

  /// Fails when a tensor is not in the file that the index says, or is in a file and not in the index.
  private static func check(
    _ files: [SafetensorsFile], against index: SafetensorsIndex,
    named indexName: String, naming: SafetensorsNaming
  ) throws(GraftError) {
    var ordinals: [Key: Int] = [:]
    ordinals.reserveCapacity(index.tensors.count)
    for (ordinal, tensor) in index.tensors.enumerated() { ordinals[Key(tensor.name)] = ordinal }

    var isFound = [Bool](repeating: false, count: index.tensors.count)
    var unlisted: [(name: String, shard: Int, listed: Int?)] = []
    for (shard, file) in files.enumerated() {
      for tensor in file.header.tensors {
        if let ordinal = ordinals[Key(tensor.name)], index.tensors[ordinal].shard == shard {
          isFound[ordinal] = true
        } else {
          unlisted.append(
            (
              name: tensor.name, shard: shard,
              listed: ordinals[Key(tensor.name)].map { index.tensors[$0].shard }
            ))
        }
      }
    }
    let absent = isFound.indices.filter { !isFound[$0] }
    if !absent.isEmpty {
      throw Faults.joined(absent) { ordinal in
        let tensor = index.tensors[ordinal]
        return GraftError(
          .corrupt,
          "the index lists the tensor \(SafetensorsFaults.quoted(tensor.name)), and its file lacks it",
          leaf: naming.path(of: tensor.name), file: files[tensor.shard].file.path,
          remedy: "the index \(TreePath.printable(indexName)) and its files are not of one checkpoint")
      }
    }
    if !unlisted.isEmpty {
      throw Faults.joined(unlisted) { tensor in
        GraftError(
          .corrupt,
          "the tensor \(SafetensorsFaults.quoted(tensor.name)) is in a file where the index does not list it",
          leaf: naming.path(of: tensor.name), file: files[tensor.shard].file.path,
          expected: tensor.listed.map { "it in \(TreePath.printable(index.shards[$0])) alone" },
          remedy: "the index \(TreePath.printable(indexName)) and its files are not of one checkpoint")
      }
    }
  }

  /// Many failures of one kind as one error.
  private enum Faults {
    /// How many failures an error carries.
    static let limit = 100

    static func joined<Item>(_ items: [Item], total: Int? = nil, _ fault: (Item) -> GraftError) -> GraftError
    {
      var faults = items.prefix(limit).map(fault)
      var first = faults.removeFirst()
      let total = total ?? items.count
      if total > 1 { first.message += " (the first of \(total))" }
      first.others = faults
      return first
    }
  }
}

/// The name of one of several files, `model-00002-of-00005.safetensors`.
struct ShardName: Hashable {
  /// What the names of one checkpoint's files have in common.
  struct Series: Hashable {
    var prefix: String
    var count: Int
  }

  var series: Series
  /// The number, from 1 to the count.
  var number: Int

  init(series: Series, number: Int) {
    self.series = series
    self.number = number
  }

  /// Nil when the name is no such name.
  init?(parsing name: String) {
    let suffix = ".safetensors"
    guard name.hasSuffix(suffix) else { return nil }
    let parts = name.dropLast(suffix.count).split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count >= 4, parts[parts.count - 2] == "of",
      let number = Self.number(parts[parts.count - 3]), let count = Self.number(parts[parts.count - 1]),
      number >= 1, number <= count
    else { return nil }
    series = Series(prefix: parts.dropLast(3).joined(separator: "-"), count: count)
    self.number = number
  }

  /// The name of the file.
  var text: String {
    "\(series.prefix)-\(Self.padded(number))-of-\(Self.padded(series.count)).safetensors"
  }

  private static func padded(_ number: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: Swift.max(0, 5 - digits.count)) + digits
  }

  /// Five digits, or more without a zero in front, as writers pad them.
  private static func number(_ text: Substring) -> Int? {
    guard (5...9).contains(text.utf8.count), text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else {
      return nil
    }
    return text.utf8.count == 5 || !text.hasPrefix("0") ? Int(text) : nil
  }
}
