import GraftCore
import GraftFormats
import Testing

/// One way in which bytes can be wrong, and the sentence for it.
struct Corruption: CustomStringConvertible, Sendable {
  let name: String
  let bytes: [UInt8]
  let sentence: String

  init(_ name: String, _ bytes: [UInt8], _ sentence: String) {
    self.name = name
    self.bytes = bytes
    self.sentence = sentence
  }

  var description: String { name }
}

private func node(_ build: (inout OCDBTBytes) -> Void) -> [UInt8] {
  var body = OCDBTBytes()
  build(&body)
  return OCDBTBytes.envelope(OCDBTBytes.nodeMagic, body.bytes)
}

private func manifest(_ build: (inout OCDBTBytes) -> Void) -> [UInt8] {
  var body = OCDBTBytes()
  build(&body)
  return OCDBTBytes.envelope(OCDBTBytes.manifestMagic, body.bytes)
}

/// A leaf whose file table is given, with one value in its first file.
private func table(_ paths: [OCDBTBytes.Path], file: UInt64 = 0, offset: UInt64 = 0, length: UInt64 = 1)
  -> [UInt8]
{
  node {
    $0.byte(0)
    $0.fileTable(paths)
    $0.varint(1)
    $0.varint(1)
    $0.raw([0x61])
    $0.varints([length, 1, file, offset])
  }
}

/// A leaf that claims a million entries, and three bytes for each of them, in some hundred bytes of zstd.
private var inflated: [UInt8] {
  var head = OCDBTBytes()
  head.raw([0, 0])
  head.varint(1 << 20)
  // The magic number, no size, a window of a mebibyte; then a block as it is, and blocks that are one byte over and over.
  var frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0, 0x50]
  func block(_ kind: Int, _ size: Int, _ content: [UInt8], isLast: Bool = false) {
    let header = size << 3 | kind << 1 | (isLast ? 1 : 0)
    frame += [UInt8(header & 0xFF), UInt8(header >> 8 & 0xFF), UInt8(header >> 16)] + content
  }
  block(0, head.bytes.count, head.bytes)
  for number in 0..<25 { block(1, 128 << 10, [0], isLast: number == 24) }
  return OCDBTBytes.envelope(OCDBTBytes.nodeMagic, compression: 1, frame)
}

struct OCDBTCorruptionTests {
  static let nodes: [Corruption] = [
    Corruption(
      "more entries than its bytes can pay for", inflated,
      "it claims 1048576 entries, more than 131600 (at byte 5 of it)"),
    Corruption("nothing", [], "it ends inside the magic number (at byte 0 of it)"),
    Corruption(
      "another magic", OCDBTBytes.envelope(0xDEAD_BEEF, []),
      "it begins with 0xdeadbeef instead of 0x0cdb20de (at byte 0 of it)"),
    Corruption(
      "a length that lies", OCDBTBytes.envelope(OCDBTBytes.nodeMagic, length: 1 << 62, [0]),
      "it says that it has 4611686018427387904 bytes, and has 19 (at byte 4 of it)"),
    Corruption(
      "a newer version", OCDBTBytes.envelope(OCDBTBytes.nodeMagic, version: 1, [0]),
      "its format version is 1, and only 0 is known (at byte 12 of it)"),
    Corruption(
      "an unknown compression", OCDBTBytes.envelope(OCDBTBytes.nodeMagic, compression: 2, [0]),
      "its compression method is 2, and only 0 (none) and 1 (zstd) are known (at byte 13 of it)"),
    Corruption(
      "zstd that is none", OCDBTBytes.envelope(OCDBTBytes.nodeMagic, compression: 1, [1, 2, 3, 4, 5]),
      "its zstd data cannot be decoded: The zstd data is damaged. Found Unknown frame descriptor. The file was damaged after it was written: copy or download it again."
    ),
    Corruption("no body", node { _ in }, "it ends inside the height of the node (at byte 0 of it)"),
    Corruption(
      "another height", OCDBTBytes.leaf([(0, "a")], height: 2),
      "its height is 2 instead of 0 (at byte 0 of it)"),
    Corruption(
      "no entries",
      node {
        $0.byte(0); $0.fileTable([]); $0.varint(0)
      }, "it has no entries (at byte 3 of it)"),
    Corruption(
      "more entries than a node may have", OCDBTBytes.leaf([(0, "a")], count: 1 << 21),
      "it claims 2097152 entries, more than 1048576 (at byte 2 of it)"),
    Corruption(
      "more entries than bytes", OCDBTBytes.leaf([(0, "a")], count: 1 << 20),
      "it ends inside the entries (at byte 2 of it)"),
    Corruption(
      "a number without end",
      node {
        $0.byte(0); $0.raw([UInt8](repeating: 0x80, count: 11))
      },
      "the number of data files is no number of at most 64 bits (at byte 1 of it)"),
    Corruption(
      "more files than bytes",
      node {
        $0.byte(0); $0.fileTable([], count: 1 << 20)
      },
      "it ends inside the data files (at byte 1 of it)"),
    Corruption(
      "keys out of order", OCDBTBytes.leaf([(0, "b"), (0, "a")]),
      "its keys are not in strictly ascending order (at byte 7 of it)"),
    Corruption(
      "a key twice", OCDBTBytes.leaf([(0, "a"), (1, "")]),
      "its keys are not in strictly ascending order (at byte 7 of it)"),
    Corruption(
      "a prefix of nothing", OCDBTBytes.leaf([(0, "a"), (9, "b")]),
      "a name shares 9 bytes with the one before it, which has only 1 (at byte 7 of it)"),
    Corruption(
      "an unknown kind of value", OCDBTBytes.leaf([(0, "a")], kind: 2),
      "a value is of kind 2, and only 0 (inline) and 1 (in a file) are known (at byte 6 of it)"),
    Corruption(
      "bytes after the end", OCDBTBytes.leaf([(0, "a")], extra: [1, 2]),
      "2 bytes follow its last field (at byte 8 of it)"),
    Corruption(
      "an inline value of a gigabyte",
      node {
        $0.byte(0); $0.fileTable([]); $0.varints([1, 1]); $0.raw([0x61]); $0.varints([1 << 30, 0])
      },
      "an inline value has 1073741824 bytes, more than 1048576 (at byte 10 of it)"),
    Corruption(
      "a value longer than the node",
      node {
        $0.byte(0); $0.fileTable([]); $0.varints([1, 1]); $0.raw([0x61]); $0.varints([1000, 0])
      },
      "it ends inside a value (at byte 8 of it)"),
    Corruption(
      "a file that is not in the table", table([(0, "d/0", 0)], file: 1),
      "it refers to data file 1 of 1 (at byte 12 of it)"),
    Corruption(
      "a range that overflows", table([(0, "d/0", 0)], offset: .max, length: 9),
      "it refers to 9 bytes at offset 18446744073709551615, which no file has (at byte 13 of it)"),
    Corruption(
      "a path upwards", table([(0, "../../secret", 0)]),
      "the data file ../../secret lies outside of the database (at byte 4 of it)"),
    Corruption(
      "a path upwards in the middle", table([(0, "d/../../x", 2)]),
      "the data file d/../../x lies outside of the database (at byte 4 of it)"),
    Corruption(
      "an absolute path", table([(0, "/etc/passwd", 0)]),
      "the data file /etc/passwd lies outside of the database (at byte 4 of it)"),
    Corruption(
      "an empty path", table([(0, "", 0)]), "it refers to a data file without a name (at byte 9 of it)"),
    Corruption(
      "a path with a zero byte", table([(0, "d/\0", 0)]),
      "the data file d/\\u{0} lies outside of the database (at byte 4 of it)"),
    Corruption(
      "a base longer than the path", table([(0, "d/0", 4)]),
      "a base path of 4 bytes is longer than its path of 3 (at byte 4 of it)"),
    Corruption(
      "a path that shares more than there is", table([(0, "d/0", 0), (8, "1", 0)]),
      "a name shares 8 bytes with the one before it, which has only 3 (at byte 10 of it)"),
    Corruption(
      "a shared prefix across base paths", table([(0, "a/d/0", 2), (3, "1", 0)]),
      "a path shares more with the one before it than their base paths allow (at byte 12 of it)"),
  ]

