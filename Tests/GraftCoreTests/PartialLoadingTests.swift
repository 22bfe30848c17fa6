import GraftCore
import Testing

/// The semantics of partial loading, row by row: the cases in which Orbax is strict, silent or wrong, and what Graft does.
///
/// docs/partial-loading.md shows the same table to users.
@Suite struct PartialLoadingTests {
  /// params/l0/kernel float32[2, 4], params/l0/bias float32[4], opt a list of two float32[3], step int64[], name a string.
  static let catalog: Catalog = {
    var offset = 0
    func tensor(_ dtype: DType, _ shape: Shape) -> Tree<StoredLeaf> {
      let spec = TensorSpec(dtype, shape)
      let range = ByteRange(offset: offset, count: spec.byteCount)
      offset += spec.byteCount
      return .leaf(.tensor(spec, Layout(contiguous: spec, file: 0, range: range), name: ""))
    }
    return Catalog(
      format: "test", files: [StoredFile(path: "model", byteCount: 1_000)],
      tree: [
        "params": ["l0": ["kernel": tensor(.float32, [2, 4]), "bias": tensor(.float32, [4])]],
        "opt": [tensor(.float32, [3]), tensor(.float32, [3])],
        "step": tensor(.int64, []),
        "name": .leaf(.string("tiny")),
        "nothing": .empty,
      ])
  }()

  static let complete: Tree<Target> = [
    "params": ["l0": ["kernel": .stored, "bias": .stored]], "opt": [.stored, .stored], "step": .stored,
    "name": .stored, "nothing": .empty,
  ]

  /// One row of the table: what is asked for, and what comes of it.
  struct Row: CustomTestStringConvertible {
    var name: String
    var change: @Sendable (inout Tree<Target>) -> Void
    var partial = false
    /// What is read, in bytes, where the row is allowed.
    var bytes: Int?
    /// The error otherwise.
    var code: GraftError.Code?
    var leaf: TreePath?
    var says = ""
    var testDescription: String { name + (partial ? " (partial)" : "") }
  }

  /// Lets the compiler check the table row by row, which it cannot do for one long array in reasonable time.
  @resultBuilder enum RowBuilder {
    static func buildBlock(_ rows: Row...) -> [Row] { rows }
  }

  static let whole = 32 + 16 + 12 + 12 + 8

