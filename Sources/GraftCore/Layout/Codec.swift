/// One step of a codec chain, named as Zarr names it.
///
/// Codecs of one name decode alike, so they are equal whatever their ``settings``: those say how bytes were or are to be encoded,
/// and are kept so that whoever writes metadata anew can say it again.
public struct Codec: Sendable {
  /// The name, for example `zstd`.
  public var name: String
  /// How its bytes are encoded, as far as the metadata says.
  public var settings: CodecSettings

  /// A codec of this name, of which nothing more is known.
  public init(name: String) { self.init(name: name, settings: .none) }

  /// A codec of this name with these settings.
  public init(name: String, settings: CodecSettings) {
    self.name = name
    self.settings = settings
  }
}

extension Codec: Hashable {
  /// Whether both decode alike.
  public static func == (left: Codec, right: Codec) -> Bool { left.name == right.name }

  /// Hashes what decides how bytes are decoded.
  public func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

/// What a codec's metadata says beyond its name.
public enum CodecSettings: Hashable, Sendable {
  /// Nothing, or nothing that Graft knows.
  case none
  /// Of `bytes`: elements are little-endian.
  case littleEndian
  /// Of `zstd`: the level, nil where it is not said.
  case zstd(level: Int?)
  /// Of `blosc`.
  case blosc(BloscSettings)
}

/// What the metadata of the codec `blosc` says.
public struct BloscSettings: Hashable, Sendable {
  /// How bytes are put in order before they are compressed.
  public enum Shuffle: Int, Hashable, Sendable {
    /// As they are.
    case none = 0
    /// The first bytes of all elements, then their second ones, and so on.
    case bytes = 1
    /// The first bits of all elements, and so on.
    case bits = 2
  }

  /// The compressor's name in c-blosc, for example `zstd`.
  public var compressor: String
  /// The level, 0 to 9.
  public var level: Int
  /// How bytes are put in order before they are compressed.
  public var shuffle: Shuffle
  /// The bytes of one element; nil where the metadata leaves it to the dtype, as Zarr 2 does.
  public var elementByteCount: Int?
  /// The bytes of a block, 0 for the encoder's own choice.
  public var blockByteCount: Int

  /// Settings of these values.
  public init(
    compressor: String, level: Int, shuffle: Shuffle, elementByteCount: Int?, blockByteCount: Int = 0
  ) {
    self.compressor = compressor
    self.level = level
    self.shuffle = shuffle
    self.elementByteCount = elementByteCount
    self.blockByteCount = blockByteCount
  }
}
