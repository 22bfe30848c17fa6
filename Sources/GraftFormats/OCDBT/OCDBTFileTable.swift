package import GraftCore

/// A data file of a database, as a node or manifest names it.
package struct OCDBTFile: Hashable, Sendable {
  /// What comes before the paths of the files that a node in this file names: empty, or the folder of another database.
  package var base: String
  /// The whole path, relative to the database.
  package var path: String

  /// A file of this path, relative to the database; nodes in it name files relative to the database too.
  package init(path: String) { self.init(base: "", path: path) }

  init(base: String, path: String) {
    self.base = base
    self.path = path
  }
}

/// Bytes of a data file: a node, or a value.
package struct OCDBTReference: Hashable, Sendable {
  /// The file.
  package var file: OCDBTFile
  /// The bytes.
  package var range: ByteRange

  package init(file: OCDBTFile, range: ByteRange) {
    self.file = file
    self.range = range
  }
}

/// The files that a manifest or node refers to by index.
///
///     count │ prefix lengths (count - 1) │ suffix lengths │ base path lengths │ suffixes
///
/// A path is the prefix that it shares with the path before it, and its suffix; its first bytes are the base path.
struct OCDBTFileTable {
  var files: [OCDBTFile] = []

  /// - Parameter base: the base path of the file that the table was read from.
  @_lifetime(reader: copy reader)
  init(_ reader: inout OCDBTByteReader, base: String, byteCountLimit: Int) throws(OCDBTFailure) {
    let count = try reader.count("data files", limit: 1 << 20, minimumByteCount: 2)
    var prefixes = [0]
    prefixes.reserveCapacity(count)
    for _ in 1..<max(count, 1) { prefixes.append(try reader.length("the prefix of a path")) }
    var suffixes: [Int] = []
    suffixes.reserveCapacity(count)
    for _ in 0..<count { suffixes.append(try reader.length("the suffix of a path")) }
    var bases: [Int] = []
    bases.reserveCapacity(count)
    for _ in 0..<count { bases.append(try reader.length("the base of a path")) }

    files.reserveCapacity(count)
    var path: [UInt8] = []
    var previousBase = 0
    var total = 0
    for index in 0..<count {
      let start = reader.offset
      let (prefix, length) = (prefixes[index], prefixes[index] + suffixes[index])
      guard base.utf8.count + length <= 0xFFFF else {
        throw OCDBTFailure(.pathTooLong(base.utf8.count + length), at: start)
      }
      guard bases[index] <= length else {
        throw OCDBTFailure(.basePathTooLong(bases[index], pathByteCount: length), at: start)
      }
      guard prefix <= path.count else {
        throw OCDBTFailure(.prefixTooLong(prefix, previous: path.count), at: start)
      }
      guard bases[index] == previousBase || prefix <= min(bases[index], previousBase) else {
        throw OCDBTFailure(.prefixCrossesBasePath, at: start)
      }
      // Shared prefixes could make a small table a large one.
      total += base.utf8.count + length
      guard total <= byteCountLimit else {
        throw OCDBTFailure(
          .tooMany("bytes of paths", claimed: UInt64(total), limit: byteCountLimit), at: start)
      }
      path.removeLast(path.count - prefix)
      try reader.append(suffixes[index], of: "a path", to: &path)
      guard let whole = String(validating: path, as: UTF8.self),
        let own = String(validating: path.prefix(bases[index]), as: UTF8.self)
      else { throw OCDBTFailure(.pathIsNotUTF8, at: start) }
      let file = OCDBTFile(base: base + own, path: base + whole)
      // A version without keys refers to a file without a name, and reads nothing of it.
      guard file.path.isEmpty || Self.staysInside(file.path) else {
        throw OCDBTFailure(.pathLeavesDatabase(file.path), at: start)
      }
      files.append(file)
      previousBase = bases[index]
    }
  }

  /// Whether a path names something below the folder that it is relative to.
  static func staysInside(_ path: String) -> Bool {
    guard !path.isEmpty, path.utf8.first != UInt8(ascii: "/"), !path.utf8.contains(0) else { return false }
    return !path.utf8.split(separator: UInt8(ascii: "/")).contains { $0.elementsEqual("..".utf8) }
  }

  @_lifetime(reader: copy reader)
  func file(_ reader: inout OCDBTByteReader) throws(OCDBTFailure) -> OCDBTFile {
    let start = reader.offset
    let index = try reader.varint("the index of a data file")
    return try self.file(index, at: start)
  }

  private func file(_ index: UInt64, at place: Int) throws(OCDBTFailure) -> OCDBTFile {
    guard index < UInt64(files.count) else {
      throw OCDBTFailure(.fileIndex(index, count: files.count), at: place)
    }
    let file = files[Int(index)]
    guard !file.path.isEmpty else { throw OCDBTFailure(.emptyPath, at: place) }
    return file
  }

  /// The columns file, offset and length of `count` references; nil where `allowsMissing` and both are all ones.
  @_lifetime(reader: copy reader)
  func references(
    _ reader: inout OCDBTByteReader, count: Int, allowsMissing: Bool = false
  ) throws(OCDBTFailure) -> [OCDBTReference?] {
    // A missing root names no file of the table, so its index is looked up last.
    let start = reader.offset
    var indices: [UInt64] = []
    for _ in 0..<count { indices.append(try reader.varint("the index of a data file")) }
    var offsets: [UInt64] = []
    for _ in 0..<count { offsets.append(try reader.varint("the offset of a reference")) }
    var result: [OCDBTReference?] = []
    for index in 0..<count {
      let length = try reader.varint("the length of a reference")
      if allowsMissing && offsets[index] == .max && length == .max {
        result.append(nil)
        continue
      }
      let file = try file(indices[index], at: start)
      result.append(OCDBTReference(file: file, range: try Self.range(offsets[index], length, at: start)))
    }
    return result
  }

  static func range(_ offset: UInt64, _ count: UInt64, at place: Int) throws(OCDBTFailure) -> ByteRange {
    guard let offset = Int(exactly: offset), let count = Int(exactly: count),
      let range = ByteRange(checkedOffset: offset, count: count)
    else { throw OCDBTFailure(.range(offset: offset, count: count), at: place) }
    return range
  }
}