  @RowBuilder static var rows: [Row] {
    Row(name: "everything as stored", change: { _ in }, bytes: whole)
    Row(
      name: "a placeholder keeps its place and is not read",
      change: { $0["params"]["l0"]["kernel"] = .placeholder }, bytes: whole - 32)
    Row(name: "placeholders in a list", change: { $0["opt"] = [.placeholder, .stored] }, bytes: whole - 12)
    Row(
      name: "a stored leaf that is not mentioned", change: { $0["params"]["l0"] = ["kernel": .stored] },
      code: .structureMismatch, leaf: "params/l0/bias", says: "pass partial: true")
    Row(
      name: "a stored leaf that is not mentioned", change: { $0["params"]["l0"] = ["kernel": .stored] },
      partial: true, bytes: whole - 16)
    Row(
      name: "a stored subtree that is not mentioned", change: { $0 = ["step": .stored] },
      code: .structureMismatch, leaf: "params",
      says: "a dictionary of 1 child that the target does not mention")
    Row(
      name: "a stored subtree that is not mentioned", change: { $0 = ["step": .stored] }, partial: true,
      bytes: 8)
    Row(
      name: "a wanted leaf that is missing", change: { $0["params"]["l0"]["kernal"] = .stored },
      code: .leafNotFound, leaf: "params/l0/kernal", says: "Did you mean kernel?")
    Row(
      name: "a wanted leaf that is missing", change: { $0["params"]["l0"]["kernal"] = .stored },
      partial: true,
      code: .leafNotFound, leaf: "params/l0/kernal", says: "Did you mean kernel?")
    Row(
      name: "a wanted subtree that is missing names its leaves",
      change: { $0["ema"] = ["l9": ["zzz": .stored]] }, partial: true,
      code: .leafNotFound, leaf: "ema/l9/zzz", says: ".keep(tensor)")
    Row(
      name: "a placeholder that is missing", change: { $0["ema"] = .placeholder }, code: .leafNotFound,
      leaf: "ema", says: "partial: true")
    Row(
      name: "a placeholder that is missing", change: { $0["ema"] = .placeholder }, partial: true, bytes: whole
    )
    Row(
      name: "a placeholder over a subtree", change: { $0["opt"] = .placeholder },
      code: .structureMismatch, leaf: "opt",
      says: "a placeholder where the checkpoint has a list of 2 children. In leaf opt. Pass partial: true")
    Row(
      name: "a placeholder over a subtree", change: { $0["opt"] = .placeholder }, partial: true,
      bytes: whole - 24)
    Row(
      name: "stored over a subtree", change: { $0["params"] = .stored }, code: .structureMismatch,
      leaf: "params", says: "partial: true")
    Row(name: "stored over a subtree", change: { $0["params"] = .stored }, partial: true, bytes: whole)
    Row(
      name: "a list of another length", change: { $0["opt"] = [.stored] },
      code: .structureMismatch, leaf: "opt", says: "Expected 1 elements, found 2.")
    Row(
      name: "a list of another length", change: { $0["opt"] = [.stored] }, partial: true,
      code: .structureMismatch, leaf: "opt", says: "Expected 1 elements, found 2.")
    Row(
      name: "a dictionary for a list", change: { $0["opt"] = ["0": .stored, "1": .stored] },
      code: .structureMismatch, leaf: "opt",
      says: "a dictionary of 2 children where the checkpoint has a list of 2 children")
    Row(
      name: "a dictionary for a list", change: { $0["opt"] = ["0": .stored, "1": .stored] }, partial: true,
      code: .structureMismatch, leaf: "opt", says: "where the checkpoint has a list")
    Row(
      name: "a subtree for a leaf", change: { $0["step"] = ["a": .stored] },
      code: .structureMismatch, leaf: "step", says: "a dictionary of 1 child where the checkpoint has a leaf")
    Row(
      name: "a tuple for a list", change: { $0["opt"] = .tuple([.stored, .placeholder]) }, bytes: whole - 12)
    Row(
      name: "a named tuple for a dictionary",
      change: {
        $0["params"]["l0"] = .namedTuple([(key: "kernel", value: .stored), (key: "bias", value: .stored)])
      }, bytes: whole)
    Row(
      name: "an empty target", change: { $0 = [:] }, code: .structureMismatch, leaf: "params",
      says: "does not mention")
    Row(name: "an empty target", change: { $0 = [:] }, partial: true, bytes: 0)
    Row(
      name: "None for a tensor", change: { $0["step"] = .empty }, code: .structureMismatch, leaf: "step",
      says: "Ask for .placeholder")
    Row(
      name: "None for a subtree", change: { $0["params"] = .empty }, partial: true, code: .structureMismatch,
      leaf: "params", says: "an empty node")
    Row(name: "a leaf for None", change: { $0["nothing"] = .stored }, bytes: whole)
    Row(
      name: "the right spec", change: { $0["params"]["l0"]["kernel"] = .spec(.float32, [2, 4]) }, bytes: whole
    )
    Row(
      name: "another shape", change: { $0["params"]["l0"]["kernel"] = .spec(.float32, [4, 4]) },
      code: .shapeMismatch, leaf: "params/l0/kernel", says: "Expected float32[4, 4], found float32[2, 4].")
    Row(
      name: "another dtype", change: { $0["params"]["l0"]["kernel"] = .spec(.int8, [2, 4]) },
      code: .dtypeMismatch, leaf: "params/l0/kernel", says: "never cast silently")
    Row(
      name: "another shape for a scalar", change: { $0["step"] = .spec(.int64, [1]) },
      code: .shapeMismatch, leaf: "step", says: "found int64[]")
    Row(
      name: "a tensor for a string", change: { $0["name"] = .spec(.int64, []) }, code: .dtypeMismatch,
      leaf: "name", says: "found a string")
    Row(
      name: "a string for a tensor", change: { $0["step"] = .spec(.string) }, code: .dtypeMismatch,
      leaf: "step", says: "Expected a string")
    Row(
      name: "a slice reads its rows", change: { $0["params"]["l0"]["kernel"] = .slice(1) }, bytes: whole - 16)
    Row(
      name: "a slice out of bounds", change: { $0["params"]["l0"]["kernel"] = .slice(0..<2, 4) },
      code: .shapeMismatch, leaf: "params/l0/kernel", says: "index 4 on axis 1")
    Row(
      name: "a slice of a string", change: { $0["name"] = .slice(0) }, code: .invalidArgument, leaf: "name",
      says: "A string has no slice")
    Row(
      name: "a slice of a subtree", change: { $0["params"] = .slice(0) }, partial: true,
      code: .structureMismatch, leaf: "params")
    Row(
      name: "a key written twice", change: { $0 = ["a": .stored, "a": .stored] }, partial: true,
      code: .collision, leaf: "(root)", says: "key a comes twice")
  }

