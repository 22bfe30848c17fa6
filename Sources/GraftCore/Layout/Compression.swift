/// How chunks are compressed when a checkpoint is written.
///
/// All of it is decoded by any reader of Zarr, TensorStore and Orbax among them: what is searched for, and in what order bytes are
/// coded, is the writer's affair.
public struct Compression: Hashable, Sendable {
  /// What chunks become.
  package enum Container: String, Hashable, Sendable {
    case none, zstd, blosc
  }

  /// How hard is tried to make them smaller.
  package enum Effort: Hashable, Sendable {
    /// Huffman codes, and no search.
    case entropyOnly
    /// A level of the container's.
    case level(Int)
  }

  package let container: Container
  package let effort: Effort

  /// The levels that zstd has.
  public static let zstdLevels = 1...22
  /// The levels that blosc has; the highest are zstd's own highest ones.
  public static let bloscLevels = 1...9

  /// As they are.
  public static let none = Compression(container: .none, effort: .entropyOnly)

  /// One zstd frame a chunk, of a level of ``zstdLevels``; 3 is what TensorStore, and so Orbax, writes in Zarr 3.
  ///
  /// A writer throws for a level that zstd does not have.
  public static func zstd(level: Int = 3) -> Compression {
    Compression(container: .zstd, effort: .level(level))
  }

  /// One zstd frame a chunk, of Huffman codes alone.
  ///
  /// In weights and moments there is nothing to be found that repeats, so frames are no larger than those of a level. Not for
  /// data that repeats: there a level makes far smaller frames.
  public static let zstdEntropyOnly = Compression(container: .zstd, effort: .entropyOnly)

  /// Elements split into byte planes, each compressed by zstd, in a container of blosc, of a level of ``bloscLevels``.
  ///
  /// Smaller than zstd alone for floats, whose exponents then stand together. Higher levels serve what repeats, and make planes of
  /// weights no smaller. A writer throws for a level that blosc does not have.
  public static func blosc(level: Int = 1) -> Compression {
    Compression(container: .blosc, effort: .level(level))
  }

  /// Elements split into byte planes, of which those that Huffman codes make smaller are coded and the others stay as they are.
  ///
  /// The fastest, and for floats smaller than any level of zstd alone. Not for data that repeats.
  public static let bloscEntropyOnly = Compression(container: .blosc, effort: .entropyOnly)
}

extension Compression: LosslessStringConvertible {
  /// The compression of this name: `none`, `zstd`, `zstd:19`, `zstd:entropy`, `blosc`, `blosc:9` or `blosc:entropy`; nil for any other.
  public init?(_ description: String) {
    let parts = description.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let container = parts.first.flatMap({ Container(rawValue: String($0)) }) else { return nil }
    switch (container, parts.count > 1 ? String(parts[1]) : nil) {
    case (.none, nil): self = .none
    case (.none, .some): return nil
    case (.zstd, nil): self = .zstd()
    case (.blosc, nil): self = .blosc()
    case (.zstd, "entropy"): self = .zstdEntropyOnly
    case (.blosc, "entropy"): self = .bloscEntropyOnly
    case (_, let effort?):
      guard let level = Int(effort), String(level) == effort else { return nil }
      self.init(container: container, effort: .level(level))
      guard hasKnownLevel else { return nil }
    }
  }

  /// The name, as `init(_:)` reads it.
  public var description: String {
    switch (container, effort) {
    case (.none, _): container.rawValue
    case (_, .entropyOnly): "\(container.rawValue):entropy"
    case (_, .level(let level)): "\(container.rawValue):\(level)"
    }
  }

  /// Whether the container has such a level.
  package var hasKnownLevel: Bool {
    guard case .level(let level) = effort else { return true }
    return container == .blosc ? Self.bloscLevels.contains(level) : Self.zstdLevels.contains(level)
  }
}
