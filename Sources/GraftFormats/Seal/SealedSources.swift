package import GraftCore

/// What the seals of checkpoints say of the files that they have chunks in, numbered through all of the checkpoints.
///
/// Whatever has these very files as parts has their digests with them.
package struct SealedSources: Sendable {
  /// The bytes of a block.
  private(set) var blockByteCount = Seal.defaultBlockByteCount
  private var files: [Int: Seal.File] = [:]
  private var fileCount = 0

  /// No checkpoints.
  package init() {}

  /// Adds a checkpoint's files, with what its seal says of them if it has one; blocks the calling thread.
  ///
  /// - Throws: as ``SealedFiles/seal(limits:)`` for a seal that cannot be read.
  package mutating func add(_ catalog: Catalog, limits: Limits) throws(GraftError) {
    let first = fileCount
    fileCount += catalog.files.count
    if catalog.files.isEmpty { return }
    let sealing = try SealedFiles(catalog)
    guard let seal = try sealing.seal(limits: limits) else { return }
    // A seal has blocks of one size. All that Graft writes have the same; what has another is left out.
    if files.isEmpty { blockByteCount = seal.blockByteCount }
    guard seal.blockByteCount == blockByteCount else { return }
    var sealed: [Key: Seal.File] = [:]
    for file in seal.files { sealed[Key(sealing.path(of: file.name))] = file }
    for (index, file) in catalog.files.enumerated() { files[first + index] = sealed[Key(file.path)] }
  }

  /// What is known of a file by its number.
  func file(_ number: Int) -> Seal.File? { files[number] }
}
