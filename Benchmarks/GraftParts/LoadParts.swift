internal import Graft
internal import GraftIO

extension Part {
  /// Whole loads and saves of a small model in the page cache.
  ///
  /// How many reads and bytes they take is what matters here.
  static let loads: [Part] = [
    Part("load a model") { (size, folder) async throws(GraftError) in
      let checkpoint = try await layers(16, width: size == .full ? 64 : 16, folder)
      return Prepared(workCount: checkpoint.logicalByteCount) { () async throws(GraftError) in
        counts(try await checkpoint.load())
      }
    },
    Part("load a quarter of every matrix") { (size, folder) async throws(GraftError) in
      let checkpoint = try await layers(16, width: size == .full ? 64 : 16, folder)
      let target = checkpoint.target { _, spec in
        guard case .tensor(let spec) = spec, spec.shape.rank == 2 else { return .placeholder }
        return .slice(0..<spec.shape[0] / 2, 0..<spec.shape[1] / 2)
      }
      return Prepared(workCount: checkpoint.logicalByteCount / 4) { () async throws(GraftError) in
        // How many reads it takes depends on what is in the page cache.
        ["bytes wanted": try await checkpoint.load(target).report.reading.bytesWanted]
      }
    },
    Part("load and stack layers along axis 0") { (size, folder) async throws(GraftError) in
      let checkpoint = try await layers(16, width: size == .full ? 64 : 16, folder)
      let surgery = try stacking(checkpoint, axis: 0)
      return Prepared(workCount: checkpoint.logicalByteCount) { () async throws(GraftError) in
        counts(try await surgery.load())
      }
    },
    Part("load and stack layers along the last axis") { (size, folder) async throws(GraftError) in
      // Small enough that no part of it is read out of the page cache box by box, as how many those reads are depends on what is there.
      let checkpoint = try await layers(16, width: size == .full ? 64 : 4, folder)
      let surgery = try stacking(checkpoint, axis: -1)
      return Prepared(workCount: checkpoint.logicalByteCount) { () async throws(GraftError) in
        counts(try await surgery.load())
      }
    },
    Part("load what was saved as Orbax") { (size, folder) async throws(GraftError) in
      let source = try await layers(16, width: size == .full ? 64 : 16, folder)
      let path = "\(folder)/parts-orbax-\(size == .full ? "full" : "small")"
      var options = OrbaxOptions()
      options.compression = .zstdEntropyOnly
      try await source.save(to: path, as: .orbax(options), overwriting: true)
      let checkpoint = try await Checkpoint(at: path, tuning: buffered)
      return Prepared(workCount: checkpoint.logicalByteCount) { () async throws(GraftError) in
        var counts = counts(try await checkpoint.load())
        counts["bytes read"] = nil  // what zstd made of the metadata is its own affair
        return counts
      }
    },
    Part("link a stack") { (size, folder) async throws(GraftError) in
      let checkpoint = try await layers(size == .full ? 2_000 : 20, width: 1, folder)
      let surgery = try stacking(checkpoint, axis: 0)
      return Prepared(workCount: checkpoint.tree.leafCount) { () async throws(GraftError) in
        let report = try await surgery.link(to: "\(folder)/parts-linked", overwriting: true)
        return ["leaves linked": report.linkedLeafCount, "leaves rewritten": report.rewritten.count]
      }
    },
  ]

  private static func counts(_ loaded: Loaded) -> [String: Int] {
    let reading = loaded.report.reading
    return [
      "requests": reading.requestCount, "bytes read": reading.bytesRead, "bytes wanted": reading.bytesWanted,
    ]
  }
}
