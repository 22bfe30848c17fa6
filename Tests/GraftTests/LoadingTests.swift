import Foundation
import Graft
import Testing

/// A safetensors file made by hand, so that what is loaded is compared with what was put in and not with our own writer.
struct HandMadeFile {
  let path: String
  let bytes: [UInt8]
  let dataOffset: Int

  /// Writes tensors one after another, `data` in the order of `tensors`.
  init(
    _ tensors: [(name: String, dtype: String, shape: [Int], data: [UInt8])], in folder: TemporaryFolder,
    name: String = "model.safetensors"
  ) throws {
    var entries: [String] = []
    var data: [UInt8] = []
    for tensor in tensors {
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      entries.append(
        "\"\(tensor.name)\":{\"dtype\":\"\(tensor.dtype)\",\"shape\":[\(shape)],\"data_offsets\":[\(data.count),\(data.count + tensor.data.count)]}"
      )
      data += tensor.data
    }
    let header = Array("{\(entries.joined(separator: ","))}".utf8)
    bytes = withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header + data
    dataOffset = 8 + header.count
    path = folder.path + "/" + name
    try Data(bytes).write(to: URL(filePath: path))
  }
}

/// A folder that goes when the test does.
final class TemporaryFolder {
  let path: String
  init() throws {
    path = NSTemporaryDirectory() + "/graft-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }
}

func bytes<T>(_ values: [T]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

@Suite struct LoadingTests {
  let folder: TemporaryFolder
  let file: HandMadeFile
  let weight = (0..<24).map { Float($0) * 0.5 - 3 }
  let big = (0..<300_000).map { UInt16(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }

  init() throws {
    folder = try TemporaryFolder()
    file = try HandMadeFile(
      [
        ("layers.0.weight", "F32", [4, 6], bytes(weight)),
        ("layers.1.big", "U16", [300, 1000], bytes(big)),
        ("step", "I64", [], bytes([Int64(1234)])),
        ("empty", "F32", [0, 3], []),
      ], in: folder)
  }

  @Test func `a whole file loads, every value as it was put in`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let loaded = try await checkpoint.load()
    #expect(try loaded.tree["layers"]["0"]["weight"].tensor.array(as: Float.self) == weight)
    #expect(try loaded.tree["layers"][1]["big"].tensor.array(as: UInt16.self) == big)
    #expect(try loaded.tree["step"].scalar() == 1234)
    #expect(try loaded.tree["empty"].tensor.spec == TensorSpec(.float32, [0, 3]))
    #expect(loaded.report.loadedByteCount == 96 + 600_000 + 8)
    #expect(loaded.report.reading.bytesWanted == 96 + 600_000 + 8)
    #expect(loaded.report.reading.bytesRead == loaded.report.reading.bytesWanted)
  }

  @Test func `placeholders are not read`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let target = checkpoint.target { path, _ in path.last == "big" ? .placeholder : .stored }
    let loaded = try await checkpoint.load(target)
    guard case .placeholder? = loaded.tree["layers"]["1"]["big"].leaf else {
      Issue.record("the placeholder is gone")
      return
    }
    #expect(loaded.report.reading.bytesWanted == 96 + 8)
    #expect(loaded.report.reading.bytesRead == 96 + 8)
    #expect(loaded.report.leaves(.placeholder).map(\.path) == ["layers/1/big"])
  }

  @Test func `a pattern loads what it matches and says what it left out`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let loaded = try await checkpoint.load(matching: "layers/*/weight")
    #expect(loaded.tree.leaves.map(\.path) == ["layers/0/weight"])
    #expect(loaded.report.reading.bytesRead == 96)
    #expect(Set(loaded.report.leaves(.omitted).map(\.path)) == ["layers/1/big", "step", "empty"])
    await #expect(throws: GraftError.self) { try await checkpoint.load(matching: "layers/*/weigth") }
  }

