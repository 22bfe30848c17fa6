internal import Glibc
package import GraftCore
internal import GraftIO

/// A safetensors file of made-up values, written for a benchmark and kept for the next run.
package struct ModelFile: Sendable {
  /// A tensor of the file; they lie one after another.
  package struct Leaf: Hashable, Sendable {
    package var name: String
    package var shape: [Int]
    /// bfloat16 unless another one is given.
    package var dtype: DType

    package init(_ name: String, _ shape: [Int], _ dtype: DType = .bfloat16) {
      self.name = name
      self.shape = shape
      self.dtype = dtype
    }

    var byteCount: Int { shape.reduce(dtype.bitWidth / 8, *) }
  }

  package let path: String
  package let leaves: [Leaf]

  /// Makes the file in a folder, unless it is there.
  ///
  /// - Parameter areHoles: whether the tensors are left to the file system as holes, for what reads none of their bytes.
  package static func make(
    _ name: String, in folder: String, _ leaves: [Leaf], areHoles: Bool = false
  ) throws(GraftError) -> ModelFile {
    try makeFolder(folder)
    let path = "\(folder)/\(name).safetensors"
    let header = header(of: leaves)
    let byteCount = leaves.reduce(header.count) { $0 + $1.byteCount }
    if let file = try? File(opening: path), file.byteCount == byteCount,
      (try? file.readFully(ByteRange(offset: 0, count: header.count))) == header
    {
      return ModelFile(path: path, leaves: leaves)
    }
    let staged = try AtomicFile(at: path, overwriting: true, byteCount: areHoles ? nil : byteCount)
    do {
      try unsafe staged.file.write(header.span.bytes, at: 0)
      var block = [UInt64](repeating: 0, count: 512 << 10)
      var state: UInt64 = 0x9E37_79B9_7F4A_7C15
      var offset = header.count
      if areHoles {
        try staged.file.resize(byteCount: byteCount)
        offset = byteCount
      }
      while offset < byteCount {
        // Noise: a disk or host that compresses or finds equal blocks must gain nothing from it.
        for index in block.indices {
          state ^= state << 13
          state ^= state >> 7
          state ^= state << 17
          block[index] = state
        }
        let bytes = unsafe block.span.bytes
        let count = min(bytes.byteCount, byteCount - offset)
        try staged.file.write(bytes.extracting(first: count), at: offset)
        offset += count
      }
      try staged.commit()
    } catch {
      staged.abandon()
      throw error
    }
    return ModelFile(path: path, leaves: leaves)
  }

  /// Makes a folder and those above it, unless they are there.
  static func makeFolder(_ folder: String) throws(GraftError) {
    var path = folder.hasPrefix("/") ? "" : "."
    for part in folder.split(separator: "/") {
      path += "/\(part)"
      guard unsafe mkdir(path, 0o777) != 0, errno != EEXIST else { continue }
      throw GraftError(.open, SystemCallFailure("mkdir", errno), file: path)
    }
  }

  private static func header(of leaves: [Leaf]) -> [UInt8] {
    var writer = JSONWriter()
    writer.reserveCapacity(leaves.count * 120)
    writer.beginObject()
    var offset = 0
    for leaf in leaves {
      writer.key(leaf.name)
      writer.beginObject()
      writer.key("dtype")
      writer.string(leaf.dtype == .float32 ? "F32" : "BF16")
      writer.key("shape")
      writer.beginArray()
      for extent in leaf.shape { writer.integer(extent) }
      writer.endArray()
      writer.key("data_offsets")
      writer.beginArray()
      writer.integer(offset)
      offset += leaf.byteCount
      writer.integer(offset)
      writer.endArray()
      writer.endObject()
    }
    writer.endObject()
    var json = writer.bytes
    json += [UInt8](repeating: UInt8(ascii: " "), count: (8 - json.count % 8) % 8)
    return (0..<8).map { UInt8(truncatingIfNeeded: json.count >> (8 * $0)) } + json
  }
}

