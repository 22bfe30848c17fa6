import Foundation
import Graft
import GraftCodec
import GraftCore
import GraftFormats
import GraftTestSupport

/// Ways to change a file of a checkpoint, most of which keep what is checked first: JSON's grammar, checksums, lengths.
enum Mutation {
  /// The files that change, with their new bytes.
  static func apply(
    to name: String, _ bytes: [UInt8], in subject: Subject, _ random: inout SeededGenerator
  ) -> [(String, [UInt8])] {
    let last = name.split(separator: "/").last.map(String.init) ?? name
    switch Int.random(in: 0..<10, using: &random) {
    case 0: return [(name, raw(bytes, &random))]
    case 1: return [(name, Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random))))]
    case 2:
      let other = subject.files[subject.mutable.randomElement(using: &random)!] ?? []
      return [(name, other)]
    default: break
    }
    if last == OCDBTManifest.fileName { return database(name, bytes, in: subject, &random) }
    if bytes.first == UInt8(ascii: "{") { return [(name, json(bytes, &random))] }
    return [(name, shard(bytes, &random))]
  }

  /// Bytes here and there.
  static func raw(_ bytes: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    guard !bytes.isEmpty else { return [0] }
    var bytes = bytes
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let index = Int.random(in: 0..<bytes.count, using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 1: bytes[index] = [0, 1, 2, 0x7F, 0x80, 0xFF].randomElement(using: &random)!
      case 2: bytes.insert([0, 1, 0x80, 0xFF].randomElement(using: &random)!, at: index)
      case 3:
        let end = min(bytes.count, index + Int.random(in: 1...16, using: &random))
        bytes.insert(contentsOf: bytes[index..<end], at: index)
      default:
        let digits = Array("0123456789".utf8)
        // Text within binary nodes keeps its length when a digit becomes another.
        if let digit = bytes[index...].firstIndex(where: digits.contains) {
          bytes[digit] = digits.randomElement(using: &random)!
        }
      }
    }
    return bytes
  }

  /// What JSON says, in JSON.
  static func json(_ bytes: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    guard let value = try? JSONValue(parsing: bytes, nestingLimit: 128, acceptsNonFinite: true) else {
      return raw(bytes, &random)
    }
    return changed(value, &random).encoded()
  }

  private static let hostile: [JSONValue] = [
    nil, 0, 1, -1, 3, 1000, .integer(.max), .integer(.min), .integer(1 << 40), 1.5, .double(1e300), true, "",
    "a",
    "..", "../x", "\u{0}", "<f4", ">f4", "|V8", "int2", "float32", "zstd", "gzip", "end", "start", "v2", [],
    .object([]), [0],
    [1, 1], .array(.init(repeating: 1, count: 70)), [.integer(.max), .integer(.max)],
    .object([.init("name", "bytes")]),
  ]

  private static func changed(_ value: JSONValue, _ random: inout SeededGenerator) -> JSONValue {
    switch value {
    case .object(var members) where !members.isEmpty && Int.random(in: 0..<8, using: &random) > 0:
      let index = Int.random(in: 0..<members.count, using: &random)
      switch Int.random(in: 0..<12, using: &random) {
      case 0: members.remove(at: index)
      case 1: members.append(.init("more", hostile.randomElement(using: &random)!))
      case 2: members.append(.init(members[index].key + "x", members[index].value))
      default: members[index] = .init(members[index].key, changed(members[index].value, &random))
      }
      return .object(members)
    case .array(var elements) where !elements.isEmpty && Int.random(in: 0..<6, using: &random) > 0:
      let index = Int.random(in: 0..<elements.count, using: &random)
      switch Int.random(in: 0..<8, using: &random) {
      case 0: elements.remove(at: index)
      case 1: elements.append(elements[index])
      default: elements[index] = changed(elements[index], &random)
      }
      return .array(elements)
    default: return hostile.randomElement(using: &random)!
    }
  }

  /// A chunk, or a shard whose index keeps its checksum.
  static func shard(_ bytes: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    let entries = [1, 1, 1, 2, 4].randomElement(using: &random)!
    guard bytes.count >= 16 * entries + 4 else { return raw(bytes, &random) }
    var index = Array(bytes.suffix(16 * entries + 4).dropLast(4))
    let place = 8 * Int.random(in: 0..<2 * entries, using: &random)
    let word: UInt64 = [
      0, 1, .max, .max - 1, 1 << 63, 1 << 62, UInt64(bytes.count), UInt64.random(in: 0...64, using: &random),
    ].randomElement(using: &random)!
    for byte in 0..<8 { index[place + byte] = UInt8(truncatingIfNeeded: word >> UInt64(8 * byte)) }
    return Array(bytes.dropLast(16 * entries + 4)) + summed(index)
  }

  // MARK: Databases

  /// A manifest, or the root of its tree as a file of its own, changed behind checksums that fit.
  private static func database(
    _ name: String, _ bytes: [UInt8], in subject: Subject, _ random: inout SeededGenerator
  ) -> [(String, [UInt8])] {
    let folder = name.dropLast(OCDBTManifest.fileName.count)
    guard let body = body(bytes) else { return [(name, raw(bytes, &random))] }
    guard Int.random(in: 0..<4, using: &random) > 0, let manifest = try? OCDBTManifest(bytes),
      let version = manifest.newest, let root = version.root,
      let file = subject.files[folder + root.file.path],
      root.range.end <= file.count, let node = self.body(Array(file[root.range.offset..<root.range.end]))
    else { return [(name, envelope(0x0CDB_3A2A, raw(body, &random)))] }
    let changed = envelope(0x0CDB_20DE, raw(node, &random))
    // The new file lies beside the manifest, under a name as long as any.
    var new: [UInt8] = [UInt8](repeating: 7, count: 16) + [0]
    new += varint(1024) + varint(1 << 20) + [4, 0]
    new += [1, 4, UInt8(root.file.base.utf8.count)] + Array("fuzz".utf8)
    new +=
      [1, 1, UInt8(truncatingIfNeeded: version.rootHeight), 0, 0] + varint(UInt64(changed.count)) + [1, 1, 1]
    new += [UInt8](repeating: 9, count: 8) + [0]
    return [(name, envelope(0x0CDB_3A2A, new)), (folder + "fuzz", changed)]
  }

  /// What is in an envelope, decompressed.
  private static func body(_ bytes: [UInt8]) -> [UInt8]? {
    guard bytes.count > 18, bytes[12] == 0, bytes[13] <= 1 else { return nil }
    let content = Array(bytes[14..<bytes.count - 4])
    if bytes[13] == 0 { return content }
    return try? ZstdDecoder.decodeAll(content.span.bytes, byteCountLimit: 1 << 24)
  }

  private static func envelope(_ magic: UInt32, _ body: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    for shift in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: magic >> UInt32(shift))) }
    let length = UInt64(18 + body.count)
    for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: length >> UInt64(8 * shift))) }
    return summed(bytes + [0, 0] + body)
  }

  private static func summed(_ bytes: [UInt8]) -> [UInt8] {
    let sum = CRC32C.checksum(bytes.span.bytes)
    return bytes + (0..<4).map { UInt8(truncatingIfNeeded: sum >> UInt32(8 * $0)) }
  }

  private static func varint(_ value: UInt64) -> [UInt8] {
    var value = value
    var bytes: [UInt8] = []
    while value >= 0x80 {
      bytes.append(UInt8(value & 0x7F) | 0x80)
      value >>= 7
    }
    return bytes + [UInt8(value)]
  }
}
