// All wording for what is wrong with an OCDBT database stands in this file, and OCDBTCorruptionTests pins it.

package import GraftCore

/// What is wrong with a manifest or node of an OCDBT database, and at which of its bytes.
package struct OCDBTFailure: Error, Hashable, Sendable {
  /// What is wrong.
  package var reason: Reason
  /// The offset in the manifest or node, or in what it decompresses to; nil where there is no one place.
  package var offset: Int?

  package init(_ reason: Reason, at offset: Int? = nil) {
    self.reason = reason
    self.offset = offset
  }

  /// The ways in which a manifest or node can be wrong.
  package enum Reason: Hashable, Sendable {
    case ends(inside: String)
    case magic(expected: UInt32, found: UInt32)
    case length(claimed: UInt64, found: Int)
    case checksum(expected: UInt32, found: UInt32)
    case version(UInt64)
    case compression(UInt64)
    case compressed(String)
    case number(String)
    case trailingBytes(Int)
    case manifestKind(UInt64)
    case isNumbered
    case arity(Int)
    case tooMany(String, claimed: UInt64, limit: Int)
    case noEntries(String)
    case generation(UInt64, after: UInt64)
    case height(expected: Int, found: Int)
    case heightOfEmptyRoot(Int)
    case pathTooLong(Int)
    case basePathTooLong(Int, pathByteCount: Int)
    case prefixTooLong(Int, previous: Int)
    case prefixCrossesBasePath
    case pathIsNotUTF8
    case emptyPath
    case pathLeavesDatabase(String)
    case fileIndex(UInt64, count: Int)
    case range(offset: UInt64, count: UInt64)
    case keyTooLong(Int)
    case keyOrder
    case keyBelowParent
    case subtreePrefixTooLong(Int, keyByteCount: Int)
    case valueKind(UInt64)
    case inlineValueTooLong(UInt64, limit: Int)
  }
}

extension OCDBTFailure.Reason: CustomStringConvertible {
  /// The reason as a clause.
  package var description: String {
    switch self {
    case .ends(let inside): "it ends inside \(inside)"
    case .magic(let expected, let found):
      "it begins with \(Self.hexadecimal(found)) instead of \(Self.hexadecimal(expected))"
    case .length(let claimed, let found): "it says that it has \(claimed) bytes, and has \(found)"
    case .checksum(let expected, let found):
      "its CRC-32C is \(Self.hexadecimal(found)) instead of \(Self.hexadecimal(expected))"
    case .version(let version): "its format version is \(version), and only 0 is known"
    case .compression(let method):
      "its compression method is \(method), and only 0 (none) and 1 (zstd) are known"
    case .compressed(let sentence): "its zstd data cannot be decoded: \(sentence)"
    case .number(let what): "\(what) is no number of at most 64 bits"
    case .trailingBytes(let count): "\(count) bytes follow its last field"
    case .manifestKind(let kind):
      "its manifest kind is \(kind), and only 0 (single) and 1 (numbered) are known"
    case .isNumbered: "it is a numbered manifest that points to numbered manifests"
    case .arity(let log2): "the logarithm of its version tree's arity is \(log2), outside 1...16"
    case .tooMany(let what, let claimed, let limit): "it claims \(claimed) \(what), more than \(limit)"
    case .noEntries(let what): "it has no \(what)"
    case .generation(let generation, let previous): "the generation \(generation) follows \(previous)"
    case .height(let expected, let found): "its height is \(found) instead of \(expected)"
    case .heightOfEmptyRoot(let height): "a version without keys claims a tree of height \(height)"
    case .pathTooLong(let count): "the path of a data file has \(count) bytes, more than 65535"
    case .basePathTooLong(let base, let path):
      "a base path of \(base) bytes is longer than its path of \(path)"
    case .prefixTooLong(let prefix, let previous):
      "a name shares \(prefix) bytes with the one before it, which has only \(previous)"
    case .prefixCrossesBasePath: "a path shares more with the one before it than their base paths allow"
    case .emptyPath: "it refers to a data file without a name"
    case .pathIsNotUTF8: "the path of a data file is not UTF-8"
    case .pathLeavesDatabase(let path):
      "the data file \(TreePath.printable(path)) lies outside of the database"
    case .fileIndex(let index, let count): "it refers to data file \(index) of \(count)"
    case .range(let offset, let count): "it refers to \(count) bytes at offset \(offset), which no file has"
    case .keyTooLong(let count): "a key has \(count) bytes, more than 65535"
    case .keyOrder: "its keys are not in strictly ascending order"
    case .keyBelowParent: "its first key is below the one that its parent gives"
    case .subtreePrefixTooLong(let prefix, let key):
      "the prefix of a subtree has \(prefix) bytes, its key only \(key)"
    case .valueKind(let kind): "a value is of kind \(kind), and only 0 (inline) and 1 (in a file) are known"
    case .inlineValueTooLong(let count, let limit): "an inline value has \(count) bytes, more than \(limit)"
    }
  }

  private static func hexadecimal(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: 8 - digits.utf8.count) + digits
  }
}

extension OCDBTFailure {
  /// The error as users see it.
  ///
  /// - Parameters:
  ///   - subject: what the bytes are, for example `the OCDBT manifest`.
  ///   - range: the bytes of the file that are the manifest or node.
  package func graftError(in subject: String, file: String, range: ByteRange? = nil) -> GraftError {
    let place = offset.map { " (at byte \($0) of it)" } ?? ""
    var error = GraftError(
      .corrupt, "\(subject) is not valid: \(reason)\(place)", file: file, range: range,
      remedy: "the checkpoint was damaged after it was written: copy or download it again")
    switch reason {
    case .version, .compression, .manifestKind:
      error.code = .unsupported
      error.remedy = "it was written by a newer TensorStore, or is damaged"
    case .tooMany:
      error.code = .limitExceeded
      error.remedy = nil
    case .pathLeavesDatabase:
      error.remedy = "do not trust this checkpoint"
    default: break
    }
    return error
  }
}
