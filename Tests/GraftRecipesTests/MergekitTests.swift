import Graft
import GraftTestSupport
import Testing

/// A merge that mergekit did, and the step that says it to Graft.
struct MergekitCase: CustomTestStringConvertible, Sendable {
  /// The name of mergekit's result.
  var name: String
  /// What multiplies the models' magnitudes in what single roundings may come to.
  var weights: [Double]
  var step: String
  /// Whether every bit must be mergekit's.
  var isExact: [DType]

  var testDescription: String { "\(name) by \(step)" }
}

/// mergekit computes these in float32 and rounds once, as Graft does, but PyTorch fuses the multiplication of `linear` with the addition.
private let cases: [MergekitCase] = [
  // The first product is added to 0, and what 0.5 is multiplied with is not rounded, so there is nothing that could be fused.
  MergekitCase(
    name: "linear", weights: [0.7, 0.5], step: "average: {of: [a, b], weights: [0.7, 0.5]}",
    isExact: [.float32, .bfloat16]),
  MergekitCase(
    name: "linear-of-three", weights: [1, 2, 4], step: "average: {of: [a, b, c], weights: [1, 2, 4]}",
    isExact: [.float32, .bfloat16]),
  MergekitCase(
    name: "linear-sum-of-halves", weights: [1, 0.5, 0.25],
    step: "sum: {of: [a, b, c], weights: [1, 0.5, -0.25]}",
    isExact: [.float32, .bfloat16]),
  MergekitCase(
    name: "linear-sum", weights: [1, 0.3, 0.45], step: "sum: {of: [a, b, c], weights: [1, 0.3, -0.45]}",
    isExact: []),
  // mergekit sums norms and angle in float32, Graft sums them exactly: the weights may differ.
  MergekitCase(name: "slerp", weights: [1, 1], step: "slerp: {of: [a, b], at: 0.3}", isExact: []),
  MergekitCase(
    name: "task_arithmetic", weights: [1, 1, 1],
    step: "task_arithmetic: {base: a, of: [b, c], weights: [0.6, 0.25]}", isExact: [.float32, .bfloat16]),
  // The same as one sum, which has no differences to round.
  MergekitCase(
    name: "task_arithmetic", weights: [1, 1, 1], step: "sum: {of: [a, b, c], weights: [0.15, 0.6, 0.25]}",
    isExact: []),
]

@Suite struct MergekitTests {
  static let folder = "mergekit/mergekit-0.1.5"

  @Test(arguments: cases, [DType.float32, .bfloat16])
  func `models are merged as mergekit merges them`(merge: MergekitCase, dtype: DType) async throws {
    let folder = "\(Self.folder)/\(dtype)"
    let found = try await carryingOut(
      "sources: {a: a.safetensors, b: b.safetensors, c: c.safetensors}\nsteps:\n- \(merge.step)\n", in: folder
    )
    let models = try await ["a", "b", "c"].prefix(merge.weights.count).map { "\(folder)/\($0).safetensors" }
      .asyncMap { try await tensors(of: $0) }
    let expected = try await tensors(of: "\(folder)/\(merge.name).safetensors")
    #expect(found.leafCount == expected.count && expected.count == 21)
    for (index, (path, tensor)) in expected.enumerated() {
      let result = try found[at: path].tensor
      #expect(result.dtype == dtype && result.shape == tensor.shape, "\(path)")
      if merge.isExact.contains(dtype) {
        #expect(try result.contentEquals(tensor), "\(path)")
        continue
      }
      let (mine, theirs) = (try result.array(as: Float.self), try tensor.array(as: Float.self))
      let operands = try models.map { try $0[index].tensor.array(as: Float.self) }
      for element in mine.indices {
        // Each side rounds a product and a sum for each model, and what the weights themselves are, with half of 2^-23 of all that is
        // summed up; 8 of these for each model are more than either has. Then each is rounded once to the dtype.
        let magnitude = zip(operands, merge.weights).reduce(0) {
          $0 + Double($1.0[element].magnitude) * $1.1.magnitude
        }
        let tolerance =
          8 * Double(operands.count) * 0x1p-24 * magnitude
          + (dtype == .float32 ? 0 : spacing(of: dtype) * Double(theirs[element].magnitude))
        let difference = (Double(mine[element]) - Double(theirs[element])).magnitude
        guard difference <= tolerance else {
          Issue.record("\(path)[\(element)]: \(mine[element]) is not \(theirs[element])")
          return
        }
      }
    }
  }
}

extension Sequence {
  /// `map` with a body that waits.
  fileprivate func asyncMap<Result>(_ body: (Element) async throws -> Result) async rethrows -> [Result] {
    var results: [Result] = []
    for element in self { results.append(try await body(element)) }
    return results
  }
}