  @Test(arguments: [
    ("0:2", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), (":,2", [2, 8, 14, 20]),
    ("::-1,::5", [18, 23, 12, 17, 6, 11, 0, 5]),
  ])
  func `a slice of a leaf has the elements that NumPy gives`(slice: String, expected: [Int]) async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let loaded = try await checkpoint.load(
      ["layers": ["0": ["weight": .slice(TensorSlice(parsing: slice))]]], partial: true)
    #expect(
      try loaded.tree["layers"]["0"]["weight"].tensor.array(as: Float.self) == expected.map { weight[$0] })
  }

  @Test func `columns of a large leaf are placed whatever the budget`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    for budget in [64 << 20, 200_000] {
      var tuning = Tuning()
      tuning.budgetByteCount = budget
      let loaded = try await checkpoint.load(
        ["layers": ["1": ["big": .slice(.all, .strided(from: 3, to: 900, by: 7))]]], partial: true,
        tuning: tuning)
      let expected = (0..<300).flatMap { row in stride(from: 3, to: 900, by: 7).map { big[row * 1000 + $0] } }
      #expect(try loaded.tree["layers"]["1"]["big"].tensor.array(as: UInt16.self) == expected)
      #expect(loaded.report.reading.peakStagingByteCount <= budget)
    }
  }

  @Test func `mapped tensors are views of the file and cost no read`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let loaded = try await checkpoint.load(to: .mapped)
    #expect(loaded.report.reading.bytesRead == 0)
    #expect(try loaded.tree["layers"]["1"]["big"].tensor.array(as: UInt16.self) == big)
    #expect(try loaded.tree["layers"]["0"]["weight"].tensor.array(as: Float.self) == weight)
    #expect(try loaded.tree["empty"].tensor.shape == [0, 3])
  }

  @Test func `a mapped load reads what cannot be a view, and says so`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let loaded = try await checkpoint.load(
      ["layers": ["0": ["weight": .slice(.all, 2)], "1": ["big": .slice(10..<20)]]], partial: true,
      to: .mapped)
    #expect(
      try loaded.tree["layers"]["0"]["weight"].tensor.array(as: Float.self)
        == [2, 8, 14, 20].map { weight[$0] })
    #expect(
      try loaded.tree["layers"]["1"]["big"].tensor.array(as: UInt16.self) == Array(big[10_000..<20_000]))
    #expect(loaded.report.notes.count == 1)
    #expect(loaded.report.reading.bytesWanted == 16)
  }

  @Test func `the caller's own memory is filled, and too little of it is refused`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let target = checkpoint.target { _, _ in .stored }
    let byteCount = try await checkpoint.plan(target).packedByteCount
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 64)
    defer { memory.deallocate() }
    let loaded = try await checkpoint.load(target, to: .memory(memory))
    let weights = try loaded.tree["layers"]["0"]["weight"].tensor
    #expect(try weights.array(as: Float.self) == weight)
    #expect(memory.bindMemory(to: Float.self)[1] == weight[1])
    let less = UnsafeMutableRawBufferPointer(rebasing: memory[..<(byteCount - 1)])
    let error = await #expect(throws: GraftError.self) {
      try await checkpoint.load(target, to: .memory(less))
    }
    #expect(error?.code == .insufficientMemory)
  }

  @Test func `a file that was cut short after opening names itself`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    truncate(file.path, off_t(file.bytes.count - 10))
    let error = await #expect(throws: GraftError.self) { try await checkpoint.load() }
    #expect(error?.code == .fileChanged)
    #expect(error?.file == file.path)
  }

  @Test func `a cancelled load throws`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await checkpoint.load()
    }
    let error = await #expect(throws: GraftError.self) { try await task.value }
    #expect(error?.code == .cancelled)
  }

  @Test func `progress ends with everything done`() async throws {
    let checkpoint = try await Checkpoint(at: file.path)
    let last = Last()
    _ = try await checkpoint.load(progress: { last.value = $0 })
    #expect(last.value?.completedByteCount == 600_104)
    #expect(last.value?.totalByteCount == 600_104)
  }

  final class Last: @unchecked Sendable { var value: Graft.Progress? }
}