  @Test(arguments: nodes)
  func `a bad node is refused with a sentence`(corruption: Corruption) {
    #expect { try OCDBTNode(corruption.bytes, base: "", height: 0) } throws: { error in
      guard let failure = error as? OCDBTFailure else { return false }
      let message = failure.graftError(in: "the node", file: "d/0").message
      #expect(message == "the node is not valid: \(corruption.sentence)")
      return true
    }
  }

  static let interiors: [Corruption] = [
    Corruption(
      "a subtree prefix longer than its key", OCDBTBytes.interior(height: 1, [("a", 2, 0, 1)]),
      "the prefix of a subtree has 2 bytes, its key only 1 (at byte 11 of it)"),
    Corruption(
      "a child that overflows", OCDBTBytes.interior(height: 1, [("a", 1, 1 << 63, 1)]),
      "it refers to 1 bytes at offset 9223372036854775808, which no file has (at byte 11 of it)"),
  ]

  @Test(arguments: interiors)
  func `a bad interior node is refused with a sentence`(corruption: Corruption) {
    #expect { try OCDBTNode(corruption.bytes, base: "", height: 1) } throws: { error in
      guard let failure = error as? OCDBTFailure else { return false }
      let message = failure.graftError(in: "the node", file: "d/0").message
      #expect(message == "the node is not valid: \(corruption.sentence)")
      return true
    }
  }

  static let manifests: [Corruption] = [
    Corruption(
      "another kind", manifest { $0.configuration(kind: 7) },
      "its manifest kind is 7, and only 0 (single) and 1 (numbered) are known (at byte 16 of it)"),
    Corruption(
      "an arity of none", manifest { $0.configuration(arityLog2: 0) },
      "the logarithm of its version tree's arity is 0, outside 1...16 (at byte 21 of it)"),
    Corruption(
      "no versions",
      manifest {
        $0.configuration(); $0.fileTable([]); $0.varint(0); $0.varint(0)
      },
      "it has no versions (at byte 25 of it)"),
    Corruption(
      "generation zero", OCDBTBytes.manifest(length: 1, generation: 0),
      "the generation 0 follows 0 (at byte 30 of it)"),
    Corruption(
      "a root of no keys with a height", OCDBTBytes.manifest(rootHeight: 3, offset: .max, length: .max),
      "a version without keys claims a tree of height 3 (at byte 32 of it)"),
    Corruption(
      "more versions than a node may have",
      manifest {
        $0.configuration(); $0.fileTable([]); $0.varint(17)
      },
      "it claims 17 versions, more than 16 (at byte 24 of it)"),
  ]

  @Test(arguments: manifests)
  func `a bad manifest is refused with a sentence`(corruption: Corruption) {
    #expect { try OCDBTManifest(corruption.bytes) } throws: { error in
      guard let failure = error as? OCDBTFailure else { return false }
      let message = failure.graftError(in: "the manifest", file: "m").message
      #expect(message == "the manifest is not valid: \(corruption.sentence)")
      return true
    }
  }
}
