import Foundation
import Glibc

/// The built tool, run as a process of its own.
struct Tool {
  /// What a run came to.
  struct Outcome {
    var status: Int32
    var output: String
    var diagnostics: String
  }

  /// The tool lies beside the tests' own executable.
  static let path = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent()
    .appendingPathComponent("graft").path

  /// Runs the tool with pipes for both streams, and waits for its end.
  static func run(_ arguments: String..., environment: [String: String] = [:]) throws -> Outcome {
    try run(arguments, environment: environment)
  }

  static func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Outcome {
    let folder = try Folder()
    let (output, diagnostics) = (folder.path("output"), folder.path("diagnostics"))
    let process = try start(
      arguments, output: file(output), diagnostics: file(diagnostics), environment: environment)
    process.waitUntilExit()
    return Outcome(
      status: process.terminationStatus, output: try String(contentsOfFile: output, encoding: .utf8),
      diagnostics: try String(contentsOfFile: diagnostics, encoding: .utf8))
  }

  /// Starts the tool and does not wait.
  static func start(
    _ arguments: [String], output: FileHandle, diagnostics: FileHandle, environment: [String: String] = [:]
  ) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = diagnostics
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    try process.run()
    return process
  }

  static func file(_ path: String) throws -> FileHandle {
    _ = FileManager.default.createFile(atPath: path, contents: nil)
    return try FileHandle(forWritingTo: URL(fileURLWithPath: path))
  }
}

/// A folder of one test, gone with it.
final class Folder {
  private let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("graft-cli-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  func path(_ name: String) -> String { url.appendingPathComponent(name).path }

  func names(in folder: String = "") throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.isEmpty ? url.path : path(folder)).sorted()
  }

  func bytes(_ name: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path(name))) }
}

extension Folder {
  /// Writes a safetensors file of float32 tensors, whose elements count up from 0 in each.
  @discardableResult
  func writeModel(
    _ name: String, _ tensors: [(name: String, shape: [Int])], metadata: [String: String] = [:]
  ) throws -> String {
    var entries: [String] = []
    var data = Data()
    if !metadata.isEmpty {
      let members = metadata.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\"\($0.value)\"" }
      entries.append("\"__metadata__\":{\(members.joined(separator: ","))}")
    }
    for tensor in tensors {
      let count = tensor.shape.reduce(1, *)
      let range = "[\(data.count),\(data.count + count * 4)]"
      entries.append(
        "\"\(tensor.name)\":{\"dtype\":\"F32\",\"shape\":\(tensor.shape),\"data_offsets\":\(range)}")
      for index in 0..<count {
        withUnsafeBytes(of: Float(index).bitPattern.littleEndian) { data.append(contentsOf: $0) }
      }
    }
    let header = Data("{\(entries.joined(separator: ","))}".utf8)
    var file = Data()
    withUnsafeBytes(of: UInt64(header.count).littleEndian) { file.append(contentsOf: $0) }
    try (file + header + data).write(to: URL(fileURLWithPath: path(name)))
    return path(name)
  }

  /// Writes a safetensors file of one uint8 tensor that takes no space on the disk.
  func writeSparseModel(_ name: String, byteCount: Int) throws -> String {
    let header = Data(
      "{\"zeros\":{\"dtype\":\"U8\",\"shape\":[\(byteCount)],\"data_offsets\":[0,\(byteCount)]}}".utf8)
    var file = Data()
    withUnsafeBytes(of: UInt64(header.count).littleEndian) { file.append(contentsOf: $0) }
    try (file + header).write(to: URL(fileURLWithPath: path(name)))
    guard truncate(path(name), off_t(8 + header.count + byteCount)) == 0 else {
      throw CocoaError(.fileWriteUnknown)
    }
    return path(name)
  }
}

/// A terminal that a test holds the other end of.
final class PseudoTerminal {
  private let controller: Int32
  /// What the tool writes to.
  let terminal: FileHandle

  init(columnCount: UInt16) throws {
    controller = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
    // What unlockpt and ptsname do, which Swift's C library module leaves out: TIOCSPTLCK and TIOCGPTN.
    var lock: Int32 = 0
    var number: UInt32 = 0
    guard controller >= 0, ioctl(controller, 0x4004_5431, &lock) == 0,
      ioctl(controller, 0x8004_5430, &number) == 0
    else { throw CocoaError(.fileReadUnknown) }
    let descriptor = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)
    guard descriptor >= 0 else { throw CocoaError(.fileReadUnknown) }
    terminal = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    var size = winsize(ws_row: 24, ws_col: columnCount, ws_xpixel: 0, ws_ypixel: 0)
    _ = ioctl(descriptor, UInt(TIOCSWINSZ), &size)
  }

  deinit { close(controller) }

  /// All that was written, once nobody holds the terminal any more.
  func readToEnd() throws -> String {
    try terminal.close()
    var text: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 4096)
    while true {
      // A terminal that nobody holds any more gives EIO, not an end.
      let count = read(controller, &block, block.count)
      if count <= 0 { break }
      text += block[..<count]
    }
    return String(decoding: text, as: UTF8.self)
  }
}