extension ModelFile {
  /// A language model as they are published: matrices of 1 to 50 MiB, and norms of a few KiB; 1.16 GiB when it is full.
  package static func languageModel(_ options: BenchmarkOptions) throws(GraftError) -> ModelFile {
    let (layers, width, inner, keys, vocabulary) =
      options.size == .full ? (13, 2048, 5632, 256, 12_800) : (2, 128, 352, 32, 512)
    var leaves = [Leaf("model.embed_tokens.weight", [vocabulary, width])]
    for layer in 0..<layers {
      let prefix = "model.layers.\(layer)"
      leaves += [
        Leaf("\(prefix).input_layernorm.weight", [width]),
        Leaf("\(prefix).mlp.down_proj.weight", [width, inner]),
        Leaf("\(prefix).mlp.gate_proj.weight", [inner, width]),
        Leaf("\(prefix).mlp.up_proj.weight", [inner, width]),
        Leaf("\(prefix).post_attention_layernorm.weight", [width]),
        Leaf("\(prefix).self_attn.k_proj.weight", [keys, width]),
        Leaf("\(prefix).self_attn.o_proj.weight", [width, width]),
        Leaf("\(prefix).self_attn.q_proj.weight", [width, width]),
        Leaf("\(prefix).self_attn.v_proj.weight", [keys, width]),
      ]
    }
    leaves += [Leaf("model.norm.weight", [width]), Leaf("lm_head.weight", [vocabulary, width])]
    return try make("language-model-\(options.size.rawValue)", in: options.folder, leaves)
  }

  /// How many layers ``layers(_:_:)`` and ``attentionKernels(_:)`` make, one after the other in the file.
  package static let layerCount = 32

  /// Layers of two matrices and a norm: 512 MiB of bfloat16 when it is full.
  package static func layers(_ dtype: DType, _ options: BenchmarkOptions) throws(GraftError) -> ModelFile {
    let (width, inner) = options.size == .full ? (2048, 2048) : (32, 64)
    let leaves = (0..<layerCount).flatMap { layer in
      [
        Leaf("params.layer\(layer).attention.kernel", [width, width], dtype),
        Leaf("params.layer\(layer).mlp.kernel", [width, inner], dtype),
        Leaf("params.layer\(layer).norm.scale", [width], dtype),
      ]
    }
    return try make("layers-\(dtype)-\(options.size.rawValue)", in: options.folder, leaves)
  }

  /// Kernels of attention as JAX has them, with an axis of heads: 256 MiB of bfloat16 when it is full.
  package static func attentionKernels(_ options: BenchmarkOptions) throws(GraftError) -> ModelFile {
    let shape = options.size == .full ? [2048, 16, 128] : [32, 2, 128]
    let leaves = (0..<layerCount).map { Leaf("params.layer\($0).query.kernel", shape) }
    return try make("attention-kernels-\(options.size.rawValue)", in: options.folder, leaves)
  }

  /// Many leaves of 1 KiB to so many, of which a benchmark wants some here and there; 272 MiB when it is full and they are of
  /// up to 16.
  package static func smallLeaves(
    kibibytes: Int, _ options: BenchmarkOptions
  ) throws(GraftError) -> ModelFile {
    let count = options.size == .full ? 32_768 : 256
    let leaves = (0..<count).map { index in
      // In an order without a pattern.
      Leaf(
        "adapters.\(index / 64).\(index % 64)", [512 * (1 + Int(mixed(UInt64(index)) % UInt64(kibibytes)))])
    }
    return try make("small-leaves-\(kibibytes)-\(options.size.rawValue)", in: options.folder, leaves)
  }

  /// A tree of this many tiny leaves, named as a model of many layers is.
  package static func manyLeaves(_ count: Int, _ options: BenchmarkOptions) throws(GraftError) -> ModelFile {
    let parts = [
      "attention.query.kernel", "attention.query.bias", "attention.key.kernel", "attention.key.bias",
      "attention.value.kernel", "attention.value.bias", "mlp.up.kernel", "mlp.up.bias", "mlp.down.kernel",
      "mlp.down.bias",
    ]
    let leaves = (0..<count).map { index in
      Leaf(
        "model.layers.\(index / parts.count).\(parts[index % parts.count])", index % 2 == 0 ? [2, 4] : [4])
    }
    return try make("\(count)-leaves", in: options.folder, leaves)
  }

  /// The bits of a number, thoroughly mixed: the same everywhere and always.
  package static func mixed(_ value: UInt64) -> UInt64 {
    var mixed = (value &+ 0x9E37_79B9_7F4A_7C15) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
