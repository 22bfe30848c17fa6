// docs/formats/seal.md is the specification. In short:
//
//   {"graft_seal":1,"block_bytes":4194304,"files":[{"name":…,"bytes":…,"crc32c":"<8 digits a block>"},…],"digest":"<8 digits>"}⏎

internal import GraftCodec
package import GraftCore

/// The digests of a checkpoint's files, block by block.
package struct Seal: Hashable, Sendable {
  /// A file and the checksums of its blocks.
  package struct File: Hashable, Sendable {
    /// The path below the seal's folder.
    package var name: String
    /// The size.
    package var byteCount: Int
    /// The CRC-32C of each block.
    package var checksums: [UInt32]

    /// A file of these digests.
    package init(name: String, byteCount: Int, checksums: [UInt32]) {
      self.name = name
      self.byteCount = byteCount
      self.checksums = checksums
    }
  }

  /// The version of the specification.
  static let version = 1
  /// The bytes of a block of the seals that Graft makes.
  package static let defaultBlockByteCount = 4 << 20

  /// The bytes of a block.
  package let blockByteCount: Int
  /// The files, sorted by the bytes of their names.
  package let files: [File]

  /// A seal of these files.
  package init(blockByteCount: Int = Seal.defaultBlockByteCount, files: [File]) {
    self.blockByteCount = blockByteCount
    self.files = files.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  /// The blocks of a file of this size.
  package static func blocks(of byteCount: Int, blockByteCount: Int) -> [ByteRange] {
    stride(from: 0, to: byteCount, by: blockByteCount).map {
      ByteRange(offset: $0, count: Swift.min(blockByteCount, byteCount - $0))
    }
  }

  // MARK: Writing

  /// The seal as its file has it.
  package func encoded() -> [UInt8] {
    var json = JSONWriter()
    json.beginObject()
    json.key("graft_seal")
    json.integer(Self.version)
    json.key("block_bytes")
    json.integer(blockByteCount)
    json.key("files")
    json.beginArray()
    for file in files {
      json.beginObject()
      json.key("name")
      json.string(file.name)
      json.key("bytes")
      json.integer(file.byteCount)
      json.key("crc32c")
      json.string(file.checksums.map(Self.digits).joined())
      json.endObject()
    }
    json.endArray()
    var bytes = json.takeBytes()
    bytes += Self.tail(for: bytes)
    return bytes
  }

  /// What follows the last member that the digest covers.
  private static func tail(for bytes: [UInt8]) -> [UInt8] {
    // An array's bytes have no padding that could be read.
    Array("\(digestKey)\(digits(unsafe CRC32C.checksum(bytes.span.bytes)))\"}\n".utf8)
  }

  private static let digestKey = ",\"digest\":\""
  private static let tailByteCount = digestKey.utf8.count + 8 + 3

  private static func digits(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 8 - digits.utf8.count) + digits
  }

  // MARK: Reading

  /// Reads a seal.
  ///
  /// - Parameter file: the seal's path, for messages.
  /// - Throws: ``GraftError`` of code `corrupt` for whatever is no seal or is a broken one, `unsupported` for one of another version.
  package init(parsing bytes: [UInt8], file: String, limits: Limits) throws(GraftError) {
    func broken(_ found: String, expected: String? = nil) -> GraftError {
      GraftError(
        .corrupt, "the seal is broken", file: file, expected: expected, found: found,
        remedy: "remove it and seal the checkpoint again, once you know by other means that it is what it was"
      )
    }
    let root: JSONValue
    do throws(JSONError) {
      root = try JSONValue(parsing: bytes, nestingLimit: Swift.min(limits.nestingDepth, 8))
    } catch {
      throw error.graftError(in: "the seal", file: file)
    }
    guard let version = root["graft_seal"]?.integer else { throw broken("no member graft_seal") }
    guard version == Self.version else {
      throw GraftError(
        .unsupported, "the seal is of a version that is not read", file: file, expected: "\(Self.version)",
        found: "\(version)")
    }
    let head = Array(bytes.dropLast(Self.tailByteCount))
    guard Array(bytes.suffix(Self.tailByteCount)) == Self.tail(for: head) else {
      throw broken("a digest that is not that of the seal's own bytes")
    }
    guard root.members?.map(\.key) == ["graft_seal", "block_bytes", "files", "digest"] else {
      throw broken("other members than the specification has")
    }
    guard let blockByteCount = root["block_bytes"]?.integer, blockByteCount.isMultiple(of: 4096),
      (4096...(1 << 30)).contains(blockByteCount)
    else { throw broken("blocks of another size", expected: "a multiple of 4096 up to 1 GiB") }
    guard let elements = root["files"]?.elements, elements.count <= limits.fileCount else {
      throw broken("no list of at most \(limits.fileCount) files")
    }
    var files: [File] = []
    for element in elements {
      guard element.members?.map(\.key) == ["name", "bytes", "crc32c"], let name = element["name"]?.text,
        let byteCount = element["bytes"]?.integer, byteCount >= 0,
        let digits = element["crc32c"]?.text.map({ Array($0.utf8) })
      else { throw broken("a file without name, bytes and crc32c") }
      let isInside = name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
        !$0.isEmpty && $0 != "." && $0 != ".." && !$0.utf8.contains(0)
      }
      guard isInside else { throw broken("a file outside of its folder, \(TreePath.printable(name))") }
      if let last = files.last, !last.name.utf8.lexicographicallyPrecedes(name.utf8) {
        throw broken("files out of order at \(TreePath.printable(name))")
      }
      let blockCount = byteCount / blockByteCount + (byteCount % blockByteCount == 0 ? 0 : 1)
      guard digits.count % 8 == 0, digits.count / 8 == blockCount else {
        throw broken(
          "\(digits.count) digits for \(TreePath.printable(name))",
          expected: "8 for each of \(blockCount) blocks")
      }
      var checksums: [UInt32] = []
      checksums.reserveCapacity(blockCount)
      for start in stride(from: 0, to: digits.count, by: 8) {
        guard let checksum = Self.checksum(digits[start..<start + 8]) else {
          throw broken("other characters than digits for \(TreePath.printable(name))")
        }
        checksums.append(checksum)
      }
      files.append(File(name: name, byteCount: byteCount, checksums: checksums))
    }
    self.blockByteCount = blockByteCount
    self.files = files
  }

  private static func checksum(_ digits: ArraySlice<UInt8>) -> UInt32? {
    var value: UInt32 = 0
    for digit in digits {
      switch digit {
      case 0x30...0x39: value = value << 4 | UInt32(digit - 0x30)
      case 0x61...0x66: value = value << 4 | UInt32(digit - 0x61 + 10)
      default: return nil
      }
    }
    return value
  }
}
