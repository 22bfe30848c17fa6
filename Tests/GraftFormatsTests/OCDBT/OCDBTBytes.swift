import GraftCodec

/// Puts together manifests and nodes byte by byte, wrong ones too.
struct OCDBTBytes {
  var bytes: [UInt8] = []

  mutating func byte(_ value: UInt8) { bytes.append(value) }
  mutating func raw(_ more: [UInt8]) { bytes += more }
  mutating func varint(_ value: UInt64) {
    var value = value
    while value >= 0x80 {
      bytes.append(UInt8(value & 0x7F) | 0x80)
      value >>= 7
    }
    bytes.append(UInt8(value))
  }
  mutating func varints(_ values: [UInt64]) { for value in values { varint(value) } }
  mutating func fixed(_ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
  }

  /// What stands around a body; the length and the checksum fit unless said otherwise.
  static func envelope(
    _ magic: UInt32, version: UInt64 = 0, compression: UInt64 = 0, length: UInt64? = nil, _ body: [UInt8]
  ) -> [UInt8] {
    var rest = OCDBTBytes()
    rest.varint(version)
    rest.varint(compression)
    rest.raw(body)
    var whole = OCDBTBytes()
    whole.fixed(magic.byteSwapped)
    whole.fixed(length ?? UInt64(12 + rest.bytes.count + 4))
    whole.raw(rest.bytes)
    whole.fixed(CRC32C.checksum(whole.bytes.span.bytes))
    return whole.bytes
  }

  static let manifestMagic: UInt32 = 0x0CDB_3A2A
  static let versionNodeMagic: UInt32 = 0x0CDB_1234
  static let nodeMagic: UInt32 = 0x0CDB_20DE

  /// A path of a file table: how much it shares with the one before, the rest, and how much of it is the base.
  typealias Path = (prefix: UInt64, suffix: String, base: UInt64)

  mutating func fileTable(_ paths: [Path], count: UInt64? = nil) {
    varint(count ?? UInt64(paths.count))
    varints(paths.dropFirst().map(\.prefix))
    varints(paths.map { UInt64($0.suffix.utf8.count) })
    varints(paths.map(\.base))
    for path in paths { raw(Array(path.suffix.utf8)) }
  }

  /// The configuration that a manifest begins with.
  mutating func configuration(kind: UInt64 = 0, arityLog2: UInt8 = 4, compression: UInt64 = 0) {
    raw([UInt8](repeating: 7, count: 16))
    varint(kind)
    varint(100)
    varint(1 << 20)
    byte(arityLog2)
    varint(compression)
  }

  /// A manifest of one version whose root lies in `file`.
  static func manifest(
    file: String = "d/0", rootHeight: UInt8 = 0, offset: UInt64 = 0, length: UInt64, generation: UInt64 = 1
  ) -> [UInt8] {
    var body = OCDBTBytes()
    body.configuration()
    body.fileTable([(0, file, 0)])
    body.varint(1)
    body.varint(generation)
    body.byte(rootHeight)
    body.varints([0, offset, length, 1, 1, 1])
    body.fixed(UInt64(99))
    body.varint(0)
    return envelope(manifestMagic, body.bytes)
  }

  /// A leaf of inline values; keys and prefix lengths as given.
  static func leaf(
    _ keys: [(prefix: UInt64, suffix: String)], height: UInt8 = 0, count: UInt64? = nil, value: String = "v",
    kind: UInt64 = 0, extra: [UInt8] = []
  ) -> [UInt8] {
    var body = OCDBTBytes()
    body.byte(height)
    body.fileTable([])
    body.varint(count ?? UInt64(keys.count))
    body.varints(keys.dropFirst().map(\.prefix))
    body.varints(keys.map { UInt64($0.suffix.utf8.count) })
    for key in keys { body.raw(Array(key.suffix.utf8)) }
    body.varints(keys.map { _ in UInt64(value.utf8.count) })
    body.varints(keys.map { _ in kind })
    for _ in keys { body.raw(Array(value.utf8)) }
    body.raw(extra)
    return envelope(nodeMagic, body.bytes)
  }

  /// An interior node; children lie in `file`.
  static func interior(
    height: UInt8, _ children: [(key: String, prefix: UInt64, offset: UInt64, length: UInt64)],
    file: String = "d/0"
  ) -> [UInt8] {
    var body = OCDBTBytes()
    body.byte(height)
    body.fileTable([(0, file, 0)])
    body.varint(UInt64(children.count))
    body.varints(children.dropFirst().map { _ in 0 })
    body.varints(children.map { UInt64($0.key.utf8.count) })
    body.varints(children.map(\.prefix))
    for child in children { body.raw(Array(child.key.utf8)) }
    body.varints(children.map { _ in 0 })
    body.varints(children.map(\.offset))
    body.varints(children.map(\.length))
    for _ in 0..<3 { body.varints(children.map { _ in 1 }) }
    return envelope(nodeMagic, body.bytes)
  }
}

extension OCDBTBytes {
  /// Bytes with their CRC-32C behind them.
  static func summed(_ bytes: [UInt8]) -> [UInt8] {
    var whole = OCDBTBytes(bytes: bytes)
    whole.fixed(CRC32C.checksum(bytes.span.bytes))
    return whole.bytes
  }
}
