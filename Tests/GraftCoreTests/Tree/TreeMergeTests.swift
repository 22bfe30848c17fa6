import GraftCore
import Testing

@Suite struct TreeMergeTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var first: Tree<Slot>
    var later: Tree<Slot>
    /// nil where the merge fails without overwriting.
    var merged: Tree<Slot>?
    /// nil where it fails even so.
    var overwritten: Tree<Slot>?

    init(
      _ name: String, _ first: Tree<Slot>, _ later: Tree<Slot>, _ merged: Tree<Slot>?,
      overwritten: Tree<Slot>?
    ) {
      testDescription = name
      self.first = first
      self.later = later
      self.merged = merged
      self.overwritten = overwritten
    }

    /// A case in which overwriting makes no difference.
    init(_ name: String, _ first: Tree<Slot>, _ later: Tree<Slot>, _ merged: Tree<Slot>) {
      self.init(name, first, later, merged, overwritten: merged)
    }
  }

  static let point = Tree<Slot>.namedTuple(["x": .value(1), "y": .placeholder], type: "Point")

  @Test(arguments: [
    Case(
      "disjoint", ["a": .value(1), "b": ["c": .value(2)]], ["d": .value(3), "b": ["e": .value(4)]],
      ["a": .value(1), "b": ["c": .value(2), "e": .value(4)], "d": .value(3)]),
    Case("a conflict", ["a": .value(1)], ["a": .value(2)], nil, overwritten: ["a": .value(2)]),
    Case("a placeholder never overwrites", ["a": .value(1)], ["a": .placeholder], ["a": .value(1)]),
    Case("a placeholder gives way", ["a": .placeholder], ["a": .value(1)], ["a": .value(1)]),
    Case(
      "a placeholder over a subtree", ["a": ["b": .value(1)]], ["a": .placeholder], ["a": ["b": .value(1)]]),
    Case(
      "a subtree over a placeholder", ["a": .placeholder], ["a": ["b": .value(1)]], ["a": ["b": .value(1)]]),
    Case("an empty node never overwrites", ["a": .value(1)], ["a": .empty], ["a": .value(1)]),
    Case("an empty node gives way", ["a": .empty], ["a": [.value(1)]], ["a": [.value(1)]]),
    Case("an empty node and a placeholder", ["a": .empty], ["a": .placeholder], ["a": .empty]),
    Case(
      "a leaf and a dictionary", ["a": .value(1)], ["a": ["b": .value(2)]], nil,
      overwritten: ["a": ["b": .value(2)]]),
    Case(
      "a dictionary and a leaf", ["a": ["b": .value(2)]], ["a": .value(1)], nil, overwritten: ["a": .value(1)]
    ),
    Case(
      "a subtree of placeholders and a value", ["a": .value(1)], ["a": ["b": .placeholder, "c": [.empty]]],
      nil,
      overwritten: ["a": .value(1)]),
    Case(
      "lists, element by element", [.value(1), .placeholder], [.placeholder, .value(2)],
      [.value(1), .value(2)]),
    Case(
      "lists of different length", ["a": [.value(1), .value(2)]], ["a": [.value(3)]], nil, overwritten: nil),
    Case("tuples of different length", .tuple([]), .tuple([.value(3)]), nil, overwritten: nil),
    Case("a list and a tuple", [.value(1)], .tuple([.value(1)]), nil, overwritten: .tuple([.value(1)])),
    Case(
      "named tuples, field by field", point, .namedTuple(["x": .placeholder, "y": .value(2)]),
      .namedTuple(["x": .value(1), "y": .value(2)], type: "Point")),
    Case(
      "named tuples with other fields", point, .namedTuple(["x": .value(1), "z": .value(2)]), nil,
      overwritten: .namedTuple(["x": .value(1), "z": .value(2)])),
    Case("two roots that are leaves", .placeholder, .value(1), .value(1)),
  ])
  func `merging follows the table`(vector: Case) {
    for (overwrite, expected) in [(false, vector.merged), (true, vector.overwritten)] {
      var result: Tree<Slot>?
      let error = thrown { () throws(GraftError) in
        result = try vector.first.merging(vector.later, overwrite: overwrite)
      }
      #expect(result == expected)
      #expect((error == nil) == (expected != nil))
    }
  }

  @Test func `merging no trees gives an empty dictionary, several the union of all`() throws {
    #expect(try Tree<Slot>.merging([]) == [:])
    #expect(
      try Tree<Slot>.merging([["a": .value(1)], ["b": .value(2)], ["c": .value(3)]]) == [
        "a": .value(1), "b": .value(2), "c": .value(3),
      ])
  }

  @Test func `the first tree's children come first`() throws {
    let merged = try (["b": .value(1), "a": .placeholder] as Tree<Slot>).merging([
      "c": .value(2), "a": .value(3),
    ])
    #expect(merged.children.map(\.key) == ["b", "a", "c"])
  }

  @Test func `every conflict is named at once`() {
    let first: Tree<Slot> = ["a": .value(1), "b": ["c": .value(2)], "k": .value(0), "l": [.value(1)]]
    let later: Tree<Slot> = ["a": .value(1), "b": ["c": .value(2)], "k": [:], "l": []]
    let error = thrown { () throws(GraftError) in _ = try first.merging(later) }
    #expect(error?.code == .collision)
    #expect(
      error?.description == """
        Both trees have a value at a, b/c. In leaf a. Allow overwriting to take the later one. \
        Also: The trees to merge differ in kind at k. In leaf k. Expected 0, found a dictionary with 0 leaves. \
        Allow overwriting to take the later one. \
        Also: The trees to merge differ in length at l. In leaf l. Expected 1 element, found 0.
        """)
    let many = Tree<Slot>.dictionary((0..<5000).map { (key: Key(index: $0), value: .value($0)) })
    let manyConflicts = thrown { () throws(GraftError) in _ = try many.merging(many) }
    #expect(manyConflicts?.message == "both trees have a value at 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 4990 more")
  }

  @Test func `a fault in either tree is thrown`() {
    let good: Tree<Slot> = ["a": .value(1)]
    let faulty: Tree<Slot> = ["b": good["absent"]]
    #expect(thrown { () throws(GraftError) in _ = try good.merging(faulty) }?.leaf == "absent")
    #expect(thrown { () throws(GraftError) in _ = try faulty.merging(good) }?.leaf == "absent")
  }
}
