package import GraftCore
internal import GraftIO

/// An array of which each chunk or shard is a file of its own, named by its key.
package enum ZarrFolder {
  /// A chunk or shard that is there.
  package struct Stored: Hashable, Sendable {
    /// Its row-major number in the grid.
    package var number: Int
    /// Its file, relative to the folder that was asked.
    package var path: String
    /// The bytes of the file.
    package var byteCount: Int
  }

  /// The chunks or shards of an array that lies at `path` of a folder.
  package static func stored(
    _ array: ZarrArray, in folder: any SourceFolder, at path: String
  ) async throws(GraftError) -> [Stored] {
    let prefix = path.isEmpty ? "" : path + "/"
    var found: [(number: Int, path: String)] = []
    // Keys with slashes are folders in folders, one for each axis at most; only names that keys have are entered.
    var level = [""]
    for depth in 0...array.spec.rank + 1 {
      var below: [String] = []
      for parent in level {
        for entry in try await folder.entries(in: parent.isEmpty ? path : prefix + parent) {
          let key = parent.isEmpty ? entry.name : parent + "/" + entry.name
          if let number = array.index(ofKey: key.utf8) {
            found.append((number, prefix + key))
          } else if entry.kind != .regular,
            entry.name == "c" || entry.name.utf8.allSatisfy({ (48...57).contains($0) })
          {
            below.append(key)
          }
        }
      }
      level = below
      if level.isEmpty || depth > array.spec.rank { break }
    }
    let counts = try await folder.byteCounts(of: found.map(\.path))
    return zip(found, counts).compactMap { found, count in
      count.map { Stored(number: found.number, path: found.path, byteCount: $0) }
    }
  }
}
