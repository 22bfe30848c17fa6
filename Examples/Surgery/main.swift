// Five surgeries that training programs ask for, one file each, on checkpoints of yours:
//
//   surgery-examples skip-optimizer CHECKPOINT RESULT
//   surgery-examples stack CHECKPOINT RESULT [AXIS]
//   surgery-examples unstack CHECKPOINT RESULT [AXIS]
//   surgery-examples merge IMAGE TEXT RESULT
//   surgery-examples teacher TEACHER STUDENT RESULT
//   surgery-examples omission CHECKPOINT RESULT
//
// A checkpoint is whatever Graft opens: a folder of Orbax, a root of steps, safetensors. The result is streamed into a safetensors
// file; `surgery.load()` would give it in memory instead.

import Foundation
import Graft

struct Usage: Error, CustomStringConvertible {
  var description: String
}

func run(_ arguments: [String]) async throws {
  let words = arguments + [""]
  let surgery: Surgery
  let result: String
  switch (arguments.first, arguments.count) {
  case ("skip-optimizer", 3): (surgery, result) = (try await skipOptimizer(of: words[1]), words[2])
  case ("stack", 3...4), ("unstack", 3...4):
    guard let axis = Int(arguments.count == 4 ? words[3] : "0") else {
      throw Usage(description: "'\(words[3])' is no axis")
    }
    surgery =
      try await words[0] == "stack"
      ? stackLayers(of: words[1], axis: axis) : unstackLayers(of: words[1], axis: axis)
    result = words[2]
  case ("merge", 4): (surgery, result) = (try await mergeModels(image: words[1], text: words[2]), words[3])
  case ("teacher", 4): (surgery, result) = (try await frozenTeacher(words[1], beside: words[2]), words[3])
  case ("omission", 3):
    (surgery, result) = (try inMemory(await loadByOmission(from: words[1])), words[2])
  default: throw Usage(description: "the first lines of Examples/Surgery/main.swift say what it takes")
  }
  print(surgery.tree)
  let report = try await surgery.save(to: result)
  print(
    "\(report.leafCount) leaves, \(report.byteCount) bytes, of which \(report.reading.bytesRead) were read as stored"
  )
}

do {
  try await run(Array(CommandLine.arguments.dropFirst()))
} catch {
  FileHandle.standardError.write(Data("surgery-examples: \(error)\n".utf8))
  exit(1)
}
