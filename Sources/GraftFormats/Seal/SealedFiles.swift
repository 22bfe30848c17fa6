package import GraftCore
internal import GraftIO

/// Where a checkpoint's seal is, and which files it seals.
package struct SealedFiles: Sendable {
  /// The seal's path.
  package let sealPath: String
  /// The folder that names in the seal start from.
  package let folder: String

  private let catalog: Catalog
  private let isFolder: Bool

  /// The name of a folder's seal.
  package static let nameInFolder = "graft-seal.json"
  /// What the name of a file's seal ends in.
  package static let nameSuffix = ".graft-seal"

  /// The sealing of an opened checkpoint; blocks the calling thread.
  package init(_ catalog: Catalog) throws(GraftError) {
    self.catalog = catalog
    isFolder = try FileStatus(at: catalog.location).kind == .directory
    if isFolder {
      folder = catalog.location
      sealPath = Directory.path(of: Self.nameInFolder, in: folder)
    } else {
      let parts = catalog.location.split(separator: "/", omittingEmptySubsequences: false)
      folder = parts.dropLast().joined(separator: "/") + (parts.count > 1 ? "/" : "")
      sealPath = catalog.location + Self.nameSuffix
    }
  }

  /// The seal that is there, nil when there is none; blocks the calling thread.
  ///
  /// - Throws: as ``Seal/init(parsing:file:limits:)``, and what reading throws.
  package func seal(limits: Limits) throws(GraftError) -> Seal? {
    let file: File
    do throws(GraftError) {
      file = try File(opening: sealPath)
    } catch  where error.code == .notFound {
      return nil
    }
    guard file.byteCount <= limits.metadataByteCount else {
      throw GraftError(
        .limitExceeded, "the seal is too large", file: sealPath,
        expected: "at most \(limits.metadataByteCount) bytes", found: "\(file.byteCount)",
        remedy: "raise Limits.metadataByteCount if the checkpoint is trusted")
    }
    let seal = try Seal(
      parsing: file.readFully(ByteRange(offset: 0, count: file.byteCount)), file: sealPath, limits: limits)
    guard isFolder || seal.files.map(\.name) == [fileName] else {
      throw GraftError(
        .corrupt, "the seal is of other files", file: sealPath, expected: TreePath.printable(fileName),
        found: seal.files.map { TreePath.printable($0.name) }.joined(separator: ", "),
        remedy: "remove it and seal the file again")
    }
    return seal
  }

  /// The name of a checkpoint that is one file.
  private var fileName: String {
    catalog.location.split(separator: "/").last.map(String.init) ?? catalog.location
  }

  /// The path of a sealed file.
  package func path(of name: String) -> String {
    folder.isEmpty ? name : Directory.path(of: name, in: folder)
  }

  /// The names of the files that are to be sealed; blocks the calling thread.
  package func names(limits: Limits) throws(GraftError) -> [String] {
    guard isFolder else { return [fileName] }
    var names: [String] = []
    if catalog.format == SafetensorsFormat.name {
      let own = Set(catalog.files.map { Key($0.path) })
      for entry in try Directory.entries(at: folder, maximumEntryCount: limits.fileCount)
      where own.contains(Key(path(of: entry.name))) || entry.name.hasSuffix(SafetensorsIndex.nameSuffix) {
        names.append(entry.name)
      }
      return names
    }
    try list("", depth: 0, limits: limits, &names)
    return names
  }

  private func list(
    _ below: String, depth: Int, limits: Limits, _ names: inout [String]
  ) throws(GraftError) {
    let folder = below.isEmpty ? folder : path(of: below)
    guard depth < limits.nestingDepth else {
      throw GraftError(
        .limitExceeded, "the folder is nested too deeply", file: folder,
        expected: "at most \(limits.nestingDepth) levels")
    }
    for entry in try Directory.entries(at: folder, maximumEntryCount: limits.fileCount)
    where entry.isNameExact && !entry.name.hasPrefix(".") && entry.name != Self.nameInFolder {
      let name = below.isEmpty ? entry.name : below + "/" + entry.name
      switch entry.kind {
      case .directory: try list(name, depth: depth + 1, limits: limits, &names)
      case .regular, .symbolicLink:
        guard names.count < limits.fileCount else {
          throw GraftError(
            .limitExceeded, "the checkpoint has too many files to seal", file: self.folder,
            expected: "at most \(limits.fileCount)")
        }
        names.append(name)
      default: continue
      }
    }
  }

  /// Writes a seal, which appears whole or not at all and replaces the one that is there; blocks the calling thread.
  package func write(_ seal: Seal) throws(GraftError) {
    let bytes = seal.encoded()
    let file = try AtomicFile(at: sealPath, overwriting: true, byteCount: bytes.count)
    // An array's bytes have no padding that could be read.
    try file.file.write(unsafe bytes.span.bytes, at: 0)
    try file.commit()
  }
}
