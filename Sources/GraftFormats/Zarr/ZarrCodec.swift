// Codecs as both versions of Zarr's metadata say them:
//
//   version 2   "compressor": {"id": "zstd", "level": 1}, or null
//               "compressor": {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1, "blocksize": 0}
//   version 3   "codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
//                          {"name": "zstd", "configuration": {"level": 3, "checksum": false}},
//                          {"name": "blosc", "configuration": {"typesize": 2, "cname": "zstd", "clevel": 5,
//                                                              "shuffle": "shuffle", "blocksize": 0}},
//                          {"name": "crc32c"}]
//
// What is read is kept loosely: settings decide nothing about decoding, so those that are no sense are no settings, not an error.

package import GraftCore

extension CodecSettings {
  /// The settings of a codec of version 3.
  init(version3 name: String, _ configuration: JSONValue?) {
    switch name {
    case "zstd": self = .zstd(level: configuration?["level"]?.integer)
    case "blosc":
      let shuffle: BloscSettings.Shuffle? =
        switch configuration?["shuffle"]?.text {
        case "noshuffle": BloscSettings.Shuffle.none
        case "shuffle": .bytes
        case "bitshuffle": .bits
        default: nil
        }
      self.init(blosc: configuration, shuffle: shuffle)
    default: self = .none
    }
  }

  /// The settings of a compressor of version 2.
  init(version2 name: String, _ compressor: JSONValue) {
    switch name {
    case "zstd": self = .zstd(level: compressor["level"]?.integer)
    case "blosc":
      self.init(
        blosc: compressor,
        shuffle: compressor["shuffle"]?.integer.flatMap(BloscSettings.Shuffle.init(rawValue:)))
    default: self = .none
    }
  }

  private init(blosc members: JSONValue?, shuffle: BloscSettings.Shuffle?) {
    guard let compressor = members?["cname"]?.text, let level = members?["clevel"]?.integer, let shuffle
    else {
      self = .none
      return
    }
    self = .blosc(
      BloscSettings(
        compressor: compressor, level: level, shuffle: shuffle,
        elementByteCount: members?["typesize"]?.integer,
        blockByteCount: members?["blocksize"]?.integer ?? 0))
  }
}

extension Codec {
  /// The codec as an element of version 3's `codecs`.
  ///
  /// - Parameter elementByteCount: the bytes of one element, for a `blosc` whose settings leave them to the dtype.
  package func version3JSON(elementByteCount: Int) -> JSONValue {
    let configuration: [JSONValue.Member]?
    switch settings {
    case .none where name == "blosc":
      // Required members that nobody said: what decodes alike, and encodes as blosc does by default.
      configuration = Self.members(Self.defaultBlosc, elementByteCount: elementByteCount)
    case .none where name == "zstd": configuration = Self.members(zstdLevel: nil)
    case .none: configuration = nil
    case .littleEndian: configuration = [.init("endian", "little")]
    case .zstd(let level): configuration = Self.members(zstdLevel: level)
    case .blosc(let settings): configuration = Self.members(settings, elementByteCount: elementByteCount)
    }
    var members = [JSONValue.Member("name", .string(name))]
    if let configuration { members.append(.init("configuration", .object(configuration))) }
    return .object(members)
  }

  /// The codec as version 2's `compressor`.
  package var version2JSON: JSONValue {
    var members = [JSONValue.Member("id", .string(name))]
    switch settings {
    case .zstd(let level): members.append(.init("level", .number(.integer(level ?? 3))))
    case .blosc(let settings):
      members += [
        .init("cname", .string(settings.compressor)), .init("clevel", .number(.integer(settings.level))),
        .init("shuffle", .number(.integer(settings.shuffle.rawValue))),
        .init("blocksize", .number(.integer(settings.blockByteCount))),
      ]
    case .none, .littleEndian: break
    }
    return .object(members)
  }

  private static let defaultBlosc = BloscSettings(
    compressor: "lz4", level: 5, shuffle: .bytes, elementByteCount: nil)

  private static func members(zstdLevel: Int?) -> [JSONValue.Member] {
    // TensorStore 0.1.86 writes both, and reads a frame with a checksum of its own whatever is said here.
    [.init("level", .number(.integer(zstdLevel ?? 3))), .init("checksum", false)]
  }

  private static func members(_ settings: BloscSettings, elementByteCount: Int) -> [JSONValue.Member] {
    let shuffle =
      switch settings.shuffle {
      case .none: "noshuffle"
      case .bytes: "shuffle"
      case .bits: "bitshuffle"
      }
    return [
      .init("cname", .string(settings.compressor)), .init("clevel", .number(.integer(settings.level))),
      .init("shuffle", .string(shuffle)),
      .init("typesize", .number(.integer(settings.elementByteCount ?? elementByteCount))),
      .init("blocksize", .number(.integer(settings.blockByteCount))),
    ]
  }
}
