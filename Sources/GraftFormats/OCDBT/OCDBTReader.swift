package import GraftCore
internal import GraftIO

/// Reads the newest version of an OCDBT database: which keys there are, and where their values lie.
///
/// The tree is read level by level, the nodes of a level in the order of files and offsets and several at once, no node twice.
package struct OCDBTReader: Sendable {
  private let folder: any SourceFolder
  private let limits: Limits
  /// The manifest with the versions.
  package let manifest: OCDBTManifest

  /// A key of the database and its value.
  package struct Entry: Hashable, Sendable {
    /// The whole key.
    package var key: [UInt8]
    /// The value.
    package var value: OCDBTValue

    package init(key: [UInt8], value: OCDBTValue) {
      self.key = key
      self.value = value
    }
  }

  /// How many groups of nodes are read and parsed at once.
  private static let concurrencyLimit = 8

  /// The most keys that a database may have, so that subtrees that occur over and over cannot multiply without end.
  package static let entryCountLimit = 1 << 24

  /// What a place takes beside its bytes: an object of the heap, and its share of a set.
  private static let placeOverheadByteCount = 64

  /// The most keys of nodes that take so many bytes in their files.
  ///
  /// Keys of real databases take four bytes and more, compressed, as the offsets and lengths of their values differ. A file that
  /// is made to decompress to as many as possible, or to be visited over and over, has thousands in a byte.
  package static func entryCountLimit(storedByteCount: Int) -> Int {
    min(entryCountLimit, 1 << 17 + entriesPerByte * min(storedByteCount, entryCountLimit))
  }
  /// The most keys that a byte of a node's file is believed to stand for, beyond those that any database may have.
  static let entriesPerByte = 4

  /// Opens the database in a folder.
  ///
  /// - Throws: `notFound` when there is no manifest, `corrupt` when it is damaged.
  package init(opening folder: any SourceFolder, limits: Limits = Limits()) async throws(GraftError) {
    self.folder = folder
    self.limits = limits
    guard let manifest = try await Self.manifest(OCDBTManifest.fileName, folder, limits) else {
      throw GraftError(
        .notFound, "there is no OCDBT database", file: folder.name,
        expected: "a file named \(OCDBTManifest.fileName)")
    }
    self.manifest =
      manifest.configuration.isNumbered ? try await Self.newest(folder, limits) : manifest
  }

  private static func manifest(
    _ name: String, _ folder: any SourceFolder, _ limits: Limits
  ) async throws(GraftError) -> OCDBTManifest? {
    guard let bytes = try await folder.metadata(at: name, limits: limits) else { return nil }
    do throws(OCDBTFailure) {
      return try OCDBTManifest(bytes, limits: limits)
    } catch {
      throw error.graftError(in: "the OCDBT manifest", file: folder.name(of: name))
    }
  }

  /// The newest of a numbered database's manifests.
  private static func newest(_ folder: any SourceFolder, _ limits: Limits) async throws(GraftError)
    -> OCDBTManifest
  {
    let prefix = "manifest."
    let numbered = try await folder.entries(in: "").map(\.name).filter { name in
      name.hasPrefix(prefix) && name.utf8.count == prefix.utf8.count + 16
        && name.utf8.dropFirst(prefix.utf8.count).allSatisfy {
          (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
            || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
        }
    }
    // The digits are as many in each, so the last in order is the highest.
    guard let name = numbered.max(), let manifest = try await manifest(name, folder, limits) else {
      throw GraftError(
        .corrupt, "the OCDBT database has no version", file: folder.name,
        expected: "a file named manifest. and sixteen hexadecimal digits",
        remedy: "the checkpoint is incomplete: copy or download it again")
    }
    guard !manifest.configuration.isNumbered else {
      throw OCDBTFailure(.isNumbered).graftError(in: "the OCDBT manifest", file: folder.name(of: name))
    }
    return manifest
  }

  /// All keys that begin with `prefix`, in order, with their values; values in files are not read.
  package func entries(withPrefix prefix: [UInt8] = []) async throws(GraftError) -> [Entry] {
    guard let version = manifest.newest, let root = version.root else { return [] }
    var nodes: [OCDBTReference: OCDBTNode] = [:]
    var level: Set<OCDBTReference> = [root]
    // Where each node of the level stands: several places where a subtree occurs more than once.
    var places: [OCDBTReference: Set<[UInt8]>] = [root: [[]]]
    var height = version.rootHeight
    var placeByteCount = 0
    while true {
      try await read(level, height: height, into: &nodes)
      if height == 0 { break }
      var below: [OCDBTReference: Set<[UInt8]>] = [:]
      for (reference, paths) in places {
        guard case .children(let children)? = nodes[reference]?.content else { continue }
        for path in paths {
          for (index, child) in children.enumerated() {
            let next = index + 1 < children.count ? path + children[index + 1].key : nil
            guard Self.mayHold(prefix, from: path + child.key, upTo: next) else { continue }
            let place = path + child.key.prefix(child.prefixByteCount)
            if below[child.node, default: []].insert(place).inserted {
              placeByteCount += place.count + Self.placeOverheadByteCount
            }
          }
          guard placeByteCount <= limits.metadataByteCount else { throw tooMany() }
        }
      }
      places = below
      level = Set(below.keys)
      height -= 1
    }
    let storedByteCount = nodes.keys.reduce(0) { $0 + $1.range.count }
    var collector = Collector(
      nodes: nodes, prefix: prefix, byteCountLimit: limits.metadataByteCount,
      entryCountLimit: Self.entryCountLimit(storedByteCount: storedByteCount))
    do throws(Collector.Failure) {
      try collector.visit(root, path: [], lowest: [], isLast: true, next: [])
    } catch {
      switch error {
      case .tooMany: throw tooMany()
      case .node(let failure, let reference):
        throw failure.graftError(
          in: "a node of the OCDBT database", file: folder.name(of: reference.file.path),
          range: reference.range)
      }
    }
    return collector.entries
  }

  /// Whether keys from `lowest` up to (not including) `next` can begin with `prefix`.
  private static func mayHold(_ prefix: [UInt8], from lowest: [UInt8], upTo next: [UInt8]?) -> Bool {
    if let next, !prefix.precedes(next) { return false }
    return lowest.hasPrefix(prefix) || lowest.precedes(prefix)
  }

  private func tooMany() -> GraftError {
    GraftError(
      .limitExceeded, "the OCDBT database has too many keys", file: folder.name,
      expected:
        "at most \(limits.metadataByteCount) bytes of keys, four keys in a byte of the file and \(Self.entryCountLimit) in all",
      remedy: "raise Limits.metadataByteCount if the checkpoint is trusted")
  }

  // MARK: Reading nodes

  private func read(
    _ references: Set<OCDBTReference>, height: Int, into nodes: inout [OCDBTReference: OCDBTNode]
  ) async throws(GraftError) {
    let wanted = references.filter { nodes[$0] == nil }.sorted {
      ($0.file.path, $0.range.offset, $0.range.count) < ($1.file.path, $1.range.offset, $1.range.count)
    }
    // Consecutive nodes of one file share its opening; a few groups keep all threads at work.
    let size = max(1, (wanted.count + 4 * Self.concurrencyLimit - 1) / (4 * Self.concurrencyLimit))
    let groups = stride(from: 0, to: wanted.count, by: size).map { wanted[$0..<min(wanted.count, $0 + size)] }
    let failure: GraftError? = await withTaskGroup(
      of: Result<[(OCDBTReference, OCDBTNode)], GraftError>.self
    ) { group in
      var byteCount = nodes.values.reduce(0) { $0 + $1.contentByteCount }
      var entryCount = nodes.values.reduce(0) { $0 + $1.count }
      var storedByteCount = nodes.keys.reduce(0) { $0 + $1.range.count }
      var pending = groups.makeIterator()
      for _ in 0..<Self.concurrencyLimit {
        guard let references = pending.next() else { break }
        group.addTask { await self.read(references, height: height) }
      }
      while let result = await group.next() {
        switch result {
        case .success(let parsed):
          for (reference, node) in parsed {
            nodes[reference] = node
            byteCount += node.contentByteCount
            entryCount += node.count
            storedByteCount += reference.range.count
          }
          guard byteCount <= limits.metadataByteCount,
            entryCount <= Self.entryCountLimit(storedByteCount: storedByteCount)
          else {
            group.cancelAll()
            return tooMany()
          }
        case .failure(let error):
          group.cancelAll()
          return error
        }
        if let references = pending.next() { group.addTask { await self.read(references, height: height) } }
      }
      return nil
    }
    if let failure { throw failure }
  }

  private func read(
    _ references: ArraySlice<OCDBTReference>, height: Int
  ) async -> Result<[(OCDBTReference, OCDBTNode)], GraftError> {
    var result: [(OCDBTReference, OCDBTNode)] = []
    var byteCount = 0
    var entryCount = 0
    var storedByteCount = 0
    var source: (path: String, source: any ByteSource)?
    do throws(GraftError) {
      for reference in references {
        if source?.path != reference.file.path {
          source = (reference.file.path, try await folder.source(at: reference.file.path))
        }
        guard let source = source?.source else { break }
        guard reference.range.count <= limits.metadataByteCount else {
          throw GraftError(
            .limitExceeded, "a node of the OCDBT database is too large", file: source.name,
            range: reference.range,
            expected: "at most \(limits.metadataByteCount) bytes",
            remedy: "raise Limits.metadataByteCount if the checkpoint is trusted")
        }
        let bytes = try await source.read(reference.range)
        do throws(OCDBTFailure) {
          let node = try OCDBTNode(bytes, base: reference.file.base, height: height, limits: limits)
          byteCount += node.contentByteCount
          entryCount += node.count
          storedByteCount += reference.range.count
          result.append((reference, node))
        } catch {
          throw error.graftError(
            in: "a node of the OCDBT database", file: source.name, range: reference.range)
        }
        // A small file can hold many nodes that decompress to large ones.
        guard byteCount <= limits.metadataByteCount,
          entryCount <= Self.entryCountLimit(storedByteCount: storedByteCount)
        else { throw tooMany() }
      }
    } catch {
      return .failure(error)
    }
    return .success(result)
  }

  // MARK: Collecting entries

  /// Puts the entries of all nodes in order, and checks that they are in order across nodes too.
  private struct Collector {
    let nodes: [OCDBTReference: OCDBTNode]
    let prefix: [UInt8]
    let byteCountLimit: Int
    let entryCountLimit: Int
    var entries: [Entry] = []
    var byteCount = 0

    enum Failure: Error {
      case tooMany
      case node(OCDBTFailure, OCDBTReference)
    }

    // Recursion is as deep as the tree is high, which is one byte.
    mutating func visit(
      _ reference: OCDBTReference, path: [UInt8], lowest: [UInt8], isLast: Bool, next: [UInt8]
    ) throws(Failure) {
      // A node that cannot hold the prefix was not read.
      guard let node = nodes[reference] else { return }
      switch node.content {
      case .entries(let own):
        var previous = lowest
        var isFirst = true
        for entry in own {
          let key = path.isEmpty ? entry.key : path + entry.key
          let isInOrder = isFirst ? !key.precedes(previous) : previous.precedes(key)
          guard isInOrder else { throw .node(OCDBTFailure(isFirst ? .keyBelowParent : .keyOrder), reference) }
          guard isLast || key.precedes(next) else {
            throw .node(OCDBTFailure(.keyOrder), reference)
          }
          previous = key
          isFirst = false
          guard key.hasPrefix(prefix) else { continue }
          byteCount += key.count
          guard byteCount <= byteCountLimit, entries.count < entryCountLimit else {
            throw .tooMany
          }
          entries.append(Entry(key: key, value: entry.value))
        }
      case .children(let children):
        if let first = children.first, (path + first.key).precedes(lowest) {
          throw .node(OCDBTFailure(.keyBelowParent), reference)
        }
        for (index, child) in children.enumerated() {
          let isLastChild = index + 1 == children.count
          try visit(
            child.node, path: path + child.key.prefix(child.prefixByteCount), lowest: path + child.key,
            isLast: isLast && isLastChild, next: isLastChild ? next : path + children[index + 1].key)
        }
      }
    }
  }
}
