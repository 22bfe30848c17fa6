// What the interoperability tests compute with Graft and compare with NumPy: every cast of some leaves, and arithmetic.
//
//   graft-surgery-driver casts CHECKPOINT FOLDER            FOLDER/LEAF.DTYPE: each leaf of the first level in every dtype, raw
//   graft-surgery-driver arithmetic CHECKPOINT FOLDER       FOLDER/LEAF.OPERATION: of `a` and `b` under each of the first level
//   graft-surgery-driver stream CHECKPOINT RESULT           surgeries on `huge`, a matrix, into a file in a budget of 128 MiB
//   graft-surgery-driver open CHECKPOINT RESULT             opens it, and does nothing else
//
// Packed elements are written as Graft has them: a little-endian stream of bits.

import Foundation
import Graft

struct Failure: Error, CustomStringConvertible {
  var description: String
}

func write(_ loaded: Loaded, to folder: String) throws {
  for (path, leaf) in loaded.tree.leaves {
    guard case .tensor(let tensor) = leaf else { continue }
    let name = path.keys.map(\.string).joined(separator: ".")
    let bytes = try tensor.bytes
    let data = bytes.withUnsafeBytes { Data($0) }
    try data.write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
  }
}

/// Moves and computes in every way that the executor has, parts of one leaf that is far larger than the budget.
func stream(_ checkpoint: Checkpoint, to path: String) async throws {
  let surgery = try checkpoint.transform { tree in
    let huge = tree["huge"]
    let blocks = huge.split(16, axis: 0)
    return [
      "columns": huge.sliced(.all, .strided(by: 64)),
      "transposed": blocks[3].transposed(),
      "mean": .mean([blocks[0], blocks[15].flipped(axis: 0)]),
      "interleaved": .stack(blocks[7].split(2, axis: 0), axis: -1),
    ]
  }
  var tuning = Tuning()
  tuning.budgetByteCount = 128 << 20
  try await surgery.save(to: path, tuning: tuning)
}

func run(_ arguments: [String]) async throws {
  guard arguments.count == 3 else { throw Failure(description: "three arguments are needed") }
  let checkpoint = try await Checkpoint(at: arguments[1])
  if arguments[0] == "open" { return }
  if arguments[0] == "stream" { return try await stream(checkpoint, to: arguments[2]) }
  let surgery =
    switch arguments[0] {
    case "casts":
      try checkpoint.transform { tree in
        .dictionary(
          tree.children.map { key, leaf in
            (
              key: key,
              value: .dictionary(
                DType.allCases.map { (key: Key($0.rawValue), value: leaf.cast(to: $0, lossy: true)) })
            )
          })
      }
    case "arithmetic":
      try checkpoint.transform { tree in
        .dictionary(
          tree.children.map { key, pair in
            let (a, b) = (pair["a"], pair["b"])
            return (
              key: key,
              value: [
                "add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b, "scale": a * 0.3,
                "lerp": a.interpolated(to: b, at: 0.3), "mean": .mean([a, b], weights: [3, 1]),
                "mean_of_three": .mean([a, b, a]),
              ] as Tree<LazyLeaf>
            )
          })
      }
    default: throw Failure(description: "'\(arguments[0])' is not understood")
    }
  try write(await surgery.load(), to: arguments[2])
}

do {
  try await run(Array(CommandLine.arguments.dropFirst()))
} catch {
  FileHandle.standardError.write(Data("graft-surgery-driver: \(error)\n".utf8))
  exit(1)
}
