// Runs what the tool does not: surgeries into memory, several times in one process, and saves out of memory. scripts/compare drives it.
//
//   graft-comparison-driver surgery RECIPE TIMES [FOLDER]          does the recipe in memory; with FOLDER, writes each leaf there, raw
//   graft-comparison-driver load CHECKPOINT GLOB TIMES [FOLDER]    loads the leaves that match, likewise
//   graft-comparison-driver save CHECKPOINT RESULT FORMAT          loads, untimed, and saves out of memory; FORMAT is safetensors or how
//                                                                  Orbax's chunks are compressed: none, zstd, zstd:entropy, blosc:entropy …
//   graft-comparison-driver open CHECKPOINT TIMES                  opens it and walks over the leaves' specs, as `graft inspect` does
//
// Prints one JSON object: the seconds of each time, and for leaves that were written their dtypes and shapes by the files' names.

import Foundation
import Graft
import GraftRecipes

struct Failure: Error, CustomStringConvertible {
  var description: String
}

/// The leaves' dtypes and shapes by the names of the files that they are in.
func write(_ loaded: Loaded, to folder: String) throws -> [String: Any] {
  var written: [String: Any] = [:]
  for (path, leaf) in loaded.tree.leaves {
    guard case .tensor(let tensor) = leaf else { continue }
    let name = path.keys.map(\.string).joined(separator: ".")
    let bytes = try tensor.bytes
    try bytes.withUnsafeBytes { Data($0) }.write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
    written[name] = [tensor.dtype.rawValue, tensor.shape.map { $0 }]
  }
  return written
}

/// Loads so many times, and writes what came out where that is wanted.
func loads(
  _ times: String, writingTo folder: String?, _ load: () async throws -> Loaded
) async throws -> [String: Any] {
  guard let times = Int(times), times > 0 else {
    throw Failure(description: "'\(times)' is no number of times")
  }
  var answer: [String: Any] = [:]
  var seconds: [Double] = []
  for _ in 0..<times {
    // Given back at the end of the turn, so that the next load reuses its memory.
    let loaded = try await load()
    seconds.append(loaded.report.elapsed / .seconds(1))
    answer["bytes_read"] = loaded.report.reading.bytesRead
    if let folder { answer["leaves"] = try write(loaded, to: folder) }
  }
  answer["seconds"] = seconds
  return answer
}

func save(_ source: String, to path: String, as name: String) async throws -> [String: Any] {
  var format = SaveFormat.safetensors
  if name != "safetensors" {
    guard let compression = Compression(name) else {
      throw Failure(description: "there is no compression '\(name)'")
    }
    var options = OrbaxOptions()
    options.compression = compression
    format = .orbax(options)
  }
  let loaded = try await Checkpoint(at: source).load()
  let report = try await Checkpoint.save(loaded.tree, to: path, as: format)
  return ["seconds": [report.elapsed / .seconds(1)], "bytes_written": report.storedByteCount]
}

/// Opens so many times, each time as if nothing were known of the checkpoint.
func open(_ path: String, times: Int) async throws -> [String: Any] {
  var seconds: [Double] = []
  var leafCount = 0
  for _ in 0..<times {
    let start = ContinuousClock.now
    leafCount = 0
    for (_, leaf) in try await Checkpoint(at: path).tree.leaves where leaf.tensor != nil {
      leafCount += 1
    }
    seconds.append((ContinuousClock.now - start) / .seconds(1))
  }
  return ["seconds": seconds, "leaf_count": leafCount]
}

do {
  let arguments = Array(CommandLine.arguments.dropFirst())
  let answer: [String: Any]
  switch (arguments.first, arguments.count) {
  case ("surgery", 3...4):
    let recipe = try await Recipe(at: arguments[1])
    let surgery = try recipe.surgery(sources: try await recipe.openSources())
    answer = try await loads(arguments[2], writingTo: arguments.count == 4 ? arguments[3] : nil) {
      try await surgery.load()
    }
  case ("load", 4...5):
    let checkpoint = try await Checkpoint(at: arguments[1])
    answer = try await loads(arguments[3], writingTo: arguments.count == 5 ? arguments[4] : nil) {
      try await checkpoint.load(matching: arguments[2])
    }
  case ("open", 3): answer = try await open(arguments[1], times: Int(arguments[2]) ?? 1)
  case ("save", 4): answer = try await save(arguments[1], to: arguments[2], as: arguments[3])
  default: throw Failure(description: "these arguments are not understood: \(arguments)")
  }
  FileHandle.standardOutput.write(try JSONSerialization.data(withJSONObject: answer))
} catch {
  FileHandle.standardError.write(Data("graft-comparison-driver: \(error)\n".utf8))
  exit(1)
}
