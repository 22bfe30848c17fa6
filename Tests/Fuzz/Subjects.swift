import Foundation
import Graft
import GraftTestSupport

/// A copy of a fixture that rounds change and put right again.
struct Subject {
  let path: String
  /// Its files as they were, by their paths below ``path``.
  let files: [String: [UInt8]]
  let mutable: [String]

  init(path: String) throws {
    self.path = path
    var files: [String: [UInt8]] = [:]
    let enumerator = FileManager.default.enumerator(atPath: path)
    while let name = enumerator?.nextObject() as? String {
      var isFolder: ObjCBool = false
      let whole = path + "/" + name
      guard FileManager.default.fileExists(atPath: whole, isDirectory: &isFolder), !isFolder.boolValue else {
        continue
      }
      files[name] = [UInt8](try Data(contentsOf: URL(fileURLWithPath: whole)))
    }
    self.files = files
    mutable = files.keys.filter { !$0.hasSuffix("commit_success.txt") }.sorted()
  }

  /// Changes something, and gives the files that are no longer what they were.
  func change(_ random: inout SeededGenerator) throws -> Set<String> {
    var changed: Set<String> = []
    // A tree that says that chunks of the fill value are not stored lets absent ones through, which would be an error at once.
    if Int.random(in: 0..<3, using: &random) == 0 {
      for name in mutable where name.hasSuffix("_METADATA") {
        let text = String(decoding: files[name] ?? [], as: UTF8.self)
        let lenient = text.replacing(#"fill_value": true"#, with: #"fill_value": false"#)
        if lenient != text {
          try write(Array(lenient.utf8), to: name)
          changed.insert(name)
        }
      }
    }
    for _ in 0..<Int.random(in: 1...2, using: &random) {
      let name = mutable.randomElement(using: &random)!
      let original = files[name] ?? []
      for (file, bytes) in Mutation.apply(to: name, original, in: self, &random) {
        try write(bytes, to: file)
        changed.insert(file)
      }
    }
    return changed
  }

  func restore(_ changed: Set<String>) throws {
    for name in changed {
      if let bytes = files[name] {
        try write(bytes, to: name)
      } else {
        try FileManager.default.removeItem(atPath: path + "/" + name)
      }
    }
  }

  private func write(_ bytes: [UInt8], to name: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + name))
  }

  /// Opens the checkpoint and loads what it has; gives what came of it.
  func load() async -> String {
    do throws(GraftError) {
      let checkpoint = try await Checkpoint(at: path)
      let target = checkpoint.target { _, spec in
        if case .unsupported = spec { .placeholder } else { .stored }
      }
      let plan = try await checkpoint.plan(target)
      guard plan.resultByteCount <= loadLimit else { return "planned" }
      var tuning = Tuning()
      tuning.budgetByteCount = 32 << 20
      _ = try await checkpoint.load(target, tuning: tuning)
      return "loaded"
    } catch {
      // An error must be one that can be printed, however hostile the names in it are.
      guard !"\(error)".isEmpty, "\(error)".utf8.count < 1 << 20 else { fail("an error that is too long") }
      return "\(error.code)"
    }
  }
}

enum Subjects {
  /// The fixtures that are changed: a checkpoint of each layout.
  private static let fixtures = [
    "orbax/0.12.8/v1", "orbax/0.12.8/v1-mesh", "orbax/0.12.8/v1-subchunked", "orbax/0.12.8/v1-folders-zarr2",
    "orbax/0.12.8/v1-folders-zarr3", "orbax/0.12.8/v1-uncompressed", "orbax/0.12.8/v1-ocdbt-zarr2",
    "orbax/0.12.8/v0-rich", "orbax/0.12.8/v0-steps", "orbax/0.6.4/folders-zarr3",
  ]

  /// Copies of them in a folder of their own.
  static func copy() throws -> URL {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("graft-fuzz-\(getpid())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for (number, name) in fixtures.enumerated() {
      try FileManager.default.copyItem(
        at: URL(fileURLWithPath: Fixture.path(name)), to: folder.appendingPathComponent("\(number)"))
    }
    return folder
  }

  static func all(in folder: URL) throws -> [Subject] {
    try fixtures.indices.map { try Subject(path: folder.appendingPathComponent("\($0)").path) }
  }
}
