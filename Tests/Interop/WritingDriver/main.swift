// Writes an Orbax checkpoint of arrays that Python made, for the interoperability tests; several threads write its chunks.
//
//   graft-writing-driver DESCRIPTION.json DESTINATION
//
//   {"options": {"version": 0 | 1, "zarr": 2 | 3, "database": true, "compression": "zstd:3", "checksums": true, "chunk_bytes": 4096,
//                "cuts": [[axis, parts], …], "file_bytes": 65536, "custom": {…}, "overwriting": false},
//    "tree": ["dict" | "named", [[key, tree], …]] | ["list" | "tuple", [tree, …]] | ["none"] | ["string", text]
//            | ["array", dtype, [extent, …], file, "numpy" | "scalar" | a sharding, name of a generator?]}
//
// The file of an array has its elements in row-major order, those of less than a byte in a byte each.

import Foundation
import GraftCore
import GraftFormats
import GraftTestSupport

struct Failure: Error, CustomStringConvertible {
  var description: String
}

func need<Value>(_ value: Value?, _ what: String) throws -> Value {
  guard let value else { throw Failure(description: "the description has no \(what)") }
  return value
}

/// The tree, and the files of its arrays in the tree's order.
func tree(_ json: JSONValue, files: inout [String]) throws -> Tree<OrbaxPlan.Leaf> {
  let parts = try need(json.elements, "node")
  switch try need(parts.first?.text, "kind of a node") {
  case let kind where kind == "dict" || kind == "named":
    var fields: [(key: Key, value: Tree<OrbaxPlan.Leaf>)] = []
    for pair in try need(parts[1].elements, "children") {
      let pair = try need(pair.elements, "child")
      fields.append((key: Key(try need(pair[0].text, "key")), value: try tree(pair[1], files: &files)))
    }
    return kind == "dict" ? .dictionary(fields) : .namedTuple(fields)
  case let kind where kind == "list" || kind == "tuple":
    var elements: [Tree<OrbaxPlan.Leaf>] = []
    for element in try need(parts[1].elements, "children") {
      elements.append(try tree(element, files: &files))
    }
    return kind == "list" ? .list(elements) : .tuple(elements)
  case "none": return .empty
  case "string": return .leaf(.string(try need(parts[1].text, "text")))
  case "array":
    let dtype = try need(DType(rawValue: try need(parts[1].text, "dtype")), "known dtype")
    let extents = try need(parts[2].elements, "shape").compactMap(\.integer)
    files.append(try need(parts[3].text, "file"))
    let kind: OrbaxPlan.ArrayKind =
      switch try need(parts[4].text, "kind of an array") {
      case "numpy": .numpy
      case "scalar": .scalar
      case let sharding: .jax(sharding: sharding, randomKey: parts.count > 5 ? parts[5].text : nil)
      }
    return .leaf(.tensor(TensorSpec(dtype, Shape(extents)), kind))
  case let kind: throw Failure(description: "\(kind) is no kind of node")
  }
}

func options(_ json: JSONValue) throws -> OrbaxPlan.Options {
  var options = OrbaxPlan.Options()
  if json["version"]?.integer == 0 { options.version = .version0 }
  options.zarrVersion = json["zarr"]?.integer.flatMap(ZarrVersion.init)
  options.usesDatabase = json["database"]?.truth ?? true
  if let text = json["compression"]?.text { options.compression = try need(Compression(text), "compression") }
  options.hasChecksums = json["checksums"]?.truth ?? true
  options.chunks = ChunkShapeChoice(
    byteCountLimit: json["chunk_bytes"]?.integer ?? 4 << 20,
    cuts: (json["cuts"]?.elements ?? []).compactMap(\.elements).map {
      ChunkShapeChoice.Cut(axis: $0[0].integer ?? 0, partCount: $0[1].integer ?? 1)
    })
  options.dataFileByteCount = json["file_bytes"]?.integer ?? 2 << 30
  options.customMetadata = json["custom"]?.members ?? []
  options.isOverwriting = json["overwriting"]?.truth ?? false
  return options
}

do {
  guard CommandLine.arguments.count == 3 else { throw Failure(description: "usage: DESCRIPTION DESTINATION") }
  let description = try JSONValue(
    parsing: [UInt8](Data(contentsOf: URL(fileURLWithPath: CommandLine.arguments[1]))))
  var files: [String] = []
  let tree = try tree(try need(description["tree"], "tree"), files: &files)
  let plan = try OrbaxPlan(tree, options: try options(description["options"] ?? [:]))
  let writer = try await OrbaxWriter.begin(at: CommandLine.arguments[2], plan)
  let paths = files
  try await withThrowingTaskGroup(of: Void.self) { group in
    for (leaf, array) in plan.arrays.enumerated() {
      group.addTask {
        let elements = [UInt8](try Data(contentsOf: URL(fileURLWithPath: paths[leaf])))
        let chunks = naiveChunks(of: elements, array.spec, chunkShape: array.chunkShape)
        for (number, chunk) in chunks.enumerated() {
          try writer.write(chunk.span.bytes, leaf: leaf, byteOffset: number * array.chunkByteCount)
        }
      }
    }
    try await group.waitForAll()
  }
  try await writer.finish()
} catch {
  FileHandle.standardError.write(Data("\(error)\n".utf8))
  exit(1)
}
