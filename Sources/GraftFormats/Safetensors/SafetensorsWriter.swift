package import GraftCore
import GraftIO
import Synchronization

/// Writes a safetensors file, or a folder of them with its index; ``SafetensorsPlan`` says where which bytes go.
package final class SafetensorsWriter: CheckpointWriter {
  /// How the checkpoint is to be written.
  package struct Options: Sendable {
    /// How leaves are spread over files: one file at the path itself, or files in a folder there.
    package var division = SafetensorsPlan.Division.single
    /// How paths become names.
    package var naming = SafetensorsNaming.nested
    /// What goes into `__metadata__` of every file.
    package var metadata: [(key: String, value: String)] = []
    /// Whether what is at the path is replaced; a folder only when it holds nothing but safetensors files.
    package var isOverwriting = false
    /// The limits that the checkpoint must keep to be read again.
    package var limits = Limits()

    /// One file with nested names, no metadata, that replaces nothing.
    package init() {}
  }

  private enum Staged {
    case file(AtomicFile)
    case folder(AtomicDirectory)
  }

  private enum Phase { case writing, finished, abandoned }

  private struct State {
    var written: WrittenBytes
    /// For each file, how much was written since it was last sent to the disk.
    var unsentByteCounts: [Int]
    var phase = Phase.writing
  }

  /// Where every leaf goes; the headers, once written, are no longer in it.
  package let plan: SafetensorsPlan

  /// How many bytes are gathered before they are sent to the disk.
  private static let sentByteCount = 32 << 20

  private let path: String
  private let leafPaths: [TreePath]
  private let staged: Staged
  private let files: [WritableFile]
  private let state: Mutex<State>

  /// What is written in one go by those who have it in one piece; nothing here depends on it.
  package var preferredChunkByteCount: Int { 4 << 20 }

  package var storedByteCount: Int { plan.places.reduce(0) { $0 + $1.range.count } }

  /// Begins a checkpoint: takes a temporary name, reserves the space on the disk and writes the headers; blocks.
  ///
  /// - Throws: what ``SafetensorsPlan`` throws, before anything is made; `destinationExists`, `notFound`,
  ///   `permissionDenied`, `noSpace`.
  package init(
    at path: String, leaves: [(path: TreePath, spec: LeafSpec)], options: Options = Options()
  ) throws(GraftError) {
    var plan: SafetensorsPlan
    do throws(GraftError) {
      plan = try SafetensorsPlan(
        leaves, division: options.division, naming: options.naming, metadata: options.metadata,
        limits: options.limits)
    } catch {
      var error = error
      error.file = error.file ?? path
      throw error
    }
    switch options.division {
    case .single:
      let file = try AtomicFile(
        at: path, overwriting: options.isOverwriting, byteCount: plan.files[0].byteCount)
      staged = .file(file)
      files = [file.file]
    case .shards:
      if options.isOverwriting { try Self.checkReplaceable(path) }
      let folder = try AtomicDirectory(at: path, overwriting: options.isOverwriting)
      var files: [WritableFile] = []
      for file in plan.files { files.append(try folder.createFile(file.name, byteCount: file.byteCount)) }
      if let index = plan.index {
        try folder.createFile(SafetensorsPlan.indexName, byteCount: index.count).write(
          unsafe index.span.bytes, at: 0)
      }
      staged = .folder(folder)
      self.files = files
    }
    self.path = path
    leafPaths = leaves.map(\.path)
    state = Mutex(
      State(
        written: WrittenBytes(byteCounts: plan.places.map(\.range.count)),
        unsentByteCounts: [Int](repeating: 0, count: files.count)))
    for (file, planned) in zip(files, plan.files) { try file.write(unsafe planned.head.span.bytes, at: 0) }
    plan.forgetHeads()
    self.plan = plan
  }

  /// Begins a checkpoint as the initialiser does, on a thread that may block.
  package static func begin(
    at path: String, leaves: [(path: TreePath, spec: LeafSpec)], options: Options = Options()
  ) async throws(GraftError) -> SafetensorsWriter {
    try await BlockingThreads.shared.run { () throws(GraftError) in
      try SafetensorsWriter(at: path, leaves: leaves, options: options)
    }
  }

  package func write(_ bytes: UnsafeRawBufferPointer, leaf: Int, byteOffset: Int) throws(GraftError) {
    guard plan.places.indices.contains(leaf) else {
      throw GraftError(
        .invalidArgument, "there is no leaf of this index", file: path,
        expected: "less than \(plan.places.count)",
        found: "\(leaf)")
    }
    let place = plan.places[leaf]
    guard byteOffset >= 0, byteOffset <= place.range.count, bytes.count <= place.range.count - byteOffset
    else {
      throw GraftError(
        .invalidArgument, "bytes are written past the end of the leaf", leaf: leafPaths[leaf], file: path,
        expected: "\(place.range.count) bytes", found: "\(bytes.count) bytes from \(byteOffset)")
    }
    guard state.withLock({ $0.phase == .writing }) else {
      throw GraftError(
        .invalidArgument, "the checkpoint is finished or abandoned", leaf: leafPaths[leaf], file: path)
    }
    // The bytes are the caller's, who keeps them for the length of this call.
    try unsafe files[place.file].write(bytes, at: place.range.offset + byteOffset)
    let range = byteOffset..<(byteOffset + bytes.count)
    let isSent = state.withLock { state in
      state.written.insert(range, leaf: leaf)
      state.unsentByteCounts[place.file] += range.count
      guard state.unsentByteCounts[place.file] >= Self.sentByteCount else { return false }
      state.unsentByteCounts[place.file] = 0
      return true
    }
    // What was written is brought to the disk while more is read and computed, which leaves little for the last flush.
    if isSent {
      files[place.file].startFlushing(ByteRange(offset: 0, count: plan.files[place.file].byteCount))
    }
  }

  package func finish() async throws(GraftError) {
    let missing = state.withLock { $0.phase == .writing ? $0.written.missing : [] }
    guard missing.isEmpty else { throw incomplete(missing) }
    try await BlockingThreads.shared.run { () throws(GraftError) in
      try self.state.withLock { (state) throws(GraftError) in
        guard state.phase == .writing else {
          throw GraftError(.invalidArgument, "the checkpoint is finished or abandoned", file: self.path)
        }
        switch self.staged {
        case .file(let file): try file.commit()
        case .folder(let folder): try folder.commit()
        }
        state.phase = .finished
      }
    }
  }

  package func abandon() {
    state.withLock { state in
      guard state.phase == .writing else { return }
      state.phase = .abandoned
      switch staged {
      case .file(let file): file.abandon()
      case .folder(let folder): folder.abandon()
      }
    }
  }

  private func incomplete(_ missing: [(leaf: Int, range: ByteRange)]) -> GraftError {
    let faults = missing.prefix(1 + GraftError.printedOthersLimit).map { leaf, range in
      GraftError(
        .truncated, "bytes of the leaf were never written", leaf: leafPaths[leaf], file: path,
        expected: "\(plan.places[leaf].range.count) bytes", found: "none of its \(range)")
    }
    var first = faults[0]
    if missing.count > 1 { first.message += " (the first of \(missing.count) leaves)" }
    first.others = Array(faults.dropFirst())
    return first
  }

  /// Fails when a folder that would be replaced, and so removed, holds anything but a safetensors checkpoint.
  private static func checkReplaceable(_ path: String) throws(GraftError) {
    guard let status = try FileStatus.ifPresent(at: path), status.kind == .directory else { return }
    let others = try Directory.entries(at: path).filter {
      $0.kind == .directory
        || !($0.name.hasSuffix(".safetensors") || $0.name.hasSuffix(SafetensorsIndex.nameSuffix)
          || $0.name == SealedFiles.nameInFolder)
    }
    guard !others.isEmpty else { return }
    let names = others.prefix(6).map { TreePath.printable($0.name) }.joined(separator: ", ")
    throw GraftError(
      .destinationExists,
      "the folder that would be replaced holds other things than a safetensors checkpoint",
      file: path, found: others.count > 6 ? "\(names) and \(others.count - 6) more" : names,
      remedy: "choose another destination, or move them away first")
  }
}
