import GraftCore
import Testing

@Suite struct TreeDifferenceTests {
  static func spec(_ dtype: DType, _ shape: Shape) -> Tree<LeafSpec> {
    .leaf(.tensor(TensorSpec(dtype, shape)))
  }

  func differences(
    _ found: Tree<LeafSpec>, from expected: Tree<LeafSpec>, exactKinds: Bool = false
  ) -> [String] {
    found.difference(from: expected, exactKinds: exactKinds) { _, expected, found in
      expected == found ? nil : (expected: "\(expected)", found: "\(found)")
    }.map(\.description)
  }

  static let scalar = spec(.int32, [])

  @Test(
    arguments: [
      (
        "missing leaf", ["a": scalar], ["a": scalar, "b": spec(.float32, [2, 4])],
        ["b: expected float32[2, 4], found nothing"]
      ),
      (
        "unexpected leaf", ["a": scalar, "b": .leaf(.string)], ["a": scalar],
        ["b: expected nothing, found string"]
      ),
      (
        "missing subtree", [:], ["p": ["a": scalar, "b": [scalar]]],
        ["p: expected a dictionary with 2 leaves, found nothing"]
      ),
      (
        "unexpected subtree", ["p": ["a": scalar]], [:],
        ["p: expected nothing, found a dictionary with 1 leaf"]
      ),
      (
        "leaf for a subtree", ["p": scalar], ["p": ["a": scalar]],
        ["p: expected a dictionary with 1 leaf, found int32[]"]
      ),
      (
        "subtree for a leaf", ["p": [scalar]], ["p": scalar],
        ["p: expected int32[], found a list of 1 element"]
      ),
      (
        "dictionary for a list", ["p": ["0": scalar]], ["p": [scalar]],
        ["p: expected a list of 1 element, found a dictionary with 1 leaf"]
      ),
      ("length", ["p": [scalar]], ["p": [scalar, scalar]], ["p: expected 2 elements, found 1"]),
      (
        "an empty node for a leaf", ["p": .empty], ["p": scalar], ["p: expected int32[], found an empty node"]
      ),
      (
        "a leaf for an empty node", ["p": scalar], ["p": .empty], ["p: expected an empty node, found int32[]"]
      ),
      (
        "leaves that differ", ["p": [spec(.float32, [4, 4])]], ["p": [spec(.float32, [2, 4])]],
        ["p/0: expected float32[2, 4], found float32[4, 4]"]
      ),
      ("the root", scalar, [scalar], ["(root): expected a list of 1 element, found int32[]"]),
      (
        "two spellings", ["\u{e9}": scalar], ["e\u{301}": scalar],
        ["e\u{301}: expected int32[], found nothing", "\u{e9}: expected nothing, found int32[]"]
      ),
      ("nothing", ["a": [scalar, .empty], "b": [:]], ["b": [:], "a": [scalar, .empty]], []),
    ] as [(String, Tree<LeafSpec>, Tree<LeafSpec>, [String])])
  func `differences read like this`(
    name: String, found: Tree<LeafSpec>, expected: Tree<LeafSpec>, lines: [String]
  ) {
    #expect(differences(found, from: expected) == lines)
  }

  @Test func `tuples and lists, named tuples and dictionaries agree unless they shall not`() {
    let pair = Tree<LeafSpec>.namedTuple(["x": Self.scalar, "y": .tuple([Self.scalar])])
    let restored: Tree<LeafSpec> = ["y": [Self.scalar], "x": Self.scalar]
    #expect(differences(pair, from: restored) == [])
    #expect(differences(restored, from: pair) == [])
    #expect(
      differences(restored, from: pair, exactKinds: true) == [
        "(root): expected a named tuple with 2 leaves, found a dictionary with 2 leaves"
      ])
    #expect(
      differences(["a": [Self.scalar]], from: ["a": .tuple([Self.scalar])], exactKinds: true) == [
        "a: expected a tuple of 1 element, found a list of 1 element"
      ])
  }

  @Test func `every difference is found, and makes an error`() {
    let found: Tree<LeafSpec> = ["a": Self.scalar, "c": Self.scalar]
    let all = found.difference(from: ["b": Self.scalar, "a": [Self.scalar]] as Tree<LeafSpec>) { _, _, _ in
      nil
    }
    #expect(all.map(\.reason) == [.missing, .kind, .unexpected])
    #expect(all.map(\.error.code) == [.leafNotFound, .structureMismatch, .structureMismatch])
    #expect(
      all.first?.error.description
        == "The tree has nothing at b. In leaf b. Expected int32[], found nothing.")
  }
}
