// Writes a demonstration checkpoint: a small transformer as a training run would save it, in one safetensors file.
//
//   demo-checkpoint FILE [--layers 6] [--width 512] [--vocabulary 8192] [--parameters-only]
//
// `params` are bfloat16; `opt_state` keeps Adam's two float32 moments of each of them, so it is four times as large: what
// a program that only runs the model has no reason to read. `--parameters-only` leaves it out. The same arguments always
// give the same bytes.
//
// It needs nothing but the safetensors layout: eight bytes of header size, the header as JSON, then the tensors.

import Foundation

struct Failure: Error, CustomStringConvertible {
  var description: String
}

/// One tensor of the file; `scale` is how far its values spread around `centre`.
struct DemoTensor {
  var name: String
  var dtype: String
  var shape: [Int]
  var centre: Float = 0
  var scale: Float = 1

  var elementCount: Int { shape.reduce(1, *) }
  var elementByteCount: Int { ["BF16": 2, "F32": 4, "I64": 8][dtype] ?? 1 }
  var byteCount: Int { elementCount * elementByteCount }
}

/// The parameters of a transformer of `layers` equal layers.
func parameters(layers: Int, width: Int, vocabulary: Int) -> [DemoTensor] {
  let spread = 1 / Float(width).squareRoot()
  var tensors = [
    DemoTensor(name: "embedding.kernel", dtype: "BF16", shape: [vocabulary, width], scale: spread)
  ]
  for layer in 0..<layers {
    let prefix = "layers.\(layer)"
    for part in ["query", "key", "value", "output"] {
      tensors.append(
        DemoTensor(name: "\(prefix).attention.\(part)", dtype: "BF16", shape: [width, width], scale: spread))
    }
    tensors.append(
      DemoTensor(name: "\(prefix).mlp.up", dtype: "BF16", shape: [width, 4 * width], scale: spread))
    tensors.append(
      DemoTensor(name: "\(prefix).mlp.down", dtype: "BF16", shape: [4 * width, width], scale: spread / 2))
    tensors.append(
      DemoTensor(name: "\(prefix).norm.scale", dtype: "BF16", shape: [width], centre: 1, scale: 0.02))
  }
  tensors.append(DemoTensor(name: "final_norm.scale", dtype: "BF16", shape: [width], centre: 1, scale: 0.02))
  return tensors
}

/// Everything that the training state holds: parameters, both of Adam's moments, and how many steps were taken.
func trainingState(of parameters: [DemoTensor]) -> [DemoTensor] {
  var tensors = parameters.map { parameter in
    var tensor = parameter
    tensor.name = "params.\(parameter.name)"
    return tensor
  }
  for moment in ["mu", "nu"] {
    tensors += parameters.map { parameter in
      DemoTensor(
        name: "opt_state.\(moment).\(parameter.name)", dtype: "F32", shape: parameter.shape, scale: 0.001)
    }
  }
  tensors.append(DemoTensor(name: "step", dtype: "I64", shape: [], centre: 1000, scale: 0))
  return tensors
}

/// The header: every tensor's type, shape and place, padded with spaces so that the data begins on a multiple of eight.
func header(of tensors: [DemoTensor]) -> [UInt8] {
  var entries = [#""__metadata__":{"format":"pt","made_by":"demo-checkpoint"}"#]
  var offset = 0
  for tensor in tensors {
    let end = offset + tensor.byteCount
    entries.append(
      #""\#(tensor.name)":{"dtype":"\#(tensor.dtype)","shape":\#(tensor.shape),"data_offsets":[\#(offset),\#(end)]}"#
    )
    offset = end
  }
  var json = Array("{\(entries.joined(separator: ","))}".utf8)
  json += [UInt8](repeating: UInt8(ascii: " "), count: (8 - json.count % 8) % 8)
  return littleEndian(UInt64(json.count)) + json
}

func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
}

/// Roughly normal numbers from SplitMix64: the sum of four 16-bit uniforms, which is quick and good enough to look at.
struct Normal {
  var state: UInt64

  mutating func next() -> Float {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    z ^= z >> 31
    let sum = (z & 0xFFFF) + (z >> 16 & 0xFFFF) + (z >> 32 & 0xFFFF) + (z >> 48)
    // The sum has mean 2 · 65535 and a standard deviation of 65536 / √3.
    return (Float(sum) - 131_070) / 37_837
  }
}

/// Writes the values of one tensor in blocks, so that memory does not grow with the tensor.
func write(_ tensor: DemoTensor, seed: UInt64, to file: FileHandle) throws {
  var normal = Normal(state: seed &* 0xD134_2543_DE82_EF95)
  var block: [UInt8] = []
  block.reserveCapacity(1 << 20)
  for _ in 0..<tensor.elementCount {
    let value = tensor.centre + tensor.scale * (tensor.scale == 0 ? 0 : normal.next())
    switch tensor.dtype {
    case "BF16":
      let bits = value.bitPattern
      // To the nearest, ties to even; no value here is NaN or near overflow.
      let rounded = UInt16(truncatingIfNeeded: (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
      block.append(UInt8(truncatingIfNeeded: rounded))
      block.append(UInt8(truncatingIfNeeded: rounded >> 8))
    case "F32":
      let bits = value.bitPattern
      block.append(UInt8(truncatingIfNeeded: bits))
      block.append(UInt8(truncatingIfNeeded: bits >> 8))
      block.append(UInt8(truncatingIfNeeded: bits >> 16))
      block.append(UInt8(truncatingIfNeeded: bits >> 24))
    default: block += littleEndian(Int64(value))
    }
    if block.count >= 1 << 20 {
      try file.write(contentsOf: Data(block))
      block.removeAll(keepingCapacity: true)
    }
  }
  try file.write(contentsOf: Data(block))
}

func run() throws {
  var sizes = ["--layers": 6, "--width": 512, "--vocabulary": 8192]
  var parametersOnly = false
  var paths: [String] = []
  var arguments = CommandLine.arguments.dropFirst().makeIterator()
  while let argument = arguments.next() {
    if sizes[argument] != nil {
      // Bounded, so that no product of them overflows; a demonstration has no use for more.
      guard let size = arguments.next().flatMap({ Int($0) }), (1...65_536).contains(size) else {
        throw Failure(description: "\(argument) takes a number from 1 to 65536")
      }
      sizes[argument] = size
    } else if argument == "--parameters-only" {
      parametersOnly = true
    } else {
      paths.append(argument)
    }
  }
  guard paths.count == 1, !paths[0].hasPrefix("-") else {
    throw Failure(
      description: "usage: demo-checkpoint FILE [--layers N] [--width N] [--vocabulary N] [--parameters-only]"
    )
  }
  let model = parameters(
    layers: sizes["--layers", default: 1], width: sizes["--width", default: 1],
    vocabulary: sizes["--vocabulary", default: 1])
  let tensors = parametersOnly ? model : trainingState(of: model)

  guard FileManager.default.createFile(atPath: paths[0], contents: nil),
    let file = FileHandle(forWritingAtPath: paths[0])
  else { throw Failure(description: "cannot write \(paths[0])") }
  try file.write(contentsOf: Data(header(of: tensors)))
  for (index, tensor) in tensors.enumerated() { try write(tensor, seed: UInt64(index + 1), to: file) }
  try file.close()
  let byteCount = tensors.reduce(0) { $0 + $1.byteCount }
  print("wrote \(paths[0]): \(tensors.count) tensors, \(byteCount) bytes")
}

do {
  try run()
} catch {
  FileHandle.standardError.write(Data("demo-checkpoint: \(error)\n".utf8))
  exit(1)
}
