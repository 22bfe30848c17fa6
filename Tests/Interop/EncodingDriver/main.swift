// What the interoperability tests encode with Graft and decode with TensorStore, numcodecs and zstandard.
//
//   graft-encoding-driver COMPRESSION ELEMENT_BYTES CHECKSUM CHUNK_BYTES ELEMENTS FOLDER
//
// Cuts the file ELEMENTS into chunks, writes each encoded to FOLDER under its number, and prints the metadata: one JSON object with
// `codecs`, as version 3 of Zarr has them, and `compressor`, as version 2 does.

import Foundation
import GraftCodec
import GraftCore
import GraftFormats

struct Failure: Error, CustomStringConvertible {
  var description: String
}

func run(_ arguments: [String]) throws {
  guard arguments.count == 6, let compression = Compression(arguments[0]),
    let elementByteCount = Int(arguments[1]), let hasChecksum = Bool(arguments[2]),
    let chunkByteCount = Int(arguments[3])
  else {
    throw Failure(description: "usage: COMPRESSION ELEMENT_BYTES CHECKSUM CHUNK_BYTES ELEMENTS FOLDER")
  }
  let encoding = try ChunkEncoding(
    compression, hasChecksum: hasChecksum, elementByteCount: elementByteCount)
  var encoder = try ChunkEncoder(encoding)
  let elements = [UInt8](try Data(contentsOf: URL(fileURLWithPath: arguments[4])))
  guard let bound = encoding.encodedByteCountBound(chunkByteCount) else {
    throw Failure(description: "no chunk is that large")
  }
  var room = [UInt8](repeating: 0, count: bound)
  for (number, start) in stride(from: 0, to: elements.count, by: chunkByteCount).enumerated() {
    let chunk = elements[start..<min(elements.count, start + chunkByteCount)]
    let count = try chunk.withUnsafeBytes { source in
      try room.withUnsafeMutableBytes { try encoder.encode(source, into: $0) }
    }
    try Data(room[..<count]).write(to: URL(fileURLWithPath: "\(arguments[5])/\(number)"))
  }
  var json = JSONWriter()
  json.beginObject()
  json.key("codecs")
  json.value(.array(encoding.codecs.map { $0.version3JSON(elementByteCount: elementByteCount) }))
  json.key("compressor")
  json.value(encoding.compressor?.version2JSON ?? .null)
  json.endObject()
  print(json.string)
}

do {
  try run(Array(CommandLine.arguments.dropFirst()))
} catch {
  FileHandle.standardError.write(Data("graft-encoding-driver: \(error)\n".utf8))
  exit(2)
}