  @Test(arguments: rows) func `each row of the table holds`(row: Row) throws {
    var target = Self.complete
    row.change(&target)
    do {
      let load = try LoadPlan(target, from: Self.catalog, partial: row.partial)
      #expect(row.code == nil, "this should have been an error")
      #expect(load.plan.moves.reduce(0) { $0 + $1.copy.copiedByteCount } == row.bytes)
      #expect(load.tree.kind == target.kind)
      let skipped = (load.omitted + load.placeholders).reduce(0) { $0 + $1.byteCount }
      if !row.name.contains("slice") {
        let strings = load.tree.leaves.reduce(0) {
          if case .string(let text) = $1.leaf { $0 + text.utf8.count } else { $0 }
        }
        #expect(
          load.plan.resultByteCount + strings + skipped == Self.whole + 4,
          "every byte is loaded or accounted for")
      }
    } catch {
      #expect(error.code == row.code, "\(error)")
      #expect(error.leaf == row.leaf, "\(error)")
      #expect("\(error)".contains(row.says), "\(error)")
    }
  }

  @Test func `all disagreements are thrown together`() {
    var target = Self.complete
    target["params"]["l0"]["kernel"] = .spec(.float32, [9])
    target["opt"] = [.stored]
    target["ema"] = .stored
    let error = #expect(throws: GraftError.self) { try LoadPlan(target, from: Self.catalog, partial: false) }
    #expect(error.map { [$0.leaf] + $0.others.map(\.leaf) } == ["params/l0/kernel", "opt", "ema"])
  }

  @Test func `a kept tensor fills in for a missing leaf and nothing else`() throws {
    let tensor = Tensor([Float](repeating: 0, count: 4), shape: [4])
    var target = Self.complete
    target["ema"] = .keep(tensor)
    target["params"]["l0"]["bias"] = .keep(tensor)
    let load = try LoadPlan(target, from: Self.catalog, partial: false)
    guard case .kept = load.tree["ema"].leaf else { Issue.record("the missing leaf was not kept"); return }
    guard case .read = load.tree["params"]["l0"]["bias"].leaf else {
      Issue.record("the stored leaf was not read"); return
    }
    target["params"]["l0"]["kernel"] = .keep(tensor)
    #expect(throws: GraftError.self) { try LoadPlan(target, from: Self.catalog, partial: false) }
  }

  @Test func `a result has the target's kinds of nodes`() throws {
    var target = Self.complete
    target["opt"] = .tuple([.stored, .stored])
    let load = try LoadPlan(target, from: Self.catalog, partial: false)
    #expect(load.tree["opt"].kind == .tuple)
    #expect(load.tree["nothing"].kind == .empty)
  }
}
